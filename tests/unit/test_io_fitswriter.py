# SPDX-License-Identifier: GPL-2.0-or-later
"""Files written in pieces: content, signatures, clean-up, error messages."""

import hashlib
import os

import numpy as np
import pytest
from astropy.io import fits

from muse_core.errors import ProductError
from muse_core.io import fitswriter, signature
from muse_core.io.files import begin_sync
from muse_core.io.fitswriter import FitsStreamWriter, image_header, primary_header, write_hdus
from muse_core.io.products import CardList
from muse_core.model.cards import card, format_number, set_card


@pytest.fixture
def planes():
    return np.random.default_rng(5).normal(size=(7, 30, 80)).astype(np.float32)


def _write(path, planes, order):
    headers = [primary_header(), image_header(-32, planes.shape), image_header(8, (3, 5))]
    headers[1]["EXTNAME"] = "DATA"
    with FitsStreamWriter(path, headers) as writer:
        for k in order:
            writer.write(1, k * planes[0].size, planes[k].reshape(-1))
        writer.write(2, 0, np.arange(15, dtype=np.uint8))
        return writer.finish()


def test_pieces_in_any_order_make_the_same_file(tmp_path, planes):
    a = _write(tmp_path / "a.fits", planes, range(7))
    b = _write(tmp_path / "b.fits", planes, [3, 6, 0, 1, 5, 4, 2])
    with fits.open(a) as x, fits.open(b) as y:
        assert np.array_equal(x[1].data, planes)
        assert np.array_equal(y[1].data, planes)
        assert x[1].header["DATASUM"] == y[1].header["DATASUM"]
        assert x[0].header["DATAMD5"] == y[0].header["DATAMD5"]


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 0, 2]])
def test_signature_in_the_background(tmp_path, monkeypatch, order):
    """DATAMD5 of long files is computed while they are written, whichever of their pieces comes first."""
    planes = np.random.default_rng(6).normal(size=(3, 120, 120)).astype(np.float32)
    assert planes[0].nbytes > signature.MD5_CHUNK
    expected = fits.getheader(_write(tmp_path / "short.fits", planes, order))["DATAMD5"]
    monkeypatch.setattr(fitswriter, "_LONG", 0)
    assert fits.getheader(_write(tmp_path / "long.fits", planes, order))["DATAMD5"] == expected


def test_long_pieces_go_to_the_disk_at_once(tmp_path, monkeypatch, planes):
    """All that was written is asked for; where it cannot be had, as of a pipe, that is no error."""
    asked = []
    monkeypatch.setattr(fitswriter, "_LONG_PIECE", planes[0].nbytes)
    monkeypatch.setattr(fitswriter, "begin_sync", lambda fd, *place: (asked.append(place), begin_sync(fd, *place)))
    with fits.open(_write(tmp_path / "a.fits", planes, range(7))) as hdus:
        start, size = hdus[1].fileinfo()["datLoc"], planes[0].nbytes
        assert np.array_equal(hdus[1].data, planes)
    assert asked == [(start + k * size, size) for k in range(7)]
    ends = os.pipe()
    begin_sync(ends[1], 0, 1)
    for end in ends:
        os.close(end)


def test_checksums_are_those_of_the_standard(tmp_path, planes):
    path = _write(tmp_path / "a.fits", planes, range(7))
    with fits.open(path, checksum=True) as hdus:  # a wrong sum is a warning, and warnings are errors here
        hdus.verify("exception")
        assert hdus[2].data.shape == (3, 5)
        assert len(hdus[1].header["DATASUM"]) == 10


def test_datamd5_of_small_units_is_the_plain_md5(tmp_path):
    data = np.arange(2880 // 4, dtype=np.float32)
    path = write_hdus(tmp_path / "a.fits", [(primary_header(-32, data.shape), data)])
    assert fits.getheader(path)["DATAMD5"] == hashlib.md5(data.astype(">f4").tobytes()).hexdigest()


def test_datamd5_repeats_the_first_chunk():
    unit = np.random.default_rng(1).integers(0, 255, 3 * signature.MD5_CHUNK // 2, np.uint8).tobytes()
    digest = signature.DataMD5()
    digest.add_unit(unit[: signature.MD5_CHUNK], len(unit))
    first = unit[: signature.MD5_CHUNK]
    assert digest.hexdigest() == hashlib.md5(first + first[: len(unit) - len(first)]).hexdigest()


def test_sign_file_agrees_with_the_writer_and_removes_on_request(tmp_path, planes):
    path = _write(tmp_path / "a.fits", planes, range(7))
    before = fits.getheader(path)["DATAMD5"]
    signature.sign_file(path)
    with fits.open(path, checksum=True) as hdus:
        assert hdus[0].header["DATAMD5"] == before
        assert np.array_equal(hdus[1].data, planes)
    signature.sign_file(path, md5=False, checksum=False)
    with fits.open(path) as hdus:
        assert not any(key in hdu.header for hdu in hdus for key in ("DATAMD5", "CHECKSUM", "DATASUM"))


def test_header_may_change_values_but_keeps_its_place(tmp_path, planes):
    headers = [primary_header(), image_header(-32, planes.shape)]
    for i in range(40):
        set_card(headers[0], f"ESO QC VALUE{i}", 0.0)
    with FitsStreamWriter(tmp_path / "a.fits", headers) as writer:
        writer.write(1, 0, planes.reshape(-1))
        set_card(headers[0], "ESO QC VALUE7", 3.5, "known at the end")
        path = writer.finish()
    with fits.open(path, checksum=True) as hdus:
        assert hdus[0].header["ESO QC VALUE7"] == 3.5
        assert np.array_equal(hdus[1].data, planes)


def test_nothing_under_the_final_name_after_an_exception(tmp_path, planes):
    def fail_half_way():
        with FitsStreamWriter(tmp_path / "a.fits", [primary_header(), image_header(-32, planes.shape)]) as writer:
            writer.write(1, 0, planes[0].reshape(-1))
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way()
    assert list(tmp_path.iterdir()) == []


def test_existing_product_survives_a_failed_run(tmp_path, planes):
    path = _write(tmp_path / "a.fits", planes, range(7))
    content = path.read_bytes()
    with FitsStreamWriter(path, [primary_header(), image_header(-32, planes.shape)]) as writer:
        writer.write(1, 0, np.zeros(4, np.float32))
    assert path.read_bytes() == content


def test_missing_folder_is_a_product_error(tmp_path):
    with pytest.raises(ProductError, match="nowhere"):
        FitsStreamWriter(tmp_path / "nowhere" / "a.fits", [primary_header()])


def test_pieces_that_do_not_fit_are_refused(tmp_path):
    with (
        FitsStreamWriter(tmp_path / "a.fits", [primary_header(-32, (10,))]) as writer,
        pytest.raises(ValueError, match="does not fit"),
    ):
        writer.write(0, 8, np.zeros(3, np.float32))


def test_unaligned_pieces(tmp_path):
    data = np.arange(11, dtype=np.uint8)
    with FitsStreamWriter(tmp_path / "a.fits", [primary_header(8, (11,))]) as writer:
        for start, stop in ((0, 3), (9, 11), (3, 9)):
            writer.write(0, start, data[start:stop])
        path = writer.finish()
    with fits.open(path, checksum=True) as hdus:
        assert np.array_equal(hdus[0].data, data)


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (1.0, 15, "1."),
        (1e20, 15, "1.0E+20"),
        (0.1, 15, "0.1"),
        (7000.27685546875, 7, "7000.277"),
        (-2.5e-7, 7, "-2.5E-07"),
    ],
)
def test_numbers_have_the_digits_of_their_type(value, digits, text):
    assert format_number(value, digits) == text


def test_long_hierarch_string_is_cut_not_continued():
    made = card("ESO PRO REC2 PARAM1 VALUE", "cube,individual,positioned,combined,stacked", "Default: 'cube'")
    assert len(made.image) == 80
    assert made.value == "cube,individual,positioned,combined,stacke"


def test_long_string_of_a_standard_keyword_is_cut_too():
    made = card("OBJECT", "x" * 100, "comment")
    assert str(made) == "OBJECT  = '" + "x" * 68 + "'"
    assert made.value == "x" * 68


def test_quotes_survive():
    assert card("ESO A B", "it's", "x").value == "it's"
    assert card("OBJECT", "it's").value == "it's"


def test_single_precision_has_seven_digits():
    assert "150.1168" in card("ESO DRS MUSE PIXTABLE LIMITS X LOW", np.float32(150.116776)).image


def test_undefined_values_become_empty_strings():
    undefined = fits.Card.fromstring("UNDEF   =").value
    assert str(card("UNDEF", undefined)).rstrip() == "UNDEF   = '        '"
    assert str(card("UNDEF", None)).rstrip() == "UNDEF   = '        '"


def test_every_line_of_the_history_stays(tmp_path):
    lines = [fits.Card("HISTORY", "made"), fits.Card("A", 1), fits.Card("HISTORY", "changed"), fits.Card("A", 2)]
    header = primary_header()
    header.extend(fits.Header(list(CardList(lines))), bottom=True)
    found = fits.getheader(write_hdus(tmp_path / "a.fits", [(header, None)]))
    assert found["A"] == 2
    assert list(found["HISTORY"]) == ["made", "changed"]

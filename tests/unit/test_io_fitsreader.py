# SPDX-License-Identifier: GPL-2.0-or-later
"""The reader of all inputs: types and scalings of numbers, damaged structure, files that are no files, or too large."""

import errno
import gzip
import os
import time
import tracemalloc

import numpy as np
import pytest
from astropy.io import fits
from harness.rawfits import BITPIX, RawFile, replace_card, rewrite

from muse_core.errors import InputError, MissingFileError, ResourceError
from muse_core.io import fitsreader
from muse_core.io.calibration import read_telluric
from muse_core.io.fitsreader import FitsFile
from muse_core.io.fitswriter import primary_header
from muse_core.io.pixtable import PixelTableFile, write_pixel_table
from muse_core.io.sof import read_sof
from muse_core.model.cards import set_card
from muse_core.model.pixtable import FlatFieldSpectrum, PixelTable
from muse_core.model.rows import COLUMNS, FIELD_OF_COLUMN, make_rows

N = 20_000


@pytest.fixture
def table():
    rng = np.random.default_rng(5)
    floats = rng.integers(-100, 100, (4, N)) / 4
    rows = make_rows(*floats, rng.integers(0, 100, N), rng.integers(0, 100, N) / 4, rng.integers(0, 2**31, N))
    header = primary_header()
    set_card(header, "ESO DRS MUSE PIXTABLE TYPE", "GEOFULL")
    flat = FlatFieldSpectrum(np.array([4800.0, 4801.25]), np.array([0.9, 1.0]))
    return PixelTable(rows, header, flat_field=flat)


@pytest.fixture(params=["images", "table"])
def kind(request):
    return request.param


@pytest.fixture
def path(tmp_path, table, kind):
    return write_pixel_table(tmp_path / "t.fits", table, table.header.copy(), as_table=kind == "table")


def restore(path, kind, name, bitpix, scale, zero, values=None):
    """Store a column as another type with other scaling."""

    def change(file):
        if kind == "images":
            file.set_image(file.number(name), bitpix, scale, zero, values)
        else:
            letter = {8: "B", 16: "I", 32: "J", 64: "K", -32: "E", -64: "D"}[bitpix]
            file.set_column(1, name, letter, scale, zero, values)

    rewrite(path, change)


@pytest.mark.parametrize(("scale", "zero"), [(None, None), (2.0, None), (None, 100.0), (-0.5, 8.0)])
@pytest.mark.parametrize("name", ["xpos", "lambda", "data", "stat"])
def test_scaled_floats(path, kind, table, name, scale, zero):
    restore(path, kind, name, -32, scale, zero)
    with PixelTableFile(path) as file:
        assert np.array_equal(file.read(), table.rows)
        assert np.array_equal(file.column(name, 7, 9000), table.rows[FIELD_OF_COLUMN[name]][7:9000])


@pytest.mark.parametrize(
    ("bitpix", "scale", "zero"),
    [(8, None, None), (16, None, None), (32, None, None), (64, None, None), (8, None, -128.0), (16, None, 32768.0),
     (32, None, 2147483648.0), (16, 2.0, 1.0), (32, 1.0, 0.0)],
)  # fmt: skip
def test_integers_of_any_length(path, kind, table, bitpix, scale, zero):
    """As astropy writes them: uint32, for example, has BZERO = 2**31."""
    values = table.rows["dq"] * 2 + 1 if scale else table.rows["dq"]
    restore(path, kind, "dq", bitpix, scale, zero, values)
    with PixelTableFile(path) as file:
        assert np.array_equal(file.column("dq"), values)
        assert np.array_equal(file.read()["dq"], values)


def test_integers_scaled_to_fractions_are_truncated(tmp_path, table):
    """In images; in tables they are floats."""
    path = write_pixel_table(tmp_path / "t.fits", table, table.header.copy())
    restore(path, "images", "dq", 32, 0.6, None, np.full(N, 1.8))
    with PixelTableFile(path) as file:
        assert (file.column("dq") == 1).all()


def test_integers_beyond_32_bits(path, kind):
    restore(path, kind, "dq", 64, None, None, np.full(N, 2.0**40))
    with PixelTableFile(path) as file, pytest.raises(InputError, match=r"column dq: found 1099511627776, expected num"):
        file.read()


@pytest.mark.parametrize(("name", "bitpix"), [("data", -64), ("data", 32), ("dq", -32), ("origin", -64)])
def test_types_that_the_reference_cannot_read(path, kind, name, bitpix):
    restore(path, kind, name, bitpix, None, None)
    with pytest.raises(InputError, match=rf"t.fits\[(1|{name})\]: .*found (BITPIX|format)"):
        PixelTableFile(path)


def test_two_columns_of_a_name(path, kind):
    def again(file):
        if kind == "images":
            file.append(list(file[file.number("data")]))
        else:
            file[1][0]["TTYPE1"] = "data"

    rewrite(path, again)
    with pytest.raises(InputError, match=r"found two"):
        PixelTableFile(path)


@pytest.mark.parametrize("bitpix", BITPIX)
def test_images_of_all_types(tmp_path, bitpix):
    values = np.arange(24.0).reshape(2, 3, 4)
    for scale, zero in ((None, None), (0.5, -3.0)):
        file = RawFile([[primary_header(), b""], [fits.ImageHDU(values).header, b""]])
        file.set_image(1, bitpix, scale, zero, values.ravel())
        with FitsFile(file.write(tmp_path / "i.fits")) as reader:
            assert np.array_equal(reader[1].image(), values)


@pytest.mark.parametrize(
    ("letter", "scale", "zero", "effective"),
    [("D", 2.0, 1.0, "D"), ("E", 2.0, None, "E"), ("J", 0.5, None, "D"), ("K", 0.5, None, "D"), ("I", 0.5, None, "E"),
     ("B", 1.5, None, "E"), ("I", None, 32768.0, "U"), ("J", None, 2147483648.0, "V"), ("J", 3.0, None, "K"),
     ("B", None, -128.0, "S"), ("B", 2.0, None, "I"), ("K", 2.0, None, "D")],
)  # fmt: skip
def test_columns_of_all_types(tmp_path, letter, scale, zero, effective):
    values = np.arange(0.0, 60, 6)
    new = fits.BinTableHDU.from_columns(
        [fits.Column("x", "1D", array=values), fits.Column("y", "3A", array=["a"] * 10)]
    )
    file = RawFile.read(_save(new, tmp_path / "c.fits"))
    file.set_column(1, "x", letter, scale, zero)
    with FitsFile(file.write(tmp_path / "c.fits")) as reader:
        column = reader.table().find_column("x")
        assert column.effective == effective
        assert np.allclose(reader.table().column("x", effective), values, rtol=1e-6)
        assert reader.table().column("y", "A").tolist() == ["a"] * 10
        with pytest.raises(InputError, match=rf"c.fits\[1\]: column x: found format 1{letter}.*, expected A"):
            reader.table().column("x", "A")


def _save(hdu, path):
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path, overwrite=True)
    return path


def test_compressed_tiles(tmp_path):
    values = np.arange(6000, dtype=np.int32).reshape(60, 100)
    with FitsFile(_save(fits.CompImageHDU(values), tmp_path / "c.fits")) as reader:
        assert np.array_equal(reader[1].image(), values)


# Structure


@pytest.mark.parametrize(
    ("key", "text", "says"),
    [
        ("NAXIS", "NAXIS   =           2000000000", r"keyword NAXIS: found 2000000000, expected at most 999"),
        ("NAXIS", "NAXIS   = 'two'", r"keyword NAXIS: found 'two', expected a whole number"),
        ("NAXIS2", "NAXIS2  =                   -5", r"keyword NAXIS2: found -5, expected a whole number"),
        ("NAXIS2", "NAXIS2  = 900000000000000000", r"expected at least \d{18,}; file truncated"),
        ("NAXIS2", "", r"keyword NAXIS2: found nothing, expected a whole number"),
        ("BITPIX", "", r"keyword BITPIX: found nothing, expected one of"),
        ("BITPIX", "BITPIX  =                   12", r"keyword BITPIX: found 12, expected one of 8, 16"),
        ("PCOUNT", "PCOUNT  =                  1.5", r"keyword PCOUNT: found 1.5, expected a whole"),
        ("BUNIT", "BUNIT   = 'unterminated", r"keyword BUNIT: found \"'unterminated\", expected a value that"),
        ("GCOUNT", "GCOUNT  = 12..5", r"keyword GCOUNT: found '12..5', expected a value that can be read"),
    ],
)  # fmt: skip
def test_damaged_structure(tmp_path, table, key, text, says):
    path = write_pixel_table(tmp_path / "t.fits", table, table.header.copy())
    replace_card(path, key, text, hdu=3)
    with pytest.raises(InputError, match=rf"t.fits\[(3|lambda)\]: .*{says}"):
        PixelTableFile(path)


@pytest.mark.parametrize(
    ("key", "text", "says"),
    [
        ("TFORM2", "", "keyword TFORM2: found nothing, expected a format"),
        ("TFORM2", "TFORM2  = 'what'", "keyword TFORM2: found 'what', expected a format"),
        ("TFORM2", "TFORM2  = '1D'", "keyword NAXIS1: found 28, expected 32 as the columns have in sum"),
        ("TFIELDS", "TFIELDS =                   -1", "keyword TFIELDS: found -1, expected a whole number"),
        ("TTYPE2", "", "found no column ypos"),
        ("TTYPE2", "TSCAL2  = 'x'", "keyword TSCAL2: found 'x', expected a number"),
    ],
)
def test_damaged_table(tmp_path, table, key, text, says):
    path = write_pixel_table(tmp_path / "t.fits", table, table.header.copy(), as_table=True)
    replace_card(path, key, text, hdu=1)
    with pytest.raises(InputError, match=rf"t.fits.*{says}"):
        PixelTableFile(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("EXPTIME = 12..5", "keyword EXPTIME: found '12..5', expected a value"),
        ("EXPTIME = NaN", "keyword EXPTIME: found 'NaN', expected a value"),
        ("EXPTIME = 1e999", "keyword EXPTIME: found inf, expected a finite number"),
        ("EXPTIME = -1D400", "keyword EXPTIME: found -inf, expected a finite number"),
        ("HIERARCH ESO TEL X = 1.2.3", "keyword ESO TEL X: found '1.2.3', expected a value"),
    ],
)
def test_damaged_cards(tmp_path, text, says):
    """The reference loads no file with such a card, whether the keyword is used or not."""
    header = primary_header()
    header["ORIGIN"] = "ESO"
    path = RawFile([[header, b""]]).write(tmp_path / "h.fits")
    replace_card(path, "ORIGIN", text)
    with pytest.raises(InputError, match=rf"h.fits: {says}"):
        FitsFile(path).primary  # noqa: B018


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("OBJECT  = 'Gal\xe9\x01'", "OBJECT", "Gal??"),
        ("OR?G$N  = 'x'", "OR?G$N", None),
        ("EXPTIME = 6.0D2", "EXPTIME", 600.0),
        ("OBJECT 'abc'", "OBJECT", None),
        ("EXPTIME =", "EXPTIME", None),
    ],
)
def test_odd_cards_that_the_reference_reads(tmp_path, text, key, value):
    header = primary_header()
    header["ORIGIN"] = "ESO"
    path = RawFile([[header, b""]]).write(tmp_path / "h.fits")
    replace_card(path, "ORIGIN", text)
    with FitsFile(path) as file:
        found = file.primary.header.get(key)
    assert found == value or value is None


# Size


def test_zeros_after_the_last_hdu_cost_nothing(tmp_path, table):
    path = write_pixel_table(tmp_path / "t.fits", table, table.header.copy())
    os.truncate(path, 1 << 40)
    begin = time.monotonic()
    with PixelTableFile(path) as file:
        assert file.n_rows == N
        assert file.flat_field is not None
    assert time.monotonic() - begin < 1


def test_sparse_calibration_is_refused_before_it_is_read(tmp_path):
    fitsreader.limit_arrays(1 << 40)  # a run of another test may have set less
    columns = [fits.Column(name, "1D", array=np.arange(5.0)) for name in ("lambda", "ftelluric", "ftellerr")]
    path = _save(fits.BinTableHDU.from_columns(columns), tmp_path / "s.fits")
    replace_card(path, "NAXIS2", "NAXIS2  =            100000000", hdu=1)
    with pytest.raises(InputError, match=r"s.fits\[1\]: found \d+ bytes in the file, expected at least 2400005760"):
        read_telluric(path)
    os.truncate(path, 2_400_008_640)
    tracemalloc.start()
    with pytest.raises(InputError, match=r"s.fits\[1\]: found data that take 3200 MB, expected at most 268 MB"):
        read_telluric(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_limit_of_arrays_follows_the_memory_of_the_run():
    try:
        fitsreader.limit_arrays(200 << 20)
        assert fitsreader.ARRAY_LIMIT.get() == 50 << 20
        fitsreader.limit_arrays(1 << 40)
        assert fitsreader.ARRAY_LIMIT.get() == fitsreader.LARGEST_ARRAY
    finally:
        fitsreader.ARRAY_LIMIT.set(fitsreader.LARGEST_ARRAY)


def test_header_without_end(tmp_path):
    path = tmp_path / "e.fits"
    path.write_bytes(b"SIMPLE  =                    T".ljust(80) + b"COMMENT x".ljust(80) * 71)
    with pytest.raises(InputError, match=r"e.fits: found no END in the 5760 bytes of its header, .*truncated"):
        FitsFile(path).primary  # noqa: B018


# Files that are none


@pytest.mark.parametrize("what", ["pipe", "device", "folder", "nothing"])
def test_no_file(tmp_path, what):
    path = tmp_path / "f.fits"
    if what == "pipe":
        os.mkfifo(path)
    elif what == "device":
        path.symlink_to("/dev/zero")
    elif what == "folder":
        path.mkdir()
    expected = {"folder": "found a folder", "nothing": "file does not exist"}.get(what, "found a pipe or device")
    with pytest.raises(MissingFileError, match=rf"f.fits: {expected}"):
        FitsFile(path)
    if what in ("pipe", "device"):
        with pytest.raises(
            MissingFileError, match=r"set-of-frames file .*f.fits: found a pipe or device, expected a f"
        ):
            read_sof(path)


def test_no_set_of_frames_of_a_terabyte(tmp_path):
    path = tmp_path / "in.sof"
    path.touch()
    os.truncate(path, 1 << 40)
    with pytest.raises(MissingFileError, match="in.sof: found 1099511627776 bytes, expected at most"):
        read_sof(path)


def test_error_of_the_device(tmp_path, table, monkeypatch):
    path = write_pixel_table(tmp_path / "t.fits", table, table.header.copy())
    with PixelTableFile(path) as file:

        def fails(*_):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(os, "pread", fails)
        with pytest.raises(InputError, match=r"t.fits: cannot be read at byte \d+ \(Input/output error\)"):
            file.column("data")


def test_error_of_the_device_while_rows_are_read(tmp_path, table):
    path = write_pixel_table(tmp_path / "t.fits", table, table.header.copy())
    with PixelTableFile(path) as file:
        memory = os.open("/proc/self/mem", os.O_RDONLY)  # of which the first pages cannot be read
        os.dup2(memory, file._file._opened())
        os.close(memory)
        with pytest.raises(InputError, match=r"t.fits: cannot be read at byte \d+ \(Input/output error\)"):
            file.read()


def test_file_that_gets_shorter_while_rows_are_read(tmp_path, table):
    path = write_pixel_table(tmp_path / "t.fits", table, table.header.copy())
    with PixelTableFile(path) as file:
        file.read(0, 1)
        os.truncate(path, path.stat().st_size // 2)
        with pytest.raises(InputError, match=rf"t.fits: found {path.stat().st_size} bytes, expected more; file trunc"):
            file.read()


def test_short_reads(tmp_path, table, monkeypatch):
    path = write_pixel_table(tmp_path / "t.fits", table, table.header.copy())
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, n, at: real(fd, max(1, min(n, 1000)), at))
    with PixelTableFile(path) as file:
        for name in COLUMNS:
            np.testing.assert_array_equal(file.column(name), table.rows[FIELD_OF_COLUMN[name]])


def test_file_that_changes_while_it_is_used(tmp_path, table):
    path = write_pixel_table(tmp_path / "t.fits", table, table.header.copy())
    with PixelTableFile(path) as file:
        file.read(0, 10)
        file.close()
        os.truncate(path, path.stat().st_size - 2880)
        with pytest.raises(InputError, match="t.fits: the file was changed while it was in use"):
            file.read(0, 10)


# Compressed as a whole


@pytest.fixture
def packed(tmp_path, table):
    path = write_pixel_table(tmp_path / "t.fits", table, table.header.copy())
    packed = tmp_path / "t.fits.gz"
    packed.write_bytes(gzip.compress(path.read_bytes(), 1))
    return packed


def test_compressed(packed, table):
    with PixelTableFile(packed) as file:
        assert np.array_equal(file.read(), table.rows)
        file.close()
        assert np.array_equal(file.column("stat", 100, 12_000), table.rows["stat"][100:12_000])


@pytest.mark.parametrize("damage", ["cut", "bits", "header"])
def test_damaged_compressed_file(packed, damage):
    raw = bytearray(packed.read_bytes())
    if damage == "cut":
        del raw[len(raw) // 2 :]
    elif damage == "bits":
        raw[len(raw) // 2 : len(raw) // 2 + 100] = b"\xff" * 100
    else:
        raw[2:10] = b"\0" * 8
    packed.write_bytes(raw)
    with pytest.raises(InputError, match=r"t.fits.gz.*(compressed file cannot be read|truncated|found no)"):
        PixelTableFile(packed).read()


def test_bomb_is_not_unpacked(tmp_path, monkeypatch):
    """What follows the HDUs of a compressed file is not looked at, and no more is unpacked than there is room for."""
    header = primary_header()
    path = tmp_path / "b.fits.gz"
    with gzip.open(path, "wb", 1) as file:
        file.write(header.tostring().encode())
        for _ in range(64):
            file.write(b"\0" * (1 << 20))
    begin = time.monotonic()
    with FitsFile(path) as file:
        assert len(list(file)) == 1
        assert file._copy.tell() < 1 << 20
    assert time.monotonic() - begin < 1
    header["NAXIS"], header["NAXIS1"] = 1, 1 << 60
    with gzip.open(path, "wb", 1) as file:
        file.write(header.tostring().encode())
    with FitsFile(path) as file, pytest.raises(ResourceError, match=r"to decompress .*b.fits.gz \d+ bytes are needed"):
        file.primary.image(limited=False)


def test_columns_are_all_there(table):
    assert set(COLUMNS) == set(FIELD_OF_COLUMN)

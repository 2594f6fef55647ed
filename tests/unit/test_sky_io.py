# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading SKY_LINES, SKY_CONTINUUM, SKY_MASK, LSF_PROFILE: formats, rules, failures."""

import numpy as np
import pytest
from astropy.io import fits

from muse_core.errors import InputError
from muse_core.io.fitswriter import primary_header, write_hdus
from muse_core.io.lsf import read_lsf
from muse_core.io.sky import (
    continuum_columns,
    lines_columns,
    read_sky_continuum,
    read_sky_lines,
    read_sky_mask,
    spectrum_columns,
)
from muse_core.io.tables import table_hdu
from muse_core.model.compat import Compat
from muse_core.model.skylines import SkyLines
from muse_core.model.spectrum import Continuum, Spectrum

REFERENCE = Compat.reference()
UNIT = "10**(-20)*erg/(s cm^2 arcsec^2)"


def column(name, form, values, unit=None):
    return fits.Column(name=name, format=form, array=np.array(values), unit=unit)


def table(extname, *columns):
    return fits.BinTableHDU.from_columns(columns, name=extname)


def lines_table(**changes):
    columns = {
        "name": column("name", "4A", ["a", "bb"]),
        "group": column("group", "J", [3, 0]),
        "lambda": column("lambda", "D", [5000.0, 6000.0], "Angstrom"),
        "flux": column("flux", "D", [1.0, 2.0], UNIT),
        "dq": column("dq", "J", [0, 0]),
    }
    columns |= changes
    return table("LINES", *(c for c in columns.values() if c is not None))


def oh_table(**changes):
    columns = {
        "name": column("name", "4A", ["oh1"]),
        "lambda": column("lambda", "D", [7316.282], "Angstrom"),
        "v_u": column("v_u", "J", [8]),
        "v_l": column("v_l", "J", [3]),
        "nu": column("nu", "J", [1]),
        "E_u": column("E_u", "D", [3.1e-19], "J"),
        "J_u": column("J_u", "D", [1.5]),
        "A": column("A", "D", [0.5]),
    }
    columns |= changes
    return table("OH_TRANSITIONS", *(c for c in columns.values() if c is not None))


@pytest.fixture
def write(tmp_path):
    def write(*hdus, name="x.fits"):
        if not isinstance(hdus[0], fits.PrimaryHDU):
            hdus = [fits.PrimaryHDU(), *hdus]
        fits.HDUList(list(hdus)).writeto(tmp_path / name, overwrite=True)
        return tmp_path / name

    return write


def test_lines_and_oh_transitions(write):
    for compat in (Compat(), REFERENCE):
        lines = read_sky_lines(write(lines_table(), oh_table()), compat)
        assert lines.name.tolist() == ["a", "bb", "oh1"]
        assert lines.group.tolist() == [3, 0, 4]
        assert lines.flux[:2].tolist() == [1, 2]
        assert lines.dq.tolist() == [0, 0, 0]


def test_either_table_alone(write):
    assert len(read_sky_lines(write(lines_table(group=column("group", "I", [3, 0]))))) == 2
    assert read_sky_lines(write(oh_table())).group.tolist() == [0]


def test_plain_flux_unit_is_scaled(write):
    flux = column("flux", "D", [1e-20, 2e-20], "erg/(s cm^2 arcsec^2)")
    np.testing.assert_allclose(read_sky_lines(write(lines_table(flux=flux))).flux, [1, 2])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flux": column("flux", "D", [1.0, 2.0])}, r"\[LINES\]: column flux: found unit None"),
        ({"flux": column("flux", "D", [1.0, 2.0], "count")}, "column flux: found unit 'count', expected '10"),
        ({"lambda": column("lambda", "D", [5.0, 6.0], "nm")}, "column lambda: found unit 'nm', expected 'Angstrom'"),
        ({"extra": column("extra", "D", [5.0, 6.0])}, "column extra: found, but it is none of name, group"),
    ],
)
def test_lines_of_unexpected_structure(write, changes, message, caplog):
    path = write(lines_table(**changes), oh_table())
    with pytest.raises(InputError, match=message):
        read_sky_lines(path)
    lines = read_sky_lines(path, REFERENCE)
    assert lines.name.tolist() == ["oh1"]
    assert lines.group.tolist() == [0]
    assert "its 2 lines are not used" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"group": column("group", "K", [3, 0])}, "column group: found format K, expected J or I"),
        ({"lambda": column("lambda", "E", [5.0, 6.0], "Angstrom")}, "column lambda: found format E, expected D"),
        ({"dq": None}, "column dq: not found among name, group, lambda, flux"),
    ],
)
def test_lines_that_cannot_be_read(write, changes, message):
    path = write(lines_table(**changes), oh_table())
    with pytest.raises(InputError, match=message):
        read_sky_lines(path)
    assert read_sky_lines(path, REFERENCE).name.tolist() == ["oh1"]
    assert read_sky_lines(write(lines_table(**changes)), REFERENCE) is None


def test_lines_with_nan(write):
    path = write(lines_table(flux=column("flux", "D", [1.0, np.nan], UNIT)))
    with pytest.raises(InputError, match=r"\[LINES\]: column flux, row 2: found nan"):
        read_sky_lines(path)
    assert len(read_sky_lines(path, REFERENCE)) == 2


def test_oh_table_failures(write):
    with pytest.raises(InputError, match=r"\[OH_TRANSITIONS\]: column nu: not found"):
        read_sky_lines(write(oh_table(nu=None)))
    two = {
        c.name: column(c.name, c.format, list(c.array) * 2) for c in oh_table().columns if c.name != "v_u"
    }  # fmt: skip
    path = write(oh_table(v_u=column("v_u", "J", [0, 100]), **two))
    with pytest.raises(InputError, match=r"\[OH_TRANSITIONS\]: OH transitions: v_u from 0 to 100"):
        read_sky_lines(path)


def test_no_lines_table(write):
    path = write(table("OTHER", column("x", "D", [1.0])))
    with pytest.raises(InputError, match="no usable table with EXTNAME LINES or OH_TRANSITIONS"):
        read_sky_lines(path)
    assert read_sky_lines(path, REFERENCE) is None


def test_lines_product_reads_back(tmp_path):
    lines = SkyLines.from_columns(["OI 5577", "b"], [1, 0], [5577.3, 6300.3], [10.0, 20.0])
    header, data = table_hdu(lines_columns(lines), "LINES")
    path = write_hdus(tmp_path / "lines.fits", [(primary_header(), None), (header, data)])
    again = read_sky_lines(path)
    for name in ("name", "group", "lbda", "flux", "dq"):
        np.testing.assert_array_equal(getattr(again, name), getattr(lines, name))
    assert header["TFORM1"] == "7A"


def test_empty_lines_product():
    header, data = table_hdu(lines_columns(SkyLines.from_columns([], [], [], [])), "LINES")
    assert header["NAXIS2"] == 0
    assert not len(data)


def test_columns_of_spectrum_and_continuum():
    spectrum = Spectrum(np.arange(3.0), np.ones(3), np.ones(3))
    columns = spectrum_columns(spectrum, "count", "count**2")
    assert [c[:3] for c in columns] == [
        ("lambda", "1D", "Angstrom"),
        ("data", "1D", "count"),
        ("stat", "1D", "count**2"),
        ("dq", "1J", None),
    ]
    columns = continuum_columns(Continuum(np.arange(3.0), np.ones(3)))
    assert [c[:3] for c in columns] == [("lambda", "1D", "Angstrom"), ("flux", "1D", "erg/(s cm^2 arcsec^2)")]


def continuum_table(lbda=(5000.0, 5001.0), flux=(1.0, 2.0), form="D"):
    return table("CONTINUUM", column("lambda", "D", lbda), column("flux", form, flux))


def test_continuum(write):
    continuum = read_sky_continuum(write(continuum_table()))
    assert continuum.lbda.tolist() == [5000, 5001]
    assert continuum.flux.tolist() == [1, 2]
    assert continuum.limits == (5000, 5001)


@pytest.mark.parametrize(
    ("hdu", "message"),
    [
        (continuum_table(form="E"), r"x.fits\[CONTINUUM\]: column flux: found format E, expected D"),
        (continuum_table(lbda=(5001.0, 5000.0)), "column lambda: smaller in row 2"),
        (continuum_table(lbda=(), flux=()), "found no row"),
        (table("OTHER", column("x", "D", [1.0])), "EXTNAME CONTINUUM"),
    ],
)
def test_unusable_continuum(write, hdu, message):
    path = write(hdu)
    with pytest.raises(InputError, match=message):
        read_sky_continuum(path)
    assert read_sky_continuum(path, REFERENCE) is None


def test_continuum_with_nan(write):
    path = write(continuum_table(flux=(np.nan, 1.0)))
    with pytest.raises(InputError, match="column flux, row 1: found nan"):
        read_sky_continuum(path)
    assert len(read_sky_continuum(path, REFERENCE)) == 2


def mask_hdu(data, **cards):
    hdu = fits.PrimaryHDU(None if data is None else np.array(data))
    for key, value in cards.items():
        hdu.header[key] = value
    return hdu


def test_mask_values_and_coordinates(write):
    cards = {"CRPIX1": 1.0, "CRPIX2": 2, "CRVAL1": -150.5, "CD1_1": 1.0, "CD2_2": 1.0}
    path = write(mask_hdu([[0.0, 0.999, 1.0], [255.0, 1.5, 2.0]], **cards))
    mask = read_sky_mask(path)
    assert mask.data.tolist() == [[0, 0, 1], [1, 1, 1]]
    assert mask.crpix == (1, 2)
    assert mask.crval == (-150.5, 0)
    assert mask.cd == (1, 0, 0, 1)
    assert not mask.celestial
    assert read_sky_mask(path, REFERENCE).crpix == (1, 0)  # an integer counts as missing there


def test_mask_without_matrix_is_in_spaxels(write):
    mask = read_sky_mask(write(mask_hdu([[1, 0]], CTYPE1="PIXEL", CTYPE2="PIXEL")))
    assert mask.cd == (1, 0, 0, 1)
    assert not mask.celestial


def test_celestial_mask(write):
    cards = {
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CD1_1": -5e-5,
        "CD2_2": 5e-5,
        "CRVAL1": 150.0,
        "CRVAL2": -30.0,
    }
    assert read_sky_mask(write(mask_hdu([[1, 0]], **cards))).celestial
    assert read_sky_mask(write(mask_hdu([[1, 0]], **cards, CUNIT1="deg", CUNIT2="deg"))).celestial


@pytest.mark.parametrize(
    ("hdu", "message"),
    [
        (fits.PrimaryHDU(), "primary HDU: found NAXIS = 0, expected an image"),
        (mask_hdu(np.zeros((2, 2, 2))), "found NAXIS = 3"),
        (mask_hdu([[-1.0, 0.0]]), "found values from -1 to 0, expected 0"),
        (mask_hdu([[256.0, 0.0]]), "found values from 0 to 256"),
        (mask_hdu([[np.nan, 0.0]]), "found values"),
        (mask_hdu([[1.0]], CD1_1=1.0), "has no inverse"),
        (mask_hdu([[1.0]], CTYPE1="RA---SIN", CTYPE2="DEC--SIN", CD1_1=1.0, CD2_2=1.0), "found CTYPE RA---SIN"),
        (
            mask_hdu([[1.0]], CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CD1_1=1.0, CD2_2=1.0, CUNIT1="arcsec"),
            "in arcsec, deg, expected a gnomonic",
        ),
    ],
)
def test_unusable_mask(write, hdu, message):
    path = write(hdu)
    with pytest.raises(InputError, match=message):
        read_sky_mask(path)
    assert read_sky_mask(path, REFERENCE) is None


def test_mask_with_cdelt_only(write):
    path = write(mask_hdu([[1.0]], CDELT1=0.2, CDELT2=0.2))
    with pytest.raises(InputError, match="keyword CDELT1 but no CDi_j"):
        read_sky_mask(path)
    assert read_sky_mask(path, REFERENCE).cd == (1, 0, 0, 1)


def lsf_hdu(extname, value=1.0, n_slice=48, **cards):
    hdu = fits.ImageHDU(np.full((n_slice, 3, 5), value, np.float32), name=extname)
    defaults = {"CRPIX1": 1.0, "CRVAL1": -2.0, "CD1_1": 1.0, "CRPIX2": 1.0, "CRVAL2": 4650.0, "CD2_2": 2000.0}
    for key, value in (defaults | cards).items():
        if value is not None:
            hdu.header[key] = value
    return hdu


def primary(**cards):
    return mask_hdu(None, **cards)


def test_lsf_one_file_an_ifu(write):
    paths = [
        write(primary(EXTNAME="CHAN02", PIPEFILE="a"), lsf_hdu("LSF_PROFILE", 2.0), name="b.fits"),
        write(primary(PIPEFILE="a"), lsf_hdu("CHAN07.LSF_PROFILE", 7.0), name="c.fits"),
        write(primary(EXTNAME="CHAN02", PIPEFILE="a"), lsf_hdu("LSF_PROFILE", 99.0), name="d.fits"),
    ]
    lsf, used = read_lsf(paths)
    assert sorted(lsf) == [2, 7]
    assert used == paths[:2]
    assert lsf[2].data.shape == (48, 3, 5)
    assert lsf[2].data.dtype == np.float64
    assert lsf[7].data[0, 0, 0] == 7
    assert lsf[2].grid.line_value == 4650
    assert lsf[2].image(48).data.shape == (3, 5)
    assert lsf[2].image(49) is None


def test_lsf_generic_file_serves_every_ifu(write):
    path = write(lsf_hdu("LSF_PROFILE"))
    lsf, used = read_lsf([path])
    assert sorted(lsf) == list(range(1, 25))
    assert used == [path]


def test_lsf_merged_file(write):
    path = write(primary(PIPEFILE="a"), *(lsf_hdu(f"CHAN{n:02d}.LSF_PROFILE", n) for n in (3, 4)))
    lsf, _ = read_lsf([path])
    assert {n: cube.data[0, 0, 0] for n, cube in lsf.items()} == {3: 3, 4: 4}


@pytest.mark.parametrize(
    ("hdu", "message"),
    [
        (lsf_hdu("LSF_PROFILE", CD1_1=None), r"\[LSF_PROFILE\]: keyword CD1_1"),
        (lsf_hdu("LSF_PROFILE", CD2_2=0.0), "CD2_2 = 0.0, expected steps above 0"),
        (lsf_hdu("LSF_PROFILE", 0.0), "profile of slice 1 in image row 1 has the sum 0.0"),
        (lsf_hdu("LSF_PROFILE", np.nan), "has the sum nan"),
    ],
)
def test_lsf_that_makes_no_sense(write, hdu, message):
    path = write(primary(EXTNAME="CHAN02"), hdu)
    with pytest.raises(InputError, match=message):
        read_lsf([path])
    assert 2 in read_lsf([path], REFERENCE)[0]


def test_lsf_of_no_format(write):
    for hdu in (fits.ImageHDU(np.ones((3, 5)), name="LSF_PROFILE"), fits.ImageHDU(np.ones((3, 5)), name="OTHER")):
        path = write(primary(EXTNAME="CHAN02"), hdu)
        with pytest.raises(InputError, match=r"expected an image cube|found no extension LSF_PROFILE, CHAN02"):
            read_lsf([path])
        assert read_lsf([path], REFERENCE) == ({}, [])
    with pytest.raises(InputError, match="no line spread function in no file"):
        read_lsf([])


def slice_param(extname, ifu, slices, width):
    n = len(slices)
    array = np.full((n, 2), 0.01)
    return table(
        extname,
        column("ifu", "J", [ifu] * n),
        column("slice", "J", slices),
        column("sensitivity", "2D", array),
        column("offset", "D", [0.0] * n),
        column("refraction", "D", [1.0] * n),
        column("lsf_width", "3D", np.full((n, 3), width)),
        *(column(f"hermit{k}", "2D", array * k) for k in (3, 4, 5, 6)),
        column("slit_width", "D", [2.61] * n),
        column("bin_width", "D", [1.25] * n),
    )


def test_lsf_tables(write):
    paths = [
        write(primary(EXTNAME="CHAN02"), slice_param("SLICE_PARAM", 2, [1, 2], 1.0), name="a.fits"),
        write(
            primary(PIPEFILE="a"), slice_param("CHAN02.SLICE_PARAM", 2, [2, 3], 5.0),
            slice_param("CHAN05.SLICE_PARAM", 5, [1], 6.0), name="b.fits",
        ),
    ]  # fmt: skip
    for compat in (Compat(), REFERENCE):
        profiles, used = read_lsf(paths, compat)
        assert {key: p.width[0] for key, p in profiles.items()} == {(2, 1): 1, (2, 2): 1, (2, 3): 5, (5, 1): 6}
        assert used == paths
    profile = profiles[2, 1]
    assert [h[0] for h in profile.hermite] == pytest.approx([0.03, 0.04, 0.05, 0.06])
    assert (profile.slit_width, profile.bin_width) == (2.61, 1.25)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Output grids: natural ones, and those of an OUTPUT_WCS."""

import dataclasses
import math

import numpy as np
import pytest
from astropy.io.fits import Header
from astropy.wcs import WCS

from muse_core.errors import DataError, InputError
from muse_core.model import fits
from muse_core.model.grid import GridOverride, OutputGrid, TableLimits, make_grid, parse_output_wcs, require_overlap

STEP = 0.2 / 3600
EXTREMES = np.array([-0.0085, 0.0085, -0.0083, 0.0083, 4749.9, 4999.6], np.float32)


def table_header(ra=150.1, dec=-30.0, mode="WFM-NOAO-N", cd=(-STEP, 0.0, 0.0, STEP)):
    header = Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRPIX1"], header["CRPIX2"] = 1.25, -3.5
    header["CRVAL1"], header["CRVAL2"] = ra, dec
    header["CD1_1"], header["CD1_2"], header["CD2_1"], header["CD2_2"] = cd
    header["CUNIT1"] = header["CUNIT2"] = "deg"
    header["CSYER1"] = (8.2e-6, "[deg] Systematic error in coordinate")
    header["HIERARCH ESO INS MODE"] = mode
    return header


def natural(header=None, **options):
    header = header or table_header()
    limits = TableLimits.from_extremes(EXTREMES, (header["CRVAL1"], header["CRVAL2"]))
    return make_grid(header, limits, "deg", **options)


def wcs_header(**changes):
    header = Header()
    header["NAXIS"] = 3
    for key, value in {
        "NAXIS1": 30,
        "NAXIS2": 20,
        "NAXIS3": 10,
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CTYPE3": "AWAV",
        "CUNIT3": "Angstrom",
        "CRVAL1": 150.0,
        "CRVAL2": -30,
        "CRVAL3": 4800.0,
        "CRPIX1": 15.5,
        "CRPIX2": 10.0,
        "CRPIX3": 1.0,
        "CD1_1": -STEP,
        "CD2_2": STEP,
        "CD3_3": 2.5,
        **changes,
    }.items():
        if value is not None:
            header[key] = value
    return header


def test_natural_grid():
    grid = natural()
    assert (grid.ny, grid.nx, grid.nz) == (300, 266, 201)
    assert grid.cd == (-STEP, 0.0, 0.0, STEP)
    assert grid.crval == (150.1, -30.0, float(np.float32(4749.9)))
    assert grid.scale == (STEP, STEP)
    lowest = [grid.position(1, 1), grid.position(grid.nx, grid.ny)]
    for axis, value in ((0, EXTREMES[1]), (1, EXTREMES[2])):  # RA decreases with x
        assert abs(lowest[0][axis] - grid.origin[axis] - float(value)) < 3e-5


def test_limits_are_rounded_to_single_precision():
    limits = TableLimits.from_extremes(EXTREMES, (150.1, -30.0))
    assert limits.x_low == np.float32(150.1 + float(EXTREMES[0]))
    assert float(limits.x_low) != 150.1 + float(EXTREMES[0])
    header = Header()
    for name, (low, high) in {"X": (1.5, 2), "Y": (3.0, 4.0), "LAMBDA": (5.0, 6.0)}.items():
        header[f"HIERARCH ESO DRS MUSE PIXTABLE LIMITS {name} LOW"] = low
        header[f"HIERARCH ESO DRS MUSE PIXTABLE LIMITS {name} HIGH"] = high
    assert dataclasses.astuple(TableLimits.from_header(header)) == (1.5, 2, 3, 4, 5, 6)


@pytest.mark.parametrize(
    ("mode", "step", "expected"),
    [
        ("WFM-AO-N", (0, 0, 0), (0.2, 0.2, 1.25)),
        ("NFM-AO-N", (0, 0, 0), (0.02519, 0.02542, 1.25)),
        ("NFM-AO-N", (0.1, 0.3, 2.0), (0.1, 0.3, 2.0)),
    ],
)
def test_steps(mode, step, expected):
    grid = natural(table_header(mode=mode), step=step)
    assert (-grid.cd[0] * 3600, grid.cd[3] * 3600, grid.cd33) == pytest.approx(expected)


def test_table_in_spaxels():
    limits = TableLimits.from_extremes([-3.2, 10.9, 2.0, 4.4, 5000, 5010])
    grid = make_grid(Header(), limits, "pix", (2.0, 0.0, 0.0))
    assert grid.shape == (9, 3, 8)
    assert grid.crpix == (1, 1, 1)
    assert grid.crval == (float(np.float32(-3.2)), 2.0, 5000.0)
    assert (grid.cd, grid.scale, grid.origin) == ((2.0, 0.0, 0.0, 1.0), (1.0, 1.0), (0.0, 0.0))
    types = {item.keyword: item.value for item in grid.cards(Header())}
    assert (types["CTYPE1"], types["CUNIT2"]) == ("PIXEL", "pixel")


@pytest.mark.parametrize(
    ("cd", "scale"),
    [
        ((-STEP, 0.0, 0.0, STEP), (STEP, STEP)),
        ((STEP, 0.0, 0.0, STEP), (STEP, STEP)),
        ((STEP, 0.0, 0.0, -STEP), (-STEP, -STEP)),
        ((-3e-5, 4e-5, 4e-5, 3e-5), (5e-5, 5e-5)),
    ],
)
def test_spaxel_scale(cd, scale):
    assert natural(table_header(cd=cd)).scale == pytest.approx(scale)


@pytest.mark.parametrize("unit", ["rad", "unknown"])
def test_other_states_are_refused(unit):
    with pytest.raises(DataError, match=unit):
        make_grid(table_header(), TableLimits.from_extremes(EXTREMES), unit)


def test_missing_world_coordinates():
    header = table_header()
    del header["CD2_2"]
    with pytest.raises(InputError, match="CD2_2"):
        natural(header)


@pytest.mark.parametrize("ctype3", ["AWAV", "WAVE-LOG"])
def test_planes_and_wavelengths(ctype3):
    grid = dataclasses.replace(natural(), ctype3=ctype3, crpix=(1.0, 1.0, 2.4))
    planes = np.arange(1, grid.nz - 1)
    lbda = grid.wavelength(planes)
    assert np.array_equal(grid.plane(lbda.astype(np.float32)), planes)
    assert grid.plane(np.array([0, np.nan, 1e9], np.float32)).tolist() == [0, 0, grid.nz - 1]
    for plane in (1, 57, grid.nz - 1):
        edge = grid.first_wavelength(plane)
        below = np.nextafter(edge, np.float32(0))
        assert grid.plane([below, edge]).tolist() == [plane - 1, plane]
    assert grid.first_wavelength(0) == 0
    assert grid.first_wavelength(grid.nz) == np.inf
    width = np.diff(grid.wavelength(np.arange(-0.5, grid.nz)))
    assert grid.voxel_length(np.arange(grid.nz)) == pytest.approx(width, rel=3e-3)


def test_cards_agree_with_wcslib():
    grid = natural()
    cards = grid.cards(table_header())
    assert [c.comment for c in cards if c.keyword == "CSYER1"] == ["[deg] Systematic error in coordinate"]
    wcs = WCS(fits.as_astropy(fits.Header(cards)))
    pixel = (17.0, 250.5, 31.0)
    ra, dec, lbda = wcs.all_pix2world(*pixel, 1)
    assert grid.position(*pixel[:2]) == pytest.approx((float(ra), float(dec)), abs=1e-11)
    assert float(lbda) * 1e10 == pytest.approx(float(grid.wavelength(30)))


def test_override_with_a_cube():
    grid = natural(override=parse_output_wcs(wcs_header()))
    assert grid.shape == (10, 20, 30)
    assert grid.crval == (150.0, -30.0, (4800.0 * 1e-10) * 1e10)
    assert grid.crpix == (15.5, 10.0, 1.0)
    assert grid.cd33 == (2.5 * 1e-10) * 1e10
    assert grid.origin == (150.1, -30.0)


def test_override_with_an_image():
    override = parse_output_wcs(wcs_header(NAXIS=2, NAXIS3=None, CTYPE3=None, CRVAL3=None, CRPIX3=None, CUNIT3=None,
                                           CD3_3=None))  # fmt: skip
    grid = natural(override=override)
    assert (grid.ny, grid.nx, grid.nz) == (20, 30, natural().nz)
    assert grid.crval[2] == float(np.float32(4749.9))


def test_override_units_and_axis_types():
    assert parse_output_wcs(wcs_header(CUNIT3="nm", CRVAL3=480.0)).crval3 == pytest.approx(4800)
    assert parse_output_wcs(wcs_header(CUNIT3=None)).crval3 == pytest.approx(4.8e13)  # metres, as wcslib has it
    vacuum = parse_output_wcs(wcs_header(CTYPE3="WAVE-LOG"))
    assert vacuum.is_vacuum
    assert natural(override=dataclasses.replace(vacuum, cd33=None)).cd33 == 1.25 / 1.6


@pytest.mark.parametrize("changes", [{"CD1_3": 1e-8}, {"CD3_3": None}])
def test_override_without_usable_matrix(changes):
    override = parse_output_wcs(wcs_header(**changes))
    assert (override.cd, override.cd33) == (None, None)
    grid = natural(override=override)
    assert grid.cd == natural().cd
    assert grid.cd33 == 1.25
    assert grid.crval[0] == 150.0


def test_override_with_cdelt():
    header = wcs_header(CD1_1=None, CD2_2=None, CD3_3=None, CDELT1=-STEP, CDELT2=STEP, CDELT3=2.5)
    assert parse_output_wcs(header) == parse_output_wcs(wcs_header())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"CRVAL1": None, "CRVAL2": None, "CRVAL3": None}, "no CRVAL"),
        ({"PC1_1": 1.0}, "PCi_j"),
        ({"NAXIS": 0, "NAXIS1": None, "NAXIS2": None, "NAXIS3": None}, "NAXIS1=None"),
        ({"NAXIS": 2, "NAXIS3": None}, "NAXIS3=None"),
        ({"WCSAXES": 4}, "4 axes"),
        ({"CTYPE1": "RA---SIN"}, "'RA---SIN'"),
        ({"CTYPE3": "FREQ"}, "'FREQ', expected one of AWAV"),
        ({"CTYPE3": None}, "CTYPE3 = ''"),
        ({"CUNIT3": "Hz"}, "'Hz'"),
    ],
)
def test_refused_output_wcs(changes, reason):
    with pytest.raises(InputError, match=f"(?s)somewhere.*{reason}"):
        parse_output_wcs(wcs_header(**changes), "somewhere")


def test_override_that_leaves_nothing():
    override = GridOverride(naxis=(0, -1), crval=(150.0, -30.0), crpix=(1.0, 1.0), cd=None)
    assert natural(override=override).shape == natural().shape  # sizes that are not positive are natural
    far = TableLimits.from_extremes([0, 0, 0, 0, 5000, 4000])
    with pytest.raises(DataError, match="expected sizes from 1 to"):
        make_grid(table_header(), far, "deg", override=override)


def test_projection_is_gnomonic():
    grid = dataclasses.replace(natural(), crpix=(1.0, 1.0, 1.0))
    ra, dec = grid.position(1, 1 + 0.5 / STEP)
    assert (ra, dec) == pytest.approx((150.1, -30 + math.degrees(math.atan(math.radians(0.5)))), abs=1e-9)


@pytest.mark.parametrize(
    ("crval", "lbda", "touches"),
    [
        ((10.0, -30.0), 5000.0, True),
        ((10.0, -30.0 + 9 / 3600), 5000.0, True),
        ((10.0, -30.0 + 30 / 3600), 5000.0, False),
        ((10.02, -30.0), 5000.0, False),
        ((190.0, 30.0), 5000.0, False),  # a tangential plane shows the other side of the sky too
        ((10.0, -30.0), 5011.0, True),
        ((10.0, -30.0), 5030.0, False),
        ((10.0, -30.0), 4900.0, False),
    ],
)
def test_prescribed_grid_that_does_not_touch_the_data(crval, lbda, touches):
    pixel = 0.2 / 3600
    given = OutputGrid(
        nx=50,
        ny=50,
        nz=10,
        celestial=True,
        ctype3="AWAV",
        crpix=(25.0, 25.0, 1.0),
        crval=(*crval, lbda),
        cd=(-pixel, 0.0, 0.0, pixel),
        cd33=1.25,
        origin=(10.0, -30.0),
        scale=(pixel, pixel),
    )
    extremes = np.array([-2 / 3600, 2 / 3600, -5 / 3600, 5 / 3600, 5000, 5010], np.float32)
    limits = TableLimits.from_extremes(extremes, (10.0, -30.0))
    if touches:
        require_overlap(given, limits, "wcs.fits")
        return
    with pytest.raises(DataError, match=r"wcs.fits: found a grid of 50 x 50 x 10 voxels at .* but no data in it"):
        require_overlap(given, limits, "wcs.fits")

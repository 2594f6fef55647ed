# SPDX-License-Identifier: GPL-2.0-or-later
"""Stacked images, Euro3D tables, keywords of science data products, vacuum wavelengths."""

import dataclasses

import numpy as np
import pytest
from astropy.io.fits import Header
from harness.grids import sky_grid

from muse_core.errors import DataError
from muse_core.model.compat import Compat
from muse_core.model.dq import DQ, as_int32
from muse_core.model.grid import TableLimits
from muse_core.model.rows import make_rows
from muse_core.steps import sdp
from muse_core.steps.euro3d import Euro3DTable, group_row, spectrum_dtype
from muse_core.steps.resample.stacked import stack, stack_slice, stacked_grid
from muse_core.steps.resample.vacuum import air_to_vacuum, refractive_index

STEP = 0.2 / 3600
GRID = sky_grid(3, 2, 4, (10.0, -5.0, 5000.0))
FLUX = "10**(-20)*erg/s/cm**2/Angstrom"


def test_vacuum():
    assert refractive_index(4999.5005) == pytest.approx(1.0002789751, abs=1e-10)
    assert air_to_vacuum(np.array([4999.5005], np.float32)) == np.float32(5000.895)


LIMITS = TableLimits.from_extremes([0, 4, 0, 0, 5000, 5005])


def test_stacked_steps():
    natural = stacked_grid(LIMITS, GRID, (0.0, 0.0, 0.0))
    assert (natural.dx, natural.dl, natural.n_lines) == (1.2 * STEP, 1.25, 5)
    assert stacked_grid(LIMITS, GRID, (0.4, 0.0, 2.0)).dx == pytest.approx(0.4 / 3600)
    assert stacked_grid(LIMITS, GRID, (0.4, 0.0, 2.0), Compat.reference()).dx == 0.4
    spaxels = dataclasses.replace(GRID, celestial=False)
    assert stacked_grid(LIMITS, spaxels, (0.0, 0.0, 0.0)).dx == 1.0
    cards = {item.keyword: item.value for item in natural.cards()}
    assert (cards["CRVAL2"], cards["CD2_2"], cards["CTYPE2"]) == (5000.0, 1.25, "AWAV")


def test_stacked_slice():
    grid = stacked_grid(LIMITS, dataclasses.replace(GRID, celestial=False), (0.0, 0.0, 0.0))
    rows = make_rows([10, 10, 11.6, 12], 0, [5001.25, 5001.75, 5005, 5000], [3, 7, 5, 9], [0, 0, 0, DQ.HOT], 1, 0)
    image = stack_slice(rows, grid)
    assert image.shape == (5, 3)
    assert image[1, 0] == 3  # exact hit
    first, second = (((1.5625 - d) / (1.5625 * d)) ** 2 for d in (1.25, 0.75))
    assert image[2, 0] == pytest.approx((3 * first + 7 * second) / (first + second))
    assert image[4, 2] == image[3, 2] == 5
    assert image[0, 2] == image[0, 1] == 0  # flagged; empty
    assert stack([image, image]).shape == (5, 6)


def flags():
    dq = np.full((4, 2, 3), int(DQ.MISSING), np.int32)
    dq[:, 0, 0] = 0
    dq[1:, 1, 0] = 0
    dq[2, 1, 0] = int(DQ.MISSING)
    dq[0, 0, 2] = as_int32(DQ.OUTSIDE_RANGE)
    dq[3, 0, 2] = int(DQ.DEAD)
    return dq


def test_euro3d_rows():
    dq = flags()
    good = dq == 0
    data = np.where(good, np.arange(24, dtype=np.float32).reshape(4, 2, 3), 0)
    stat = np.where(good, np.float32(4), 0)
    table = Euro3DTable(GRID)
    table.add_planes(0, dq[:3])
    table.add_planes(3, dq[3:])
    assert (table.n_rows, table.length, table.n_planes_of_images, table.has_unused_elements) == (3, 4, 5, True)
    assert table.image_shape() == (2, 3)
    rows = np.concatenate([table.rows(x, data[:, :, x], stat[:, :, x], dq[:, :, x]) for x in range(3)])
    assert rows.dtype == spectrum_dtype(4)
    assert rows["SPEC_ID"].tolist() == [1, 2, 5]
    assert rows["SPEC_STA"].tolist() == [1, 2, 4]
    assert rows["SPEC_LEN"].tolist() == [4, 3, 1]
    assert np.array_equal(rows["DATA_SPE"][1], [9, 0, 21, np.nan], equal_nan=True)
    assert np.array_equal(rows["STAT_SPE"][1], [2, 0, 2, np.nan], equal_nan=True)
    assert rows["QUAL_SPE"][1].tolist() == [0, DQ.MISSING, 0, 0]
    assert rows["QUAL_SPE"][2].tolist() == [DQ.DEAD, 0, 0, 0]
    assert (rows["XPOS"][1], rows["YPOS"][1]) == GRID.position(1, 2)


def test_euro3d_without_data_and_out_of_order():
    table = Euro3DTable(GRID)
    with pytest.raises(DataError, match="expected those from 0 on"):
        table.add_planes(1, flags())
    table.add_planes(0, np.full((4, 2, 3), int(DQ.MISSING), np.int32))
    assert (table.n_rows, table.length, table.has_unused_elements) == (0, 0, False)


def test_euro3d_images_of_the_reference():
    dq = np.full((4, 2, 3), int(DQ.MISSING), np.int32)
    dq[:, 1, 1:] = 0
    table = Euro3DTable(GRID)
    table.add_planes(0, dq)
    assert table.image_shape(Compat.reference()) == (1, 2)
    rotated = Euro3DTable(dataclasses.replace(GRID, cd=(-4e-5, 4e-5, 4e-5, 4e-5)))
    rotated.add_planes(0, dq)  # an area of 2 x 1 pixels, but corners on a diagonal are a pixel apart along one axis
    assert rotated.image_shape(Compat.reference()) == (2, 1)
    assert rotated.image_shape() == (2, 3)


def test_euro3d_group():
    header = Header()
    for key, value in {"PRES START": 743.0, "TEMP": 11.5, "RHUM": 14.5}.items():
        header[f"HIERARCH ESO TEL AMBI {key}"] = value
    for key in ("AIRM", "PARANG"):
        header[f"HIERARCH ESO TEL {key} START"], header[f"HIERARCH ESO TEL {key} END"] = 1.2, 1.4
    row = group_row(header, GRID)[0]
    assert (row["G_SHAPE"], row["GROUP_N"]) == (b"R", 1)
    names = ("G_SIZE1", "G_POSWAV", "G_AIRMAS", "G_PARANG", "G_PRESSU", "G_TEMPER", "G_HUMID")
    assert [float(row[name]) for name in names] == pytest.approx([STEP, 6975, 1.3, 1.3, 743, 284.65, 14.5])


def exposure_header(**changes):
    header = Header()
    for key, value in {
        "MJD-OBS": 56982.25,
        "EXPTIME": 900.0,
        "ARCFILE": "MUSE.fits",
        "HIERARCH ESO OBS PROG ID": "60.A-9100(A)",
        "HIERARCH ESO OBS ID": 12,
        "HIERARCH ESO INS MODE": "WFM-NOAO-N",
        "HIERARCH ESO TEL AIRM START": 1.2,
        "HIERARCH ESO TEL AIRM END": 1.3,
        "HIERARCH ESO TEL AMBI FWHM START": 0.8,
        "HIERARCH ESO TEL AMBI FWHM END": 0.9,
        "HIERARCH ESO TEL IA FWHMLIN": 0.7,
        **changes,
    }.items():
        if value is not None:
            header[key] = value
    return header


@pytest.mark.parametrize(
    "key", ["MJD-OBS", "EXPTIME", "ARCFILE", "HIERARCH ESO OBS PROG ID", "HIERARCH ESO OBS ID", "HIERARCH ESO INS MODE"]
)
def test_sdp_needs_keywords(key):
    with pytest.raises(ValueError, match=f"night.fits.*{key.removeprefix('HIERARCH ')}"):
        sdp.SdpExposure.from_header(exposure_header(**{key: None}), "night.fits")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ("MUSE.fits",)),
        ({"HIERARCH ESO PRO ANCESTOR": "raw.fits"}, ("raw.fits",)),
        ({"ARCFILE": None, "ORIGFILE": "orig.fits"}, ("orig.fits",)),
        (
            {"ARCFILE": None, "HIERARCH ESO PRO REC1 RAW1 NAME": "a", "HIERARCH ESO PRO REC1 RAW2 NAME": "b"},
            ("a", "b"),
        ),
    ],
)
def test_sdp_sources(changes, expected):
    assert sdp.SdpExposure.from_header(exposure_header(**changes), "x").sources == expected


def test_spectral_resolution():
    assert sdp.spectral_resolution(4000, nfm=False) == 1674.77
    assert sdp.spectral_resolution((4650 + 4810.3448) / 2, nfm=False) == pytest.approx((1674.77 + 1769.45) / 2)
    assert sdp.spectral_resolution(9999, nfm=True) == 3450


def exposures(*changes):
    return [sdp.SdpExposure.from_header(exposure_header(**c), "x") for c in changes]


def test_sky_resolution():
    header = exposure_header()
    (value, measured), (error, error_measured) = sdp.sky_resolution(exposures({}), header)
    assert (value, measured) == (pytest.approx(0.583926, abs=1e-6), True)
    assert (error, error_measured) == (pytest.approx(np.hypot(0.05, 0.3)), True)
    without = {"HIERARCH ESO TEL IA FWHMLIN": None, "EXPTIME": 300.0}
    (mixed, _), (error, error_measured) = sdp.sky_resolution(exposures({}, without), header)
    assert mixed == pytest.approx((900 * value + 300 * 0.853823) / 1200)
    assert (error, error_measured) == (0.495547, False)


def test_sky_resolution_narrow_field():
    header = exposure_header(**{"HIERARCH ESO INS MODE": "NFM-AO-N"})
    assert sdp.sky_resolution(exposures({}), header) == ((0.15, False), (0.05, False))
    header["HIERARCH ESO DRS MUSE RTC STREHL"], header["HIERARCH ESO DRS MUSE RTC STREHERR"] = 10.0, 1.0
    (value, measured), (error, _) = sdp.sky_resolution(exposures({}), header)
    assert (value, error, measured) == (pytest.approx(0.0607, abs=1e-3), pytest.approx(0.01, abs=2e-3), True)


def test_magnitude_limit():
    noise = np.random.default_rng(1).normal(0, 2, (80, 90)).astype(np.float32)
    limit = sdp.magnitude_limit(noise, 0.8, (0.2, 0.2), 4750, 9350)
    size = 0.8 / 0.2  # spaxels
    smoothed = 2 / (np.sqrt(4 * np.pi) * size / 2.3548)
    flux = 5 * smoothed * 4 * np.pi * (size / 2.3548) ** 2 * 1e-20
    assert limit == pytest.approx(-2.5 * np.log10(flux * 3.34e4 * 4750 * 9350 / 3631), abs=0.15)
    assert sdp.magnitude_limit(noise * 10, 0.8, (0.2, 0.2), 4750, 9350) == pytest.approx(limit - 2.5, abs=1e-6)
    bright = noise.copy()
    bright[40:44, 40:44] = 1e4
    bright[:3] = np.nan
    assert sdp.magnitude_limit(bright, 0.8, (0.2, 0.2), 4750, 9350) == pytest.approx(limit, abs=0.3)
    for image, fwhm in ((noise, 0.1), (noise[:6], 0.8), (noise * np.nan, 0.8), (noise * 0, 0.8)):
        assert sdp.magnitude_limit(image, fwhm, (0.2, 0.2), 4750, 9350) == -99


def test_sdp_cards():
    grid = dataclasses.replace(GRID, nx=40, ny=30)
    rng = np.random.default_rng(3)
    statistics = sdp.CubeStatistics(grid)
    stat = rng.uniform(2.0, 2.03, grid.shape).astype(np.float32)
    statistics.add_planes(0, rng.normal(0, 1, grid.shape).astype(np.float32), stat, np.zeros(grid.shape, np.int32))
    other = {"HIERARCH ESO OBS PROG ID": "099.A-0001(B)", "HIERARCH ESO OBS ID": 7, "MJD-OBS": 56983.0}
    cards = {
        item.keyword: item
        for item in sdp.primary_cards(
            exposures({}, other),
            exposure_header(),
            grid,
            statistics,
            images=["IMAGE_FOV_0001.fits"],
            largest_image=1200,
            data_unit=FLUX,
            has_response=False,
            software="muse/2.8.7",
        )
    }
    values = {key: item.value for key, item in cards.items()}
    assert (values["RA"], values["DEC"]) == pytest.approx(grid.position(20, 15))
    assert values["EXPTIME"] == pytest.approx(1800 * 300**2 / 1200)
    assert (values["TEXPTIME"], values["NCOMBINE"], values["MJD-OBS"]) == (1800, 2, 56982.25)
    assert values["MJD-END"] == pytest.approx(56983 + 900 / 86400)
    assert (values["OBID1"], values["OBID2"]) == (7, 12)
    assert (values["PROG_ID"], values["PROGID1"]) == ("MULTI", "099.A-0001(B)")
    assert (values["PROV2"], values["ASSON1"], values["FLUXCAL"]) == (
        "MUSE.fits",
        "IMAGE_FOV_0001.fits",
        "UNCALIBRATED",
    )
    assert (values["WAVELMIN"], values["WAVELMAX"]) == (500.0, 500.375)
    assert values["PIXNOISE"] == pytest.approx(np.sqrt(2.02) * 1e-20)
    assert 20 < values["ABMAGLIM"] < 30
    assert "resolution (mea" in cards["SKY_RES"].comment  # cut to what fits


def test_sdp_world_coordinates():
    cards = sdp.extension_wcs(GRID.cards(Header()))
    keys = [item.keyword for item in cards]
    assert keys[keys.index("CRVAL3") + 1] == "CRDER3"
    values = {item.keyword: item.value for item in cards}
    assert (values["CUNIT3"], values["CRDER3"], values["CSYER2"]) == ("angstrom", 0.026, -1)

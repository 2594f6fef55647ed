# SPDX-License-Identifier: GPL-2.0-or-later
"""SKY_MASK, OUTPUT_WCS and OFFSET_LIST that users make: the recipes read them, and they say what was meant."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

import muse_core.api as muse
from muse_core.errors import InputError, ParameterError, ProductError
from muse_core.io.calibration import read_offsets
from muse_core.io.sky import read_sky_mask
from muse_core.model.grid import parse_output_wcs

RA, DEC = 53.1625, -27.7914


def test_mask_of_regions_and_darkness(notebook):
    cube = muse.Cube.open("DATACUBE_FINAL.fits")
    white = cube.image()
    y, x = np.unravel_index(np.nanargmax(white.data), white.data.shape)
    source = (*map(float, white.wcs.wcs_pix2world(x, y, 0)), 1.0)
    path = muse.make_sky_mask("mask.fits", white, objects=[source])
    mask = read_sky_mask(path)
    assert mask.celestial
    assert mask.data[y, x] == 0
    assert mask.data.sum() == pytest.approx(np.isfinite(white.data).sum() - np.pi * 25, abs=12)
    half = read_sky_mask(muse.make_sky_mask("half.fits", "DATACUBE_FINAL.fits", fraction=0.5)).data
    assert 0.4 < half.sum() / np.isfinite(white.data).sum() < 0.6
    others = np.sort(white.data[(half == 0) & np.isfinite(white.data)])
    assert white.data[half > 0].max() <= others[1]  # the darkest pixel is never sky
    box = read_sky_mask(muse.make_sky_mask("box.fits", cube, region=muse.Region.box(*cube.centre, 8.0, 2.0))).data
    assert 200 < box.sum() <= 41 * 11
    table = muse.steps.calibrate_flux(muse.PixelTable.read("model.sof"))
    assert muse.steps.sky.fit(table, mask="mask.fits").spectrum is not None
    with pytest.raises(ParameterError, match="no pixel that is sky"):
        muse.make_sky_mask("none.fits", cube, region=(0.0, 0.0, 1.0))
    with pytest.raises(ProductError, match="mask.fits"):
        muse.make_sky_mask("mask.fits", cube)


@pytest.mark.parametrize("angle", [0.0, 30.0])
def test_grid_of_centre_and_size(tmp_path, angle):
    path = muse.make_output_wcs(
        tmp_path / "grid.fits", RA, DEC, (12.0, 6.0), angle=angle, step=0.3, lambdamin=7270, lambdamax=7280
    )
    with fits.open(path) as hdus:
        header = hdus["DATA"].header
        override, wcs = parse_output_wcs(header), WCS(header).celestial
    assert override.naxis == (40, 20, 9)
    centre = wcs.wcs_pix2world(19.5, 9.5, 0)
    np.testing.assert_allclose(centre, (RA, DEC), atol=1e-9)
    up = wcs.wcs_pix2world(19.5, 10.5, 0)
    east, north = (up[0] - RA) * np.cos(np.radians(DEC)) * 3600, (up[1] - DEC) * 3600
    assert np.degrees(np.arctan2(east, north)) == pytest.approx(angle, abs=1e-4)
    assert np.hypot(east, north) == pytest.approx(0.3, rel=1e-6)


def test_grid_of_exposures(notebook):
    cube = muse.Cube.open("DATACUBE_FINAL.fits")
    table = muse.steps.correct_refraction(muse.PixelTable.read("none.sof"))
    path = muse.make_output_wcs("grid.fits", exposures=[table, cube], angle=40.0, ctype="AWAV-LOG")
    with fits.open(path) as hdus:
        wcs, shape = WCS(hdus["DATA"].header).celestial, hdus["DATA"].shape
    x, y = wcs.wcs_world2pix(*table.sky(), 0)
    assert x.min() > -0.5
    assert y.min() > -0.5
    assert x.max() < shape[2] - 0.5
    assert y.max() < shape[1] - 0.5
    made = muse.make_cube(muse.steps.project(muse.steps.calibrate_flux(table)), grid=path)
    assert made.shape == shape
    assert made.wave[-1] >= table.lbda.max()
    assert np.isfinite(made.image().data).sum() > 1000
    with pytest.raises(ParameterError, match="expected all of them"):
        muse.make_output_wcs("other.fits", RA, DEC, 3.0)
    with pytest.raises(ParameterError, match="AWAV-LOG"):
        muse.make_output_wcs("other.fits", RA, DEC, 3.0, lambdamin=7000, lambdamax=7100, ctype="FREQ")


def test_offsets(tmp_path):
    dates = ["2014-11-21T06:32:33.123", "2014-11-21T06:51:10.456"]
    columns = {"DATE_OBS": dates, "RA_OFFSET": [0.36, -0.72], "DEC_OFFSET": [0.1, 0.2], "FLUX_SCALE": [1.0, 1.1]}
    path = muse.make_offset_list(
        tmp_path / "offsets.fits", Table(columns, units={"RA_OFFSET": "arcsec", "DEC_OFFSET": "arcsec"})
    )
    found = read_offsets(path)
    assert found.date_obs == tuple(dates)
    np.testing.assert_allclose(found.ra_offset, [1e-4, -2e-4])
    np.testing.assert_allclose(found.flux_scale, [1.0, 1.1])
    assert fits.getdata(path)["MJD_OBS"][0] == pytest.approx(56982.27260559)
    for column in columns:
        if column != "FLUX_SCALE":
            with pytest.raises(InputError, match=column):
                muse.make_offset_list(tmp_path / "o.fits", {k: v for k, v in columns.items() if k != column})
    with pytest.raises(InputError, match="DATE_OBS"):
        muse.make_offset_list(tmp_path / "o.fits", {**columns, "DATE_OBS": ["yesterday", "today"]})

# SPDX-License-Identifier: GPL-2.0-or-later
"""Raman cleaning against ESO's recipe, from the rows before it.

With the arithmetic of the reference the fit stops at the same point to the last bit, although that may be far from the
minimum; by default ours is the minimum.
"""

import dataclasses

import numpy as np
import pytest
from astropy.io import fits
from harness.stages import IN_PIXELS, Stage, pixel_table, same_rows

from muse_core.cython_ext import raman as raman_kernels
from muse_core.io.lsf import read_lsf
from muse_core.io.raman import read_raman_lines
from muse_core.model.compat import OURS, Compat
from muse_core.model.dq import DQ
from muse_core.model.filters import white
from muse_core.model.grid import TableLimits, make_grid
from muse_core.model.raman import BANDS
from muse_core.simulate.exposure import ExposureSpec
from muse_core.steps import raman
from muse_core.steps.collapse import Collapse
from muse_core.steps.resample import ResampleOptions, SlabResampler
from muse_core.steps.resample.options import CosmicRayDirection
from muse_core.steps.sky.mask import create_sky_mask, mask_in_spaxels, select_rows

pytestmark = pytest.mark.reference


@dataclasses.dataclass(frozen=True)
class Settings:
    """Parameters of the recipe."""

    width: float = 20.0
    fraction: float = 0.1
    ignore: float = 0.05

    def options(self):
        """Options of the recipe."""
        parameters = (f"--skymodel_fraction={self.fraction}", f"--skymodel_ignore={self.ignore}")
        return ("--skymethod=none", f"--raman_width={self.width}", *parameters, *IN_PIXELS)


SETTINGS = [Settings(), Settings(width=16.0), Settings(width=26.0, fraction=0.4, ignore=0.02)]
AO = {"mode": "WFM-AO-N", "ifus": (13,), "raman_flux": 300.0, "date_obs": "2018-11-21T06:32:33.123"}
SPECS = {
    "both": ExposureSpec(lbda_min=6474, lbda_max=6838, **AO),
    "O2": ExposureSpec(lbda_min=6465, lbda_max=6510, **AO),
    # few rows a slice, of which sometimes only the last one is reached by the line
    "edge-of-N2": ExposureSpec(lbda_min=6790, lbda_max=6820, seed=2, **AO),
}


class Bands:
    """The bands as they enter the fit, made by our steps from the rows before the Raman cleaning."""

    def __init__(self, stage, settings):
        self.folder = stage.run(f"width_{settings.width}", "raman", *settings.options(), save="individual,raman")
        rows, sof = stage.rows(), stage.calibrations("raman")
        header = fits.getheader(stage.folder / "none" / "PIXTABLE_REDUCED_0001.fits")
        self.lines = read_raman_lines(sof["RAMAN_LINES"][0])
        self.lsf, _ = read_lsf(sof["LSF_PROFILE"])
        self.images, tables = {}, []
        for band in BANDS:
            mine = np.ascontiguousarray(rows[raman.in_band(rows["lbda"], band, settings.width)])
            if len(mine):
                self.images[band] = self._image(header, mine, settings)
            tables.append(mine)
        self.tables = [self._select(mine) for mine in tables]

    @staticmethod
    def _image(header, rows, settings):
        extremes = [f(rows[name]) for name in ("xpos", "ypos", "lbda") for f in (np.min, np.max)]
        grid = make_grid(header, TableLimits.from_extremes(extremes), "pix")
        options = ResampleOptions(pixfrac=(0.6,) * 3)
        cube = SlabResampler(grid, options, CosmicRayDirection.X).slab(rows, None, 0, grid.nz)
        rows["dq"][cube.cosmic_rays] |= DQ.COSMIC_RAY
        collapse = Collapse(grid, [white()])
        collapse.add_planes(0, cube.data, cube.dq)
        (image,) = collapse.images()
        bad = np.isnan(image)
        mask, _, _ = create_sky_mask(image, bad, settings.fraction, settings.ignore)
        mask = mask_in_spaxels(mask, *grid.crval[:2])
        return raman.BandImage(image, np.where(bad, np.int32(DQ.MISSING), np.int32(0)), mask)

    def _select(self, rows):
        selected = np.ones(len(rows), np.uint8)
        for image in self.images.values():
            select_rows(rows, image.mask, selected)
        return rows[(selected != 0) & (rows["dq"] == 0)]

    def fit(self, compat):
        return raman.fit_raman(self.tables, self.lines, self.lsf, compat)

    def cost(self, fit):
        total = 0.0
        for rows, band, flux in zip(self.tables, BANDS, fit.flux, strict=True):
            out = np.empty(len(rows))
            spectrum = raman._line_spectra(rows, [(band, 1.0)], self.lines, self.lsf, OURS)
            raman_kernels.residuals(rows, spectrum, fit.shape, flux, fit.rounded, out)
            total += (out**2).sum()
        return total


@pytest.fixture(scope="module", params=SPECS)
def stage(request, tmp_path_factory) -> Stage:
    return Stage.make(tmp_path_factory.mktemp(request.param), SPECS[request.param])


@pytest.fixture(scope="module")
def runs(stage):
    return [Bands(stage, settings) for settings in SETTINGS]


def fit_of_reference(bands):
    """The reference's fit, from its QC keywords."""
    header = fits.getheader(bands.folder / "RAMAN_IMAGES_0001.fits")
    shape = np.array([header[f"ESO QC SCIPOST RAMAN SPATIAL {name}"] for name in ("XX", "XY", "YY", "X", "Y")])
    unit = raman.RamanFit(shape, np.ones(2), 0.0).total_flux(bands.lines)
    flux = np.array([header.get(f"ESO QC SCIPOST RAMAN FLUX {band.name}", 0.0) for band in BANDS]) / unit
    return raman.RamanFit(shape, flux, 0.0, rounded=True)


def same_products(stage, bands, fit):
    """Compare QC keywords, images and rows to the last bit."""
    with fits.open(bands.folder / "RAMAN_IMAGES_0001.fits") as hdus:
        for key, value in fit.qc_cards(bands.lines):
            assert hdus[0].header["ESO QC SCIPOST " + key] == pytest.approx(value, rel=1e-6), key
        images = raman.raman_images(fit, bands.lines, bands.images)
        assert [hdu.name for hdu in hdus[1:]] == [image.name for image in images]
        for hdu, image in zip(hdus[1:], images, strict=True):
            np.testing.assert_array_equal(image.data, hdu.data, err_msg=hdu.name)
            assert image.unit == hdu.header.get("BUNIT", "")
    rows = stage.rows()
    raman.subtract_raman(rows, fit, bands.lines, bands.lsf, Compat.reference())
    same_rows(rows, pixel_table(bands.folder))


def test_same_bits_as_the_reference(stage, runs):
    for bands in runs:
        fit = bands.fit(Compat.reference())
        np.testing.assert_allclose(fit.shape, fit_of_reference(bands).shape, rtol=1e-13)
        same_products(stage, bands, fit)


def test_ours_is_the_lower_cost(runs):
    for bands in runs:
        lowest = bands.cost(bands.fit(OURS))
        assert lowest < bands.cost(fit_of_reference(bands))
        assert lowest < bands.cost(bands.fit(Compat.reference()))

# SPDX-License-Identifier: GPL-2.0-or-later
"""FWHM of sources in the central plane."""

import dataclasses

import numpy as np
import pytest
from harness.grids import sky_grid

from muse_core.model.compat import OURS, Compat
from muse_core.steps.qc import fwhm_plane, fwhm_qc

STEP = 0.2 / 3600
GRID = sky_grid(60, 50, 101, (10.0, -5.0, 5000.0), (30.0, 25.0))
SPAXEL = (0.2, 0.2)


def field(*sources, noise=0.5):
    """Gaussian sources (x, y from 1, peak, sigma x, sigma y) on noise."""
    y, x = np.mgrid[1:51, 1:61]
    image = np.random.default_rng(2).normal(0, noise, x.shape)
    for cx, cy, peak, sx, sy in sources:
        image += peak * np.exp(-((x - cx) ** 2) / (2 * sx**2) - (y - cy) ** 2 / (2 * sy**2))
    return image.astype(np.float32)


def measure(image, grid=GRID, compat=OURS):
    return dict(fwhm_qc(image, grid, SPAXEL, compat))


def test_sources():
    result = measure(field((15, 12, 300, 2, 3), (40, 30, 200, 2, 3), (20, 38, 100, 2, 3)))
    assert (result["NDET"], result["FWHM NVALID"]) == (3, 3)
    assert result["LAMBDA"] == 5062.5
    assert fwhm_plane(GRID) == 50
    assert [result[f"POS{k} {axis}"] for k in (1, 2, 3) for axis in "XY"] == [15, 12, 40, 30, 20, 38]
    for k in (1, 2, 3):
        assert result[f"FWHM{k} X"] == pytest.approx(2.355 * 2 * 0.2, rel=0.05)
        assert result[f"FWHM{k} Y"] == pytest.approx(2.355 * 3 * 0.2, rel=0.05)
    widths = np.array([result[f"FWHM{k} {axis}"] for k in (1, 2, 3) for axis in "XY"])
    assert result["FWHM MEDIAN"] == pytest.approx(np.median(widths), rel=1e-6)
    assert result["FWHM MAD"] == pytest.approx(np.median(np.abs(widths - np.median(widths))), rel=1e-5)


def test_two_sources_give_no_statistics():
    result = measure(field((15, 12, 300, 2, 2), (40, 30, 200, 2, 2)))
    assert (result["NDET"], result["FWHM NVALID"], result["FWHM MEDIAN"], result["FWHM MAD"]) == (2, 2, 0, 0)


def test_no_sources(caplog):
    result = measure(np.zeros((50, 60), np.float32))
    assert result == {"NDET": 0, "LAMBDA": 5062.5, "POS0 X": -1, "POS0 Y": -1, "FWHM0 X": -1, "FWHM0 Y": -1}
    assert "plane 51" in caplog.text


def test_source_at_the_border_has_no_width():
    image = field((15, 12, 300, 2, 2), (40, 30, 200, 2, 2), (30, 49, 150, 2, 2), noise=0.0)
    result = measure(image)
    assert result["FWHM3 X"] == result["FWHM3 Y"] == -1
    assert result["POS3 X"] == 30
    assert (result["NDET"], result["FWHM NVALID"]) == (3, 2)


def test_turned_grid():
    turned = dataclasses.replace(GRID, cd=(-0.8 * STEP, 0.6 * STEP, 0.6 * STEP, 0.8 * STEP))
    image = field((20, 20, 300, 2, 3))
    x, y = (measure(image)[f"FWHM1 {axis}"] for axis in "XY")
    right = measure(image, turned)
    assert right["FWHM1 X"] == pytest.approx(0.8 * x + 0.6 * y, rel=1e-6)
    assert right["FWHM1 Y"] == pytest.approx(0.8 * y + 0.6 * x, rel=1e-6)
    theirs = measure(image, turned, Compat.reference())
    # degrees an arcsecond times arcseconds: their y takes up the converted x
    assert theirs["FWHM1 X"] == right["FWHM1 X"]
    assert theirs["FWHM1 Y"] == pytest.approx(0.16 / 0.2 * y + 0.12 * right["FWHM1 X"], rel=1e-6)


def test_cube_in_spaxels_and_logarithmic_axes():
    spaxels = dataclasses.replace(GRID, celestial=False, cd=(3.0, 0.0, 0.0, 3.0))
    image = field((20, 20, 300, 2, 3))
    assert measure(image, spaxels)["FWHM1 X"] == measure(image)["FWHM1 X"]
    log, vacuum = (dataclasses.replace(GRID, ctype3=name) for name in ("AWAV-LOG", "WAVE-LOG"))
    assert measure(image, log)["LAMBDA"] == np.float32(5000 * np.exp(50 * 1.25 / 5000))
    assert measure(image, vacuum)["LAMBDA"] == 5062.5


def test_nan_is_left_aside():
    image = field((15, 12, 300, 2, 2), (40, 30, 200, 2, 2))
    image[29, 41] = np.nan  # within the half maximum of the second source
    image[0, 0] = np.nan
    result = measure(image)
    assert (result["NDET"], result["FWHM NVALID"]) == (2, 1)
    assert result["FWHM1 X"] > 0
    assert result["FWHM2 X"] == -1
    assert measure(image, compat=Compat(nan_hides_sources=True))["NDET"] == 0

# SPDX-License-Identifier: GPL-2.0-or-later
"""Not parity but truth: what is left of a known sky, of which the noise is known too."""

import numpy as np
import pytest

from muse_core.io.lsf import read_lsf
from muse_core.io.sky import read_sky_lines
from muse_core.model.origin import encode
from muse_core.model.rows import make_rows
from muse_core.simulate.calibrations import write_lsf, write_sky_lines
from muse_core.simulate.exposure import ExposureSpec
from muse_core.simulate.truth import Truth
from muse_core.steps.sky.lsf import count_slices, empty_counts
from muse_core.steps.sky.model import fit_sky
from muse_core.steps.sky.spectrum import SpectrumAccumulator, usable_samples
from muse_core.steps.sky.subtract import continuum_cut, cut_rows, subtract_continuum, subtract_lines

IFU = 12
LLO, LHI = 7270.0, 7350.0


@pytest.fixture(scope="module")
def sky_rows():
    """Rows of an IFU that sees nothing but sky: sky with noise in data, sky without in the second array."""
    truth = Truth(ExposureSpec(ifus=(IFU,), lbda_min=LLO, lbda_max=LHI, sources=()))
    rng = np.random.default_rng(7)
    n = 5000
    rows, skies = [], []
    for slice_number in range(1, 49):
        lbda = np.sort(rng.uniform(LLO, LHI, n)).astype(np.float32)
        sky = truth.sky_spectrum(lbda.astype(np.float64), IFU, slice_number)
        variance = 20 + sky
        data = sky + rng.normal(0, np.sqrt(variance))
        rows.append(
            make_rows(
                0, 0, lbda, data.astype(np.float32), 0, variance.astype(np.float32), encode(1, 1, IFU, slice_number, 0)
            )
        )
        skies.append(sky)
    return np.concatenate(rows), np.concatenate(skies), truth


def test_residuals_at_line_centres_are_noise(sky_rows, tmp_path):
    rows, sky, truth = sky_rows
    rows = rows.copy()
    lsf, _ = read_lsf([write_lsf(tmp_path / "lsf.fits", IFU)])
    lines = read_sky_lines(write_sky_lines(tmp_path / "lines.fits"))
    counts = empty_counts()
    count_slices(rows, counts)
    accumulator = SpectrumAccumulator(float(rows["lbda"].min()), float(rows["lbda"].max()), 0.3125)
    accumulator.add(usable_samples(rows, np.ones(len(rows), np.uint8)))
    model = fit_sky(accumulator.spectrum(), lines, lsf, counts, 0.3125, 0.3125)

    limits = continuum_cut(model.continuum, float(rows["lbda"].min()), float(rows["lbda"].max()))
    sky = sky[(rows["lbda"] >= limits[0]) & (rows["lbda"] <= limits[1])]
    rows = cut_rows(rows, limits)
    noise = rows["data"] - sky
    subtract_continuum(rows, model.continuum)
    subtract_lines(rows, model.lines, lsf)

    true = truth.sky_lines
    true = true[(true["lbda"] > LLO + 3) & (true["lbda"] < LHI - 3)]
    brightest = true[np.argsort(true["flux"])[-6:]]
    centre = np.abs(rows["lbda"][:, None] - brightest["lbda"]).min(axis=1) < 0.5
    assert centre.sum() > 10000
    assert sky[centre].mean() > 2 * sky.mean()
    ratio = np.sqrt(np.mean(rows["data"][centre] ** 2) / np.mean(noise[centre] ** 2))
    assert 0.95 < ratio < 1.05
    assert abs(rows["data"][centre].mean()) < 0.005 * sky[centre].mean()

    found = model.lines.take(np.argsort(-model.lines.flux)[:6])
    for line in brightest:
        nearest = np.argmin(np.abs(found.lbda - line["lbda"]))
        assert found.lbda[nearest] == pytest.approx(line["lbda"], abs=0.02)
        assert found.flux[nearest] == pytest.approx(line["flux"], rel=0.03)

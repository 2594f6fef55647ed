# SPDX-License-Identifier: GPL-2.0-or-later
"""Invariants of the sky subtraction."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from muse_core.model.lsf import LsfCube, LsfGrid, LsfImage
from muse_core.model.origin import encode
from muse_core.model.rows import make_rows
from muse_core.model.skylines import SkyLines
from muse_core.model.spectrum import Continuum
from muse_core.steps.sky.lsf import fold_with_bin, line_spectrum, lsf_nodes
from muse_core.steps.sky.mask import create_sky_mask
from muse_core.steps.sky.spectrum import SpectrumAccumulator, usable_samples
from muse_core.steps.sky.subtract import subtract_continuum, subtract_lines

GRID = LsfGrid(1.0, -7.5, 0.1, 1.0, 4650.0, 160.0)
SEEDS = st.integers(0, 2**32 - 1)
quick = settings(derandomize=True, max_examples=40, deadline=None)


def random_lsf(rng) -> LsfImage:
    x = GRID.offset_value + np.arange(151) * GRID.offset_step
    sigma = rng.uniform(0.8, 1.5, (30, 1))
    return LsfImage(np.exp(-0.5 * ((x - rng.uniform(-0.5, 0.5)) / sigma) ** 2) * rng.uniform(0.5, 1.5), GRID)


@given(SEEDS, st.floats(4500, 9500))
@quick
def test_profile_has_unit_sum_and_its_centroid_at_zero(seed, line):
    x, z = lsf_nodes(random_lsf(np.random.default_rng(seed)), line)
    assert abs(z.sum() * GRID.offset_step - 1) < 1e-12
    assert abs((x * z).sum() * GRID.offset_step) < 1e-11


@given(SEEDS, st.floats(0.05, 3))
@quick
def test_folding_keeps_the_flux_of_a_narrow_profile(seed, width):
    image = random_lsf(np.random.default_rng(seed))
    narrow = LsfImage(image.data * (np.abs(np.arange(151) - 75) < 40), GRID)
    folded = fold_with_bin(narrow, width)
    np.testing.assert_allclose(folded.data.sum(axis=1), narrow.data.sum(axis=1), rtol=1e-11)


@given(SEEDS)
@quick
def test_lines_add_up(seed):
    rng = np.random.default_rng(seed)
    image = random_lsf(rng)
    lbda = np.sort(rng.uniform(5000, 5040, 200))
    lines, flux = rng.uniform(4995, 5045, 6), rng.uniform(0, 100, 6)
    together = line_spectrum(lbda, lines, flux, image)
    apart = sum(line_spectrum(lbda, lines[[k]], flux[[k]], image) for k in range(6))
    np.testing.assert_allclose(together, apart, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(line_spectrum(lbda, lines, 2 * flux, image), 2 * together, rtol=1e-12)


@given(SEEDS, st.integers(1, 9), st.floats(0.1, 5))
@quick
def test_spectrum_does_not_depend_on_chunks_and_keeps_a_constant(seed, n_chunks, width):
    rng = np.random.default_rng(seed)
    n = 200
    rows = make_rows(0, 0, rng.uniform(5000, 5050, n).astype(np.float32), 3.5, rng.integers(0, 2, n), 2.0, 0)
    rows["dq"][0] = 0
    selected = np.ones(n, np.uint8)
    spectra = []
    for parts in (1, n_chunks):
        accumulator = SpectrumAccumulator(float(rows["lbda"].min()), float(rows["lbda"].max()), width)
        for chunk, chosen in zip(np.array_split(rows, parts), np.array_split(selected, parts), strict=True):
            accumulator.add(usable_samples(chunk, chosen))
        spectra.append(accumulator.spectrum())
    np.testing.assert_array_equal(spectra[0].data, spectra[1].data)
    np.testing.assert_allclose(spectra[0].data, 3.5, rtol=1e-12)
    np.testing.assert_allclose(spectra[0].stat, 2.0, rtol=1e-12)
    assert (np.diff(spectra[0].lbda) > 0).all()


@given(SEEDS)
@quick
def test_subtraction_takes_away_what_was_put_in(seed):
    rng = np.random.default_rng(seed)
    image = random_lsf(rng)
    lbda = np.sort(rng.uniform(5000, 5050, 300).astype(np.float32))
    lines = SkyLines.from_columns(["x"] * 5, [0] * 5, rng.uniform(4990, 5060, 5), rng.uniform(0, 1000, 5))
    continuum = Continuum(np.linspace(4999, 5051, 40), rng.uniform(-50, 50, 40))
    sky = line_spectrum(lbda.astype(np.float64), lines.lbda, lines.flux, image)
    sky += np.interp(lbda.astype(np.float64), continuum.lbda, continuum.flux)
    rows = make_rows(0, 0, lbda, (7.0 + sky).astype(np.float32), 0, 1, encode(10, 100, 4, 1, 0))
    subtract_continuum(rows, continuum)
    subtract_lines(rows, lines, {4: LsfCube(image.data[None], GRID)})
    np.testing.assert_allclose(rows["data"], 7.0, atol=3e-7 * (np.abs(sky).max() + 50))


@given(SEEDS, st.floats(0, 1), st.floats(0, 1))
@quick
def test_sky_mask_is_between_its_limits_and_about_the_fraction(seed, fraction, ignore):
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(20, 30)).astype(np.float32)
    bad = rng.uniform(size=image.shape) < 0.1
    mask, low, high = create_sky_mask(image, bad, fraction, ignore)
    assert not mask[bad].any()
    assert ((image[mask != 0] > low) & (image[mask != 0] < high)).all()
    n = np.count_nonzero(~bad)
    assert abs(mask.sum() - fraction * (1 - ignore) * n) <= 2.5

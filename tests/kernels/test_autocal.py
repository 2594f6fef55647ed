# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels of the autocalibration against slow twins in numpy."""

import numpy as np
import pytest

from muse_core.cython_ext import autocal as autocal_kernels
from muse_core.model.origin import encode, ifu_of, slice_of
from muse_core.model.rows import make_rows

EDGES = np.float32([0, 5000, 6000, 6500, 7000])


def clipped_mean_twin(values, nstop, by_mad):
    v = np.asarray(values, np.float32)
    for clips in range(16):
        mean, middle = v.astype(np.float64).mean(), np.median(v.astype(np.float64))
        if by_mad:
            spread = 1.4826 * np.median(np.abs(v - middle).astype(np.float32).astype(np.float64))
        else:
            spread = v.astype(np.float64).std()
        kept = v[(v > middle - 3 * spread) & (v < middle + 3 * spread)]
        if len(kept) < nstop or len(kept) == len(v) or clips == 15:
            break
        v = kept
    return mean, spread, len(v)


@pytest.mark.parametrize("by_mad", [True, False])
@pytest.mark.parametrize("nstop", [1, 15, 20])
@pytest.mark.parametrize("n", [1, 2, 15, 16, 21, 80, 127, 1152])
def test_clipped_mean(n, nstop, by_mad):
    rng = np.random.default_rng(n)
    values = (rng.normal(100, 1, n) * rng.choice([1, 1, 1, 1.1, 3], n)).astype(np.float32)
    found = autocal_kernels.clipped_mean(values.copy(), np.empty_like(values), nstop, by_mad)
    np.testing.assert_allclose(found, clipped_mean_twin(values, nstop, by_mad), rtol=1e-14)


def test_clipping_ends_after_fifteen_times():
    values = np.float32(1.5 ** np.arange(90))
    found = autocal_kernels.clipped_mean(values.copy(), np.empty_like(values), 1, True)
    np.testing.assert_allclose(found, clipped_mean_twin(values, 1, True), rtol=1e-14)


def test_isolated_nan_is_clipped():
    values = np.linspace(1, 2, 31, dtype=np.float32)
    with_nan = np.insert(values, [0, 10, 31], np.nan).astype(np.float32)
    mean, _, n = autocal_kernels.clipped_mean(with_nan, np.empty_like(with_nan), 15, True)
    assert n == 31
    assert mean == pytest.approx(1.5, rel=1e-6)


@pytest.fixture
def rows():
    rng = np.random.default_rng(5)
    n = 60000
    origin = encode(rng.integers(21, 60, n), rng.integers(1, 4112, n), rng.integers(3, 5, n), rng.integers(1, 4, n), 20)
    lbda = rng.uniform(4800, 7100, n)
    return make_rows(0.0, 0.0, lbda, rng.normal(50, 5, n), 0, rng.uniform(1, 2, n), origin)


def sums_of(rows, selected=None, exclude_raman=0.0):
    sums, counts = np.zeros((24, 48, 4, 128)), np.zeros((24, 48, 4, 128), np.int32)
    autocal_kernels.add_columns(rows, selected, EDGES, exclude_raman, sums, counts)
    return sums, counts


@pytest.mark.parametrize("exclude_raman", [0.0, 30.0])
def test_sums_of_columns(rows, exclude_raman):
    selected = (np.arange(len(rows)) % 3 != 0).astype(np.uint8)
    sums, counts = sums_of(rows, selected, exclude_raman)
    lbda = rows["lbda"].astype(np.float64)
    use = (selected != 0) & (lbda < 7000)
    use &= (np.abs(lbda - 6483.8) >= exclude_raman) & (np.abs(lbda - 6826.5) >= exclude_raman)
    used = rows[use]
    index = (
        ifu_of(used["origin"]) - 1,
        slice_of(used["origin"]) - 1,
        np.digitize(used["lbda"], EDGES) - 1,
        used["origin"] >> 24,
    )
    expected, expected_counts = np.zeros_like(sums), np.zeros_like(counts)
    np.add.at(expected, index, used["data"])
    np.add.at(expected_counts, index, 1)
    np.testing.assert_array_equal(counts, expected_counts)
    np.testing.assert_array_equal(sums, expected)
    assert counts.sum() == use.sum() > 0


def test_rows_outside_the_bins_or_the_instrument_are_ignored(rows):
    odd = rows[:6].copy()
    odd["lbda"] = [-1.0, 7000.0, np.nan, 5500.0, 5500.0, 5500.0]
    odd["origin"][3:] = [0, (25 << 6) | 1, (1 << 6) | 49]
    assert sums_of(odd)[1].sum() == 0
    before = odd.tobytes()
    autocal_kernels.apply_factors(odd, EDGES, np.full((4, 24, 48), 2.0, np.float32))
    assert odd.tobytes() == before


def test_slice_fluxes(rows):
    sums, counts = sums_of(rows)
    rng = np.random.default_rng(6)
    counts[3] = rng.choice([50, 51], counts[3].shape)  # IFU 4: columns at the limit
    sums[3] = counts[3] * rng.normal(20, 1, counts[3].shape)
    sums[3, 0, 0, :3] = np.nan
    flux, npts = np.empty((4, 24, 48), np.float32), np.empty((4, 24, 48), np.int32)
    autocal_kernels.slice_fluxes(sums, counts, flux, npts)
    np.testing.assert_array_equal(npts, np.moveaxis(counts.sum(axis=3), 2, 0))
    valid = 0
    for ifu, islice, b in np.ndindex(24, 48, 4):
        good = counts[ifu, islice, b] > 50
        means = (sums[ifu, islice, b][good] / counts[ifu, islice, b][good]).astype(np.float32)
        n = 0
        if counts[ifu, islice, b].sum() > 100 and len(means) >= 20:
            finite = means[np.isfinite(means)]
            mean, _, n = clipped_mean_twin(finite, 15, True)
        if n > 20:
            assert flux[b, ifu, islice] == pytest.approx(mean, rel=1e-7)
            valid += 1
        else:
            assert np.isnan(flux[b, ifu, islice])
    assert valid > 100


def test_exactly_twenty_columns_do_not_suffice():
    sums, counts = np.zeros((24, 48, 1, 128)), np.zeros((24, 48, 1, 128), np.int32)
    counts[0, 0, 0, :20] = counts[0, 1, 0, :21] = 60
    sums[:] = counts * 7.0 + counts * np.arange(128) / 1000
    flux, npts = np.empty((1, 24, 48), np.float32), np.empty((1, 24, 48), np.int32)
    autocal_kernels.slice_fluxes(sums, counts, flux, npts)
    assert np.isnan(flux[0, 0, 0])
    assert flux[0, 0, 1] == np.float32(7.01)


def test_factors_are_applied_with_single_precision(rows):
    factors = np.random.default_rng(1).normal(1, 0.1, (4, 24, 48)).astype(np.float32)
    calibrated = rows.copy()
    autocal_kernels.apply_factors(calibrated, EDGES, factors)
    b = np.digitize(rows["lbda"], EDGES) - 1
    c = np.ones(len(rows), np.float32)
    inside = b < 4
    c[inside] = factors[b[inside], ifu_of(rows["origin"])[inside] - 1, slice_of(rows["origin"])[inside] - 1]
    np.testing.assert_array_equal(calibrated["data"], rows["data"] * c)
    np.testing.assert_array_equal(calibrated["stat"], rows["stat"] * (c * c))
    for name in ("xpos", "ypos", "lbda", "dq", "origin"):
        np.testing.assert_array_equal(calibrated[name], rows[name])

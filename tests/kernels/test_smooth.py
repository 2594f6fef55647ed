# SPDX-License-Identifier: GPL-2.0-or-later
"""Local polynomials against a well-conditioned fit; few points; bad arguments."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import Legendre

from muse_core.cython_ext.calibrate_smooth import smooth_locally


def smooth(lbda, values, half, rejection, n_threads=2):
    out, shape = np.empty(len(values)), (n_threads, 2 * half + 1)
    smooth_locally(lbda, values, half, rejection, np.empty(shape, np.uint8), np.empty(shape), out, n_threads)
    return out


def slow(lbda, values, half, rejection):
    out = np.empty(len(values))
    for i in range(len(values)):
        x = np.arange(max(i - half, 0), min(i + half + 1, len(values)))
        while True:
            fit = Legendre.fit(lbda[x], values[x], min(3, len(x) - 1), domain=[lbda[0], lbda[-1] + 1])
            residual = np.abs(values[x] - fit(lbda[x]))
            kept = x[residual < rejection * max(np.sqrt(np.mean(residual**2)), 1e-300)]
            if len(kept) == len(x):
                break
            x = kept
        out[i] = fit(lbda[i])
    return out


@settings(derandomize=True, max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(30, 120), st.integers(5, 40))
def test_against_slow_fit(seed, n, half):
    rng = np.random.default_rng(seed)
    lbda = 5000 + 1.25 * np.arange(n)
    values = np.sin(lbda / 50) + rng.normal(0, 0.01, n)
    values[rng.integers(n)] += 0.5
    found = smooth(lbda, values, half, 3.0)
    np.testing.assert_allclose(found, slow(lbda, values, half, 3.0), atol=1e-6)
    np.testing.assert_array_equal(smooth(lbda, values, half, 3.0, n_threads=1), found)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_few_points_stay(n):
    values = np.array([1.0, 1.005, 0.998, 1.007])[:n]
    np.testing.assert_allclose(smooth(5000 + 1.25 * np.arange(n), values, 10, 3.0), values, rtol=1e-6)


def test_outlier_is_left_out():
    lbda = 7000 + 1.25 * np.arange(100)
    values = 1 + 0.001 * (lbda - 7000)
    expected = values.copy()
    values[50] += 1.0
    np.testing.assert_allclose(smooth(lbda, values, 30, 3.0), expected, rtol=1e-9)


def test_lengths():
    with pytest.raises(ValueError, match="same length"):
        smooth_locally(np.ones(3), np.ones(4), 1, 3.0, np.empty((1, 3), np.uint8), np.empty((1, 3)), np.empty(4), 1)
    with pytest.raises(ValueError, match="a row for each thread"):
        smooth_locally(np.ones(4), np.ones(4), 1, 3.0, np.empty((1, 3), np.uint8), np.empty((1, 3)), np.empty(4), 2)

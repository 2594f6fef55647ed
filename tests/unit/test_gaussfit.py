# SPDX-License-Identifier: GPL-2.0-or-later
import numpy as np
import pytest
from scipy.optimize import approx_fprime, least_squares

from muse_core.steps.gaussfit import CORRELATION, SIGMA_X, SIGMA_Y, VOLUME, Early, fit_gaussians, gaussian

Y, X = (c.ravel().astype(float) for c in np.mgrid[1:12, 1:12])
TRUTH = np.array([3.0, 500.0, 0.3, 6.3, 5.4, 1.5, 1.1])
START = np.array([2.0, 400.0, 0.0, 6.0, 6.0, 1.3, 1.3])


def stamps(n, noise=1.0):
    rng = np.random.default_rng(n)
    values = gaussian(np.tile(TRUTH, (n, 1)), X, Y) + noise * rng.normal(size=(n, X.size))
    return values, np.full(values.shape, 1 / noise if noise else 1.0)


def fit(values, weights, start=START):
    n = len(values)
    return fit_gaussians(values, weights, np.tile(X, (n, 1)), np.tile(Y, (n, 1)), np.tile(start, (n, 1)))


def test_volume_of_the_model():
    y, x = (c.ravel() for c in np.mgrid[-20:30, -20:30])
    assert (gaussian(TRUTH[None], x, y) - TRUTH[0]).sum() == pytest.approx(TRUTH[VOLUME], rel=1e-6)


def test_derivatives():
    _, derivatives = gaussian(TRUTH[None], X, Y, jacobian=True)
    numerical = approx_fprime(TRUTH, lambda p: gaussian(p[None], X, Y)[0], 1e-7)
    np.testing.assert_allclose(derivatives[0], numerical, atol=2e-5)


def test_truth_is_recovered_without_noise():
    fits = fit(*stamps(3, noise=0.0))
    assert fits.converged.all()
    np.testing.assert_allclose(fits.parameters, np.tile(TRUTH, (3, 1)), rtol=1e-9)


def test_fit_is_the_minimum():
    values, weights = stamps(4)
    weights[:, 40:44] = 0
    values[:, 40:44] = 1e4
    found = fit(values, weights)
    assert found.converged.all()
    for k in range(4):

        def residuals(p, k=k):
            return (gaussian(p[None], X, Y)[0] - values[k]) * weights[k]

        other = least_squares(residuals, START, xtol=1e-15, ftol=1e-15, gtol=1e-15, x_scale=TRUTH)
        assert (residuals(found.parameters[k]) ** 2).sum() <= 2 * other.cost * (1 + 1e-9)
        np.testing.assert_allclose(found.parameters[k], other.x, rtol=1e-4)


def test_hopeless_fits_do_not_converge():
    values, weights = stamps(3)
    weights[0] = 0
    weights[1, 6:] = 0
    start = np.tile(START, (3, 1))
    start[2, SIGMA_X] = -1
    fits = fit_gaussians(values, weights, np.tile(X, (3, 1)), np.tile(Y, (3, 1)), start)
    assert not fits.converged.any()


def test_parameters_stay_in_their_ranges():
    values, weights = stamps(20, noise=300.0)
    parameters = fit(values, weights).parameters
    assert (np.abs(parameters[:, CORRELATION]) < 1).all()
    assert (parameters[:, [SIGMA_X, SIGMA_Y]] > 0).all()


def chi_square(values, weights, parameters):
    return (((gaussian(parameters, X, Y) - values) * weights) ** 2).sum(axis=1)


def test_early_end():
    """It is close to the minimum for good stamps, but not in it."""
    values, weights = stamps(20, noise=3.0)
    n = len(values)
    grid = np.tile(X, (n, 1)), np.tile(Y, (n, 1))
    early = fit_gaussians(values, weights, *grid, np.tile(START, (n, 1)), Early)
    minimum = fit(values, weights)
    assert early.converged.all()
    ratio = chi_square(values, weights, early.parameters) / chi_square(values, weights, minimum.parameters)
    assert (ratio > 1 - 1e-12).all()
    assert (ratio < 1 + 1e-4).all()
    assert np.abs(early.parameters - minimum.parameters).max() > 1e-9


def test_early_end_without_success():
    """A Gaussian that is exactly 0 in a pixel ends the fit."""
    values, weights = stamps(1)
    start = START.copy()
    start[[SIGMA_X, SIGMA_Y]] = 0.1
    assert not fit_gaussians(values, weights, X[None], Y[None], start[None], Early).converged.any()

# SPDX-License-Identifier: GPL-2.0-or-later
"""Weighted least-squares fits of elliptical Gaussians on a constant, many stamps at a time.

One method (Levenberg and Marquardt) with two ends: `AtMinimum` goes on to the minimum, `Early` ends where the fits of
ESO's recipe end, which was found by experiment with its library.
"""

from typing import Any

import numpy as np

from muse_core.model.arrays import BoolArray, Float64Array, IntArray
from muse_core.model.record import record

N_PARAMETERS = 7
BACKGROUND, VOLUME, CORRELATION, X, Y, SIGMA_X, SIGMA_Y = range(N_PARAMETERS)
_FIRST_DAMPING = 1e-3
_AFTER_SUCCESS = 0.1  # factor of the damping


@record
class GaussianFits:
    """Results: parameters, shape (n, 7), in the order of the constants of this module, and which fits converged."""

    parameters: np.ndarray
    converged: np.ndarray


def gaussian(parameters: np.ndarray, x: np.ndarray, y: np.ndarray, jacobian: bool = False) -> Any:
    """Evaluate Gaussians of given volume on a constant background.

    Parameters
    ----------
    parameters : ndarray of float64, shape (n, 7)
        Background, volume, correlation (-1...1), x, y, sigma in x, sigma in y.
    x, y : ndarray, shape (n_pixel,) or (n, n_pixel)
        Positions.
    jacobian : bool
        Whether to return the derivatives, too.

    Returns
    -------
    model : ndarray of float64, shape (n, n_pixel)
        Values.
    derivatives : ndarray of float64, shape (n, n_pixel, 7)
        Derivatives by the parameters; only with `jacobian`.
    """
    background, volume, rho, x0, y0, sx, sy = (parameters[:, k, None] for k in range(N_PARAMETERS))
    u, v, q = (x - x0) / sx, (y - y0) / sy, 1 - rho**2
    unit = np.exp(-0.5 * (u * u - 2 * rho * u * v + v * v) / q) / (2 * np.pi * sx * sy * np.sqrt(q))
    peak = volume * unit
    if not jacobian:
        return background + peak
    along_x, along_y = (u - rho * v) / q, (v - rho * u) / q
    derivatives = np.stack(
        [
            np.ones_like(peak),
            unit,
            peak * (rho / q + (u * v * (1 + rho**2) - rho * (u * u + v * v)) / q**2),
            peak * along_x / sx,
            peak * along_y / sy,
            peak * (u * along_x - 1) / sx,
            peak * (v * along_y - 1) / sy,
        ],
        axis=-1,
    )
    return background + peak, derivatives


class AtMinimum:
    """Ends a fit where chi square cannot be lowered any more, with all parameters in their ranges."""

    max_iterations = 100
    after_failure = 10.0  # factor of the damping
    largest_damping = 1e12
    tolerance = 1e-10  # relative decrease of chi square

    def __init__(self, n: int):
        pass

    def allowed(self, parameters: Float64Array) -> BoolArray:
        """May the model be evaluated? `parameters` (n, 7); shape (n,)."""
        return (
            (np.abs(parameters[:, CORRELATION]) < 1)
            & (parameters[:, SIGMA_X] > 0)
            & (parameters[:, SIGMA_Y] > 0)
            & np.isfinite(parameters).all(axis=1)
        )

    def fails(self, vanishes: np.ndarray) -> np.ndarray:
        """Does a fit end without success where its Gaussian is exactly 0 in a pixel? Shape as `vanishes`."""
        return np.zeros_like(vanishes)

    def ended(
        self, which: IntArray, chi2: Float64Array, decrease: Float64Array, step: Float64Array, parameters: Float64Array
    ) -> BoolArray:
        """Is this the end?

        Parameters
        ----------
        which : ndarray of int, shape (m,)
            Numbers of the fits whose step was a success.
        chi2, decrease : ndarray, shape (m,)
            Chi square before the step, and by how much it is lower now.
        step, parameters : ndarray, shape (m, 7)
            The step and where it led.

        Returns
        -------
        ndarray of bool, shape (m,)
        """
        return decrease <= self.tolerance * chi2


class Early(AtMinimum):
    """Ends a fit as ESO's recipe does.

    After five decreases of chi square in a row by less than one per cent, as soon as a step is negligible against the
    parameters, or longer than the one before. Before that, a step that is not negligible and has more than twice the
    (squared) length of the one before starts the count again. Widths may become negative on the way.
    """

    max_iterations = 1000
    after_failure = 9.0
    largest_damping = np.inf
    tolerance = 0.01
    count = 5
    negligible = 2.0 ** (N_PARAMETERS - 25)  # squared length of the step over that of the parameters

    def __init__(self, n: int):
        self._count = np.zeros(n, int)
        self._previous = np.full(n, np.inf)

    def allowed(self, parameters: Float64Array) -> BoolArray:
        """May the model be evaluated?"""
        return np.abs(parameters[:, CORRELATION]) < 1

    def fails(self, vanishes: np.ndarray) -> np.ndarray:
        """Does a fit end without success where its Gaussian is exactly 0 in a pixel?"""
        return vanishes

    def ended(
        self, which: IntArray, chi2: Float64Array, decrease: Float64Array, step: Float64Array, parameters: Float64Array
    ) -> BoolArray:
        """Is this the end?"""
        length, previous, count = (step**2).sum(axis=1), self._previous[which], self._count[which]
        negligible = length <= self.negligible * (parameters**2).sum(axis=1)
        steady = (count == 0) | (length < 2 * previous) | negligible
        counted = np.where(super().ended(which, chi2, decrease, step, parameters) & steady, count + 1, 0)
        self._count[which] = count = np.where(count < self.count, counted, count)
        self._previous[which] = length
        ended: BoolArray = (count >= self.count) & ((length > previous) | negligible)
        return ended


def _normal_equations(
    values: np.ndarray, weights: np.ndarray, x: np.ndarray, y: np.ndarray, parameters: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Chi square (n,), the matrix (n, 7, 7) and right-hand side (n, 7) of the step that lowers it, and who vanishes.

    The last is whether the Gaussian is exactly 0 in a pixel that counts, shape (n,).
    """
    model, derivatives = gaussian(parameters, x, y, jacobian=True)
    vanishes = ((derivatives[:, :, VOLUME] == 0) & (weights > 0)).any(axis=1)
    residuals = (values - model) * weights
    derivatives *= weights[:, :, None]
    transposed = np.swapaxes(derivatives, 1, 2)
    matrix, side = transposed @ derivatives, (transposed @ residuals[:, :, None])[:, :, 0]
    return (residuals**2).sum(axis=1), matrix, side, vanishes


def _solve(normal: np.ndarray, gradient: np.ndarray, damping: np.ndarray) -> np.ndarray:
    """Step (n, 7) of Levenberg and Marquardt."""
    damped = normal.copy()
    diagonal = np.einsum("nii->ni", damped)
    diagonal += damping[:, None] * np.maximum(diagonal, np.finfo(float).tiny)
    try:
        return np.linalg.solve(damped, gradient[:, :, None])[:, :, 0]
    except np.linalg.LinAlgError:
        return np.stack([np.linalg.lstsq(n, g, rcond=None)[0] for n, g in zip(damped, gradient, strict=True)])


def fit_gaussians(
    values: np.ndarray,
    weights: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    start: np.ndarray,
    end: type[AtMinimum] = AtMinimum,
) -> GaussianFits:
    """Fit Gaussians by the method of Levenberg and Marquardt.

    Parameters
    ----------
    values : ndarray of float64, shape (n, n_pixel)
        Pixel values, finite everywhere.
    weights : ndarray of float64, shape (n, n_pixel)
        Inverse standard errors; 0 for pixels that do not count.
    x, y : ndarray of float64, shape (n, n_pixel)
        Positions. With `Early` it matters from where they are counted.
    start : ndarray of float64, shape (n, 7)
        First guesses.
    end : type
        When a fit ends.

    Returns
    -------
    GaussianFits
        Converged are those fits that came to this end.
    """
    n = len(start)
    rule = end(n)
    parameters = np.array(start, np.float64)
    damping = np.full(n, _FIRST_DAMPING)
    converged = np.zeros(n, bool)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        state = _normal_equations(values, weights, x, y, parameters)
        chi2, normal, gradient, vanishes = state
        usable = rule.allowed(parameters) & ((weights > 0).sum(axis=1) >= N_PARAMETERS) & np.isfinite(chi2)
        active = np.flatnonzero(usable & ~rule.fails(vanishes))
        for _ in range(rule.max_iterations):
            if not active.size:
                break
            step = _solve(normal[active], gradient[active], damping[active])
            trial = parameters[active] + step
            allowed = rule.allowed(trial)
            damping[active[~allowed]] *= rule.after_failure
            tried, trial, step = active[allowed], trial[allowed], step[allowed]
            new = _normal_equations(values[tried], weights[tried], x[tried], y[tried], trial)
            better = new[0] <= chi2[tried]
            damping[tried] *= np.where(better, _AFTER_SUCCESS, rule.after_failure)
            accepted = tried[better]
            before, now = chi2[accepted], new[0][better]
            converged[accepted] = rule.ended(accepted, before, before - now, step[better], trial[better])
            parameters[accepted] = trial[better]
            for kept, found in zip(state, new, strict=True):
                kept[accepted] = found[better]
            over = converged[active] | rule.fails(vanishes[active]) | (damping[active] >= rule.largest_damping)
            active = active[~over]
    return GaussianFits(parameters, converged)

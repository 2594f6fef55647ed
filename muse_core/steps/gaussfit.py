# SPDX-License-Identifier: GPL-2.0-or-later
"""Weighted least-squares fits of elliptical Gaussians on a constant, many stamps at a time."""

import dataclasses

import numpy as np

N_PARAMETERS = 7
BACKGROUND, VOLUME, CORRELATION, X, Y, SIGMA_X, SIGMA_Y = range(N_PARAMETERS)
_MAX_ITERATIONS = 100
_TOLERANCE = 1e-10  # relative decrease of chi square at the end of a fit
_DAMPING = (1e-3, 0.1, 10.0, 1e12)  # at the start, after a success, after a failure, to give up


@dataclasses.dataclass(frozen=True, slots=True)
class GaussianFits:
    """Results: parameters, shape (n, 7), in the order of the constants of this module, and which fits converged."""

    parameters: np.ndarray
    converged: np.ndarray


def gaussian(parameters, x, y, jacobian: bool = False):
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


def _allowed(parameters):
    return (
        (np.abs(parameters[:, CORRELATION]) < 1)
        & (parameters[:, SIGMA_X] > 0)
        & (parameters[:, SIGMA_Y] > 0)
        & np.isfinite(parameters).all(axis=1)
    )


def _normal_equations(values, weights, x, y, parameters):
    """Chi square (n,), and the matrix (n, 7, 7) and right-hand side (n, 7) of the step that lowers it."""
    model, derivatives = gaussian(parameters, x, y, jacobian=True)
    residuals = (values - model) * weights
    derivatives *= weights[:, :, None]
    transposed = np.swapaxes(derivatives, 1, 2)
    return (residuals**2).sum(axis=1), transposed @ derivatives, (transposed @ residuals[:, :, None])[:, :, 0]


def _solve(normal, gradient, damping):
    """Step (n, 7) of Levenberg and Marquardt."""
    damped = normal.copy()
    diagonal = np.einsum("nii->ni", damped)
    diagonal += damping[:, None] * np.maximum(diagonal, np.finfo(float).tiny)
    try:
        return np.linalg.solve(damped, gradient[:, :, None])[:, :, 0]
    except np.linalg.LinAlgError:
        return np.stack([np.linalg.lstsq(n, g, rcond=None)[0] for n, g in zip(damped, gradient, strict=True)])


def fit_gaussians(values, weights, x, y, start) -> GaussianFits:
    """Fit Gaussians by the method of Levenberg and Marquardt.

    Parameters
    ----------
    values : ndarray of float64, shape (n, n_pixel)
        Pixel values, finite everywhere.
    weights : ndarray of float64, shape (n, n_pixel)
        Inverse standard errors; 0 for pixels that do not count.
    x, y : ndarray of float64, shape (n, n_pixel)
        Positions.
    start : ndarray of float64, shape (n, 7)
        First guesses.

    Returns
    -------
    GaussianFits
        Converged are those fits whose chi square cannot be lowered any more, with all parameters in their ranges.
    """
    first_damping, lower, higher, largest_damping = _DAMPING
    parameters = np.array(start, np.float64)
    damping = np.full(len(parameters), first_damping)
    converged = np.zeros(len(parameters), bool)
    active = np.flatnonzero(_allowed(parameters) & ((weights > 0).sum(axis=1) >= N_PARAMETERS))
    chi2, normal, gradient = _normal_equations(values, weights, x, y, parameters)
    for _ in range(_MAX_ITERATIONS):
        if not active.size:
            break
        trial = parameters[active] + _solve(normal[active], gradient[active], damping[active])
        allowed = _allowed(trial)
        damping[active[~allowed]] *= higher
        tried, trial = active[allowed], trial[allowed]
        new = _normal_equations(values[tried], weights[tried], x[tried], y[tried], trial)
        better = new[0] <= chi2[tried]
        damping[tried] *= np.where(better, lower, higher)
        small = better & (chi2[tried] - new[0] <= _TOLERANCE * chi2[tried])
        converged[tried[small]] = True
        accepted = tried[better]
        parameters[accepted] = trial[better]
        for kept, found in zip((chi2, normal, gradient), new, strict=True):
            kept[accepted] = found[better]
        active = active[~converged[active] & (damping[active] < largest_damping)]
    return GaussianFits(parameters, converged)

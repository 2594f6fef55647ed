# SPDX-License-Identifier: GPL-2.0-or-later
"""Levenberg-Marquardt minimisation with a forward-difference Jacobian, after MINPACK's ``lmdif``.

Not SciPy's: the sky line fit minimises a function that is smooth in pieces only, and where it ends depends on details
in which the ESO pipeline's minimiser differs from MINPACK. They are marked in the code.
"""

import math
from collections.abc import Callable

import numpy as np

from muse_core.cython_ext import minpack as minpack_kernels
from muse_core.model.record import record

EPSILON = float(np.finfo(float).eps)
TOLERANCE = 30 * EPSILON
STEP_BOUND = 100.0

#: What each termination code means; 1, 2 and 3 are success.
MESSAGES = {
    0: "fewer residuals than parameters",
    1: "relative error of the sum of squares below the tolerance",
    2: "relative error of the solution below the tolerance",
    3: "both relative errors below the tolerance",
    4: "singular matrix: residuals do not depend on the parameters",
    5: "did not converge: function calls exhausted",
    6: "sum of squares at machine precision",
    7: "solution at machine precision",
    8: "gradient at machine precision",
}


@record
class Minimum:
    """Where the minimiser stopped.

    Attributes
    ----------
    x : ndarray of float64, shape (n,)
        Last accepted parameters.
    code : int
        Termination code, see `MESSAGES`.
    n_calls : int
        Number of evaluations of the residuals.
    norm : float
        Norm of the residuals at `x`.
    """

    x: np.ndarray
    code: int
    n_calls: int
    norm: float

    @property
    def success(self) -> bool:
        """Converged?"""
        return self.code in (1, 2, 3)

    @property
    def message(self) -> str:
        """Termination in words."""
        return MESSAGES[self.code]


def minimise(residuals: Callable[[np.ndarray], np.ndarray], start: np.ndarray, n_residuals: int) -> Minimum:
    """Minimise the sum of squares of `residuals`.

    Parameters
    ----------
    residuals : callable
        Takes parameters (ndarray of float64, shape (n,)), returns a new ndarray of float64, shape (n_residuals,).
    start : ndarray of float64, shape (n,)
        Start values.
    n_residuals : int
        Number of residuals.

    Returns
    -------
    Minimum
        Also when it did not converge.
    """
    x = np.array(start, np.float64)
    n = len(x)
    if n < 1 or n_residuals < n:
        return Minimum(x, 0, 0, math.nan)
    max_calls = 100 * (n + 1)
    jac = np.empty((n, n_residuals))
    pivot = np.empty(n, np.int64)
    r_diag, column_norm, qtf, rx, solution = np.empty((5, n))
    work = np.empty((5, n))
    derivative_step = math.sqrt(TOLERANCE)

    f = residuals(x)
    n_calls = 1
    fnorm = minpack_kernels.norm(f)
    par = 0.0
    scale = None
    delta = xnorm = 0.0
    while True:
        for j in range(n):
            saved = x[j]
            x[j] = saved + (derivative_step * abs(saved) or derivative_step)
            # the realised step, not the wanted one as in MINPACK
            jac[j] = (residuals(x) - f) / (x[j] - saved)
            x[j] = saved
        n_calls += n
        minpack_kernels.qr_factor(jac, pivot, r_diag, column_norm, work[0])
        if scale is None:
            scale = np.where(column_norm == 0, 1.0, column_norm)
            xnorm = minpack_kernels.norm(scale * x)
            delta = STEP_BOUND * xnorm or STEP_BOUND
        minpack_kernels.apply_q(jac, r_diag, f.copy(), qtf)
        gradient = minpack_kernels.scaled_gradient(jac, pivot, qtf, column_norm, fnorm)
        if gradient <= TOLERANCE:
            return Minimum(x, 4, n_calls, fnorm)
        scale = np.maximum(scale, column_norm)
        ratio = 0.0
        while ratio < 1e-4:
            par = minpack_kernels.damping_parameter(jac[:, :n].copy(), pivot, scale, qtf, delta, par, solution, work)
            step = -solution
            trial = x + step
            pnorm = minpack_kernels.norm(scale * step)
            if n_calls <= 1 + n:  # only the very first trial; MINPACK: the first iteration
                delta = min(delta, pnorm)
            f_trial = residuals(trial)
            n_calls += 1
            fnorm_trial = minpack_kernels.norm(f_trial)
            quotient = fnorm_trial / fnorm
            actual = 1 - quotient * quotient if 0.1 * fnorm_trial < fnorm else -1.0
            minpack_kernels.r_times(jac, pivot, step, rx)
            linear = minpack_kernels.norm(rx) / fnorm
            damped = math.sqrt(par) * pnorm / fnorm
            predicted = linear * linear + damped * damped / 0.5
            slope = -(linear * linear + damped * damped)
            ratio = actual / predicted if predicted != 0 else 0.0
            if ratio <= 0.25:
                # 0.55 is 0.5 in MINPACK
                factor = 0.5 if actual >= 0 else 0.5 * slope / (slope + 0.55 * actual)
                if 0.1 * fnorm_trial >= fnorm or factor < 0.1:
                    factor = 0.1
                delta = factor * min(delta, pnorm / 0.1)
                par /= factor
            elif par == 0 or ratio >= 0.75:
                delta = pnorm / 0.5
                par *= 0.5
            if ratio >= 1e-4:
                x, f, fnorm = trial, f_trial, fnorm_trial
                xnorm = minpack_kernels.norm(scale * x)
            code = _termination(actual, predicted, ratio, delta, xnorm, gradient, n_calls >= max_calls)
            if code:
                return Minimum(x, code, n_calls, fnorm)


def _termination(
    actual: float, predicted: float, ratio: float, delta: float, xnorm: float, gradient: float, exhausted: bool
) -> int:
    """Termination code after a trial step, 0 to go on."""

    def flat(tolerance: float) -> bool:
        return abs(actual) <= tolerance and predicted <= tolerance and 0.5 * ratio <= 1

    code = int(flat(TOLERANCE)) + 2 * int(delta <= TOLERANCE * xnorm)
    if code:
        return code
    code = 5 if exhausted else 0
    if flat(EPSILON):
        code = 6
    if delta <= EPSILON * xnorm:
        code = 7
    if gradient <= EPSILON:
        code = 8
    return code

# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbers whose float32 product depends on the last bits of the float64 one: what tells two formulas apart.

And the formulas of the flux calibration before that rounding.
"""

import math

import numpy as np

_LOST = 2**29 - 1  # bits of a float64 that a float32 does not have
_EDGE = 2**28
_BLOCK = 4096


def values_near_edge(factor: float, within: int = 8) -> np.ndarray:
    """Return float32 values in [2048, 4096) whose product with `factor` is close to half-way between two float32.

    Parameters
    ----------
    factor : float
        Factor, positive.
    within : int
        How close, in units of the last bit of the float64 product.

    Returns
    -------
    ndarray of float32, shape (n,)
        About one in eight factors has any.
    """
    scaled = 2 * np.frexp(factor)[0]
    # value = high + low in units of the last float32 bit; pairs are sought whose products' fractions add up to 1/2
    low = np.arange(_BLOCK) * scaled % 1
    order = np.argsort(low)
    high = np.arange(2**23, 2**24, _BLOCK)
    nearest = np.searchsorted(low[order], (0.5 - high * scaled % 1) % 1)
    mantissas = np.concatenate([high + order[(nearest + step) % _BLOCK] for step in (-1, 0)])
    values = (mantissas * 2.0**-12).astype(np.float32)
    lost = (values * np.float64(factor)).view(np.int64) & _LOST
    return values[np.abs(lost - _EDGE) <= within]


def _curve(x, nodes, values, errors):
    """Value and error; NaN and 0 outside."""
    inside = (x >= nodes[0]) & (x <= nodes[-1])
    index = np.clip(np.searchsorted(nodes, x, side="right") - 1, 0, len(nodes) - 2)
    weight = (x - nodes[index]) / (nodes[index + 1] - nodes[index])
    value = values[index] + (values[index + 1] - values[index]) * weight
    error = np.hypot(errors[index] * (1 - weight), errors[index + 1] * weight)
    return np.where(inside, value, np.nan), np.where(inside, error, 0)


_power = np.vectorize(math.pow, otypes=[float])  # numpy's own differs in the last bit on some processors


def flux_and_variance(x, data, stat, airmass, exptime, response, extinction, telluric):
    """Return flux and variance, float64, of data and stat at wavelengths x: the reference's operations in its order."""
    flux, var = data, stat
    k = np.nan_to_num(_curve(x, extinction.lbda, extinction.extinction, extinction.extinction)[0])
    factor = _power(10, 0.4 * airmass * k)
    flux, var = flux * factor, var * (factor * factor)
    r, error = _curve(x, response.lbda, response.response, response.error)
    sens = _power(10, 0.4 * np.nan_to_num(r))
    sens_error = error * math.log(10) * sens / 2.5
    var = (
        var * (1 / (sens * exptime * 1.25)) ** 2
        + (flux * sens_error / (sens * sens * exptime * 1.25)) ** 2
        + (flux * 0.02 / (sens * exptime * 1.25 * 1.25)) ** 2
    )
    flux = flux / (sens * exptime * 1.25) * 1e20
    var = var * 1e40
    powered = np.array([math.pow(t, -airmass) if t > 0 else t for t in telluric.transmission])
    g, error = _curve(x, telluric.lbda, powered, telluric.error)
    on = (x >= 6273.0) & ~np.isnan(g)
    return np.where(on, flux * g, flux), np.where(on, g * g * var + flux * flux * (error * error), var)

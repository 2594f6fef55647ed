# SPDX-License-Identifier: GPL-2.0-or-later
"""Air wavelengths to vacuum wavelengths, for cubes that want them."""

import numpy as np

from muse_core.model.arrays import Float32Array, Float64Array

# Ciddor (1996), dry standard air at 15 degrees Celsius, 101325 Pa, 450 ppm CO2
_TEMPERATURE = 288.15  # K
_CELSIUS = 15.0
_PRESSURE = 101325.0  # Pa
_GAS_CONSTANT = 8.314472
_MOLAR_MASS = 0.0289635 + 1.2011e-8 * 50
_STANDARD_COMPRESSIBILITY = 0.9995922115


def _density_ratio() -> float:
    """Density of the air relative to that of the dispersion formula."""
    p, t = _PRESSURE, _CELSIUS
    virial = 1.58123e-6 - 2.9331e-8 * t + 1.1043e-10 * t**2
    z = 1 - p / _TEMPERATURE * virial + (p / _TEMPERATURE) ** 2 * 1.83e-11
    density = p * _MOLAR_MASS / (z * _GAS_CONSTANT * _TEMPERATURE)
    return density / (101325 * _MOLAR_MASS / (_STANDARD_COMPRESSIBILITY * _GAS_CONSTANT * 288.15))


def refractive_index(lbda: np.ndarray) -> np.ndarray:
    """Refractive index of standard air at (air) wavelengths in Angstrom."""
    s = (1e4 / np.asarray(lbda, np.float64)) ** 2  # inverse square micrometres
    return 1 + 1e-8 * (5792105 / (238.0185 - s) + 167917 / (57.362 - s)) * _density_ratio()


def air_to_vacuum(lbda: Float32Array) -> Float32Array:
    """Convert air wavelengths (float32, Angstrom) to vacuum wavelengths (float32)."""
    vacuum: Float64Array = lbda.astype(np.float64) * refractive_index(lbda)
    return vacuum.astype(np.float32)

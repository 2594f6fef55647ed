# SPDX-License-Identifier: GPL-2.0-or-later
"""Refractive index of air as a function of wavelength, for given temperature, humidity and pressure.

Four published formulas, all of the form ``n = 1 + dry + wet`` with ``dry = c + a1 / (b1 - s) + a2 / (b2 - s)``,
``wet = p0 + p1 s + p2 s^2 + p3 s^3``, ``s = 1 / lambda^2`` and lambda in micrometre, so that one kernel serves them all
(`muse_core.cython_ext.calibrate`). The wavelength is taken as it is, no conversion from air to vacuum.

References
----------
Filippenko 1982, PASP 94, 715; Owens 1967, Appl. Opt. 6, 51; Birch & Downs 1993, Metrologia 30, 155;
Ciddor 1996, Appl. Opt. 35, 1566; humidity of the last two: NIST Engineering Metrology Toolbox.
"""

import dataclasses
import enum
import logging
import math
from typing import overload

import numpy as np

from muse_core.model.arrays import Float64Array
from muse_core.model.compat import OURS, Compat
from muse_core.model.fits import Header
from muse_core.model.header import get_float
from muse_core.model.record import record

_LOG = logging.getLogger(__name__)

ZERO_CELSIUS = 273.15
MMHG_PER_HPA = 0.75006158
DEFAULT_TEMPERATURE = 11.5  # degrees Celsius
DEFAULT_HUMIDITY = 14.5  # percent
DEFAULT_PRESSURE = 743.0  # hPa
CO2_PPM = 450.0


class Method(enum.Enum):
    """Formula for the refractive index; the values are those of the reference's MUSE_DAR_CORRECT_METHOD."""

    FILIPPENKO = "Filippenko"
    OWENS = "Owens"
    EDLEN = "Edlen"
    CIDDOR = "Ciddor"

    @classmethod
    def named(cls, name: str | None) -> "Method":
        """Return the method of this name; Filippenko for None and for any other text, as the reference does."""
        return next((method for method in cls if method.value == name), cls.FILIPPENKO)


@record
class Air:
    """State of the air at the telescope.

    Attributes
    ----------
    temperature : float
        In kelvin.
    humidity : float
        Relative humidity, 0 to 1.
    pressure : float
        In hPa.
    """

    temperature: float
    humidity: float
    pressure: float

    @classmethod
    def from_header(cls, header: Header, compat: Compat = OURS) -> "Air":
        """Read ESO TEL AMBI TEMP, RHUM, PRES START and END; typical values replace missing ones with a warning."""
        temperature = get_float(header, "ESO TEL AMBI TEMP", None, compat)
        if temperature is None:
            temperature = DEFAULT_TEMPERATURE
            _LOG.warning("ESO TEL AMBI TEMP is missing, using %g degrees Celsius", temperature)
        humidity = get_float(header, "ESO TEL AMBI RHUM", None, compat)
        if humidity is None:
            humidity = DEFAULT_HUMIDITY
            _LOG.warning("ESO TEL AMBI RHUM is missing, using %g per cent", humidity)
        start, end = (get_float(header, f"ESO TEL AMBI PRES {when}", None, compat) for when in ("START", "END"))
        if start is None or end is None:
            pressure = DEFAULT_PRESSURE
            _LOG.warning("ESO TEL AMBI PRES START or END is missing, using %g hPa", pressure)
        else:
            pressure = (start + end) / 2
        return cls(temperature + ZERO_CELSIUS, humidity / 100, pressure)


def saturation_pressure_hpa(temperature: float) -> float:
    """Saturation pressure of water vapour in hPa at a temperature in kelvin (Owens 1967)."""
    return -10474.0 + 116.43 * temperature - 0.43284 * temperature**2 + 0.00053840 * temperature**3


def _saturation_pressure_pa(temperature: float) -> float:
    """Saturation pressure of water vapour in Pa, over water above 0 degrees Celsius, else over ice (NIST)."""
    if temperature <= ZERO_CELSIUS:
        theta = temperature / 273.16
        return 611.657 * math.exp(-13.928169 * (1 - theta**-1.5) + 34.7078238 * (1 - theta**-1.25))
    omega = temperature - 2.38555575678e-1 / (temperature - 6.50175348448e2)
    a = omega**2 + 1.16705214528e3 * omega - 7.24213167032e5
    b = -1.70738469401e1 * omega**2 + 1.20208247025e4 * omega - 3.23255503223e6
    c = 1.49151086135e1 * omega**2 - 4.82326573616e3 * omega + 4.05113405421e5
    return 1e6 * (2 * c / (-b + math.sqrt(b * b - 4 * a * c))) ** 4


@record
class RefractiveIndex:
    """Refractive index of air in one state: the constants of the formula in the docstring of this module.

    With `factor`, the dry term is that of standard air, to be multiplied by it, and it is rounded as a part of an index
    before that: steps of 2e-16 in n are steps of 1e-5 of the last place of a position, and the reference makes them.
    """

    c: float
    a1: float
    b1: float
    a2: float
    b2: float
    p0: float = 0.0
    p1: float = 0.0
    p2: float = 0.0
    p3: float = 0.0
    factor: float = 0.0

    @overload
    def __call__(self, lbda_um: float) -> float: ...
    @overload
    def __call__(self, lbda_um: Float64Array) -> Float64Array: ...
    def __call__(self, lbda_um: float | Float64Array) -> float | Float64Array:
        """Return n for wavelengths in micrometre (float64)."""
        s = 1 / (lbda_um * lbda_um)
        dry = self.c + self.a1 / (self.b1 - s) + self.a2 / (self.b2 - s)
        wet = self.p0 + s * (self.p1 + s * (self.p2 + s * self.p3))
        return 1 + self.factor * ((1 + dry) - 1) + wet if self.factor else 1 + (dry + wet)

    def constants(self) -> np.ndarray:
        """The ten constants for the kernel, float64."""
        return np.array(dataclasses.astuple(self))

    @classmethod
    def of(cls, air: Air, method: Method = Method.FILIPPENKO) -> "RefractiveIndex":
        """Return the refractive index of `air` by one of the formulas."""
        return {
            Method.FILIPPENKO: cls._filippenko,
            Method.OWENS: cls._owens,
            Method.EDLEN: cls._edlen,
            Method.CIDDOR: cls._ciddor,
        }[method](air)

    @classmethod
    def _filippenko(cls, air: Air) -> "RefractiveIndex":
        celsius = air.temperature - ZERO_CELSIUS
        vapour = air.humidity * saturation_pressure_hpa(air.temperature) * MMHG_PER_HPA
        pressure = air.pressure * MMHG_PER_HPA
        expansion = 1 + 0.003661 * celsius
        dry = 1e-6 * pressure / 720.883 * (1 + (1.049 - 0.0157 * celsius) * 1e-6 * pressure) / expansion
        wet = 1e-6 * vapour / expansion
        return cls(64.328 * dry, 29498.1 * dry, 146.0, 255.4 * dry, 41.0, -0.0624 * wet, 0.000680 * wet)

    @classmethod
    def _owens(cls, air: Air) -> "RefractiveIndex":
        t = air.temperature
        wet = air.humidity * saturation_pressure_hpa(t)
        dry = air.pressure - wet
        d1 = 1e-8 * dry / t * (1 + dry * (57.90e-8 - 9.3250e-4 / t + 0.25844 / t**2))
        d2 = (
            1e-8
            * wet
            / t
            * (1 + wet * (1 + 3.7e-4 * wet) * (-2.37321e-3 + 2.23366 / t - 710.792 / t**2 + 7.75141e4 / t**3))
        )
        return cls(
            2371.34 * d1,
            683939.7 * d1,
            130.0,
            4547.3 * d1,
            38.9,
            6487.31 * d2,
            58.058 * d2,
            -0.71150 * d2,
            0.08851 * d2,
        )

    @classmethod
    def _edlen(cls, air: Air) -> "RefractiveIndex":
        celsius = air.temperature - ZERO_CELSIUS
        pressure = 100 * air.pressure
        vapour = air.humidity * _saturation_pressure_pa(air.temperature)
        density = (1 + 1e-8 * (0.601 - 0.00972 * celsius) * pressure) / (1 + 0.003661 * celsius)
        wet = 10e-10 * (292.75 / (celsius + 273.15)) * vapour  # the literature has 1e-10
        return cls(
            8342.54e-8,
            2406147e-8,
            130.0,
            15998e-8,
            38.9,
            -3.7345 * wet,
            0.0401 * wet,
            factor=pressure * density / 96095.43,
        )

    @classmethod
    def _ciddor(cls, air: Air) -> "RefractiveIndex":
        t, celsius, pressure = air.temperature, air.temperature - ZERO_CELSIUS, 100 * air.pressure
        x = air.humidity * (1.00062 + 3.14e-8 * pressure + 5.60e-7 * celsius**2) * _saturation_pressure_pa(t) / pressure
        gas = 8.314472
        molar = 0.0289635 + 1.2011e-8 * (CO2_PPM - 400)
        z = (
            1
            - (pressure / t)
            * (
                1.58123e-6
                - 2.9331e-8 * celsius
                + 1.1043e-10 * celsius**2
                + (5.707e-6 - 2.051e-8 * celsius) * x
                + (1.9898e-4 - 2.376e-6 * celsius) * x**2
            )
            + (pressure / t) ** 2 * (1.83e-11 - 0.765e-8 * x**2)
        )
        standard = 101325 * molar / (0.9995922115 * gas * 288.15)
        dry = 1e-8 * (1 - x) * pressure * molar / (z * gas * t) / standard
        dry *= 1 + 5.34e-7 * (CO2_PPM - 450)
        wet = 1.022e-8 * x * pressure * 0.018015 / (z * gas * t) / 0.00985938
        return cls(
            0.0,
            5792105 * dry,
            238.0185,
            167917 * dry,
            57.362,
            295.235 * wet,
            2.6422 * wet,
            -0.03238 * wet,
            0.004028 * wet,
            factor=1.0,
        )

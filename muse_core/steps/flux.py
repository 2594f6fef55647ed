# SPDX-License-Identifier: GPL-2.0-or-later
"""Flux calibration: response, extinction, telluric correction, exposure time.

Everything that depends on wavelength only is put on the nodes of all curves together; between them the logarithm of the
factor is linear in wavelength, and the variances are of second order.
"""

import dataclasses
import logging
import math

import numpy as np
from astropy.io.fits import Header

from muse_core.errors import DataError
from muse_core.model import units
from muse_core.model.cards import set_card
from muse_core.model.compat import OURS, Compat
from muse_core.model.curves import ExtinctionCurve, ResponseCurve, TelluricCurve, interval_starts, segments
from muse_core.model.header import PIXTABLE, get_float, get_string, instrument_mode
from muse_core.steps.airmass import airmass

log = logging.getLogger(__name__)

CARD_CALIBRATED = PIXTABLE + "FLUXCAL"
WAVELENGTH_STEP = 1.25  # Angstrom per pixel
WAVELENGTH_STEP_ERROR = 0.02  # its standard deviation: a relative error of 1.6 per cent on every flux
FLUX_UNIT = 1e20  # in 1e-20 erg / s / cm2 / Angstrom
TELLURIC_START = 6273.0  # Angstrom; bluewards there is no telluric correction

#: Coefficients of one interval of wavelength, see `muse_core.cython_ext.calibrate`.
INTERVAL = np.dtype(
    [
        ("base", np.float64),
        ("gain", np.float64),
        ("slope", np.float64),
        ("error", np.float64, 3),
        ("telluric", np.float64, 2),
        ("telluric_error", np.float64, 3),
        ("outside", np.int64),
        ("has_telluric", np.int64),
    ]
)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class FluxCalibration:
    """Flux calibration of one exposure.

    Attributes
    ----------
    starts : ndarray of float64, shape (n + 1,)
        Ends of the intervals in Angstrom, from -inf to inf.
    intervals : ndarray of INTERVAL, shape (n,)
        Coefficients for each interval.
    """

    starts: np.ndarray
    intervals: np.ndarray

    @classmethod
    def from_header(
        cls,
        header: Header,
        response: ResponseCurve,
        extinction: ExtinctionCurve | None = None,
        telluric: TelluricCurve | None = None,
        data_unit: str = units.COUNT,
        compat: Compat = OURS,
    ) -> "FluxCalibration | None":
        """Set up the calibration of an exposure; None if its data are calibrated already.

        Parameters
        ----------
        header : Header
            Header of the merged pixel table.
        response, extinction, telluric
            Curves; without the optional ones the respective factor is 1.
        data_unit : str
            Unit of the data.

        Raises
        ------
        DataError
            If pixel table and response do not fit together.
        """
        if not data_unit or data_unit.startswith(units.FLUX):
            return None
        if data_unit != units.COUNT:
            raise DataError(f"flux calibration: found data in {data_unit!r}, expected {units.COUNT!r}")
        corrected = PIXTABLE + "FFCORR" in header
        if response.flat_field_corrected != corrected:
            raise DataError(
                f"flux calibration: {response.where} was made {_with(response.flat_field_corrected)} flat-field "
                f"spectrum correction, the pixel table {_with(corrected)}"
            )
        if response.mode is not None and get_string(header, "ESO INS MODE") is not None:
            mode = instrument_mode(header)
            if mode != response.mode:
                raise DataError(f"flux calibration: {response.where} is for mode {response.mode}, exposure is {mode}")
        mass = airmass(header, compat).value
        if mass < 0:
            log.warning("flux calibration: no airmass, no correction for extinction")
            mass = 0.0
        if telluric is not None and telluric.flat_field_corrected != corrected:
            log.warning(
                "flux calibration: %s was made %s flat-field spectrum correction, the pixel table %s",
                telluric.where,
                _with(telluric.flat_field_corrected),
                _with(corrected),
            )
        exptime = get_float(header, "EXPTIME", 0.0, compat)
        if exptime <= 0:
            found = header.get("EXPTIME", "nothing")
            raise DataError(f"flux calibration: keyword EXPTIME: found {found!r}, expected more than 0 seconds")
        return cls.from_curves(mass, exptime, response, extinction, telluric)

    @classmethod
    def from_curves(
        cls,
        airmass: float,
        exptime_s: float,
        response: ResponseCurve,
        extinction: ExtinctionCurve | None = None,
        telluric: TelluricCurve | None = None,
    ) -> "FluxCalibration":
        """Set up the calibration for an airmass and an exposure time in seconds.

        Outside of the response the factor is that of a response of 1 without error, outside of the extinction there is
        none. The telluric factor is raised to the airmass at the nodes of its curve, and applies from 6273 Angstrom.
        """
        curves = [curve.lbda for curve in (response, extinction, telluric) if curve is not None]
        if telluric is not None:
            curves.append(np.array([TELLURIC_START]))
        starts = interval_starts(*curves)
        out = np.zeros(len(starts) - 1, INTERVAL)
        begin = starts[:-1].copy()
        begin[0] = starts[1]
        out["base"] = begin
        begin[0] = -np.inf  # not inside of anything

        magnitude = np.zeros((2, len(out)))
        if extinction is not None:
            magnitude += airmass * _linear(extinction.lbda, extinction.extinction, begin)
        magnitude -= _linear(response.lbda, response.response, begin)
        out["gain"] = 10 ** (0.4 * magnitude[0]) / (exptime_s * WAVELENGTH_STEP) * FLUX_UNIT
        out["slope"] = 0.4 * math.log(10) * magnitude[1]
        out["error"] = _variance(response.lbda, response.error, begin) * (math.log(10) / 2.5) ** 2
        out["error"][:, 0] += (WAVELENGTH_STEP_ERROR / WAVELENGTH_STEP) ** 2
        out["outside"] = ~segments(response.lbda, begin)[2]
        if telluric is not None:
            transmission = telluric.transmission.copy()
            absorbed = transmission > 0
            transmission[absorbed] **= -airmass
            inside = segments(telluric.lbda, begin)[2] & (begin >= TELLURIC_START)
            out["telluric"] = _linear(telluric.lbda, transmission, begin).T
            out["telluric_error"] = _variance(telluric.lbda, telluric.error, begin)
            out["has_telluric"] = inside
        return cls(starts, out)


def write_cards(header: Header) -> None:
    """Note the flux calibration in the header of the pixel table."""
    set_card(header, CARD_CALIBRATED, True, "Pixel table was flux-calibrated")


def _with(flag: bool) -> str:
    return "with" if flag else "without"


def _linear(nodes, values, begin):
    """Value of a curve at `begin` and its slope, shape (2, n); 0 outside."""
    index, other, inside = segments(nodes, begin)
    width = np.where(other > index, nodes[other] - nodes[index], 1.0)
    slope = np.where(inside, (values[other] - values[index]) / width, 0.0)
    offset = np.where(inside, begin - nodes[index], 0.0)
    return np.array([np.where(inside, values[index] + slope * offset, 0.0), slope])


def _variance(nodes, errors, begin):
    """Polynomial in the distance from `begin` of the variance of a curve interpolated linearly; shape (n, 3)."""
    index, other, inside = segments(nodes, begin)
    width = np.where(other > index, nodes[other] - nodes[index], 1.0)
    weight = np.where(inside, (begin - nodes[index]) / width, 0.0)
    first, second = errors[index], np.where(other > index, errors[other], 0.0)
    # (first (1 - w))^2 + (second w)^2 with w = weight + d / width
    terms = np.array(
        [
            (first * (1 - weight)) ** 2 + (second * weight) ** 2,
            2 * (second**2 * weight - first**2 * (1 - weight)) / width,
            (first**2 + second**2) / width**2,
        ]
    )
    terms[1:, other == index] = 0.0
    return np.where(inside, terms, 0.0).T

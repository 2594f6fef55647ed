# SPDX-License-Identifier: GPL-2.0-or-later
"""Flux calibration: response, extinction, telluric correction, exposure time.

Everything that depends on wavelength only is put on the nodes of all curves together; between them the logarithm of the
factor is linear in wavelength, and the variances are of second order. The curves themselves are kept for the few rows
whose rounding to float32 depends on the last bits.
"""

import logging
import math

import numpy as np

from muse_core.errors import DataError
from muse_core.model import units
from muse_core.model.cards import set_card
from muse_core.model.compat import OURS, Compat
from muse_core.model.curves import ExtinctionCurve, ResponseCurve, TelluricCurve, interval_starts, segments
from muse_core.model.fits import Header
from muse_core.model.header import PIXTABLE, get_bool, get_float, get_string, has, instrument_mode, stated
from muse_core.model.record import record
from muse_core.steps.airmass import airmass

_LOG = logging.getLogger(__name__)

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

#: A segment of a curve: two nodes with values and errors.
SEGMENT = np.dtype([("lbda", np.float64, 2), ("value", np.float64, 2), ("error", np.float64, 2)])

#: The segments of the curves in one interval of wavelength; outside of a curve, values and errors are 0.
CURVES = np.dtype([("response", SEGMENT), ("extinction", SEGMENT), ("telluric", SEGMENT)])

#: Constants of an exposure.
CONSTANTS = np.dtype([(name, np.float64) for name in ("airmass", "exptime", "step", "step_error", "unit")])


@record(eq=False)
class FluxCalibration:
    """Flux calibration of one exposure.

    Attributes
    ----------
    starts : ndarray of float64, shape (n + 1,)
        Ends of the intervals in Angstrom, from -inf to inf.
    intervals : ndarray of INTERVAL, shape (n,)
        Coefficients for each interval.
    curves : ndarray of CURVES, shape (n,)
        Segments of the curves in each interval.
    constants : ndarray of CONSTANTS, shape (1,)
        Constants of the exposure.
    """

    starts: np.ndarray
    intervals: np.ndarray
    curves: np.ndarray
    constants: np.ndarray

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
        corrected = has(header, PIXTABLE + "FFCORR")
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
            _LOG.warning("flux calibration: no airmass, no correction for extinction")
            mass = 0.0
        if telluric is not None and telluric.flat_field_corrected != corrected:
            _LOG.warning(
                "flux calibration: %s was made %s flat-field spectrum correction, the pixel table %s",
                telluric.where,
                _with(telluric.flat_field_corrected),
                _with(corrected),
            )
        exptime = get_float(header, "EXPTIME", 0.0, compat)
        if exptime <= 0:
            what = stated(header, "EXPTIME")
            raise DataError(f"flux calibration: keyword EXPTIME: found {what}, expected more than 0 seconds")
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
        nodes = [curve.lbda for curve in (response, extinction, telluric) if curve is not None]
        if telluric is not None:
            nodes.append(np.array([TELLURIC_START]))
        starts = interval_starts(*nodes)
        begin = starts[:-1].copy()
        begin[0] = -np.inf  # not inside of anything
        curves = np.zeros(len(begin), CURVES)
        curves["extinction"]["lbda"][:, 1] = curves["telluric"]["lbda"][:, 1] = 1.0  # no curve: any width
        out = np.zeros(len(begin), INTERVAL)
        curves["response"] = _segments(response.lbda, response.response, response.error, begin)
        out["outside"] = ~segments(response.lbda, begin)[2]
        if extinction is not None:
            curves["extinction"] = _segments(extinction.lbda, extinction.extinction, None, begin)
        if telluric is not None:
            # not numpy's power, whose last bit depends on the processor
            factor = np.array([math.pow(value, -airmass) if value > 0 else value for value in telluric.transmission])
            curves["telluric"] = _segments(telluric.lbda, factor, telluric.error, begin)
            out["has_telluric"] = segments(telluric.lbda, begin)[2] & (begin >= TELLURIC_START)

        begin[0] = starts[1]
        out["base"] = begin
        magnitude = airmass * _line(curves["extinction"], begin) - _line(curves["response"], begin)
        out["gain"] = 10 ** (0.4 * magnitude[0]) / (exptime_s * WAVELENGTH_STEP) * FLUX_UNIT
        out["slope"] = 0.4 * math.log(10) * magnitude[1]
        out["error"] = _variance(curves["response"], begin) * (math.log(10) / 2.5) ** 2
        out["error"][:, 0] += (WAVELENGTH_STEP_ERROR / WAVELENGTH_STEP) ** 2
        out["telluric"] = _line(curves["telluric"], begin).T
        out["telluric_error"] = _variance(curves["telluric"], begin)
        constants = (airmass, exptime_s, WAVELENGTH_STEP, WAVELENGTH_STEP_ERROR, FLUX_UNIT)
        return cls(starts, out, curves, np.array([constants], CONSTANTS))


def is_calibrated(header: Header, compat: Compat = OURS) -> bool:
    """Does the header of a pixel table say that its flux is calibrated?"""
    return get_bool(header, CARD_CALIBRATED, compat=compat)


def write_cards(header: Header) -> None:
    """Note the flux calibration in the header of the pixel table."""
    set_card(header, CARD_CALIBRATED, True, "Pixel table was flux-calibrated")


def _with(flag: bool) -> str:
    return "with" if flag else "without"


def _segments(nodes: np.ndarray, values: np.ndarray, errors: np.ndarray | None, begin: np.ndarray) -> np.ndarray:
    """Segments of a curve in the intervals that begin at `begin`, ndarray of SEGMENT, shape (n,); 0 outside."""
    index, other, inside = segments(nodes, begin)
    out = np.zeros(len(begin), SEGMENT)
    for name, column in (("lbda", nodes), ("value", values), ("error", errors)):
        if column is not None:
            out[name] = np.where(inside, np.stack([column[index], column[other]]), 0.0).T
    out["lbda"][:, 1] += out["lbda"][:, 0] == out["lbda"][:, 1]  # last node, or outside: any width
    return out


def _line(segment: np.ndarray, begin: np.ndarray) -> np.ndarray:
    """Value of segments at `begin` and their slope, shape (2, n)."""
    (first, second), (low, high) = segment["lbda"].T, segment["value"].T
    slope = (high - low) / (second - first)
    return np.array([low + slope * (begin - first), slope])


def _variance(segment: np.ndarray, begin: np.ndarray) -> np.ndarray:
    """Polynomial in the distance from `begin` of the variance of segments; shape (n, 3)."""
    (first, second), (low, high) = segment["lbda"].T, segment["error"].T
    width = second - first
    weight = (begin - first) / width
    # (low (1 - w))^2 + (high w)^2 with w = weight + d / width
    return np.array(
        [
            (low * (1 - weight)) ** 2 + (high * weight) ** 2,
            2 * (high**2 * weight - low**2 * (1 - weight)) / width,
            (low**2 + high**2) / width**2,
        ]
    ).T

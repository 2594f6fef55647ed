# SPDX-License-Identifier: GPL-2.0-or-later
"""Scalars of an exposure from its header: site, airmass, angles, and whether it saw the sky at all.

Angles are degrees here. A value from a header comes with a flag `complete`: False if a keyword was missing or a
fall-back was used. Refraction needs complete values, flux calibration does not.
"""

import logging
import math
from typing import NamedTuple

from muse_core.errors import DataError
from muse_core.model.compat import OURS, Compat
from muse_core.model.fits import Header
from muse_core.model.header import get_float, get_string

_LOG = logging.getLogger(__name__)

#: Site keywords and what is used without them: latitude [deg], longitude [deg, west-positive], elevation [m].
SITE_DEFAULTS = {"ESO TEL GEOLAT": -24.625278, "ESO TEL GEOLON": 70.402222, "ESO TEL GEOELEV": 2648.0}
_FLT_EPSILON = 1.1920929e-7
_TINY_SITE_VALUE = 2.2e-16


class HeaderValue(NamedTuple):
    """A number from a header; not `complete` if something was missing on the way."""

    value: float
    complete: bool


def site_value(header: Header, key: str, compat: Compat = OURS) -> HeaderValue:
    """Return a keyword of `SITE_DEFAULTS`, with the default for a missing or vanishing value."""
    value = get_float(header, key, 0.0, compat)
    if abs(value) < _TINY_SITE_VALUE:
        return HeaderValue(SITE_DEFAULTS[key], False)
    return HeaderValue(value, True)


def compute_airmass(ra_deg: float, dec_deg: float, lst_s: float, exptime_s: float, latitude_deg: float) -> float:
    """Effective airmass of an exposure.

    Hardie's (1962) formula at start, middle and end, with the weights 1/6, 2/3, 1/6 of Stetson (1987).

    Parameters
    ----------
    ra_deg, dec_deg : float
        Pointing.
    lst_s : float
        Local sidereal time at the start, in seconds.
    exptime_s : float
        Exposure time in seconds; 0 for the airmass at the start.
    latitude_deg : float
        Latitude of the telescope.

    Raises
    ------
    DataError
        If an argument is out of range or the object is below the horizon.
    """
    if not (
        0 <= ra_deg < 360 and abs(dec_deg) <= 90 and 0 <= lst_s < 86400 and abs(latitude_deg) <= 90 and exptime_s >= 0
    ):
        raise DataError(
            f"airmass: found RA {ra_deg:g}, DEC {dec_deg:g}, LST {lst_s:g}, EXPTIME {exptime_s:g}, latitude "
            f"{latitude_deg:g}, expected RA in [0, 360), LST in [0, 86400), DEC and latitude in [-90, 90], EXPTIME >= 0"
        )
    hour_angle = lst_s * 15 / 3600 - ra_deg
    if hour_angle < -180:
        hour_angle += 360
    if hour_angle > 180:
        hour_angle -= 360
    hour_angle = math.radians(hour_angle)
    latitude, dec = math.radians(latitude_deg), math.radians(dec_deg)

    # the order of the operations here is the reference's: its last bit shows in float32 data now and then
    def at(angle: float) -> float:
        cosz = math.sin(latitude) * math.sin(dec) + math.cos(latitude) * math.cos(dec) * math.cos(angle)
        if cosz < _FLT_EPSILON:
            raise DataError(f"airmass: object below the horizon (cosine of zenith distance {cosz:g})")
        secz = 1 / cosz
        excess = secz - 1
        return secz - 0.0018167 * excess - 0.002875 * excess**2 - 0.0008083 * excess**3

    if exptime_s == 0:
        return at(hour_angle)
    half = math.radians(exptime_s / 2 * (15 / 3600))
    return 1 / 6 * at(hour_angle) + 2 / 3 * at(hour_angle + half) + 1 / 6 * at(hour_angle + 2 * half)


def airmass(header: Header, compat: Compat = OURS) -> HeaderValue:
    """Effective airmass from RA, DEC, LST, EXPTIME and ESO TEL GEOLAT.

    Where it cannot be computed, the mean of ESO TEL AIRM START and END is returned as incomplete value, or -1 if these
    do not exist either.
    """
    ra, dec, lst, exptime = (get_float(header, key, None, compat) for key in ("RA", "DEC", "LST", "EXPTIME"))
    latitude, complete = site_value(header, "ESO TEL GEOLAT", compat)
    start = get_float(header, "ESO TEL AIRM START", 0.0, compat)
    end = get_float(header, "ESO TEL AIRM END", 0.0, compat)
    try:
        if ra is None or dec is None or lst is None or exptime is None:
            raise DataError("airmass: RA, DEC, LST or EXPTIME missing")
        value = compute_airmass(ra, dec, lst, exptime, latitude)
    except DataError as error:
        if start == 0 or end == 0:
            _LOG.warning("%s; no ESO TEL AIRM START and END either", error)
            return HeaderValue(-1.0, False)
        _LOG.warning("%s; using the mean of ESO TEL AIRM START and END", error)
        return HeaderValue((start + end) / 2, False)
    if start and end and not min(start, end) - 0.005 < value < max(start, end) + 0.005:
        _LOG.warning("computed airmass %.3f, but header says %.3f to %.3f", value, start, end)
    return HeaderValue(value, complete)


def parallactic_angle(header: Header, compat: Compat = OURS) -> HeaderValue:
    """Mean of ESO TEL PARANG START and END in degrees, across the flip at 180 degrees where needed."""
    start = get_float(header, "ESO TEL PARANG START", None, compat)
    end = get_float(header, "ESO TEL PARANG END", None, compat)
    complete = start is not None and end is not None
    start, end = start or 0.0, end or 0.0
    if abs(start - end) < 90:
        return HeaderValue((start + end) / 2, complete)
    to_flip_start = math.copysign(180 - abs(start), start)
    to_flip_end = math.copysign(180 - abs(end), end)
    value = 180 - abs((to_flip_start + to_flip_end) / 2)
    return HeaderValue(math.copysign(value, start if abs(to_flip_start) > abs(to_flip_end) else end), complete)


def position_angle(header: Header, compat: Compat = OURS) -> HeaderValue:
    """Effective position angle in degrees: ESO INS DROT POSANG, negated in derotator mode SKY."""
    angle = get_float(header, "ESO INS DROT POSANG", None, compat)
    mode = get_string(header, "ESO INS DROT MODE")
    complete = angle is not None and mode is not None
    if angle is None:
        _LOG.warning("ESO INS DROT POSANG is missing; position angle 0 taken")
        angle = 0.0
    if mode == "SKY":
        return HeaderValue(-angle, complete)
    if mode != "STAT":
        _LOG.warning("ESO INS DROT MODE: found %s, expected SKY or STAT; position angle %g taken as it is", mode, angle)
    return HeaderValue(angle, complete)


def is_lab_data(header: Header, compat: Compat = OURS) -> bool:
    """Does the header lack what an exposure of the sky has (pointing, site, airmass >= 1)? Refraction is then left."""
    value, complete = airmass(header, compat)
    pointing = get_float(header, "RA", None, compat) is not None and get_float(header, "DEC", None, compat) is not None
    return not (complete and pointing and value >= 1)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the telescope points and where on the field of view the light of a source falls, as a function of wavelength.

The physics is written down independently of the reduction steps, so that a reduction can be tested against it: sidereal
time and spherical triangle for airmass and parallactic angle, gnomonic projection for positions, Ciddor's refractivity
of dry air scaled by density for the refraction.

Not modelled: precession and aberration between the equinox of the target and the date (coordinates count as of date),
nutation, polar motion, UT1 - UTC, humidity in the refractivity, tracking errors.
"""

import datetime
import math

import numpy as np

from muse_core.errors import ParameterError
from muse_core.model.record import record
from muse_core.simulate.instrument import Mode

LATITUDE_DEG = -24.627
LONGITUDE_DEG = -70.404  # east-positive, as ESO TEL GEOLON
ELEVATION_M = 2648.0
REFERENCE_LBDA = 7000.0  # guiding wavelength: there the refraction is zero by definition

_ARCSEC = 3600.0 * 180.0 / math.pi
# the astrometric solution of the synthetic instrument: scales relative to nominal, rotation, centre
_SCALE = (0.9993, 1.0006)
_ROTATION_DEG = 0.21
CENTRE_PIX = (-0.0108, -1.2567)


def astrometric_matrix(mode: Mode) -> np.ndarray:
    """Degrees a spaxel on the sky at position angle 0: ((CD1_1, CD1_2), (CD2_1, CD2_2)) of ASTROMETRY_WCS."""
    sx, sy = (s * f / 3600.0 for s, f in zip(mode.spaxel_arcsec, _SCALE, strict=True))
    c, s = math.cos(math.radians(_ROTATION_DEG)), math.sin(math.radians(_ROTATION_DEG))
    return np.array([[-sx * c, sx * s], [sy * s, sy * c]])


def mjd_of(date_obs: str) -> float:
    """Modified Julian date of an ISO date.

    Raises
    ------
    ParameterError
        If it is not one.
    """
    try:
        date = datetime.datetime.fromisoformat(date_obs)
    except ValueError as error:
        raise ParameterError(
            f"date_obs: found {date_obs!r}, expected a date such as 2014-11-21T07:02:33.123"
        ) from error
    return (date - datetime.datetime(1858, 11, 17)) / datetime.timedelta(days=1)


def sidereal_time_deg(mjd: float) -> float:
    """Local mean sidereal time at the observatory, in degrees."""
    return (280.46061837 + 360.98564736629 * (mjd - 51544.5) + LONGITUDE_DEG) % 360.0


def zenith_of(ra_deg: float, dec_deg: float, mjd: float) -> tuple[float, float]:
    """Zenith distance and parallactic angle (from north over east to the zenith) of a position, in degrees."""
    h = math.radians(sidereal_time_deg(mjd) - ra_deg)
    d, p = math.radians(dec_deg), math.radians(LATITUDE_DEG)
    cos_z = math.sin(p) * math.sin(d) + math.cos(p) * math.cos(d) * math.cos(h)
    parallactic = math.atan2(
        math.sin(h) * math.cos(p), math.sin(p) * math.cos(d) - math.cos(p) * math.sin(d) * math.cos(h)
    )
    return math.degrees(math.acos(min(1.0, cos_z))), math.degrees(parallactic)


def refractivity(lbda, temperature_c: float, pressure_hpa: float):
    """Refractive index of dry air minus 1, at wavelength `lbda` in Angstrom."""
    s = (1e4 / np.asarray(lbda, float)) ** 2
    standard = 1e-8 * (5792105 / (238.0185 - s) + 167917 / (57.362 - s))
    return standard * (pressure_hpa / 1013.25) * (288.15 / (temperature_c + 273.15))


def gnomonic(ra_deg, dec_deg, ra0_deg: float, dec0_deg: float) -> tuple[np.ndarray, np.ndarray]:
    """Tangent plane coordinates (east, north) in degrees of a position seen from the tangent point."""
    a, d, d0 = np.radians(np.asarray(ra_deg) - ra0_deg), np.radians(dec_deg), math.radians(dec0_deg)
    cos_c = np.sin(d0) * np.sin(d) + np.cos(d0) * np.cos(d) * np.cos(a)
    east = np.cos(d) * np.sin(a) / cos_c
    north = (np.cos(d0) * np.sin(d) - np.sin(d0) * np.cos(d) * np.cos(a)) / cos_c
    return np.degrees(east), np.degrees(north)


def offset_position(ra_deg: float, dec_deg: float, east_arcsec: float, north_arcsec: float) -> tuple[float, float]:
    """Position in degrees at tangent plane offsets in arcsec from another."""
    x, y = east_arcsec / _ARCSEC, north_arcsec / _ARCSEC
    d = math.radians(dec_deg)
    ra = math.atan2(x, math.cos(d) - y * math.sin(d))
    dec = math.atan2((math.sin(d) + y * math.cos(d)) * math.cos(ra), math.cos(d) - y * math.sin(d))
    return (ra_deg + math.degrees(ra)) % 360.0, math.degrees(dec)


@record
class Pointing:
    """Geometry of one exposure on the sky.

    Attributes
    ----------
    mode : Mode
        Instrument mode.
    ra_deg, dec_deg : float
        Where the centre of the field really is.
    position_angle_deg : float
        Position angle of the field: DROT POSANG with the sign that DROT MODE gives it.
    zenith_distance_deg, parallactic_deg : float
        In the middle of the exposure.
    temperature_c, pressure_hpa : float
        Air at the telescope.
    refraction : float
        Factor on the differential refraction; 0 where a corrector takes it out.
    centre : tuple of float
        Middle of the illuminated area in nominal spaxels.
    """

    mode: Mode
    ra_deg: float
    dec_deg: float
    position_angle_deg: float
    zenith_distance_deg: float
    parallactic_deg: float
    temperature_c: float
    pressure_hpa: float
    refraction: float
    centre: tuple[float, float]

    def matrix(self) -> np.ndarray:
        """Degrees on the tangent plane (east, north) a spaxel (x, y)."""
        angle = math.radians(self.position_angle_deg)
        c, s = math.cos(angle), math.sin(angle)
        return np.array([[c, -s], [s, c]]) @ astrometric_matrix(self.mode)

    def shift_arcsec(self, lbda) -> np.ndarray:
        """Differential refraction towards the zenith, relative to 7000 Angstrom, in arcsec."""
        air = refractivity(lbda, self.temperature_c, self.pressure_hpa)
        air -= refractivity(REFERENCE_LBDA, self.temperature_c, self.pressure_hpa)
        return self.refraction * air * math.tan(math.radians(self.zenith_distance_deg)) * _ARCSEC

    def pixel(self, ra_deg: float, dec_deg: float, lbda) -> tuple[np.ndarray, np.ndarray]:
        """Position in nominal spaxels at which light of wavelength `lbda` from a position on the sky arrives.

        Parameters
        ----------
        ra_deg, dec_deg : float
            Position.
        lbda : ndarray of float64, shape (n,)
            Wavelengths in Angstrom.

        Returns
        -------
        x, y : ndarray of float64, shape (n,)
        """
        east, north = gnomonic(ra_deg, dec_deg, self.ra_deg, self.dec_deg)
        shift = self.shift_arcsec(lbda) / 3600.0
        parallactic = math.radians(self.parallactic_deg)
        plane = np.array([east + shift * math.sin(parallactic), north + shift * math.cos(parallactic)])
        x, y = np.linalg.solve(self.matrix(), plane)
        return x + self.centre[0] + CENTRE_PIX[0], y + self.centre[1] + CENTRE_PIX[1]

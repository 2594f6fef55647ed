# SPDX-License-Identifier: GPL-2.0-or-later
"""Velocity of the telescope towards the target, and the correction of wavelengths for it.

Earth's velocity is Stumpff's (1980, A&AS 41, 1) series, good to 0.4 m/s; precession after Simon et al. (1994, A&A 282,
663). No relativistic terms: barycentric velocities are 4.7 m/s below those of astropy.
"""

import logging
import math

import numpy as np

from muse_core.errors import DataError, ParameterError
from muse_core.model.arrays import Float64Array
from muse_core.model.cards import set_card
from muse_core.model.compat import OURS, Compat
from muse_core.model.fits import Header
from muse_core.model.header import PIXTABLE, get_float
from muse_core.model.record import record
from muse_core.steps.airmass import site_value

_LOG = logging.getLogger(__name__)

CARD_VELOCITY = PIXTABLE + "RVCORR"
LIGHT_KMS = 299792.458
ASTRONOMICAL_UNIT_KM = 149597870.7
TWO_PI = 2 * math.pi

#: Of each frame: value of SPECSYS, comment of the velocity.
FRAMES = {
    "bary": ("BARYCENT", "[km/s] barycentric correction was applied"),
    "helio": ("HELIOCEN", "[km/s] heliocentric correction was applied"),
    "geo": ("GEOCENTR", "[km/s] geocentric correction was applied"),
    "none": ("TOPOCENT", None),
}
SPECSYS_COMMENT = "Spectral reference frame"

_EARTH_RADIUS_KM = 6378.137
_FLATTENING = 1 / 298.257222
_SIDEREAL_DAY_S = 86164

# Stumpff's series, with T in Julian centuries from 1900: mean elements c0 + c1 T + c2 T^2 ...
_FAST = np.array(
    [
        [1.7400353, 628.33195099091, 5.2796e-6],  # mean longitude
        [6.2565836, 628.30194572674, -2.6180e-6],  # mean anomaly
        [4.7199666, 8399.7091449254, -1.9780e-5],  # Moon: longitude
        [0.19636505, 8433.4662911720, -5.6044e-5],  # Moon: argument of latitude
        [4.1547339, 52.993466764997, 5.8845e-6],  # planets
        [4.6524223, 21.354275911213, 5.6797e-6],
        [4.2620486, 7.5025342197656, 5.5317e-6],
        [1.4740694, 3.8377331909193, 5.6093e-6],
    ]
)
_OBLIQUITY = np.array([0.4093198, -2.271110e-4, -2.860401e-8])
_SLOW = np.array(
    [
        [1.675104e-02, -4.179579e-05, -1.260516e-07],  # eccentricity
        [2.220221e-01, 2.809917e-02, 1.852532e-05],  # planets: perihelia ...
        [1.589963e00, 3.418075e-02, 1.430200e-05],
        [2.994089e00, 2.590824e-02, 4.155840e-06],
        [8.155457e-01, 2.486352e-02, 6.836840e-06],
        [1.735614e00, 1.763719e-02, 6.370440e-06],  # ... nodes ...
        [1.968564e00, 1.524020e-02, -2.517152e-06],
        [1.282417e00, 8.703393e-03, 2.289292e-05],
        [2.280820e00, 1.918010e-02, 4.484520e-06],
        [4.833473e-02, 1.641773e-04, -4.654200e-07],  # ... eccentricities ...
        [5.589232e-02, -3.455092e-04, -7.388560e-07],
        [4.634443e-02, -2.658234e-05, 7.757000e-08],
        [8.997041e-03, 6.329728e-06, -1.939256e-09],
        [2.284178e-02, -9.941590e-05, 6.787400e-08],  # ... inclinations
        [4.350267e-02, -6.839749e-05, -2.714956e-07],
        [1.348204e-02, 1.091504e-05, 6.903760e-07],
        [3.106570e-02, -1.665665e-04, -1.590188e-07],
    ]
)
# ... periodic terms: phase, rate, q1 ... q5
_PERIODIC = np.array(
    [
        [5.0974222, -786.04195454652, -2.279594e-5, 1.407414e-5, 8.273188e-6, 1.340565e-5, -2.490817e-7],
        [3.9584962, -575.33848094674, -3.494537e-5, 2.860401e-7, 1.289448e-7, 1.627237e-5, -1.823138e-7],
        [1.6338070, -1150.6769618935, 6.593466e-7, 1.322572e-5, 9.258695e-6, -4.674248e-7, -3.646275e-7],
        [2.5487111, -393.02097727326, 1.140767e-5, -2.049792e-5, -4.747930e-6, -2.638763e-6, -1.245408e-7],
        [4.9255514, -588.49265665348, 9.516893e-6, -2.748894e-6, -1.319381e-6, -4.549908e-6, -1.864821e-7],
        [1.3363463, -550.76098609303, 7.310990e-6, -1.924710e-6, -8.772849e-7, -3.334143e-6, -1.745256e-7],
        [1.6072053, -522.37501616674, -2.603449e-6, 7.359472e-6, 3.168357e-6, 1.119056e-6, -1.655307e-7],
        [1.3629480, -1179.0629318198, -3.228859e-6, 1.308997e-7, 1.013137e-7, 2.403899e-6, -3.736225e-7],
        [5.5657014, -1097.7134971135, 3.442177e-7, 2.671323e-6, 1.832858e-6, -2.394688e-7, -3.478444e-7],
        [5.0708205, -157.74000881978, 8.702406e-6, -8.421214e-6, -1.372341e-6, -1.455234e-6, -4.998479e-8],
        [3.9318944, 52.963464780000, -1.488378e-6, -1.251789e-5, 5.226868e-7, -2.049301e-7, 0],
        [4.8989497, 39.809289073258, -8.043059e-6, -2.991300e-6, 1.473654e-7, -3.154542e-7, 0],
        [1.3097446, 77.540959633708, 3.699128e-6, -3.316126e-6, 2.901257e-7, 3.407826e-7, 0],
        [3.5147141, 79.618578146517, 2.550120e-6, -1.241123e-6, 9.901116e-8, 2.210482e-7, 0],
        [3.5413158, -548.68336758022, -6.351059e-7, 2.341650e-6, 1.061492e-6, 2.878231e-7, 0],
    ]
)
# ... secular terms: amplitude, its change, phase, rate
_SECULAR = np.array(
    [
        [1.289600e-6, 0, 0.5550147, 2.076942],
        [3.102810e-5, 0, 4.035027, 0.3525565],
        [9.124190e-6, -7.757020e-8, 0.9990265, 2.622706],
        [9.793240e-7, 0, 5.508259, 15.59103],
    ]
)
# ... perturbations of the Moon: phase, rate, m1 ... m4
_MOON = np.array(
    [
        [5.1679830, 8328.6911095275, 1.097594e-1, 2.896773e-7, 5.450474e-2, 1.438491e-7],
        [5.4913150, -7214.0632838100, -2.223581e-2, 5.083103e-8, 1.002548e-2, -2.291823e-8],
        [5.9598530, 15542.754389685, 1.148966e-2, 5.658888e-8, 8.249439e-3, 4.063015e-8],
    ]
)
_RATE_LONGITUDE, _RATE_ANOMALY, _RATE_NODE = 1.990987e-7, 1.990969e-7, 2.399485e-7
_MOON_DISTANCE, _MOON_RATE = 3.122140e-5, 2.661699e-6
_PLANETS = np.array([8.326827e-11, 1.843484e-11, 1.988712e-12, 1.881276e-12])
_SUN_SHARE = 0.99999696


def earth_velocity(julian_date: float) -> tuple[np.ndarray, np.ndarray]:
    """Velocity of the Earth.

    Parameters
    ----------
    julian_date : float
        Julian date.

    Returns
    -------
    heliocentric, barycentric : ndarray of float64, shape (3,)
        Velocity vectors in au per second, equator and equinox of date.
    """
    t = (julian_date - 2415020) / 36525
    powers = np.array([1, t, t * t])
    longitude, anomaly, moon_longitude, moon_latitude, *planets = np.fmod(_FAST @ powers, TWO_PI)
    planets = np.array(planets)
    obliquity = math.fmod(_OBLIQUITY @ powers, TWO_PI)
    slow = np.fmod(_SLOW @ powers, TWO_PI)
    e = slow[0]
    perihelion, node, eccentricity, inclination = slow[1:5], slow[5:9], slow[9:13], slow[13:17]

    # perturbations of the Earth-Moon barycentre
    amplitude, change, phase, rate = _SECULAR.T
    in_longitude = ((amplitude + change * t) * np.sin(np.fmod(phase + rate * t, TWO_PI))).sum()
    phase, rate, q1, q2, q3, q4, q5 = _PERIODIC.T
    cos, sin = np.cos(np.fmod(phase + rate * t, TWO_PI)), np.sin(np.fmod(phase + rate * t, TWO_PI))
    in_longitude += (q1 * cos + q2 * sin).sum()
    in_radius = (q3 * cos + q4 * sin).sum()
    rate_longitude = ((q2 * cos - q1 * sin) * q5).sum()
    rate_radius = ((q4 * cos - q3 * sin) * q5).sum()

    # elliptic motion
    equation = (
        2
        * e
        * (
            (1 - e * e / 8) * math.sin(anomaly)
            + 5 / 8 * e * math.sin(2 * anomaly)
            + 0.5416667 * e * e * math.sin(3 * anomaly)
        )
    )
    true_anomaly = anomaly + equation
    sin_f, cos_f = math.sin(true_anomaly), math.cos(true_anomaly)
    radius = (1 - e * e) / (1 + e * cos_f)
    rate_equation = 2 * e * _RATE_ANOMALY * ((1 + 1.5 * e * e) * cos_f + e * (1.25 - 0.5 * sin_f**2))
    radial = (1 + in_radius) * (_RATE_ANOMALY * e * sin_f / math.sqrt(1 - e * e) + radius * rate_radius)
    tangential = (1 + in_radius) * radius * (_RATE_LONGITUDE + rate_equation + rate_longitude)
    sun = longitude + equation + in_longitude
    x = radial * math.cos(sun) - tangential * math.sin(sun)
    y = radial * math.sin(sun) + tangential * math.cos(sun)

    # the Earth about the Earth-Moon barycentre
    phase, rate, m1, m2, m3, m4 = _MOON.T
    argument = np.fmod(phase + rate * t, TWO_PI)
    parallax = 1 + (m3 * np.cos(argument)).sum()
    scale = _MOON_DISTANCE / parallax
    a = scale * (_MOON_RATE + (m2 * np.cos(argument)).sum())
    b = -scale * (m4 * np.sin(argument)).sum()
    moon = moon_longitude + (m1 * np.sin(argument)).sum()
    x += a * math.sin(moon) + b * math.cos(moon)
    y += -a * math.cos(moon) + b * math.sin(moon)
    z = -scale * _RATE_NODE * math.cos(moon_latitude)
    heliocentric = np.array([x, y, z])

    # the Sun about the barycentre of the solar system
    tau = planets + 2 * eccentricity * np.sin(planets - perihelion)
    barycentric = _SUN_SHARE * heliocentric + np.array(
        [
            (_PLANETS * (np.sin(tau) + eccentricity * np.sin(perihelion))).sum(),
            -(_PLANETS * (np.cos(tau) + eccentricity * np.cos(perihelion))).sum(),
            -(_PLANETS * inclination * np.cos(planets - node)).sum(),
        ]
    )
    turn = _rotation_x(-obliquity)
    return turn @ heliocentric, turn @ barycentric


def precession_matrix(equinox: float, epoch: float) -> np.ndarray:
    """Rotation from the equator and equinox of one epoch (in years) to those of another; float64, shape (3, 3)."""
    t0 = (equinox - 2000) / 1000
    t = (epoch - equinox) / 1000

    def arcsec(*coefficients: tuple[float, ...]) -> float:
        """Polynomial in t without constant, whose coefficients are polynomials in t0."""
        angle = sum(np.polyval(c[::-1], t0) * t**power for power, c in enumerate(coefficients, 1))
        return math.radians(angle / 3600)

    linear = (23060.9097, 139.7495, -0.0038, -0.5918, -0.0037, 0.0007)
    theta = arcsec(
        (20042.0207, -85.3131, -0.2111, 0.3642, 0.0008, -0.0005),
        (-42.6566, -0.2111, 0.5463, 0.0017, -0.0012),
        (-41.8238, 0.0359, 0.0027, -0.0001),
        (-0.0731, 0.0019, 0.0009),
        (-0.0127, 0.0011),
        (0.0004,),
    )
    zeta = arcsec(
        linear,
        (30.2226, -0.2523, -0.3840, -0.0014, 0.0007),
        (18.0183, -0.1326, 0.0006, 0.0005),
        (-0.0583, -0.0001, 0.0007),
        (-0.0285,),
        (-0.0002,),
    )
    z = arcsec(
        linear,
        (109.5270, 0.2446, -1.3913, -0.0134, 0.0026),
        (18.2667, -1.1400, -0.0173, 0.0044),
        (-0.2821, -0.0093, 0.0032),
        (-0.0301, 0.0006),
        (-0.0001,),
    )
    return _rotation_z(-z) @ _rotation_y(theta) @ _rotation_z(-zeta)


def velocity_kms(header: Header, frame: str, compat: Compat = OURS) -> float:
    """Velocity to correct for, in the middle of an exposure.

    Parameters
    ----------
    header : Header
        With EXPTIME, MJD-OBS, EQUINOX, RA, DEC; site keywords have defaults.
    frame : str
        ``bary``, ``helio`` (both with the rotation of the Earth) or ``geo`` (this only).
    compat : Compat
        With `geolon_west_positive`, ESO TEL GEOLON counts as west-positive.

    Returns
    -------
    float
        In km/s, positive if the telescope moves towards the target.

    Raises
    ------
    ParameterError
        If the frame is unknown.
    DataError
        If a keyword is missing.
    """
    if frame not in ("bary", "helio", "geo"):
        raise ParameterError(f"rvcorr: found {frame!r}, expected one of {', '.join(FRAMES)}")
    found = {key: get_float(header, key, None, compat) for key in ("EXPTIME", "MJD-OBS", "RA", "DEC")}
    found["EQUINOX"] = get_float(header, "EQUINOX")  # the reference, too, takes an integer here
    values = {key: value for key, value in found.items() if value is not None}
    if missing := [key for key in found if key not in values]:
        raise DataError(f"velocity correction: keyword {', '.join(missing)} missing, or not a number")
    latitude = math.radians(site_value(header, "ESO TEL GEOLAT", compat).value)
    longitude, stated = site_value(header, "ESO TEL GEOLON", compat)
    west = longitude if compat.geolon_west_positive or not stated else -longitude
    elevation = site_value(header, "ESO TEL GEOELEV", compat).value

    julian_date = values["MJD-OBS"] + 2400000.5 + 0.5 * values["EXPTIME"] / 86400
    epoch = 1900 + (julian_date - 2415020 - 0.31352) / 365.242198781  # Besselian
    ra, dec = math.radians(values["RA"]), math.radians(values["DEC"])
    target = precession_matrix(values["EQUINOX"], epoch) @ np.array(
        [math.cos(ra) * math.cos(dec), math.sin(ra) * math.cos(dec), math.sin(dec)]
    )
    rotation = _rotation_velocity_kms(target, julian_date, latitude, math.radians(west), elevation)
    if frame == "geo":
        return rotation
    heliocentric, barycentric = earth_velocity(julian_date)
    return float(ASTRONOMICAL_UNIT_KM * ((barycentric if frame == "bary" else heliocentric) @ target)) + rotation


def _rotation_velocity_kms(
    target: np.ndarray, julian_date: float, latitude: float, longitude_west: float, elevation_m: float
) -> float:
    """Velocity of the telescope towards a unit vector by the rotation of the Earth."""
    dec, ra = math.asin(target[2]), math.atan2(target[1], target[0])
    midnight = math.floor(julian_date - 0.5) + 0.5
    t = (midnight - 2415020) / 36525
    at_midnight = (1.739935934667999 + 628.3319509909095 * t + 6.755878646261384e-6 * t * t) % TWO_PI
    sidereal_time = at_midnight + 1.00273790934 * TWO_PI * (julian_date - midnight) - longitude_west
    e2 = _FLATTENING * (2 - _FLATTENING)
    sin2 = math.sin(latitude) ** 2
    distance = _EARTH_RADIUS_KM * math.sqrt((1 - e2 * (2 - e2) * sin2) / (1 - e2 * sin2))
    geocentric = latitude - math.atan(e2 * math.sin(2 * latitude) / (2 * (1 - e2 * sin2)))
    from_axis = distance * math.cos(geocentric) + elevation_m / 1000 * math.cos(latitude)
    return TWO_PI / _SIDEREAL_DAY_S * from_axis * math.cos(dec) * math.sin(ra - sidereal_time)


@record
class VelocityCorrection:
    """Velocity correction of one exposure.

    Attributes
    ----------
    frame : str
        ``bary``, ``helio``, ``geo`` or ``none``.
    velocity_kms : float
        Velocity, 0 for ``none``.
    """

    frame: str
    velocity_kms: float = 0.0

    @classmethod
    def from_header(cls, header: Header, frame: str, compat: Compat = OURS) -> "VelocityCorrection | None":
        """Set up the correction; None if the header says that it was done. Raises as `velocity_kms`."""
        if frame == "none":
            return cls(frame)
        before = get_float(header, CARD_VELOCITY, 0.0)
        if before:
            _LOG.info("wavelengths were corrected by %g km/s before", before)
            return None
        return cls(frame, velocity_kms(header, frame, compat))

    @property
    def stretch(self) -> float:
        """Factor on the wavelengths."""
        beta = self.velocity_kms / LIGHT_KMS
        return math.sqrt((1 + beta) / (1 - beta))

    def write_cards(self, header: Header) -> None:
        """Write velocity and frame to the header of the pixel table. Its limits stay as they are."""
        specsys, comment = FRAMES[self.frame]
        if comment is not None:
            set_card(header, CARD_VELOCITY, self.velocity_kms, comment)
        set_card(header, "SPECSYS", specsys, SPECSYS_COMMENT)


def _rotation_x(angle: float) -> Float64Array:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[1, 0, 0], [0, c, s], [0, -s, c]])


def _rotation_y(angle: float) -> Float64Array:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])


def _rotation_z(angle: float) -> Float64Array:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])

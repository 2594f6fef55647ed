# SPDX-License-Identifier: GPL-2.0-or-later
"""Velocity of the telescope: values of the reference implementation and of astropy."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import EarthLocation, SkyCoord
from astropy.io.fits import Header
from astropy.time import Time
from astropy.utils import iers

from muse_core.errors import DataError, ParameterError
from muse_core.model.cards import set_card
from muse_core.model.compat import OURS, Compat
from muse_core.steps.velocity import VelocityCorrection, earth_velocity, precession_matrix, velocity_kms

REFERENCE = Compat.reference()
# RA, DEC, MJD-OBS, EXPTIME, GEOLON; bary, helio, geo in km/s with GEOLON west-positive
VECTORS = [
    (291.993241, -41.57611, 56833.23799131, 750, -70.4040, 6.490920376, 6.494385280, -0.209080242),
    (291.993241, -41.57611, 56833.23799131, 750, +70.4040, 6.711687070, 6.715151974, 0.011686452),
    (291.992792, -41.57449, 56868.14878751, 900, -70.4040, -9.595997341, -9.592040277, -0.198040312),
    (150.12, 2.2, 57050.25, 1200, -70.4040, 11.866485976, 11.867650081, -0.273068857),
    (53.1625, -27.791389, 57300.3, 1440, -70.4040, 9.864193298, 9.857377403, -0.231981755),
    (187.70593, 12.391123, 58200.1234, 600, -70.4040, 0.016681800, 0.006141994, -0.391681161),
    (266.41683, -29.00781, 60500.05, 600, -70.4040, -10.423200023, -10.432041385, -0.347053409),
    (0.5, -60, 61000.3, 900, -70.4040, -18.011790812, -18.018464335, 0.184056142),
]


def header_of(ra, dec, mjd, exptime, longitude):
    header = Header()
    for key, value in {
        "RA": ra,
        "DEC": dec,
        "MJD-OBS": mjd,
        "EXPTIME": exptime,
        "EQUINOX": 2000,
        "ESO TEL GEOLON": longitude,
        "ESO TEL GEOLAT": -24.6270,
        "ESO TEL GEOELEV": 2648.0,
    }.items():
        set_card(header, key, value if key == "EQUINOX" else float(value))
    return header


@pytest.mark.parametrize("vector", VECTORS)
def test_velocity_against_reference(vector):
    header = header_of(*vector[:5])
    for frame, expected in zip(("bary", "helio", "geo"), vector[5:], strict=True):
        assert velocity_kms(header, frame, REFERENCE) == pytest.approx(expected, abs=2e-9)


def test_longitude_is_east_positive():
    right, header = header_of(*VECTORS[1][:5]), header_of(*VECTORS[0][:5])
    assert velocity_kms(header, "geo", OURS) == pytest.approx(velocity_kms(right, "geo", REFERENCE), abs=1e-12)
    header.remove("ESO TEL GEOLON")
    assert velocity_kms(header, "geo", OURS) == velocity_kms(header, "geo", REFERENCE)


@pytest.mark.parametrize("vector", [VECTORS[0], *VECTORS[2:7]])
def test_velocity_against_astropy(vector):
    ra, dec, mjd, exptime = vector[:4]
    site = EarthLocation.from_geodetic(-70.4040 * u.deg, -24.6270 * u.deg, 2648 * u.m)
    with iers.conf.set_temp("auto_download", False), iers.conf.set_temp("iers_degraded_accuracy", "ignore"):
        time = Time(mjd + exptime / 86400 / 2, format="mjd")
        target = SkyCoord(ra * u.deg, dec * u.deg)
        expected = target.radial_velocity_correction("barycentric", obstime=time, location=site).to_value(u.km / u.s)
    # 4.7 m/s of it are relativistic terms
    assert velocity_kms(header_of(*vector[:5]), "bary") == pytest.approx(expected - 0.0047, abs=0.0015)


def test_earth_velocity():
    helio, bary = earth_velocity(2457050.7569444445)
    np.testing.assert_allclose(helio, [-1.60111060e-7, -1.13206087e-7, -4.90692589e-8], rtol=1e-8)
    np.testing.assert_allclose(bary, [-1.60067597e-7, -1.13147379e-7, -4.90450821e-8], rtol=1e-8)


def test_precession_matrix():
    matrix = precession_matrix(2000, 2015.0755404625247)
    np.testing.assert_allclose(matrix[0], [0.999993245, -3.37111096e-3, -1.46478657e-3], atol=1e-9)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-15)


@pytest.mark.parametrize("key", ["EXPTIME", "MJD-OBS", "EQUINOX", "RA", "DEC"])
def test_missing_keyword(key):
    header = header_of(*VECTORS[0][:5])
    header.remove(key)
    with pytest.raises(DataError, match=key):
        velocity_kms(header, "bary")


def test_unknown_frame():
    with pytest.raises(ParameterError, match="rvcorr"):
        velocity_kms(Header(), "galactic")


def test_correction_and_its_cards():
    header = header_of(*VECTORS[3][:5])
    correction = VelocityCorrection.from_header(header, "bary", REFERENCE)
    assert np.float32(np.float64(np.float32(9300)) * correction.stretch) == np.float32(9300.36816)
    correction.write_cards(header)
    assert header["ESO DRS MUSE PIXTABLE RVCORR"] == pytest.approx(correction.velocity_kms, rel=1e-14)
    assert header["SPECSYS"] == "BARYCENT"
    assert VelocityCorrection.from_header(header, "bary") is None


def test_no_correction():
    header = Header()
    correction = VelocityCorrection.from_header(header, "none")
    assert correction.stretch == 1.0
    correction.write_cards(header)
    assert dict(header) == {"SPECSYS": "TOPOCENT"}

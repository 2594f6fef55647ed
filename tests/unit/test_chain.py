# SPDX-License-Identifier: GPL-2.0-or-later
"""All steps before and after the sky on six rows: every number of the reference implementation, to the last bit."""

import numpy as np
import pytest
from astropy.io.fits import Header

from muse_core.model import origin
from muse_core.model.cards import set_card
from muse_core.model.compat import OURS, Compat
from muse_core.model.curves import ExtinctionCurve, ResponseCurve, TelluricCurve
from muse_core.model.dq import DQ, as_int32
from muse_core.model.rows import make_rows
from muse_core.model.wcs import AstrometricSolution
from muse_core.steps.astrometry import Positioning, Projection
from muse_core.steps.dar import DarCorrection
from muse_core.steps.flux import FluxCalibration
from muse_core.steps.passes import calibrate_rows, locate_rows
from muse_core.steps.velocity import VelocityCorrection

REFERENCE = Compat.reference()
HEADER = {
    "RA": 150.12,
    "DEC": 2.2,
    "EQUINOX": 2000.0,
    "EXPTIME": 1200.0,
    "MJD-OBS": 57050.25,
    "LST": 40000.0,
    "ESO INS MODE": "WFM-NOAO-N",
    "ESO TEL GEOLON": -70.404,
    "ESO TEL GEOLAT": -24.627,
    "ESO TEL GEOELEV": 2648.0,
    "ESO TEL PARANG START": -150.0,
    "ESO TEL PARANG END": -160.5,
    "ESO INS DROT POSANG": 30.0,
    "ESO INS DROT MODE": "SKY",
    "ESO TEL AMBI TEMP": 11.5,
    "ESO TEL AMBI RHUM": 14.5,
    "ESO TEL AMBI PRES START": 743.0,
    "ESO TEL AMBI PRES END": 743.5,
}
LIMITS = (-150.25, 151.125, -140.5, 149.75)
X = [0.5, -150.25, 151.125, 10, -37.5, 20]
Y = [0.25, -140.5, 149.75, -20, 77.75, 30]
LBDA = [4750, 5577, 7000, 6562.8, 8400, 9300]
DATA = [1000, 500, 200, 50, 1234.5, 10]
X_DAR = [0.674322486, -150.165344, 151.125, 10.0200911, -37.5442352, 19.9373932]
Y_DAR = [2.14713788, -139.57872, 149.75, -19.7813473, 77.2686081, 29.3186626]
LBDA_BARY = [4750.18799, 5577.2207, 7000.27686, 6563.05957, 8400.33203, 9300.36816]
FLUX = [8.56048791e19, 23417092, 6885838.5, 1752210.38, 80352616, 6.99513283e17]
VARIANCE = [9.20421262e36, 1.30737216e12, 3.27938867e11, 6.81542656e10, 4.56349503e13, 4.90571473e34]
PHI = [5.66430044, 0.283502162, 3.422194, 5.38545227, 2.13623357, 3.28640532]
THETA = [-2.41355133e-06, -0.000202175856, -0.0002028538, -2.54237675e-05, -7.94840525e-05, -3.05089634e-05]
DRA = [-8.02828145e-05, 0.00324258977, -0.00322110439, -0.00113983627, 0.00384811778, -0.000252440135]
DDEC = [-0.000112637776, -0.0111214202, 0.0111680897, -0.000908068265, 0.00244001416, 0.00172973808]


@pytest.fixture
def header():
    made = Header()
    for key, value in HEADER.items():
        set_card(made, key, value)
    return made


@pytest.fixture
def rows():
    return make_rows(X, Y, LBDA, DATA, 0, DATA, origin.encode(1, 1, 1, 1, 0))


@pytest.fixture
def curves():
    return (
        ResponseCurve([5000, 6000, 7000, 8000, 9000], [30.1, 30.9, 31.0, 30.7, 29.9], [0.01, 0.02, 0.015, 0.03, 0.05]),
        ExtinctionCurve([4000, 6000, 9500], [0.3, 0.11, 0.04]),
        TelluricCurve([6200, 6500, 8500, 8600], [1, 0.9, 0.8, 1], [1e-4, 0.05, 0.1, 1e-4]),
    )


def same(found, expected):
    """Equal as float32 numbers."""
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


def test_refraction(header, rows):
    dar = DarCorrection.from_header(header, 7000.0)
    expected = [-0.3810260125702493, -0.1850307231399875, 0, -0.04391495737060952, 0.09668466038484558]
    np.testing.assert_allclose(dar.shift_arcsec(rows["lbda"])[:5], expected, rtol=0, atol=1e-12)
    calibrate_rows(rows, dar=dar)
    same(rows["xpos"], X_DAR)
    same(rows["ypos"], Y_DAR)
    same(rows["data"], DATA)


@pytest.mark.parametrize("compat", [REFERENCE, OURS])
def test_flux(header, rows, curves, compat):
    calibrate_rows(rows, flux=FluxCalibration.from_header(header, *curves), compat=compat)
    same(rows["data"], FLUX)
    same(rows["stat"], VARIANCE)
    flag = 0 if compat is REFERENCE else as_int32(DQ.OUTSIDE_RANGE)
    np.testing.assert_array_equal(rows["dq"], [flag, 0, 0, 0, 0, flag])


def test_one_pass_is_all_steps(header, rows, curves):
    dar, flux = DarCorrection.from_header(header, 7000.0), FluxCalibration.from_header(header, *curves)
    calibrate_rows(rows, dar=dar, flux=flux)
    velocity = VelocityCorrection.from_header(header, "bary", REFERENCE)
    projection = Projection.from_header(header, AstrometricSolution.default(header), LIMITS)
    positioning = Positioning.at(150.12, 2.2)
    at_once, stepwise = rows.copy(), rows.copy()
    locate_rows(at_once, velocity.stretch, projection, positioning)
    for step in ((velocity.stretch,), (1.0, projection), (1.0, None, positioning)):
        locate_rows(stepwise, *step)
    assert at_once.tobytes() == stepwise.tobytes()
    same(at_once["lbda"], LBDA_BARY)
    same(at_once["data"], FLUX)
    same(at_once["xpos"], DRA)
    same(at_once["ypos"], DDEC)


def test_default_astrometry(header, rows):
    calibrate_rows(rows, dar=DarCorrection.from_header(header, 7000.0))
    projection = Projection.from_header(header, AstrometricSolution.default(header), LIMITS)
    assert projection.crpix == (0.4375, 4.625)
    expected = [[-4.81125224324688e-5, 2.77777777777778e-5], [2.77777777777778e-5, 4.81125224324688e-5]]
    np.testing.assert_allclose(projection.cd, expected, rtol=1e-13)
    locate_rows(rows, projection=projection)
    same(rows["xpos"], PHI)
    same(rows["ypos"], THETA)


def test_given_astrometry(header, rows):
    calibrate_rows(rows, dar=DarCorrection.from_header(header, 7000.0))
    calibration = Header()
    cards = {"CD1_1": -5.55e-5, "CD1_2": 2.1e-7, "CD2_1": -1.9e-7, "CD2_2": 5.56e-5}
    cards |= {"CRPIX1": -0.0108, "CRPIX2": -1.2567, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}
    for key, value in cards.items():
        set_card(calibration, key, value)
    projection = Projection.from_header(header, AstrometricSolution.from_header(calibration), LIMITS)
    np.testing.assert_allclose(projection.crpix, (0.4267, 3.3683), rtol=1e-14)
    expected = [[-4.8160722011484e-5, 2.79825541587729e-5], [2.75862070270037e-5, 4.80471946388266e-5]]
    np.testing.assert_allclose(projection.cd, expected, rtol=1e-13)
    rows = rows[[0, 1, 2, 4]]
    locate_rows(rows, projection=projection)
    same(rows["xpos"], [5.55638409, 0.286944419, 3.41694379, 2.14181662])
    same(rows["ypos"], [-1.21078119e-06, -0.000200579394, -0.000202955111, -8.08331606e-05])
    locate_rows(rows, positioning=Positioning.at(0.0, -60.2))
    same(rows["xpos"], [-9.27553483e-05, 0.00654700724, -0.00635954365, 0.00784010906])
    same(rows["ypos"], [-5.18424094e-05, -0.0110223051, 0.0111905765, 0.00250345957])


def test_relative_to_first_exposure(header, rows):
    projection = Projection.from_header(header, AstrometricSolution.default(header), LIMITS)
    locate_rows(rows, projection=projection)
    alone = rows.copy()
    first = Positioning.at(150.12, 2.2)
    locate_rows(alone, positioning=Positioning.at(150.13, 2.1))
    locate_rows(rows, positioning=Positioning.at(150.13, 2.1, first), flux_scale=1.5)
    same(rows["xpos"], alone["xpos"].astype(float) + (150.13 - 150.12))
    same(rows["ypos"], alone["ypos"].astype(float) + (2.1 - 2.2))
    same(rows["data"], alone["data"].astype(float) * 1.5)
    same(rows["stat"], alone["stat"].astype(float) * 2.25)

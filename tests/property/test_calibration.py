# SPDX-License-Identifier: GPL-2.0-or-later
"""What must hold for any exposure: geometry of the sky, linearity of fluxes, order of rows."""

import math

import numpy as np
from astropy.io.fits import Header
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from muse_core.model.cards import set_card
from muse_core.model.curves import ExtinctionCurve, ResponseCurve, TelluricCurve
from muse_core.model.rows import make_rows
from muse_core.model.wcs import AstrometricSolution
from muse_core.steps.airmass import compute_airmass
from muse_core.steps.astrometry import Positioning, Projection, rotate
from muse_core.steps.dar import DarCorrection
from muse_core.steps.flux import FluxCalibration
from muse_core.steps.passes import calibrate_rows, locate_rows
from muse_core.steps.refraction import Air, Method, RefractiveIndex

ANY = settings(derandomize=True, max_examples=30, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def random_rows(seed, n=200):
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-160, 160, (2, n))
    return make_rows(x, y, rng.uniform(4700, 9300, n), rng.normal(100, 50, n), 0, rng.uniform(1, 9, n), np.arange(n))


def flux_of(seed):
    rng = np.random.default_rng(seed)
    lbda = np.linspace(4600, 9400, 50)
    return FluxCalibration.from_curves(
        1.2,
        600.0,
        ResponseCurve(lbda, rng.normal(30, 0.2, 50), rng.uniform(0, 0.05, 50)),
        ExtinctionCurve(lbda, rng.uniform(0.05, 0.3, 50)),
        TelluricCurve(lbda, rng.uniform(0.5, 1, 50), rng.uniform(0, 0.05, 50)),
    )


@ANY
@given(seeds, st.floats(0, 359.9), st.floats(-88, 88), st.floats(-180, 180))
def test_positions_are_those_of_astropy(seed, ra, dec, angle):
    header = Header()
    set_card(header, "ESO INS DROT POSANG", angle)
    set_card(header, "ESO INS DROT MODE", "SKY")
    projection = Projection.from_header(header, AstrometricSolution.default(header), (-150.0, 148.0, -140.0, 151.0))
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.cd, wcs.wcs.crpix, wcs.wcs.crval = projection.cd, projection.crpix, (ra, dec)
    rows = random_rows(seed)
    expected_ra, expected_dec = wcs.wcs_pix2world(rows["xpos"].astype(float), rows["ypos"].astype(float), 1)
    locate_rows(rows, 1.0, projection, Positioning.at(ra, dec))
    offset = (rows["xpos"].astype(float) + ra - expected_ra + 180) % 360 - 180
    # float32 between projection and positioning: some 1e-5 arcsec
    assert np.abs(offset * math.cos(math.radians(dec))).max() < 1e-4 / 3600
    assert np.abs(rows["ypos"].astype(float) + dec - expected_dec).max() < 1e-4 / 3600


@ANY
@given(st.floats(-180, 180), st.floats(1e-6, 1e-3), st.floats(0.9, 1.1))
def test_rotation_keeps_areas(angle, scale, ratio):
    cd = np.array([[-scale, 0.01 * scale], [0.02 * scale, ratio * scale]])
    rotated = rotate(cd, angle)
    assert np.linalg.det(rotated) < 0
    assert math.isclose(np.linalg.det(rotated), np.linalg.det(rotate(cd, 0.0)), rel_tol=1e-12)


@ANY
@given(seeds)
def test_order_of_rows_does_not_matter(seed):
    rows, flux = random_rows(seed), flux_of(seed)
    dar = DarCorrection(7000.0, -3.0, 4.0, 1e5, RefractiveIndex.of(Air(285.0, 0.2, 743.0)))
    order = np.random.default_rng(seed).permutation(len(rows))
    shuffled = rows[order]
    for part in (rows, shuffled):
        calibrate_rows(part, dar=dar, flux=flux)
    assert rows[order].tobytes() == shuffled.tobytes()


@ANY
@given(seeds, st.sampled_from([0.25, 2.0, 1024.0]))
def test_fluxes_are_linear(seed, factor):
    rows, flux = random_rows(seed), flux_of(seed)
    scaled = rows.copy()
    scaled["data"] *= factor
    scaled["stat"] *= factor**2
    for part in (rows, scaled):
        calibrate_rows(part, flux=flux)
    np.testing.assert_array_equal(scaled["data"], rows["data"] * np.float32(factor))
    np.testing.assert_array_equal(scaled["stat"], rows["stat"] * np.float32(factor**2))
    assert (rows["stat"] > 0).all()


@ANY
@given(st.sampled_from(list(Method)), st.floats(3600, 20000), st.floats(1.01, 3))
def test_refraction_vanishes_at_the_reference(method, lambda_ref, airmass):
    scale = math.tan(math.acos(1 / airmass)) * 206265
    dar = DarCorrection(lambda_ref, 1.0, 1.0, scale, RefractiveIndex.of(Air(285.0, 0.2, 743.0), method))
    shift = dar.shift_arcsec(np.array([lambda_ref - 100, lambda_ref, lambda_ref + 100]))
    assert abs(shift[1]) < 1e-9
    assert shift[0] < 0 < shift[2]


@ANY
@given(st.floats(-60, 60), st.floats(0, 359), st.floats(-1, 1), st.floats(0, 3600))
def test_airmass_is_that_of_the_middle(dec, ra, hours, exptime):
    lst = (ra / 15 + hours) * 3600 % 86400
    value = compute_airmass(ra, dec, lst, exptime, -24.6)
    middle = compute_airmass(ra, dec, (lst + exptime / 2) % 86400, 0, -24.6)
    assert value >= 1
    assert math.isclose(value, middle, rel_tol=0.05)

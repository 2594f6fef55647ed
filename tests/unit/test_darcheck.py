# SPDX-License-Identifier: GPL-2.0-or-later
import numpy as np
import pytest
from astropy.io import fits

from muse_core.errors import DataError
from muse_core.model.compat import Compat
from muse_core.model.dq import DQ
from muse_core.model.rows import make_rows
from muse_core.steps import darcheck

STARS = ((12.3, 15.2, 2000.0), (30.6, 28.1, 900.0), (25.0, 8.4, 1400.0))
LBDA = 4750.0 + 20 * np.arange(120)


def header(**cards):
    h = fits.Header()
    h["HIERARCH ESO INS MODE"] = "WFM-NOAO-N"
    for key, value in cards.items():
        h[f"HIERARCH ESO DRS MUSE PIXTABLE {key.replace('_', ' ')}"] = value
    return h


CORRECTED = header(DAR_CORRECT=7000.0)


def cube(drift_x, drift_y, noise=0.5, shape=(40, 44), sigma=1.4, stars=STARS):
    """Stars that move by functions of wavelength, in pixels, and noise on a sky of 50."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[1 : shape[0] + 1, 1 : shape[1] + 1]
    data = 50 + noise * rng.normal(size=(len(LBDA), *shape))
    for x0, y0, flux in stars:
        dx = x - (x0 + drift_x(LBDA))[:, None, None]
        dy = y - (y0 + drift_y(LBDA))[:, None, None]
        data += flux / (2 * np.pi * sigma**2) * np.exp(-0.5 * (dx**2 + dy**2) / sigma**2)
    return data.astype(np.float32), np.zeros(data.shape, np.int32), np.full(data.shape, noise**2, np.float32)


def quadratic(a, b, centre=7000.0):
    return lambda lbda: a * (lbda - centre) / 1000 + b * ((lbda - centre) / 1000) ** 2


DRIFT = quadratic(0.1, 0.05), quadratic(-0.2, 0.02)


def test_injected_drift_is_found_and_removed():
    centre = (LBDA[1] + LBDA[-2]) / 2
    drift = [quadratic(0.1, 0.05, centre), quadratic(-0.2, 0.02, centre)]
    shift = darcheck.measure_shift(*cube(*drift), LBDA, header(DAR_CORRECT=centre))
    assert (shift.n_objects, shift.sigma, shift.lbda_ref) == (3, 10.0, centre)
    expected = 0.2 * max(np.ptp(d(LBDA)) for d in drift)
    assert shift.max_shift_arcsec == pytest.approx(expected, abs=1e-3)
    lbda = np.linspace(4750, 7100, 300)
    rows = make_rows(10 + drift[0](lbda), -4 + drift[1](lbda), lbda, 1.0, 0, 1.0, 0)
    shift.correct(rows)
    assert rows["xpos"] == pytest.approx(10, abs=0.005)
    assert rows["ypos"] == pytest.approx(-4, abs=0.005)


def test_reference_wavelength_stays():
    shift = darcheck.measure_shift(*cube(*DRIFT), LBDA, header(DAR_CORRECT=5000.0))
    rows = make_rows(1.5, 2.5, np.float32([5000.0]), 1.0, 0, 1.0, 0)
    shift.correct(rows)
    assert (rows["xpos"][0], rows["ypos"][0]) == (1.5, 2.5)


@pytest.mark.parametrize(
    ("cards", "lbda_ref", "order"),
    [
        ({}, None, 4),
        ({"DAR_CORRECT": -1.0}, None, 4),
        ({"DAR_CORRECT": 6000.0}, 6000.0, 2),
        ({"DAR_CORRECT": 9000.0}, None, 2),
        ({"DAR_CORRECT_RESIDUAL": 7000.0}, None, 2),
    ],
)
def test_what_is_known_decides_on_the_order(cards, lbda_ref, order):
    shift = darcheck.measure_shift(*cube(*DRIFT), LBDA, header(**cards))
    assert shift.lbda_ref == (lbda_ref or (LBDA[1] + LBDA[-2]) / 2)
    assert len(shift.x) == len(shift.y) == order + 1


def test_large_shifts_are_followed_without_correction():
    drift = quadratic(2.0, 0.0, 5930.0), quadratic(1.0, 0.0, 5930.0)
    shift = darcheck.measure_shift(*cube(*drift, stars=[(22.2, 19.7, 2000.0)]), LBDA, header())
    assert shift.max_shift_arcsec == pytest.approx(0.2 * np.ptp(drift[0](LBDA)), abs=2e-3)


def test_narrow_field_has_smaller_spaxels():
    nfm = CORRECTED.copy()
    nfm["ESO INS MODE"] = "NFM-AO-N"
    wide, narrow = (darcheck.measure_shift(*cube(*DRIFT), LBDA, h) for h in (CORRECTED, nfm))
    assert narrow.max_shift_arcsec == pytest.approx(wide.max_shift_arcsec / 0.2 * 0.02542)


def test_flagged_voxels_are_not_used():
    data, dq, stat = cube(*DRIFT)
    clean = darcheck.measure_shift(data, dq, stat, LBDA, CORRECTED)
    data[::2, 14, 13] = 1e5
    dq[::2, 14, 13] = DQ.COSMIC_RAY
    dq[40:45] = DQ.MISSING
    flagged = darcheck.measure_shift(data, dq, stat, LBDA, CORRECTED)
    assert np.isnan(flagged.offsets[40:45]).all()
    assert flagged.max_shift_arcsec == pytest.approx(clean.max_shift_arcsec, abs=2e-3)


def test_outlying_planes_are_clipped():
    data, dq, stat = cube(*DRIFT)
    data[30] = np.roll(data[30], 2, axis=1)
    shift = darcheck.measure_shift(data, dq, stat, LBDA, CORRECTED)
    assert shift.offsets[30, 0] == pytest.approx(-2 - DRIFT[0](LBDA[30]) + DRIFT[0](LBDA[60]), abs=0.2)
    expected = darcheck.measure_shift(*cube(*DRIFT), LBDA, CORRECTED).max_shift_arcsec
    assert shift.max_shift_arcsec == pytest.approx(expected, abs=1e-3)


def test_sky_without_objects():
    data, dq, stat = cube(*DRIFT)
    with pytest.raises(DataError, match="found no object at 5 sigma"):
        darcheck.measure_shift(data[:, :5, :5], dq[:, :5, :5], stat[:, :5, :5], LBDA, CORRECTED)


def test_too_few_planes():
    data, dq, stat = cube(*DRIFT)
    with pytest.raises(DataError, match="found 2 planes of 10 Angstrom, expected at least 3"):
        darcheck.measure_shift(data[:2], dq[:2], stat[:2], LBDA[:2], CORRECTED)
    dq[:57] = dq[60:] = DQ.MISSING
    with pytest.raises(DataError, match="found 3 planes with a position in x, expected more than 4"):
        darcheck.measure_shift(data, dq, stat, LBDA, header())
    shift = darcheck.measure_shift(data, dq, stat, LBDA, header(), Compat(dar_of_few_planes_zero=True))
    assert shift.max_shift_arcsec == 0


def test_cards():
    shift = darcheck.measure_shift(*cube(*DRIFT), LBDA, CORRECTED)
    ((key, value, comment),) = shift.check_cards()
    assert key == "ESO DRS MUSE PIXTABLE DAR CHECK"
    assert value == shift.max_shift_arcsec
    assert comment == "[arcsec] maximum residual DAR offsets found"
    before = header(LIMITS_X_LOW=-150.0, LIMITS_X_HIGH=151.0, LIMITS_Y_LOW=-1.0, PREDAR_LIMITS_YLO=-7.0)
    cards = {key.removeprefix("ESO DRS MUSE PIXTABLE "): value for key, value, _ in shift.correction_cards(before)}
    assert cards == {"DAR CORRECT RESIDUAL": shift.lbda_ref, "PREDAR LIMITS XLO": -150.0, "PREDAR LIMITS XHI": 151.0}


def test_cosmic_rays_are_reset_but_nothing_else():
    rows = make_rows(0.0, 0.0, 5000.0, 1.0, [0, 32, 33, 1 << 30, -(1 << 31) + 32], 1.0, 0)
    darcheck.reset_cosmic_rays(rows)
    np.testing.assert_array_equal(rows["dq"], [0, 0, 1, 1 << 30, -(1 << 31)])

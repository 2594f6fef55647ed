# SPDX-License-Identifier: GPL-2.0-or-later
"""Calibration of rows against the formulas step by step in numpy, with the rounding of each step."""

import numpy as np
import pytest
from harness.edges import flux_and_variance, values_near_edge
from hypothesis import given, settings
from hypothesis import strategies as st

from muse_core.model.compat import OURS, Compat
from muse_core.model.curves import ExtinctionCurve, ResponseCurve, TelluricCurve
from muse_core.model.dq import DQ, as_int32
from muse_core.model.pixtable import FlatFieldSpectrum
from muse_core.model.rows import make_rows
from muse_core.steps.dar import DarCorrection
from muse_core.steps.flatfield import FlatFieldFactor, Mode
from muse_core.steps.flux import FluxCalibration
from muse_core.steps.passes import calibrate_rows
from muse_core.steps.refraction import Air, Method, RefractiveIndex

AIRMASS, EXPTIME = 1.37, 900.0
f32 = np.float32


def ascending(rng, n, low, high):
    return np.unique(rng.uniform(low, high, n))


def make_curves(rng, n):
    def on(low, high, value, spread):
        lbda = ascending(rng, n, low, high)
        return lbda, rng.normal(value, spread, len(lbda)), rng.uniform(0, spread, len(lbda))

    lbda, values, errors = on(4700, 9250, 30, 0.1)
    response = ResponseCurve(lbda, values, errors)
    lbda, values, _ = on(4000, 9900, 0.1, 0.01)
    extinction = ExtinctionCurve(lbda, values)
    lbda, values, errors = on(6000, 8000, 0.9, 0.1)
    values[len(values) // 2] = -0.1  # stays as it is
    return response, extinction, TelluricCurve(lbda, values, errors)


def make(rng, n, ordered):
    lbda = rng.uniform(4650, 9350, n).astype(f32)
    if ordered:
        lbda.sort()
    position = rng.uniform(-160, 160, (2, n))
    return make_rows(*position, lbda, rng.normal(50, 30, n), 0, rng.uniform(1, 100, n), 1)


def twin_flux(rows, *curves):
    out, (x, data, stat) = rows.copy(), (rows[name].astype(float) for name in ("lbda", "data", "stat"))
    out["data"], out["stat"] = flux_and_variance(x, data, stat, AIRMASS, EXPTIME, *curves)
    outside = (x < curves[0].lbda[0]) | (x > curves[0].lbda[-1])
    out["dq"][outside] |= as_int32(DQ.OUTSIDE_RANGE)
    return out


def same_bits(found, expected, fraction=0.999):
    for name in ("xpos", "ypos", "lbda", "data", "stat"):
        error = np.abs(found[name].astype(float) - expected[name]) / np.spacing(np.abs(expected[name]))
        assert error.max() <= 4, name
        assert np.mean(error == 0) >= fraction, name
    for name in ("dq", "origin"):
        np.testing.assert_array_equal(found[name], expected[name])


@settings(derandomize=True, max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 5, 100, 4000]), st.booleans())
def test_flux(seed, n_nodes, ordered):
    rng = np.random.default_rng(seed)
    curves, rows = make_curves(rng, n_nodes), make(rng, 2000, ordered)
    rows["lbda"][:3] = curves[0].lbda[[0, -1, 0]]
    expected = twin_flux(rows, *curves)
    calibrate_rows(rows, flux=FluxCalibration.from_curves(AIRMASS, EXPTIME, *curves))
    same_bits(rows, expected, 1)


def test_flux_at_the_edge_of_two_numbers():
    """The fast coefficients would round about one row in ten of these the other way."""
    rng = np.random.default_rng(7)
    curves, rows = make_curves(rng, 3000), make(rng, 2000, True)
    x, zero, one = rows["lbda"].astype(float), np.zeros(len(rows)), np.ones(len(rows))
    gain = flux_and_variance(x, one, zero, AIRMASS, EXPTIME, *curves)[0]
    gain_of_variance = flux_and_variance(x, zero, one, AIRMASS, EXPTIME, *curves)[1]
    at_edge = []
    for row, *factors in zip(rows, gain, gain_of_variance, strict=True):
        for name, other, factor in zip(("data", "stat"), ("stat", "data"), factors, strict=True):
            for value in values_near_edge(factor, within=20):
                row[name], row[other] = value, 0
                at_edge.append(row.copy())
    rows = np.array(at_edge)
    assert len(rows) > 200
    expected = twin_flux(rows, *curves)
    calibrate_rows(rows, flux=FluxCalibration.from_curves(AIRMASS, EXPTIME, *curves))
    same_bits(rows, expected, 1)


def test_ends_of_curves_belong_to_them():
    response = ResponseCurve([5000.0, 9000.0], [30.0, 31.0], [0.0, 0.0])
    telluric = TelluricCurve([5000.0, 6273.0], [0.5, 0.5], [0.0, 0.0])
    lbda = f32([5000, 9000, np.nextafter(f32(5000), f32(0)), np.nextafter(f32(9000), f32(1e5)), 6273])
    rows = make_rows(0, 0, lbda, 100, 0, 1, 1)
    calibrate_rows(rows, flux=FluxCalibration.from_curves(1.0, 1.0, response, None, telluric))
    expected = 100e20 / 1.25 / 10.0 ** (0.4 * np.array([30, 31, 0, 0, 30.31825]))
    expected[-1] /= 0.5
    np.testing.assert_allclose(rows["data"], expected, rtol=1e-6)
    np.testing.assert_array_equal(rows["dq"] != 0, [False, False, True, True, False])


def test_only_response():
    response = ResponseCurve([5000.0, 9000.0], [30.0, 30.0], [0.0, 0.0])
    rows = make_rows(0, 0, [7000.0], 100, 4, 25, 1)
    calibrate_rows(rows, flux=FluxCalibration.from_curves(1.5, 10.0, response))
    factor = 1e20 / 12.5 / 1e12
    np.testing.assert_allclose(rows["data"], 100 * factor, rtol=1e-6)
    np.testing.assert_allclose(rows["stat"], (25 + (100 * 0.016) ** 2) * factor**2, rtol=1e-6)
    assert rows["dq"] == 4


@settings(derandomize=True, max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 30, 4521]), st.sampled_from(list(Mode)), st.booleans())
def test_scale_and_flat_field(seed, n_nodes, mode, ordered):
    rng = np.random.default_rng(seed)
    nodes = ascending(rng, n_nodes, 4800, 9200)
    spectrum = FlatFieldSpectrum(nodes, rng.uniform(0.5, 2, n_nodes))
    rows = make(rng, 1000, ordered)
    expected = rows.copy()
    scale = 1 / 1.037
    expected["data"] = expected["data"].astype(float) * scale
    expected["stat"] = expected["stat"].astype(float) * scale**2
    inside = (expected["lbda"] >= nodes[0]) & (expected["lbda"] <= nodes[-1])
    factor = np.where(inside, np.interp(expected["lbda"], nodes, spectrum.data), 1)
    for bit, operation in ((Mode.MULTIPLY, np.multiply), (Mode.DIVIDE, np.divide)):
        if mode & bit:
            expected["data"] = operation(expected["data"].astype(float), factor)
            expected["stat"] = operation(expected["stat"].astype(float), factor)
            expected["stat"] = operation(expected["stat"].astype(float), factor)
    flagged = expected.copy()
    flagged["dq"][~inside] = as_int32(DQ.OUTSIDE_RANGE)
    ours = rows.copy()
    calibrate_rows(ours, scale, FlatFieldFactor.of(spectrum, mode))
    same_bits(ours, flagged)
    calibrate_rows(rows, scale, FlatFieldFactor.of(spectrum, mode), compat=Compat.reference())
    same_bits(rows, expected)


@pytest.mark.parametrize("method", list(Method))
def test_refraction(method):
    rng = np.random.default_rng(5)
    rows = make(rng, 3000, False)
    dar = DarCorrection(7000.0, -3.1, 3.9, 1.3e5, RefractiveIndex.of(Air(285.0, 0.2, 743.0), method))
    shift = dar.shift_arcsec(rows["lbda"])
    assert 0.3 < np.ptp(shift) < 1.5
    expected = rows.copy()
    expected["xpos"] = rows["xpos"] + dar.kx * shift
    expected["ypos"] = rows["ypos"] + dar.ky * shift
    calibrate_rows(rows, dar=dar)
    same_bits(rows, expected)


def test_one_pass_is_all_steps_in_any_chunks():
    rng = np.random.default_rng(6)
    rows = make(rng, 4000, False)
    flat = FlatFieldFactor.of(FlatFieldSpectrum(np.array([4800.0, 9200.0]), np.array([0.9, 1.1])), Mode.MULTIPLY)
    flux = FluxCalibration.from_curves(AIRMASS, EXPTIME, *make_curves(rng, 3000))
    dar = DarCorrection(7000.0, -3.1, 3.9, 1.3e5, RefractiveIndex.of(Air(285.0, 0.2, 743.0)))
    stepwise, chunks = rows.copy(), rows.copy()
    for step in ({"ifu_scale": 0.9}, {"flat_field": flat}, {"dar": dar}, {"flux": flux}):
        calibrate_rows(stepwise, **step)
    everything = {"ifu_scale": 0.9, "flat_field": flat, "dar": dar, "flux": flux, "compat": OURS}
    for start in range(0, len(rows), 700):
        calibrate_rows(chunks[start : start + 700], **everything)
    calibrate_rows(rows, **everything)
    assert rows.tobytes() == stepwise.tobytes() == chunks.tobytes()


def test_not_a_number():
    flux = FluxCalibration.from_curves(1.0, 1.0, ResponseCurve([5000.0, 9000.0], [30.0, 30.0], [0.0, 0.0]))
    rows = make_rows(0, 0, [7000.0, 7000.0, np.nan, 7000.0], [np.nan, 1, 1, 1], 0, [1, np.nan, 1, 1], 1)
    calibrate_rows(rows, flux=flux)
    np.testing.assert_array_equal(np.isnan(rows["data"]), [True, False, True, False])
    np.testing.assert_array_equal(np.isnan(rows["stat"]), [True, True, True, False])

# SPDX-License-Identifier: GPL-2.0-or-later
"""Velocity, projection and positioning of rows against the plain formulas with the functions of the C library."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from muse_core.cython_ext.calibrate_position import locate
from muse_core.model.rows import make_rows

NOTHING = np.empty(0)
R = 57.29577951308232
f32 = np.float32


def project(x, y, crpix, cd):
    p, q = x - crpix[0], y - crpix[1]
    x, y = cd[0] * p + cd[1] * q, cd[3] * q + cd[2] * p
    phi = math.atan2(x, -y)
    radius = math.sqrt(x * x + y * y)
    theta = math.atan(R / radius) if radius else math.pi / 2
    return f32(phi + 2 * math.pi if phi < 0 else phi), f32(theta - math.pi / 2)


def position(phi, theta, dec_deg):
    phi, theta, dec = float(phi), float(theta) + math.pi / 2, dec_deg / R
    sin_t, cos_t = math.sin(theta), math.cos(theta)
    ra = math.atan2(cos_t * math.sin(phi), sin_t * math.cos(dec) + cos_t * math.sin(dec) * math.cos(phi))
    delta = math.asin(sin_t * math.sin(dec) - cos_t * math.cos(dec) * math.cos(phi))
    return f32(R * ra), f32(R * delta - dec_deg)


def positioning(dec_deg, dx=0.0, dy=0.0):
    return np.array([math.sin(dec_deg / R), math.cos(dec_deg / R), dec_deg, dx, dy])


def projection(crpix, cd):
    return np.array([*crpix, *cd])


def ulps(found, expected):
    return np.abs(found.astype(float) - expected) / np.spacing(np.abs(expected))


def random_rows(seed, n, size):
    rng = np.random.default_rng(seed)
    return make_rows(
        rng.uniform(-size, size, n),
        rng.uniform(-size, size, n),
        rng.uniform(4650, 9350, n),
        rng.normal(100, 10, n),
        0,
        rng.uniform(1, 100, n),
        1,
    )


@settings(derandomize=True, max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([1e-3, 1.0, 160.0, 1e4, 1e6]),
    scale=st.sampled_from([0.2, 0.025]),
    angle=st.floats(-180, 180),
    dec=st.floats(-90, 90),
)
@example(1, 160.0, 0.2, 20.0, -27.79139)
@example(1, 160.0, 0.2, 20.0, -89.9999)
@example(1, 160.0, 0.025, 0.0, 0.0)
@example(1, 160.0, 0.2, 0.0, 90.0)
def test_against_the_c_library(seed, size, scale, angle, dec):
    rows = random_rows(seed, 300, size)
    crpix = (0.3125, -1.75)
    cos, sin = math.cos(math.radians(angle)) * scale / 3600, math.sin(math.radians(angle)) * scale / 3600
    cd = (-cos, sin, sin, cos)
    native = [project(float(x), float(y), crpix, cd) for x, y in zip(rows["xpos"], rows["ypos"], strict=True)]
    sky = np.array([position(phi, theta, dec) for phi, theta in native], f32)
    native = np.array(native, f32)
    projected = rows.copy()
    locate(projected, 1.0, projection(crpix, cd), NOTHING, 1.0)
    positioned = projected.copy()
    locate(positioned, 1.0, NOTHING, positioning(dec), 1.0)
    at_once = rows.copy()
    locate(at_once, 1.0, projection(crpix, cd), positioning(dec), 1.0)
    assert at_once.tobytes() == positioned.tobytes()
    for found, expected in ((projected, native), (positioned, sky)):
        for axis, column in enumerate(("xpos", "ypos")):
            error = ulps(found[column], expected[:, axis])
            assert error.max() <= 4, column
            assert np.mean(error == 0) > 0.99, column


@pytest.mark.parametrize("dec", [-27.79139, 2.2, 60.0])
def test_nearly_all_bits(dec):
    """The bar of the parity tests, 99.9 per cent, on many rows of a field like MUSE's."""
    rows = random_rows(7, 20000, 160.0)
    crpix, cd = (0.5, 0.25), (-4.8e-5, 2.7e-5, 2.7e-5, 4.8e-5)
    expected = np.array(
        [
            position(*project(float(x), float(y), crpix, cd), dec)
            for x, y in zip(rows["xpos"], rows["ypos"], strict=True)
        ],
        f32,
    )
    locate(rows, 1.0, projection(crpix, cd), positioning(dec), 1.0)
    assert np.mean(rows["xpos"] == expected[:, 0]) > 0.9999
    assert np.mean(rows["ypos"] == expected[:, 1]) > 0.9999


def test_special_positions():
    """The reference pixel itself, negative zero, NaN, infinity."""
    x = np.array([0.0, -0.0, 0.0, np.nan, np.inf, 1.0, 0.0], f32)
    y = np.array([0.0, 0.0, -0.0, 0.0, 1.0, np.nan, 5.0], f32)
    rows = make_rows(x, y, 7000.0, 1.0, 0, 1.0, 1)
    locate(rows, 1.0, projection((0.0, 0.0), (-5e-5, 0.0, 0.0, 5e-5)), NOTHING, 1.0)
    np.testing.assert_array_equal(rows["xpos"][:3], f32(math.pi))
    np.testing.assert_array_equal(rows["ypos"][:3], 0)
    assert np.isnan(rows["xpos"][[3, 5]]).all()
    assert rows["ypos"][6] < 0
    locate(rows, 1.0, NOTHING, positioning(-30.0), 1.0)
    assert np.abs(rows["ypos"][:3]).max() < 1e-13
    assert np.isnan(rows["xpos"][[3, 5]]).all()


def test_every_step_is_rounded():
    """Some compilers leave out the rounding between two steps; see the flags in cython_ext/meson.build."""
    rows = random_rows(3, 1000, 160.0)
    alone = rows.copy()
    args = projection((0.5, 0.25), (-4.8e-5, 2.7e-5, 2.7e-5, 4.8e-5))
    locate(alone, 1.0, args, positioning(12.0), 1.0)
    locate(rows, 1.00001, args, positioning(12.0, 5e-4, -7e-4), 1.25)
    for column, expected in (
        ("xpos", alone["xpos"].astype(float) + 5e-4),
        ("ypos", alone["ypos"].astype(float) - 7e-4),
        ("lbda", alone["lbda"].astype(float) * 1.00001),
        ("data", alone["data"].astype(float) * 1.25),
        ("stat", alone["stat"].astype(float) * 1.5625),
    ):
        np.testing.assert_array_equal(rows[column], expected.astype(f32))


def test_no_rows():
    """A piece without rows is left alone, and so is what lies around it."""
    rows = make_rows([1.0, 2.0], [3.0, 4.0], 5000.0, 1.0, 0, 1.0, 1)
    before = rows.copy()
    locate(rows[1:1], 1.1, NOTHING, positioning(0.0), 2.0)
    np.testing.assert_array_equal(rows, before)
    locate(rows[:1], 1.1, NOTHING, positioning(0.0), 2.0)
    assert (rows[0] != before[0], rows[1] != before[1]) == (True, False)

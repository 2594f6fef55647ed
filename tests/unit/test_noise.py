# SPDX-License-Identifier: GPL-2.0-or-later
"""What is kept of the correlations of a cube, and the noise that is measured."""

import dataclasses
import math

import numpy as np
import pytest
from harness.grids import sky_grid

from muse_core.steps.noise import correlation as coding
from muse_core.steps.noise.correlation import (
    Box,
    Correlation,
    Variances,
    bands,
    box_factor,
    fill,
    overlap,
    quadratic_form,
    window_mean,
)
from muse_core.steps.noise.layout import SHIFT, SPACING, SPECTRAL_SPACING, Layout, Neighbourhood
from muse_core.steps.noise.measured import Boxes, SkyNoise, combined_sky_variance, sky_spaxels, spread
from muse_core.steps.resample import ResampleOptions

STEP = 0.2 / 3600
FULL = sky_grid(300, 300, 3681, (53.0, -27.0, 4750.0), (150.0, 150.0))


@pytest.mark.parametrize(
    ("options", "radius", "depth"),
    [
        ({}, 1, 1),
        ({"pixfrac": (1.0, 1.0, 1.0)}, 1, 1),
        ({"pixfrac": (1.4, 1.0, 1.0)}, 2, 1),
        ({"method": "linear"}, 2, 2),
        ({"method": "lanczos", "ld": 3}, 3, 2),
        ({"method": "nearest"}, 0, 0),
    ],
)
def test_neighbourhood(options, radius, depth):
    found = Neighbourhood.of(FULL, ResampleOptions(**options))
    assert (found.radius, found.depth) == (radius, depth)
    half = ((2 * radius + 1) ** 2 - 1) // 2
    assert len(found.offsets) == half + depth * (2 * radius + 1) ** 2
    opposite = {tuple(-found.offsets[i]) for i in range(len(found.offsets))}
    assert not opposite & {tuple(offset) for offset in found.offsets}


def test_finer_grid_has_more_neighbours():
    fine = dataclasses.replace(FULL, cd=(-STEP / 2, 0.0, 0.0, STEP / 2), cd33=0.6)
    found = Neighbourhood.of(fine, ResampleOptions(pixfrac=(0.8, 0.8, 0.8)))
    assert (found.radius, found.depth) == (2, 2)


@pytest.mark.parametrize(("method", "share"), [("drizzle", 0.05), ("linear", 0.08)])
def test_size(method, share):
    """At full size drizzle stays below 5 per cent of the cube."""
    layout = Layout.of(FULL, ResampleOptions(method=method), np.linspace(-5, 3, FULL.nz))
    assert layout.product_bytes(FULL) < share * 8 * math.prod(FULL.shape)
    assert layout.product_bytes(FULL) > 0.02 * 8 * math.prod(FULL.shape)


def test_planes_follow_the_refraction():
    shift = np.concatenate([np.linspace(0, 4, 1000), np.full(2681, 4.0)])
    layout = Layout.of(FULL, ResampleOptions(), shift)
    steps = np.diff(layout.pattern)
    assert steps[:3].max() * 4 / 1000 < 1.5 * SHIFT
    assert steps[-3:].min() > 2 * steps[0]
    even = Layout.of(FULL, ResampleOptions())
    assert np.diff(even.pattern).max() <= 1.1 * SPACING + 1
    assert np.diff(even.spectral)[:-1].tolist() == [SPECTRAL_SPACING] * (len(even.spectral) - 2)
    for planes in (layout.pattern, layout.spectral):
        assert planes[0] == 1
        assert planes[-1] == FULL.nz - 3
    single = Layout.of(dataclasses.replace(FULL, nz=1), ResampleOptions())
    assert single.pattern.tolist() == single.spectral.tolist() == [0]


def test_coding():
    values = np.array([-1, -0.3, 0, 0.5, 1, np.nan])
    np.testing.assert_allclose(coding.decode(coding.encode(values)), values, rtol=0, atol=4e-3)


def test_fill():
    values = np.array([np.nan, 1, np.nan, np.nan, 5, np.nan])[:, None]
    planes = np.array([0, 10, 12, 30, 40, 50])
    assert fill(values, planes)[:, 0].tolist() == [1, 1, 1, 5, 5, 5]
    assert fill(np.full((2, 1), np.nan), planes[:2]).tolist() == [[0], [0]]


def _correlation(shape, seed=1):
    """Return coefficients that change from plane to plane, kept in every plane and in some, and those themselves."""
    nz, ny, nx = shape
    neighbourhood = Neighbourhood(1, 1)
    rng = np.random.default_rng(seed)
    offsets = neighbourhood.offsets
    phase = rng.uniform(0, 6, (len(offsets), ny, nx))
    z = np.arange(nz)[:, None, None, None]
    values = 0.05 + 0.03 * np.sin(z / 20 + phase)
    planes = np.arange(nz, dtype=np.int32)
    column = offsets.tolist().index([1, 0, 0])
    made = []
    for chosen in (planes, planes[::8]):
        spectral = coding.encode(values[chosen][:, [column]])
        made.append(Correlation(Layout(neighbourhood, chosen, chosen), coding.encode(values[chosen]), spectral))
    return *made, values


def test_bands_are_those_of_the_matrix():
    shape = (9, 4, 5)
    every, some, values = _correlation(shape)
    weights = np.random.default_rng(2).normal(size=shape)
    stat = 1 + 0.3 * np.sin(np.arange(9) / 3)[:, None, None] + np.random.default_rng(3).uniform(0, 0.3, shape[1:])
    stat[:, 3, 2] = np.nan
    variances, scaled = Variances(stat), weights * np.sqrt(np.nan_to_num(stat))
    matrix = np.diag(scaled.ravel() ** 2)
    number = np.arange(scaled.size).reshape(shape)
    for k, (dz, dy, dx) in enumerate(every.offsets):
        here, there = overlap((dy, dx), shape[1:])
        for z in range(shape[0] - dz):
            a, b = number[z][here].ravel(), number[z + dz][there].ravel()
            entry = values[z, k][here].ravel() * scaled.ravel()[a] * scaled.ravel()[b]
            matrix[a, b] += entry
            matrix[b, a] += entry
    found = bands(every, Box((0, 5), (0, 4), (0, 9)), variances, weights)
    plane = np.repeat(np.arange(9), 20)
    for dz in range(2):
        for z in range(9 - dz):
            expected = matrix[np.ix_(plane == z, plane == z + dz)].sum()
            np.testing.assert_allclose(found[dz, z], expected, rtol=0, atol=0.15)  # rounding of 200 of them
    np.testing.assert_allclose(quadratic_form(found, np.ones(9)), matrix.sum(), atol=0.6)  # of 9 planes
    close = bands(some, Box((0, 5), (0, 4), (0, 9)), variances, weights)
    np.testing.assert_allclose(close, found, atol=0.15)
    part = bands(every, Box((1, 4), (1, 3), (2, 7)), variances, weights[2:7, 1:3, 1:4])
    zeros = np.zeros(shape)
    zeros[2:7, 1:3, 1:4] = weights[2:7, 1:3, 1:4]
    np.testing.assert_allclose(part, bands(every, Box((0, 5), (0, 4), (0, 9)), variances, zeros)[:, 2:7], atol=1e-5)


def test_pieces_make_no_difference(monkeypatch):
    every, some, _ = _correlation((40, 4, 5))
    weights = np.random.default_rng(2).normal(size=(40, 4, 5))
    box, variances = Box((0, 5), (0, 4), (0, 40)), Variances(np.random.default_rng(5).uniform(1, 2, (40, 4, 5)))
    whole = bands(some, box, variances, weights)
    monkeypatch.setattr(coding, "_CHUNK", 3 * 20)
    np.testing.assert_allclose(bands(some, box, variances, weights), whole, rtol=1e-4, atol=1e-4)


def test_window_mean():
    image = np.ones((2, 12, 14))
    image[0, :6] = 3
    image[1, 5, 5] = 0
    found = window_mean(image)
    np.testing.assert_allclose(found[0, 0], 3)
    np.testing.assert_allclose(found[0, 5, 7], (5 * 3 + 4) / 9)
    np.testing.assert_allclose(found[1], 1)
    assert not window_mean(np.zeros((1, 3, 3))).any()


def test_variances_of_a_part():
    """Beyond its planes the nearest one counts; the halo ends where the part does."""
    cube = np.random.default_rng(1).uniform(1, 2, (9, 20, 30))
    cube[4, 10, 10] = np.nan
    part = Variances(cube[2:7, 3:, 5:], (2, 3, 5))
    found, (y, x) = part.read(np.array([0, 4, 8]), (4, 12), (8, 12), 4)
    assert found.shape == (3, 13, 11)
    np.testing.assert_array_equal(found[:, y, x], np.nan_to_num(cube[[2, 4, 6], 4:12, 8:12]))
    for planes in (np.arange(3, 6), np.array([2, 6])):
        np.testing.assert_array_equal(part.read(planes, (5, 8), (5, 9))[0], cube[planes, 5:8, 5:9])


@pytest.mark.parametrize("scale", [1.0, 1e-40])
def test_sky_line_between_kept_planes(scale):
    """What voxels in subsequent planes share goes with the variance halfway between them."""
    nz, shape = 17, (6, 7)
    stat = 1 + 8 * np.exp(-0.5 * ((np.arange(nz) - 7.6) / 1.2) ** 2)
    shared = 0.3 * (1 + 8 * np.exp(-0.5 * ((np.arange(nz) + 0.5 - 7.6) / 1.2) ** 2))
    neighbourhood = Neighbourhood(1, 1)
    column = neighbourhood.offsets.tolist().index([1, 0, 0])
    values = np.full((nz, len(neighbourhood.offsets)), 0.0)
    values[:-1, column] = shared[:-1] / np.sqrt(stat[:-1] * stat[1:])
    planes = np.array([0, 15], np.int32)
    raw = coding.encode(np.tile(values[planes][:, :, None, None], (1, 1, *shape)))
    correlation = Correlation(Layout(neighbourhood, planes, planes), raw, raw[:, [column]])
    variances = Variances(scale * np.tile(stat[:, None, None], (1, *shape)))
    found = bands(correlation, Box((2, 3), (2, 3), (0, nz)), variances, np.ones((1, 1)))[1, : nz - 1] / scale
    np.testing.assert_allclose(found, shared[:-1], rtol=0.04)
    assert np.max(np.abs(values[:-1, column] / 0.3 - 1)) > 0.07  # with coefficients as if they were the same


def test_box_factor():
    assert box_factor({(0, 0, 1): 0.5, (1, 0, 0): 0.9}, 1) == 1
    assert box_factor({(0, 0, 1): 0.25}, 3) == pytest.approx(math.sqrt(1 + 2 * 0.25 * 6 / 9))


def test_measured_noise():
    rng = np.random.default_rng(4)
    image = rng.normal(0, 1, (90, 120)).astype(np.float32)
    image[20:24, 30:34] += 1000
    image[:, :3] = np.nan
    sky = sky_spaxels(image)
    assert not sky[20:24, 30:34].any()
    assert not sky[:, :3].any()
    assert sky.sum() > 0.97 * 117 * 90
    assert sky_spaxels(np.full((3, 3), np.nan, np.float32)).sum() == 0
    white = rng.normal(0, 2, image.shape).astype(np.float32)
    smooth = (white + np.roll(white, 1, axis=1)) / 2  # variance 2, neighbours correlated by 0.5
    stat = np.full(image.shape, 2, np.float32)
    white[5, 5] = smooth[5, 5] = np.nan
    for size, expected in ((1, 1), (3, math.sqrt(5 / 3)), (5, math.sqrt(9 / 5))):
        boxes = Boxes.of(np.ones(image.shape, bool), size)
        ratio, number = boxes.ratio(smooth, stat)
        assert ratio == pytest.approx(expected, rel=0.12)
        assert number % size**2 == 0
        assert number >= 400 * size**2
        assert boxes.ratio(white, 2 * stat)[0] == pytest.approx(1, rel=0.12)
    assert math.isnan(spread(np.arange(4.0)))
    assert Boxes.of(np.zeros(image.shape, bool), 3).ratio(white, stat)[1] == 0


def test_sky_noise():
    """Variance of the mean of the pixels in a plane, whatever the bins."""
    plane, length = np.array([6000.0, 6010.0, 9000.0]), np.full(3, 1.25)
    for step in (0.25, 0.3125, 1.25):
        lbda = np.arange(5950, 6050, step)
        noise = SkyNoise(lbda, np.full(len(lbda), 8.0), np.full(len(lbda), 1000 * step / 1.25))
        np.testing.assert_allclose(noise.variance(plane, length), [0.008, 0.008, np.nan], rtol=1e-6)
    found = combined_sky_variance([np.array([4.0, np.nan]), np.array([8.0, np.nan])], [0.5, 0.5])
    np.testing.assert_allclose(found, [3, np.nan])

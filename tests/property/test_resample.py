# SPDX-License-Identifier: GPL-2.0-or-later
"""What resampling must do whatever the data."""

import dataclasses

import numpy as np
from harness.grids import sky_grid
from hypothesis import given, settings
from hypothesis import strategies as st

from muse_core.model.dq import DQ
from muse_core.model.rows import make_rows
from muse_core.steps.collapse import Collapse
from muse_core.steps.euro3d import Euro3DTable
from muse_core.steps.resample import CosmicRayDirection, ResampleOptions, SlabResampler

STEP = 0.2 / 3600
SKY = sky_grid(14, 11, 9, (53.16, -27.79, 7000.0), (6.2, 5.4))
PIX = dataclasses.replace(
    SKY, celestial=False, crpix=(1.0, 1.0, 1.0), cd=(1.0, 0.0, 0.0, 1.0), origin=(0.0, 0.0), scale=(1.0, 1.0)
)
PIX = dataclasses.replace(PIX, crval=(0.0, 0.0, 7000.0))

seeds = st.integers(0, 2**32 - 1)
methods = st.sampled_from(["nearest", "linear", "quadratic", "renka", "drizzle", "lanczos"])
directions = st.sampled_from(list(CosmicRayDirection))
few = settings(max_examples=25, derandomize=True, deadline=None)


def table(grid, seed, n=1500):
    """Rows around the grid, with outliers and flags; and their weights."""
    rng = np.random.default_rng(seed)
    pixels = rng.uniform(0, np.array([grid.nx, grid.ny]) + 1, (n, 2))
    x, y = np.transpose([grid.position(*pixel) for pixel in pixels]) - np.array(grid.origin)[:, None]
    lbda = grid.crval[2] + grid.cd33 * rng.uniform(-1, grid.nz, n)
    data = rng.normal(50, 5, n) + (rng.random(n) < 0.02) * 500
    rows = make_rows(x, y, lbda, data, rng.choice([0, 0, 0, 0, int(DQ.HOT)], n), rng.uniform(1, 9, n), 0)
    return rows, rng.uniform(0.5, 2, n).astype(np.float32)


def cube(grid, options, rows, weights=None, direction=CosmicRayDirection.ALL, thickness=None, n_threads=1):
    """Return data, stat, dq and the flagged rows, made in slabs."""
    resampler = SlabResampler(grid, options, direction, n_threads)
    edges = [*range(0, grid.nz, thickness or grid.nz), grid.nz]
    slabs = []
    for first, last in zip(edges[:-1], edges[1:], strict=True):
        low, high = resampler.input_planes(first, last)
        planes = grid.plane(rows["lbda"])
        needed = np.flatnonzero((planes >= low) & (planes < high))
        slab = resampler.slab(rows[needed], None if weights is None else weights[needed], first, last)
        slabs.append((slab.data, slab.stat, slab.dq, needed[slab.cosmic_rays]))
    return [np.concatenate(parts) for parts in zip(*slabs, strict=True)]


@few
@given(seeds, methods, directions, st.integers(1, 8), st.sampled_from([1, 2, 3]), st.sampled_from([1, 2]))
def test_slabs_and_threads_give_the_same_bits(seed, method, direction, thickness, n_threads, ld):
    rows, weights = table(SKY, seed)
    options = ResampleOptions(method=method, crsigma=5, ld=ld)
    whole = cube(SKY, options, rows, weights, direction)
    parts = cube(SKY, options, rows, weights, direction, thickness, n_threads)
    for a, b in zip(whole[:3], parts[:3], strict=True):
        assert a.tobytes() == b.tobytes()
    assert np.array_equal(whole[3], np.sort(parts[3]))


@few
@given(seeds, methods, directions)
def test_the_order_of_rows_does_not_matter(seed, method, direction):
    rows, weights = table(SKY, seed)
    options = ResampleOptions(method=method, crsigma=5)
    order = np.random.default_rng(seed).permutation(len(rows))
    a = cube(SKY, options, rows, weights, direction)
    b = cube(SKY, options, rows[order], weights[order], direction)
    assert np.array_equal(a[2], b[2])
    assert np.array_equal(a[3], np.sort(order[b[3]]))
    # sums in another order may end in another last bit
    np.testing.assert_allclose(a[0], b[0], rtol=1e-6)
    np.testing.assert_allclose(a[1], b[1], rtol=1e-6)


@few
@given(seeds, methods, st.integers(-2, 2), st.integers(-2, 2), st.integers(-2, 2))
def test_a_shift_by_whole_voxels_shifts_the_cube(seed, method, dx, dy, dz):
    rng = np.random.default_rng(seed)
    n = 800
    place = rng.integers(4 * 64, 7 * 64, (2, n)) / 64  # exact in float32, also when shifted
    lbda = 7000 + rng.integers(4 * 80, 5 * 80, n) / 64
    rows = make_rows(*place, lbda, rng.normal(50, 5, n), 0, rng.uniform(1, 9, n), 0)
    moved = rows.copy()
    moved["xpos"] += dx
    moved["ypos"] += dy
    moved["lbda"] += 1.25 * dz
    options = ResampleOptions(method=method, crsigma=4)
    a, b = (cube(PIX, options, table_rows) for table_rows in (rows, moved))
    for x, y in zip(a[:3], b[:3], strict=True):
        assert np.array_equal(np.roll(x, (dz, dy, dx), (0, 1, 2)), y)
    assert np.array_equal(a[3], b[3])


@few
@given(seeds, st.floats(0.1, 1.0), st.floats(0.1, 1.0))
def test_drizzle_conserves_flux(seed, pixfrac, spectral_pixfrac):
    """A row gives each voxel the fraction of its drop that overlaps it: the weights of a row sum up to one."""
    rng = np.random.default_rng(seed)
    n = 30
    place = rng.uniform(2, 8, (2, n))
    lbda = rng.uniform(7003, 7007, n)
    flux = rng.uniform(1, 100, n).astype(np.float32)
    grid = PIX
    options = ResampleOptions(crsigma=0, pixfrac=(pixfrac, pixfrac, spectral_pixfrac))
    total = 0.0
    for i in range(n):
        # with the row's flux as weight of a unit signal, a voxel's summed weight is its flux; measured against a
        # second row that fills exactly one voxel
        row = make_rows(place[:1, i], place[1:, i], lbda[i : i + 1], 1.0, 0, 1.0, 0)
        data = cube(grid, options, row, flux[i : i + 1])
        z, y, x = np.nonzero(data[2] == 0)
        fill = make_rows(x, y, 7000 + 1.25 * z, 0.0, 0, 1.0, 0)
        both = cube(grid, options, np.concatenate([row, fill]), np.append(flux[i], np.ones(len(x), np.float32)))
        value = both[0][z, y, x].astype(float)  # w flux / (w flux + 1)
        total += np.sum(value / (1 - value))
    np.testing.assert_allclose(total, flux.astype(float).sum(), rtol=1e-3)


@few
@given(seeds, methods, st.floats(0.25, 4))
def test_weights_scale_out(seed, method, factor):
    rows, weights = table(SKY, seed, 600)
    options = ResampleOptions(method=method, crsigma=0)
    a = cube(SKY, options, rows, weights)
    b = cube(SKY, options, rows, weights * np.float32(factor))
    np.testing.assert_allclose(a[0], b[0], rtol=1e-5)
    np.testing.assert_allclose(a[1], b[1], rtol=1e-5)


@few
@given(seeds, methods.filter(lambda method: method != "lanczos"))
def test_values_stay_within_those_of_the_rows(seed, method):
    rows, _ = table(SKY, seed, 600)
    data, stat, dq, _ = cube(SKY, ResampleOptions(method=method, crsigma=0), rows)
    good = dq == 0
    assert good.any()
    assert (stat[good] > 0).all()
    used = rows[rows["dq"] == 0]
    assert used["data"].min() * (1 - 1e-6) <= data[good].min()
    assert data[good].max() <= used["data"].max() * (1 + 1e-6)


@few
@given(seeds, st.integers(1, 9))
def test_images_do_not_depend_on_slabs(seed, thickness):
    rows, _ = table(SKY, seed, 900)
    data, stat, dq, _ = cube(SKY, ResampleOptions(crsigma=0), rows)
    whole, parts = Collapse(SKY, [None]), Collapse(SKY, [None], 2)
    tables = Euro3DTable(SKY), Euro3DTable(SKY)
    whole.add_planes(0, data, dq)
    tables[0].add_planes(0, dq)
    for first in range(0, SKY.nz, thickness):
        parts.add_planes(first, data[first : first + thickness], dq[first : first + thickness])
        tables[1].add_planes(first, dq[first : first + thickness])
    assert whole.images()[0].tobytes() == parts.images()[0].tobytes()
    for x in range(SKY.nx):
        a, b = (t.rows(x, data[:, :, x], stat[:, :, x], dq[:, :, x]) for t in tables)
        assert a.tobytes() == b.tobytes()

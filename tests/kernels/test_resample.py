# SPDX-License-Identifier: GPL-2.0-or-later
"""Cells, cosmic rays and voxels of the kernels against slow twins in numpy."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from harness.grids import pixel_grid

from muse_core.cython_ext import collapse as collapse_kernels
from muse_core.cython_ext import grid as grid_kernels
from muse_core.model.compat import Compat
from muse_core.model.dq import DQ
from muse_core.model.rows import make_rows
from muse_core.steps.resample import CosmicRayDirection, ResampleOptions, SlabResampler, size

PIX = pixel_grid(7, 6, 5, (-3.2, 2.1, 5000.0))
STEP = 0.2 / 3600
SKY = dataclasses.replace(
    PIX,
    celestial=True,
    crpix=(3.3, 2.7, 1.0),
    crval=(150.1, -40.2, 5000.0),
    cd=(-STEP, 0.0, 0.0, STEP),
    origin=(150.1, -40.2),
    scale=(STEP, STEP),
)
TURNED = dataclasses.replace(
    SKY, cd=tuple(STEP * v for v in (-math.cos(0.4), math.sin(0.4), math.sin(0.4), math.cos(0.4)))
)
LOGARITHMIC = dataclasses.replace(SKY, ctype3="AWAV-LOG", cd33=0.9, crpix=(3.3, 2.7, 1.6))
FINE = dataclasses.replace(PIX, cd=(0.4, 0.0, 0.0, 0.5), cd33=0.5)
#: Rows of the grid that are sorted together: the last strip of a plane has fewer.
STRIP_ROWS = 4
GRIDS = {"pix": PIX, "sky": SKY, "turned": TURNED, "log": LOGARITHMIC, "fine": FINE}


def table(grid, n, seed=1):
    """Rows around and outside of the grid: noise, outliers, flags; and their weights."""
    rng = np.random.default_rng(seed)
    px, py = rng.uniform(-0.5, grid.nx + 1.5, n), rng.uniform(-0.5, grid.ny + 1.5, n)
    position = [grid.position(x, y) for x, y in zip(px, py, strict=True)]
    x, y = np.array(position).T - np.array(grid.origin)[:, None]
    lbda = np.interp(
        rng.uniform(-1, grid.nz, n), np.arange(-2, grid.nz + 2), grid.wavelength(np.arange(-2, grid.nz + 2))
    )
    data = rng.normal(100, 3, n) + (rng.random(n) < 0.1) * rng.uniform(0, 200, n)
    dq = rng.choice([0, 0, 0, 0, 0, 0, int(DQ.COSMIC_RAY), int(DQ.DEAD)], n)
    rows = make_rows(x, y, lbda, data, dq, rng.uniform(1, 20, n), 0)
    return rows, rng.uniform(0.5, 2, n).astype(np.float32)


def lround(x):
    return math.floor(abs(x) + 0.5) * (1 if x > 0 else -1)


def cell(grid, row):
    """Cell (plane, y, x) of a row."""
    x, y, lbda = float(row["xpos"]) + grid.origin[0], float(row["ypos"]) + grid.origin[1], float(row["lbda"])
    if grid.celestial:
        ra, dec, ra0, dec0 = (math.radians(v) for v in (x, y, *grid.crval[:2]))
        scale = math.sin(dec) * math.sin(dec0) + math.cos(dec) * math.cos(dec0) * math.cos(ra - ra0)
        u = math.degrees(math.cos(dec) * math.sin(ra - ra0) / scale)
        v = math.degrees((math.sin(dec) * math.cos(dec0) - math.cos(dec) * math.sin(dec0) * math.cos(ra - ra0)) / scale)
    else:
        u, v = x - grid.crval[0], y - grid.crval[1]
    px, py = np.linalg.solve(np.reshape(grid.cd, (2, 2)), [u, v]) + grid.crpix[:2]
    if grid.is_logarithmic:
        z = int(lround(grid.crval[2] / grid.cd33 * math.log(lbda / grid.crval[2])) + grid.crpix[2] - 1)
    else:
        z = lround((lbda - grid.crval[2]) / grid.cd33 + grid.crpix[2]) - 1
    limits = (grid.nz, grid.ny, grid.nx)
    return tuple(min(max(i, 0), n - 1) for i, n in zip((z, lround(py) - 1, lround(px) - 1), limits, strict=True))


def cells_of(grid, rows):
    cells = {}
    for number, row in enumerate(rows):
        cells.setdefault(cell(grid, row), []).append(number)
    return cells


def near(grid, position, reach):
    """Positions of the cells around one, in the order x, y, plane."""
    z, y, x = position
    for i, j, k in itertools.product(*(range(-reach, reach + 1),) * 3):
        found = (z + k, y + j, x + i)
        if all(0 <= p < n for p, n in zip(found, grid.shape, strict=True)):
            yield found


def is_neighbour(position, other, direction):
    """Is a cell around another one used for its limit?"""
    along = {
        CosmicRayDirection.ALL: False,
        CosmicRayDirection.X: other[1] == position[1],
        CosmicRayDirection.Y: other[2] == position[2],
    }
    return other == position or not along[direction]


def cosmic_rays(grid, rows, cells, options, direction):
    """Rows to flag."""
    found = set()
    for position, own in cells.items():
        sample = []
        for other in near(grid, position, 1):
            if is_neighbour(position, other, direction):
                sample += [i for i in cells.get(other, []) if rows["dq"][i] in (0, 32)]
        if len(sample) < 3:
            continue
        values = rows["data"][sample].astype(float)
        if options.crtype == "median":
            middle = np.median(values)
            limit = middle + options.crsigma * np.median(np.abs(values - middle))
        elif options.crtype == "mean":
            limit = values.mean() + options.crsigma * values.std(ddof=1)
        else:
            limit = values.mean() + options.crsigma * math.sqrt(rows["stat"][sample].astype(float).sum()) / len(values)
        found |= {i for i in own if rows["data"][i] > limit}
    return sorted(found)


def overlap(distance, drop, voxel):
    return min(voxel if distance + voxel / 2 <= drop / 2 else (drop + voxel) / 2 - distance, drop)


def weight(grid, options, dx, dy, dl, plane):
    """Weight of a row at a distance (deg or spaxels, Angstrom) from the centre of a voxel."""
    xn, yn, zn = 1 / grid.scale[0], 1 / grid.scale[1], 1 / 1.25
    if options.method == "drizzle":
        drops = [f / n for f, n in zip(options.pixfrac, (xn, yn, zn), strict=True)]
        length = abs(grid.cd33)
        if grid.is_logarithmic:
            edges = np.exp((plane - grid.crpix[2] + np.array([0.5, 1.5])) * grid.cd33 / grid.crval[2])
            length = grid.crval[2] * float(edges[1] - edges[0])
        sizes = (abs(grid.cd[0]), abs(grid.cd[3]), length)
        parts = [overlap(d, i, o) for d, i, o in zip((dx, dy, dl), drops, sizes, strict=True)]
        return 0.0 if min(parts) <= 0 else math.prod(parts) / math.prod(drops)
    dx, dy, dl = dx * xn, dy * yn, dl * zn
    r = math.sqrt(dx**2 + dy**2 + dl**2)
    if options.method == "linear":
        return 1 / r
    if options.method == "quadratic":
        return 1 / r**2
    if options.method == "renka":
        radius = options.rc * math.sqrt((grid.cd[0] * xn) ** 2 + (grid.cd[3] * yn) ** 2 + (grid.cd33 * zn) ** 2)
        return 1e-150 if r >= radius else ((radius - r) / (radius * r)) ** 2
    if dx >= options.ld or dy >= options.ld or dl > options.ld:
        return 0.0
    return math.prod(float(np.sinc(d) * np.sinc(d / options.ld)) for d in (dx, dy, dl))


def voxel(grid, rows, weights, cells, options, position):
    """Value, variance and flags of a voxel."""
    z, y, x = position
    vx, vy = grid.position(x + 1, y + 1)
    lbda = float(grid.wavelength(z))
    cos_y = math.cos(math.radians(vy)) if grid.celestial else 1.0
    if options.method == "nearest":
        own = cells.get(position, [])
        if not own:
            return 0.0, 0.0, int(DQ.MISSING)

        def distance(i):
            row = rows[i]
            dx = abs(vx - float(row["xpos"]) + grid.origin[0]) / grid.scale[0] * cos_y
            dy = abs(vy - float(row["ypos"]) + grid.origin[1]) / grid.scale[1]
            return math.sqrt(dx**2 + dy**2 + ((lbda - float(row["lbda"])) / 1.25) ** 2)

        best = min(own, key=distance)
        return rows["data"][best], rows["stat"][best], int(rows["dq"][best])
    total = np.zeros(3)
    for other in near(grid, position, options.ld):
        for i in cells.get(other, []):
            row = rows[i]
            if row["dq"] != 0:
                continue
            dx = abs(vx - (float(row["xpos"]) + grid.origin[0])) * cos_y
            dy = abs(vy - (float(row["ypos"]) + grid.origin[1]))
            w = weight(grid, options, dx, dy, abs(lbda - float(row["lbda"])), z) * float(weights[i])
            total += (w, w * float(row["data"]), w * w * float(row["stat"]))
    if total[0] == 0:
        return 0.0, 0.0, int(DQ.MISSING)
    return total[1] / total[0], total[2] / total[0] ** 2, 0


def run(grid, rows, weights, options, direction=CosmicRayDirection.ALL, n_threads=1, compat=None):
    return SlabResampler(grid, options, direction, n_threads, compat or Compat()).slab(rows, weights, 0, grid.nz)


@pytest.mark.parametrize("name", GRIDS)
def test_cells(name):
    grid = GRIDS[name]
    rows, _ = table(grid, 400)
    n_strips = -(-grid.ny // STRIP_ROWS)
    voxels, counts = np.empty(len(rows), np.int32), np.empty((1, grid.nz * n_strips), np.int64)
    area, stop = (0, grid.nz, 0, grid.ny), np.zeros(1, np.int32)
    grid_kernels.assign_cells(rows, grid.parameters(), *area, STRIP_ROWS, voxels, counts, stop, 2)
    expected = [cell(grid, row) for row in rows]
    assert np.array_equal(np.transpose(np.unravel_index(voxels, grid.shape)), expected)
    strips = [plane * n_strips + y // STRIP_ROWS for plane, y, _ in expected]
    assert np.array_equal(counts[0], np.bincount(strips, minlength=grid.nz * n_strips))
    starts, order = (np.cumsum(counts, axis=1) - counts), np.empty(len(rows), np.int32)
    grid_kernels.sort_by_strip(voxels, grid.nx, grid.ny, STRIP_ROWS, starts, order, stop, 2)
    assert np.array_equal(order, np.argsort(strips, kind="stable"))


def test_cells_of_a_full_field_everywhere_on_the_sky():
    """The series of the kernel, far from the reference point and near the poles, against the closed formula."""
    rng = np.random.default_rng(3)
    for dec in (-89.9, -30.0, 0.0, 60.0, 89.0):
        grid = dataclasses.replace(SKY, nx=2000, ny=2000, nz=1, crval=(10.0, dec, 5000.0), crpix=(1000.0, 990.0, 1.0))
        grid = dataclasses.replace(grid, origin=grid.crval[:2])
        pixels = rng.uniform(1, 2000, (500, 2))
        x, y = np.transpose([grid.position(*pixel) for pixel in pixels]) - np.array(grid.origin)[:, None]
        rows = make_rows(x, y, 5000.0, 1, 0, 1, 0)
        voxels, counts = np.empty(len(rows), np.int32), np.empty((1, 1), np.int64)
        area, stop = (0, 1, 0, grid.ny), np.zeros(1, np.int32)
        grid_kernels.assign_cells(rows, grid.parameters(), *area, grid.ny, voxels, counts, stop, 1)
        assert np.array_equal(np.transpose(np.unravel_index(voxels, grid.shape)), [cell(grid, row) for row in rows])


@pytest.mark.parametrize("direction", CosmicRayDirection)
@pytest.mark.parametrize("crtype", ["median", "mean", "iraf"])
@pytest.mark.parametrize(("n", "sigma"), [(200, 3.0), (1500, 0.5), (1500, 4.0), (1500, 15.0), (4000, 5.0)])
def test_cosmic_rays(direction, crtype, n, sigma, monkeypatch):
    monkeypatch.setattr(size, "_STRIP_ROWS", 2)
    assert size.strip_rows(PIX.ny, PIX.nz, 2) == 2
    rows, weights = table(PIX, n)
    options = ResampleOptions(method="nearest", crtype=crtype, crsigma=sigma)
    expected = [i for i in cosmic_rays(PIX, rows, cells_of(PIX, rows), options, direction) if not rows["dq"][i] & 32]
    assert run(PIX, rows, weights, options, direction, 2).cosmic_rays.tolist() == expected
    assert expected or (crtype, n) == ("mean", 200) or sigma == 15


@pytest.mark.parametrize("n_threads", [1, 2])
def test_cosmic_rays_of_a_single_spaxel(n_threads):
    """The planes beside it, to the last one, are all that there is."""
    grid = dataclasses.replace(PIX, nx=1, ny=1)
    rows, weights = table(grid, 200)
    options = ResampleOptions(method="nearest", crtype="median", crsigma=3.0)
    all_around = CosmicRayDirection.ALL
    found = [i for i in cosmic_rays(grid, rows, cells_of(grid, rows), options, all_around) if not rows["dq"][i] & 32]
    assert run(grid, rows, weights, options, all_around, n_threads).cosmic_rays.tolist() == found
    assert found


@pytest.mark.parametrize("seed", range(3))
def test_cosmic_rays_with_equal_values(seed):
    """Few different values: medians of zero deviation, and limits that values hit exactly."""
    rows, weights = table(PIX, 700)
    rows["data"] = np.random.default_rng(seed).choice([1, 1, 1, 2, 3, 16, 31], len(rows))
    options = ResampleOptions(method="nearest", crsigma=15)
    expected = cosmic_rays(PIX, rows, cells_of(PIX, rows), options, CosmicRayDirection.ALL)
    found = run(PIX, rows, weights, options).cosmic_rays
    assert found.tolist() == [i for i in expected if not rows["dq"][i] & 32]
    assert found.size


@pytest.mark.parametrize("direction", CosmicRayDirection)
def test_cosmic_rays_in_crowded_cells(direction):
    """More rows in one cell, and in some beside each other, than the kernel takes at once."""
    rows, _ = table(PIX, 700)
    crowd = rows[np.repeat([3, 40, 41], [600, 300, 280])]
    crowd["dq"], crowd["data"] = 0, np.random.default_rng(4).normal(100, 3, len(crowd))
    crowd["data"][::50] = 400
    rows = np.concatenate([rows, crowd])
    options = ResampleOptions(method="nearest", crsigma=15)
    expected = cosmic_rays(PIX, rows, cells_of(PIX, rows), options, direction)
    found = run(PIX, rows, None, options, direction, 2).cosmic_rays
    assert found.tolist() == [i for i in expected if not rows["dq"][i] & 32]
    assert set(range(700, len(rows), 50)) <= set(found.tolist())


@pytest.mark.parametrize("direction", CosmicRayDirection)
@pytest.mark.parametrize(("sigma", "n_rows"), [(1.0, 3), (3.0, 1), (15.0, 1), (15.0, 3), (200.0, 2)])
def test_cosmic_rays_at_the_limit(direction, sigma, n_rows):
    """Shortcuts of the kernel do not decide what is close: the next value above the limit is found, that below not."""
    grid = pixel_grid(37, 19, 10, (-3.2, 2.1, 5000.0))
    rng = np.random.default_rng(int(sigma))
    z, y, x = (values.ravel() for values in np.indices(grid.shape).repeat(n_rows, axis=-1))
    data = rng.normal(0, 1, len(x)) + 20 * (x > 25) * np.sin(x + y) + 30 * (z % 4 == 1)  # noise, structure, a sky line
    rows = make_rows(x + grid.crval[0], y + grid.crval[1], grid.wavelength(z), data, 0, 1, 0)
    cells = cells_of(grid, rows)
    assert len(cells) == math.prod(grid.shape)
    options = ResampleOptions(method="nearest", crsigma=sigma)
    tested = [cell for cell in cells if all(index % 3 == 1 for index in cell)]  # each among the neighbours of one only
    above = rows.copy()
    for position in tested:
        number = cells[position][0]
        above["data"][number] = np.inf
        others = [other for other in near(grid, position, 1) if is_neighbour(position, other, direction)]
        around = [i for other in others for i in cells[other]]
        values = above["data"][around].astype(float)
        middle = np.median(values)
        limit = middle + sigma * np.median(np.abs(values - middle))
        above["data"][number] = np.nextafter(np.float32(limit), np.float32(np.inf))
        if above["data"][number] < limit:
            above["data"][number] = np.nextafter(above["data"][number], np.float32(np.inf))
    numbers = [cells[position][0] for position in tested]
    found = run(grid, above, None, options, direction).cosmic_rays
    assert set(numbers) <= set(found.tolist())
    below = above.copy()
    for number in numbers:
        for _ in range(3):
            below["data"][number] = np.nextafter(below["data"][number], np.float32(-np.inf))
    assert not set(numbers) & set(run(grid, below, None, options, direction).cosmic_rays.tolist())


def test_nan_among_the_neighbours_keeps_the_others():
    rows, weights = table(PIX, 700)
    rows["dq"] = 0
    rows["data"][::20] = np.nan
    cells = cells_of(PIX, rows)
    spoilt = {cell(PIX, row) for row in rows[::20]}
    clean = {own: numbers for own, numbers in cells.items() if not spoilt & set(near(PIX, own, 1))}
    for crtype in ("median", "mean", "iraf"):
        options = ResampleOptions(method="nearest", crsigma=2, crtype=crtype)
        expected = cosmic_rays(PIX, rows, cells, options, CosmicRayDirection.ALL)
        with np.errstate(invalid="ignore"):
            found = run(PIX, rows, weights, options).cosmic_rays.tolist()
        assert found == [i for i in expected if cell(PIX, rows[i]) in clean]


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize(
    "options",
    [
        ResampleOptions(method="nearest", crsigma=0),
        ResampleOptions(method="linear", crsigma=0),
        ResampleOptions(method="quadratic", crsigma=0),
        ResampleOptions(method="renka", crsigma=0, rc=0.9),
        ResampleOptions(method="drizzle", crsigma=0),
        ResampleOptions(method="drizzle", crsigma=0, pixfrac=(0.95, 0.3, 1.0), ld=2),
        ResampleOptions(method="lanczos", crsigma=0),
        ResampleOptions(method="lanczos", crsigma=0, ld=2),
    ],
    ids=lambda options: f"{options.method}{options.ld}",
)
def test_voxels(name, options):
    grid = GRIDS[name]
    rows, weights = table(grid, 250)
    cells = cells_of(grid, rows)
    found = run(grid, rows, weights, options, n_threads=2)
    positions = list(np.ndindex(grid.shape))
    expected = np.array([voxel(grid, rows, weights, cells, options, position) for position in positions])
    assert np.array_equal(found.dq.ravel(), expected[:, 2].astype(np.int32))
    np.testing.assert_allclose(found.data.ravel(), expected[:, 0], rtol=2e-6, atol=1e-5)
    np.testing.assert_allclose(found.stat.ravel(), expected[:, 1], rtol=2e-6, atol=1e-6)


def test_collapse_of_planes():
    rng = np.random.default_rng(5)
    data = rng.normal(size=(4, 3, 5)).astype(np.float32)
    data[1, 0, 0] = np.nan
    dq = (rng.random(data.shape) < 0.3).astype(np.int32)
    dq[:, 2, 4] = 1
    throughput = np.array([[0.2, 1.0, -1.0, 0.5], [1.0, 1.0, 1.0, 1.0]])
    total, weight_sum = np.zeros((2, 3, 5)), np.zeros((2, 3, 5))
    collapse_kernels.add_planes(data, dq, throughput, total, weight_sum, 2)
    usable = (dq == 0) & np.isfinite(data)
    for image_total, image_weight, curve in zip(total, weight_sum, throughput, strict=True):
        w = np.where(usable, np.maximum(curve, 0)[:, None, None], 0)
        np.testing.assert_allclose(image_weight, w.sum(axis=0))
        np.testing.assert_allclose(image_total, np.sum(w * np.nan_to_num(data), axis=0))
        image = np.empty((3, 5), np.float32)
        collapse_kernels.divide(image_total, image_weight, image)
        assert np.isnan(image[2, 4])
        assert np.array_equal(np.isnan(image), w.sum(axis=0) == 0)


def test_histogram():
    values = np.array([[[0.0, 0.05, 0.12, 1.0, 1.01, -0.1, np.nan, 0.05]]], np.float32)
    counts = np.zeros(11, np.int64)
    collapse_kernels.add_histogram(values, np.array([[[0, 0, 0, 0, 0, 0, 0, 1]]], np.int32), 0.1, counts)
    assert counts.tolist() == [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1]


def test_blank():
    data, stat = np.ones((1, 1, 3), np.float32), np.ones((1, 1, 3), np.float32)
    collapse_kernels.blank(data, stat, np.array([[[0, 1, -1]]], np.int32), 1)
    assert np.array_equal(np.isnan(data), [[[False, True, True]]])
    assert np.array_equal(np.isnan(stat), np.isnan(data))

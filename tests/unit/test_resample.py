# SPDX-License-Identifier: GPL-2.0-or-later
"""Resampling of a few rows whose result is known."""

import dataclasses

import numpy as np
import pytest
from harness.grids import pixel_grid

from muse_core.engine.resources import SlabMemory
from muse_core.engine.slabplan import SlabPlanner
from muse_core.errors import DataError, ParameterError, ResourceError
from muse_core.model.compat import Compat
from muse_core.model.dq import DQ
from muse_core.model.rows import make_rows
from muse_core.steps.resample import (
    CosmicRayDirection,
    ResampleOptions,
    RowSpread,
    SlabResampler,
    SlabSize,
    parse_pixfrac,
    slab_bytes,
    slab_memory,
    slab_size,
)
from muse_core.steps.resample.size import cut_for_threads

GRID = pixel_grid(5, 5, 5)
THREE_ROWS = make_rows([3.1, 2.8, 3.3], [3.0, 3.2, 2.7], [5002.5, 5002.9, 5001.9], [10, 20, 40], 0, [4, 9, 16], 0)


def resample(rows, weights=None, *, grid=GRID, direction=CosmicRayDirection.X, compat=None, **options):
    options = ResampleOptions(**{"crsigma": 0.0, "pixfrac": (0.8, 0.8, 0.8)} | options)
    return SlabResampler(grid, options, direction, 1, compat or Compat()).slab(rows, weights, 0, grid.nz)


@pytest.mark.parametrize(
    ("method", "ld", "data", "stat"),
    [
        ("nearest", 1, 10, 4),
        ("linear", 1, 15.052488, 2.5265305),
        ("quadratic", 1, 11.185371, 3.465825),
        ("renka", 1, 10.747735, 3.6283216),
        ("drizzle", 1, 17.78706, 2.3856719),
        ("lanczos", 1, 17.181313, 2.387952),
        ("lanczos", 2, 19.238161, 2.4969962),
    ],
)
def test_three_rows_in_a_voxel(method, ld, data, stat):
    result = resample(THREE_ROWS, method=method, ld=ld)
    assert (result.data[2, 2, 2], result.stat[2, 2, 2]) == (np.float32(data), np.float32(stat))
    assert result.dq[2, 2, 2] == 0


def test_weight_column():
    result = resample(THREE_ROWS, np.array([1, 0.5, 2], np.float32))
    assert (result.data[2, 2, 2], result.stat[2, 2, 2]) == (np.float32(20.969067), np.float32(2.943684))


@pytest.mark.parametrize("method", ["nearest", "linear", "drizzle", "lanczos"])
def test_flagged_rows(method):
    rows = THREE_ROWS.copy()
    rows["dq"] = [DQ.DEAD, 0, 0]
    result = resample(rows, method=method)
    if method == "nearest":
        assert result.dq[2, 2, 2] == DQ.DEAD
        assert result.data[2, 2, 2] == 10
    else:
        assert 20 < result.data[2, 2, 2] < 40


def test_empty_cells_are_missing():
    result = resample(THREE_ROWS)
    assert result.dq[0, 0, 0] == DQ.MISSING
    assert result.data[0, 0, 0] == result.stat[0, 0, 0] == 0
    assert np.all(resample(THREE_ROWS[:0]).dq == DQ.MISSING)


def test_exact_hit_wins():
    rows = THREE_ROWS.copy()
    rows["xpos"][2], rows["ypos"][2], rows["lbda"][2] = 3, 3, 5002.5
    for method in ("linear", "quadratic", "renka"):
        result = resample(rows, method=method)
        assert (result.data[2, 2, 2], result.stat[2, 2, 2]) == (40, 16)


def test_renka_with_distant_rows_only():
    rows = make_rows(4.4, 4.4, 5004.3, [10, 20], 0, [4, 8], 0)
    ours = resample(rows, method="renka")
    assert (ours.data[2, 2, 2], ours.stat[2, 2, 2], ours.dq[2, 2, 2]) == (15, 3, 0)
    theirs = resample(rows, method="renka", compat=Compat.reference())
    assert theirs.data[2, 2, 2] == 15
    assert np.isnan(theirs.stat[2, 2, 2])
    assert theirs.dq[2, 2, 2] == 0


@pytest.mark.parametrize("method", ["drizzle", "lanczos", "linear"])
def test_nan_spoils_all_voxels_within_reach(method):
    rows = make_rows([3.0, 2.0, 4.0], 3, 5002.5, [np.nan, 1, 1], 0, 1, 0)
    result = resample(rows, method=method)
    assert np.isnan(result.data[2, 2, 1:4]).all()
    assert (result.dq[2, 2, 1:4] == 0).all()


def test_rows_outside_the_grid_are_in_its_border_cells():
    rows = make_rows([-50, 90], [3, 3], [4000, 9000], [7, 9], 0, 1, 0)
    result = resample(rows, method="nearest")
    assert result.data[0, 2, 0] == 7
    assert result.data[4, 2, 4] == 9
    assert (resample(rows, method="drizzle").dq == DQ.MISSING).all()
    assert resample(rows, method="linear").data[0, 1, 1] == 7


def plane_of_rows(middle):
    values = [[10, 12, 11], middle, [9, 14, 12]]
    y, x = np.mgrid[1:4, 1:4]
    return make_rows(x.ravel(), y.ravel(), 5002.5, np.ravel(values), 0, 4, 0)


@pytest.mark.parametrize(("crtype", "flagged"), [("median", [3, 4]), ("iraf", [3, 4]), ("mean", [])])
def test_cosmic_rays(crtype, flagged):
    result = resample(plane_of_rows([500, 60, 13]), crsigma=15.0, crtype=crtype)
    assert result.cosmic_rays.tolist() == flagged


def test_cosmic_ray_neighbourhoods():
    rows = plane_of_rows([13, 60, 500])
    assert resample(rows, crsigma=15.0, direction=CosmicRayDirection.ALL).cosmic_rays.tolist() == [4, 5]
    along_y = plane_of_rows([13, 500, 12])
    along_y["data"] = along_y["data"].reshape(3, 3).T.ravel()
    assert resample(along_y, crsigma=15.0, direction=CosmicRayDirection.Y).cosmic_rays.tolist() == [4]


def test_flagged_rows_are_no_neighbours_but_can_be_cosmic_rays():
    rows = plane_of_rows([500, 60, 13])
    rows["dq"][4] = DQ.HOT
    rows["dq"][3] = DQ.COSMIC_RAY
    result = resample(rows, crsigma=15.0)
    assert result.cosmic_rays.tolist() == [4]  # the other one was known
    rows["dq"] = DQ.HOT
    assert resample(rows, crsigma=15.0).cosmic_rays.size == 0


def test_pixfrac():
    assert parse_pixfrac("0.8") == (0.8, 0.8, 0.8)
    assert parse_pixfrac("0.8,0.7") == (0.8, 0.8, 0.7)
    assert parse_pixfrac("0.8,,0.7x,1e0") == (0.8, 0.7, 1.0)
    for text in ("abc", "0.8,0", "-1", "nan", "", "1,2,3,4"):
        with pytest.raises(ParameterError, match=f"pixfrac: found '{text}', expected one to three numbers above 0"):
            parse_pixfrac(text)
    reference = Compat.reference()
    assert parse_pixfrac("abc", reference) == (0.0, 0.0, 0.0)
    assert parse_pixfrac("", reference) == parse_pixfrac("1,2,3,4", reference) == (0.6, 0.6, 0.6)


def test_options():
    with pytest.raises(ParameterError, match="'cubic', expected one of nearest"):
        ResampleOptions(method="cubic")
    with pytest.raises(ParameterError, match="crtype"):
        ResampleOptions(crtype="mode")
    assert ResampleOptions(ld=0).ld == 1
    assert ResampleOptions(method="nearest", crsigma=0.0).halo == 0
    assert ResampleOptions(ld=3).halo == 4


def test_planes_must_exist():
    resampler = SlabResampler(GRID, ResampleOptions(), CosmicRayDirection.X)
    with pytest.raises(DataError, match="the cube has 5"):
        resampler.slab(THREE_ROWS, None, 3, 6)


def test_memory_formula():
    options = ResampleOptions()
    three = SlabSize(3)
    assert slab_bytes(GRID, options, three, 0) > 0
    budget = 28 * 700 + slab_bytes(GRID, options, three, 700)
    assert slab_size(budget, GRID, options, 100) == three
    assert slab_size(10**9, GRID, options, 100) == SlabSize(GRID.nz)
    assert slab_size(budget, GRID, options, 100, enough=1) == three  # no thinner than need be
    with pytest.raises(ResourceError, match="single plane"):
        slab_size(1000, GRID, options, 100)


def test_memory_does_not_grow_with_the_rows():
    grid = dataclasses.replace(GRID, nx=300, ny=320, nz=3000)
    options = ResampleOptions()
    limit = 400 << 20
    for n_exposures in (1, 8, 64, 150):
        size = slab_size(10**10, grid, options, 2e5 * n_exposures, 2, limit)
        assert slab_memory(grid, options, size, 2e5 * n_exposures, 2) <= 2 * limit
        strictly = slab_size(limit, grid, options, 2e5 * n_exposures, 2, limit)
        assert slab_memory(grid, options, strictly, 2e5 * n_exposures, 2) <= limit
        assert size.n_planes >= 3
        bands = size.bands or RowSpread.even(grid.ny).bands(1, options.halo)
        assert [row for band in bands for row in range(band.first, band.last)] == list(range(grid.ny))
    assert size.n_bands > 8


def test_what_is_expected_of_slabs():
    """One exposure is made in slabs of planes, many in bands, with more work for each row and bounded memory."""
    grid = dataclasses.replace(GRID, nx=320, ny=320, nz=3681)
    limits = SlabMemory(1 << 34)
    expected = [
        SlabPlanner(grid, ResampleOptions(), n * 324 * 10**6, limits, 2).expected(1152 * n, (5000.0, 9600.0))
        for n in (1, 8, 64)
    ]
    assert [slabs.in_bands for slabs in expected] == [False, True, True]
    assert 1 < expected[0].again < 1.3
    assert expected[0].again < expected[1].again < expected[2].again < 3
    assert all(slabs.memory_bytes < 1000 << 20 for slabs in expected)


def test_bands_are_narrow_where_there_are_many_rows():
    """Many exposures of a part of the field: with even bands most of the rows would be in one of them."""
    grid = dataclasses.replace(GRID, nx=300, ny=320, nz=3000)
    options, n_rows = ResampleOptions(), 2e5 * 8
    random = np.random.default_rng(5)
    first = np.concatenate([random.integers(150, 170, 3000), random.integers(0, 300, 1000)])
    ranges = np.column_stack([first, np.minimum(first + random.integers(0, 20, len(first)), grid.ny - 1)])
    spread = RowSpread.of(ranges, np.ones(len(ranges)), grid.ny)
    density = np.zeros(grid.ny)
    for low, high in ranges:
        density[low : high + 1] += 1 / (high + 1 - low) / len(ranges)
    np.testing.assert_allclose(np.diff(spread.below), density, atol=1e-12)
    size = slab_size(400 << 20, grid, options, n_rows, 2, None, lambda: spread)
    assert slab_memory(grid, options, size, n_rows, 2) <= 400 << 20
    shares = [density[band.low : band.high].sum() for band in size.bands]
    assert max(shares) == pytest.approx(size.share)
    even = RowSpread.even(grid.ny).bands(size.n_bands, options.halo)
    assert size.share < 0.6 * max(density[band.low : band.high].sum() for band in even)
    assert [row for band in size.bands for row in range(band.first, band.last)] == list(range(grid.ny))
    many = slab_size(10**10, grid, options, 8 * n_rows, 2, 400 << 20, lambda: spread)  # in 400 MiB nothing would fit
    assert 400 << 20 < slab_memory(grid, options, many, 8 * n_rows, 2) <= 3200 << 20
    nothing = RowSpread.of(np.empty((0, 2), np.int32), np.empty(0), grid.ny)
    assert np.array_equal(nothing.below, RowSpread.even(grid.ny).below)


@pytest.mark.parametrize(
    "options",
    [
        ResampleOptions(crsigma=3.0),
        ResampleOptions(method="nearest"),
        ResampleOptions(method="renka", ld=2, crsigma=2.0),
    ],
)
@pytest.mark.parametrize("n_bands", [2, 3, 9])
def test_bands_give_the_same_bits(options, n_bands):
    grid = dataclasses.replace(GRID, nx=7, ny=40, nz=6)
    random = np.random.default_rng(n_bands)
    n = 6000
    x, y = random.uniform(0, 8, n), random.uniform(-3, 44, n)
    rows = make_rows(x, y, random.uniform(4999, 5008, n), random.standard_cauchy(n), 0, 1, 0)
    resampler = SlabResampler(grid, options, CosmicRayDirection.X, 2)
    whole = resampler.slab(rows, None, 1, 5)
    into = resampler.blank_slab(4)
    parts = [
        resampler.slab(rows, None, 1, 5, band=band, into=into)
        for band in RowSpread.even(grid.ny).bands(n_bands, options.halo)
    ]
    for name in ("data", "stat", "dq"):
        np.testing.assert_array_equal(getattr(into, name), getattr(whole, name))
    np.testing.assert_array_equal(np.sort(np.concatenate([part.cosmic_rays for part in parts])), whole.cosmic_rays)
    assert len(whole.cosmic_rays) > 10 or options.method == "nearest"


@pytest.mark.parametrize("method", ["drizzle", "linear", "renka", "lanczos"])
@pytest.mark.parametrize("pixfrac", [0.8, 1.0])
@pytest.mark.parametrize("ld", [1, 2])
def test_threads_and_no_variances_change_no_bit(method, pixfrac, ld):
    """However threads cut planes, also where a row that is not finite spoils voxels on both sides of a cut."""
    grid = dataclasses.replace(GRID, nx=7, ny=100, nz=6)
    random = np.random.default_rng(ld)
    n = 6000
    x, y, lbda = random.uniform(0, 8, n), random.uniform(-3, 104, n), random.uniform(4999, 5008, n)
    data, stat = random.normal(size=n), random.uniform(1, 2, n)
    data[::200], stat[50::200] = np.nan, np.inf
    rows = make_rows(x, y, lbda, data, 0, stat, 0)
    options = ResampleOptions(method=method, ld=ld, crsigma=0.0, pixfrac=(pixfrac,) * 3)

    def planes(n_threads, *, variances=True):
        resampler = SlabResampler(grid, options, CosmicRayDirection.X, n_threads, variances=variances)
        return resampler.slab(rows, None, 1, 5)

    expected = planes(1)
    assert np.isnan(expected.data).any()
    assert np.isinf(expected.stat).any()
    for n_threads in (2, 3, 16):
        found = planes(n_threads)
        for name in ("data", "stat", "dq"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    for n_threads in (1, 3):
        found = planes(n_threads, variances=False)
        np.testing.assert_array_equal(found.data, expected.data)
        np.testing.assert_array_equal(found.dq, expected.dq)
        assert found.stat.shape == (0, grid.ny, grid.nx)


@pytest.mark.parametrize("n_threads", [1, 2, 3, 16, 32, 64])
@pytest.mark.parametrize("ny", [3, 26, 298, 5000])
def test_no_thread_has_nothing_to_do(n_threads, ny):
    """As many parts for each thread, as far as there are planes; in bands where these are not too narrow."""
    thickness, n_bands = cut_for_threads(24, ny, 1, n_threads)
    n_parts = -(-24 // thickness) * n_bands
    assert 2 * n_parts >= min(n_threads, 24)
    assert n_bands == 1 or ny // n_bands >= 16
    if ny >= 16 * n_threads:
        assert thickness == 24
        assert n_parts % n_threads == 0
    assert cut_for_threads(100, ny, 1, n_threads)[0] <= 24


def test_nearest_has_variances_always():
    options = ResampleOptions(method="nearest", crsigma=0.0)
    made = SlabResampler(GRID, options, CosmicRayDirection.X, variances=False).slab(THREE_ROWS, None, 0, GRID.nz)
    assert made.stat.shape == GRID.shape

# SPDX-License-Identifier: GPL-2.0-or-later
"""Correlations of voxels against the dense matrix of all weights."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels.test_resample import GRIDS, PIX, cells_of, near, table, weight

from muse_core.steps.noise.layout import Layout, Neighbourhood
from muse_core.steps.noise.sums import CorrelationSums, CorrelationWatch
from muse_core.steps.resample import CosmicRayDirection, ResampleOptions, RowSpread, SlabResampler

METHODS = [
    ResampleOptions(method="linear", crsigma=0),
    ResampleOptions(method="quadratic", crsigma=0),
    ResampleOptions(method="renka", crsigma=0, rc=0.9),
    ResampleOptions(method="drizzle", crsigma=0),
    ResampleOptions(method="drizzle", crsigma=0, pixfrac=(0.95, 0.3, 1.0), ld=2),
    ResampleOptions(method="drizzle", crsigma=0, pixfrac=(1.0, 1.0, 1.0)),
    ResampleOptions(method="lanczos", crsigma=0),
    ResampleOptions(method="lanczos", crsigma=0, ld=2),
]


def dense(grid, rows, weights, options):
    """Return the matrix of weights, not normalised; shape (nz * ny * nx, n_rows)."""
    cells, matrix = cells_of(grid, rows), np.zeros((*grid.shape, len(rows)))
    for position in np.ndindex(grid.shape):
        z, y, x = position
        vx, vy = grid.position(x + 1, y + 1)
        cos_y = np.cos(np.radians(vy)) if grid.celestial else 1.0
        for i in [i for other in near(grid, position, options.ld) for i in cells.get(other, [])]:
            row = rows[i]
            if row["dq"] == 0:
                dx = abs(vx - (float(row["xpos"]) + grid.origin[0])) * cos_y
                dy = abs(vy - (float(row["ypos"]) + grid.origin[1]))
                dl = abs(float(grid.wavelength(z)) - float(row["lbda"]))
                matrix[position][i] = weight(grid, options, dx, dy, dl, z) * float(weights[i])
    return matrix.reshape(-1, len(rows))


def found(grid, rows, weights, options, layout, thickness=None, n_threads=2, n_bands=1):
    """Return the coefficients of pattern and spectral part by plane, made in slabs."""
    made = {}, {}
    watch = CorrelationWatch(grid, layout, *[lambda values: {"values": values}] * 2)
    sinks = [lambda plane, kept, part=part: part.update({plane: kept["values"]}) for part in made]
    sums = CorrelationSums(watch, *sinks)
    resampler = SlabResampler(grid, options, CosmicRayDirection.ALL, n_threads)
    resampler.watch = watch
    for first in range(0, grid.nz, thickness or grid.nz):
        last = min(first + (thickness or grid.nz), grid.nz)
        if n_bands == 1:
            sums.add(resampler.slab(rows, weights, first, last).seen)
            continue
        into = resampler.blank_slab(last - first)
        bands = RowSpread.even(grid.ny).bands(n_bands, options.halo)
        seen = [resampler.slab(rows, weights, first, last, band=band, into=into).seen for band in bands]
        sums.add(watch.join(seen))
    assert sums.complete
    return made


def everywhere(grid, options):
    planes = np.arange(grid.nz, dtype=np.int32)
    return Layout(Neighbourhood.of(grid, options), planes, planes)


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("options", METHODS, ids=lambda options: f"{options.method}{options.ld}")
def test_equals_the_dense_matrix(name, options):
    grid = GRIDS[name]
    rows, weights = table(grid, 220)
    layout = everywhere(grid, options)
    pattern, spectral = found(grid, rows, weights, options, layout)
    matrix = dense(grid, rows, weights, options)
    covariance = (matrix * rows["stat"].astype(float)) @ matrix.T
    noise = np.sqrt(np.diag(covariance))
    with np.errstate(all="ignore"):
        expected = covariance / noise / noise[:, None]
    expected[~np.isfinite(expected)] = np.nan
    seen = np.zeros(expected.shape, bool)
    tolerance = 1e-11 if grid.is_logarithmic else 1e-12  # there the length of a voxel is a small difference
    offsets = layout.neighbourhood.offsets.tolist()
    for z, y, x in np.ndindex(grid.shape):
        own = np.ravel_multi_index((z, y, x), grid.shape)
        seen[own, own] = True
        for number, (dz, dy, dx) in enumerate(offsets):
            other = z + dz, y + dy, x + dx
            value = pattern[z][number, y, x]
            if all(0 <= p < n for p, n in zip(other, grid.shape, strict=True)):
                index = np.ravel_multi_index(other, grid.shape)
                seen[own, index] = seen[index, own] = True
                np.testing.assert_allclose(value, expected[own, index], rtol=0, atol=tolerance)
            else:
                assert np.isnan(value)
    columns = [number for number, (_, dy, dx) in enumerate(offsets) if dy == dx == 0]
    for z in range(grid.nz):
        assert np.array_equal(spectral[z], pattern[z][columns], equal_nan=True)
    left = np.abs(np.nan_to_num(expected[~seen]))
    if options.ld == 1:  # else their tails are longer than what is kept
        assert left.max(initial=0) < 1e-3
    assert np.nanmax(np.abs(expected - np.eye(len(expected)))) > 0.1


@settings(max_examples=15, derandomize=True, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(METHODS),
    st.integers(1, 5),
    st.sampled_from([1, 2, 3]),
    st.integers(1, 3),
)
def test_same_bits_for_slabs_bands_and_threads(seed, options, thickness, n_threads, n_bands):
    rows, weights = table(PIX, 400, seed)
    layout = everywhere(PIX, options)
    whole = found(PIX, rows, weights, options, layout, None, 1)
    parts = found(PIX, rows, weights, options, layout, thickness, n_threads, n_bands)
    for a, b in zip(whole, parts, strict=True):
        assert [a[z].tobytes() for z in range(PIX.nz)] == [b[z].tobytes() for z in range(PIX.nz)]


@settings(max_examples=15, derandomize=True, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(METHODS))
def test_coefficients_are_those_of_a_covariance(seed, options):
    """At most one, whatever the rows; those of a single row are one."""
    rows, weights = table(PIX, 300, seed)
    pattern, _ = found(PIX, rows, weights, options, everywhere(PIX, options))
    for values in pattern.values():
        assert np.nanmax(np.abs(values)) <= 1 + 1e-12
    alone, _ = found(PIX, rows[rows["dq"] == 0][:1], weights[:1], options, everywhere(PIX, options))
    values = np.concatenate([v.ravel() for v in alone.values()])
    values = values[np.isfinite(values)]
    np.testing.assert_allclose(np.abs(values), 1, rtol=1e-12)

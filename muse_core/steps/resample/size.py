# SPDX-License-Identifier: GPL-2.0-or-later
"""How many planes of a cube are made at once, in how many bands, and the memory that they take."""

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Self

import numpy as np

from muse_core.cython_ext import grid as grid_kernels
from muse_core.errors import ResourceError
from muse_core.model.grid import OutputGrid
from muse_core.model.record import record
from muse_core.model.rows import ROW
from muse_core.steps.resample.options import ResampleOptions

THICKNESS = 24  # planes that a thread works on at once
#: Pieces of work for each thread in sorting and rejection, and rows of the grid that a strip of a plane has at least.
_PIECES_EACH, _STRIP_ROWS = 8, 32
#: Bands, along y, for each thread: one that has waited takes another one; and rows of the grid in a band for each one
#: that it needs beside it.
_BANDS_EACH, _ROWS_EACH = 4, 8
LARGEST_INT = 2**31 - 1
_FEW = 3  # planes: with fewer most of the work is for the halo
_BANDED = (16, 8, 4, 3, 2, 1)  # planes of a slab that is made in bands


@record
class Band:
    """Rows `first`...`last` - 1 of the grid, and `low`...`high` - 1 with the halo that they need."""

    first: int
    last: int
    low: int
    high: int


@record
class SlabSize:
    """What of a cube is made at once.

    Attributes
    ----------
    n_planes : int
        Planes of a slab.
    bands : tuple of Band
        Rows of the grid that are made one after the other, from the lowest up; none: all at once.
    share : float
        Part of the rows of the pixel table that the fullest band has with its halo.
    again : float
        In how many bands a row of the pixel table is, on average.
    """

    n_planes: int
    bands: tuple[Band, ...] = ()
    share: float = 1.0
    again: float = 1.0

    @property
    def n_bands(self) -> int:
        """Number of parts that are made one after the other."""
        return max(len(self.bands), 1)


@record
class RowSpread:
    """How the rows of pixel tables are spread over the rows of a grid.

    Attributes
    ----------
    below : ndarray of float64, shape (ny + 1,)
        Part of them below each row of the grid; 1 at the end.
    """

    below: np.ndarray

    @classmethod
    def even(cls, ny: int) -> Self:
        """Return that of rows that are everywhere."""
        return cls(np.linspace(0, 1, ny + 1))

    @classmethod
    def of(cls, ranges: np.ndarray, numbers: np.ndarray, ny: int) -> Self:
        """Return that of groups of rows.

        Parameters
        ----------
        ranges : ndarray of int, shape (n, 2)
            First and last row of the grid of each group.
        numbers : ndarray, shape (n,)
            How many there are in each, spread evenly over its range.
        ny : int
            Number of rows of the grid.
        """
        if not numbers.sum() > 0:
            return cls.even(ny)
        first, last = ranges.T
        each = numbers / (last - first + 1)
        begun, ended = (np.bincount(edge, each, ny + 1) for edge in (first, last + 1))
        below = np.append(0, np.cumsum(np.cumsum(begun - ended)[:ny]))
        return cls(np.maximum.accumulate(below) / below[-1])

    def bands(self, n_bands: int, halo: int) -> tuple[Band, ...]:
        """Cut the grid into bands, with as many rows of the pixel table each as can be; fewer where it has few rows."""
        ny = len(self.below) - 1
        cuts = np.searchsorted(self.below, np.arange(1, n_bands) / n_bands)
        edges = np.unique(np.concatenate([[0, ny], cuts])).tolist()
        return tuple(
            Band(a, b, max(a - halo, 0), min(b + halo, ny)) for a, b in zip(edges[:-1], edges[1:], strict=True)
        )

    def shares(self, bands: tuple[Band, ...]) -> np.ndarray:
        """Return which part of the rows of the pixel table each band has with its halo."""
        low, high = np.array([(band.low, band.high) for band in bands]).T
        shares: np.ndarray = self.below[high] - self.below[low]
        return shares

    def cut(self, n_planes: int, n_bands: int, halo: int) -> SlabSize:
        """Return the size of a slab that is made in bands."""
        bands = self.bands(n_bands, halo)
        if len(bands) == 1:
            return SlabSize(n_planes)
        shares = self.shares(bands)
        return SlabSize(n_planes, bands, float(shares.max()), float(shares.sum()))


def cut_for_threads(n_planes: int, ny: int, reach: int, n_threads: int) -> tuple[int, int]:
    """Return how threads cut some planes between them: the planes that are made together, and in how many bands.

    What is beside planes and bands is worked on as well, so bands come first, and planes are cut where these do not do.
    """
    most = max(ny // (2 * _ROWS_EACH * reach), 1)
    n_blocks, n_bands = -(-n_planes // THICKNESS), 1
    if most < n_threads:
        n_blocks = max(n_blocks, -(-n_threads // most))
        n_bands = -(-n_threads // n_blocks)
    elif n_threads > 1:
        n_bands = min(_BANDS_EACH, most // n_threads) * n_threads
    return -(-n_planes // n_blocks), n_bands


def strip_rows(ny: int, n_planes: int, n_threads: int) -> int:
    """Return how many of the `ny` rows of each plane of a slab are a piece of work in sorting and rejection.

    Whole planes, unless these are so few that many threads would wait for the last ones: rows of a slice that lies
    across strips take longer to be sorted.
    """
    n_strips = min(-(-_PIECES_EACH * n_threads // n_planes), max(ny // _STRIP_ROWS, 1)) if n_threads > 1 else 1
    return -(-ny // n_strips)


def rows_of_extents(extents: np.ndarray, grid: OutputGrid) -> np.ndarray:
    """Return the first and the last row of the grid in which positions of some ranges can be; int32, shape (n, 2).

    `extents`: float32, shape (n, 4): lowest and highest xpos, lowest and highest ypos, as in the pixel table.
    """
    rows = np.empty((len(extents), 2), np.int32)
    grid_kernels.rows_of_extents(extents, grid.parameters(), rows)
    return rows


def slab_bytes(grid: OutputGrid, options: ResampleOptions, size: SlabSize, n_rows: int, n_threads: int = 1) -> int:
    """Memory in bytes that `SlabResampler.slab` takes besides its input.

    Parameters
    ----------
    grid, options : OutputGrid, ResampleOptions
        As for `SlabResampler`.
    size : SlabSize
        Planes of the slab, without its halo, and bands.
    n_rows : int
        Rows of a band of the slab and its halo.
    n_threads : int
        Number of threads.

    Notes
    -----
    Per row: 8 bytes for its cell and its place, 32 for the sorted copy, 4 (iraf: 8) for the value of the rejection.
    Per cell of slab and halo: 4 for its start. Per voxel: 24 for the result and the one before, 12 for that of a band.
    Per spaxel: 24. Per thread: the sums of ``2 ld + 1`` rows of the grid in 16 planes.
    """
    n_spaxels, halo = grid.nx * grid.ny, 2 * options.halo
    in_band = grid.nx * max((band.high - band.low for band in size.bands), default=grid.ny)
    of_band = 12 * in_band * size.n_planes if size.bands else 0
    row = 40 + (4 + 4 * (options.crtype == "iraf") if options.rejects_cosmic_rays else 0)
    sums = 32 * (2 * options.reach + 1) * THICKNESS * grid.nx * n_threads
    return row * n_rows + 4 * in_band * (size.n_planes + halo) + n_spaxels * (24 * size.n_planes + 24) + of_band + sums


def slab_memory(
    grid: OutputGrid, options: ResampleOptions, size: SlabSize, rows_per_plane: float, n_threads: int = 1
) -> int:
    """Memory in bytes that a slab takes with its input rows; parameters as for `slab_size`."""
    n_rows = math.ceil(rows_per_plane * size.share * (size.n_planes + 2 * options.halo))
    return ROW.itemsize * n_rows + slab_bytes(grid, options, size, n_rows, n_threads)


def slab_size(
    budget: int,
    grid: OutputGrid,
    options: ResampleOptions,
    rows_per_plane: float,
    n_threads: int = 1,
    enough: int | None = None,
    spread: Callable[[], RowSpread] | None = None,
) -> SlabSize:
    """Return how many planes `SlabResampler.slab` shall make at once, and in which bands.

    Parameters
    ----------
    budget : int
        Memory in bytes that the slab may take with its input rows.
    grid, options : OutputGrid, ResampleOptions
        As for `SlabResampler`.
    rows_per_plane : float
        Expected (largest) number of rows a plane.
    n_threads : int
        Number of threads.
    enough : int, optional
        Memory beyond which more planes gain nothing, if they are not few: the halo is made again for each slab. Bands
        may take twice as much, and more where nothing fits.
    spread : callable, optional
        Returns how the rows are spread over the rows of the grid, which bands depend on; default: evenly.

    Raises
    ------
    ResourceError
        If not even one plane fits into the budget.

    Notes
    -----
    With many exposures a few planes of all of them would take more: then slabs are cut into bands, so that memory does
    not grow with the number of exposures.
    """

    def memory(size: SlabSize) -> int:
        return slab_memory(grid, options, size, rows_per_plane, n_threads)

    halo = 2 * options.halo
    wanted = budget if enough is None else min(budget, enough)
    fixed, single = memory(SlabSize(0)), memory(SlabSize(1))
    n_planes = (wanted - fixed) // max(single - fixed, 1)
    n_planes = min(n_planes, LARGEST_INT // (grid.nx * grid.ny) - halo, grid.nz)
    if n_planes >= min(_FEW, grid.nz):
        return SlabSize(int(n_planes))
    rows = RowSpread.even(grid.ny) if spread is None else spread()
    cuts = [rows.cut(1, n_bands, options.halo) for n_bands in range(1, max(grid.ny // max(halo, 1), 1) + 1)]

    def least_work(limit: int) -> SlabSize | None:
        found: list[SlabSize] = []
        for n_planes in filter(lambda n: n <= grid.nz, _BANDED):
            sizes = (dataclasses.replace(cut, n_planes=n_planes) for cut in cuts)
            found += itertools.islice((size for size in sizes if memory(size) <= limit), 1)
        return min(found, key=lambda size: (size.n_planes + halo) / size.n_planes * size.again, default=None)

    limit = wanted
    while True:
        limit = min(2 * limit, budget)  # at first twice of what is wanted: bands have more halos than planes alone
        size = least_work(limit)
        if size is not None:
            return size
        if limit == budget:
            break
    needed = min(map(memory, cuts))
    raise ResourceError(
        f"resampling into {grid.nx} x {grid.ny} spaxels needs {needed / 1e9:.2f} GB for a single plane, "
        f"found {budget / 1e9:.2f} GB"
    )

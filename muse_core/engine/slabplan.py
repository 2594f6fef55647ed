# SPDX-License-Identifier: GPL-2.0-or-later
"""How many planes of a cube are made together, in which bands, and what is to be expected of it."""

import dataclasses
import math
from collections.abc import Callable

from muse_core.engine.resources import SlabMemory
from muse_core.engine.store import stretch_rows
from muse_core.model.grid import OutputGrid
from muse_core.model.record import record
from muse_core.model.rows import ROW
from muse_core.steps.resample import ResampleOptions, RowSpread, SlabSize, slab_bytes, slab_memory, slab_size

#: Slabs of a small cube, which is not made at once, for less memory; planes of a slab, with which the halo is little.
_SLABS, _SMALLEST = 6, 24
#: For each row of a band: its number and weight, and those of the band before and after, which the allocator keeps.
_BAND_ROW_BYTES = 44
#: Slabs that each worker of a cluster gets at least, and planes of such a slab: between these where there are rows of
#: many exposures in a plane.
_SLABS_EACH, _THIN, _THICK = 3, 8, 16
#: Data, stat and flags of a voxel in a slab.
_VOXEL_BYTES = 12
#: How many times the mean a plane may have of rows: they are not spread evenly over the planes.
_FULLEST = 2


@record
class ExpectedSlabs:
    """What a `SlabSource` will do, as far as it is known before there are rows.

    Attributes
    ----------
    memory_bytes : int
        Memory that it will take, rows included; the plan of a slab allows for more.
    again : float
        How often a row will be worked on, with what is for the halos of planes and bands.
    in_bands : bool
        Whether slabs are made in bands.
    """

    memory_bytes: int
    again: float
    in_bands: bool


@record
class SlabPlanner:
    """What decides on the slabs of a cube.

    Attributes
    ----------
    grid, options : OutputGrid, ResampleOptions
        Grid and method.
    n_rows : int
        Number of rows.
    limits : SlabMemory
        Memory that a slab may take.
    n_threads : int
        Threads that make one together.
    spread : callable, optional
        As for `slab_size`.
    """

    grid: OutputGrid
    options: ResampleOptions
    n_rows: int
    limits: SlabMemory
    n_threads: int
    spread: Callable[[], RowSpread] | None = None

    def _memory(self, n_planes: int) -> int:
        """Return the memory of a slab with its rows."""
        return slab_memory(self.grid, self.options, SlabSize(n_planes), self._rows_per_plane, self.n_threads)

    def _size(self, enough: int | None) -> SlabSize:
        """Return the size of a slab that takes `enough` memory; None: as much as it may."""
        rows_each, most = self._rows_per_plane, self.limits.most
        return slab_size(most, self.grid, self.options, rows_each, self.n_threads, enough, self.spread)

    @property
    def _rows_per_plane(self) -> float:
        return _FULLEST * self.n_rows / self.grid.nz

    def slab(self) -> SlabSize:
        """Return the size of a slab."""
        nz = self.grid.nz
        small = max(self._memory(nz) // _SLABS, self._memory(min(_SMALLEST, nz)))
        return self._size(min(self.limits.wanted, small))

    def shared_slab(self, n_planes: int, n_workers: int) -> SlabSize:
        """Return the size of a slab where several workers make `n_planes` together.

        Each worker gets some slabs, so that nobody waits long for the last one, and slabs are not so thin that most of
        the work is for what is beside them.
        """
        alone, most = self.slab(), self._size(None)
        fair = max(-(-n_planes // (_SLABS_EACH * n_workers)), _THIN)
        if most.n_bands == 1:
            return SlabSize(min(fair, max(alone.n_planes, _THICK), most.n_planes))
        return dataclasses.replace(most, n_planes=min(fair, most.n_planes))

    def expected(self, n_slices: int, wavelengths: tuple[float, float], n_workers: int = 0) -> ExpectedSlabs:
        """Return what a `SlabSource` will do.

        Parameters
        ----------
        n_slices : int
            Number of slices (of all exposures) in which rows lie together.
        wavelengths : tuple of float
            Between which rows are taken to be spread evenly, in Angstrom.
        n_workers : int
            Workers who make the slabs; 0 if we do.
        """
        grid, options, n_rows = self.grid, self.options, self.n_rows
        size = self.shared_slab(grid.nz, n_workers) if n_workers else self.slab()
        low, high = wavelengths
        whole, n_planes = 0.0, 0
        for first, last in slab_ranges(grid, size.n_planes):
            first, last = max(first - options.halo, 0), min(last + options.halo, grid.nz)
            begin, end = needed_wavelengths(grid, first, last)
            inside = min(end, high) - max(begin, low)
            whole = max(whole, inside / (high - low) if high > low else 1.0)
            n_planes += last - first
        window = min(n_rows, int(whole * n_rows) + stretch_rows(n_rows) * n_slices)
        window = int(window * size.share)
        used = slab_bytes(grid, options, size, window, self.n_threads)
        used += (size.n_bands > 1) * _BAND_ROW_BYTES * window
        if size.n_planes >= grid.nz:  # there is no slab before
            used -= _VOXEL_BYTES * math.prod(grid.shape)
        return ExpectedSlabs(ROW.itemsize * window + used, n_planes / grid.nz * size.again, size.n_bands > 1)


def slab_ranges(grid: OutputGrid, thickness: int, first: int = 0) -> list[tuple[int, int]]:
    """Return first plane and last + 1 of each slab."""
    edges = [*range(first, grid.nz, thickness), grid.nz]
    return list(zip(edges[:-1], edges[1:], strict=True))


def needed_wavelengths(grid: OutputGrid, low: int, high: int) -> tuple[float, float]:
    """Return the range of wavelengths of the rows of planes `low` to `high` - 1."""
    # rows beyond the grid are in its outermost planes
    begin = -math.inf if low <= 0 else float(grid.first_wavelength(low))
    end = math.inf if high >= grid.nz else float(grid.first_wavelength(high))
    return begin, end

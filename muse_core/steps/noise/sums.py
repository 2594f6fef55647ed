# SPDX-License-Identifier: GPL-2.0-or-later
"""Correlation coefficients of voxels, exact for independent rows, from the rows as they are resampled."""

import dataclasses
from collections.abc import Callable

import numpy as np

from muse_core.cython_ext import noise as noise_kernels
from muse_core.errors import Stopped
from muse_core.model.grid import OutputGrid
from muse_core.steps.noise.correlation import overlap
from muse_core.steps.noise.layout import Layout, Neighbourhood
from muse_core.steps.resample.slab import Band, SortedSlab

#: Neighbouring cells that a voxel takes rows from, at most (cython_ext/noise.pyx).
LARGEST_REACH = 8
#: Gets a plane and its coefficients, float64, shape (n_offsets, ny, nx); NaN where there is no voxel or no neighbour.
Sink = Callable[[int, np.ndarray], None]


class _Sums:
    """Sums of the voxels of a plane, which come in bands; shape (ny, nx, n)."""

    def __init__(self, ny: int):
        self._ny, self._seen = ny, 0
        self.values: np.ndarray | None = None

    @property
    def complete(self) -> bool:
        """Are all bands there?"""
        return self._seen == self._ny

    def put(self, band: Band, values: np.ndarray) -> None:
        """Add the rows of the grid that a band makes; bands come one after the other."""
        if len(values) == self._ny:
            self.values = values
        else:
            if self.values is None:
                self.values = np.empty((self._ny, *values.shape[1:]))
            self.values[band.first : band.last] = values
        self._seen += band.last - band.first


@dataclasses.dataclass(slots=True, eq=False)
class _Job:
    """Coefficients of the voxels of a plane with the neighbours.

    Attributes
    ----------
    plane : int
        The plane.
    neighbourhood : Neighbourhood
        The neighbours.
    depth : int
        Number of planes after it in which they are.
    sink : Sink
        Gets the result.
    pairs : _Sums
        Of pairs, as of `pair_sums`.
    selves : dict of int to _Sums
        Of the voxels of later planes, by their distance.
    """

    plane: int
    neighbourhood: Neighbourhood
    depth: int
    sink: Sink
    pairs: _Sums
    selves: dict[int, _Sums]

    @property
    def complete(self) -> bool:
        """Is all there?"""
        return self.pairs.complete and all(found.complete for found in self.selves.values())


def scratch_bytes(grid: OutputGrid, neighbourhood: Neighbourhood) -> int:
    """Return the memory in bytes that `CorrelationSums` takes at most."""
    n = noise_kernels.n_sums(neighbourhood.depth, neighbourhood.radius, True)
    return 8 * grid.nx * grid.ny * (3 * n + 8)


class CorrelationSums:
    """Finds the coefficients while the slabs of a cube are made; any slabs and threads give the same bits.

    Parameters
    ----------
    grid : OutputGrid
        Grid of the cube.
    layout : Layout
        What is wanted.
    pattern, spectral : Sink
        Get the coefficients of a plane of the pattern and of the spectral part, in the order of the offsets.
    n_threads : int
        Number of threads.
    """

    def __init__(self, grid: OutputGrid, layout: Layout, pattern: Sink, spectral: Sink, n_threads: int = 1):
        self._grid, self._n_threads = grid, n_threads
        column = Neighbourhood(0, layout.neighbourhood.depth)
        self._jobs = [self._job(int(plane), layout.neighbourhood, pattern) for plane in layout.pattern]
        self._jobs += [self._job(int(plane), column, spectral) for plane in layout.spectral]
        self._jobs.sort(key=lambda job: job.plane)

    def _job(self, plane: int, neighbourhood: Neighbourhood, sink: Sink) -> _Job:
        depth, ny = min(neighbourhood.depth, self._grid.nz - 1 - plane), self._grid.ny
        return _Job(plane, neighbourhood, depth, sink, _Sums(ny), {dz: _Sums(ny) for dz in range(1, depth + 1)})

    def missing(self) -> list[int]:
        """Return the planes that have not been seen, and are needed."""
        planes = {job.plane for job in self._jobs if not job.pairs.complete}
        planes |= {job.plane + dz for job in self._jobs for dz, found in job.selves.items() if not found.complete}
        return sorted(planes)

    def watch(self, slab: SortedSlab, stop: np.ndarray) -> None:
        """Look at the rows of a slab, or of a band of one; see `SlabResampler.watch`."""
        for job in list(self._jobs):
            if job.plane >= slab.last or job.plane + job.depth < slab.first:
                continue
            together = slab.first <= job.plane and job.plane + job.depth < slab.last
            if slab.first <= job.plane and not job.pairs.complete:
                found = self._sum(slab, job.plane, job.depth, job.neighbourhood.radius, together, stop)
                n = found.shape[2] - (job.depth if together else 0)
                job.pairs.put(slab.band, found[:, :, :n])
                for dz, selves in job.selves.items() if together else ():
                    selves.put(slab.band, found[:, :, n + dz - 1])
            for dz, selves in job.selves.items() if not together else ():
                if slab.first <= job.plane + dz < slab.last and not selves.complete:
                    selves.put(slab.band, self._sum(slab, job.plane + dz, 0, 0, False, stop)[:, :, 0])
            if job.complete:
                self._jobs.remove(job)
                selves = {dz: found.values for dz, found in job.selves.items()}
                job.sink(job.plane, coefficients(job.neighbourhood, job.pairs.values, selves))

    def _sum(self, slab: SortedSlab, plane: int, depth: int, radius: int, selves: bool, stop) -> np.ndarray:
        """Return the sums of the rows of the grid that are made."""
        band, planes = slab.band, np.arange(plane, plane + depth + 1)
        sums = np.zeros((band.last - band.first, self._grid.nx, noise_kernels.n_sums(depth, radius, selves)))
        noise_kernels.pair_sums(
            slab.cells,
            slab.offsets,
            slab.grid,
            slab.spaxels,
            band.low,
            band.high,
            band.first,
            band.last,
            self._grid.wavelength(planes),
            self._grid.voxel_length(planes),
            slab.code,
            slab.weighting,
            plane - slab.low,
            depth,
            radius,
            selves,
            np.empty((self._n_threads, -(-noise_kernels.scratch_size(slab.weighting["reach"]) // 8))),
            sums,
            stop,
            self._n_threads,
        )
        if stop[0]:
            raise Stopped("the noise of the cube was stopped")
        return sums


def coefficients(neighbourhood: Neighbourhood, pairs: np.ndarray, selves: dict[int, np.ndarray]) -> np.ndarray:
    """Return the coefficients of the voxels of a plane with their neighbours.

    Parameters
    ----------
    neighbourhood : Neighbourhood
        The neighbours.
    pairs : ndarray of float64, shape (ny, nx, n)
        Sums with them, as of `pair_sums`.
    selves : dict of int to ndarray of float64, shape (ny, nx)
        Sums of the voxels of later planes with themselves, by their distance in planes; those that are not there are
        beyond the grid.

    Returns
    -------
    ndarray of float64, shape (n_offsets, ny, nx)
        In the order of `Neighbourhood.offsets`; NaN where there is no voxel, or no neighbour.
    """
    ny, nx, _ = pairs.shape
    with np.errstate(divide="ignore"):
        inverse = {dz: 1 / np.sqrt(found) for dz, found in (selves | {0: pairs[:, :, 0]}).items()}
    for found in inverse.values():
        found[~np.isfinite(found)] = np.nan
    offsets = neighbourhood.offsets
    out = np.full((len(offsets), ny, nx), np.nan)
    for number, (dz, dy, dx) in enumerate(offsets.tolist()):
        if dz not in inverse:
            continue
        here, there = overlap((dy, dx), (ny, nx))
        out[number][here] = pairs[:, :, number + 1][here] * inverse[0][here] * inverse[dz][there]
    return out

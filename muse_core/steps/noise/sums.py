# SPDX-License-Identifier: GPL-2.0-or-later
"""Correlation coefficients of voxels, exact for independent rows, from the rows as they are resampled."""

from collections.abc import Callable, Sequence

import numpy as np

from muse_core.cython_ext import noise as noise_kernels
from muse_core.errors import Stopped
from muse_core.model.grid import OutputGrid
from muse_core.model.record import record
from muse_core.steps.noise.correlation import overlap
from muse_core.steps.noise.layout import Layout, Neighbourhood
from muse_core.steps.resample.slab import SortedSlab

#: Neighbouring cells that a voxel takes rows from, at most (cython_ext/noise.pyx).
LARGEST_REACH = 8
#: Names of the two parts of the product, see `Layout`.
PATTERN, SPECTRAL = "pattern", "spectral"
#: What is known of a plane: sums of pairs, and of the voxels of later planes with themselves, by their distance.
_PAIRS = "pairs"
#: What is known of planes of both parts: arrays, named "part plane what".
Seen = dict[str, np.ndarray]
#: Makes, of the coefficients of a plane, float64, shape (n_offsets, ny, nx), what is kept of them, by name. Where there
#: is no voxel or no neighbour they are NaN. Names are of letters only.
Coder = Callable[[np.ndarray], dict[str, np.ndarray]]
#: Gets a plane, and what is kept of it.
Sink = Callable[[int, dict[str, np.ndarray]], None]


def scratch_bytes(grid: OutputGrid, neighbourhood: Neighbourhood) -> int:
    """Return the memory in bytes that a watch takes at most, beside what it returns."""
    n = noise_kernels.n_sums(neighbourhood.depth, neighbourhood.radius, True)
    return 8 * grid.nx * grid.ny * (3 * n + 8)


@record
class CorrelationWatch:
    """Finds the coefficients while slabs of a cube are made (`SlabWatch`); any slabs and threads give the same bits.

    Attributes
    ----------
    grid : OutputGrid
        Grid of the cube.
    layout : Layout
        What is wanted.
    pattern, spectral : Coder
        Of a plane of the pattern, and of the spectral part; coefficients are in the order of the offsets.
    """

    grid: OutputGrid
    layout: Layout
    pattern: Coder
    spectral: Coder

    def __call__(self, slab: SortedSlab, stop: np.ndarray, n_threads: int) -> Seen:
        """Look at the rows of a slab, or of a band of one."""
        seen: Seen = {}
        for part, planes in ((PATTERN, self.layout.pattern), (SPECTRAL, self.layout.spectral)):
            neighbourhood, whole = self._neighbourhood(part), slab.band.last - slab.band.first == self.grid.ny
            first, last = np.searchsorted(planes, [slab.first - neighbourhood.depth, slab.last])
            for plane in planes[first:last].tolist():
                sums = self._look(slab, part, plane, stop, n_threads)
                seen |= self.coded(sums) if whole else sums
        return seen

    def join(self, bands: Sequence[Seen]) -> Seen:
        """Return what is known of the planes of a slab, given what is of its bands."""
        return self.coded({name: np.concatenate([band[name] for band in bands]) for name in bands[0]})

    def coded(self, seen: Seen) -> Seen:
        """Replace sums by what is kept, in planes of which all is known."""
        done: Seen = {}
        for (part, plane), known in _by_plane(seen).items():
            if _PAIRS in known and len(known) == 1 + self._depth(part, plane):
                pairs, coder = known.pop(_PAIRS), self.pattern if part == PATTERN else self.spectral
                selves = {int(dz): values for dz, values in known.items()}
                known = coder(coefficients(self._neighbourhood(part), pairs, selves))
            done |= {f"{part} {plane} {what}": values for what, values in known.items()}
        return done

    def _neighbourhood(self, part: str) -> Neighbourhood:
        whole = self.layout.neighbourhood
        return whole if part == PATTERN else Neighbourhood(0, whole.depth)

    def _depth(self, part: str, plane: int) -> int:
        """Return the number of planes after one in which its neighbours are."""
        return min(self._neighbourhood(part).depth, self.grid.nz - 1 - plane)

    def _look(self, slab: SortedSlab, part: str, plane: int, stop: np.ndarray, n_threads: int) -> Seen:
        depth = self._depth(part, plane)
        together = slab.first <= plane and plane + depth < slab.last
        known: dict[str, np.ndarray] = {}
        if slab.first <= plane:
            found = self._sum(slab, plane, depth, self._neighbourhood(part).radius, together, stop, n_threads)
            n = found.shape[2] - (depth if together else 0)
            known[_PAIRS] = found[:, :, :n]
            if together:
                known |= {str(dz): found[:, :, n + dz - 1] for dz in range(1, depth + 1)}
        for dz in range(1, depth + 1) if not together else ():
            if slab.first <= plane + dz < slab.last:
                known[str(dz)] = self._sum(slab, plane + dz, 0, 0, False, stop, n_threads)[:, :, 0]
        return {f"{part} {plane} {what}": values for what, values in known.items()}

    def _sum(
        self, slab: SortedSlab, plane: int, depth: int, radius: int, selves: bool, stop: np.ndarray, n_threads: int
    ) -> np.ndarray:
        """Return the sums of the rows of the grid that are made."""
        assert slab.code is not None, "nearest has no correlations"
        band, planes = slab.band, np.arange(plane, plane + depth + 1)
        sums = np.zeros((band.last - band.first, self.grid.nx, noise_kernels.n_sums(depth, radius, selves)))
        noise_kernels.pair_sums(
            slab.cells,
            slab.offsets,
            slab.grid,
            slab.spaxels,
            band.low,
            band.high,
            band.first,
            band.last,
            self.grid.wavelength(planes),
            self.grid.voxel_length(planes),
            slab.code,
            slab.weighting,
            plane - slab.low,
            depth,
            radius,
            selves,
            np.empty((n_threads, -(-noise_kernels.scratch_size(slab.weighting["reach"]) // 8))),
            sums,
            stop,
            n_threads,
        )
        if stop[0]:
            raise Stopped("the noise of the cube was stopped")
        return sums


class CorrelationSums:
    """Puts together what a watch has seen in slab after slab, in their order.

    Parameters
    ----------
    watch : CorrelationWatch
        The watch.
    pattern, spectral : Sink
        Get what is kept of the planes of both parts.
    """

    def __init__(self, watch: CorrelationWatch, pattern: Sink, spectral: Sink):
        self._watch, self._sinks = watch, {PATTERN: pattern, SPECTRAL: spectral}
        self._sums: Seen = {}
        self._left = len(watch.layout.pattern) + len(watch.layout.spectral)

    @property
    def complete(self) -> bool:
        """Are all planes there?"""
        return not self._left

    def add(self, seen: Seen) -> None:
        """Add what was seen in a slab."""
        known = _by_plane(self._watch.coded(self._sums | seen))
        self._sums = {}
        for (part, plane), values in known.items():
            if any(what == _PAIRS or what.isdigit() for what in values):
                self._sums |= {f"{part} {plane} {what}": array for what, array in values.items()}
            else:
                self._left -= 1
                self._sinks[part](plane, values)


def _by_plane(seen: Seen) -> dict[tuple[str, int], dict[str, np.ndarray]]:
    found: dict[tuple[str, int], dict[str, np.ndarray]] = {}
    for name, values in seen.items():
        part, plane, what = name.split()
        found.setdefault((part, int(plane)), {})[what] = values
    return found


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
    inverse = {}
    for dz, found in (selves | {0: pairs[:, :, 0]}).items():
        noise = np.sqrt(found)
        inverse[dz] = np.divide(1, noise, out=np.full((ny, nx), np.nan), where=noise > 0)
    offsets = neighbourhood.offsets
    out = np.full((len(offsets), ny, nx), np.nan)
    for number, (dz, dy, dx) in enumerate(offsets.tolist()):
        if dz not in inverse:
            continue
        here, there = overlap((dy, dx), (ny, nx))
        out[number][here] = pairs[:, :, number + 1][here] * inverse[0][here] * inverse[dz][there]
    return out

# SPDX-License-Identifier: GPL-2.0-or-later
"""A cube from the row store, slab by slab: a range of planes each; the rows of the next are read while one is made.

Where even a few planes have too many rows, since there are many exposures, a slab is made in bands of rows of the grid.
"""

import copy
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from muse_core.engine.progress import track
from muse_core.engine.resources import Resources, SlabMemory
from muse_core.engine.slabplan import SlabPlanner, needed_wavelengths, slab_ranges
from muse_core.engine.store import RowStore, Window, index_bytes
from muse_core.engine.threads import map_in_order, run_stoppable, stoppable_runs
from muse_core.errors import DataError
from muse_core.model.grid import OutputGrid
from muse_core.model.record import record
from muse_core.model.rows import ROW
from muse_core.steps.resample import (
    Band,
    ResampleOptions,
    RowSpread,
    SlabResampler,
    SlabResult,
    SlabSize,
    rows_of_extents,
)

#: Bits of the lower half of the number of a row.
_HALF = 32
#: A grid with more voxels than this for each row is a mistake: a pointing or a wavelength that is wrong.
_EMPTY_VOXELS_PER_ROW = 1000
_SMALL_GRID = 10**8
#: Name of the work on all planes of a cube.
RESAMPLING = "resampling planes"


@record
class OwnCube:
    """A cube that a step makes of a single exposure, in its own spaxels.

    Attributes
    ----------
    options : ResampleOptions
        How.
    voxel_bytes : int
        What is kept of each voxel.
    """

    options: ResampleOptions
    voxel_bytes: int = 0


def refuse_empty_grid(grid: OutputGrid, n_rows: int, limits: str) -> None:
    """Refuse a grid, laid out around the data, that would be all but empty.

    Parameters
    ----------
    grid : OutputGrid
        The grid.
    n_rows : int
        Number of rows to be resampled into it.
    limits : str
        Where the data are, for the message.

    Raises
    ------
    DataError
        With the numbers.
    """
    voxels = grid.nx * grid.ny * grid.nz
    if voxels > max(_SMALL_GRID, _EMPTY_VOXELS_PER_ROW * n_rows):
        raise DataError(
            f"output grid: {n_rows} rows would be spread over {grid.nx} x {grid.ny} x {grid.nz} voxels; are positions "
            f"and wavelengths right? {limits}"
        )


@record
class Weights:
    """A constant weight for the rows of each exposure.

    Attributes
    ----------
    first_rows : ndarray of int64, shape (n_exposures,)
        Number of the first row of each exposure.
    values : ndarray of float32, shape (n_exposures,)
        Weight.
    """

    first_rows: np.ndarray
    values: np.ndarray

    def of(self, window: Window) -> np.ndarray:
        """Return the weight of each row of a window; float32, shape (n,)."""
        n_rows = len(window.rows)
        edges, chosen = window.offsets, window.chosen
        if chosen is not None:
            edges = np.searchsorted(chosen, edges.astype(chosen.dtype))
        lengths = np.diff([*edges, n_rows])
        exposure = np.searchsorted(self.first_rows, window.starts, side="right") - 1
        weights = np.repeat(self.values[exposure], lengths)
        runs = np.flatnonzero(lengths)
        last = np.searchsorted(self.first_rows, window.numbers(edges[runs] + lengths[runs] - 1), side="right") - 1
        for run in runs[last != exposure[runs]]:  # a run may go on from one exposure into the next
            begin, end = edges[run], edges[run] + lengths[run]
            numbers = window.numbers(np.arange(begin, end))
            weights[begin:end] = self.values[np.searchsorted(self.first_rows, numbers, side="right") - 1]
        return weights

    def between(self, start: int, stop: int) -> np.ndarray:
        """Return the weight of each row of a range of the store; float32, shape (stop - start,)."""
        return self.values[np.searchsorted(self.first_rows, np.arange(start, stop), side="right") - 1]


@record
class Slab:
    """Planes of the cube from `first` on, and the numbers, in the store, of the rows flagged as cosmic rays in them."""

    first: int
    result: SlabResult
    cosmic_rays: np.ndarray


@record
class Part:
    """What is made at once: planes `first`...`last` - 1, or a band of them; `among`: see `RowStore.window`."""

    first: int
    last: int
    band: Band | None = None
    among: np.ndarray | None = None

    def choice(self, resampler: SlabResampler) -> Callable[[np.ndarray], np.ndarray] | None:
        """Return what chooses the rows that it needs; None if all are needed."""
        return None if self.band is None else functools.partial(resampler.uses, self.first, self.last, self.band)


def make_part(
    resampler: SlabResampler,
    window: Window,
    part: Part,
    weights: Weights | None,
    select: Callable[[np.ndarray], np.ndarray] | None = None,
    when_sorted: Callable[[], object] | None = None,
    into: SlabResult | None = None,
    run: Callable[[Callable[[np.ndarray], Slab]], Slab] = run_stoppable,
) -> Slab:
    """Make a part of a slab from its rows; parameters as for `SlabSource` and `SlabResampler.slab`; `run` runs it."""

    def make(stop: np.ndarray) -> Slab:
        rows, kept = window.rows, None
        values = None if weights is None else weights.of(window)
        if select is not None:
            kept = np.flatnonzero(select(rows))
            rows, values = rows[kept], None if values is None else values[kept]
        result = resampler.slab(rows, values, part.first, part.last, when_sorted, stop, part.band, into)
        found = result.cosmic_rays if kept is None else kept[result.cosmic_rays]
        return Slab(part.first, result, window.numbers(found))

    return run(make)


def make_slab(resampler: SlabResampler, parts: list[Part], make: Callable[[Part, SlabResult | None], Slab]) -> Slab:
    """Make a slab part by part; `make` gets a part, and where to put it if there are several."""
    first, last = parts[0].first, parts[0].last
    if len(parts) == 1:
        return make(parts[0], None)
    into = resampler.blank_slab(last - first)
    made = [make(part, into) for part in parts]
    if resampler.watch is not None:
        into = dataclasses.replace(into, seen=resampler.watch.join([part.result.seen for part in made]))
    return Slab(first, into, np.sort(np.concatenate([part.cosmic_rays for part in made])))


class SlabSource:
    """Makes the planes of a cube from the rows of the store.

    Attributes
    ----------
    n_rows : int
        Number of rows.

    Parameters
    ----------
    store : RowStore
        Rows.
    resampler : SlabResampler
        Grid and method.
    resources : Resources
        Memory and threads.
    begin, end : int
        Range of rows to use.
    weights : Weights, optional
        Weights of the exposures.
    select : callable, optional
        Returns, for rows, an array of uint8 that is 0 for those to leave out.
    """

    def __init__(
        self,
        store: RowStore,
        resampler: SlabResampler,
        resources: Resources,
        begin: int = 0,
        end: int | None = None,
        weights: Weights | None = None,
        select: Callable[[np.ndarray], np.ndarray] | None = None,
    ):
        self._store, self.resampler = store, resampler
        self._begin, self._end = begin, store.first + store.n_rows if end is None else end
        self.weights, self._select = weights, select
        self.n_rows = self._end - begin
        self._ranges: np.ndarray | None = None
        limits = resources.slab_memory(store.memory_bytes, index_bytes(store.n_rows))
        self._size = self.planner(limits, resources.n_threads).slab()
        self._bands: list[Part] | None = None

    def planner(self, limits: SlabMemory, n_threads: int) -> SlabPlanner:
        """Return what decides on the size of slabs that are made with so much memory, by so many threads."""
        made = self.resampler
        return SlabPlanner(made.grid, made.options, self.n_rows, limits, n_threads, self.spread)

    @property
    def thickness(self) -> int:
        """Number of planes that are made together."""
        return self._size.n_planes

    def shares(self) -> list[float]:
        """Return which part of all weight the rows of each exposure have; empty if they have no weights."""
        if self.weights is None:
            return []
        edges = np.append(self.weights.first_rows, self._end)
        total = np.diff(edges) * self.weights.values.astype(np.float64)
        shares: list[float] = (total / total.sum()).tolist()
        return shares

    def _wavelengths(self, first: int, last: int) -> tuple[float, float]:
        """Return the range of wavelengths of the rows that some planes need."""
        return needed_wavelengths(self.resampler.grid, *self.resampler.input_planes(first, last))

    def resized(self, size: SlabSize) -> "SlabSource":
        """Return a source of slabs of another size."""
        other = copy.copy(self)
        other._size, other._bands = size, None
        return other

    def _rows_of_extents(self) -> np.ndarray:
        """Return the first and last row of the grid of each extent of the store."""
        if self._ranges is None:
            self._ranges = rows_of_extents(self._store.extents(), self.resampler.grid)
        return self._ranges

    def spread(self) -> RowSpread:
        """Return how the rows are spread over the rows of the grid."""
        ranges = self._rows_of_extents()[self._store.extents_between(self._begin, self._end)]
        return RowSpread.of(ranges, np.ones(len(ranges)), self.resampler.grid.ny)  # nearly all have as many rows

    def parts(self, first: int, last: int) -> "list[Part]":
        """Return what of some planes is made at once, one after the other."""
        if self._size.n_bands == 1:
            return [Part(first, last)]
        if self._bands is None:
            low, high = self._rows_of_extents().T
            self._bands = [Part(0, 0, band, (low < band.high) & (high >= band.low)) for band in self._size.bands]
        return [dataclasses.replace(part, first=first, last=last) for part in self._bands]

    def runs(self, part: "Part") -> tuple[np.ndarray, np.ndarray]:
        """Return where the rows lie that a part needs; see `RowStore.runs`."""
        return self._store.runs(*self._wavelengths(part.first, part.last), self._begin, self._end, part.among)

    def _count(self, part: "Part") -> int:
        return self._store.count(*self._wavelengths(part.first, part.last), self._begin, self._end, part.among)

    def _read(self, part: "Part", buffer: np.ndarray, stop: np.ndarray, n_threads: int) -> Window:
        if part.band is not None:  # to choose rows is work, to read them is waiting
            n_threads = self.resampler.n_threads
        return self._store.read_runs(*self.runs(part), buffer, stop, part.choice(self.resampler), n_threads)

    def accepts(self, slab: Slab, first: int) -> bool:
        """Can a slab from elsewhere stand for those that this source makes from plane `first` on?"""
        n_planes, *shape = slab.result.data.shape
        return (
            slab.first == first
            and shape == list(self.resampler.grid.shape[1:])
            and n_planes <= min(self.thickness, self.resampler.grid.nz - first)
        )

    def make(self, part: Part) -> Slab:
        """Make a part alone; of a band, the rest of the planes is whatever it is."""
        window = self._store.read_runs(
            *self.runs(part), choose=part.choice(self.resampler), n_threads=self.resampler.n_threads
        )
        into = None if part.band is None else self.resampler.blank_slab(part.last - part.first)
        return make_part(self.resampler, window, part, self.weights, self._select, into=into)

    def plane(self, number: int) -> SlabResult:
        """Make a single plane, alone: nobody watches."""
        alone = copy.copy(self)
        alone.resampler = copy.copy(self.resampler)
        alone.resampler.watch = None
        (made,) = alone._slabs([(number, number + 1)])
        return made.result

    def __iter__(self) -> Iterator[Slab]:
        """Yield all planes in ascending order; a slab is valid until the next one has been made."""
        return self.from_plane(0)

    def from_plane(self, first: int) -> Iterator[Slab]:
        """Yield the planes from number `first` on."""
        ranges = slab_ranges(self.resampler.grid, self.thickness, first)
        return track(RESAMPLING, self._slabs(ranges), [range(*planes) for planes in ranges])

    def _slabs(self, ranges: list[tuple[int, int]]) -> Iterator[Slab]:
        if not ranges:
            return
        parts = [part for planes in ranges for part in self.parts(*planes)]
        self._store.extents()  # makes its index, before several threads ask for it
        buffer = np.empty(max(map_in_order(self._count, parts, self.resampler.n_threads)), ROW)
        stop = np.zeros(1, np.int32)
        with ThreadPoolExecutor(1) as reader, stoppable_runs() as run:
            following = iter(parts)
            pending: Future[Window]

            def read_next(n_threads: int = 1) -> None:
                nonlocal pending
                part = next(following, None)
                if part is not None:
                    pending = reader.submit(self._read, part, buffer, stop, n_threads)

            def make(part: Part, into: SlabResult | None) -> Slab:
                window = pending.result()
                return make_part(self.resampler, window, part, self.weights, self._select, read_next, into, run)

            try:
                read_next(self.resampler.n_threads)  # there is nothing to do yet but that
                for planes in ranges:
                    yield make_slab(self.resampler, self.parts(*planes), make)
            finally:
                stop[0] = 1


class FlaggedRows:
    """Numbers of the rows that were flagged as cosmic rays; few, so kept in memory, 4 bytes each."""

    def __init__(self) -> None:
        self._blocks: dict[int, list[np.ndarray]] = {}  # by the upper half of the number: the lower halves

    def add(self, numbers: np.ndarray) -> None:
        """Add rows; `numbers` is of int64."""
        numbers = np.sort(numbers)
        upper = numbers >> _HALF
        edges = [0, *(np.flatnonzero(np.diff(upper)) + 1).tolist(), len(numbers)]
        for begin, end in itertools.pairwise(edges):
            if begin < end:
                self._blocks.setdefault(int(upper[begin]), []).append(numbers[begin:end].astype(np.uint32))

    def within(self, start: int, stop: int) -> np.ndarray:
        """Return the flagged rows of a range, counted from its start; int64, ascending."""
        found = [np.empty(0, np.int64)]
        for upper in range(start >> _HALF, (stop >> _HALF) + 1):
            begin = upper << _HALF
            parts = self._blocks.get(upper, [])
            if len(parts) > 1:  # several threads may do so at once, with the same result
                parts = self._blocks[upper] = [np.sort(np.concatenate(parts))]
            for lower in parts:
                first = np.searchsorted(lower, np.uint32(max(start - begin, 0)))
                last = len(lower) if stop - begin >> _HALF else np.searchsorted(lower, np.uint32(stop - begin))
                found.append(lower[first:last] + np.int64(begin - start))
        return np.concatenate(found)

    def __len__(self) -> int:
        return sum(len(part) for parts in self._blocks.values() for part in parts)

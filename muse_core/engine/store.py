# SPDX-License-Identifier: GPL-2.0-or-later
"""The row store: the rows of all exposures of a run, read by ranges or wavelengths; here in memory.

Those in files are in `muse_core.engine.scratch`. All kinds give the same bits.
"""

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

import numpy as np

from muse_core.cython_ext import rows as rows_kernels
from muse_core.engine.threads import map_in_order
from muse_core.errors import Stopped
from muse_core.model.record import record
from muse_core.model.rows import ROW

if TYPE_CHECKING:
    from muse_core.engine.scratch import KeptRows, KeptRowStore

#: Rows of one stretch of the index. Few: a slab reads at most this many rows too many at each end of a run.
_STRETCH_ROWS = 128
#: Stretches, of which wavelengths are known, in one extent, of which positions are. (A slice is narrow, but as long.)
_STRETCHES_IN_EXTENT = 8
#: Memory of the index for each stretch: two wavelengths, and a part of four positions.
_STRETCH_BYTES = 8 + 16 / _STRETCHES_IN_EXTENT
#: Stretches are longer where the index would take more than this: many exposures.
_INDEX_BYTES = 512 << 20
_ALL, _NO_ROWS = np.empty(0, np.uint8), np.empty(0, np.int64)
#: Rows that are read together where only some of them are wanted.
_PIECE_ROWS = 1 << 16


def stretch_rows(n_rows: int) -> int:
    """Return the number of rows of a stretch in the index of so many rows."""
    length = _STRETCH_ROWS
    while n_rows * _STRETCH_BYTES > length * _INDEX_BYTES:
        length *= 2
    return length


def index_bytes(n_rows: int) -> int:
    """Return the memory that the index of so many rows takes."""
    return int(n_rows * _STRETCH_BYTES / stretch_rows(n_rows))


@record(frozen=False)
class RowIndex:
    """Where rows of which wavelengths and positions are, in the order in which they lie.

    Attributes
    ----------
    n_rows : int
        How many rows there are, none missing between them.
    ascends : bool
        Whether wavelengths ascend from stretch to stretch.
    low, high : ndarray of float32
        Range of the wavelengths of each stretch of rows in Angstrom; see `stretch_rows`.
    extents : ndarray of float32, shape (n, 4)
        Lowest and highest xpos, lowest and highest ypos of each group of stretches.
    """

    n_rows: int
    ascends: bool
    low: np.ndarray
    high: np.ndarray
    extents: np.ndarray


@record(frozen=False)
class _WholeIndex:
    """That of all rows, part after part.

    Attributes
    ----------
    first_rows, n_rows : ndarray of int64
        First row and number of rows of each part.
    ascends : ndarray of uint8
        As in `RowIndex`, of each part.
    stretches, groups : ndarray of int64
        Number of the first stretch, and of the first extent, of each part; at the end, of all.
    low, high, extents
        As in `RowIndex`.
    """

    first_rows: np.ndarray
    n_rows: np.ndarray
    ascends: np.ndarray
    stretches: np.ndarray
    groups: np.ndarray
    low: np.ndarray
    high: np.ndarray
    extents: np.ndarray


@record(frozen=False)
class Window:
    """Rows of the store in ascending order, and where they lie.

    Attributes
    ----------
    rows : ndarray of ROW, shape (n,)
        The rows.
    starts : ndarray of int64, shape (n_runs,)
        Number, in the store, of the first row of each contiguous run.
    offsets : ndarray of int64, shape (n_runs,)
        Position of that row in `rows`, or in all rows of which those were chosen.
    chosen : ndarray of uint32 (of uint64 if there are more rows than that counts), shape (n,), optional
        Which of the rows of the runs `rows` are; without, all.
    """

    rows: np.ndarray
    starts: np.ndarray
    offsets: np.ndarray
    chosen: np.ndarray | None = None

    def numbers(self, positions: np.ndarray) -> np.ndarray:
        """Return the numbers in the store of the rows at `positions` of this window."""
        if self.chosen is not None:
            positions = self.chosen[positions].astype(np.int64)
        run = np.searchsorted(self.offsets, positions, side="right") - 1
        numbers: np.ndarray = self.starts[run] + (positions - self.offsets[run])
        return numbers


def words(rows: np.ndarray) -> np.ndarray:
    """Return contiguous rows as an array of uint32, of which copies are faster."""
    return rows.view(np.uint32)


def rows_in(n_rows: int, buffer: np.ndarray | None) -> np.ndarray:
    """Return room for rows: the begin of `buffer` if it is large enough, since fresh memory costs more than a copy."""
    return np.empty(n_rows, ROW) if buffer is None or len(buffer) < n_rows else buffer[:n_rows]


def go_on(stop: np.ndarray | None) -> None:
    """Raise `Stopped` if another thread has set `stop`."""
    if stop is not None and stop[0]:
        raise Stopped("reading of rows was stopped")


class RowStore:
    """Rows in memory.

    Parameters
    ----------
    n_rows : int
        Number of rows.
    first : int
        Number of the first of them.
    final : KeptRowStore, optional
        Where rows go when they are done: this store is a draft of a part of that one.
    """

    def __init__(self, n_rows: int, first: int = 0, final: "KeptRowStore | None" = None):
        self.n_rows, self.first, self._final = n_rows, first, final
        self._stretch_rows: int = stretch_rows(n_rows) if final is None else final._stretch_rows
        self._parts: dict[int, RowIndex] = {}
        self._sorted: _WholeIndex | None = None
        self._allocate()

    @property
    def memory_bytes(self) -> int:
        """Memory that the rows take."""
        return self.n_rows * ROW.itemsize

    def _allocate(self) -> None:
        self._rows = np.empty(self.n_rows, ROW)

    def place(self, start: int, n_rows: int) -> np.ndarray | None:
        """Return the memory of the rows from `start` on, for a caller who makes them there before they are written."""
        return self._rows[start - self.first : start - self.first + n_rows]

    def _put(self, start: int, rows: np.ndarray) -> None:
        kept = self._rows[start - self.first : start - self.first + len(rows)]
        if rows.ctypes.data != kept.ctypes.data:
            words(kept)[:] = words(rows)

    def _get(self, starts: np.ndarray, stops: np.ndarray, out: np.ndarray, stop: np.ndarray | None = None) -> None:
        stop = np.zeros(1, np.int32) if stop is None else stop
        rows_kernels.copy_runs(self._rows, starts - self.first, stops - self.first, out, stop)
        go_on(stop)

    def write(self, start: int, rows: np.ndarray) -> None:
        """Write `rows` from number `start` on, and index them; a range that is written again must be the same range."""
        n_stretches = -(-len(rows) // self._stretch_rows)
        wavelengths = np.empty((n_stretches, 2), np.float32)
        extents = np.empty((-(-n_stretches // _STRETCHES_IN_EXTENT), 4), np.float32)
        extent_rows = self._stretch_rows * _STRETCHES_IN_EXTENT
        rows_kernels.index(np.ascontiguousarray(rows), self._stretch_rows, extent_rows, wavelengths, extents)
        low, high = np.ascontiguousarray(wavelengths.T)
        ascends = all(bool((values[1:] >= values[:-1]).all()) for values in (low, high))
        self._keep(start, rows, RowIndex(len(rows), ascends, low, high, extents))

    def _keep(self, start: int, rows: np.ndarray, part: RowIndex) -> None:
        self._put(start, rows)
        self._parts[start] = part
        self._sorted = None

    def read(self, start: int, stop: int, buffer: np.ndarray | None = None) -> np.ndarray:
        """Return a copy of the rows `start` to `stop`; in `buffer`, an array of ROW, if it is large enough."""
        out = rows_in(stop - start, buffer)
        self._get(np.array([start]), np.array([stop]), out)
        return out

    def lend(self, start: int, stop: int, buffer: np.ndarray | None = None) -> np.ndarray:
        """Return the rows `start` to `stop` themselves where they are in memory; otherwise what `read` returns."""
        rows = self.place(start, stop - start)
        return self.read(start, stop, buffer) if rows is None else rows

    def _index(self) -> _WholeIndex:
        if self._sorted is None:
            keys = sorted(self._parts)
            parts = [self._parts[key] for key in keys]
            stretches = np.cumsum([0, *(len(part.low) for part in parts)])
            groups = np.cumsum([0, *(len(part.extents) for part in parts)])
            whole = []
            for name, edges in (("low", stretches), ("high", stretches), ("extents", groups)):
                values = np.concatenate([getattr(part, name) for part in parts])
                for part, (begin, end) in zip(parts, itertools.pairwise(edges.tolist()), strict=True):
                    setattr(part, name, values[begin:end])  # no second copy of the index
                whole.append(values)
            n_rows = np.array([part.n_rows for part in parts], np.int64)
            ascends = np.array([part.ascends for part in parts], np.uint8)
            self._sorted = _WholeIndex(np.array(keys, np.int64), n_rows, ascends, stretches, groups, *whole)
        return self._sorted

    def extents(self) -> np.ndarray:
        """Return the range of positions of stretches of rows; float32, shape (n, 4): lowest, highest xpos; ypos.

        Those with a NaN have NaN.
        """
        return self._index().extents

    def extents_between(self, begin: int, end: int) -> slice:
        """Return which of the `extents` are those of a range of rows (an exposure)."""
        index = self._index()
        return slice(*index.groups[np.searchsorted(index.first_rows, (begin, end))].tolist())

    def count(
        self, low: float, high: float, begin: int = 0, end: int | None = None, among: np.ndarray | None = None
    ) -> int:
        """Return how many rows `window` would return."""
        return self._find(low, high, begin, end, among, _NO_ROWS, _NO_ROWS)[1]

    def runs(
        self, low: float, high: float, begin: int = 0, end: int | None = None, among: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return first and last + 1 number of each run of the rows of which `window` returns some or all."""
        n_runs, _ = self._find(low, high, begin, end, among, _NO_ROWS, _NO_ROWS)
        starts, stops = np.empty((2, n_runs), np.int64)
        self._find(low, high, begin, end, among, starts, stops)
        return starts, stops

    def _find(
        self,
        low: float,
        high: float,
        begin: int,
        end: int | None,
        among: np.ndarray | None,
        starts: np.ndarray,
        stops: np.ndarray,
    ) -> tuple[int, int]:
        """Return how many runs and rows there are; write as many runs as there is room for."""
        index = self._index()
        end = self.first + self.n_rows if end is None else end
        first, last = np.searchsorted(index.first_rows, (begin, end)).tolist()
        stretches = slice(*index.stretches[[first, last]])
        return rows_kernels.find_runs(
            index.first_rows[first:last],
            index.n_rows[first:last],
            index.ascends[first:last],
            index.low[stretches],
            index.high[stretches],
            self._stretch_rows,
            _ALL if among is None else among[self.extents_between(begin, end)].view(np.uint8),
            _STRETCHES_IN_EXTENT,
            low,
            high,
            starts,
            stops,
        )

    def window(
        self,
        low: float,
        high: float,
        begin: int = 0,
        end: int | None = None,
        buffer: np.ndarray | None = None,
        stop: np.ndarray | None = None,
        among: np.ndarray | None = None,
        choose: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> Window:
        """Return the rows with wavelengths from `low` to `high`, in order; some beyond both ends come along.

        Parameters
        ----------
        low, high : float
            Wavelengths in Angstrom.
        begin, end : int
            Range of rows to look at (an exposure); must be limits of ranges that have been written.
        buffer : ndarray of ROW, optional
            Where to put the rows, if it is large enough.
        stop : ndarray of int32, shape (1,), optional
            Another thread that sets it ends the reading.
        among : ndarray of bool, shape (n,), optional
            Which of the `extents` to look at; default: all.
        choose : callable, optional
            Returns, for rows, an array of bool: which of them to return. Memory is taken for these only. Several
            threads may call it at once.

        Raises
        ------
        Stopped
            `stop` was set.
        """
        return self.read_runs(*self.runs(low, high, begin, end, among), buffer, stop, choose)

    def read_runs(
        self,
        starts: np.ndarray,
        stops: np.ndarray,
        buffer: np.ndarray | None = None,
        stop: np.ndarray | None = None,
        choose: Callable[[np.ndarray], np.ndarray] | None = None,
        n_threads: int = 1,
    ) -> Window:
        """Return the rows of runs, see `runs`; read by `n_threads`; the others as for `window`."""
        offsets = np.concatenate([[0], np.cumsum(stops - starts)])
        rows = rows_in(int(offsets[-1]), buffer)
        if choose is not None:
            chosen = self._choose(starts, stops, offsets, rows, choose, stop, n_threads)
            return Window(rows[: len(chosen)], starts, offsets[:-1], chosen)

        def read(share: tuple[int, int]) -> None:
            first, last = share
            self._get(starts[first:last], stops[first:last], rows[offsets[first] : offsets[last]], stop)

        edges = np.searchsorted(offsets, np.linspace(0, offsets[-1], n_threads + 1)).tolist()
        for _ in map_in_order(read, itertools.pairwise(edges), n_threads):
            pass
        return Window(rows, starts, offsets[:-1])

    def _choose(
        self,
        starts: np.ndarray,
        stops: np.ndarray,
        offsets: np.ndarray,
        out: np.ndarray,
        choose: Callable[[np.ndarray], np.ndarray],
        stop: np.ndarray | None,
        n_threads: int,
    ) -> np.ndarray:
        """Read runs piece by piece; put the rows that `choose` wants into `out`, return which of all they are."""
        total, n_chosen = int(offsets[-1]), 0
        kind = np.uint64 if total >> 32 else np.uint32

        def choose_of(begin: int) -> tuple[np.ndarray, np.ndarray]:
            end = min(begin + _PIECE_ROWS, total)
            first, last = np.searchsorted(offsets, begin, "right") - 1, np.searchsorted(offsets, end)
            low, high = starts[first:last].copy(), stops[first:last].copy()
            low[0] += begin - offsets[first]
            high[-1] -= offsets[last] - end
            rows = np.empty(end - begin, ROW)
            self._get(low, high, rows, stop)
            kept, found = np.empty(len(rows), ROW), np.empty(len(rows), np.uint32)
            n_kept = rows_kernels.compress(rows, choose(rows).view(np.uint8), kept, found)
            return found[:n_kept] + kind(begin), kept[:n_kept]

        numbers: list[np.ndarray] = [np.empty(0, kind)]
        for found, kept in map_in_order(choose_of, range(0, total, _PIECE_ROWS), n_threads):
            words(out[n_chosen : n_chosen + len(found)])[:] = words(kept)
            numbers.append(found)
            n_chosen += len(found)
        return np.concatenate(numbers)

    def checkpoint(self, begin: int, end: int) -> "dict[int, KeptRows]":
        """Put the rows of a range, which are done, where they are to stay; return what `restore` needs to find them."""
        assert self._final is not None
        longest = 0 if self.memory_bytes else max((part.n_rows for part in self._parts.values()), default=0)
        buffer = np.empty(longest, ROW)
        for start, part in self._parts.items():
            if begin <= start < end:
                rows = self.place(start, part.n_rows)
                if rows is None:
                    rows = self.read(start, start + part.n_rows, buffer)
                self._final._keep(start, rows, part)
        return self._final.checkpoint(begin, end)

    def restore(self, parts: "dict[int, KeptRows]") -> None:
        """Find the rows again that an earlier store has left where they are to stay; errors as there."""
        assert self._final is not None
        self._final.restore(parts)

    def close(self) -> None:
        """Give the memory or the scratch file back."""
        self._rows = np.empty(0, ROW)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, value: object, traceback: object) -> None:
        self.close()

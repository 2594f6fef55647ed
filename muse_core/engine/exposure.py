# SPDX-License-Identifier: GPL-2.0-or-later
"""The files of an exposure, read in chunks of whole slices, and the passes over the rows of an exposure.

A chunk is the unit of work of a thread, and what a signal waits for: it is bounded, so slices are cut where a file is
not grouped by slice (MUSE's are). Chunks depend on the files alone, so results do not depend on the threads.
"""

import dataclasses
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Self, TypeVar

import numpy as np

from muse_core.cython_ext import columns as columns_kernels
from muse_core.cython_ext import rows as rows_kernels
from muse_core.engine.progress import track
from muse_core.engine.store import RowStore, rows_in
from muse_core.engine.threads import map_in_order
from muse_core.errors import DataError, InputError
from muse_core.io.pixtable import PixelTableFile
from muse_core.model import origin
from muse_core.model.header import PIXTABLE, get_int
from muse_core.model.record import record
from muse_core.model.rows import COLUMNS, ROW

T = TypeVar("T")
#: Neither a position nor a wavelength.
_ABSURD = 1e12
_FLT_MAX = float(np.finfo(np.float32).max)
#: What limits of rows are made of.
POSITION_COLUMNS = ("xpos", "ypos", "lambda", "origin")
#: Aimed-at number of rows of a chunk: 7 MB, so that they stay in the cache from step to step.
CHUNK_ROWS = 1 << 18
#: No chunk has more. The detector is 4112 pixels high, and a slice 90 wide at most.
LONGEST_CHUNK = 2 * CHUNK_ROWS
#: Rows of which the slices are looked at together.
_LOOKED_AT = 1 << 16
#: Names of the passes over the rows of an exposure.
LOADING, LOOKING, CHANGING = "reading rows", "looking at rows", "changing rows"


@record(frozen=False)
class RowLimits:
    """Extent of rows: positions and wavelength (float32 values), IFUs and slices."""

    extent: np.ndarray = dataclasses.field(default_factory=lambda: np.array([_FLT_MAX, -_FLT_MAX] * 3))
    ifu: tuple[int, int] = (origin.IFU_MASK, 0)
    slice: tuple[int, int] = (origin.SLICE_MASK, 0)

    @classmethod
    def of(cls, rows: np.ndarray) -> "RowLimits":
        """RowLimits of `rows`."""
        made = cls()
        present = np.zeros(origin.SLICE_KEY_MASK + 1, np.uint8)
        rows_kernels.limits(rows, made.extent, present)
        keys = np.flatnonzero(present)
        if len(keys):
            slices = origin.slice_of(keys)
            made.ifu = (int(origin.ifu_of(keys[0])), int(origin.ifu_of(keys[-1])))
            made.slice = (int(slices.min()), int(slices.max()))
        return made

    def require_finite(self, where: str) -> None:
        """Check that no position or wavelength is infinite, and that there are some that are not NaN.

        Raises
        ------
        DataError
            One is.
        """
        names = np.repeat(["xpos", "ypos", "lambda"], 2)
        for name, low, high in zip(names[::2], self.extent[::2], self.extent[1::2], strict=True):
            if low > high:
                raise DataError(f"{where}: column {name}: found NaN only, expected finite numbers")
        for name, value in zip(names, self.extent, strict=True):
            if np.isinf(value):
                raise DataError(f"{where}: column {name}: found {value}, expected finite numbers")
            if abs(value) > _ABSURD:
                raise DataError(f"{where}: column {name}: found {value:g}, expected finite numbers below {_ABSURD:g}")

    def require_origin(self, where: str) -> None:
        """Check that all rows are of an IFU and a slice.

        Raises
        ------
        DataError
            One is not.
        """
        for name, found, last in (("IFU", self.ifu, origin.N_IFU), ("slice", self.slice, origin.N_SLICE)):
            for number in found:
                if not 1 <= number <= last:
                    raise DataError(f"{where}: column origin: found {name} {number}, expected 1 to {last}")

    def include(self, other: "RowLimits") -> None:
        """Extend to the limits of further rows."""
        self.extent[0::2] = np.minimum(self.extent[0::2], other.extent[0::2])
        self.extent[1::2] = np.maximum(self.extent[1::2], other.extent[1::2])
        self.ifu = (min(self.ifu[0], other.ifu[0]), max(self.ifu[1], other.ifu[1]))
        self.slice = (min(self.slice[0], other.slice[0]), max(self.slice[1], other.slice[1]))


@record
class Chunk:
    """Whole slices of one file; parts of them if it is not grouped by slice.

    Attributes
    ----------
    part : int
        Number of the file in the exposure.
    file_start, file_stop : int
        Range of rows in the file.
    start, stop : int
        Where those that are kept lie in the store, relative to the exposure's begin there.
    row : int
        Number of the first of them in the pixel table of the exposure: `start` less the rows that were dropped since.
    """

    part: int
    file_start: int
    file_stop: int
    start: int
    stop: int
    row: int

    def __len__(self) -> int:
        return self.stop - self.start


class _Buffers(threading.local):
    """Memory for one chunk in each thread of a pass."""

    def __init__(self, longest: int):
        self.rows = np.empty(longest, ROW)

    @classmethod
    def for_chunks(cls, lengths: Iterable[int]) -> "_Buffers":
        return cls(max(lengths, default=0))


class ExposureRows:
    """The rows of an exposure on disk, cut in wavelength.

    Parameters
    ----------
    files : sequence of PixelTableFile
        Files in the order of the merged table.
    lambda_range : tuple of float
        Rows outside of it (compared as float32, both ends included) are left out.
    cut : sequence of bool
        For each file: can it have rows outside of the range?
    n_threads : int
        Threads.
    """

    def __init__(
        self,
        files: Sequence[PixelTableFile],
        lambda_range: tuple[float, float],
        cut: Sequence[bool],
        n_threads: int,
    ):
        self.files = files
        self._range = tuple(np.float32(x) for x in lambda_range)
        self._cut, self._n_threads = cut, n_threads
        try:
            found = list(map_in_order(self._scan, range(len(files)), n_threads))
        finally:
            self.close()
        self.chunks: list[Chunk] = []
        start = 0
        for part, (edges, kept, _) in enumerate(found):
            for a, b, n in zip(edges[:-1], edges[1:], kept, strict=True):
                self.chunks.append(Chunk(part, int(a), int(b), start, start + int(n), start))
                start += int(n)
        self.n_rows = start
        #: Are the rows of each file grouped by ascending slice?
        self.grouped = all(grouped for _, _, grouped in found)
        self._choice: Callable[[np.ndarray], np.ndarray] | None = None

    def choose(self, choice: Callable[[np.ndarray], np.ndarray]) -> None:
        """Leave out further rows from now on: all for which a function of rows, as they are in the files, is False.

        Raises
        ------
        DataError
            None is left.
        """
        self._choice = choice
        buffers = _Buffers.for_chunks(chunk.file_stop - chunk.file_start for chunk in self.chunks)
        with self:
            counts = list(map_in_order(lambda chunk: len(self.load(chunk, buffers.rows)), self.chunks, self._n_threads))
        if not sum(counts):
            raise DataError(f"{self.files[0].path} ...: found no rows of those that are asked for, expected some")
        edges = np.cumsum([0, *counts]).tolist()
        self.chunks = [
            dataclasses.replace(chunk, start=a, stop=b, row=a)
            for chunk, a, b in zip(self.chunks, edges[:-1], edges[1:], strict=True)
            if b > a
        ]
        self.n_rows = edges[-1]

    @property
    def is_cut(self) -> bool:
        """Can a file have rows outside of the range?"""
        return any(self._cut) or self._choice is not None

    def _scan(self, part: int) -> tuple[np.ndarray, list[int], bool]:
        """Find the edges of the chunks of a file, and how many rows each keeps."""
        file = self.files[part]
        exposures = _exposure_edges(file)
        found = [_chunk_edges(file, a, b) for a, b in zip(exposures[:-1], exposures[1:], strict=True)]
        edges = np.array(sorted({edge for edges, _ in found for edge in edges.tolist()}))
        grouped = len(found) == 1 and found[0][1]
        if not self._cut[part]:
            return edges, list(np.diff(edges)), grouped
        kept = [
            int(np.count_nonzero(self._inside(file.column("lambda", a, b))))
            for a, b in zip(edges[:-1], edges[1:], strict=True)
        ]
        if not sum(kept):
            low, high = self._range
            raise DataError(f"{file.path}: found no rows with wavelengths from {low:g} to {high:g} Angstrom")
        return edges, kept, grouped

    def _inside(self, lbda: np.ndarray) -> np.ndarray:
        low, high = self._range
        return ~((lbda < low) | (lbda > high))  # NaN stays

    def load(self, chunk: Chunk, buffer: np.ndarray | None = None, columns: Sequence[str] = COLUMNS) -> np.ndarray:
        """Return the rows of a chunk, in `buffer` if it is large enough; only `columns` are read."""
        out = rows_in(chunk.file_stop - chunk.file_start, buffer)
        columns = columns if self._choice is None else COLUMNS
        rows = self.files[chunk.part].read(chunk.file_start, chunk.file_stop, out, columns)
        if self._cut[chunk.part]:
            rows = rows[self._inside(rows["lbda"])]
        return rows if self._choice is None else rows[self._choice(rows)]

    def limits(self, select: Callable[[np.ndarray], np.ndarray] | None = None) -> RowLimits:
        """Return the limits of the rows, as they are in the files; of those that `select` leaves."""
        buffers = _Buffers.for_chunks(chunk.file_stop - chunk.file_start for chunk in self.chunks)
        limits = RowLimits()

        def look(chunk: Chunk) -> RowLimits:
            rows = self.load(chunk, buffers.rows, POSITION_COLUMNS)
            return RowLimits.of(rows if select is None else select(rows))

        for found in track("looking at positions", map_in_order(look, self.chunks, self._n_threads), self.chunks):
            limits.include(found)
        return limits

    def exposure_edges(self) -> list[int]:
        """Return the first of the rows kept of each exposure of a combined table, and their number."""
        starts = {chunk.file_start: chunk.start for chunk in self.chunks if chunk.part == 0}
        return [*(starts[edge] for edge in _exposure_edges(self.files[0])[:-1]), self.n_rows]

    def weights(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the weights of the exposures of a combined table, if it has any.

        Returns
        -------
        first_rows : ndarray of int64
            Numbers of the rows, of those kept, from which on a weight holds.
        values : ndarray of float32
            The weights.

        Raises
        ------
        InputError
            There are different weights in what is one exposure after the header.
        """
        if not self.files[0].has_weight:
            return None
        values = []
        for chunk in self.chunks:
            file = self.files[chunk.part]
            found = file.column("weight", chunk.file_start, chunk.file_stop)
            if (found != found[0]).any():
                raise InputError(
                    f"{file.path}: column weight: found {found.min():g} to {found.max():g} in rows {chunk.file_start} "
                    f"to {chunk.file_stop - 1}, expected one weight for each exposure in the header ({PIXTABLE}EXPn)"
                )
            values.append(found[0])
        self.close()
        return np.array([chunk.start for chunk in self.chunks]), np.array(values, np.float32)

    def close(self) -> None:
        """Close the files until rows are read again; many exposures have more files than a process may open."""
        for file in self.files:
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, value: object, traceback: object) -> None:
        self.close()


def _exposure_edges(file: PixelTableFile) -> list[int]:
    """Return the first rows of the exposures of a combined table and its length, as far as its header has them all."""
    edges = [0]
    while (last := get_int(file.header, f"{PIXTABLE}EXP{len(edges)} LAST")) is not None:
        if get_int(file.header, f"{PIXTABLE}EXP{len(edges)} FIRST") != edges[-1] or not edges[-1] <= last < file.n_rows:
            break
        edges.append(int(last) + 1)
    return edges if edges[-1] == file.n_rows else [0, file.n_rows]


def _slice_changes(file: PixelTableFile, begin: int, end: int) -> list[int] | None:
    """Return the rows with which a slice begins, but for the first; None if rows are not grouped by ascending slice."""
    found = np.empty(origin.SLICE_KEY_MASK + 1, np.int64)
    changes, last = [], -1
    for a in range(begin, end, _LOOKED_AT):
        b = min(a + _LOOKED_AT, end)
        raw, stride = file.raw_column("origin", a, b)
        n, last = columns_kernels.find_changes(raw, stride, b - a, origin.SLICE_KEY_MASK, last, found)
        if n < 0:
            return None
        changes.extend((found[:n] + a).tolist())
    return changes


def _chunk_edges(file: PixelTableFile, begin: int, end: int) -> tuple[np.ndarray, bool]:
    """Cut a range of rows into chunks of whole slices, or into equal ones if rows are not grouped by slice."""
    changes = _slice_changes(file, begin, end)
    if end - begin <= CHUNK_ROWS:
        return np.array([begin, end]), changes is not None
    if changes is None:
        return _equal_edges(begin, end), False
    edges, previous = [begin], begin
    for position in [*changes, end]:
        if position - edges[-1] > CHUNK_ROWS and previous > edges[-1]:
            edges.append(previous)
        previous = position
    edges.append(end)
    if max(np.diff(edges)) > LONGEST_CHUNK:  # no slice of MUSE
        return _equal_edges(begin, end), False
    return np.array(edges), True


def _equal_edges(begin: int, end: int) -> np.ndarray:
    return np.array([*range(begin, end, CHUNK_ROWS), end])


@record
class StoredExposure:
    """Where the rows of one or several exposures are in the store.

    Attributes
    ----------
    begin, end : int
        Range of the store; there may be gaps in it where rows were dropped.
    chunks : list of Chunk
        The rows.
    grouped : bool
        No slice is in two chunks.
    """

    begin: int
    end: int
    chunks: list[Chunk]
    grouped: bool = True

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return sum(len(chunk) for chunk in self.chunks)

    def without(self, dropped: Sequence[int]) -> "StoredExposure":
        """Return the exposure after so many rows of each chunk are dropped."""
        chunks, row = [], 0
        for chunk, n in zip(self.chunks, dropped, strict=True):
            chunks.append(dataclasses.replace(chunk, stop=chunk.stop - n, row=row))
            row += len(chunks[-1])
        return dataclasses.replace(self, chunks=chunks)

    def count_within(self, numbers: np.ndarray) -> list[int]:
        """Return how many of the sorted row `numbers` (in the store) each chunk has."""
        edges = [self.begin + edge for chunk in self.chunks for edge in (chunk.start, chunk.stop)]
        found = np.searchsorted(numbers, edges)
        counts: list[int] = (found[1::2] - found[0::2]).tolist()
        return counts


def load_pass(
    source: ExposureRows,
    store: RowStore | None,
    begin: int,
    step: Callable[[np.ndarray, Chunk], tuple[np.ndarray, T]],
    n_threads: int,
) -> Iterator[T]:
    """Read an exposure, change its rows chunk by chunk, and put them into the store.

    Parameters
    ----------
    source : ExposureRows
        The exposure.
    store : RowStore, optional
        Where to put the rows; None if they are not kept.
    begin : int
        Number, in the store, of the first of them.
    step : callable
        Gets the rows of a chunk; returns the rows that are left of them, and a result.
    n_threads : int
        Threads.

    Yields
    ------
    object
        The results, in the order of the chunks.
    """
    buffers = _Buffers.for_chunks(chunk.file_stop - chunk.file_start for chunk in source.chunks)

    def work(chunk: Chunk) -> T:
        place = None if store is None else store.place(begin + chunk.start, len(chunk))
        rows, result = step(source.load(chunk, buffers.rows if place is None else place), chunk)
        if store is not None:
            store.write(begin + chunk.start, rows)
        return result

    return track(LOADING, map_in_order(work, source.chunks, n_threads), source.chunks)


def read_pass(
    stored: StoredExposure, store: RowStore, step: Callable[[np.ndarray, Chunk], T], n_threads: int
) -> Iterator[T]:
    """Go over the rows of a stored exposure, and yield what `step` returns for each chunk, in order.

    The rows that `step` gets are valid until it returns; it cannot change them.
    """
    buffers = _Buffers.for_chunks(map(len, stored.chunks))

    def work(chunk: Chunk) -> T:
        rows = store.lend(stored.begin + chunk.start, stored.begin + chunk.stop, buffers.rows).view()
        rows.flags.writeable = False
        return step(rows, chunk)

    return track(LOOKING, map_in_order(work, stored.chunks, n_threads), stored.chunks)


def write_pass(
    stored: StoredExposure,
    final: StoredExposure,
    store: RowStore,
    step: Callable[[np.ndarray, Chunk], tuple[np.ndarray, T]],
    n_threads: int,
) -> list[T]:
    """Go over the rows of a stored exposure and put them back changed.

    Parameters
    ----------
    stored, final : StoredExposure
        The exposure before and after (`StoredExposure.without`).
    store : RowStore
        Its rows.
    step : callable
        Gets the rows of a chunk, which it may change, and what will be left of the chunk; returns the rows that are
        left, and a result. If it fails, these rows are lost.
    n_threads : int
        Threads.

    Returns
    -------
    list
        The results, in the order of the chunks.
    """

    buffers = _Buffers.for_chunks(map(len, stored.chunks))

    def work(chunks: tuple[Chunk, Chunk]) -> T:
        old, new = chunks
        rows, result = step(store.lend(stored.begin + old.start, stored.begin + old.stop, buffers.rows), new)
        if len(rows) != len(new):
            raise DataError(f"{len(rows)} rows of a chunk are left, expected {len(new)}")
        store.write(final.begin + new.start, rows)
        return result

    chunks = zip(stored.chunks, final.chunks, strict=True)
    return list(track(CHANGING, map_in_order(work, chunks, n_threads), stored.chunks))

# SPDX-License-Identifier: GPL-2.0-or-later
"""The row store: the rows of all exposures of a run, in memory or in a scratch file, read by ranges or wavelengths.

All kinds give the same bits. The scratch file has no name (the system removes it however the run ends), unless it is
to outlive the run. It is read and written with explicit calls, so that it costs page cache, which the system takes back
when it needs to, but no memory of ours.
"""

import contextlib
import dataclasses
import errno
import itertools
import os
import tempfile
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np

from muse_core.cython_ext import files as files_kernels
from muse_core.cython_ext import rows as rows_kernels
from muse_core.engine.threads import map_in_order
from muse_core.errors import DataError, ResourceError, Stopped
from muse_core.io.files import describe_os_error, write_all
from muse_core.io.private import PrivateFolder
from muse_core.model.rows import ROW

#: Rows of one entry of the wavelength index. Small: a slab reads at most this many rows too many at each end of a run.
INDEX_ROWS = 128
#: Rows of which the range of positions is known: a few entries. (A slice is narrow, but an entry as long as the slice.)
EXTENT_ROWS = 8 * INDEX_ROWS
#: Memory of the index for each row: an entry has 24 bytes, an extent 16.
INDEX_BYTES = 24 / INDEX_ROWS + 16 / EXTENT_ROWS


#: Rows that lie together in one of several files.
_STRETCH = 1 << 16
#: Rows that are read together where only some of them are wanted.
_PIECE_ROWS = 1 << 17


@dataclasses.dataclass(slots=True)
class _Index:
    """Where rows are, in their order.

    Attributes
    ----------
    start, stop : ndarray of int64
        Stretches of up to `INDEX_ROWS` rows.
    low, high : ndarray of float32
        Range of their wavelengths in Angstrom.
    extents : ndarray of float32, shape (n, 4)
        Lowest and highest xpos, lowest and highest ypos of stretches of up to `EXTENT_ROWS` rows.
    """

    start: np.ndarray
    stop: np.ndarray
    low: np.ndarray
    high: np.ndarray
    extents: np.ndarray


@dataclasses.dataclass(slots=True)
class _WholeIndex(_Index):
    """That of all rows; with the numbers of the first stretch, and of the first extent, of each part."""

    first_stretches: np.ndarray
    first_extents: np.ndarray

    def extent_of(self, stretches: np.ndarray) -> np.ndarray:
        """Return the number of the extent to which each stretch belongs."""
        part = np.searchsorted(self.first_stretches, stretches, side="right") - 1
        within = stretches - self.first_stretches[part]
        found: np.ndarray = self.first_extents[part] + within // (EXTENT_ROWS // INDEX_ROWS)
        return found


@dataclasses.dataclass(slots=True)
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


def _go_on(stop: np.ndarray | None) -> None:
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
        self._parts: dict[int, _Index] = {}
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
        at = 0
        for start, end in zip((starts - self.first).tolist(), (stops - self.first).tolist(), strict=True):
            _go_on(stop)
            words(out[at : at + end - start])[:] = words(self._rows[start:end])
            at += end - start

    def write(self, start: int, rows: np.ndarray) -> None:
        """Write `rows` from number `start` on, and index them; a range that is written again must be the same range."""
        edges = np.arange(0, len(rows), INDEX_ROWS)
        wavelengths = np.empty((len(edges), 2), np.float32)
        extents = np.empty((-(-len(rows) // EXTENT_ROWS), 4), np.float32)
        rows_kernels.index(np.ascontiguousarray(rows), INDEX_ROWS, EXTENT_ROWS, wavelengths, extents)
        low, high = np.ascontiguousarray(wavelengths.T)
        stop = start + np.minimum(edges + INDEX_ROWS, len(rows))
        self._keep(start, rows, _Index(start + edges, stop, low, high, extents))

    def _keep(self, start: int, rows: np.ndarray, part: _Index) -> None:
        self._put(start, rows)
        self._parts[start] = part
        self._sorted = None

    def read(self, start: int, stop: int, buffer: np.ndarray | None = None) -> np.ndarray:
        """Return a copy of the rows `start` to `stop`; in `buffer`, an array of ROW, if it is large enough."""
        out = rows_in(stop - start, buffer)
        self._get(np.array([start]), np.array([stop]), out)
        return out

    def _index(self) -> _WholeIndex:
        if self._sorted is None:
            keys = sorted(self._parts)
            parts = [self._parts[key] for key in keys]
            names = [field.name for field in dataclasses.fields(_Index)]
            start, stop, low, high, extents = (
                np.concatenate([getattr(part, name) for part in parts]) for name in names
            )
            edges, groups = (
                np.cumsum([0, *(len(getattr(part, name)) for part in parts)]) for name in ("start", "extents")
            )
            for i, key in enumerate(keys):  # no second copy of the index
                a, b = edges[i : i + 2]
                around = extents[groups[i] : groups[i + 1]]
                self._parts[key] = _Index(start[a:b], stop[a:b], low[a:b], high[a:b], around)
            self._sorted = _WholeIndex(start, stop, low, high, extents, edges[:-1], groups[:-1])
        return self._sorted

    def extents(self) -> np.ndarray:
        """Return the range of positions of stretches of rows; float32, shape (n, 4): lowest, highest xpos; ypos.

        Those with a NaN have NaN.
        """
        return self._index().extents

    def count(
        self, low: float, high: float, begin: int = 0, end: int | None = None, among: np.ndarray | None = None
    ) -> int:
        """Return how many rows `window` would return."""
        starts, stops = self.runs(low, high, begin, end, among)
        return int((stops - starts).sum())

    def runs(
        self, low: float, high: float, begin: int = 0, end: int | None = None, among: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return first and last + 1 number of each run of the rows of which `window` returns some or all."""
        index = self._index()
        end = self.first + self.n_rows if end is None else end
        # not (high < low) instead of <=: stretches with NaN wavelengths belong to every window
        chosen = np.flatnonzero(
            ~((index.high < low) | (index.low > high)) & (index.start >= begin) & (index.stop <= end)
        )
        if among is not None:
            chosen = chosen[among[index.extent_of(chosen)]]
        if not len(chosen):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        starts, stops = index.start[chosen], index.stop[chosen]
        breaks = np.flatnonzero(starts[1:] != stops[:-1])
        return starts[np.r_[0, breaks + 1]], stops[np.r_[breaks, len(chosen) - 1]]

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
            Returns, for rows, an array of bool: which of them to return. Memory is taken for these only.

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
        """Return the rows of runs, see `runs`; by `n_threads` unless `choose` is given; the others as for `window`."""
        offsets = np.concatenate([[0], np.cumsum(stops - starts)])
        rows = rows_in(int(offsets[-1]), buffer)
        if choose is not None:
            chosen = self._choose(starts, stops, rows, choose, stop)
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
        out: np.ndarray,
        choose: Callable[[np.ndarray], np.ndarray],
        stop: np.ndarray | None,
    ) -> np.ndarray:
        """Read runs piece by piece; put the rows that `choose` wants into `out`, return which of all they are."""
        kind = np.min_scalar_type(max(int((stops - starts).sum()), 1 << 16))
        numbers = [np.empty(0, kind)]
        piece, filled, begin, n_chosen = np.empty(_PIECE_ROWS, ROW), 0, 0, 0
        width = ROW.itemsize // words(piece).itemsize

        def take() -> int:
            found = np.flatnonzero(choose(piece[:filled]))
            kept = out[n_chosen : n_chosen + len(found)]
            np.take(words(piece).reshape(-1, width), found, axis=0, out=words(kept).reshape(-1, width))
            numbers.append((begin + found).astype(kind))
            return len(found)

        for start, end in zip(starts.tolist(), stops.tolist(), strict=True):
            while start < end:
                n = min(end - start, len(piece) - filled)
                self._get(np.array([start]), np.array([start + n]), piece[filled : filled + n], stop)
                start, filled = start + n, filled + n
                if filled == len(piece):
                    n_chosen += take()
                    begin, filled = begin + filled, 0
        n_chosen += take()
        return np.concatenate(numbers)

    def checkpoint(self, begin: int, end: int) -> "dict[int, KeptRows]":
        """Put the rows of a range, which are done, where they are to stay; return what `restore` needs to find them."""
        assert self._final is not None
        longest = 0 if self.memory_bytes else max(map(_length, self._parts.values()), default=0)
        buffer = np.empty(longest, ROW)
        for start, part in self._parts.items():
            if begin <= start < end:
                rows = self.place(start, _length(part))
                if rows is None:
                    rows = self.read(start, start + _length(part), buffer)
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


class ScratchRowStore(RowStore):
    """Rows in files without a name in `directory`.

    A file takes one writer at a time. So stretches of rows are dealt out to several: threads that write chunks side by
    side seldom meet.

    Parameters
    ----------
    n_rows : int
        Number of rows.
    directory : Path
        Folder of the file.
    first, final
        As for `RowStore`.

    Raises
    ------
    ResourceError
        The folder cannot be used or has no space left.
    """

    #: Name of the files in messages, and what to look at if they cannot be made.
    NAME, _HINT = "scratch", "; see MUSE_SCRATCH"
    _N_FILES = 8

    def __init__(self, n_rows: int, directory: Path, first: int = 0, final: "KeptRowStore | None" = None):
        self._directory, self._path = directory, directory / self.NAME
        super().__init__(n_rows, first, final)

    @property
    def memory_bytes(self) -> int:
        """None: a file is in the page cache."""
        return 0

    def _open(self) -> list[BinaryIO]:
        stretches = -(-self.n_rows // _STRETCH)
        return [
            tempfile.TemporaryFile(dir=self._directory, buffering=0)
            for _ in range(max(1, min(self._N_FILES, stretches)))
        ]

    def _allocate(self) -> None:
        self._files: list[BinaryIO] = []
        try:
            self._files = self._open()
            if self._needs_space:
                for number, file in enumerate(self._files):
                    os.posix_fallocate(file.fileno(), 0, max(self._rows_of(number), 1) * ROW.itemsize)
        except OSError as error:
            self.close()
            message = describe_os_error(error, self._path, self.n_rows * ROW.itemsize)
            raise ResourceError(message + self._HINT) from error

    def _rows_of(self, number: int) -> int:
        """Return how many rows a file has."""
        rounds, rest = divmod(self.n_rows, _STRETCH * len(self._files))
        return rounds * _STRETCH + min(max(rest - number * _STRETCH, 0), _STRETCH)

    def _pieces(self, starts: np.ndarray, stops: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return where ranges of rows are, in pieces: descriptor of the file, position there, number of rows."""
        descriptors = np.array([file.fileno() for file in self._files], np.intc)
        begin, end = starts - self.first, stops - self.first
        stretch = _STRETCH if len(self._files) > 1 else max(self.n_rows, 1)
        first = begin // stretch
        counts = (end - 1) // stretch - first + 1
        run = np.repeat(np.arange(len(counts)), counts)
        number = first[run] + np.arange(len(run)) - np.repeat(np.cumsum(counts) - counts, counts)
        turn, file = np.divmod(number, len(descriptors))
        a, b = np.maximum(begin[run], number * stretch), np.minimum(end[run], (number + 1) * stretch)
        return descriptors[file], (a + (turn - number) * stretch) * ROW.itemsize, b - a

    @property
    def _needs_space(self) -> bool:
        return self.n_rows > 0

    def place(self, start: int, n_rows: int) -> np.ndarray | None:
        """Return None: the rows are not in memory."""
        return None

    def _put(self, start: int, rows: np.ndarray) -> None:
        pieces = self._pieces(np.array([start]), np.array([start + len(rows)]))
        done = 0
        try:
            for descriptor, position, n in zip(*(values.tolist() for values in pieces), strict=True):
                write_all(descriptor, np.ascontiguousarray(rows[done : done + n]), position)
                done += n
        except OSError as error:
            raise ResourceError(describe_os_error(error, self._path)) from error

    def _get(self, starts: np.ndarray, stops: np.ndarray, out: np.ndarray, stop: np.ndarray | None = None) -> None:
        descriptors, positions, n_rows = self._pieces(starts, stops)
        stop = np.zeros(1, np.int32) if stop is None else stop
        status = files_kernels.read_pieces(descriptors, positions, n_rows * ROW.itemsize, out.view(np.uint8), stop)
        _go_on(stop)
        if status:
            text = "it ends too early" if status == files_kernels.TOO_SHORT else os.strerror(status)
            error = OSError(errno.EIO if status == files_kernels.TOO_SHORT else status, text)
            raise ResourceError(describe_os_error(error, self._path))

    def close(self) -> None:
        """Close the files; they are gone then."""

        def close(file: BinaryIO) -> None:
            with contextlib.suppress(OSError):  # it is of no use any more
                file.close()

        with ThreadPoolExecutor(max(len(self._files), 1)) as pool:  # the system takes 0.1 s to forget a gigabyte
            list(pool.map(close, self._files))


@dataclasses.dataclass(slots=True)
class KeptRows:
    """Rows in the file of a `KeptRowStore`: those of one call of `write`.

    Attributes
    ----------
    start, stop, low, high, extents : ndarray
        Their index: first and last + 1 number, smallest and largest wavelength of each stretch, ranges of positions.
    checksum : int
        CRC-32 of the rows.
    """

    start: np.ndarray
    stop: np.ndarray
    low: np.ndarray
    high: np.ndarray
    extents: np.ndarray
    checksum: int


class KeptRowStore(ScratchRowStore):
    """Rows in a file in `folder` that stays, with checksums.

    Parameters
    ----------
    n_rows : int
        Number of rows.
    folder : PrivateFolder
        Folder of the file; open as long as the store is.
    shared : bool
        Another process has made the store, and others may be at work in it, each in a range of its own.

    Raises
    ------
    ResourceError
        What is in the place of the file is not ours, or there is no space left.
    """

    NAME, _HINT = "rows", "; see MUSE_RESUME"

    def __init__(self, n_rows: int, folder: PrivateFolder, *, shared: bool = False):
        self._folder, self.is_shared = folder, shared
        self._checksums: dict[int, int] = {}
        self._sync: threading.Thread | None = None
        self._sync_error: OSError | None = None
        super().__init__(n_rows, folder.path)

    def _open(self) -> list[BinaryIO]:
        flags = os.O_RDWR if self.is_shared else os.O_RDWR | os.O_CREAT
        return [open(self._folder.open_file(self.NAME, flags), "r+b", buffering=0)]

    def _put(self, start: int, rows: np.ndarray) -> None:
        super()._put(start, rows)
        self._checksums[start] = _checksum(rows)

    @property
    def _needs_space(self) -> bool:
        return self.n_rows > 0 and not self.is_shared

    def checkpoint(self, begin: int, end: int) -> dict[int, KeptRows]:
        """Let the rows of a range go to the disk; return what `restore` needs to find them.

        It does not wait for the disk: a record of rows that did not get there is found out by their checksums.
        """
        if not self.is_shared:
            self._start_sync()
        return {
            start: KeptRows(part.start, part.stop, part.low, part.high, part.extents, self._checksums[start])
            for start, part in self._parts.items()
            if begin <= start < end
        }

    def restore(self, parts: dict[int, KeptRows]) -> None:
        """Find the rows again that an earlier store has left in the same file.

        Raises
        ------
        DataError
            They are not those that it has written.
        """
        buffer = np.empty(max((_length(part) for part in parts.values()), default=0), ROW)
        for start, part in parts.items():
            rows = buffer[: _length(part)]
            self._get(np.array([start]), np.array([start + len(rows)]), rows)
            if _checksum(rows) != part.checksum:
                raise DataError(f"{self._path}: rows {start} to {start + len(rows) - 1}: wrong checksum")
        self.adopt(parts)

    def adopt(self, parts: dict[int, KeptRows]) -> None:
        """Find rows that another store has just put into the same file, or that have been checked."""
        for start, part in parts.items():
            self._parts[start] = _Index(part.start, part.stop, part.low, part.high, part.extents)
            self._checksums[start] = part.checksum
        self._sorted = None

    def settle(self) -> None:
        """Let go of the file, so that other machines see what has been written.

        Raises
        ------
        ResourceError
            It did not get where they could see it.
        """
        try:
            for file in self._files:
                file.close()
        except OSError as error:
            raise ResourceError(describe_os_error(error, self._path)) from error

    def _start_sync(self) -> None:
        self._finish_sync()

        def sync(descriptor: int) -> None:
            try:
                os.fdatasync(descriptor)
            except OSError as error:
                self._sync_error = error
            finally:
                os.close(descriptor)

        self._sync = threading.Thread(target=sync, args=(os.dup(self._files[0].fileno()),), daemon=True)
        self._sync.start()

    def _finish_sync(self) -> None:
        """Wait for what is on its way to the disk.

        Raises
        ------
        ResourceError
            It did not get there: what is read from the file may not be what was written.
        """
        if self._sync is not None:
            self._sync.join()
            self._sync = None
        if self._sync_error is not None:
            raise ResourceError(describe_os_error(self._sync_error, self._path)) from self._sync_error

    def __exit__(self, kind: object, value: object, traceback: object) -> None:
        super().__exit__(kind, value, traceback)
        if kind is None and self._sync_error is not None:
            self._finish_sync()


def _length(part: KeptRows | _Index) -> int:
    return int(part.stop[-1] - part.start[0]) if len(part.start) else 0


def _checksum(rows: np.ndarray) -> int:
    return zlib.crc32(memoryview(np.ascontiguousarray(rows)).cast("B")) if len(rows) else 0

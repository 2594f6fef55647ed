# SPDX-License-Identifier: GPL-2.0-or-later
"""Row stores in files: scratch, which nobody sees, and rows that are to outlive the run.

The scratch files have no name: the system removes them however the run ends. All are read and written with explicit
calls, so that they cost page cache, which the system takes back when it needs to, but no memory of ours.
"""

import contextlib
import errno
import os
import tempfile
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np

from muse_core.cython_ext import files as files_kernels
from muse_core.engine.store import RowIndex, RowStore, go_on
from muse_core.errors import DataError, ResourceError
from muse_core.io.files import describe_os_error, write_all
from muse_core.io.private import PrivateFolder
from muse_core.model.record import record
from muse_core.model.rows import ROW

#: Rows that lie together in one of several files.
_STRETCH = 1 << 16


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
        go_on(stop)
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


@record(frozen=False)
class KeptRows(RowIndex):
    """Rows in the file of a `KeptRowStore`: those of one call of `write`, with the CRC-32 of all of them."""

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
            start: KeptRows(
                part.n_rows, part.ascends, part.low, part.high, part.extents, checksum=self._checksums[start]
            )
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
        buffer = np.empty(max((part.n_rows for part in parts.values()), default=0), ROW)
        for start, part in parts.items():
            rows = buffer[: part.n_rows]
            self._get(np.array([start]), np.array([start + len(rows)]), rows)
            if _checksum(rows) != part.checksum:
                raise DataError(f"{self._path}: rows {start} to {start + len(rows) - 1}: wrong checksum")
        self.adopt(parts)

    def adopt(self, parts: dict[int, KeptRows]) -> None:
        """Find rows that another store has just put into the same file, or that have been checked."""
        for start, part in parts.items():
            self._parts[start] = part
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


def _checksum(rows: np.ndarray) -> int:
    return zlib.crc32(memoryview(np.ascontiguousarray(rows)).cast("B")) if len(rows) else 0

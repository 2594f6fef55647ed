# SPDX-License-Identifier: GPL-2.0-or-later
"""What waits in a scratch file: a cube on its way to a format that has the spectra together, samples of a spectrum."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np

from muse_core.errors import ResourceError
from muse_core.io.files import describe_os_error, read_all, write_all

#: Memory of the columns that are read together, and of what is made of them.
BLOCK_BYTES = 64 << 20
#: Memory of arrays that do not go to the file.
ARRAYS_BYTES = 8 << 20
#: Data, stat and flags of a voxel.
_VOXEL = np.dtype([("data", np.float32), ("stat", np.float32), ("dq", np.int32)])


class ColumnSpool:
    """A cube in a file without a name in `directory`, laid out in blocks of columns.

    Parameters
    ----------
    shape : tuple of int
        (planes, ny, nx).
    directory : Path
        Folder of the file.
    block_bytes : int
        Memory for a block.

    Raises
    ------
    ResourceError
        The folder cannot be used or has no space left.
    """

    def __init__(self, shape: tuple[int, int, int], directory: Path, block_bytes: int = BLOCK_BYTES):
        self._shape = shape
        self._directory = directory
        nz, ny, nx = shape
        self._width = min(nx, max(1, block_bytes // (nz * ny * _VOXEL.itemsize)))
        try:
            self._file = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115 (closed by close)
        except OSError as error:
            raise self._error(error) from error

    def _error(self, error: OSError) -> ResourceError:
        needed = np.prod(self._shape, dtype=np.int64) * _VOXEL.itemsize / 1e9
        message = describe_os_error(error, self._directory / "scratch")
        return ResourceError(f"{message}; the cube needs {needed:.2f} GB of scratch, see MUSE_SCRATCH")

    def _position(self, x: int, width: int, plane: int) -> int:
        nz, ny, _ = self._shape
        return (x * nz + plane * width) * ny * _VOXEL.itemsize

    def write(self, first: int, data: np.ndarray, stat: np.ndarray, dq: np.ndarray) -> None:
        """Write planes from number `first` on; float32, float32 and int32, each of shape (n, ny, nx)."""
        nx = self._shape[2]
        try:
            for x in range(0, nx, self._width):
                columns = slice(x, x + self._width)
                block: np.ndarray = np.empty(data[:, :, columns].shape, _VOXEL)
                block["data"], block["stat"], block["dq"] = (plane[:, :, columns] for plane in (data, stat, dq))
                write_all(self._file.fileno(), block.view(np.uint8), self._position(x, block.shape[2], first))
        except OSError as error:
            raise self._error(error) from error

    def columns(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield each column from left to right: its number, and an array with fields data, stat, dq, (planes, ny)."""
        nz, ny, nx = self._shape
        for x in range(0, nx, self._width):
            width = min(self._width, nx - x)
            block = np.empty((nz, ny, width), _VOXEL)
            try:
                read_all(self._file.fileno(), block.view(np.uint8), self._position(x, width, 0))
            except OSError as error:
                raise self._error(error) from error
            for i in range(width):
                yield x + i, block[:, :, i]

    def close(self) -> None:
        """Remove the file."""
        with contextlib.suppress(OSError):  # it is of no use any more
            self._file.close()


class ArraySpool:
    """Arrays that come back in the same order: the first ones in memory, the others in a file without a name.

    Parameters
    ----------
    directory : Path
        Folder of the file, which is made when it is needed.
    in_memory_bytes : int
        Memory for arrays.
    """

    def __init__(self, directory: Path, in_memory_bytes: int = ARRAYS_BYTES):
        self._directory, self._room = directory, in_memory_bytes
        self._in_memory: list[np.ndarray] = []
        self._in_file: list[tuple[tuple[int, ...], np.dtype]] = []
        self._file: BinaryIO | None = None
        self._position = 0

    def add(self, array: np.ndarray) -> None:
        """Add an array; it may not be changed afterwards.

        Raises
        ------
        ResourceError
            The folder cannot be used or has no space left.
        """
        if self._file is None and array.nbytes <= self._room:
            self._room -= array.nbytes
            self._in_memory.append(array)
            return
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._directory, buffering=0)  # noqa: SIM115 (closed by close)
            write_all(self._file.fileno(), np.ascontiguousarray(array).reshape(-1).view(np.uint8), self._position)
        except OSError as error:
            raise self._error(error) from error
        self._position += array.nbytes
        self._in_file.append((array.shape, array.dtype))

    def _error(self, error: OSError) -> ResourceError:
        return ResourceError(f"{describe_os_error(error, self._directory / 'scratch')}; see MUSE_SCRATCH")

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield the arrays.

        Raises
        ------
        ResourceError
            The file cannot be read.
        """
        yield from self._in_memory
        position = 0
        for shape, dtype in self._in_file:
            assert self._file is not None
            array = np.empty(shape, dtype)
            try:
                read_all(self._file.fileno(), array.reshape(-1).view(np.uint8), position)
            except OSError as error:
                raise self._error(error) from error
            position += array.nbytes
            yield array

    def close(self) -> None:
        """Let go of the arrays."""
        self._in_memory, self._in_file = [], []
        if self._file is not None:
            with contextlib.suppress(OSError):  # it is of no use any more
                self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, value: object, traceback: object) -> None:
        self.close()

# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that are compressed as a whole."""

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

_Opener = Callable[[Path, str], BinaryIO]
_READERS = cast(  # their classes are no subclasses of BinaryIO, but do the same
    tuple[tuple[bytes, _Opener], ...],
    ((b"\x1f\x8b", gzip.GzipFile), (b"BZh", bz2.BZ2File), (b"\xfd7zXZ", lzma.LZMAFile)),
)


class Decompressor:
    """The content of a compressed file, read once from its beginning."""

    #: What a damaged file raises, besides OSError, EOFError and zlib.error.
    errors = (lzma.LZMAError,)

    def __init__(self, path: Path, opener: _Opener) -> None:
        self._path, self._opener, self._at_end = path, opener, False
        self._file: BinaryIO | None = None

    def read(self, n_bytes: int) -> bytes:
        """Return the next bytes, none at the end."""
        if self._at_end:
            return b""
        if self._file is None:
            self._file = self._opener(self._path, "rb")
        part = self._file.read(n_bytes)
        if not part:
            self.close()
        return part

    def close(self) -> None:
        """Close the file."""
        self._at_end = True
        if self._file is not None:
            self._file.close()


def decompressor(path: Path, begin: bytes) -> Decompressor | None:
    """Return a reader for a compressed file, None if it is not one, by its first bytes."""
    return next((Decompressor(path, opener) for magic, opener in _READERS if begin.startswith(magic)), None)

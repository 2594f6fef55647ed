# SPDX-License-Identifier: GPL-2.0-or-later
"""Writing FITS files piece by piece: data of known shape, in any order, signed on the way.

The file is written under a temporary name and gets its own only when it is complete and on the disk.
"""

import contextlib
import os
import threading
from pathlib import Path
from typing import Self

import numpy as np

from muse_core.cython_ext import columns as columns_kernels
from muse_core.errors import ProductError
from muse_core.io.files import begin_sync, create_beside, describe_os_error, read_all, write_all
from muse_core.io.signature import BLOCK, MD5_CHUNK, DataMD5, fold, signed_header, word_sum
from muse_core.model.cards import formatted
from muse_core.model.fits import Card, Header

#: Length of data, in bytes, of which the signature is computed in the background.
_LONG = 1 << 24
#: Length of a piece that is worth to be brought to the disk by itself.
_LONG_PIECE = 1 << 20
#: Elements that are brought into the order of the file at once: few, so that they stay in the cache.
PIECE = 1 << 17
#: Cards that `finish` adds to the primary header and to each header.
_SIGNATURE_CARDS = {"primary": 3, "other": 2}


def _padded(length: int) -> int:
    return -(-length // BLOCK) * BLOCK


class FitsStreamWriter:
    """A FITS file of which the data arrive in pieces.

    Parameters
    ----------
    path : path
        Final name.
    headers : list of Header
        One header an HDU, complete with structure (SIMPLE or XTENSION, BITPIX, NAXISn) and with each keyword that the
        final header will have; values may change until `finish`.
    spare_cards : int
        Number of cards by which the primary header may still grow.

    Notes
    -----
    `write` may be called from several threads. Pieces must not overlap.

    Raises
    ------
    ProductError
        Folder not writable, no space left.
    """

    def __init__(self, path: str | os.PathLike[str], headers: list[Header], *, spare_cards: int = 0):
        self.path = Path(path)
        self._partial: Path | None = None
        self.headers = headers
        self._data_start: list[int] = []
        self._data_length: list[int] = []
        self._header_length: list[int] = []
        position = 0
        for i, header in enumerate(headers):
            added = _SIGNATURE_CARDS["other"] if i else _SIGNATURE_CARDS["primary"] + spare_cards
            cards = len(header.cards) + added + 1
            length = _padded(cards * 80)
            self._header_length.append(length)
            self._data_start.append(position + length)
            self._data_length.append(header_data_length(header))
            position += length + _padded(self._data_length[-1])
        self._sums = [0] * len(headers)
        self._lock = threading.Lock()
        #: HDUs of which the first bytes, all that DATAMD5 needs to know of them, have not been written.
        self._headless = {hdu for hdu, length in enumerate(self._data_length) if length}
        self._digest = DataMD5()
        self._digesting: threading.Thread | None = None
        self._fd = -1
        try:
            self._fd, self._partial = create_beside(self.path)
            if position:
                os.posix_fallocate(self._fd, 0, position)
        except OSError as error:
            self.abort()
            raise ProductError(describe_os_error(error, self.path, position)) from error

    def write(self, hdu: int, start: int, values: np.ndarray) -> None:
        """Write native `values` (C-contiguous, one axis; also rows of a table) from element `start` of `hdu` on."""
        if (start + values.size) * values.itemsize > self._data_length[hdu]:
            raise ValueError(f"HDU {hdu}: piece of {values.size} elements at {start} does not fit")
        for begin in range(0, values.size, PIECE):
            self._write_piece(hdu, start + begin, values[begin : begin + PIECE])
        if values.nbytes >= _LONG_PIECE:
            begin_sync(self._fd, self._data_start[hdu] + start * values.itemsize, values.nbytes)

    def _write_piece(self, hdu: int, start: int, values: np.ndarray) -> None:
        size = values.itemsize
        if size == 4:
            raw = np.empty(values.size, np.uint32)
            total = columns_kernels.pack(values.view(np.uint32), raw)
        else:
            raw = values.astype(values.dtype.newbyteorder(">")).view(np.uint8)
            total = word_sum(raw, start * size % 4)
        try:
            write_all(self._fd, raw, self._data_start[hdu] + start * size)
        except OSError as error:
            raise ProductError(describe_os_error(error, self.path)) from error
        with self._lock:
            self._sums[hdu] = fold(self._sums[hdu] + total)
            if start == 0 and values.nbytes >= min(MD5_CHUNK, self._data_length[hdu]):
                self._headless.discard(hdu)
                if not self._headless and sum(self._data_length) >= _LONG:
                    try:
                        self._start_digest()
                    except OSError as error:
                        raise ProductError(describe_os_error(error, self.path)) from error

    def _start_digest(self) -> threading.Thread:
        """Compute DATAMD5, which takes 2 s per GB, while the other data are written; return who does it."""
        units = []
        for start, length in zip(self._data_start, self._data_length, strict=True):
            length = _padded(length)
            first = bytearray(min(MD5_CHUNK, length))
            read_all(self._fd, first, start)
            units.append((bytes(first), length))

        def digest() -> None:
            for unit in units:
                self._digest.add_unit(*unit)

        self._digesting = threading.Thread(target=digest, daemon=True)
        self._digesting.start()
        return self._digesting

    def finish(self) -> Path:
        """Write headers and signatures, give the file its final name when all is on the disk, and return that."""
        try:
            (self._digesting or self._start_digest()).join()
            headers = [formatted(header) for header in self.headers]
            primary = headers[0]
            primary.remove("DATAMD5", ignore_missing=True)
            primary.append(("DATAMD5", self._digest.hexdigest(), "MD5 checksum"), end=True)
            for header, start, length, total in zip(
                headers, self._data_start, self._header_length, self._sums, strict=True
            ):
                raw = self._filled(signed_header(header, total), header, total, length)
                write_all(self._fd, raw, start - length)
            os.fsync(self._fd)
            self._close()
            assert self._partial is not None
            os.replace(self._partial, self.path)
        except OSError as error:
            self.abort()
            raise ProductError(describe_os_error(error, self.path)) from error
        self._partial = None
        return self.path

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _filled(self, raw: bytes, header: Header, total: int, length: int) -> bytes:
        """Fill the header with blank cards up to the space that was reserved."""
        if len(raw) > length:
            raise ValueError(f"{self.path}: header grew from {length} to {len(raw)} bytes")
        while len(raw) < length:
            header.append(Card(), end=True)
            raw = signed_header(header, total)
        return raw

    def abort(self) -> None:
        """Remove what has been written."""
        with contextlib.suppress(OSError):  # what it would say has been said, or matters to nobody
            self._close()
        if self._partial is not None:
            self._partial.unlink(missing_ok=True)
            self._partial = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, value: object, traceback: object) -> None:
        if self._partial is not None:
            self.abort()


def header_data_length(header: Header) -> int:
    """Return the length in bytes of the data unit that `header` describes, without padding."""
    if header["NAXIS"] == 0:
        return 0
    elements = int(np.prod([header[f"NAXIS{i + 1}"] for i in range(header["NAXIS"])], dtype=np.int64))
    return int(abs(header["BITPIX"]) // 8 * header.get("GCOUNT", 1) * (elements + header.get("PCOUNT", 0)))


def primary_header(bitpix: int = 8, shape: tuple[int, ...] = ()) -> Header:
    """Return the structural cards of a primary HDU with data of `shape` (numpy order)."""
    header = Header()
    header["SIMPLE"] = (True, "file does conform to FITS standard")
    _structure(header, bitpix, shape)
    header["EXTEND"] = (True, "FITS dataset may contain extensions")
    return header


def image_header(bitpix: int, shape: tuple[int, ...]) -> Header:
    """Return the structural cards of an image extension with data of `shape` (numpy order)."""
    header = Header()
    header["XTENSION"] = ("IMAGE", "IMAGE extension")
    _structure(header, bitpix, shape)
    header["PCOUNT"] = (0, "required keyword; must = 0")
    header["GCOUNT"] = (1, "required keyword; must = 1")
    return header


def _structure(header: Header, bitpix: int, shape: tuple[int, ...]) -> None:
    header["BITPIX"] = (bitpix, "number of bits per data pixel")
    header["NAXIS"] = (len(shape), "number of data axes")
    for i, size in enumerate(reversed(shape)):
        header[f"NAXIS{i + 1}"] = (int(size), f"length of data axis {i + 1}")


def write_hdus(path: str | os.PathLike[str], hdus: list[tuple[Header, np.ndarray | None]]) -> Path:
    """Write a small file at once.

    Parameters
    ----------
    path : path
        Final name.
    hdus : list of (Header, ndarray or None)
        Headers with structure, and data in native byte order; a table as an array of bytes as they lie in the file.
    """
    with FitsStreamWriter(path, [header for header, _ in hdus]) as writer:
        for i, (_, data) in enumerate(hdus):
            if data is not None and data.size:
                writer.write(i, 0, np.ascontiguousarray(data).reshape(-1))
        return writer.finish()

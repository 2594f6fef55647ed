# SPDX-License-Identifier: GPL-2.0-or-later
"""Signatures of FITS files: DATASUM, CHECKSUM and ESO's DATAMD5.

DATASUM and CHECKSUM follow the FITS standard. DATAMD5 is what CPL writes: the MD5 over the data units of all HDUs, in
which each chunk of 46080 bytes after the first of an HDU is replaced by that first chunk.
"""

import contextlib
import datetime
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from muse_core.errors import ProductError
from muse_core.io.files import create_beside, read_all, write_all
from muse_core.model.fits import Header

if TYPE_CHECKING:
    from typing_extensions import Buffer

BLOCK = 2880
MD5_CHUNK = 16 * BLOCK
#: Sum of an HDU with its CHECKSUM: zero of the ones' complement.
ALL_ONES = 0xFFFFFFFF


def fold(total: int) -> int:
    """Reduce a sum of 32-bit words to the ones' complement sum."""
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


def word_sum(data: "Buffer", phase: int = 0) -> int:
    """Return the ones' complement sum of `data` as big-endian 32-bit words, zero-padded at both ends.

    Parameters
    ----------
    data : contiguous array or bytes
        The data.
    phase : int
        Place (0...3) of the first byte in its word. Sums of pieces that share a word add up to that of the whole.
    """
    raw = memoryview(data).cast("B")
    total = 0
    if phase:
        total = int.from_bytes((bytes(phase) + bytes(raw[: 4 - phase])).ljust(4, b"\0"), "big")
        raw = raw[4 - phase :]
    tail = len(raw) % 4
    total += int(np.frombuffer(raw[: len(raw) - tail], ">u4").sum(dtype=np.uint64))
    if tail:
        total += int.from_bytes(bytes(raw[len(raw) - tail :]) + bytes(4 - tail), "big")
    return fold(total)


def encode_checksum(total: int) -> str:
    """Return the 16 characters of CHECKSUM for the ones' complement sum `total` of an HDU with CHECKSUM all zero."""
    value = 0xFFFFFFFF ^ total
    forbidden = set(range(0x3A, 0x41)) | set(range(0x5B, 0x61))
    text = bytearray(16)
    for i in range(4):
        byte = (value >> (24 - 8 * i)) & 0xFF
        chars = [byte // 4 + 0x30 + (byte % 4 if k == 0 else 0) for k in range(4)]
        while any(c in forbidden for c in chars):
            for k in (0, 2):
                if chars[k] in forbidden or chars[k + 1] in forbidden:
                    chars[k] += 1
                    chars[k + 1] -= 1
        for k in range(4):
            text[4 * k + i] = chars[k]
    return (text[-1:] + text[:-1]).decode("ascii")


class DataMD5:
    """DATAMD5 of a file, from the first bytes and the padded length of each data unit."""

    def __init__(self) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)

    def add_unit(self, first: bytes, length: int) -> None:
        """Add the data unit of one HDU.

        Parameters
        ----------
        first : bytes
            The first min(46080, `length`) bytes.
        length : int
            Length in bytes with padding.
        """
        many = first * 16 if length > 16 * len(first) else first  # fewer calls
        while length > 0:
            self._md5.update(many[:length] if length < len(many) else many)
            length -= len(many)

    def hexdigest(self) -> str:
        """32 hexadecimal digits."""
        return self._md5.hexdigest()


def signed_header(header: Header, data_sum: int, when: datetime.datetime | None = None) -> bytes:
    """Return the bytes of `header` with DATASUM and CHECKSUM set for a data unit whose word sum is `data_sum`.

    `header` is changed: DATASUM and CHECKSUM are set.
    """
    stamp = (when or datetime.datetime.now(datetime.UTC)).strftime("%Y-%m-%dT%H:%M:%S")
    header.remove("CHECKSUM", ignore_missing=True)
    header.remove("DATASUM", ignore_missing=True)
    header.append(("CHECKSUM", "0" * 16, f"HDU checksum updated {stamp}"), end=True)
    header.append(("DATASUM", f"{data_sum:>10d}", f"data unit checksum updated {stamp}"), end=True)
    plain = header.tostring().encode("ascii")
    header["CHECKSUM"] = encode_checksum(fold(word_sum(plain) + data_sum))
    signed: bytes = header.tostring().encode("ascii")
    return signed


def _pieces(fd: int, start: int, length: int) -> Iterator[bytearray]:
    step = 1 << 24
    for offset in range(0, length, step):
        piece = bytearray(min(step, length - offset))
        read_all(fd, piece, start + offset)
        yield piece


def _unit_sum(fd: int, start: int, length: int) -> int:
    return fold(sum(word_sum(piece) for piece in _pieces(fd, start, length)))


def check_signature(path: str | os.PathLike[str], length: int) -> None:
    """Check that a file of so many bytes whose HDUs all have a CHECKSUM is as it was signed.

    Raises
    ------
    ProductError
        It cannot be read, or is not.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            found = os.fstat(fd).st_size
            if found != length:
                raise ProductError(f"{path}: found {found} bytes, expected {length}")
            if _unit_sum(fd, 0, length) != ALL_ONES:  # as CHECKSUM makes that of each HDU
                raise ProductError(f"{path}: wrong checksum")
        finally:
            os.close(fd)
    except OSError as error:
        if isinstance(error, ProductError):
            raise
        raise ProductError(f"{path}: {error.strerror}") from error


def sign_file(
    path: str | os.PathLike[str],
    *,
    md5: bool = True,
    checksum: bool = True,
    changes: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Sign a FITS file as esorex signs products.

    Parameters
    ----------
    path : path
        File; changed only when it has been rewritten completely.
    md5 : bool
        Write DATAMD5; otherwise the keyword is removed.
    checksum : bool
        Write CHECKSUM and DATASUM in each HDU; otherwise they are removed.
    changes : mapping of str to str
        New values of keywords in the primary header.

    Raises
    ------
    ProductError
        If the file cannot be read or rewritten.
    """
    from astropy.io import fits  # here, because its import takes as long as a small run

    path = Path(path)
    try:
        with open(path, "rb", buffering=0) as file:
            fd = file.fileno()
            with fits.open(file, mode="readonly", memmap=False, lazy_load_hdus=False) as hdus:
                units = [(h.header.copy(), i["datLoc"], i["datSpan"]) for h in hdus for i in [h.fileinfo()]]
                for key, value in changes.items():
                    units[0][0][key] = value
                with _replacing(path) as target:
                    _write_signed(fd, units, target, md5, checksum)
    except OSError as error:
        raise ProductError(f"{path}: cannot be signed: {error}") from error


def ensure_signed(path: str | os.PathLike[str], *, md5: bool, checksum: bool) -> None:
    """Bring DATAMD5, CHECKSUM and DATASUM of a file into the state that is asked for, see `sign_file`.

    One that is signed already is not written again, and what is no FITS file by its name has no signature.
    """
    if Path(path).suffix != ".fits":
        return
    from astropy.io import fits

    header = fits.getheader(path)
    if ("DATAMD5" in header and len(header["DATAMD5"]) == 32, "CHECKSUM" in header) != (md5, checksum):
        sign_file(path, md5=md5, checksum=checksum)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[int]:
    """Yield the descriptor of a file that takes the place of another one at the end of the block."""
    fd, partial = create_beside(path)
    try:
        try:
            yield fd
            os.fchmod(fd, path.stat().st_mode & 0o777)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _write_signed(source: int, units: list[tuple[Header, int, int]], target: int, md5: bool, checksum: bool) -> None:
    """Write HDUs, given by header, start and length of the data in `source`, with signatures."""
    primary = units[0][0]
    primary.remove("DATAMD5", ignore_missing=True)
    if md5:
        digest = DataMD5()
        for _, start, length in units:
            first = bytearray(min(MD5_CHUNK, length))
            read_all(source, first, start)
            digest.add_unit(bytes(first), length)
        primary.append(("DATAMD5", digest.hexdigest(), "MD5 checksum"), end=True)
    for header, start, length in units:
        if checksum:
            raw = signed_header(header, _unit_sum(source, start, length))
        else:
            for key in ("CHECKSUM", "DATASUM"):
                header.remove(key, ignore_missing=True)
            raw = header.tostring().encode("ascii")
        write_all(target, raw)
        for piece in _pieces(source, start, length):
            write_all(target, piece)

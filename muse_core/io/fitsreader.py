# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading FITS files: the only way by which inputs come in.

A file is checked by its size and its headers before data are read, header by header, up to the last HDU that is asked
for. Numbers come with ``BSCALE`` and ``BZERO`` or ``TSCALn`` and ``TZEROn`` applied. Whatever is wrong becomes an
`InputError` that names file, HDU and keyword or column.
"""

import contextvars
import io
import math
import os
import re
import shutil
import stat
import tempfile
import threading
import warnings
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from muse_core.cython_ext import files as files_kernels
from muse_core.errors import InputError, MissingFileError, ResourceError
from muse_core.io.compressed import Decompressor, decompressor
from muse_core.io.files import close_quietly
from muse_core.io.fitscolumn import INTEGERS, WIDTH, Column, scaled_numbers
from muse_core.io.fitsheader import PRINTABLE, header_length, parse_header
from muse_core.model.fits import CARD, Header

BLOCK = 2880
#: Headers beyond are none: those of the longest combined tables have some 10 MB.
_LONGEST_HEADER = 64 << 20
#: Bytes of a header that are read at once, and those of an extension at first: most are short.
_AT_A_TIME, _AT_FIRST = 32 * BLOCK, 2 * BLOCK
_COPIED = 1 << 20
#: Bytes of a column that are read at once, at most.
_OF_COLUMN = 1 << 20
#: Bytes that may follow the last HDU of a compressed file.
_TRAILING = 1 << 24
#: Bytes that an array of a calibration may take; a run with less memory allows less, see `limit_arrays`.
LARGEST_ARRAY = 256 << 20
ARRAY_LIMIT = contextvars.ContextVar("ARRAY_LIMIT", default=LARGEST_ARRAY)
#: Part of the memory of a run that one array of a calibration may take.
_ARRAY_SHARE = 0.25
_BITPIX = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
_FORM = re.compile(r"^\s*(\d*)([A-Z])")


def limit_arrays(memory_bytes: int) -> None:
    """Refuse from now on arrays of calibrations that are too large for a run with so much memory."""
    ARRAY_LIMIT.set(min(LARGEST_ARRAY, int(_ARRAY_SHARE * memory_bytes)))


class Hdu:
    """One HDU of a file.

    Attributes
    ----------
    file : FitsFile
        Its file.
    index : int
        Its number, from 0.
    header : Header
        Its header.
    name : str
        EXTNAME without blanks at its ends.
    data_begin, data_size : int
        Where its data lie in the file, in bytes, without the padding.
    """

    def __init__(self, file: "FitsFile", index: int, header: Header, data_begin: int):
        self.file, self.index, self.header, self.data_begin = file, index, header, data_begin
        extname = header.get("EXTNAME", "")
        self.name = extname.strip() if isinstance(extname, str) else ""
        self.shape = self._find_shape()
        self.data_size = self._find_size()
        self._columns: list[Column] | None = None

    @property
    def where(self) -> str:
        """File and HDU, for messages."""
        return f"{self.file.path}[{self.name or self.index}]" if self.index else str(self.file.path)

    @property
    def is_compressed(self) -> bool:
        """Is it an image in compressed tiles?"""
        return self.header.get("ZIMAGE") is True

    @property
    def is_image(self) -> bool:
        """Is it an image?"""
        return not self.index or self.is_compressed or self.header.get("XTENSION") in ("IMAGE", "IUEIMAGE")

    @property
    def is_table(self) -> bool:
        """Is it a binary table?"""
        return self.index > 0 and not self.is_compressed and self.header.get("XTENSION") in ("BINTABLE", "A3DTABLE")

    @property
    def bitpix(self) -> int:
        """Type of the numbers of an image."""
        return self._number("ZBITPIX" if self.is_compressed else "BITPIX", None, _BITPIX)

    def error(self, text: str) -> InputError:
        """Return an error about this HDU."""
        return InputError(f"{self.where}: {text}")

    def _number(self, key: str, default: int | None = None, choices: Collection[int] | None = None) -> int:
        """Return a keyword of the structure: a whole number from 0, or one of `choices`."""
        value: object = self.header.get(key, default)
        if (
            isinstance(value, int)
            and not isinstance(value, bool)
            and (value in choices if choices else 0 <= value < 2**63)
        ):
            return value
        expected = f"one of {', '.join(map(str, choices))}" if choices else "a whole number from 0"
        raise self.error(f"keyword {key}: found {'nothing' if value is None else repr(value)}, expected {expected}")

    def _find_shape(self) -> tuple[int, ...]:
        """Return the shape of an image, or of the bytes of a table, in the order of numpy."""
        z = "Z" if self.is_compressed else ""
        n = self._number(z + "NAXIS")
        if n > 999:
            raise self.error(f"keyword {z}NAXIS: found {n}, expected at most 999")
        return tuple(self._number(f"{z}NAXIS{i}") for i in range(n, 0, -1))

    def _find_size(self) -> int:
        axes = [self._number(f"NAXIS{i}") for i in range(1, self._number("NAXIS") + 1)]
        elements = math.prod(axes) if axes else 0
        extra = self._number("PCOUNT", 0) if self.index else 0
        groups = self._number("GCOUNT", 1) if self.index else 1
        return abs(self._number("BITPIX", None, _BITPIX)) // 8 * groups * (extra + elements)

    @property
    def end(self) -> int:
        """Where the next HDU begins."""
        return self.data_begin + -(-self.data_size // BLOCK) * BLOCK

    def require_complete(self) -> None:
        """Check that the data are all in the file.

        Raises
        ------
        InputError
            The file is shorter.
        """
        needed = self.data_begin + self.data_size
        if self.data_size and self.file.reaches(needed) < needed:
            raise self.error(
                f"found {self.file.reaches(needed)} bytes in the file, expected at least {needed}; file truncated?"
            )

    def _require_small(self, n_bytes: int) -> None:
        limit = ARRAY_LIMIT.get()
        if n_bytes > limit:
            raise self.error(f"found data that take {n_bytes / 1e6:.0f} MB, expected at most {limit / 1e6:.0f} MB")

    def scaling(self) -> tuple[float, float]:
        """BSCALE and BZERO of an image."""
        return self._scale("BSCALE", 1.0), self._scale("BZERO", 0.0)

    def _scale(self, key: str, default: float) -> float:
        value = self.header.get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.error(f"keyword {key}: found {value!r}, expected a number")
        if "SCAL" in key and value == 0:
            raise self.error(f"keyword {key}: found 0, expected another number")
        return float(value)

    def image(self, limited: bool = True) -> np.ndarray:
        """Return an image, scaled, as ndarray of float64.

        Parameters
        ----------
        limited : bool
            Refuse what is too large for a calibration.
        """
        if not self.is_image:
            raise self.error("found a table, expected an image")
        self.require_complete()
        self.file.verify()
        if limited:
            self._require_small(self.data_size + 8 * math.prod(self.shape))
        if self.is_compressed:
            return self._decompressed()
        values = np.frombuffer(self.file.read(self.data_begin, self.data_size), _BITPIX[self.bitpix])
        values = values.astype(np.float64).reshape(self.shape)
        scale, zero = self.scaling()
        if (scale, zero) != (1.0, 0.0):
            values *= scale
            values += zero
        return values

    def _decompressed(self) -> np.ndarray:
        from astropy.io import fits  # here, because its import takes as long as a small run

        raw = fits.PrimaryHDU().header.tostring().encode("ascii") + self.header.tostring().encode("ascii")
        raw += self.file.read(self.data_begin, self.data_size)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                with fits.open(io.BytesIO(raw)) as hdus:
                    return np.asarray(hdus[1].data, np.float64).reshape(self.shape)
            except MemoryError:
                raise
            except Exception as error:  # whatever the decompression stumbles over
                raise self.error(f"the compressed image cannot be read: {error}") from error

    @property
    def columns(self) -> list[Column]:
        """The columns of a table."""
        if self._columns is None:
            self._columns = self._find_columns()
        return self._columns

    def _find_columns(self) -> list[Column]:
        found, offset = [], 0
        for i in range(1, self._number("TFIELDS") + 1):
            form = self.header.get(f"TFORM{i}")
            match = _FORM.match(form) if isinstance(form, str) else None
            if match is None or match[2] not in WIDTH and match[2] != "X":
                what = "nothing" if form is None else repr(form)
                raise self.error(f"keyword TFORM{i}: found {what}, expected a format such as 1D")
            texts = [self.header.get(f"{key}{i}", "") for key in ("TTYPE", "TUNIT")]
            name, unit = (text.strip() if isinstance(text, str) else "" for text in texts)
            letter = match[2]
            scales = (1.0, 0.0)
            if letter not in "ALXPQ":
                scales = self._scale(f"TSCAL{i}", 1.0), self._scale(f"TZERO{i}", 0.0)
            column = Column(i, name, form.strip(), unit, int(match[1] or 1), letter, offset, *scales)
            found.append(column)
            offset += column.width
        if len(self.shape) != 2 or offset != self.shape[1]:
            raise self.error(
                f"keyword NAXIS1: found {self.header.get('NAXIS1')}, expected {offset} as the columns have in sum"
            )
        return found

    @property
    def n_rows(self) -> int:
        """Number of rows of a table."""
        return self.shape[0]

    def find_column(self, name: str) -> Column | None:
        """Return a column, None if there is none of this name (in this case)."""
        return next((column for column in self.columns if column.name == name), None)

    def column(self, name: str, formats: str = "D") -> np.ndarray:
        """Return the numbers or texts of a column, scaled, in native byte order.

        Parameters
        ----------
        name : str
            TTYPE; upper and lower case differ.
        formats : str
            Allowed FITS format letters, for example ``D`` or ``JI``, as they are with the scaling: integers that are
            scaled to a half are ``E`` or ``D``. With ``J`` and ``I``, all integers that fit into 32 bits are allowed.

        Returns
        -------
        ndarray, shape (n_rows,), or (n_rows, n) for arrays
            float64 for ``D``, float32 for ``E``, int64 for other numbers; str for ``A``.

        Raises
        ------
        InputError
            Column missing, of another format, not all in the file, or too large.
        """
        column = self.find_column(name)
        if column is None:
            names = ", ".join(found.name for found in self.columns)
            raise self.error(f"column {name}: not found among {names or 'no columns'}")
        allowed = INTEGERS + formats if {"J", "I"} <= set(formats) else formats
        kind = column.effective
        if kind not in allowed:
            scaled = "" if kind == column.letter else f" with TSCAL {column.scale:g}, TZERO {column.zero:g}"
            raise self.error(f"column {name}: found format {column.form}{scaled}, expected {' or '.join(formats)}")
        self.require_complete()
        self.file.verify()
        shape = (self.n_rows, column.repeat)
        self._require_small(self.data_size + 8 * math.prod(shape))
        raw = self.file.read(self.data_begin, self.n_rows * self.shape[1])
        if not raw:
            return np.empty(shape if column.repeat > 1 else self.n_rows, "U1" if kind == "A" else "f8")
        if kind == "A":
            texts = np.ndarray(self.n_rows, f"S{column.repeat}", raw, column.offset, (self.shape[1],))
            return np.array([text.translate(PRINTABLE).decode("ascii").rstrip() for text in texts.tolist()], np.str_)
        strides = (self.shape[1], column.dtype.itemsize)
        values = np.ndarray(shape, column.dtype, raw, column.offset, strides)
        values = scaled_numbers(values, column.scale, column.zero, kind)
        return np.ascontiguousarray(values[:, 0] if column.repeat == 1 else values)


class FitsFile:
    """A FITS file that is read; its HDUs are looked at when they are asked for.

    `close` gives its descriptor back; it is opened again when data are read.

    Parameters
    ----------
    path : Path
        The file; it may be compressed as a whole (gzip, bzip2, xz).

    Raises
    ------
    MissingFileError
        The file does not exist, cannot be opened, or is none (a folder, a pipe, a device).
    InputError
        It is not a FITS file.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._identity: tuple[int, ...] | None = None
        self._stream: Decompressor | None = None
        self._copy: BinaryIO | None = None
        self._verified = False
        self._hdus: list[Hdu] = []
        self._next: int | None = 0
        begin = self._pread(0, CARD)
        self._stream = decompressor(self.path, begin)
        if self._stream is not None:
            begin = self.read(0, CARD, partial=True)
        if not begin.startswith(b"SIMPLE  ="):
            what = repr(begin[:20].decode("latin-1")) if begin else "nothing in it"
            self.close()
            raise InputError(f"{self.path}: found no FITS file (it begins with {what}), expected one")

    def __enter__(self) -> "FitsFile":
        return self

    def __exit__(self, kind: object, value: object, traceback: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is not None:
                close_quietly(descriptor)

    def __del__(self) -> None:
        if (descriptor := getattr(self, "_descriptor", None)) is not None:
            close_quietly(descriptor)
        for file in (getattr(self, "_stream", None), getattr(self, "_copy", None)):
            if file is not None:
                file.close()

    def __getstate__(self) -> dict[str, Any]:
        """Say what travels to another process, maybe on another machine: what is known of the file, not the file."""
        own = {"_lock", "_descriptor", "_stream", "_copy"}
        state = {key: value for key, value in self.__dict__.items() if key not in own}
        identity = None if self._identity is None else self._identity[-2:]  # other numbers are those of this machine
        return state | {"path": Path(os.path.abspath(self.path)), "_identity": identity, "_stream": bool(self._stream)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        is_compressed = state["_stream"]
        self.__dict__.update(state, _lock=threading.Lock(), _descriptor=None, _stream=None, _copy=None)
        if is_compressed:
            self._stream = decompressor(self.path, self._pread(0, CARD))

    # bytes

    def _open(self) -> int:
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise MissingFileError(f"{self.path}: file does not exist") from error
        except OSError as error:
            raise MissingFileError(f"{self.path}: file cannot be read ({error.strerror})") from error
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            close_quietly(descriptor)
            what = "folder" if stat.S_ISDIR(status.st_mode) else "pipe or device"
            raise MissingFileError(f"{self.path}: found a {what}, expected a FITS file")
        identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if self._identity is not None and identity[-len(self._identity) :] != self._identity:
            close_quietly(descriptor)
            raise InputError(f"{self.path}: the file was changed while it was in use, expected it as it was")
        self._identity = identity
        return descriptor

    def _opened(self) -> int:
        descriptor = self._descriptor
        if descriptor is None:
            with self._lock:
                if self._descriptor is None:
                    self._descriptor = self._open()
                descriptor = self._descriptor
        return descriptor

    def _pread(self, begin: int, n_bytes: int) -> bytes:
        """Return bytes of the file as it is, fewer at its end."""
        return self._pread_from(self._opened(), begin, n_bytes)

    def _pread_from(self, descriptor: int, begin: int, n_bytes: int) -> bytes:
        parts: list[bytes] = []
        try:
            while n_bytes:
                part = os.pread(descriptor, n_bytes, begin)
                if not part:
                    break
                if len(part) == n_bytes and not parts:
                    return part
                parts.append(part)
                begin, n_bytes = begin + len(part), n_bytes - len(part)
        except OSError as error:
            raise self._unreadable(begin, error.strerror) from error
        return b"".join(parts)

    def _unreadable(self, begin: int, why: str | None) -> InputError:
        return InputError(f"{self.path}: cannot be read at byte {begin} ({why})")

    def _truncated(self, end: int) -> InputError:
        return InputError(f"{self.path}: found {end} bytes, expected more; file truncated?")

    def _decompress(self, end: int) -> tuple[BinaryIO, int]:
        """Decompress up to byte `end`; return where that is, and how many bytes there are then."""
        stream = self._stream
        assert stream is not None
        with self._lock:
            try:
                if self._copy is None:
                    self._copy = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as this object)
                have = self._copy.tell()
                folder = tempfile.gettempdir()
                if end - have > shutil.disk_usage(folder).free:
                    raise ResourceError(
                        f"{folder}: to decompress {self.path} {end - have} bytes are needed; free some, or set TMPDIR"
                    )
                while have < end:
                    part = stream.read(min(_COPIED, end - have))
                    if not part:
                        break
                    self._copy.write(part)
                    have += len(part)
                self._copy.flush()
            except (OSError, EOFError, ValueError, zlib.error, *stream.errors) as error:
                raise InputError(f"{self.path}: compressed file cannot be read: {error}") from error
            return self._copy, have

    def reaches(self, end: int) -> int:
        """Return the size of the file; if it is compressed, as far as it had to be decompressed to see `end`."""
        if self._stream is not None:
            return self._decompress(end)[1]
        if self._identity is None:
            self._pread(0, 1)
        assert self._identity is not None
        return self._identity[-2]

    def read(self, begin: int, n_bytes: int, partial: bool = False) -> bytes:
        """Return `n_bytes` from byte `begin` on, fewer at the end of the file if `partial`.

        Raises
        ------
        InputError
            They cannot be read.
        """
        if self._stream is None:
            raw = self._pread(begin, n_bytes)
        else:
            copy, _ = self._decompress(begin + n_bytes)
            raw = self._pread_from(copy.fileno(), begin, n_bytes)
        if len(raw) < n_bytes and not partial:
            raise self._truncated(begin + len(raw))
        return raw

    def read_columns(
        self, positions: np.ndarray, strides: np.ndarray, fields: np.ndarray, words: np.ndarray, at_once: int
    ) -> None:
        """Read columns of big-endian 4-byte values into fields of rows, some rows at once.

        See `muse_core.cython_ext.files.read_columns`.

        Raises
        ------
        InputError
            They cannot be read.
        """
        if self._stream is None:
            descriptor = self._opened()
        else:
            end = int((positions + strides * len(words)).max())
            descriptor = self._decompress(end)[0].fileno()
        buffer = np.empty(min(at_once * int(strides.max()), _OF_COLUMN), np.uint8)
        status, position = files_kernels.read_columns(descriptor, positions, strides, fields, words, buffer)
        if status == files_kernels.TOO_SHORT:
            raise self._truncated(os.fstat(descriptor).st_size)
        if status:
            raise self._unreadable(position, os.strerror(status))

    def verify(self) -> None:
        """Check a compressed file as a whole, for what it has got is known from the sum at its end only.

        Raises
        ------
        InputError
            It is damaged.
        """
        if self._stream is None or self._verified:
            return
        for hdu in self:
            hdu.require_complete()
        end = self._hdus[-1].end
        if self._decompress(end + _TRAILING)[1] == end + _TRAILING:
            raise InputError(f"{self.path}: found more than {_TRAILING} bytes after the last HDU, expected nothing")
        self._verified = True

    # HDUs

    def __iter__(self) -> Iterator[Hdu]:
        number = 0
        while self._has(number):
            yield self._hdus[number]
            number += 1

    @property
    def primary(self) -> Hdu:
        """The first HDU."""
        return self[0]

    def __getitem__(self, number: int) -> Hdu:
        if not self._has(number):
            raise InputError(f"{self.path}: found {len(self._hdus)} HDUs, expected at least {number + 1}")
        return self._hdus[number]

    def extensions(self) -> Iterator[Hdu]:
        """Go over the HDUs after the first."""
        return (hdu for hdu in self if hdu.index)

    def find(self, extname: str) -> Hdu | None:
        """Return the first extension of this EXTNAME, whatever its case."""
        return next((hdu for hdu in self.extensions() if hdu.name.upper() == extname.upper()), None)

    def table(self, extname: str | None = None) -> Hdu:
        """Return extension 1, or the table extension `extname`.

        Raises
        ------
        InputError
            If there is no such binary table.
        """
        if extname is None:
            if self._has(1) and self[1].is_table:
                return self[1]
            raise InputError(f"{self.path}: extension 1: found no binary table, expected one")
        for hdu in self.extensions():
            if hdu.is_table and hdu.name.upper() == extname.upper():
                return hdu
        raise InputError(f"{self.path}: found no binary table with EXTNAME {extname}, expected one")

    def _has(self, number: int) -> bool:
        """Look at headers up to an HDU; return whether there is one of this number."""
        while len(self._hdus) <= number and self._next is not None:
            if self._hdus:
                self._hdus[-1].require_complete()
            hdu = self._look_at(self._next)
            self._next = None if hdu is None else hdu.end
            if hdu is not None:
                self._hdus.append(hdu)
        return len(self._hdus) > number

    def _look_at(self, begin: int) -> Hdu | None:
        """Return the HDU that begins at a byte; None if there is none: the file ends, or something else follows."""
        index = len(self._hdus)
        where = f"{self.path}[{index}]" if index else str(self.path)
        raw = self.read(begin, _AT_FIRST if index else _AT_A_TIME, partial=True)
        if index and not raw.startswith(b"XTENSION"):
            return None
        done = 0
        while (length := header_length(raw, done)) is None:
            done = len(raw) // BLOCK * BLOCK
            more = self.read(begin + len(raw), _AT_A_TIME, partial=True)
            if not more or done > _LONGEST_HEADER:
                raise InputError(
                    f"{where}: found no END in the {len(raw)} bytes of its header, expected one; file truncated?"
                )
            raw += more
        header = parse_header(raw[:length], where)
        return Hdu(self, index, header, begin + -(-length // BLOCK) * BLOCK)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Pixel tables on disk, in both formats: one image extension a column, or one binary table.

A table is read and written by ranges of rows; it never has to be in memory as a whole.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Self

import numpy as np

from muse_core.cython_ext import columns as columns_kernels
from muse_core.errors import InputError
from muse_core.io.fitscolumn import INTEGERS, scaled_numbers
from muse_core.io.fitsreader import FitsFile, Hdu
from muse_core.io.fitswriter import FitsStreamWriter, image_header
from muse_core.io.tables import table_hdu
from muse_core.model.fits import Header
from muse_core.model.header import PIXTABLE, get_string, naming, stated
from muse_core.model.pixtable import FlatFieldSpectrum, PixelTable
from muse_core.model.record import record
from muse_core.model.rows import COLUMNS, FIELD_OF_COLUMN, FIELDS, ROW

FLAT_FIELD_EXTNAME = "PIXTABLE_FLAT_FIELD"
#: Environment variable of the reference: write pixel tables as binary tables.
AS_TABLE_VARIABLE = "MUSE_PIXTABLE_SAVE_AS_TABLE"
_TYPE = "GEOFULL"  # those of type SIMPLE have no geometrical calibration: no cube can be made from them
_INTEGER_COLUMNS = ("dq", "origin")
#: Types of columns as their bytes are handed to the kernels.
_FLOAT, _INTEGER = np.dtype(">f4"), np.dtype(">i4")
_BLOCK = 1 << 13  # rows that are brought into memory at a time: their columns stay in the cache


@record
class _DiskColumn:
    """Where a column lies: element i is at ``offset + i * stride``, of type `dtype`, to be scaled if it has to be.

    Attributes
    ----------
    hdu : Hdu
        Where it comes from.
    offset, stride : int
        In bytes.
    dtype : dtype
        Of an element in the file.
    target : dtype
        Of an element when it is read: that of the file, or big-endian float32 or int32.
    scale, zero : float
        What makes numbers of elements.
    """

    hdu: Hdu
    offset: int
    stride: int
    dtype: np.dtype
    target: np.dtype
    scale: float = 1.0
    zero: float = 0.0

    def numbers(self, raw: bytes, name: str) -> np.ndarray:
        """Return the numbers of bytes from the file, in `target`.

        Raises
        ------
        InputError
            One does not fit into 32 bits.
        """
        count = (len(raw) - self.dtype.itemsize) // self.stride + 1
        values = np.ndarray((count,), self.dtype, raw, 0, (self.stride,))
        if self.target.kind == "f":
            return scaled_numbers(values, self.scale, self.zero, "E").astype(self.target)
        whole = self.scale % 1 == 0 and self.zero % 1 == 0
        values = np.trunc(scaled_numbers(values, self.scale, self.zero, "J" if whole else "D"))
        limits = np.iinfo(self.target)
        bad = np.flatnonzero((values < limits.min) | (values > limits.max))
        if bad.size:
            raise self.hdu.error(
                f"column {name}: found {values[bad[0]]:.0f}, expected numbers from {limits.min} to {limits.max}"
            )
        numbers: np.ndarray = values.astype(self.target)
        return numbers


class PixelTableFile:
    """A pixel table on disk, opened for reading.

    Attributes
    ----------
    path : Path
        The file.
    header : Header
        Primary header.
    n_rows : int
        Number of rows.
    units : dict
        Unit of each column, empty where it has none.
    has_weight : bool
        Is there a ``weight`` column?

    Raises
    ------
    MissingFileError, InputError
        The file does not exist, is not a pixel table, is truncated, or its columns do not fit together.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self._file = FitsFile(path)
        self.path = self._file.path
        self.header = self._file.primary.header
        key = PIXTABLE + "TYPE"
        with naming(str(self.path)):
            kind = get_string(self.header, key)
        if kind != _TYPE:
            raise InputError(f"{self.path}: keyword {key}: found {stated(self.header, key)}, expected {_TYPE!r}")
        hdus = list(self._file.extensions())
        if not hdus:
            raise InputError(f"{self.path}: found no extensions, expected the columns of a pixel table")
        for hdu in hdus:
            hdu.require_complete()
        self._file.verify()
        self._columns: dict[str, _DiskColumn | np.ndarray] = {}
        self.units: dict[str, str] = {}
        self.n_rows = self._scan_table(hdus[0]) if hdus[0].is_table else self._scan_images(hdus)
        self.flat_field = _flat_field(hdus[-1])
        missing = [name for name in COLUMNS if name not in self._columns]
        if missing:
            raise InputError(f"{self.path}: found no column {', '.join(missing)}, expected {', '.join(COLUMNS)}")
        if not self.n_rows:
            raise InputError(f"{self.path}: found no rows, expected some")
        self.has_weight = "weight" in self._columns

    def close(self) -> None:
        """Close the file; it is opened again when rows are read."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, value: object, traceback: object) -> None:
        self.close()

    @property
    def position_unit(self) -> str:
        """Unit of the positions.

        Raises
        ------
        InputError
            If xpos and ypos have different units, or one that is none of pix, rad, deg.
        """
        x, y = self.units["xpos"], self.units["ypos"]
        if x != y or x not in ("pix", "rad", "deg"):
            raise InputError(
                f"{self.path}: columns xpos, ypos: found units {x!r} and {y!r}, expected both pix, rad or deg"
            )
        return x

    def _scan_images(self, hdus: Sequence[Hdu]) -> int:
        n_rows = None
        for hdu in hdus:
            name = hdu.name
            if name.upper() == FLAT_FIELD_EXTNAME:
                continue
            where = hdu.where if name else f"{self.path}[unnamed extension]"
            if not hdu.is_image:
                raise InputError(f"{where}: found a table, expected an image of one column")
            if len(hdu.shape) != 2 or hdu.shape[1] != 1:
                raise InputError(
                    f"{where}: found an image of {'x'.join(map(str, hdu.shape[::-1])) or 'no'} pixels, expected 1xN"
                )
            if name in self._columns:
                raise InputError(f"{where}: found two extensions of this name, expected one")
            if n_rows is None:
                n_rows, first = hdu.shape[0], name
            elif hdu.shape[0] != n_rows:
                raise InputError(
                    f"{self.path}: {hdu.shape[0]} rows in [{name}], but {n_rows} in [{first}]; file damaged?"
                )
            self._columns[name] = _image_column(hdu, name)
            self.units[name] = get_string(hdu.header, "BUNIT", "")
        if n_rows is None:
            raise InputError(f"{self.path}: found no image extensions, expected the columns of a pixel table")
        return n_rows

    def _scan_table(self, hdu: Hdu) -> int:
        for column in hdu.columns:
            name = column.name
            if name not in FIELD_OF_COLUMN and name != "weight":
                continue
            if name in self._columns:
                raise hdu.error(f"column {name}: found two of this name, expected one")
            is_integer = name in _INTEGER_COLUMNS
            if column.repeat != 1 or column.effective not in (INTEGERS + "VK" if is_integer else "E"):
                scaled = "" if column.effective == column.letter else " with TSCAL and TZERO"
                expected = "1J" if is_integer else "1E"
                raise hdu.error(f"column {name}: found format {column.form}{scaled}, expected {expected}")
            self._columns[name] = _disk_column(
                hdu, hdu.data_begin + column.offset, hdu.shape[1], column.dtype, name, (column.scale, column.zero)
            )
            self.units[name] = column.unit
        return hdu.n_rows

    def raw_column(self, name: str, start: int, stop: int) -> tuple[bytes | memoryview, int]:
        """Return the bytes of a range of a column, big-endian, and the distance of its values in them."""
        column = self._columns[name]
        if isinstance(column, np.ndarray):
            return memoryview(column[start:stop]).cast("B"), column.itemsize
        raw = self._file.read(
            column.offset + start * column.stride, (stop - start - 1) * column.stride + column.dtype.itemsize
        )
        if column.target is column.dtype:
            return raw, column.stride
        return memoryview(column.numbers(raw, name)).cast("B"), column.target.itemsize

    def column(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return a range of a column, in native byte order."""
        stop = self.n_rows if stop is None else stop
        dtype = _target(name)
        out = np.empty(stop - start, dtype.newbyteorder("="))
        for a in range(start, stop, _BLOCK):
            b = min(a + _BLOCK, stop)
            raw, stride = self.raw_column(name, a, b)
            out[a - start : b - start] = np.ndarray((b - a,), dtype, raw, 0, (stride,))
        return out

    def read(
        self,
        start: int = 0,
        stop: int | None = None,
        out: np.ndarray | None = None,
        columns: Sequence[str] = COLUMNS,
    ) -> np.ndarray:
        """Return rows `start` to `stop`; ndarray of ROW, in `out` if it is given. Only `columns` are filled in."""
        stop = self.n_rows if stop is None else stop
        out = np.empty(stop - start, ROW) if out is None else out
        words = out.view(np.uint32).reshape(-1, len(FIELDS))
        fields = np.array([FIELDS.index(FIELD_OF_COLUMN[name]) for name in columns], np.intc)
        found = [self._columns[name] for name in columns]
        plain = [column for column in found if isinstance(column, _DiskColumn) and column.target is column.dtype]
        if len(plain) == len(found):  # as they always are in files of the pipeline
            strides = np.array([column.stride for column in plain], np.int64)
            positions = np.array([column.offset for column in plain], np.int64) + start * strides
            self._file.read_columns(positions, strides, fields, words, _BLOCK)
            return out
        for a in range(start, stop, _BLOCK):
            b = min(a + _BLOCK, stop)
            for name, field in zip(columns, fields.tolist(), strict=True):
                raw, stride = self.raw_column(name, a, b)
                columns_kernels.unpack(raw, stride, words[a - start : b - start], field)
        return out

    def load(self) -> PixelTable:
        """Return the whole table."""
        return PixelTable(
            rows=self.read(),
            header=self.header.copy(),
            position_unit=self.position_unit,
            data_unit=self.units["data"],
            stat_unit=self.units["stat"],
            flat_field=self.flat_field,
            weight=self.column("weight") if self.has_weight else None,
        )


def _target(name: str) -> np.dtype:
    """Return the type of a column as its bytes are read."""
    return _INTEGER if name in _INTEGER_COLUMNS else _FLOAT


def _disk_column(
    hdu: Hdu, offset: int, stride: int, dtype: np.dtype, name: str, scaling: tuple[float, float]
) -> _DiskColumn:
    target = _target(name)
    plain = dtype == target and scaling == (1.0, 0.0)
    return _DiskColumn(hdu, offset, stride, dtype, dtype if plain else target, *scaling)


def _image_column(hdu: Hdu, name: str) -> _DiskColumn | np.ndarray:
    """Return where an image of one column lies: float32, scaled or not, or integers of any length for integer columns.

    The reference reads these; others it takes for what they are not, or refuses.
    """
    is_integer, bitpix, scaling = name in _INTEGER_COLUMNS, hdu.bitpix, hdu.scaling()
    if bitpix < 0 if is_integer else bitpix != -32:
        raise hdu.error(f"found BITPIX {bitpix}, expected {32 if is_integer else -32}")
    if hdu.is_compressed:  # cannot be read by ranges
        return _DiskColumn(hdu, 0, 8, np.dtype("f8"), _target(name)).numbers(hdu.image(limited=False).tobytes(), name)
    dtype = np.dtype(f">{'i' if bitpix > 8 else 'u' if bitpix > 0 else 'f'}{abs(bitpix) // 8}")
    return _disk_column(hdu, hdu.data_begin, dtype.itemsize, dtype, name, scaling)


def _flat_field(hdu: Hdu) -> FlatFieldSpectrum | None:
    """Return the flat-field spectrum of a pixel table from its last HDU, if it is one."""
    if hdu.name.upper() != FLAT_FIELD_EXTNAME:
        return None
    if not hdu.is_table:
        raise hdu.error("found no binary table, expected one")
    unsmoothed = hdu.column("data_unsm") if hdu.find_column("data_unsm") is not None else None
    return FlatFieldSpectrum(hdu.column("lambda"), hdu.column("data"), unsmoothed)


class PixelTableWriter:
    """A pixel table that is written by ranges of rows.

    Parameters
    ----------
    path : path
        Final name; see `FitsStreamWriter`.
    header : Header
        Complete primary header, with structure.
    n_rows : int
        Number of rows.
    position_unit, data_unit, stat_unit : str
        Units of the columns.
    flat_field : FlatFieldSpectrum, optional
        Appended as an extension.
    further : mapping of str to str
        Names of further columns of float32, with their units (empty: none): ``weight``, original data.
    as_table : bool
        Binary table instead of image extensions.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        header: Header,
        n_rows: int,
        *,
        position_unit: str,
        data_unit: str,
        stat_unit: str,
        flat_field: FlatFieldSpectrum | None = None,
        further: Mapping[str, str] = MappingProxyType({}),
        as_table: bool = False,
    ) -> None:
        units = {
            **further,
            "xpos": position_unit,
            "ypos": position_unit,
            "lambda": "Angstrom",
            "data": data_unit,
            "stat": stat_unit,
        }
        self._names = COLUMNS + tuple(further)
        self._as_table = as_table
        if as_table:
            forms = [
                (name, "1J" if name in _INTEGER_COLUMNS else "1E", units.get(name) or None, np.empty(0))
                for name in self._names
            ]
            table, _ = table_hdu(forms)
            table["NAXIS2"] = n_rows
            headers = [header, table]
            self._record = np.dtype([(n, "i4" if n in _INTEGER_COLUMNS else "f4") for n in self._names])
        else:
            headers = [header]
            for name in self._names:
                extension = image_header(32 if name in _INTEGER_COLUMNS else -32, (n_rows, 1))
                extension["EXTNAME"] = name
                if units.get(name):
                    extension["BUNIT"] = units[name]
                headers.append(extension)
        self._flat_data = None
        if flat_field is not None:
            columns = [("lambda", "1D", None, flat_field.lbda), ("data", "1D", None, flat_field.data)]
            if flat_field.unsmoothed is not None:
                columns.append(("data_unsm", "1D", None, flat_field.unsmoothed))
            extension, self._flat_data = table_hdu(columns, FLAT_FIELD_EXTNAME)
            headers.append(extension)
        self._writer = FitsStreamWriter(path, headers)
        if self._flat_data is not None:
            self._writer.write(len(headers) - 1, 0, self._flat_data)

    def write(self, start: int, rows: np.ndarray, further: Mapping[str, np.ndarray] = MappingProxyType({})) -> None:
        """Write `rows` from row number `start` on, and their further columns; may be called from several threads."""
        for a in range(0, len(rows), _BLOCK):
            part = rows[a : a + _BLOCK]
            columns = {name: values[a : a + _BLOCK] for name, values in further.items()}
            columns |= {name: part[field] for name, field in FIELD_OF_COLUMN.items()}
            if self._as_table:
                records = np.empty(len(part), self._record)
                for name in self._names:
                    records[name] = columns[name].view(records.dtype[name])
                self._writer.write(1, (start + a) * len(self._names), records.view(np.int32))
                continue
            for i, name in enumerate(self._names):
                self._writer.write(i + 1, start + a, np.ascontiguousarray(columns[name]))

    def set_primary(self, header: Header) -> None:
        """Replace the primary header by one with as many cards."""
        self._writer.headers[0] = header

    def finish(self) -> Path:
        """Complete the file."""
        return self._writer.finish()

    def abort(self) -> None:
        """Remove what has been written."""
        self._writer.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, value: object, traceback: object) -> None:
        self._writer.__exit__(kind, value, traceback)


def write_pixel_table(
    path: str | os.PathLike[str], table: PixelTable, header: Header, *, as_table: bool = False
) -> Path:
    """Write a table that is in memory; `header` is the complete primary header."""
    with PixelTableWriter(
        path,
        header,
        len(table),
        position_unit=table.position_unit,
        data_unit=table.data_unit,
        stat_unit=table.stat_unit,
        flat_field=table.flat_field,
        further={} if table.weight is None else {"weight": ""},
        as_table=as_table,
    ) as writer:
        writer.write(0, table.rows, {} if table.weight is None else {"weight": table.weight})
        return writer.finish()

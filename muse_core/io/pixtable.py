# SPDX-License-Identifier: GPL-2.0-or-later
"""Pixel tables on disk, in both formats: one image extension a column, or one binary table.

A table is read and written by ranges of rows; it never has to be in memory as a whole.
"""

import dataclasses
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.io import fits

from muse_core.cython_ext.columns import unpack
from muse_core.errors import InputError
from muse_core.io.fitswriter import FitsStreamWriter, image_header
from muse_core.io.tables import open_fits, read_column, table_hdu
from muse_core.model.header import PIXTABLE
from muse_core.model.pixtable import FlatFieldSpectrum, PixelTable
from muse_core.model.rows import COLUMNS, FIELD_OF_COLUMN, ROW

FLAT_FIELD_EXTNAME = "PIXTABLE_FLAT_FIELD"
#: Environment variable of the reference: write pixel tables as binary tables.
AS_TABLE_VARIABLE = "MUSE_PIXTABLE_SAVE_AS_TABLE"
_TYPE = "GEOFULL"  # those of type SIMPLE have no geometrical calibration: no cube can be made from them
_INTEGER_COLUMNS = ("dq", "origin")
_BLOCK = 1 << 13  # rows that are brought into memory at a time: their columns stay in the cache


@dataclasses.dataclass(frozen=True, slots=True)
class _DiskColumn:
    """Where a column lies: element i is at ``offset + i * stride``."""

    offset: int
    stride: int
    dtype: np.dtype


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

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self._file = None
        self._lock = threading.Lock()
        with open_fits(self.path) as hdus:
            try:
                self.header = hdus[0].header.copy()
                kind = self.header.get(PIXTABLE + "TYPE")
                if kind != _TYPE:
                    raise InputError(f"{self.path}: keyword {PIXTABLE}TYPE: found {kind!r}, expected {_TYPE!r}")
                if len(hdus) < 2:
                    raise InputError(f"{self.path}: found no extensions, expected the columns of a pixel table")
                self._columns: dict[str, _DiskColumn | np.ndarray] = {}
                self.units: dict[str, str] = {}
                if isinstance(hdus[1], fits.BinTableHDU) and not isinstance(hdus[1], fits.CompImageHDU):
                    self.n_rows = self._scan_table(hdus)
                else:
                    self.n_rows = self._scan_images(hdus)
                self.flat_field = self._read_flat_field(hdus)
            except (OSError, ValueError, TypeError, IndexError) as error:
                if isinstance(error, InputError):
                    raise
                raise InputError(f"{self.path}: cannot be read as a pixel table (truncated file?): {error}") from error
        missing = [name for name in COLUMNS if name not in self._columns]
        if missing:
            raise InputError(f"{self.path}: found no column {', '.join(missing)}, expected {', '.join(COLUMNS)}")
        if not self.n_rows:
            raise InputError(f"{self.path}: found no rows, expected some")
        self.has_weight = "weight" in self._columns

    def close(self) -> None:
        """Close the file; it is opened again when rows are read."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def __enter__(self):
        return self

    def __exit__(self, kind, value, traceback):
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

    def _scan_images(self, hdus: fits.HDUList) -> int:
        n_rows = None
        for hdu in hdus[1:]:
            if hdu.name == FLAT_FIELD_EXTNAME:
                continue
            name = str(hdu.header.get("EXTNAME", "")).strip()
            where = f"{self.path}[{name or 'unnamed extension'}]"
            if not hdu.is_image:
                raise InputError(f"{where}: found a table, expected an image of one column")
            shape, bitpix = hdu.shape, hdu.header["BITPIX"]
            if len(shape) != 2 or shape[1] != 1:
                raise InputError(
                    f"{where}: found an image of {'x'.join(map(str, shape[::-1])) or 'no'} pixels, expected 1xN"
                )
            if bitpix not in (-32, 32) or (bitpix == 32) != (name in _INTEGER_COLUMNS):
                raise InputError(f"{where}: found BITPIX {bitpix}, expected {32 if name in _INTEGER_COLUMNS else -32}")
            if n_rows is None:
                n_rows, first = shape[0], name
            elif shape[0] != n_rows:
                raise InputError(
                    f"{self.path}: {shape[0]} rows in [{name}], but {n_rows} in [{first}]; file truncated or damaged?"
                )
            dtype = np.dtype(">i4" if bitpix == 32 else ">f4")
            self._columns[name] = self._disk_column(hdu, where, dtype, 0, 4, n_rows)
            self.units[name] = str(hdu.header.get("BUNIT", ""))
        if n_rows is None:
            raise InputError(f"{self.path}: found no image extensions, expected the columns of a pixel table")
        return n_rows

    def _scan_table(self, hdus: fits.HDUList) -> int:
        hdu = hdus[1]
        where = f"{self.path}[1]"
        offset = 0
        for column in hdu.columns:
            dtype = column.dtype.newbyteorder(">")
            if column.name in FIELD_OF_COLUMN or column.name == "weight":
                expected = "J" if column.name in _INTEGER_COLUMNS else "E"
                if column.format.lstrip("1") != expected:
                    raise InputError(
                        f"{where}: column {column.name}: found format {column.format}, expected 1{expected}"
                    )
                self._columns[column.name] = self._disk_column(
                    hdu, where, dtype, offset, hdu.header["NAXIS1"], hdu.header["NAXIS2"]
                )
                self.units[column.name] = str(column.unit or "")
            offset += dtype.itemsize
        return hdu.header["NAXIS2"]

    def _disk_column(self, hdu, where, dtype, offset, stride, n_rows) -> _DiskColumn | np.ndarray:
        info = hdu.fileinfo()
        compressed = isinstance(hdu, fits.CompImageHDU) or info["file"].compression is not None
        if compressed:  # cannot be read by ranges
            values = hdu.data if hdu.is_image else np.asarray(hdu.data).view(np.uint8)
            if hdu.is_image:
                return np.asarray(values).reshape(-1).astype(dtype)
            raw = values.reshape(n_rows, stride)[:, offset : offset + dtype.itemsize]
            return np.ascontiguousarray(raw).reshape(-1).view(dtype)
        start, end = info["datLoc"], info["datLoc"] + n_rows * stride
        size = os.stat(self.path).st_size
        if size < end:
            raise InputError(f"{where}: found {size} bytes in the file, expected at least {end}; file truncated?")
        return _DiskColumn(start + offset, stride, dtype)

    def _read_flat_field(self, hdus: fits.HDUList) -> FlatFieldSpectrum | None:
        hdu = hdus[-1]
        if hdu.name != FLAT_FIELD_EXTNAME:
            return None
        where = f"{self.path}[{FLAT_FIELD_EXTNAME}]"
        unsmoothed = read_column(hdu, "data_unsm", where) if "data_unsm" in hdu.columns.names else None
        return FlatFieldSpectrum(read_column(hdu, "lambda", where), read_column(hdu, "data", where), unsmoothed)

    def _descriptor(self) -> int:
        with self._lock:
            if self._file is None:
                self._file = open(self.path, "rb", buffering=0)  # noqa: SIM115 (closed by close)
            return self._file.fileno()

    def _read_column(self, name: str, start: int, stop: int) -> tuple[bytes | memoryview, int]:
        """Return the bytes of a range of a column, and the distance of its values in them."""
        column = self._columns[name]
        if isinstance(column, np.ndarray):
            return memoryview(column[start:stop]).cast("B"), column.itemsize
        length = (stop - start) * column.stride
        raw = os.pread(self._descriptor(), length, column.offset + start * column.stride)
        if len(raw) < length - column.stride + column.dtype.itemsize:
            raise InputError(f"{self.path}[{name}]: file ended in rows {start} to {stop}; file truncated?")
        return raw, column.stride

    def column(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return a range of a column, in native byte order."""
        stop = self.n_rows if stop is None else stop
        dtype = self._columns[name].dtype
        out = np.empty(stop - start, dtype.newbyteorder("="))
        for a in range(start, stop, _BLOCK):
            b = min(a + _BLOCK, stop)
            raw, stride = self._read_column(name, a, b)
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
        words = out.view(np.uint32).reshape(-1, len(ROW.names))
        for a in range(start, stop, _BLOCK):
            b = min(a + _BLOCK, stop)
            for name in columns:
                raw, stride = self._read_column(name, a, b)
                unpack(raw, stride, words[a - start : b - start], ROW.names.index(FIELD_OF_COLUMN[name]))
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
    weighted : bool
        Add a ``weight`` column.
    as_table : bool
        Binary table instead of image extensions.
    """

    def __init__(
        self,
        path,
        header: fits.Header,
        n_rows: int,
        *,
        position_unit: str,
        data_unit: str,
        stat_unit: str,
        flat_field: FlatFieldSpectrum | None = None,
        weighted: bool = False,
        as_table: bool = False,
    ):
        units = {
            "xpos": position_unit,
            "ypos": position_unit,
            "lambda": "Angstrom",
            "data": data_unit,
            "stat": stat_unit,
        }
        self._names = COLUMNS + (("weight",) if weighted else ())
        self._as_table = as_table
        if as_table:
            forms = [
                (name, "1J" if name in _INTEGER_COLUMNS else "1E", units.get(name), np.empty(0)) for name in self._names
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

    def write(self, start: int, rows: np.ndarray, weight: np.ndarray | float | None = None) -> None:
        """Write `rows` from row number `start` on; may be called from several threads."""
        for a in range(0, len(rows), _BLOCK):
            part = rows[a : a + _BLOCK]
            w = weight[a : a + _BLOCK] if isinstance(weight, np.ndarray) else weight
            if self._as_table:
                records = np.empty(len(part), self._record)
                for name in self._names:
                    records[name] = w if name == "weight" else part[FIELD_OF_COLUMN[name]].view(records.dtype[name])
                self._writer.write(1, (start + a) * len(self._names), records.view(np.int32))
                continue
            for i, name in enumerate(self._names):
                if name == "weight":
                    values = np.broadcast_to(np.float32(w) if np.isscalar(w) else w, len(part)).astype(np.float32)
                else:
                    values = np.ascontiguousarray(part[FIELD_OF_COLUMN[name]])
                self._writer.write(i + 1, start + a, values)

    def set_primary(self, header: fits.Header) -> None:
        """Replace the primary header by one with as many cards."""
        self._writer.headers[0] = header

    def finish(self) -> Path:
        """Complete the file."""
        return self._writer.finish()

    def abort(self) -> None:
        """Remove what has been written."""
        self._writer.abort()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, traceback):
        self._writer.__exit__(kind, value, traceback)


def write_pixel_table(path, table: PixelTable, header: fits.Header, *, as_table: bool = False) -> Path:
    """Write a table that is in memory; `header` is the complete primary header."""
    with PixelTableWriter(
        path,
        header,
        len(table),
        position_unit=table.position_unit,
        data_unit=table.data_unit,
        stat_unit=table.stat_unit,
        flat_field=table.flat_field,
        weighted=table.weight is not None,
        as_table=as_table,
    ) as writer:
        writer.write(0, table.rows, table.weight)
        return writer.finish()

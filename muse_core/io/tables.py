# SPDX-License-Identifier: GPL-2.0-or-later
"""Binary tables: reading with checks of the columns, and making HDUs for our writer."""

import contextlib
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from muse_core.errors import InputError, MissingFileError


@contextlib.contextmanager
def open_fits(path: Path) -> Iterator[fits.HDUList]:
    """Open a FITS file for reading without memory maps.

    What astropy has to say about truncated files is not shown: our readers check lengths themselves, and raise.

    Raises
    ------
    MissingFileError
        The file does not exist or cannot be read.
    InputError
        It is not a FITS file.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyUserWarning)
        try:
            hdus = fits.open(path, mode="readonly", memmap=False, lazy_load_hdus=True)
        except FileNotFoundError as error:
            raise MissingFileError(f"{path}: file does not exist") from error
        except PermissionError as error:
            raise MissingFileError(f"{path}: file cannot be read ({error.strerror})") from error
        except IsADirectoryError as error:
            raise MissingFileError(f"{path}: found a folder, expected a FITS file") from error
        except OSError as error:
            reason = str(error).partition(",")[0]  # what follows is advice for programmers
            raise InputError(f"{path}: found no FITS file ({reason}), expected one") from error
        with hdus:
            yield hdus


def find_table(hdus: fits.HDUList, where: str, extname: str | None = None) -> fits.BinTableHDU:
    """Return extension 1, or the table extension `extname`.

    Raises
    ------
    InputError
        If there is no such binary table.
    """
    if extname is None:
        if len(hdus) > 1 and isinstance(hdus[1], fits.BinTableHDU):
            return hdus[1]
        raise InputError(f"{where}: extension 1: found no binary table, expected one")
    for hdu in hdus[1:]:
        if isinstance(hdu, fits.BinTableHDU) and hdu.name == extname.upper():
            return hdu
    raise InputError(f"{where}: found no binary table with EXTNAME {extname}, expected one")


def require_complete(hdu, where: str) -> None:
    """Check that the data of an HDU are all in its file.

    Raises
    ------
    InputError
        The file is shorter.
    """
    info = hdu.fileinfo()
    if info is None or info["file"].compression is not None:
        return
    end, size = info["datLoc"] + hdu.size, os.stat(info["file"].name).st_size
    if size < end:
        raise InputError(f"{where}: found {size} bytes in the file, expected at least {end}; file truncated?")


def read_column(hdu: fits.BinTableHDU, name: str, where: str, formats: str = "D") -> np.ndarray:
    """Return a scalar column in native byte order.

    Parameters
    ----------
    hdu : BinTableHDU
        The table.
    name : str
        Column name, compared case-sensitively first.
    where : str
        File and extension, for messages.
    formats : str
        Allowed FITS format letters, for example ``D`` or ``JI``.

    Raises
    ------
    InputError
        Column missing, of another format, or the data of the table cannot be read.
    """
    columns = hdu.columns
    if name not in columns.names:
        raise InputError(f"{where}: column {name}: not found among {', '.join(columns.names) or 'no columns'}")
    form = columns[columns.names.index(name)].format
    letter = form.lstrip("0123456789")[:1]
    if letter not in formats:
        raise InputError(f"{where}: column {name}: found format {form}, expected {' or '.join(formats)}")
    require_complete(hdu, where)
    try:
        values = hdu.data[name]
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{where}: column {name}: data cannot be read (truncated file?): {error}") from error
    if values.dtype.kind == "U":
        return np.asarray(values)
    return np.ascontiguousarray(values, values.dtype.newbyteorder("="))


def table_hdu(
    columns: Sequence[tuple[str, str, str | None, np.ndarray]], extname: str | None = None
) -> tuple[fits.Header, np.ndarray]:
    """Make a binary table for `FitsStreamWriter`.

    Parameters
    ----------
    columns : sequence of (name, FITS format, unit or None, values)
        The columns.
    extname : str, optional
        EXTNAME.

    Returns
    -------
    header : Header
        Header of the extension.
    data : ndarray of uint8
        The data unit as it lies in the file.
    """
    hdu = fits.BinTableHDU.from_columns(
        [
            fits.Column(name=name, format=form if form[0].isdigit() else f"1{form}", unit=unit, array=values)
            for name, form, unit, values in columns
        ]
    )
    if extname:
        hdu.header["EXTNAME"] = extname
    stored = np.asarray(hdu.data)
    stored = stored.astype(stored.dtype.newbyteorder(">"))
    return hdu.header, np.frombuffer(stored.tobytes(), np.uint8)

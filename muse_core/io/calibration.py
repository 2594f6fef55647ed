# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading the calibration frames that are curves, lists or headers: response, extinction, telluric, offsets, WCS."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from astropy.io import fits

from muse_core.errors import InputError
from muse_core.io.tables import find_table, open_fits, read_column
from muse_core.model.curves import ExtinctionCurve, OffsetList, ResponseCurve, TelluricCurve
from muse_core.model.header import instrument_mode

_FLAT_FIELD_CORRECTED = "ESO DRS MUSE FLUX FFCORR"


def read_response(path: Path) -> ResponseCurve:
    """Read a STD_RESPONSE.

    Raises
    ------
    InputError
        Table or columns missing or of another type, wavelengths not ascending.
    """
    with open_fits(path) as hdus:
        table, where = find_table(hdus, str(path)), f"{path}[1]"
        primary = hdus[0].header
        return ResponseCurve(
            read_column(table, "lambda", where),
            read_column(table, "response", where),
            read_column(table, "resperr", where),
            flat_field_corrected=bool(primary.get(_FLAT_FIELD_CORRECTED, False)),
            mode=instrument_mode(primary) if "ESO INS MODE" in primary else None,
            where=where,
        )


def read_extinction(path: Path) -> ExtinctionCurve:
    """Read an EXTINCT_TABLE; raises like `read_response`."""
    with open_fits(path) as hdus:
        table, where = find_table(hdus, str(path)), f"{path}[1]"
        return ExtinctionCurve(read_column(table, "lambda", where), read_column(table, "extinction", where), where)


def read_telluric(path: Path) -> TelluricCurve:
    """Read a STD_TELLURIC; raises like `read_response`."""
    with open_fits(path) as hdus:
        table, where = find_table(hdus, str(path)), f"{path}[1]"
        return TelluricCurve(
            read_column(table, "lambda", where),
            read_column(table, "ftelluric", where),
            read_column(table, "ftellerr", where),
            flat_field_corrected=bool(hdus[0].header.get(_FLAT_FIELD_CORRECTED, False)),
            where=where,
        )


def read_offsets(path: Path) -> OffsetList:
    """Read an OFFSET_LIST.

    Raises
    ------
    InputError
        A required column is missing, or any column has another type than the format has.
    """
    with open_fits(path) as hdus:
        table, where = find_table(hdus, str(path)), f"{path}[1]"
        if "MJD_OBS" in table.columns.names:  # unused, but its type is part of the format
            read_column(table, "MJD_OBS", where)
        has_scale = "FLUX_SCALE" in table.columns.names
        return OffsetList(
            tuple(str(text).rstrip() for text in read_column(table, "DATE_OBS", where, "A")),
            read_column(table, "RA_OFFSET", where),
            read_column(table, "DEC_OFFSET", where),
            read_column(table, "FLUX_SCALE", where) if has_scale else None,
            where=where,
        )


def read_primary_header(path: Path) -> fits.Header:
    """Return the primary header of a file."""
    with open_fits(path) as hdus:
        return hdus[0].header.copy()


def read_headers(path: Path) -> Iterator[tuple[str, fits.Header]]:
    """Yield a name for messages and the header of each HDU."""
    with open_fits(path) as hdus:
        for i, hdu in enumerate(hdus):
            yield f"{path}[{hdu.name or i}]", hdu.header.copy()


def filter_names(path: Path) -> list[str]:
    """Return the names of the filters of a FILTER_LIST."""
    return [name for name in (_extname(header) for _, header in read_headers(path)) if name]


def _extname(header: fits.Header) -> str:
    return str(header.get("EXTNAME", "")).strip()


def read_filter(path: Path, name: str) -> tuple[np.ndarray, np.ndarray, fits.Header]:
    """Read a filter curve of a FILTER_LIST.

    Parameters
    ----------
    path : Path
        The list.
    name : str
        EXTNAME of the filter; upper and lower case differ.

    Returns
    -------
    lbda, throughput : ndarray of float64, shape (n,)
        Wavelength in Angstrom, ascending, and throughput.
    header : Header
        Header of the extension.

    Raises
    ------
    InputError
        No such filter, or its columns are unusable.
    """
    with open_fits(path) as hdus:
        names = []
        for hdu in hdus[1:]:
            extname = _extname(hdu.header)
            names.append(extname)
            if extname != name:
                continue
            where = f"{path}[{name}]"
            if not isinstance(hdu, fits.BinTableHDU):
                raise InputError(f"{where}: found no binary table, expected one")
            lbda = read_column(hdu, "lambda", where)
            throughput = read_column(hdu, "throughput", where)
            if len(lbda) < 2 or (np.diff(lbda) < 0).any():
                raise InputError(f"{where}: column lambda: found values that do not ascend, expected a filter curve")
            return lbda, throughput, hdu.header.copy()
    raise InputError(f"{path}: found no filter {name!r}, expected one of {', '.join(names) or 'none'}")

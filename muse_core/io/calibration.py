# SPDX-License-Identifier: GPL-2.0-or-later
"""Calibration frames that are curves, lists or headers: response, extinction, telluric, offsets, WCS."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from astropy.io import fits

from muse_core.errors import InputError
from muse_core.io.fitsreader import FitsFile
from muse_core.model import units
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
    with FitsFile(path) as file:
        table, primary = file.table(), file.primary.header
        return ResponseCurve(
            table.column("lambda"),
            table.column("response"),
            table.column("resperr"),
            flat_field_corrected=bool(primary.get(_FLAT_FIELD_CORRECTED, False)),
            mode=instrument_mode(primary) if "ESO INS MODE" in primary else None,
            where=table.where,
        )


def read_extinction(path: Path) -> ExtinctionCurve:
    """Read an EXTINCT_TABLE; raises like `read_response`."""
    with FitsFile(path) as file:
        table = file.table()
        return ExtinctionCurve(table.column("lambda"), table.column("extinction"), table.where)


def read_telluric(path: Path) -> TelluricCurve:
    """Read a STD_TELLURIC; raises like `read_response`."""
    with FitsFile(path) as file:
        table = file.table()
        return TelluricCurve(
            table.column("lambda"),
            table.column("ftelluric"),
            table.column("ftellerr"),
            flat_field_corrected=bool(file.primary.header.get(_FLAT_FIELD_CORRECTED, False)),
            where=table.where,
        )


def read_offsets(path: Path) -> OffsetList:
    """Read an OFFSET_LIST.

    Raises
    ------
    InputError
        A required column is missing, or any column has another type than the format has.
    """
    with FitsFile(path) as file:
        table = file.table()
        if table.find_column("MJD_OBS") is not None:  # unused, but its type is part of the format
            table.column("MJD_OBS")
        has_scale = table.find_column("FLUX_SCALE") is not None
        return OffsetList(
            tuple(table.column("DATE_OBS", "A").tolist()),
            table.column("RA_OFFSET"),
            table.column("DEC_OFFSET"),
            table.column("FLUX_SCALE") if has_scale else None,
            where=table.where,
        )


def offset_columns(offsets: OffsetList, mjd_obs: np.ndarray) -> list[tuple]:
    """Columns of OFFSET_LIST, for `muse_core.io.tables.table_hdu`; `mjd_obs` in days, float64 of shape (n,)."""
    n = len(offsets.date_obs)
    scale = np.full(n, np.nan) if offsets.flux_scale is None else offsets.flux_scale
    length = max((len(date) for date in offsets.date_obs), default=1)
    return [
        ("DATE_OBS", f"{length}A", None, np.array(offsets.date_obs)),
        ("MJD_OBS", "1D", "s", mjd_obs),  # the unit is the reference's; readers know that it is days
        ("RA_OFFSET", "1D", units.DEG, offsets.ra_offset),
        ("DEC_OFFSET", "1D", units.DEG, offsets.dec_offset),
        ("FLUX_SCALE", "1D", None, scale),
    ]


def read_primary_header(path: Path) -> fits.Header:
    """Return the primary header of a file."""
    with FitsFile(path) as file:
        return file.primary.header


def read_headers(path: Path) -> Iterator[tuple[str, fits.Header]]:
    """Yield a name for messages and the header of each HDU."""
    with FitsFile(path) as file:
        for hdu in file:
            yield f"{path}[{hdu.name or hdu.index}]", hdu.header


def filter_names(path: Path) -> list[str]:
    """Return the names of the filters of a FILTER_LIST."""
    with FitsFile(path) as file:
        return [hdu.name for hdu in file if hdu.name]


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
    with FitsFile(path) as file:
        names = []
        for hdu in file.extensions():
            names.append(hdu.name)
            if hdu.name != name:
                continue
            if not hdu.is_table:
                raise hdu.error("found no binary table, expected one")
            lbda, throughput = hdu.column("lambda"), hdu.column("throughput")
            if len(lbda) < 2 or (np.diff(lbda) < 0).any():
                raise hdu.error("column lambda: found values that do not ascend, expected a filter curve")
            return lbda, throughput, hdu.header
    raise InputError(f"{path}: found no filter {name!r}, expected one of {', '.join(names) or 'none'}")

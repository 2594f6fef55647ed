# SPDX-License-Identifier: GPL-2.0-or-later
"""Calibration frames that are curves, lists or headers: response, extinction, telluric, offsets, WCS."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from muse_core.errors import InputError
from muse_core.io.fitsreader import FitsFile, Hdu
from muse_core.io.tables import TableColumn
from muse_core.model import units
from muse_core.model.compat import OURS, Compat
from muse_core.model.curves import ExtinctionCurve, OffsetList, ResponseCurve, TelluricCurve
from muse_core.model.fits import Header
from muse_core.model.header import get_bool, has, instrument_mode, naming
from muse_core.model.keywords import checked_column
from muse_core.model.wcs import AstrometricSolution

_FILTER = ("lambda", "throughput")
_FLAT_FIELD_CORRECTED = "ESO DRS MUSE FLUX FFCORR"


def _curve(table: Hdu, tag: str, names: tuple[str, ...], compat: Compat) -> list[np.ndarray]:
    """Return the columns of a curve, which has at least two rows; in the reference one will do."""
    if table.n_rows < 2 and not compat.senseless_values_used:
        raise table.error(f"found {table.n_rows} rows, expected a curve of at least 2")
    return [checked_column(tag, name, table.column(name), table.where, compat) for name in names]


def _is_corrected(primary: Header, tag: str, path: Path, compat: Compat) -> bool:
    with naming(str(path)):
        return get_bool(primary, _FLAT_FIELD_CORRECTED, tag, compat)


def read_response(path: Path, compat: Compat = OURS) -> ResponseCurve:
    """Read a STD_RESPONSE.

    Raises
    ------
    InputError
        Table or columns missing or of another type, wavelengths not ascending.
    """
    with FitsFile(path) as file:
        table, primary = file.table(), file.primary.header
        lbda, response, error = _curve(table, "STD_RESPONSE", ("lambda", "response", "resperr"), compat)
        return ResponseCurve(
            lbda,
            response,
            error,
            flat_field_corrected=_is_corrected(primary, "STD_RESPONSE", path, compat),
            mode=instrument_mode(primary) if has(primary, "ESO INS MODE", tag="STD_RESPONSE") else None,
            where=table.where,
        )


def read_extinction(path: Path, compat: Compat = OURS) -> ExtinctionCurve:
    """Read an EXTINCT_TABLE; raises like `read_response`."""
    with FitsFile(path) as file:
        table = file.table()
        lbda, extinction = _curve(table, "EXTINCT_TABLE", ("lambda", "extinction"), compat)
        return ExtinctionCurve(lbda, extinction, table.where)


def read_telluric(path: Path, compat: Compat = OURS) -> TelluricCurve:
    """Read a STD_TELLURIC; raises like `read_response`."""
    with FitsFile(path) as file:
        table = file.table()
        lbda, transmission, error = _curve(table, "STD_TELLURIC", ("lambda", "ftelluric", "ftellerr"), compat)
        return TelluricCurve(
            lbda,
            transmission,
            error,
            flat_field_corrected=_is_corrected(file.primary.header, "STD_TELLURIC", path, compat),
            where=table.where,
        )


def read_offsets(path: Path, compat: Compat = OURS) -> OffsetList:
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

        def numbers(name: str) -> np.ndarray:
            return checked_column("OFFSET_LIST", name, table.column(name), table.where, compat)

        has_scale = table.find_column("FLUX_SCALE") is not None
        return OffsetList(
            tuple(table.column("DATE_OBS", "A").tolist()),
            numbers("RA_OFFSET"),
            numbers("DEC_OFFSET"),
            numbers("FLUX_SCALE") if has_scale else None,
            where=table.where,
        )


def offset_columns(offsets: OffsetList, mjd_obs: np.ndarray) -> list[TableColumn]:
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


def read_primary_header(path: Path) -> Header:
    """Return the primary header of a file."""
    with FitsFile(path) as file:
        return file.primary.header


def read_astrometry(path: Path, compat: Compat = OURS) -> Header:
    """Return the primary header of an ASTROMETRY_WCS.

    Raises
    ------
    InputError
        It has no astrometric solution that can be used; in the reference that is found when it is used.
    """
    header = read_primary_header(path)
    if not compat.senseless_values_used:
        AstrometricSolution.from_header(header, str(path), compat)
    return header


def read_headers(path: Path) -> Iterator[tuple[str, Header]]:
    """Yield a name for messages and the header of each HDU."""
    with FitsFile(path) as file:
        for hdu in file:
            yield f"{path}[{hdu.name or hdu.index}]", hdu.header


def filter_names(path: Path) -> list[str]:
    """Return the names of the filters of a FILTER_LIST."""
    with FitsFile(path) as file:
        return [hdu.name for hdu in file if hdu.name]


def read_filter(path: Path, name: str, compat: Compat = OURS) -> tuple[np.ndarray, np.ndarray, Header]:
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
            lbda, throughput = (checked_column("FILTER_LIST", n, hdu.column(n), hdu.where, compat) for n in _FILTER)
            if len(lbda) < 2 or (np.diff(lbda) < 0).any():
                raise hdu.error("column lambda: found values that do not ascend, expected a filter curve")
            return lbda, throughput, hdu.header
    raise InputError(f"{path}: found no filter {name!r}, expected one of {', '.join(names) or 'none'}")

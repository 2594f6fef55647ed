# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading the calibrations of the sky subtraction, and the tables of its products.

Not here: line spread functions, see `muse_core.io.lsf`.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from muse_core.errors import DataError, InputError
from muse_core.io.fitsreader import FitsFile, Hdu
from muse_core.io.tables import TableColumn
from muse_core.model import units
from muse_core.model.compat import OURS, Compat
from muse_core.model.fits import Header
from muse_core.model.header import get_float, get_string, naming
from muse_core.model.keywords import checked_column
from muse_core.model.skylines import SkyLines, lines_from_oh
from muse_core.model.skymask import SkyMask
from muse_core.model.spectrum import Continuum, Spectrum

_LOG = logging.getLogger(__name__)

LINES = "LINES"
OH_TRANSITIONS = "OH_TRANSITIONS"
CONTINUUM = "CONTINUUM"
_MASK = "SKY_MASK"
_LINE_UNITS = {"name": None, "group": None, "lambda": units.ANGSTROM, "flux": units.LINE_FLUX, "dq": None}


def _check_finite(values: np.ndarray, column: str, where: str) -> None:
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise InputError(f"{where}: column {column}: found {values[bad[0]]} in row {bad[0] + 1}, expected a number")


def _read_lines(table: Hdu, compat: Compat) -> SkyLines:
    where = table.where
    lines = SkyLines.from_columns(
        table.column("name", "A"),
        table.column("group", "JI"),
        table.column("lambda"),
        table.column("flux"),
        table.column("dq", "JI"),
    )
    found = {column.name: column.unit or None for column in table.columns}
    if found["flux"] == units.LINE_FLUX_PLAIN:
        lines.flux[:] *= 1e20
        found["flux"] = units.LINE_FLUX
    if not compat.sky_lines_dropped:
        for name, values in (("lambda", lines.lbda), ("flux", lines.flux)):
            checked_column("SKY_LINES", name, values, where)
    for name, unit in found.items():
        if name not in _LINE_UNITS:
            problem = f"{where}: column {name}: found, but it is none of {', '.join(_LINE_UNITS)}"
        elif unit != _LINE_UNITS[name]:
            expected = "no unit" if _LINE_UNITS[name] is None else repr(_LINE_UNITS[name])
            problem = f"{where}: column {name}: found unit {unit!r}, expected {expected}"
        else:
            continue
        if not compat.sky_lines_dropped:
            raise InputError(problem)
        _LOG.error("%s; its %d lines are not used", problem, len(lines))
        return lines.take(np.empty(0, np.intp))
    return lines


def _read_oh(table: Hdu, compat: Compat) -> SkyLines:
    where = table.where
    for name in ("v_l", "nu"):  # unused, but part of the format
        table.column(name, "JI")
    numbers = {name: table.column(name) for name in ("lambda", "E_u", "J_u", "A")}
    for name, values in numbers.items():
        checked_column(OH_TRANSITIONS, name, values, where, compat)
    v_u = table.column("v_u", "JI")
    try:
        return lines_from_oh(table.column("name", "A"), numbers["lambda"], v_u, *list(numbers.values())[1:])
    except DataError as error:
        raise InputError(f"{where}: {error}") from error


def read_sky_lines(path: Path, compat: Compat = OURS) -> SkyLines | None:
    """Read SKY_LINES: the table ``LINES``, the table ``OH_TRANSITIONS``, or both.

    Parameters
    ----------
    path : Path
        The file.
    compat : Compat
        ``bad_sky_input_ignored``: an unusable table counts as missing. ``sky_lines_dropped``: the lines of ``LINES``
        are dropped if it has other columns or units than the format has.

    Returns
    -------
    SkyLines or None
        Rows of ``LINES``, then those of ``OH_TRANSITIONS``; None if there is no usable table (compat only).

    Raises
    ------
    InputError
        No table, or a column is missing, of another type or unit, or has values that are not finite.
    """
    parts = []
    with FitsFile(path) as file:
        for extname, read in ((LINES, _read_lines), (OH_TRANSITIONS, _read_oh)):
            if file.find(extname) is None:
                continue
            try:
                parts.append(read(file.table(extname), compat))
            except InputError as error:
                if not compat.bad_sky_input_ignored:
                    raise
                _LOG.warning("%s; the table is not used", error)
    if parts:
        return parts[0].followed_by(parts[1]) if len(parts) == 2 else parts[0]
    message = f"{path}: found no usable table with EXTNAME {LINES} or {OH_TRANSITIONS}"
    if not compat.bad_sky_input_ignored:
        raise InputError(message)
    _LOG.warning("%s; no sky lines", message)
    return None


def read_sky_continuum(path: Path, compat: Compat = OURS) -> Continuum | None:
    """Read SKY_CONTINUUM.

    Parameters
    ----------
    path : Path
        The file. Units are not looked at: values must be in the unit of the pixel table.
    compat : Compat
        ``bad_sky_input_ignored``: an unusable table counts as none.

    Returns
    -------
    Continuum or None
        None only with the switch of `compat`.

    Raises
    ------
    InputError
        Table or column missing or of another type, values not finite, wavelengths not ascending.
    """
    try:
        return _read_spectrum(path, "SKY_CONTINUUM", CONTINUUM, "flux", checked=not compat.bad_sky_input_ignored)
    except InputError as error:
        if not compat.bad_sky_input_ignored:
            raise
        _LOG.warning("%s; no sky continuum", error)
        return None


def read_sky_spectrum(path: Path) -> Continuum:
    """Read SKY_SPECTRUM; its column data becomes the flux.

    Raises
    ------
    InputError
        Table or column missing or of another type, values not finite, wavelengths not ascending.
    """
    return _read_spectrum(path, "SKY_SPECTRUM", None, "data")


def _read_spectrum(path: Path, tag: str, extname: str | None, column: str, *, checked: bool = True) -> Continuum:
    """Read wavelengths, which have to ascend, and a column of a table; values have to make sense if `checked`."""
    with FitsFile(path) as file:
        table = file.table(extname)
        where = table.where
        spectrum = Continuum(table.column("lambda"), table.column(column))
    if not len(spectrum):
        raise InputError(f"{where}: found no row, expected a spectrum")
    _check_finite(spectrum.lbda, "lambda", where)
    if np.any(np.diff(spectrum.lbda) < 0):
        row = int(np.argmax(np.diff(spectrum.lbda) < 0)) + 2
        raise InputError(f"{where}: column lambda: smaller in row {row} than before, expected ascending values")
    if checked:
        checked_column(tag, "lambda", spectrum.lbda, where)
        checked_column(tag, column, spectrum.flux, where)
    return spectrum


def _mask_coordinates(header: Header, where: str, compat: Compat) -> dict[str, Any]:
    def numbers(*keys: str) -> tuple[float, ...]:
        return tuple(get_float(header, key, 0.0, compat, _MASK) for key in keys)

    cd = numbers("CD1_1", "CD1_2", "CD2_1", "CD2_2")
    if cd == (0.0, 0.0, 0.0, 0.0):
        other = [
            key for key in ("CDELT1", "CDELT2", "PC1_1", "PC2_2") if get_float(header, key, 1.0, compat, _MASK) != 1
        ]
        if other and not compat.bad_sky_input_ignored:
            raise InputError(f"{where}: found keyword {other[0]} but no CDi_j; expected the matrix CD1_1 ... CD2_2")
        cd = (1.0, 0.0, 0.0, 1.0)
    if cd[0] * cd[3] - cd[1] * cd[2] == 0:
        raise InputError(f"{where}: the matrix CD1_1 ... CD2_2 = {cd} has no inverse")
    ctypes = [get_string(header, key, "", _MASK, compat) for key in ("CTYPE1", "CTYPE2")]
    celestial = all(ctype[4:5] == "-" for ctype in ctypes)
    if celestial:
        cunits = [get_string(header, key, "deg", _MASK, compat) for key in ("CUNIT1", "CUNIT2")]
        if not all("-TAN" in ctype for ctype in ctypes) or cunits != ["deg", "deg"]:
            raise InputError(
                f"{where}: found CTYPE {', '.join(ctypes)} in {', '.join(cunits)}, "
                "expected a gnomonic projection (RA---TAN, DEC--TAN) in deg"
            )
    return {
        "crpix": numbers("CRPIX1", "CRPIX2"), "crval": numbers("CRVAL1", "CRVAL2"), "cd": cd, "celestial": celestial
    }  # fmt: skip


def read_sky_mask(path: Path, compat: Compat = OURS) -> SkyMask | None:
    """Read SKY_MASK: an image in the primary HDU, not 0 on the sky.

    Parameters
    ----------
    path : Path
        The file. Values are truncated to whole numbers: 0.9 is not sky.
    compat : Compat
        ``bad_sky_input_ignored``: an unusable mask counts as none.

    Returns
    -------
    SkyMask or None
        None only with the switch of `compat`.

    Raises
    ------
    InputError
        No two-dimensional image, values outside 0...255, or unusable coordinates.
    """
    try:
        with FitsFile(path) as file:
            header = file.primary.header
            n_axes = len(file.primary.shape)
            if n_axes != 2:
                raise InputError(f"{path}: primary HDU: found NAXIS = {n_axes}, expected an image")
            image = file.primary.image()
        if not ((image >= 0) & (image <= 255)).all():
            raise InputError(
                f"{path}: found values from {np.min(image):g} to {np.max(image):g}, expected 0 (not sky) or 1 (sky)"
            )
        with naming(str(path)):
            coordinates = _mask_coordinates(header, str(path), compat)
        return SkyMask((image.astype(np.uint8) != 0).view(np.uint8), **coordinates)
    except InputError as error:
        if not compat.bad_sky_input_ignored:
            raise
        _LOG.warning("%s; no sky mask", error)
        return None


def spectrum_columns(spectrum: Spectrum, data_unit: str, stat_unit: str) -> list[TableColumn]:
    """Columns of SKY_SPECTRUM, for `muse_core.io.tables.table_hdu`; units are those of the pixel table."""
    return [
        ("lambda", "1D", units.ANGSTROM, spectrum.lbda),
        ("data", "1D", data_unit, spectrum.data),
        ("stat", "1D", stat_unit, spectrum.stat),
        ("dq", "1J", None, np.zeros(len(spectrum), np.int32)),
    ]


def lines_columns(lines: SkyLines) -> list[TableColumn]:
    """Columns of SKY_LINES, extension `LINES`, for `muse_core.io.tables.table_hdu`."""
    length = max((len(name) for name in lines.name.tolist()), default=1)
    padded = np.array([name.ljust(length) for name in lines.name.tolist()], np.str_)  # as in the reference
    return [
        ("name", f"{max(length, 1)}A", None, padded),
        ("group", "1J", None, lines.group),
        ("lambda", "1D", units.ANGSTROM, lines.lbda),
        ("flux", "1D", units.LINE_FLUX, lines.flux),
        ("dq", "1J", None, lines.dq),
    ]


def continuum_columns(continuum: Continuum, unit: str = units.LINE_FLUX_PLAIN) -> list[TableColumn]:
    """Columns of SKY_CONTINUUM, extension `CONTINUUM`, for `muse_core.io.tables.table_hdu`.

    Whatever the unit says, values are those of the pixel table.
    """
    return [("lambda", "1D", units.ANGSTROM, continuum.lbda), ("flux", "1D", unit, continuum.flux)]

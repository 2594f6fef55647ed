# SPDX-License-Identifier: GPL-2.0-or-later
"""Field-of-view images (IMAGE_FOV) and lists of their sources (SOURCE_LIST) on disk."""

from pathlib import Path

import numpy as np

from muse_core.errors import InputError
from muse_core.io.tables import find_table, open_fits, read_column, require_complete
from muse_core.model import units
from muse_core.model.fov import CelestialGrid, FovImage
from muse_core.model.header import get_string, require_float


def read_fov_image(path: Path) -> FovImage:
    """Read an IMAGE_FOV: its extension DATA, else the first image; pixels that its extension DQ flags become NaN.

    Raises
    ------
    InputError
        No two-dimensional image, unusable world coordinates, no MJD-OBS or DATE-OBS.
    """
    with open_fits(path) as hdus:
        primary = hdus[0].header.copy()
        images = [
            hdu for hdu in hdus if hdu.is_image and hdu.header.get("NAXIS") == 2 and hdu.name not in ("STAT", "DQ")
        ]
        images.sort(key=lambda hdu: hdu.name != "DATA")
        if not images:
            raise InputError(f"{path}: found no image of two dimensions, expected a field-of-view image")
        where = f"{path}[{images[0].name or hdus.index(images[0])}]"
        data = _pixels(images[0], where).astype(np.float32)
        flags = next((hdu for hdu in hdus if hdu.is_image and hdu.name == "DQ"), None)
        if flags is not None:
            dq = _pixels(flags, f"{path}[DQ]")
            if dq.shape != data.shape:
                raise InputError(f"{path}[DQ]: found shape {dq.shape}, expected {data.shape} as {where}")
            data[dq != 0] = np.nan
        if get_string(primary, "DATE-OBS") is None:
            raise InputError(f"{path}: keyword DATE-OBS: found {primary.get('DATE-OBS', 'nothing')!r}, expected a date")
        header = images[0].header
        return FovImage(
            data=data,
            grid=CelestialGrid.from_header(header, where),
            header=primary,
            mjd_obs=require_float(primary, "MJD-OBS", str(path)),
            unit=get_string(header, "BUNIT", ""),
            where=str(path),
        )


def _pixels(hdu, where: str) -> np.ndarray:
    require_complete(hdu, where)
    try:
        return np.asarray(hdu.data)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{where}: data cannot be read (truncated file?): {error}") from error


def read_source_positions(path: Path) -> tuple[float, np.ndarray, np.ndarray]:
    """Read a SOURCE_LIST.

    Returns
    -------
    mjd_obs : float
        MJD-OBS of the image that it belongs to.
    number : ndarray of int32, shape (n,)
        Column Id.
    pixels : ndarray of float64, shape (n, 2)
        Columns X and Y.

    Raises
    ------
    InputError
        Keyword or column missing or of another type, no row, values not finite.
    """
    with open_fits(path) as hdus:
        table, where = find_table(hdus, str(path)), f"{path}[1]"
        number = read_column(table, "Id", where, "J")
        pixels = np.column_stack([read_column(table, name, where) for name in ("X", "Y")])
        for name in ("RA", "DEC"):  # unused, but part of the format
            read_column(table, name, where)
        if not len(pixels):
            raise InputError(f"{where}: found no row, expected at least one source")
        if not np.isfinite(pixels).all():
            raise InputError(f"{where}: columns X, Y: found values that are not finite, expected pixels")
        return require_float(hdus[0].header, "MJD-OBS", str(path)), number, pixels


def source_columns(number: np.ndarray, stars: np.ndarray, positions: np.ndarray, corrected: np.ndarray) -> list[tuple]:
    """Columns of SOURCE_LIST, for `muse_core.io.tables.table_hdu`.

    Parameters
    ----------
    number : ndarray of int32, shape (n,)
        Numbers of the sources.
    stars : ndarray of `muse_core.steps.align.stars.STAR`, shape (n,)
        The sources.
    positions, corrected : ndarray of float64, shape (n, 2)
        Right ascension and declination in degrees, before and after the offset.
    """
    return [
        ("Id", "1J", None, number),
        ("X", "1D", units.PIX, stars["x"]),
        ("Y", "1D", units.PIX, stars["y"]),
        ("Flux", "1D", None, stars["flux"]),
        ("Sharpness", "1D", None, stars["sharpness"]),
        ("Roundness", "1D", None, stars["roundness"]),
        ("RA", "1D", units.DEG, positions[:, 0]),
        ("DEC", "1D", units.DEG, positions[:, 1]),
        ("RA_CORR", "1D", units.DEG, corrected[:, 0]),
        ("DEC_CORR", "1D", units.DEG, corrected[:, 1]),
    ]

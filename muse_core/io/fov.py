# SPDX-License-Identifier: GPL-2.0-or-later
"""Field-of-view images (IMAGE_FOV) and lists of their sources (SOURCE_LIST) on disk."""

from pathlib import Path

import numpy as np

from muse_core.errors import InputError
from muse_core.io.fitsreader import FitsFile
from muse_core.io.tables import TableColumn
from muse_core.model import units
from muse_core.model.fov import COORDINATE_ERRORS, TAG, CelestialGrid, FovImage
from muse_core.model.header import get_string, require_float
from muse_core.model.keywords import checked_column

SOURCES = "SOURCE_LIST"


def read_fov_image(path: Path) -> FovImage:
    """Read an IMAGE_FOV: its extension DATA, else the first image; pixels that its extension DQ flags become NaN.

    Raises
    ------
    InputError
        No two-dimensional image, unusable world coordinates, no MJD-OBS or DATE-OBS.
    """
    with FitsFile(path) as file:
        images = [hdu for hdu in file if hdu.is_image and len(hdu.shape) == 2 and hdu.name not in ("STAT", "DQ")]
        images.sort(key=lambda hdu: hdu.name != "DATA")
        if not images:
            raise InputError(f"{path}: found no image of two dimensions, expected a field-of-view image")
        image, flags, primary = images[0], file.find("DQ"), file.primary.header
        data = image.image().astype(np.float32)
        if flags is not None:
            if flags.shape != data.shape:
                raise flags.error(f"found shape {flags.shape}, expected {data.shape} as {image.where}")
            data[flags.image() != 0] = np.nan
        if get_string(primary, "DATE-OBS", tag=TAG) is None:
            raise InputError(f"{path}: keyword DATE-OBS: found nothing, expected a date")
        errors = {item.keyword: item for item in image.header.cards if item.keyword in COORDINATE_ERRORS}
        return FovImage(
            data=data,
            grid=CelestialGrid.from_header(image.header, image.where),
            header=primary,
            mjd_obs=require_float(primary, "MJD-OBS", str(path), tag=TAG),
            unit=get_string(image.header, "BUNIT", "", tag=TAG),
            where=str(path),
            coordinate_errors=tuple(errors[key] for key in COORDINATE_ERRORS if key in errors),
        )


def read_source_positions(path: Path) -> tuple[float, np.ndarray]:
    """Read a SOURCE_LIST.

    Returns
    -------
    mjd_obs : float
        MJD-OBS of the image that it belongs to.
    pixels : ndarray of float64, shape (n, 2)
        Columns X and Y.

    Raises
    ------
    InputError
        Keyword or column missing or of another type, no row, values not finite.
    """
    with FitsFile(path) as file:
        table = file.table()
        table.column("Id", "JI")  # unused, as RA and DEC, but part of the format
        pixels = np.column_stack(
            [checked_column(SOURCES, name, table.column(name), table.where) for name in ("X", "Y")]
        )
        for name in ("RA", "DEC"):
            table.column(name)
        if not len(pixels):
            raise table.error("found no row, expected at least one source")
        return require_float(file.primary.header, "MJD-OBS", str(path), tag=SOURCES), pixels


def source_columns(
    number: np.ndarray, stars: np.ndarray, positions: np.ndarray, corrected: np.ndarray
) -> list[TableColumn]:
    """Columns of SOURCE_LIST, for `muse_core.io.tables.table_hdu`.

    Parameters
    ----------
    number : ndarray of int, shape (n,)
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

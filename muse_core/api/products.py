# SPDX-License-Identifier: GPL-2.0-or-later
"""Products of recipes in a notebook: opened as what they are, and seen at a glance."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from astropy.io import fits

from muse_core.api import session
from muse_core.api.cube import Cube, Image
from muse_core.errors import InputError
from muse_core.model.record import record

if TYPE_CHECKING:
    from tempfile import TemporaryDirectory

    from astropy.table import Table

    from muse_core.api.pixtable import PixelTable

#: Planes whose mean is the small picture of a cube.
_PLANES = 12


def open_product(path: Path, folder: "TemporaryDirectory[str] | None" = None) -> "Cube | Image | PixelTable | Table":
    """Open a product: a cube, an image, a pixel table, else its first table; with a cube goes the folder of its file.

    Raises
    ------
    InputError
        It is none of them.
    """
    with fits.open(path) as hdus:
        if len(_first_shape(hdus)) == 3:
            return Cube(path, folder)
        if session.is_pixel_table(path):
            from muse_core.api.pixtable import PixelTable

            return PixelTable.read(path)
        if (image := _image(hdus)) is not None:
            return image
        for hdu in hdus:
            if isinstance(hdu, fits.BinTableHDU):
                from astropy.table import Table

                return Table.read(hdu)
        raise InputError(f"{path}: found {[hdu.name for hdu in hdus]}, expected a cube, an image or a table")


def _first_shape(hdus: fits.HDUList) -> tuple[int, ...]:
    """Return the shape of the first HDU that has data, as its header says it."""
    return next((hdu.shape for hdu in hdus if hdu.is_image and hdu.shape), ())


def _image(hdus: fits.HDUList) -> Image | None:
    """Return the first image of a file, or a mean of some planes of its cube."""
    for hdu in hdus:
        if hdu.is_image and len(hdu.shape) in (2, 3) and math.prod(hdu.shape):
            data = hdu.data
            if data.ndim == 3:
                planes = np.unique(np.linspace(0, len(data) - 1, min(_PLANES, len(data))).astype(int))
                total, number = (np.zeros(data.shape[1:]) for _ in range(2))
                for plane in planes:
                    good = np.isfinite(data[plane])
                    total[good] += data[plane][good]
                    number += good
                with np.errstate(invalid="ignore"):
                    data = total / number
            image = np.asarray(data, np.float32)
            return Image(image, hdu.header.copy(), hdu.header.get("BUNIT", ""), hdu.header.get("OBJECT", hdu.name))
    return None


@record
class Glance:
    """What a product is, at a glance.

    Attributes
    ----------
    shapes : str
        HDUs with data, and their shapes or numbers of rows.
    n_bytes : int
        Size of its data.
    picture : str
        Small picture as an HTML element, empty if there is none.
    """

    shapes: str
    n_bytes: int
    picture: str

    @classmethod
    def of(cls, hdus: fits.HDUList, *, picture: bool) -> "Glance":
        """Look at a file; without a picture only headers are read."""
        shapes = []
        for hdu in hdus:
            if hdu.is_image and hdu.shape:
                shapes.append(f"{hdu.name or 'primary'} {' x '.join(map(str, hdu.shape[::-1]))}")
            elif isinstance(hdu, fits.BinTableHDU):
                n_rows, n_columns = hdu.header["NAXIS2"], hdu.header["TFIELDS"]
                shapes.append(f"{hdu.name or 'table'} {n_rows} rows, {n_columns} columns")
        small = ""
        if picture and (image := _image(hdus)) is not None and np.isfinite(image.data).any():
            from muse_core.api import plotting

            small = plotting.thumbnail(image, 100)
        return cls(", ".join(shapes), sum(hdu.size for hdu in hdus), small)

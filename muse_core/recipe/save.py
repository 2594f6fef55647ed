# SPDX-License-Identifier: GPL-2.0-or-later
"""Products that are small enough to be written at once."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from muse_core.io.cube import extension_header
from muse_core.io.fitswriter import primary_header, write_hdus
from muse_core.io.products import ProductFactory
from muse_core.io.tables import table_hdu
from muse_core.model.fits import Card


def save_image(
    factory: ProductFactory,
    tag: str,
    source: list[Card],
    wcs: list[Card],
    image: np.ndarray,
    flags: np.ndarray,
    unit: str,
) -> None:
    """Write an image with the extensions DATA and DQ.

    Parameters
    ----------
    factory : ProductFactory
        Makes name and header.
    tag : str
        Tag of the product.
    source, wcs : list of Card
        Its keywords, and world coordinates.
    image : ndarray of float32, shape (ny, nx)
        Values, in `unit`.
    flags : ndarray of int32, shape (ny, nx)
        Euro3D flags.
    unit : str
        Unit.
    """
    path = factory.next_path(tag)
    primary = factory.header(tag, source, path, primary_header())
    data = extension_header("DATA", image.shape, wcs, unit=unit, inherit=True, partners=[("DQ", "DQ")])
    quality = extension_header("DQ", image.shape, wcs, inherit=True, partners=[("DATA", "DATA")])
    write_hdus(path, [(primary, None), (data, image), (quality, flags)])
    factory.register(path, tag)


def save_mask(factory: ProductFactory, tag: str, source: list[Card], wcs: list[Card], mask: np.ndarray) -> None:
    """Write a mask (ndarray of bool or uint8, shape (ny, nx)) with the coordinates of a white-light image."""
    path = factory.next_path(tag)
    header = factory.header(tag, [*source, *wcs], path, primary_header(8, mask.shape))
    write_hdus(path, [(header, np.ascontiguousarray(mask, np.uint8))])
    factory.register(path, tag)


def save_table(
    factory: ProductFactory, tag: str, source: Iterable[Card], columns: list[Any], extname: str | None
) -> None:
    """Write a product that is a table, of `columns` as `muse_core.io.tables.table_hdu` takes them."""
    path = factory.next_path(tag)
    # the empty primary HDU of a table without a name has another BITPIX in the reference
    primary = factory.header(tag, source, path, primary_header(8 if extname else 16))
    header, data = table_hdu(columns, extname)
    write_hdus(path, [(primary, None), (header, data)])
    factory.register(path, tag)

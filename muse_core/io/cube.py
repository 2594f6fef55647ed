# SPDX-License-Identifier: GPL-2.0-or-later
"""Cubes and field-of-view images on disk in ESO's format: DATA and STAT extensions, planes written as they come."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import numpy as np

from muse_core.io.fitswriter import FitsStreamWriter, image_header, primary_header, write_hdus
from muse_core.io.products import ProductFactory
from muse_core.model.cards import set_card
from muse_core.model.fits import Card, Header

_CLASS_CARDS = (
    ("HDUCLASS", "ESO", "class name (ESO format)"),
    ("HDUDOC", "DICD", "document with class description"),
    ("HDUVERS", "DICD version 6", "version number (according to spec v2.5.1)"),
    ("HDUCLAS1", "IMAGE", "Image data format"),
)
_CONTENT = {
    "DATA": "This extension contains data values",
    "STAT": "This extension contains data variance",
    "DQ": "This extension contains bad pixel status",
}
_CLASS2 = {
    "DATA": ("DATA", "this extension contains the data itself"),
    "STAT": ("ERROR", "this extension contains variance"),
    "DQ": ("QUALITY", "this extension contains bad pixel mask"),
}
_POINTERS = {
    "DATA": ("SCIDATA", "pointer to the data extension"),
    "STAT": ("ERRDATA", "pointer to the variance extension"),
    "DQ": ("QUALDATA", "pointer to the bad pixel mask extension"),
}


def variance_unit(unit: str) -> str:
    """Unit of the variance of values of `unit`."""
    return f"({unit})**2" if unit else ""


def extension_header(
    kind: str,
    shape: tuple[int, ...],
    wcs: Iterable[Card],
    *,
    unit: str | None = None,
    extname: str | None = None,
    content: str | None = None,
    partners: Sequence[tuple[str, str]] = (),
    object_name: str | None = None,
    inherit: bool = False,
    bitpix: int | None = None,
) -> Header:
    """Make the header of an image extension.

    Parameters
    ----------
    kind : str
        ``DATA``, ``STAT`` or ``DQ``.
    shape : tuple of int
        Shape of the data, numpy order.
    wcs : iterable of Card
        World coordinates.
    unit : str, optional
        BUNIT.
    extname : str, optional
        EXTNAME, by default `kind`.
    content : str, optional
        Comment of EXTNAME.
    partners : sequence of (kind, extname)
        Extensions that belong to this one.
    object_name : str, optional
        OBJECT.
    inherit : bool
        Write ``INHERIT = T``.
    bitpix : int, optional
        By default 32 for flags, -32 else.
    """
    header = image_header(bitpix or (32 if kind == "DQ" else -32), shape)
    set_card(header, "EXTNAME", extname or kind, content or _CONTENT[kind])
    if inherit:
        set_card(header, "INHERIT", True, "denotes the INHERIT keyword convention")
    for key, value, comment in _CLASS_CARDS:
        set_card(header, key, value, comment)
    set_card(header, "HDUCLAS2", *_CLASS2[kind])
    if kind == "STAT":
        set_card(header, "HDUCLAS3", "MSE", "the extension contains variances (sigma**2)")
    elif kind == "DQ":
        set_card(header, "HDUCLAS3", "FLAG32BIT", "extension contains 32bit Euro3D bad pixel information")
        set_card(header, "QUALMASK", 0xFFFFFFFF, "all non-zero values are bad")
    for partner, name in partners:
        set_card(header, _POINTERS[partner][0], name, _POINTERS[partner][1])
    if unit is not None:
        set_card(header, "BUNIT", unit)
    if object_name is not None:
        set_card(header, "OBJECT", object_name)
    for item in wcs:
        set_card(header, item.keyword, item.value, item.comment)
    return header


class CubeWriter:
    """A cube of which the planes arrive in order; missing voxels are NaN in both extensions.

    Parameters
    ----------
    path : Path
        Final name.
    primary : Header
        Complete primary header.
    shape : tuple of int
        (planes, ny, nx).
    wcs : list of Card
        World coordinates.
    unit, stat_unit : str
        BUNIT of DATA and STAT.
    object_name : str, optional
        OBJECT of the exposure.
    images : sequence of Header
        Headers of images that follow the cube in the same file.
    spare_cards : int
        Number of cards by which `primary` may still grow.
    """

    def __init__(
        self,
        path: Path,
        primary: Header,
        shape: tuple[int, int, int],
        wcs: list[Card],
        *,
        unit: str,
        stat_unit: str,
        object_name: str | None,
        images: Sequence[Header] = (),
        spare_cards: int = 0,
    ):
        name = None if object_name is None else f"{object_name} (%s)"
        data = extension_header(
            "DATA", shape, wcs, unit=unit or None, partners=[("STAT", "STAT")], object_name=name and name % "DATA"
        )
        stat = extension_header(
            "STAT", shape, wcs, unit=stat_unit or None, partners=[("DATA", "DATA")], object_name=name and name % "STAT"
        )
        self._plane = shape[1] * shape[2]
        self.headers = [primary, data, stat, *images]
        self._writer = FitsStreamWriter(path, self.headers, spare_cards=spare_cards)

    def write(self, first: int, data: np.ndarray, stat: np.ndarray) -> None:
        """Write planes from number `first` on; missing voxels must be NaN already."""
        self._writer.write(1, first * self._plane, data.reshape(-1))
        self._writer.write(2, first * self._plane, stat.reshape(-1))

    def write_image(self, number: int, image: np.ndarray) -> None:
        """Write the image of the `number`-th header of `images`."""
        self._writer.write(3 + number, 0, np.ascontiguousarray(image).reshape(-1))

    def finish(self) -> Path:
        """Complete the file."""
        return self._writer.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, value: object, traceback: object) -> None:
        self._writer.__exit__(kind, value, traceback)


def write_fov_image(
    factory: ProductFactory,
    source: list[Card],
    image: np.ndarray,
    wcs: list[Card],
    *,
    unit: str,
    tag: str = "IMAGE_FOV",
) -> Path:
    """Write a field-of-view image.

    Parameters
    ----------
    factory : ProductFactory
        Gives name and primary header.
    source : list of Card
        Keywords of the image.
    image : ndarray of float32, shape (ny, nx)
        Values, NaN where there are none.
    wcs : list of Card
        World coordinates of two axes.
    unit : str
        Unit of the values.
    """
    path = factory.next_path(tag)
    primary = factory.header(tag, source, path, primary_header())
    header = extension_header("DATA", image.shape, wcs, unit=unit or None, inherit=True)
    write_hdus(path, [(primary, None), (header, image)])
    factory.register(path, tag)
    return path

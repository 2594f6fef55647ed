# SPDX-License-Identifier: GPL-2.0-or-later
"""DATACUBE_FINAL and its images in the formats Cube and xCube, and what all formats have in common."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from astropy.io.fits import Card, Header

from muse_core.io.cube import CubeWriter, extension_header, variance_unit, write_fov_image
from muse_core.io.fitswriter import primary_header
from muse_core.model.grid import OutputGrid
from muse_core.model.header import get_string
from muse_core.recipes.cards import image_wcs
from muse_core.recipes.images import Filter, View, make_views
from muse_core.recipes.inputs import Run
from muse_core.recipes.tables import Table
from muse_core.steps.collapse import Collapse
from muse_core.steps.resample.slab import SlabResult
from muse_core.steps.sdp import Exposure

TAG = "DATACUBE_FINAL"


@dataclasses.dataclass(frozen=True, slots=True)
class CubeProduct:
    """The cube that is made.

    Attributes
    ----------
    run : Run
        The run.
    table : Table
        The combined pixel table.
    grid : OutputGrid
        Grid of the cube.
    cards : list of Card
        Keywords of cube and images.
    filters : sequence of Filter
        Filters of the images.
    collapse : Collapse
        Makes the images.
    exposures : sequence of Exposure
        What science data products say of the exposures; empty for other formats.
    """

    run: Run
    table: Table
    grid: OutputGrid
    cards: list[Card]
    filters: Sequence[Filter]
    collapse: Collapse
    exposures: Sequence[Exposure] = ()

    @property
    def has_images_inside(self) -> bool:
        """Are the images in the file of the cube, not in their own?"""
        return self.run.parameters.format.startswith("x")

    @property
    def object_name(self) -> str | None:
        """OBJECT."""
        return get_string(self.table.header, "OBJECT")

    def wcs(self) -> list[Card]:
        """Return the world coordinates of the cube."""
        return self.grid.cards(self.table.header)

    def views(self, n_planes: int | None = None) -> list[View]:
        """Say what the images will be; `n_planes` as in `Collapse.fractions`."""
        return make_views(self.filters, self.collapse.fractions(n_planes), self.cards, self.object_name)

    def write_image(self, view: View, image: np.ndarray, unit: str, further: Sequence[Card] = ()) -> Path:
        """Write an IMAGE_FOV in `unit`, with `further` keywords, and return its path."""
        with self.run.factory.using(view.calibrations):
            cards = [*view.cards, *further]
            return write_fov_image(self.run.factory, cards, image, image_wcs(self.wcs()), unit=unit)


class CubeFormat(Protocol):
    """Writes a cube in one of the formats."""

    def __init__(self, product: CubeProduct): ...

    def write(self, first: int, result: SlabResult) -> None:
        """Write the planes from number `first` on, which come in order; they may be changed."""

    def finish(self, images: list[np.ndarray]) -> None:
        """Write the images, of all planes, and complete the cube."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind, value, traceback) -> None: ...


class PlainCube:
    """Formats Cube and xCube: extensions DATA and STAT, with xCube one more for each image."""

    def __init__(self, product: CubeProduct):
        self._product = product
        run, unit = product.run, product.table.data_unit
        self._views = product.views()
        images = [self._image_header(view) for view in self._views] if product.has_images_inside else []
        path = run.factory.next_path(TAG)
        self._writer = CubeWriter(
            path,
            run.factory.header(TAG, product.cards, path, primary_header()),
            product.grid.shape,
            product.wcs(),
            unit=unit,
            stat_unit=variance_unit(unit),
            object_name=product.object_name,
            images=images,
        )

    def _image_header(self, view: View) -> Header:
        product = self._product
        header = extension_header(
            "DATA",
            product.grid.shape[1:],
            image_wcs(product.wcs()),
            unit=product.table.data_unit or None,
            extname=view.name,
            content="reconstructed image (data values)",
            object_name=product.object_name and f"{product.object_name} ({view.name})",
        )
        header.extend(view.filter_cards)
        return header

    def write(self, first: int, result: SlabResult) -> None:
        """Write planes; missing voxels become NaN."""
        result.blank(self._product.run.resources.n_threads)
        self._writer.write(first, result.data, result.stat)

    def finish(self, images: list[np.ndarray]) -> None:
        """Write the images, and complete the cube."""
        product = self._product
        for number, (view, image) in enumerate(zip(self._views, images, strict=True)):
            if product.has_images_inside:
                self._writer.write_image(number, image)
            else:
                product.write_image(view, image, product.table.data_unit)
        product.run.factory.register(self._writer.finish(), TAG)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, traceback):
        self._writer.__exit__(kind, value, traceback)

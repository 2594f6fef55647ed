# SPDX-License-Identifier: GPL-2.0-or-later
"""DATACUBE_FINAL and its images in the formats Cube and xCube."""

from typing import Self

import numpy as np

from muse_core.io.cube import CubeWriter, extension_header, variance_unit
from muse_core.io.fitswriter import primary_header
from muse_core.model.fits import Header
from muse_core.stages.cards import image_wcs
from muse_core.stages.formats.product import TAG, CubeProduct
from muse_core.stages.images import FieldImage
from muse_core.steps.resample.slab import SlabResult


class PlainCube:
    """Formats Cube and xCube: extensions DATA and STAT, with xCube one more for each image."""

    def __init__(self, product: CubeProduct):
        self._product = product
        run, unit = product.run, product.table.data_unit
        self._views = product.views()
        images = [self._image_header(view) for view in self._views] if product.images_inside else []
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

    def _image_header(self, view: FieldImage) -> Header:
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
            if product.images_inside:
                self._writer.write_image(number, image)
            else:
                product.write_image(view, image, product.table.data_unit)
        product.run.factory.register(self._writer.finish(), TAG)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, value: object, traceback: object) -> None:
        self._writer.__exit__(kind, value, traceback)

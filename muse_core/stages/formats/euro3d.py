# SPDX-License-Identifier: GPL-2.0-or-later
"""DATACUBE_FINAL as a Euro3D table of spectra (formats Euro3D and xEuro3D)."""

import dataclasses
import itertools
from pathlib import Path
from typing import Self

import numpy as np

from muse_core.engine.spool import ColumnSpool
from muse_core.io import euro3d as headers
from muse_core.io.fitswriter import FitsStreamWriter, primary_header
from muse_core.model.cards import card
from muse_core.model.dq import DQ
from muse_core.model.fits import Header
from muse_core.stages.cards import image_wcs
from muse_core.stages.formats.product import TAG, CubeProduct
from muse_core.stages.images import FieldImage
from muse_core.steps.collapse import Collapse
from muse_core.steps.euro3d import Euro3DTable, group_row
from muse_core.steps.resample.slab import SlabResult


class Euro3D:
    """Formats Euro3D and xEuro3D: a row for each spaxel with data, with xEuro3D two more extensions for each image.

    Rows need all planes of a spaxel, and their length those of all spaxels: the planes wait in a scratch file.
    """

    def __init__(self, product: CubeProduct):
        self._product = dataclasses.replace(product, cards=[*product.cards, *headers.CARDS])
        self._spectra = Euro3DTable(product.grid)
        self._spool = ColumnSpool(product.grid.shape, product.run.resources.scratch)

    def write(self, first: int, result: SlabResult) -> None:
        """Keep planes."""
        self._spectra.add_planes(first, result.dq)
        self._spool.write(first, result.data, result.stat, result.dq)

    def finish(self, images: list[np.ndarray]) -> None:
        """Write the images, then the cube."""
        product = self._product
        shape = self._spectra.image_shape(product.run.compat)
        n_planes = self._spectra.n_planes_of_images
        if product.run.compat.euro3d_images_cut and n_planes < product.grid.nz:
            images = self._images_of_first_planes(n_planes)
        views = product.views(n_planes)
        seen = [(view, _resized(image, shape)) for view, image in zip(views, images, strict=True)]
        if product.images_inside:
            self._write_cube(seen)
            return
        for view, image in seen:
            product.write_image(view, image, product.table.data_unit)
        self._write_cube([])

    def _images_of_first_planes(self, n_planes: int) -> list[np.ndarray]:
        """Return the images that the reference makes: it takes the length of the spectra for the number of planes."""
        grid, curves = self._product.grid, self._product.collapse.curves
        images = [np.full((grid.ny, grid.nx), np.nan, np.float32) for _ in curves]
        for x, column in self._spool.columns():
            part = Collapse(dataclasses.replace(grid, nx=1), curves)
            planes = np.ascontiguousarray(column[:n_planes, :, None])
            part.add_planes(0, planes["data"].copy(), planes["dq"].copy())
            for image, found in zip(images, part.images(), strict=True):
                image[:, x] = found[:, 0]
        return images

    def _write_cube(self, images: list[tuple[FieldImage, np.ndarray]]) -> None:
        product, spectra = self._product, self._spectra
        group = group_row(product.table.header, product.grid, product.run.compat, product.step)
        inside = [self._image_headers(view, image.shape) for view, image in images]
        path = product.run.factory.next_path(TAG)
        hdus = [self._primary(path), self._spectra_header(), headers.group_header(group.dtype)]
        with FitsStreamWriter(path, [*hdus, *itertools.chain(*inside)]) as writer:
            row = 0
            for x, column in self._spool.columns():
                rows = spectra.rows(x, column["data"], column["stat"], column["dq"])
                if len(rows):
                    writer.write(1, row, rows)
                row += len(rows)
            writer.write(2, 0, group)
            for number, (_, image) in enumerate(images):
                missing = np.isnan(image)
                writer.write(3 + 2 * number, 0, np.where(missing, np.float32(0), image).reshape(-1))
                writer.write(4 + 2 * number, 0, np.where(missing, np.int32(DQ.MISSING), 0).astype(np.int32).reshape(-1))
            product.run.factory.register(writer.finish(), TAG)

    def _primary(self, path: Path) -> Header:
        product = self._product
        unit = product.table.data_unit
        cards = [*product.cards, card("BUNIT", unit)] if unit else product.cards
        return product.run.factory.header(TAG, cards, path, primary_header(16))

    def _spectra_header(self) -> Header:
        table, spectra = self._product.table, self._spectra
        return headers.spectra_header(
            spectra.dtype,
            spectra.n_rows,
            self._product.wcs(),
            position_unit=table.position_unit,
            data_unit=table.data_unit,
            stat_unit=table.stat_unit,
            has_unused_elements=spectra.has_unused_elements,
        )

    def _image_headers(self, view: FieldImage, shape: tuple[int, int]) -> list[Header]:
        product = self._product
        return headers.image_headers(
            view.name,
            shape,
            image_wcs(product.wcs()),
            view.filter_cards,
            unit=product.table.data_unit,
            object_name=product.object_name,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, value: object, traceback: object) -> None:
        self._spool.close()


def _resized(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Cut an image at its upper ends, or continue it with NaN."""
    resized = np.full(shape, np.nan, image.dtype)
    ny, nx = np.minimum(shape, image.shape)
    resized[:ny, :nx] = image[:ny, :nx]
    return resized

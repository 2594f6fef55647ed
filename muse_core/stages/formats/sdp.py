# SPDX-License-Identifier: GPL-2.0-or-later
"""DATACUBE_FINAL as a science data product of ESO (format sdpCube)."""

from collections.abc import Sequence
from typing import Self

import numpy as np

from muse_core.io.cube import CubeWriter, variance_unit
from muse_core.io.fitswriter import primary_header
from muse_core.model import units
from muse_core.model.cards import card, set_card
from muse_core.recipe.run import Run
from muse_core.stages.formats.product import TAG, CubeProduct
from muse_core.stages.opening import OpenedExposure
from muse_core.steps import sdp
from muse_core.steps.resample.slab import SlabResult


def describe_exposures(run: Run, opened: Sequence[OpenedExposure]) -> list[sdp.SdpExposure]:
    """Return what the keywords need to know of the exposures, from the headers of their first files.

    Raises
    ------
    InputError, DataError
        A keyword is missing that the products need.
    """
    first = [exposure.rows.files[0] for exposure in opened]
    return [sdp.SdpExposure.from_header(file.header, str(file.path), run.compat) for file in first]


class SdpCube:
    """Format sdpCube: as Cube, with keywords and units of science data products."""

    def __init__(self, product: CubeProduct):
        self._product = product
        run, table = product.run, product.table
        self._views = product.views()
        self._statistics = sdp.CubeStatistics(product.grid, run.resources.n_threads)
        self._unit, stat_unit = table.data_unit, variance_unit(table.data_unit)
        if self._unit == units.FLUX:
            self._unit, stat_unit = sdp.FLUX, sdp.FLUX_VARIANCE
        path = run.factory.next_path(TAG)
        cards = [item for item in product.cards if not sdp.NUMBERED.match(item.keyword)]
        self._primary = run.factory.header(TAG, cards, path, primary_header())
        self._writer = CubeWriter(
            path,
            self._primary,
            product.grid.shape,
            sdp.extension_wcs(product.wcs()),
            unit=self._unit,
            stat_unit=stat_unit,
            object_name=product.object_name,
            spare_cards=sdp.largest_number_of_cards(product.exposures, len(self._views)),
        )

    def write(self, first: int, result: SlabResult) -> None:
        """Write planes; missing voxels become NaN."""
        self._statistics.add_planes(first, result.data, result.stat, result.dq)
        result.blank(self._product.run.resources.n_threads)
        self._writer.write(first, result.data, result.stat)

    def finish(self, images: list[np.ndarray]) -> None:
        """Write the images, then complete the cube, whose keywords name them."""
        product, table = self._product, self._product.table
        run = product.run
        category = card("PRODCATG", sdp.IMAGE_CATEGORY, "Data product category")
        names = [
            product.write_image(view, image, self._unit, [category]).name
            for view, image in zip(self._views, images, strict=True)
        ]
        cards = sdp.primary_cards(
            product.exposures,
            table.header,
            product.grid,
            self._statistics,
            images=names,
            largest_image=max((int(np.count_nonzero(~np.isnan(image))) for image in images), default=0),
            data_unit=table.data_unit,
            has_response="STD_RESPONSE" in run.factory.tags_used,
            software=run.factory.pipeline,
            compat=run.compat,
        )
        for item in cards:
            set_card(self._primary, item.keyword, item.value, item.comment)
        run.factory.register(self._writer.finish(), TAG)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, value: object, traceback: object) -> None:
        self._writer.__exit__(kind, value, traceback)

# SPDX-License-Identifier: GPL-2.0-or-later
"""What all formats of DATACUBE_FINAL have in common."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, Self

import numpy as np

from muse_core.io.cube import write_fov_image
from muse_core.model.fits import Card
from muse_core.model.grid import OutputGrid
from muse_core.model.header import get_string
from muse_core.model.record import record
from muse_core.recipe.run import Run
from muse_core.stages.cards import image_wcs
from muse_core.stages.images import FieldImage, Filter, make_field_images
from muse_core.stages.tables import StoredTable
from muse_core.steps.collapse import Collapse
from muse_core.steps.resample.slab import SlabResult
from muse_core.steps.sdp import SdpExposure

TAG = "DATACUBE_FINAL"


@record
class CubeProduct:
    """The cube that is made.

    Attributes
    ----------
    run : Run
        The run.
    table : StoredTable
        The combined pixel table.
    grid : OutputGrid
        Grid of the cube.
    cards : list of Card
        Keywords of cube and images.
    filters : sequence of Filter
        Filters of the images.
    collapse : Collapse
        Makes the images.
    images_inside : bool
        The images go into the file of the cube, not into their own.
    exposures : sequence of SdpExposure
        What science data products say of the exposures; empty for other formats.
    step : tuple of float
        Size of the spaxels that was asked for, in arcsec (or spaxels); 0 for the natural one.
    """

    run: Run
    table: StoredTable
    grid: OutputGrid
    cards: list[Card]
    filters: Sequence[Filter]
    collapse: Collapse
    images_inside: bool = False
    exposures: Sequence[SdpExposure] = ()
    step: tuple[float, float] = (0.0, 0.0)

    @property
    def object_name(self) -> str | None:
        """OBJECT."""
        return get_string(self.table.header, "OBJECT")

    def wcs(self) -> list[Card]:
        """Return the world coordinates of the cube."""
        return self.grid.cards(self.table.header)

    def views(self, n_planes: int | None = None) -> list[FieldImage]:
        """Say what the images will be; `n_planes` as in `Collapse.fractions`."""
        return make_field_images(self.filters, self.collapse.fractions(n_planes), self.cards, self.object_name)

    def write_image(self, view: FieldImage, image: np.ndarray, unit: str, further: Sequence[Card] = ()) -> Path:
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

    def __exit__(self, kind: object, value: object, traceback: object) -> None: ...

# SPDX-License-Identifier: GPL-2.0-or-later
"""The white-light image of an exposure in its own spaxels: sky masks are made from it."""

from collections.abc import Callable

import numpy as np

from muse_core.engine.slabs import FlaggedRows, OwnCube, SlabSource, refuse_empty_grid
from muse_core.engine.store import RowStore
from muse_core.model.cards import card
from muse_core.model.dq import DQ
from muse_core.model.filters import white
from muse_core.model.fits import Card
from muse_core.model.grid import OutputGrid, TableLimits, make_grid
from muse_core.model.record import record
from muse_core.recipe.run import Run
from muse_core.stages.cards import image_wcs, object_cards
from muse_core.stages.tables import StoredTable
from muse_core.steps.collapse import Collapse
from muse_core.steps.resample import INTERNAL_PIXFRAC, ResampleOptions, SlabResampler, cosmic_ray_direction


@record
class WhiteLight:
    """A white-light image.

    Attributes
    ----------
    image : ndarray of float32, shape (ny, nx)
        Mean over the planes, 0 where there are no data.
    bad : ndarray of bool, shape (ny, nx)
        Spaxels without data.
    grid : OutputGrid
        Its spaxels.
    cards, wcs : list of Card
        Keywords for products made from it, and its world coordinates.
    unit : str
        Unit of the values.
    flagged : FlaggedRows
        Rows that were found to be cosmic rays.
    """

    image: np.ndarray
    bad: np.ndarray
    grid: OutputGrid
    cards: list[Card]
    wcs: list[Card]
    unit: str
    flagged: FlaggedRows

    @property
    def flags(self) -> np.ndarray:
        """Euro3D flags of the spaxels; int32, shape (ny, nx)."""
        return np.where(self.bad, np.int32(DQ.MISSING), np.int32(0))


def own_cube(crsigma: float) -> OwnCube:
    """Return how an exposure is resampled; no cube is kept."""
    return OwnCube(ResampleOptions(crsigma=crsigma, pixfrac=INTERNAL_PIXFRAC))


def make_white_light(
    run: Run,
    table: StoredTable,
    store: RowStore,
    crsigma: float,
    select: Callable[[np.ndarray], np.ndarray] | None = None,
) -> WhiteLight:
    """Resample the rows of an exposure, in pix, and collapse the planes as they come; no cube is kept.

    Parameters
    ----------
    run : Run
        The run.
    table : StoredTable
        The exposure.
    store : RowStore
        Its rows.
    crsigma : float
        Threshold of the cosmic-ray rejection; 0 or less: none.
    select : callable, optional
        Returns, for rows, an array of uint8 that is 0 for those to leave out.
    """
    options = own_cube(crsigma).options
    grid = make_grid(table.header, TableLimits.from_header(table.header), table.position_unit)
    refuse_empty_grid(grid, table.stored.n_rows, table.extent)
    direction = cosmic_ray_direction(table.header, table.position_unit)
    n_threads, arrays = run.resources.n_threads, run.work_arrays
    resampler = SlabResampler(
        grid, options, direction, n_threads, run.compat, reuse_output=True, buffers=arrays, variances=False
    )
    stored = table.stored
    source = SlabSource(store, resampler, run.resources, stored.begin, stored.end, select=select)
    collapse = Collapse(grid, [white()], run.resources.n_threads)
    flagged = FlaggedRows()
    for slab in source:
        collapse.add_planes(slab.first, slab.result.data, slab.result.dq)
        flagged.add(slab.cosmic_rays)
    (image,), (fraction,) = collapse.images(), collapse.fractions()
    bad = np.isnan(image)
    image[bad] = 0
    cards = [
        *object_cards(table.header),
        card("ESO DRS MUSE FILTER NAME", "white", "filter name used"),
        card("ESO DRS MUSE FILTER FRACTION", np.float32(100 * fraction), "[%] fraction of filter covered by data"),
    ]
    return WhiteLight(image, bad, grid, cards, image_wcs(grid.cards(table.header)), table.data_unit, flagged)

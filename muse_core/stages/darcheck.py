# SPDX-License-Identifier: GPL-2.0-or-later
"""Check of the refraction correction of an exposure on its own sources, and correction of what is left."""

import logging

import numpy as np

from muse_core.engine.exposure import CHANGING, Chunk, RowLimits, write_pass
from muse_core.engine.plan import ExposureStep
from muse_core.engine.progress import timed
from muse_core.engine.slabs import OwnCube, SlabSource, refuse_empty_grid
from muse_core.engine.store import RowStore
from muse_core.errors import DataError
from muse_core.model import grid as grids
from muse_core.model.cards import set_card
from muse_core.model.facts import tell
from muse_core.recipe.run import Run
from muse_core.stages.tables import StoredTable
from muse_core.steps import darcheck
from muse_core.steps.resample import ResampleOptions, SlabResampler, cosmic_ray_direction

_LOG = logging.getLogger(__name__)
#: Name of the step in the log.
STEP = "Check of the refraction"
#: The cube of an exposure in which sources are looked for: values, variances and flags.
OWN_CUBE = OwnCube(
    ResampleOptions(
        crtype="iraf",
        crsigma=darcheck.CRSIGMA,
        pixfrac=(darcheck.PIXFRAC,) * 3,
        step=(0.0, 0.0, darcheck.DLAMBDA),
    ),
    voxel_bytes=12,
)
#: The step in a plan.
PLANNED = ExposureStep(STEP, (OWN_CUBE, CHANGING))


def check_refraction(run: Run, table: StoredTable, store: RowStore, *, correct: bool) -> None:
    """Measure the drift of the sources with wavelength, and correct it if wanted.

    The check works on counts: the flux is calibrated after it.

    Parameters
    ----------
    run : Run
        The run.
    table : StoredTable
        The exposure, in pix and counts; header and rows are changed.
    store : RowStore
        Its rows.
    correct : bool
        Correct it.
    """
    with timed(STEP, table.stored.n_rows):
        _check_refraction(run, table, store, correct=correct)


def _check_refraction(run: Run, table: StoredTable, store: RowStore, *, correct: bool) -> None:
    shift = _measure(run, table, store)
    correction = shift if correct else None

    def step(rows: np.ndarray, chunk: Chunk) -> tuple[np.ndarray, RowLimits]:
        darcheck.reset_cosmic_rays(rows)
        if correction is not None:
            correction.correct(rows)
        return rows, RowLimits.of(rows)

    limits = RowLimits()
    for found in write_pass(table.stored, table.stored, store, step, run.resources.n_threads):
        limits.include(found)
    if shift is not None:
        for keyword, value, comment in shift.check_cards():
            set_card(table.header, keyword, value, comment)
    if correction is not None:
        for values in correction.correction_cards(table.header):
            set_card(table.header, *values)
        table.write_limits(limits)


def _measure(run: Run, table: StoredTable, store: RowStore) -> darcheck.ResidualShift | None:
    try:
        limits = grids.TableLimits.from_header(table.header)
        grid = grids.make_grid(table.header, limits, table.position_unit, OWN_CUBE.options.step)
        refuse_empty_grid(grid, table.stored.n_rows, table.extent)
        direction = cosmic_ray_direction(table.header, table.position_unit)
        resampler = SlabResampler(
            grid, OWN_CUBE.options, direction, run.resources.n_threads, run.compat, reuse_output=True
        )
        stored = table.stored
        data, dq, stat = (np.empty(grid.shape, kind) for kind in (np.float32, np.int32, np.float32))
        for slab in SlabSource(store, resampler, run.resources, stored.begin, stored.end):
            found = slab.result
            planes = slice(slab.first, slab.first + len(found.data))
            for whole, part in zip((data, dq, stat), (found.data, found.dq, found.stat), strict=True):
                whole[planes] = part
        lbda = grid.wavelength(np.arange(grid.nz))
        shift = darcheck.measure_shift(data, dq, stat, lbda, table.header, run.compat)
    except DataError as error:
        run.or_ignore(error, "refraction not checked")
        return None
    most = float(shift.max_shift_arcsec)
    tell(_LOG, "Residual refraction: %.3f arcsec at most", most, refraction_left=most)
    return shift

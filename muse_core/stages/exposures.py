# SPDX-License-Identifier: GPL-2.0-or-later
"""One exposure after the other, from its files to rows on the sky; those that an interrupted run has done are kept."""

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from muse_core.engine.store import RowStore
from muse_core.errors import DataError, InputError, ResourceError
from muse_core.model import units
from muse_core.model.facts import tell
from muse_core.model.header import get_string
from muse_core.recipe.run import Run
from muse_core.stages.calibrate import Calibration, CalibrationOptions, calibrate
from muse_core.stages.locate import Located, LocationOptions, calibrate_and_locate
from muse_core.stages.opening import OpenedExposure
from muse_core.stages.pointing import Pointing
from muse_core.stages.tables import StoredTable
from muse_core.steps.astrometry import Positioning

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class ReducedExposure:
    """An exposure whose rows are in the store, on the sky, and where that is."""

    table: StoredTable
    located: Located


#: Gets an exposure, the number, in the store, of its first row, and the position of the first exposure (None for it).
ReduceExposure = Callable[[OpenedExposure, int, Positioning | None], ReducedExposure]


def first_rows(exposures: Sequence[OpenedExposure]) -> np.ndarray:
    """Return the number, in the store, of the first row of each exposure, and that of all rows.

    Returns
    -------
    ndarray of int64, shape (n_exposures + 1,)
    """
    return np.cumsum([0, *(exposure.rows.n_rows for exposure in exposures)])


def reduce_each(
    run: Run, exposures: Sequence[OpenedExposure], store: RowStore, reduce_one: ReduceExposure
) -> list[ReducedExposure]:
    """Reduce one exposure after the other, or take it over from an interrupted run.

    Raises
    ------
    MuseError
        What `reduce_one` raises, with the name of the exposure.
    """
    reduced: list[ReducedExposure] = []
    edges = first_rows(exposures).tolist() if store.n_rows else [0] * (len(exposures) + 1)  # rows are not kept
    for number, (exposure, begin, end) in enumerate(zip(exposures, edges[:-1], edges[1:], strict=True), 1):
        date = get_string(exposure.header, "DATE-OBS")
        tell(_LOG, "Exposure %d: %d rows", number, exposure.rows.n_rows, exposure=date, store=(begin, end))
        with naming(exposure):
            done = run.journal.recall_exposure(number, store, run.factory, ReducedExposure)
            if done is None:
                done = reduce_one(exposure, begin, reduced[0].located.positioning if reduced else None)
                run.journal.record_exposure(number, done, store, (begin, end), run.factory)
        reduced.append(done)
    return reduced


def load(
    run: Run,
    store: RowStore,
    exposure: OpenedExposure,
    first_row: int,
    reference: Positioning | None,
    *,
    calibration: CalibrationOptions | None = None,
    pointing: Pointing | None = None,
) -> ReducedExposure:
    """Load an exposure, calibrated; with `pointing`, rows whose positions are projected are put on the sky."""
    options = calibration or CalibrationOptions()
    if pointing is None or exposure.rows.files[0].position_unit != units.RAD:
        return ReducedExposure(calibrate(run, exposure, store, first_row, options), Located(None, None, None))
    steps = Calibration(run, exposure, first_row, options)
    located = calibrate_and_locate(run, steps, store, LocationOptions(pointing=pointing), reference)
    return ReducedExposure(steps.table, located)


@contextlib.contextmanager
def naming(exposure: OpenedExposure) -> Iterator[None]:
    """Say of which exposure an error is."""
    try:
        yield
    except (DataError, InputError) as error:
        file = exposure.rows.files[0].path.name
        raise type(error)(f"exposure of {get_string(exposure.header, 'DATE-OBS')} ({file} ...): {error}") from error
    except MemoryError as error:
        raise ResourceError(f"out of memory ({error}); see MUSE_MAX_MEMORY") from error

# SPDX-License-Identifier: GPL-2.0-or-later
"""All exposures together: their weights, and the combined pixel table."""

import dataclasses
import logging
from collections.abc import Sequence

import numpy as np

from muse_core.engine.exposure import Chunk, RowLimits, StoredExposure
from muse_core.engine.progress import timed
from muse_core.engine.slabs import FlaggedRows, Weights
from muse_core.engine.store import RowStore
from muse_core.errors import DataError, InputError
from muse_core.model import units
from muse_core.model.dq import DQ
from muse_core.model.facts import tell
from muse_core.model.fits import Header
from muse_core.model.header import get_string
from muse_core.recipe.run import Run
from muse_core.stages.exposures import ReducedExposure, first_rows
from muse_core.stages.locate import put_on_sky
from muse_core.stages.opening import OpenedExposure
from muse_core.stages.tables import PixelTableSaver, StoredTable
from muse_core.steps.combine import combine_headers, exposure_weights

_LOG = logging.getLogger(__name__)
#: Name of the step in the log.
TABLE_STEP = "Combined table"
#: Exposures that point farther away from the others than this are named.
_FAR_DEG = 0.5


def find_weights(run: Run, exposures: Sequence[OpenedExposure], method: str) -> Weights | None:
    """Return the weights of exposures; a combined table keeps those that it has.

    Raises
    ------
    DataError
        The headers do not have what `method` needs.
    """
    if len(exposures) < 2:
        return exposures[0].weights
    return weigh(run, [exposure.header for exposure in exposures], first_rows(exposures)[:-1], method)


def weigh(run: Run, headers: Sequence[Header], first_rows: np.ndarray, method: str) -> Weights | None:
    """Return the weights of exposures by their headers, given their first rows in the store; errors as above."""
    values = exposure_weights(headers, method, run.compat)
    return None if values is None else Weights(first_rows, np.asarray(values, np.float32))


def require_several(exposures: Sequence[OpenedExposure]) -> None:
    """Check that there is something to combine.

    Raises
    ------
    InputError
        There is one exposure.
    """
    if len(exposures) < 2:
        files = ", ".join(str(file.path) for file in exposures[0].rows.files)
        raise InputError(
            f"{files}: found the exposure of {get_string(exposures[0].header, 'DATE-OBS')} alone, expected several; "
            "muse_scipost_make_cube makes a cube of one"
        )


def combine(run: Run, reduced: Sequence[ReducedExposure], weights: Weights | None) -> StoredTable:
    """Make the combined table: the header of the first exposure, the rows of all.

    Raises
    ------
    DataError
        Exposures are not on the sky.
    """
    _log_what_is_applied(reduced, weights)
    first, position = reduced[0].table, reduced[0].located
    if len(reduced) == 1:
        put_on_sky(first, position.positioning, position.offset)
        if position.limits is not None:
            first.write_limits(position.limits)
        return first
    tables, located = [one.table for one in reduced], [one.located for one in reduced]
    states = {table.position_unit for table in tables}
    if states != {units.RAD}:
        raise DataError(
            f"{len(tables)} exposures: found positions in {', '.join(sorted(states))}, expected all in {units.RAD}; "
            "exposures that are not projected (astrometry=false), or are on the sky already, cannot be combined"
        )
    counts = [table.stored.n_rows for table in tables]
    first.header = combine_headers(
        [table.header for table in tables], counts, [item.offset for item in located], weights is not None, run.compat
    )
    assert position.positioning is not None
    position.positioning.write_cards(first.header)
    first.position_unit = units.DEG
    first.weights = weights
    limits = RowLimits()
    for item in located:
        assert item.limits is not None
        limits.include(item.limits)
    first.stored = StoredExposure(0, tables[-1].stored.end, _all_chunks(tables))
    _warn_of_outliers(reduced)
    first.write_limits(limits)
    return first


def save_combined(run: Run, table: StoredTable, store: RowStore, flagged: FlaggedRows | None = None) -> None:
    """Write PIXTABLE_COMBINED; rows that the cube flagged as cosmic rays carry that flag."""
    flagged = FlaggedRows() if flagged is None else flagged
    with timed(TABLE_STEP, table.stored.n_rows), PixelTableSaver(run, table, "PIXTABLE_COMBINED") as saver:
        for chunk in table.stored.chunks:
            start, stop = table.stored.begin + chunk.start, table.stored.begin + chunk.stop
            rows = store.read(start, stop)
            rows["dq"][flagged.within(start, stop)] |= DQ.COSMIC_RAY
            saver.write(chunk, rows)
        saver.finish()


def _log_what_is_applied(reduced: Sequence[ReducedExposure], weights: Weights | None) -> None:
    """Log offset, flux scale and weight, a line an exposure."""
    for number, one in enumerate(reduced):
        applied = [str(one.located.offset or "") or "no offset"]
        if len(reduced) > 1:
            applied.append("no weight" if weights is None else f"weight {weights.values[number]:g}")
        date = get_string(one.table.header, "DATE-OBS")
        weight = None if weights is None else float(weights.values[number])
        tell(_LOG, "Exposure of %s: %s", date, ", ".join(applied), applied={"exposure": date, "weight": weight})


def _warn_of_outliers(reduced: Sequence[ReducedExposure]) -> None:
    """Name the exposures that point elsewhere than the others: they blow up the grid."""
    positions = [position for one in reduced if (position := one.located.positioning) is not None]
    pointings = np.array([(position.ra_deg, position.dec_deg) for position in positions])
    distance = np.abs(pointings - np.median(pointings, axis=0)).max(axis=1)
    for one, far in zip(reduced, distance, strict=True):
        if far > _FAR_DEG:
            date = get_string(one.table.header, "DATE-OBS")
            _LOG.warning("Exposure of %s points %.3f deg away from the others", date, far)


def _all_chunks(tables: list[StoredTable]) -> list[Chunk]:
    """Return the chunks of all exposures, relative to the store and the combined table."""
    chunks, row = [], 0
    for table in tables:
        for chunk in table.stored.chunks:
            start, stop = table.stored.begin + chunk.start, table.stored.begin + chunk.stop
            chunks.append(dataclasses.replace(chunk, start=start, stop=stop, row=row))
            row += len(chunk)
    return chunks

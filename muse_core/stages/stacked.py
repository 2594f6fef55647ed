# SPDX-License-Identifier: GPL-2.0-or-later
"""OBJECT_RESAMPLED: all slices of all exposures side by side, resampled along wavelength."""

import itertools

import numpy as np

from muse_core.engine.exposure import Chunk, read_pass
from muse_core.engine.progress import timed
from muse_core.engine.slabs import FlaggedRows
from muse_core.engine.store import RowStore
from muse_core.io.cube import extension_header
from muse_core.io.fitswriter import FitsStreamWriter, primary_header
from muse_core.model import origin
from muse_core.model.cards import set_card
from muse_core.model.dq import DQ
from muse_core.model.grid import TableLimits, make_grid
from muse_core.model.header import get_string
from muse_core.recipe.run import Run
from muse_core.stages.cards import object_cards
from muse_core.stages.tables import StoredTable
from muse_core.steps.order import sort_rows
from muse_core.steps.resample.stacked import StackedGrid, stack, stack_slice, stacked_grid

#: Name of the step in the log.
STEP = "Stacked image"


def make_stacked(
    run: Run, step: tuple[float, float, float], table: StoredTable, store: RowStore, flagged: FlaggedRows
) -> None:
    """Write OBJECT_RESAMPLED, IFU by IFU; rows that the cube flagged as cosmic rays are left out.

    Parameters
    ----------
    run : Run
        The run.
    step : tuple of 3 float
        As in `ResampleOptions`: dx, dy (not used), dlambda; 0: natural.
    table : StoredTable
        The combined pixel table.
    store : RowStore
        Its rows.
    flagged : FlaggedRows
        Rows that were flagged as cosmic rays.
    """
    with timed(STEP, table.stored.n_rows):
        limits = TableLimits.from_header(table.header)
        natural = make_grid(table.header, limits, table.position_unit)
        grid = stacked_grid(limits, natural, step, run.compat)
        slices = _Slices(run, table, store, flagged)
        widths = {key: grid.n_columns(low, high) for key, (low, high) in slices.extent.items()}
        shape = (grid.n_lines, sum(widths.values()))
        tag = "OBJECT_RESAMPLED"
        path = run.factory.next_path(tag)
        primary = run.factory.header(tag, object_cards(table.header), path, primary_header())
        if extname := get_string(table.header, "EXTNAME"):  # of one IFU alone
            set_card(primary, "EXTNAME", extname)
        header = extension_header("DATA", shape, grid.cards(), unit=table.data_unit or None, inherit=True)
        with FitsStreamWriter(path, [primary, header]) as writer:
            column = 0
            for _, keys in itertools.groupby(sorted(widths), origin.ifu_of):
                image = stack([_stack(slices, key, grid) for key in keys])
                for line, values in enumerate(image):
                    writer.write(1, line * shape[1] + column, values)
                column += image.shape[1]
            run.factory.register(writer.finish(), tag)


def _stack(slices: "_Slices", key: int, grid: StackedGrid) -> np.ndarray:
    return stack_slice(slices.rows(key), grid)


class _Slices:
    """The rows of the store by slice, of all exposures together."""

    def __init__(self, run: Run, table: StoredTable, store: RowStore, flagged: FlaggedRows):
        self._table, self._store, self._flagged = table, store, flagged
        self._chunks: dict[int, list[Chunk]] = {}
        #: Smallest and largest xpos of each slice.
        self.extent: dict[int, tuple[np.float32, np.float32]] = {}
        self._last: dict[int, tuple[Chunk, np.ndarray]] = {}

        def look(rows: np.ndarray, chunk: Chunk) -> tuple[Chunk, dict[int, tuple[np.float32, np.float32]]]:
            keys = origin.slice_key(rows["origin"])
            return chunk, {
                int(key): (found.min(), found.max()) for key in np.unique(keys) for found in [rows["xpos"][keys == key]]
            }

        for chunk, found in read_pass(table.stored, store, look, run.resources.n_threads):
            for key, (low, high) in found.items():
                self._chunks.setdefault(key, []).append(chunk)
                old = self.extent.get(key, (low, high))
                self.extent[key] = (min(old[0], low), max(old[1], high))

    def _read(self, place: int, chunk: Chunk) -> np.ndarray:
        """Return the rows of a chunk; the last one of each exposure is kept, neighbouring slices share it."""
        if place not in self._last or self._last[place][0] is not chunk:
            start, stop = self._table.stored.begin + chunk.start, self._table.stored.begin + chunk.stop
            rows = self._store.read(start, stop)
            rows["dq"][self._flagged.within(start, stop)] |= DQ.COSMIC_RAY
            self._last[place] = (chunk, rows)
        return self._last[place][1]

    def rows(self, key: int) -> np.ndarray:
        """Return the rows of a slice, by wavelength if they come from several exposures."""
        chunks = self._chunks[key]
        parts = [self._read(place, chunk) for place, chunk in enumerate(chunks)]
        rows = np.concatenate([part[origin.slice_key(part["origin"]) == key] for part in parts])
        if len(chunks) > 1:
            sort_rows(rows)
        return rows

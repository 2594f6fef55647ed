# SPDX-License-Identifier: GPL-2.0-or-later
"""Pixel tables whose rows are in the store, and pixel tables as products."""

import threading
from typing import Self

import numpy as np

from muse_core.engine.exposure import Chunk, RowLimits, StoredExposure
from muse_core.engine.slabs import Weights
from muse_core.io.fitswriter import primary_header
from muse_core.io.pixtable import PixelTableWriter
from muse_core.model.fits import Header
from muse_core.model.header import get_float, get_string, stated
from muse_core.model.pixtable import FlatFieldSpectrum
from muse_core.model.record import record
from muse_core.recipe.run import Run
from muse_core.steps.limits import write_limits


@record(frozen=False)
class StoredTable:
    """A pixel table whose rows are in the store.

    Attributes
    ----------
    header : Header
        Header of the table.
    stored : StoredExposure
        Its rows.
    position_unit, data_unit, stat_unit : str
        State of the rows.
    flat_field : FlatFieldSpectrum, optional
        Attached flat-field spectrum.
    weights : Weights, optional
        Weights of the exposures that it is combined of.
    """

    header: Header
    stored: StoredExposure
    position_unit: str
    data_unit: str
    stat_unit: str
    flat_field: FlatFieldSpectrum | None = None
    weights: Weights | None = None

    @property
    def extent(self) -> str:
        """RowLimits and pointing of the table, for messages."""
        limits = (f"{axis} {self._limit(axis, 'LOW')} to {self._limit(axis, 'HIGH')}" for axis in ("X", "Y", "LAMBDA"))
        pointing = stated(self.header, "RA", "DEC")
        date = get_string(self.header, "DATE-OBS")
        return f"RowLimits of the pixel table of {date} (RA, DEC {pointing}): {', '.join(limits)}"

    def _limit(self, axis: str, end: str) -> str:
        return stated(self.header, f"ESO DRS MUSE PIXTABLE LIMITS {axis} {end}")

    def write_limits(self, limits: RowLimits) -> None:
        """Write the limits of the rows to the header."""
        reference = get_float(self.header, "CRVAL1", 0.0), get_float(self.header, "CRVAL2", 0.0)
        write_limits(self.header, limits.extent, limits.ifu, limits.slice, self.position_unit, reference)


class PixelTableSaver:
    """A product that is a pixel table, written in pieces; its header is final when the limits of all rows are known."""

    def __init__(self, run: Run, table: StoredTable, tag: str, original: str | None = None):
        self._factory, self._table, self._tag = run.factory, table, tag
        self._path = run.factory.next_path(tag)
        self.limits, self._lock = RowLimits(), threading.Lock()
        further = {} if table.weights is None else {"weight": ""}
        if original is not None:
            further[original] = table.data_unit
        self._original = original
        self._writer = PixelTableWriter(
            self._path,
            self._header(),
            table.stored.n_rows,
            position_unit=table.position_unit,
            data_unit=table.data_unit,
            stat_unit=table.stat_unit,
            flat_field=table.flat_field,
            further=further,
            as_table=run.environment.saves_as_table,
        )

    def _header(self) -> Header:
        return self._factory.header(self._tag, self._table.header.cards, self._path, primary_header())

    def write(self, chunk: Chunk, rows: np.ndarray, original: np.ndarray | None = None) -> None:
        """Write the rows of a chunk, with their `original` data if there is a column for these."""
        weights, start = self._table.weights, self._table.stored.begin + chunk.start
        further = {} if weights is None else {"weight": weights.between(start, start + len(rows))}
        if self._original is not None and original is not None:
            further[self._original] = original
        self._writer.write(chunk.row, rows, further)
        limits = RowLimits.of(rows)
        with self._lock:
            self.limits.include(limits)

    def finish(self, limits: RowLimits | None = None) -> None:
        """Complete the product; with `limits`, after writing them to the header of its table."""
        if limits is not None:
            self._table.write_limits(limits)
        self._writer.set_primary(self._header())
        self._factory.register(self._writer.finish(), self._tag)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, value: object, traceback: object) -> None:
        self._writer.__exit__(kind, value, traceback)

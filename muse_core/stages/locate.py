# SPDX-License-Identifier: GPL-2.0-or-later
"""From calibrated rows to rows on the sky: subtraction, velocity, projection, position; the exposure's own tables."""

import contextlib
import dataclasses
import logging
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from muse_core.engine.exposure import Chunk, RowLimits, StoredExposure, load_pass, read_pass, write_pass
from muse_core.engine.progress import timed
from muse_core.engine.store import RowStore
from muse_core.errors import DataError
from muse_core.model import units
from muse_core.model.header import instrument_mode
from muse_core.model.record import record
from muse_core.recipe.run import Run
from muse_core.stages.calibrate import Calibration
from muse_core.stages.pointing import Pointing
from muse_core.stages.tables import PixelTableSaver, StoredTable
from muse_core.steps.astrometry import Positioning, Projection, has_limits_before_refraction
from muse_core.steps.offsets import Offset
from muse_core.steps.order import sort_rows
from muse_core.steps.passes import locate_rows
from muse_core.steps.velocity import VelocityCorrection

_LOG = logging.getLogger(__name__)
#: Names of the steps in the log: after the calibration, and with it.
STEP, WHOLE_STEP = "Sky subtraction, position", "Calibration, sky subtraction, position"


@record(kw_only=True)
class LocationOptions:
    """What is done to the rows of an exposure beside the subtraction of the sky; by default they stay as they are.

    Attributes
    ----------
    pointing : Pointing, optional
        Astrometric solution and offsets; without, positions stay as they are.
    rvcorr : str, optional
        Rest frame of the wavelengths; "none" leaves them as they are, and says so. None: not looked at.
    project : bool
        Project positions that are in pix.
    position : bool
        Put positions that are projected on the sky, with their offsets.
    individual, positioned : bool
        Write PIXTABLE_REDUCED, PIXTABLE_POSITIONED.
    original : str, optional
        Name of a further column of PIXTABLE_REDUCED with the data before the subtraction.
    """

    pointing: Pointing | None = None
    rvcorr: str | None = None
    project: bool = False
    position: bool = True
    individual: bool = False
    positioned: bool = False
    original: str | None = None

    @property
    def writes_tables(self) -> bool:
        """Are there pixel tables of single exposures to write?"""
        return self.individual or self.positioned

    @property
    def needs_limits(self) -> bool:
        """Does the first row need the limits of all: for the centre of the field, or the header of a table?"""
        return self.project or self.writes_tables


@record
class Located:
    """Position of an exposure on the sky (None if it stays as it is), its offset, and the limits of its rows.

    Without limits those in the header of the table hold, as for a table that comes on the sky.
    """

    positioning: Positioning | None
    offset: Offset | None
    limits: RowLimits | None


class RowStep(Protocol):
    """A step that changes the rows of an exposure, and may drop some."""

    def prepare(self, table: StoredTable) -> None:
        """Change the header and the flat-field spectrum of the exposure."""

    def dropped(self, table: StoredTable, store: RowStore) -> list[int]:
        """Return how many rows of each chunk it will drop."""

    @property
    def may_drop(self) -> bool:
        """Whether it drops rows beyond some wavelength."""

    def kept(self, rows: np.ndarray) -> np.ndarray:
        """Return the rows that will be left, unchanged."""

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Return the rows that are left, changed."""


#: Limits of rows, and what each of `Run.watches` has found in them.
_Found = tuple[RowLimits, list[object]]


class _Location:
    """Sky subtraction, velocity, projection and position of the rows of an exposure, and its own pixel tables.

    A context: products that are not finished at its end are removed.
    """

    def __init__(
        self,
        run: Run,
        table: StoredTable,
        options: LocationOptions,
        reference: Positioning | None,
        subtraction: RowStep | None,
    ):
        self._subtraction = subtraction
        if subtraction is not None:
            subtraction.prepare(table)
        self._stretch = 1.0 if options.rvcorr is None else _velocity(run, table, options.rvcorr)
        self._projection = _projection(run, table, options)
        if self._projection is not None:
            self._projection.write_cards(table.header)
            table.position_unit = units.RAD
        pointing = options.pointing if options.position else None
        self._offset = None if pointing is None else pointing.offset(table.header)
        self._scale = 1.0 if self._offset is None else self._offset.scale
        self._is_on_sky = table.position_unit == units.DEG and subtraction is None
        is_projected = table.position_unit == units.RAD
        self._own = pointing.positioning(table.header) if pointing is not None and is_projected else None
        self._final = None if self._own is None else Positioning.at(self._own.ra_deg, self._own.dec_deg, reference)
        self._run, self._table, self._options = run, table, options
        self._individual: PixelTableSaver | None = None
        self._positioned: PixelTableSaver | None = None
        self._limits = RowLimits()

    def __enter__(self) -> Self:
        run, table = self._run, self._table
        with contextlib.ExitStack() as stack:
            if self._options.individual:
                self._individual = stack.enter_context(
                    PixelTableSaver(run, table, "PIXTABLE_REDUCED", self._options.original)
                )
            if self._options.positioned:
                on_sky = _positioned(table, self._own, self._offset)
                self._positioned = stack.enter_context(PixelTableSaver(run, on_sky, "PIXTABLE_POSITIONED"))
            self._products = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._products.__exit__(kind, value, traceback)

    def __call__(self, rows: np.ndarray, chunk: Chunk) -> tuple[np.ndarray, _Found]:
        """Return the rows of a chunk that are left, in place, and what was found in them."""
        original = None
        if self._subtraction is not None:
            if self._options.original is not None:
                rows = self._subtraction.kept(rows)
                sort_rows(rows)
                original = rows["data"].copy()
            rows = self._subtraction(rows)
        seen = [watch.see_rows(self._table.header, rows) for watch in self._run.watches.values()]
        stays = self._projection is None and self._final is None
        limits = RowLimits.of(rows) if stays else None  # in pixels they are those from before the velocity correction
        if self._individual is None and self._positioned is None:
            locate_rows(rows, self._stretch, self._projection, self._final, self._scale)
        else:
            locate_rows(rows, self._stretch, self._projection)
            if self._individual is not None:
                self._individual.write(chunk, rows, original)
            if self._positioned is not None:
                copy = rows.copy()
                locate_rows(copy, positioning=self._own, flux_scale=self._scale)
                self._positioned.write(chunk, copy)
            locate_rows(rows, positioning=self._final, flux_scale=self._scale)
        return rows, (limits or RowLimits.of(rows), seen)

    def add(self, found: _Found) -> None:
        """Add what was found in a chunk; in the order of the chunks."""
        limits, seen = found
        self._limits.include(limits)
        for watch, one in zip(self._run.watches.values(), seen, strict=True):
            watch.add(one)

    def finish(self) -> Located:
        """Complete the products with the limits of all rows."""
        kept = None if self._is_on_sky else self._limits
        for saver in (self._individual, self._positioned):
            if saver is not None:
                saver.finish(kept if self._own is None else saver.limits)
        return Located(self._own, self._offset, kept)


def locate(
    run: Run,
    table: StoredTable,
    store: RowStore,
    options: LocationOptions,
    reference: Positioning | None,
    subtraction: RowStep | None = None,
) -> Located:
    """Subtract the sky, correct velocity, project and position the rows of an exposure; save its own pixel tables.

    Parameters
    ----------
    run : Run
        The run.
    table : StoredTable
        The exposure. Its header becomes that of PIXTABLE_REDUCED; its rows, one state further, end on the sky.
    store : RowStore
        Its rows.
    options : LocationOptions
        What to do.
    reference : Positioning, optional
        Position of the first exposure, to which the positions of the rows will be relative; None for the first one.
    subtraction : RowStep, optional
        Subtraction of the sky.
    """
    before = table.stored
    with timed(STEP, before.n_rows):
        if subtraction is not None:
            if _moves_centre(table, subtraction):
                table.write_limits(_limits_of_kept(run, before, store, subtraction))
            table.stored = before.without(subtraction.dropped(table, store))
        with _Location(run, table, options, reference, subtraction) as location:
            for found in write_pass(before, table.stored, store, location, run.resources.n_threads):
                location.add(found)
            return location.finish()


def calibrate_and_locate(
    run: Run,
    calibration: Calibration,
    store: RowStore | None,
    options: LocationOptions,
    reference: Positioning | None = None,
    find_subtraction: Callable[[StoredTable], RowStep | None] | None = None,
) -> Located:
    """Calibrate and locate the rows of an exposure in one pass, where nothing between them needs all rows.

    That saves writing the rows to the store and reading them once; it costs a look at the limits of the rows before,
    unless nothing but the header needs them.

    Parameters
    ----------
    run, options, reference
        As for `locate`.
    store : RowStore, optional
        Where the rows go; None if only the exposure's own tables are made.
    calibration : Calibration
        Calibration of the exposure; its table is the result, as for `locate`.
    find_subtraction : callable, optional
        Gets the table, with the header after the calibration; returns the subtraction of the sky.
    """
    table, exposure = calibration.table, calibration.exposure
    with timed(WHOLE_STEP, exposure.rows.n_rows), exposure.rows:
        subtraction = None
        is_completed = find_subtraction is not None or options.needs_limits or not calibration.is_idle
        if is_completed:  # what is told from the header of the table follows from the calibrated rows
            before = exposure.rows.limits()
            calibration.complete(before, before)
            subtraction = None if find_subtraction is None else find_subtraction(table)
            if subtraction is not None and _moves_centre(table, subtraction):
                table.write_limits(exposure.rows.limits(subtraction.kept))
        loaded, dropped = RowLimits(), []
        with _Location(run, table, options, reference, subtraction) as location:

            def step(rows: np.ndarray, chunk: Chunk) -> tuple[np.ndarray, tuple[int, RowLimits | None, _Found]]:
                before = None if is_completed else RowLimits.of(rows)
                calibration(rows, chunk)
                rows, found = location(rows, chunk)
                return rows, (len(chunk) - len(rows), before, found)

            for n, earlier, found in load_pass(exposure.rows, store, table.stored.begin, step, run.resources.n_threads):
                dropped.append(n)
                location.add(found)
                if earlier is not None:
                    loaded.include(earlier)
            table.stored = table.stored.without(dropped)
            if not is_completed:
                calibration.complete(loaded, loaded)
            return location.finish()


def _moves_centre(table: StoredTable, subtraction: RowStep) -> bool:
    """Whether the centre of the field follows from the limits of the rows that a subtraction leaves."""
    return subtraction.may_drop and not has_limits_before_refraction(table.header)


def _limits_of_kept(run: Run, stored: StoredExposure, store: RowStore, step: RowStep) -> RowLimits:
    def look(rows: np.ndarray, chunk: Chunk) -> RowLimits:
        return RowLimits.of(step.kept(rows.copy()))

    limits = RowLimits()
    for found in read_pass(stored, store, look, run.resources.n_threads):
        limits.include(found)
    return limits


def _velocity(run: Run, table: StoredTable, frame: str) -> float:
    """Write the velocity correction to the header and return the factor on the wavelengths."""
    try:
        correction = VelocityCorrection.from_header(table.header, frame, run.compat)
    except DataError as error:
        run.or_ignore(error, "velocity not corrected")
        return 1.0
    if correction is None:
        return 1.0
    correction.write_cards(table.header)
    _LOG.info("Velocity correction (%s): %.3f km/s", correction.frame, correction.velocity_kms)
    return correction.stretch


def _projection(run: Run, table: StoredTable, options: LocationOptions) -> Projection | None:
    if not options.project:
        return None
    if table.position_unit != units.PIX:
        _LOG.info("Positions are in %s already: not projected", table.position_unit)
        return None
    assert options.pointing is not None
    if options.pointing.solution_header is None:
        _LOG.warning("No ASTROMETRY_WCS: default astrometry of mode %s", instrument_mode(table.header))
    solution = options.pointing.solution(table.header)
    return Projection.from_header(table.header, solution, position_unit=table.position_unit, compat=run.compat)


def _positioned(table: StoredTable, own: Positioning | None, offset: Offset | None) -> StoredTable:
    """Return the table as it will be on the sky by itself; the same if it stays in pixels."""
    copy = dataclasses.replace(table, header=table.header.copy())
    put_on_sky(copy, own, offset)
    return copy


def put_on_sky(table: StoredTable, own: Positioning | None, offset: Offset | None, number: int = 1) -> None:
    """Write position and offset of the `number`-th exposure to the header of a table."""
    if offset is not None:
        offset.write_cards(table.header, number)
    if own is not None and number == 1:
        own.write_cards(table.header)
        table.position_unit = units.DEG

# SPDX-License-Identifier: GPL-2.0-or-later
"""One exposure: from its pixel tables to rows on the sky in the store, and its products."""

import contextlib
import dataclasses
import logging
import os
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from astropy.io.fits import Header

from muse_core.engine.exposure import Chunk, Limits, StoredExposure, load_pass, read_pass, write_pass
from muse_core.engine.store import RowStore
from muse_core.errors import DataError
from muse_core.model import units
from muse_core.model.header import instrument_mode, require_float
from muse_core.model.pixtable import FlatFieldSpectrum
from muse_core.model.wcs import AstrometricSolution
from muse_core.recipes.inputs import Run
from muse_core.recipes.opening import Exposure
from muse_core.recipes.tables import Table, TableSaver
from muse_core.steps import dar, flatfield, flux
from muse_core.steps.astrometry import Positioning, Projection, has_limits_before_refraction
from muse_core.steps.offsets import Offset, find_offset
from muse_core.steps.order import sort_rows
from muse_core.steps.passes import calibrate_rows, locate_rows
from muse_core.steps.refraction import Method
from muse_core.steps.velocity import VelocityCorrection

_LOG = logging.getLogger(__name__)
#: Environment variable of the reference: formula of the refractive index.
REFRACTION_VARIABLE = "MUSE_DAR_CORRECT_METHOD"


class _Calibration:
    """Merging, flat-field spectrum, refraction and flux of the rows of an exposure, and what they leave in its header.

    Attributes
    ----------
    table : Table
        The exposure as it will be; its header is complete after `finish`.
    pending : FluxCalibration, optional
        Flux calibration that is still to be applied, because a check of the refraction comes before it.
    """

    def __init__(self, run: Run, exposure: Exposure, begin: int):
        first = exposure.rows.files[0]
        spectrum, self._factor = _flat_field(run, exposure)
        self.table = table = Table(
            header=exposure.header,
            stored=StoredExposure(begin, begin + exposure.rows.n_rows, exposure.rows.chunks),
            position_unit=first.position_unit,
            data_unit=first.units["data"],
            stat_unit=first.units["stat"],
            flat_field=spectrum,
            weights=exposure.weights,
        )
        self._refraction = _refraction(run, table)
        self._flux = _flux_calibration(run, table)
        self.pending = None if run.parameters.darcheck == "none" else self._flux
        self._scales, self._compat, self._keeps_limits = exposure.scales, run.compat, exposure.keeps_limits

    def __call__(self, rows: np.ndarray, chunk: Chunk) -> None:
        """Calibrate the rows of a chunk in place."""
        if self._factor is not None:
            sort_rows(rows)
        at_once = self._flux if self.pending is None else None
        calibrate_rows(rows, self._scales[chunk.part], self._factor, self._refraction, at_once, self._compat)

    def finish(self, before: Limits, after: Limits) -> None:
        """Complete the header with the limits of the rows before and after the calibration."""
        table = self.table
        before.require_finite("pixel tables")
        if not self._keeps_limits:
            table.write_limits(before)
        if self._refraction is not None:
            self._refraction.write_cards(table.header)
            table.write_limits(after)
        if self._flux is not None:
            flux.write_cards(table.header)
            table.data_unit, table.stat_unit = units.FLUX, units.FLUX_VARIANCE


def calibrate(run: Run, exposure: Exposure, store: RowStore, begin: int) -> tuple[Table, flux.FluxCalibration | None]:
    """Load an exposure into the store: merged, flat-field spectrum, refraction and flux corrected, positions in pix.

    Parameters
    ----------
    run : Run
        The run.
    exposure : Exposure
        The exposure.
    store : RowStore
        Where its rows go.
    begin : int
        Number, in the store, of its first row.

    Returns
    -------
    table : Table
        The exposure in the store; its header says that its flux is calibrated.
    pending : FluxCalibration, optional
        Flux calibration that is still to be applied, because a check of the refraction comes before it.

    Raises
    ------
    DataError
        A step cannot be done with this exposure.
    """
    calibration = _Calibration(run, exposure, begin)
    before, after = Limits(), Limits()

    def step(rows: np.ndarray, chunk: Chunk) -> tuple[np.ndarray, tuple[Limits, Limits]]:
        loaded = Limits.of(rows)
        calibration(rows, chunk)
        return rows, (loaded, Limits.of(rows))

    with exposure.rows:
        for a, b in load_pass(exposure.rows, store, begin, step, run.resources.n_threads):
            before.include(a)
            after.include(b)
    calibration.finish(before, after)
    return calibration.table, calibration.pending


def calibrate_and_locate(
    run: Run,
    exposure: Exposure,
    store: RowStore,
    begin: int,
    zero: Positioning | None,
    find_subtraction: Callable[[Table], "RowStep | None"],
) -> tuple[Table, "Located"]:
    """Do `calibrate` and `locate` in one pass over the rows, where nothing between them needs all rows.

    That saves writing the rows to the store and reading them once; it costs a look at the limits of the rows before.
    """
    calibration = _Calibration(run, exposure, begin)
    table = calibration.table
    with exposure.rows:
        before = exposure.rows.limits()
        calibration.finish(before, before)
        subtraction = find_subtraction(table)
        if _moves_centre(table, subtraction):
            table.write_limits(exposure.rows.limits(subtraction.kept))
        location = _Location(run, table, zero, subtraction)

        def step(rows: np.ndarray, chunk: Chunk) -> tuple[np.ndarray, tuple[int, Limits]]:
            calibration(rows, chunk)
            rows, limits = location(rows, chunk)
            return rows, (len(chunk) - len(rows), limits)

        limits, dropped = Limits(), []
        for n, found in load_pass(exposure.rows, store, begin, step, run.resources.n_threads):
            limits.include(found)
            dropped.append(n)
    table.stored = table.stored.without(dropped)
    return table, location.finish(limits)


def _flat_field(run: Run, exposure: Exposure) -> tuple[FlatFieldSpectrum | None, flatfield.FlatFieldFactor | None]:
    """Average the flat-field spectra, and decide whether their correction stays."""
    header, spectrum, mode = exposure.header, exposure.attached, flatfield.Mode.NOTHING
    if exposure.spectra:
        spectrum, mode = flatfield.average(exposure.spectra, instrument_mode(header)), flatfield.Mode.MULTIPLY
    response = run.calibrations.response
    corrected = response is None or response.flat_field_corrected
    if spectrum is None or not flatfield.must_revert(header, corrected):
        return spectrum, flatfield.FlatFieldFactor.of(spectrum, mode) if mode else None
    _LOG.warning("%s was made without flat-field spectrum correction: correction taken back", response.where)
    flatfield.write_reverted(header)
    return None, flatfield.FlatFieldFactor.of(spectrum, mode | flatfield.Mode.DIVIDE)


def _refraction(run: Run, table: Table) -> dar.DarCorrection | None:
    header, reference = table.header, run.parameters.lambdaref
    if not dar.is_wanted(header, run.compat):
        return None
    if dar.is_switched_off(reference):
        dar.write_switched_off(header)
        return None
    method = Method.named(os.environ.get(REFRACTION_VARIABLE))
    try:
        return dar.DarCorrection.from_header(header, reference, method, table.position_unit, run.compat)
    except DataError as error:
        run.or_ignore(error, "refraction not corrected")
        return None


def _flux_calibration(run: Run, table: Table) -> flux.FluxCalibration | None:
    curves = run.calibrations
    if curves.response is None:
        _LOG.info("Skipping flux calibration (no STD_RESPONSE)")
        return None
    if curves.extinction is None:
        _LOG.warning("No EXTINCT_TABLE: no correction for extinction")
    try:
        return flux.FluxCalibration.from_header(
            table.header, curves.response, curves.extinction, curves.telluric, table.data_unit, run.compat
        )
    except DataError as error:
        run.or_ignore(error, "flux not calibrated")
        return None


@dataclasses.dataclass(frozen=True, slots=True)
class Located:
    """Position of an exposure on the sky (None if it stays as it is), its offset, and the limits of its rows.

    Without limits those in the header of the table hold, as for a table that comes on the sky.
    """

    positioning: Positioning | None
    offset: Offset | None
    limits: Limits | None


class RowStep(Protocol):
    """A step that changes the rows of an exposure, and may drop some."""

    def prepare(self, table: Table) -> None:
        """Change the header and the flat-field spectrum of the exposure."""

    def dropped(self, table: Table, store: RowStore) -> list[int]:
        """Return how many rows of each chunk it will drop."""

    @property
    def may_drop(self) -> bool:
        """Whether it drops rows beyond some wavelength."""

    def kept(self, rows: np.ndarray) -> np.ndarray:
        """Return the rows that will be left, unchanged."""

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Return the rows that are left, changed."""


class _Location:
    """Sky subtraction, velocity, projection and position of the rows of an exposure, and its own pixel tables.

    A context: products that are not finished at its end are removed.
    """

    def __init__(self, run: Run, table: Table, zero: Positioning | None, subtraction: RowStep | None):
        self._subtraction = subtraction
        if subtraction is not None:
            subtraction.prepare(table)
        self._stretch = _velocity(run, table)
        self._projection = _projection(run, table)
        if self._projection is not None:
            self._projection.write_cards(table.header)
            table.position_unit = units.RAD
        self._offset = find_offset(run.calibrations.offsets, table.header)
        self._scale = 1.0 if self._offset is None else self._offset.scale
        self._is_on_sky = table.position_unit == units.DEG and subtraction is None
        self._own = _positioning(run, table, self._offset)
        self._final = None if self._own is None else Positioning.at(self._own.ra_deg, self._own.dec_deg, zero)
        self._run, self._table = run, table
        self._individual: TableSaver | None = None
        self._positioned: TableSaver | None = None

    def __enter__(self):
        run, table = self._run, self._table
        with contextlib.ExitStack() as stack:
            if "individual" in run.save:
                self._individual = stack.enter_context(TableSaver(run, table, "PIXTABLE_REDUCED"))
            if "positioned" in run.save:
                on_sky = _positioned(table, self._own, self._offset)
                self._positioned = stack.enter_context(TableSaver(run, on_sky, "PIXTABLE_POSITIONED"))
            self._products = stack.pop_all()
        return self

    def __exit__(self, kind, value, traceback):
        self._products.__exit__(kind, value, traceback)

    def __call__(self, rows: np.ndarray, chunk: Chunk) -> tuple[np.ndarray, Limits]:
        """Return the rows of a chunk that are left, in place, and their limits."""
        if self._subtraction is not None:
            rows = self._subtraction(rows)
        stays = self._projection is None and self._final is None
        limits = Limits.of(rows) if stays else None  # in pixels they are those from before the velocity correction
        if self._individual is None and self._positioned is None:
            locate_rows(rows, self._stretch, self._projection, self._final, self._scale)
        else:
            locate_rows(rows, self._stretch, self._projection)
            if self._individual is not None:
                self._individual.write(chunk, rows)
            if self._positioned is not None:
                copy = rows.copy()
                locate_rows(copy, positioning=self._own, flux_scale=self._scale)
                self._positioned.write(chunk, copy)
            locate_rows(rows, positioning=self._final, flux_scale=self._scale)
        return rows, limits or Limits.of(rows)

    def finish(self, limits: Limits) -> Located:
        """Complete the products with the limits of all rows."""
        kept = None if self._is_on_sky else limits
        for saver in (self._individual, self._positioned):
            if saver is not None:
                saver.finish(kept if self._own is None else saver.limits)
        return Located(self._own, self._offset, kept)


def locate(
    run: Run, table: Table, store: RowStore, zero: Positioning | None, subtraction: RowStep | None = None
) -> Located:
    """Subtract the sky, correct velocity, project and position the rows of an exposure; save its own pixel tables.

    Parameters
    ----------
    run : Run
        The run.
    table : Table
        The exposure. Its header becomes that of PIXTABLE_REDUCED; its rows, one state further, end on the sky.
    store : RowStore
        Its rows.
    zero : Positioning, optional
        Position of the first exposure, to which the positions of the rows will be relative; None for the first one.
    subtraction : RowStep, optional
        Subtraction of the sky.
    """
    before = table.stored
    if subtraction is not None:
        if _moves_centre(table, subtraction):
            table.write_limits(_limits_of_kept(run, before, store, subtraction))
        table.stored = before.without(subtraction.dropped(table, store))
    limits = Limits()
    with _Location(run, table, zero, subtraction) as location:
        for found in write_pass(before, table.stored, store, location, run.resources.n_threads):
            limits.include(found)
        return location.finish(limits)


def _moves_centre(table: Table, subtraction: RowStep | None) -> bool:
    """Whether the centre of the field follows from the limits of the rows that a subtraction leaves."""
    return subtraction is not None and subtraction.may_drop and not has_limits_before_refraction(table.header)


def _limits_of_kept(run: Run, stored: StoredExposure, store: RowStore, step: RowStep) -> Limits:
    limits = Limits()
    for found in read_pass(stored, store, lambda rows, _: Limits.of(step.kept(rows)), run.resources.n_threads):
        limits.include(found)
    return limits


def position_in_advance(
    run: Run, header: Header, limits: Sequence[float] | None = None
) -> tuple[Projection, Positioning]:
    """Return projection and position that an exposure in pix will have; `limits` as for `Projection.from_header`.

    Raises
    ------
    InputError
        The pointing is not in the header.
    """
    projection = Projection.from_header(header, _solution(run, header), limits, compat=run.compat)
    return projection, _pointing(run, header, find_offset(run.calibrations.offsets, header))


def _velocity(run: Run, table: Table) -> float:
    """Write the velocity correction to the header and return the factor on the wavelengths."""
    try:
        correction = VelocityCorrection.from_header(table.header, run.parameters.rvcorr, run.compat)
    except DataError as error:
        run.or_ignore(error, "velocity not corrected")
        return 1.0
    if correction is None:
        return 1.0
    correction.write_cards(table.header)
    _LOG.info("Velocity correction (%s): %.3f km/s", correction.frame, correction.velocity_kms)
    return correction.stretch


def _projection(run: Run, table: Table) -> Projection | None:
    if not run.parameters.astrometry:
        return None
    if table.position_unit != units.PIX:
        _LOG.info("Positions are in %s already: not projected", table.position_unit)
        return None
    if run.calibrations.astrometry is None:
        _LOG.warning("No ASTROMETRY_WCS: default astrometry of mode %s", instrument_mode(table.header))
    solution = _solution(run, table.header)
    return Projection.from_header(table.header, solution, position_unit=table.position_unit, compat=run.compat)


def _solution(run: Run, header: Header) -> AstrometricSolution:
    given = run.calibrations.astrometry
    if given is None:
        return AstrometricSolution.default(header)
    return AstrometricSolution.from_header(given, "ASTROMETRY_WCS", run.compat)


def _positioning(run: Run, table: Table, offset: Offset | None) -> Positioning | None:
    return _pointing(run, table.header, offset) if table.position_unit == units.RAD else None


def _pointing(run: Run, header: Header, offset: Offset | None) -> Positioning:
    ra, dec = (require_float(header, key, "exposure", run.compat) for key in ("RA", "DEC"))
    if offset is not None:
        ra, dec = offset.pointing(ra, dec)
    return Positioning.at(ra, dec)


def _positioned(table: Table, own: Positioning | None, offset: Offset | None) -> Table:
    """Return the table as it will be on the sky by itself; the same if it stays in pixels."""
    copy = dataclasses.replace(table, header=table.header.copy())
    put_on_sky(copy, own, offset)
    return copy


def put_on_sky(table: Table, own: Positioning | None, offset: Offset | None, number: int = 1) -> None:
    """Write position and offset of the `number`-th exposure to the header of a table."""
    if offset is not None:
        offset.write_cards(table.header, number)
    if own is not None and number == 1:
        own.write_cards(table.header)
        table.position_unit = units.DEG

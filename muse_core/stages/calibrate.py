# SPDX-License-Identifier: GPL-2.0-or-later
"""From the files of an exposure to calibrated rows: merging, flat-field spectrum, refraction, flux."""

import dataclasses
import logging
from pathlib import Path

import numpy as np

from muse_core.engine.exposure import CHANGING, Chunk, RowLimits, StoredExposure, load_pass, write_pass
from muse_core.engine.plan import ExposureStep
from muse_core.engine.progress import timed
from muse_core.engine.store import RowStore
from muse_core.errors import DataError
from muse_core.model import units
from muse_core.model.fits import Header
from muse_core.model.header import instrument_mode
from muse_core.model.pixtable import FlatFieldSpectrum
from muse_core.model.record import record
from muse_core.recipe.run import Run
from muse_core.stages.calibrations import FluxCurves
from muse_core.stages.opening import OpenedExposure
from muse_core.stages.tables import StoredTable
from muse_core.steps import dar, flatfield, flux
from muse_core.steps.order import sort_rows
from muse_core.steps.passes import calibrate_rows

_LOG = logging.getLogger(__name__)
_REVERTED = "%s was made without flat-field spectrum correction: correction taken back"
#: Names of the steps in the log.
STEP, FLUX_STEP = "Calibration", "Flux calibration"
#: The latter in a plan.
PLANNED_FLUX = ExposureStep(FLUX_STEP, (CHANGING,))


@record(kw_only=True)
class CalibrationOptions:
    """What is done to the rows while they are loaded, beside merging; by default nothing.

    Attributes
    ----------
    reference_wavelength : float, optional
        Wavelength, in Angstrom, that the correction of refraction leaves where it is; one that is out of range switches
        the correction off. None: not corrected.
    curves : FluxCurves
        A response that was made without flat-field spectrum takes that correction back.
    flux : bool
        Calibrate the flux with these curves.
    drop_flagged : bool
        Drop rows with a flag, after the calibration of the flux.
    """

    reference_wavelength: float | None = None
    curves: FluxCurves = dataclasses.field(default_factory=FluxCurves)
    flux: bool = False
    drop_flagged: bool = False


class Calibration:
    """Merging, flat-field spectrum, refraction and flux of the rows of an exposure, and what they leave in its header.

    Parameters
    ----------
    run : Run
        The run.
    exposure : OpenedExposure
        The exposure.
    first_row : int
        Number, in the store, of its first row.
    options : CalibrationOptions
        What to do.

    Attributes
    ----------
    exposure : OpenedExposure
        The exposure.
    table : StoredTable
        The exposure as it will be; its header is right after `complete`.

    Raises
    ------
    DataError
        A step cannot be done with this exposure.
    """

    def __init__(self, run: Run, exposure: OpenedExposure, first_row: int, options: CalibrationOptions):
        first = exposure.rows.files[0]
        spectrum, self._factor = _flat_field(exposure, options.curves, run.resources.n_threads)
        self.exposure = exposure
        self.table = StoredTable(
            header=exposure.header,
            stored=StoredExposure(
                first_row, first_row + exposure.rows.n_rows, exposure.rows.chunks, exposure.rows.grouped
            ),
            position_unit=first.position_unit,
            data_unit=first.units["data"],
            stat_unit=first.units["stat"],
            flat_field=spectrum,
            weights=exposure.weights,
        )
        self._refraction = _refraction(run, self.table, options.reference_wavelength)
        self._flux = flux_calibration(run, self.table, options.curves) if options.flux else None
        self._compat = run.compat

    @property
    def is_idle(self) -> bool:
        """Does it leave the rows as they are, but for the scales of their files?"""
        return self._factor is None and self._refraction is None and self._flux is None

    def __call__(self, rows: np.ndarray, chunk: Chunk) -> None:
        """Calibrate the rows of a chunk in place."""
        self._calibrate(rows, chunk, self._refraction)

    def _calibrate(self, rows: np.ndarray, chunk: Chunk, refraction: dar.DarCorrection | None) -> None:
        if self._factor is not None:
            sort_rows(rows)
        calibrate_rows(rows, self.exposure.scales[chunk.part], self._factor, refraction, self._flux, self._compat)

    def good_rows(self, rows: np.ndarray, chunk: Chunk) -> tuple[np.ndarray, RowLimits]:
        """Return the rows of a chunk without flag, calibrated, and their limits before refraction was corrected."""
        self._calibrate(rows, chunk, None)
        rows = rows[rows["dq"] == 0]
        before = RowLimits.of(rows)
        calibrate_rows(rows, dar=self._refraction, compat=self._compat)
        return rows, before

    def complete(self, before: RowLimits, after: RowLimits) -> None:
        """Complete the header with the limits of the rows before and after the calibration."""
        table = self.table
        before.require_finite("pixel tables")
        if not self._compat.senseless_values_used:
            before.require_origin("pixel tables")
        if not self.exposure.keeps_limits:
            table.write_limits(before)
        if self._refraction is not None:
            self._refraction.write_cards(table.header)
            table.write_limits(after)
        if self._flux is not None:
            write_calibrated(table)


class QuickCalibration:
    """What a calibration does at some wavelengths, but for scales of IFUs; parameters and errors as for `Calibration`.

    Attributes
    ----------
    is_calibrated : bool
        Is the flux calibrated?
    """

    def __init__(self, run: Run, exposure: OpenedExposure, options: CalibrationOptions):
        first, header = exposure.rows.files[0], exposure.header.copy()
        where = StoredExposure(0, 0, [])
        table = StoredTable(header, where, first.position_unit, first.units["data"], first.units["stat"])
        exposure, n_threads = dataclasses.replace(exposure, header=header), run.resources.n_threads
        self._factor = _flat_field(exposure, options.curves, n_threads)[1]
        self._refraction = _refraction(run, table, options.reference_wavelength)
        self._flux = flux_calibration(run, table, options.curves) if options.flux else None
        self._compat = run.compat
        self.is_calibrated = self._flux is not None

    def __call__(self, rows: np.ndarray) -> None:
        """Calibrate rows in place."""
        calibrate_rows(rows, 1.0, self._factor, self._refraction, self._flux, self._compat)


def calibrate(
    run: Run, exposure: OpenedExposure, store: RowStore, first_row: int, options: CalibrationOptions
) -> StoredTable:
    """Load an exposure into the store, calibrated; parameters as in `Calibration`.

    Raises
    ------
    DataError
        A step cannot be done with this exposure.
    """
    calibration = Calibration(run, exposure, first_row, options)
    before, after, dropped = RowLimits(), RowLimits(), []

    def step(rows: np.ndarray, chunk: Chunk) -> tuple[np.ndarray, tuple[RowLimits, RowLimits, int]]:
        if options.drop_flagged:
            rows, loaded = calibration.good_rows(rows, chunk)
        else:
            loaded = RowLimits.of(rows)
            calibration(rows, chunk)
        return rows, (loaded, RowLimits.of(rows), len(chunk) - len(rows))

    with timed(STEP, exposure.rows.n_rows), exposure.rows:
        for a, b, n in load_pass(exposure.rows, store, first_row, step, run.resources.n_threads):
            before.include(a)
            after.include(b)
            dropped.append(n)
    calibration.complete(before, after)
    table = calibration.table
    table.stored = table.stored.without(dropped)
    return table


def correct_refraction(run: Run, table: StoredTable, store: RowStore, reference: float) -> bool:
    """Correct the positions, in pix, of rows that are in the store for refraction.

    Returns
    -------
    bool
        Whether it was done: not if the header says that it is not wanted, or `reference` switches it off.

    Raises
    ------
    DataError
        The exposure cannot be corrected.
    """
    correction = _refraction(run, table, reference)
    if correction is None:
        return False

    def step(rows: np.ndarray, chunk: Chunk) -> tuple[np.ndarray, RowLimits]:
        calibrate_rows(rows, dar=correction, compat=run.compat)
        return rows, RowLimits.of(rows)

    limits = RowLimits()
    with timed("Refraction", table.stored.n_rows):
        for found in write_pass(table.stored, table.stored, store, step, run.resources.n_threads):
            limits.include(found)
    correction.write_cards(table.header)
    table.write_limits(limits)
    return True


def revert_flat_field(run: Run, table: StoredTable, store: RowStore, curves: FluxCurves) -> None:
    """Take the correction by the flat-field spectrum back if the response was made without it."""
    if table.flat_field is None or not _must_revert(table.header, curves):
        return
    assert curves.response is not None
    _LOG.warning(_REVERTED, curves.response.where)
    factor = flatfield.FlatFieldFactor.of(table.flat_field, flatfield.Mode.DIVIDE)

    def step(rows: np.ndarray, chunk: Chunk) -> tuple[np.ndarray, None]:
        calibrate_rows(rows, flat_field=factor, compat=run.compat)
        return rows, None

    write_pass(table.stored, table.stored, store, step, run.resources.n_threads)
    flatfield.write_reverted(table.header)
    table.flat_field = None


def _must_revert(header: Header, curves: FluxCurves) -> bool:
    return flatfield.must_revert(header, curves.response is None or curves.response.flat_field_corrected)


def calibrate_flux(run: Run, table: StoredTable, store: RowStore, curves: FluxCurves) -> None:
    """Calibrate the flux of rows that are in the store.

    Raises
    ------
    DataError
        The exposure cannot be calibrated.
    """
    calibration = flux_calibration(run, table, curves)
    if calibration is None:
        return

    def step(rows: np.ndarray, chunk: Chunk) -> tuple[np.ndarray, None]:
        calibrate_rows(rows, flux=calibration, compat=run.compat)
        return rows, None

    with timed(FLUX_STEP, table.stored.n_rows):
        write_pass(table.stored, table.stored, store, step, run.resources.n_threads)
    write_calibrated(table)


def is_calibrated(run: Run, exposure: OpenedExposure) -> bool:
    """Does an exposure say that its flux is calibrated?"""
    return flux.is_calibrated(exposure.header, run.compat)


def write_calibrated(table: StoredTable) -> None:
    """Say that the flux of a table is calibrated."""
    flux.write_cards(table.header)
    table.data_unit, table.stat_unit = units.FLUX, units.FLUX_VARIANCE


def _flat_field(
    exposure: OpenedExposure, curves: FluxCurves, n_threads: int
) -> tuple[FlatFieldSpectrum | None, flatfield.FlatFieldFactor | None]:
    """Average the flat-field spectra, and decide whether their correction stays."""
    header, spectrum, mode = exposure.header, exposure.attached, flatfield.Mode.NOTHING
    if exposure.spectra:
        spectrum = flatfield.average(exposure.spectra, instrument_mode(header), n_threads)
        mode = flatfield.Mode.MULTIPLY
    if spectrum is None or not _must_revert(header, curves):
        return spectrum, flatfield.FlatFieldFactor.of(spectrum, mode) if mode and spectrum is not None else None
    assert curves.response is not None
    _LOG.warning(_REVERTED, curves.response.where)
    flatfield.write_reverted(header)
    return None, flatfield.FlatFieldFactor.of(spectrum, mode | flatfield.Mode.DIVIDE)


def _refraction(run: Run, table: StoredTable, reference: float | None) -> dar.DarCorrection | None:
    header = table.header
    if reference is None or not dar.is_wanted(header, run.compat):
        return None
    if dar.is_switched_off(reference):
        dar.write_switched_off(header)
        _LOG.info("Refraction: not corrected, the reference wavelength %g Angstrom switches it off", reference)
        return None
    method = run.environment.refraction
    try:
        found = dar.DarCorrection.from_header(header, reference, method, table.position_unit, run.compat)
    except DataError as error:
        run.or_ignore(error, "refraction not corrected")
        return None
    _LOG.info("Refraction: positions as at %g Angstrom (%s)", reference, method.value)
    return found


def _names(curves: FluxCurves) -> str:
    used = {"response": curves.response, "extinction": curves.extinction, "telluric correction": curves.telluric}
    return ", ".join(
        f"no {what}" if curve is None else f"{what} by {Path(curve.where).name}" for what, curve in used.items()
    )


def flux_calibration(run: Run, table: StoredTable, curves: FluxCurves) -> flux.FluxCalibration | None:
    """Return what calibrates the flux of an exposure; None without response, or if the reference would go on without.

    Raises
    ------
    DataError
        The exposure cannot be calibrated.
    """
    if curves.response is None:
        return None
    try:
        found = flux.FluxCalibration.from_header(
            table.header, curves.response, curves.extinction, curves.telluric, table.data_unit, run.compat
        )
    except DataError as error:
        run.or_ignore(error, "flux not calibrated")
        return None
    if found is not None:
        _LOG.info("Flux calibration: airmass %.3f, %s", found.constants["airmass"][0], _names(curves))
    elif run.ends_at_failed_step:
        raise DataError(f"flux calibration: found data in {table.data_unit!r}, expected counts; done already?")
    return found

# SPDX-License-Identifier: GPL-2.0-or-later
"""One exposure: from its pixel tables to rows on the sky in the store, and its products."""

import contextlib
import dataclasses
import logging
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from astropy.io.fits import Header

from muse_core.engine.exposure import Chunk, ExposureRows, Limits, StoredExposure, load_pass, read_pass, write_pass
from muse_core.engine.slabs import Weights
from muse_core.engine.store import RowStore
from muse_core.errors import DataError, InputError
from muse_core.io.fitswriter import primary_header
from muse_core.io.pixtable import AS_TABLE_VARIABLE, PixelTableFile, PixelTableWriter
from muse_core.io.products import RawFrame
from muse_core.model import origin, units
from muse_core.model.header import PIXTABLE, instrument_mode, require_float
from muse_core.model.pixtable import FlatFieldSpectrum
from muse_core.model.wcs import AstrometricSolution
from muse_core.recipes.inputs import Run
from muse_core.steps import dar, flatfield, flux, merge
from muse_core.steps.astrometry import Positioning, Projection, has_limits_before_refraction
from muse_core.steps.limits import write_limits
from muse_core.steps.offsets import Offset, find_offset
from muse_core.steps.order import sort_rows
from muse_core.steps.passes import calibrate_rows, locate_rows
from muse_core.steps.refraction import Method
from muse_core.steps.velocity import VelocityCorrection

_LOG = logging.getLogger(__name__)
RAW_TAG = "PIXTABLE_OBJECT"
#: Environment variable of the reference: formula of the refractive index.
REFRACTION_VARIABLE = "MUSE_DAR_CORRECT_METHOD"


@dataclasses.dataclass(slots=True)
class Table:
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
        """Limits and pointing of the table, for messages."""
        limits = (f"{axis} {self._limit(axis, 'LOW')} to {self._limit(axis, 'HIGH')}" for axis in ("X", "Y", "LAMBDA"))
        pointing = f"RA {self.header.get('RA')}, DEC {self.header.get('DEC')}"
        return f"Limits of the pixel table of {self.header.get('DATE-OBS')} ({pointing}): {', '.join(limits)}"

    def _limit(self, axis: str, end: str):
        return self.header.get(f"ESO DRS MUSE PIXTABLE LIMITS {axis} {end}")

    def write_limits(self, limits: Limits) -> None:
        """Write the limits of the rows to the header."""
        zero = (self.header.get("CRVAL1", 0.0), self.header.get("CRVAL2", 0.0))
        write_limits(self.header, limits.extent, limits.ifu, limits.slice, self.position_unit, zero)


@dataclasses.dataclass(slots=True)
class Exposure:
    """An exposure whose files are known, but not loaded.

    Attributes
    ----------
    header : Header
        Header of the merged table.
    rows : ExposureRows
        Files in the order of the merged table.
    scales : list of float
        Factor on the data of each file.
    spectra : list of FlatFieldSpectrum
        Flat-field spectra of the files, if rows are to be corrected by their average.
    attached : FlatFieldSpectrum, optional
        Spectrum of a merged file, which was corrected before.
    keeps_limits : bool
        A merged file of which nothing is cut: the limits in its header count, which have seven digits.
    weights : Weights, optional
        Weights of the exposures in a combined table.
    """

    header: Header
    rows: ExposureRows
    scales: list[float]
    spectra: list[FlatFieldSpectrum]
    attached: FlatFieldSpectrum | None
    keeps_limits: bool = False
    weights: Weights | None = None


def open_exposures(run: Run, paths: Sequence[Path]) -> list[Exposure]:
    """Open the pixel tables and group them into exposures, in the order of time.

    Raises
    ------
    InputError
        A file is no pixel table, or says not enough about itself.
    DataError
        The files of an exposure do not fit together.
    """
    files = [PixelTableFile(path) for path in paths]
    names = [str(path) for path in paths]
    headers = [file.header for file in files]
    groups = merge.group_exposures(headers, names, run.compat)
    used = sorted(index for group in groups for index in group.files)
    run.factory.use_raw(RawFrame(paths[index], RAW_TAG, headers[index]) for index in used)
    exposures = []
    for number, group in enumerate(groups, 1):
        _LOG.info("Exposure %d of %d (DATE-OBS %s): %d IFUs", number, len(groups), group.date_obs, len(group.files))
        missing = sorted(set(range(1, origin.N_IFU + 1)) - set(group.ifus))
        if missing and group.ifus != (merge.MERGED_FILE,):
            _LOG.warning("Exposure %d: no pixel table of IFU %s", number, ", ".join(map(str, missing)))
        exposures.append(_open_exposure(run, [files[i] for i in group.files], group))
    weighted = [str(file.path) for file in files if file.has_weight]
    if weighted and len(files) > 1:
        raise InputError(
            f"{', '.join(weighted)}: found a column weight, expected pixel tables of single exposures; a combined "
            "table can only be used alone, else give the tables of all exposures instead"
        )
    return exposures


def _open_exposure(run: Run, files: list[PixelTableFile], group: merge.ExposureFiles) -> Exposure:
    low, high = run.parameters.lambdamin, run.parameters.lambdamax
    names = [str(file.path) for file in files]
    is_merged = group.ifus == (merge.MERGED_FILE,)
    scales = [1.0] if is_merged else merge.ifu_scales([f.header for f in files], names, run.compat)
    files = files[: len(scales)]
    for file in files[1:]:
        if (file.position_unit, file.units["data"]) != (files[0].position_unit, files[0].units["data"]):
            raise DataError(
                f"{file.path}: found positions in {file.position_unit}, data in {file.units['data']}, expected "
                f"{files[0].position_unit} and {files[0].units['data']} as in {files[0].path}"
            )
    cut = [merge.is_cut_needed(file.header, low, high) for file in files]
    spectra = [
        flatfield.trim(file.flat_field, low, high) if needed else file.flat_field
        for file, needed in zip(files, cut, strict=True)
        if file.flat_field is not None
    ]
    already_merged = is_merged or not merge.has_flat_levels(files[0].header, run.compat)
    if not already_merged and spectra and len(spectra) != len(files):
        without = [str(file.path) for file in files if file.flat_field is None]
        raise DataError(
            f"exposure of {group.date_obs}: found a flat-field spectrum in {len(spectra)} of {len(files)} pixel "
            f"tables, expected it in all or none; not in {', '.join(without)}"
        )
    header = files[0].header.copy()
    if not is_merged:
        header = merge.merge_headers([f.header for f in files], 0 if already_merged else len(spectra))
    merge.remove_quality_cards(header)
    rows = ExposureRows(files, (low, high), cut, run.resources.n_threads)
    if already_merged:
        keeps_limits = is_merged and not cut[0]
        edges = rows.exposure_edges()
        for number, (first, end) in enumerate(zip(edges[:-1], edges[1:], strict=True), 1):
            if is_merged and len(edges) > 2:
                header[f"{PIXTABLE}EXP{number} FIRST"], header[f"{PIXTABLE}EXP{number} LAST"] = first, end - 1
        weights = rows.weights()
        attached = spectra[0] if spectra else None
        return Exposure(
            header, rows, scales, [], attached, keeps_limits, None if weights is None else Weights(*weights)
        )
    return Exposure(header, rows, scales, spectra, None)


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


class TableSaver:
    """A product that is a pixel table, written in pieces; its header is final when the limits of all rows are known."""

    def __init__(self, run: Run, table: Table, tag: str):
        self._factory, self._table, self._tag = run.factory, table, tag
        self._path = run.factory.next_path(tag)
        self.limits, self._lock = Limits(), threading.Lock()
        self._writer = PixelTableWriter(
            self._path,
            self._header(),
            table.stored.n_rows,
            position_unit=table.position_unit,
            data_unit=table.data_unit,
            stat_unit=table.stat_unit,
            flat_field=table.flat_field,
            weighted=table.weights is not None,
            as_table=_is_positive(os.environ.get(AS_TABLE_VARIABLE, "")),
        )

    def _header(self) -> Header:
        return self._factory.header(self._tag, self._table.header.cards, self._path, primary_header())

    def write(self, chunk: Chunk, rows: np.ndarray) -> None:
        """Write the rows of a chunk."""
        weights, start = self._table.weights, self._table.stored.begin + chunk.start
        self._writer.write(chunk.row, rows, None if weights is None else weights.between(start, start + len(rows)))
        limits = Limits.of(rows)
        with self._lock:
            self.limits.include(limits)

    def finish(self, limits: Limits | None = None) -> None:
        """Complete the product; with `limits`, after writing them to the header of its table."""
        if limits is not None:
            self._table.write_limits(limits)
        self._writer.set_primary(self._header())
        self._factory.register(self._writer.finish(), self._tag)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, traceback):
        self._writer.__exit__(kind, value, traceback)


def _is_positive(text: str) -> bool:
    try:
        return int(text) > 0
    except ValueError:
        return False

# SPDX-License-Identifier: GPL-2.0-or-later
"""The order of the steps of muse_scipost."""

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from muse_core.engine.exposure import Chunk, Limits, StoredExposure
from muse_core.engine.journal import Journal, fingerprint
from muse_core.engine.plan import Plan
from muse_core.engine.progress import timed
from muse_core.engine.resources import Resources
from muse_core.engine.slabs import FlaggedRows, Weights
from muse_core.engine.store import RowStore
from muse_core.errors import DataError, InputError, ParameterError, ResourceError
from muse_core.io.frames import FrameSelection
from muse_core.io.products import Product, ProductFactory
from muse_core.io.sof import Frame
from muse_core.model import units
from muse_core.model.autocal import AutocalFactors
from muse_core.model.cards import card
from muse_core.model.compat import Compat
from muse_core.model.declare import parameter_specs
from muse_core.model.raman import RamanLines
from muse_core.recipes import autocal, darcheck, declaration, exposures, final, raman, sdp, sky, stacked
from muse_core.recipes.declaration import ScipostParameters
from muse_core.recipes.exposures import Located
from muse_core.recipes.inputs import Run, load_calibrations, parse_save
from muse_core.recipes.opening import RAW_TAG, Exposure, open_exposures
from muse_core.recipes.plan import make_plan
from muse_core.recipes.tables import Table
from muse_core.steps.combine import combine_headers, exposure_weights
from muse_core.steps.sdp import Exposure as Described

_LOG = logging.getLogger(__name__)
_FAR_DEG = 0.5
#: In products that are not made with MUSE_COMPAT=2.8.7.
_COMPAT_CARD = ("ESO DRS MUSE SCIPOST COMPAT", "none", "reproduced defects of muse_scipost 2.8.7")


def reduce(frames: Sequence[Frame], parameters: ScipostParameters, directory: Path) -> list[Product]:
    """Reduce a set of frames.

    Parameters
    ----------
    frames : sequence of Frame
        Inputs in the order of the set of frames.
    parameters : ScipostParameters
        Parameters.
    directory : Path
        Where products go.

    Returns
    -------
    list of Product
        Products in the order in which they were completed.

    Raises
    ------
    MuseError
        Unusable inputs, parameters or machine.
    """
    opened = _Opened.of(frames, parameters, directory)
    plan = opened.plan()
    _LOG.info("Plan: %s", plan)
    plan.require_space()
    run, begins = opened.run, opened.begins
    journal, factory = run.journal, run.factory
    with (
        journal,
        factory.all_or_none(journal.products),
        journal.make_store(np.diff(begins).tolist(), run.resources) as store,
    ):
        tables, located = [], []
        for number, (exposure, begin) in enumerate(zip(opened.exposures, begins[:-1].tolist(), strict=True), 1):
            _LOG.info("Exposure %d: %d rows", number, exposure.rows.n_rows)
            with _named(exposure):
                done = journal.recall_exposure(number, store, factory)
                if done is None:
                    done = _reduce_exposure(run, opened.inputs, exposure, store, begin, located)
                    journal.record_exposure(number, done, store, (begin, begin + exposure.rows.n_rows), factory)
            tables.append(done[0])
            located.append(done[1])
        if run.save & {"cube", "combined", "stacked"}:
            _finish(opened, tables, located, store)
    return run.factory.products


def plan(frames: Sequence[Frame], parameters: ScipostParameters, directory: Path) -> Plan:
    """Say what `reduce` would need, from the headers of the frames; see there.

    Raises
    ------
    MuseError
        Unusable inputs or parameters.
    """
    return _Opened.of(frames, parameters, directory).plan()


@contextlib.contextmanager
def _named(exposure: Exposure) -> Iterator[None]:
    """Say of which exposure an error is."""
    try:
        yield
    except (DataError, InputError) as error:
        file = exposure.rows.files[0].path.name
        raise type(error)(f"exposure of {exposure.header.get('DATE-OBS')} ({file} ...): {error}") from error
    except MemoryError as error:
        raise ResourceError(f"out of memory ({error}); see MUSE_MAX_MEMORY") from error


def _reduce_exposure(
    run: Run, inputs: "_Inputs", exposure: Exposure, store: RowStore, begin: int, before: list[Located]
) -> tuple[Table, Located]:
    """Reduce an exposure up to its rows on the sky, and write its own products."""
    zero = before[0].positioning if before else None
    parameters, n_rows = run.parameters, exposure.rows.n_rows
    if _needs_no_barrier(run, inputs):

        def subtraction_of(table: Table) -> sky.SkySubtraction | None:
            return sky.SkySubtraction.of(run, sky.model_sky(run, inputs.sky, table, store), table)

        with timed("Calibration, sky subtraction, position", n_rows):
            return exposures.calibrate_and_locate(run, exposure, store, begin, zero, subtraction_of)
    with timed("Calibration", n_rows):
        table, pending = exposures.calibrate(run, exposure, store, begin)
    if parameters.darcheck != "none":
        with timed("Check of the refraction", n_rows):
            darcheck.check_refraction(run, table, store, pending)
    with timed("Raman lines", n_rows, wanted=inputs.raman_lines is not None):
        cleaned = raman.clean(run, table, store, inputs.raman_lines, inputs.sky.lsf, inputs.sky.mask)
    with timed("Autocalibration", n_rows, wanted=parameters.autocalib != "none"):
        levelled = autocal.autocalibrate(run, table, store, inputs.factors, inputs.sky.mask)
    with timed("Sky model", n_rows, wanted=parameters.skymethod in ("model", "simple")):
        found = sky.model_sky(run, inputs.sky, table, store, levelled.white_light)
    with timed("Sky subtraction, position", n_rows):
        position = exposures.locate(run, table, store, zero, sky.SkySubtraction.of(run, found, table))
    if "autocal" in run.save:
        autocal.save_autocal(run, levelled)
    if "raman" in run.save and cleaned is not None:
        raman.save_images(run, cleaned)
    if "skymodel" in run.save:
        sky.save_sky(run, table, found)
    return table, position


def _needs_no_barrier(run: Run, inputs: "_Inputs") -> bool:
    """Does no step of an exposure need all its rows, so that they can go from the file to the sky in one pass?"""
    parameters = run.parameters
    return (
        parameters.darcheck == "none"
        and inputs.raman_lines is None
        and parameters.autocalib == "none"
        and parameters.skymethod in ("none", "subtract-model")
        and not run.save & {"individual", "positioned"}  # tables have to know beforehand how many rows are left
    )


def _prepare(frames: Sequence[Frame], parameters: ScipostParameters, directory: Path) -> Run:
    compat = Compat.from_environment()
    save = parse_save(parameters.save)
    low, high = parameters.lambdamin, parameters.lambdamax
    if low >= high:
        raise ParameterError(f"parameters lambdamin, lambdamax: found {low:g} and {high:g}, expected a range")
    resources = Resources.from_environment(directory)
    selection = FrameSelection(frames, declaration.INPUTS, compat)
    paths = selection.all(RAW_TAG)
    if not paths:
        found = ", ".join(sorted({frame.tag or "(none)" for frame in frames})) or "no frames"
        raise InputError(f"set of frames: found {found}, expected at least one frame with tag {RAW_TAG}")
    factory = ProductFactory(
        recipe=declaration.NAME,
        pipeline=declaration.PIPELINE,
        system=f"muse-scipost-{declaration.VERSION}",
        parameters=[(spec, getattr(parameters, spec.name)) for spec in parameter_specs(ScipostParameters)],
        products=declaration.PRODUCTS,
        qc_prefix=declaration.QC_PREFIX,
        directory=directory,
        marks=[] if compat == Compat.reference() else [card(*_COMPAT_CARD)],
    )
    calibrations = load_calibrations(selection, factory, compat)
    journal = _journal(frames, parameters, resources)
    return Run(parameters, save, compat, resources, selection, factory, calibrations, journal)


def _journal(frames: Sequence[Frame], parameters: ScipostParameters, resources: Resources) -> Journal:
    if resources.resume is None:
        return Journal()
    name = fingerprint(frames, declaration.VERSION, parameters)
    return Journal(resources.resume / f"{declaration.NAME}-{name}", done=tuple[Table, Located])


@dataclasses.dataclass(frozen=True, slots=True)
class _Inputs:
    """Inputs of single steps."""

    sky: sky.SkyInputs
    raman_lines: RamanLines | None
    factors: AutocalFactors | None
    cube: final.CubeInputs | None


@dataclasses.dataclass(frozen=True, slots=True)
class _Opened:
    """A run before its first row is read.

    Attributes
    ----------
    run : Run
        The run.
    inputs : _Inputs
        Inputs of single steps.
    exposures : list of Exposure
        The exposures.
    begins : ndarray of int64, shape (n_exposures + 1,)
        Number, in the store, of the first row of each, and the number of all rows.
    weights : Weights, optional
        Weights of the exposures.
    described : list of sdp.Exposure
        What format sdpCube says of the exposures.
    """

    run: Run
    inputs: _Inputs
    exposures: list[Exposure]
    begins: np.ndarray
    weights: Weights | None
    described: list[Described]

    @classmethod
    def of(cls, frames: Sequence[Frame], parameters: ScipostParameters, directory: Path) -> "_Opened":
        """Look at all inputs."""
        run = _prepare(frames, parameters, directory)
        inputs = _load_inputs(run)
        opened = open_exposures(run, run.frames.all(RAW_TAG))
        begins = np.cumsum([0, *(exposure.rows.n_rows for exposure in opened)])
        is_sdp = "cube" in run.save and parameters.format == sdp.FORMAT
        described = sdp.describe_exposures(run, opened) if is_sdp else []
        return cls(run, inputs, opened, begins, _weights(run, opened, begins), described)

    def plan(self) -> Plan:
        """Say what the run will need."""
        return make_plan(self.run, self.inputs.cube, self.exposures)


def _load_inputs(run: Run) -> _Inputs:
    arguments = (run.frames, run.factory, run.parameters, run.compat)
    raman_lines = raman.load_lines(run.frames, run.factory)
    factors = autocal.load_factors(*arguments)
    sky_inputs = sky.load_sky_inputs(*arguments, for_raman=raman_lines is not None)
    cube = final.load_cube_inputs(run) if "cube" in run.save else None
    return _Inputs(sky_inputs, raman_lines, factors, cube)


def _weights(run: Run, opened: list[Exposure], begins: np.ndarray) -> Weights | None:
    if len(opened) < 2:
        return opened[0].weights
    values = exposure_weights([exposure.header for exposure in opened], run.parameters.weight, run.compat)
    return None if values is None else Weights(begins[:-1], np.asarray(values, np.float32))


def _finish(opened: _Opened, tables: list[Table], located: list[Located], store: RowStore) -> None:
    """Make the products of all exposures together."""
    run = opened.run
    table = _combine(run, tables, located, opened.weights)
    flagged, n_rows = FlaggedRows(), table.stored.n_rows
    if opened.inputs.cube is not None:
        with timed("Cube", n_rows):
            flagged = final.make_cube(run, opened.inputs.cube, table, store, opened.described)
    if "combined" in run.save:
        with timed("Combined table", n_rows):
            final.save_combined(run, table, store, flagged)
    if "stacked" in run.save:
        with timed("Stacked image", n_rows):
            stacked.make_stacked(run, table, store, flagged)


def _combine(run: Run, tables: list[Table], located: list[Located], weights: Weights | None) -> Table:
    """Make the combined table: the header of the first exposure, the rows of all."""
    first = tables[0]
    if len(tables) == 1:
        exposures.put_on_sky(first, located[0].positioning, located[0].offset)
        if located[0].limits is not None:
            first.write_limits(located[0].limits)
        return first
    states = {table.position_unit for table in tables}
    if states != {units.RAD}:
        raise DataError(
            f"{len(tables)} exposures: found positions in {', '.join(sorted(states))}, expected all in {units.RAD}; "
            "several exposures cannot be combined with astrometry=false"
        )
    counts = [table.stored.n_rows for table in tables]
    first.header = combine_headers(
        [table.header for table in tables], counts, [item.offset for item in located], weights is not None, run.compat
    )
    located[0].positioning.write_cards(first.header)
    first.position_unit = units.DEG
    first.weights = weights
    limits = Limits()
    for item in located:
        limits.include(item.limits)
    first.stored = StoredExposure(0, tables[-1].stored.end, _all_chunks(tables))
    _warn_of_outliers(tables, located)
    first.write_limits(limits)
    return first


def _warn_of_outliers(tables: list[Table], located: list[Located]) -> None:
    """Name the exposures that point elsewhere than the others: they blow up the grid."""
    pointings = np.array([(item.positioning.ra_deg, item.positioning.dec_deg) for item in located])
    distance = np.abs(pointings - np.median(pointings, axis=0)).max(axis=1)
    for table, far in zip(tables, distance, strict=True):
        if far > _FAR_DEG:
            _LOG.warning("Exposure of %s points %.3f deg away from the others", table.header.get("DATE-OBS"), far)


def _all_chunks(tables: list[Table]) -> list[Chunk]:
    """Return the chunks of all exposures, relative to the store and the combined table."""
    chunks, row = [], 0
    for table in tables:
        for chunk in table.stored.chunks:
            start, stop = table.stored.begin + chunk.start, table.stored.begin + chunk.stop
            chunks.append(dataclasses.replace(chunk, start=start, stop=stop, row=row))
            row += len(chunk)
    return chunks

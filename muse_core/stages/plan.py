# SPDX-License-Identifier: GPL-2.0-or-later
"""The plan of a run, made from headers alone, and the beginning of its work."""

import contextlib
import dataclasses
import logging
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from muse_core.engine import meter
from muse_core.engine.pace import pace_of
from muse_core.engine.plan import Disk, ExposureStep, Plan
from muse_core.engine.progress import resident_memory
from muse_core.engine.resources import BASE_BYTES
from muse_core.engine.slabplan import ExpectedSlabs, SlabPlanner
from muse_core.engine.slabs import OwnCube, refuse_empty_grid
from muse_core.engine.spool import ARRAYS_BYTES, BLOCK_BYTES
from muse_core.engine.store import RowStore, index_bytes
from muse_core.model.facts import tell
from muse_core.model.grid import OutputGrid
from muse_core.model.record import record
from muse_core.model.rows import ROW
from muse_core.recipe.parameters import WavelengthRange
from muse_core.recipe.run import PlanMade, Run
from muse_core.stages.calibrations import FluxCurves, require_cover
from muse_core.stages.cube import CubeInputs
from muse_core.stages.footprint import Footprint
from muse_core.stages.formats import FORMATS
from muse_core.stages.opening import OpenedExposure
from muse_core.stages.pointing import Pointing
from muse_core.stages.schedule import schedule, seconds_between
from muse_core.steps.offsets import require_match
from muse_core.steps.resample import INTERNAL_PIXFRAC, ResampleOptions

_LOG = logging.getLogger(__name__)
#: Bytes of a voxel in the journal and while columns wait, of a spaxel in an image that accumulates, of a value.
_JOURNAL, _SPOOLED, _IMAGE, _PIXEL = 12, 12, 16, 4
#: Bytes for each pixel of an image whose sources are looked for.
_SEARCHED = 64
#: Copies of the rows of a chunk that a thread has: in one pass from the file to the sky, or to a sky spectrum, and in
#: several.
_COPIES_IN_ONE_PASS, _COPIES = 1.5, 3.0
#: Copies while tables of all exposures are written, and while the image of all slices is.
_TABLE_COPIES, _STACKED_COPIES = 0.2, 1.0
#: Further copies of the rows of a band while its image is made, and how that is.
_BAND_COPIES, _IMAGE_OF_BAND = 2, OwnCube(ResampleOptions(pixfrac=INTERNAL_PIXFRAC))
#: What else is needed, measured: for headers and products, for tables and their images, for models of the sky; for the
#: libraries that are imported to fit Raman lines, and to look for sources in images; and the part by which rows are not
#: spread evenly.
_PRODUCTS_BYTES, _TABLES_BYTES, _SKY_BYTES, _UNEVEN = 1 << 20, 1 << 20, 2 << 20, 1.03
_FIT_BYTES, _SEARCH_BYTES = 28 << 20, 56 << 20


@record(kw_only=True)
class Work:
    """What a recipe is going to do; enough to say what it will need.

    Attributes
    ----------
    exposures : sequence of OpenedExposure
        The exposures.
    wavelengths : WavelengthRange
        Which rows are loaded.
    pointing : Pointing, optional
        Where exposures will be on the sky; None if they stay as they are.
    projects : bool
        Those in pix too.
    curves : FluxCurves, optional
        What the flux is calibrated with; None if it is not.
    cube : CubeInputs, optional
        Inputs of the cube, if one is made.
    save : set of str
        Words of the parameter `save`, if there is one.
    n_tables : int
        Number of pixel-table products that have all rows.
    saves_weights : bool
        One of them has weights.
    stacked : bool
        An image of all slices is made.
    steps : sequence of ExposureStep
        What is done to each exposure between its calibration and its position on the sky.
    keeps_rows : bool
        Rows go into the store.
    in_one_pass : bool
        They go from the file to the sky at once.
    bands : sequence of tuple of float
        Wavelengths in Angstrom of which the rows of an exposure are in memory, and resampled into an image.
    images : sequence of int
        Number of pixels of each image that is read as it is, of as many exposures.
    """

    exposures: Sequence[OpenedExposure] = ()
    wavelengths: WavelengthRange = WavelengthRange()
    pointing: Pointing | None = None
    projects: bool = True
    curves: FluxCurves | None = None
    cube: CubeInputs | None = None
    save: frozenset[str] = frozenset()
    n_tables: int = 0
    saves_weights: bool = False
    stacked: bool = False
    steps: Sequence[ExposureStep] = ()
    keeps_rows: bool = True
    in_one_pass: bool = False
    bands: Sequence[tuple[float, float]] = ()
    images: Sequence[int] = ()

    @property
    def own_cubes(self) -> list[OwnCube]:
        """Cubes that steps make of each exposure."""
        return [one for step in self.steps for one in step.passes if isinstance(one, OwnCube)]

    @property
    def waiting_bytes(self) -> int:
        """What a step keeps of an exposure at most, in memory and then in a scratch file."""
        each = max((step.kept_bytes for step in self.steps), default=0.0)
        return int(each * max(self.lengths, default=0))

    @property
    def lengths(self) -> list[int]:
        """Number of rows of each exposure."""
        return [exposure.rows.n_rows for exposure in self.exposures]


@contextlib.contextmanager
def begin(run: Run, work: Work) -> Iterator[RowStore]:
    """Begin the work of a recipe, whose inputs have all been looked at; yields the store of its rows.

    Products take their places at the end of the block; a run that is only planned ends here.

    Raises
    ------
    DataError
        The grid would be all but empty, or the offsets or curves are those of other exposures.
    ResourceError
        There is not enough memory or disk space.
    """
    if work.curves is not None:
        require_cover(run, work.curves, work.exposures, work.wavelengths)
    if work.pointing is not None and work.projects:
        require_match(work.pointing.offsets, [exposure.header for exposure in work.exposures], run.compat)
    with run.executor:
        plan = make_plan(run, work)
        if run.plan_only:
            raise PlanMade(plan)
        tell(_LOG, "Plan: %s", plan, plan=plan)
        plan.require_space()
        progress = meter.current()
        if progress is not None:
            progress.expect(plan.steps)
        run.factory.expect(work.save, len(work.exposures), 0 if work.cube is None else len(work.cube.filters))
        journal = run.journal
        lengths = work.lengths if work.keeps_rows else []
        with (
            journal,
            run.factory.all_or_none(journal.products),
            journal.make_store(lengths, run.resources) as store,
        ):
            run.executor.begin(run.site(store))
            yield store
            meter.show("Finishing")
            run.extras.write(run)


def make_plan(run: Run, work: Work) -> Plan:
    """Say what a run will need.

    Raises
    ------
    DataError
        The grid would be all but empty, or a prescribed one far from the data.
    ResourceError
        There is not enough memory for a single plane of the cube.
    """
    crew = run.executor.crew
    if crew is not None:
        limits = dataclasses.replace(run.resources, memory_bytes=crew.memory_bytes, n_threads=crew.n_threads)
        run = dataclasses.replace(run, resources=limits)
    resources, cube = run.resources, work.cube
    n_rows = sum(work.lengths)
    footprint, grid = None, None
    if cube is not None:
        footprint = Footprint.of(work.exposures, work.wavelengths, work.pointing, projects=work.projects)
        grid = None if footprint is None else footprint.grid(cube.options.resample.step, cube.override)
        if grid is not None and footprint is not None:
            if cube.override is None:
                refuse_empty_grid(grid, n_rows, footprint.outermost)
            elif not run.compat.grid_without_data_made:
                footprint.require_overlap(grid, str(run.frames.first("OUTPUT_WCS")))
    n_voxels = 0 if grid is None else math.prod(grid.shape)
    row_bytes = ROW.itemsize * n_rows
    product_bytes = work.n_tables * row_bytes + _PIXEL * n_rows * (work.saves_weights + work.stacked)
    if grid is not None and cube is not None:
        traits = FORMATS[cube.options.format]
        product_bytes += traits.voxel_bytes * n_voxels + _PIXEL * grid.nx * grid.ny * len(cube.filters)
    product_bytes += _IMAGE * sum(work.images)
    resampling = None if cube is None else cube.options.resample
    extras = [collector.needs(grid, resampling) for collector in run.extras]
    product_bytes += sum(disk for _, disk in extras)
    kept_bytes = row_bytes if work.keeps_rows else 0
    if resources.resume is not None or crew is not None:
        scratch = resources.resume or resources.scratch
        scratch_bytes = kept_bytes + _JOURNAL * n_voxels
        if scratch.stat().st_dev != run.factory.directory.stat().st_dev:
            scratch_bytes += product_bytes
    else:
        scratch = resources.scratch
        scratch_bytes = 0 if resources.keeps_in_memory(work.lengths) else kept_bytes
    if grid is not None and traits.spools:
        scratch_bytes += _SPOOLED * n_voxels
    scratch_bytes += max(work.waiting_bytes - ARRAYS_BYTES, 0)
    n_workers, slabs = 0 if crew is None else crew.n_workers, None
    if grid is not None and footprint is not None and cube is not None:
        stored = (0, 0) if n_workers else _stored_bytes(run, work)
        slabs = _slabs(run, footprint, grid, cube.options.resample, stored, n_workers)
    pace = pace_of(resources.n_threads)
    steps = schedule(work, grid, slabs, pace, crew)
    return Plan(
        n_exposures=len(work.exposures) + len(work.images),
        n_rows=n_rows,
        grid=None if grid is None else (grid.nx, grid.ny, grid.nz),
        makes_cube=cube is not None,
        memory_bytes=_memory(run, work, grid, slabs) + sum(memory for memory, _ in extras),
        memory_limit=resources.memory_bytes,
        scratch=_disk(run, scratch, scratch_bytes),
        products=_disk(run, run.factory.directory, product_bytes),
        n_threads=resources.n_threads,
        seconds=seconds_between(work, pace) + sum(step.total for step in steps),
        steps=tuple(steps),
        n_workers=n_workers,
    )


def _disk(run: Run, folder: Path, needed: int) -> Disk:
    device, resume = folder.stat().st_dev, run.resources.resume
    is_journal = resume is not None and resume.stat().st_dev == device
    return Disk(
        folder=os.path.abspath(folder),
        device=device,
        needed=needed,
        free=shutil.disk_usage(folder).free,
        kept=run.journal.kept_bytes() if is_journal else 0,
    )


def _stored_bytes(run: Run, work: Work) -> tuple[int, int]:
    """Return the memory of the rows that stay in memory, and that of the index of all rows."""
    resources, lengths, crew = run.resources, work.lengths, run.executor.crew
    if crew is not None:  # a worker has a draft of one of them
        lengths = [max(lengths, default=0)]
    n_rows = sum(lengths)
    in_memory = work.keeps_rows and (crew is not None or resources.resume is None)
    in_memory = in_memory and resources.keeps_in_memory(lengths, draft=crew is not None)
    row_bytes = ROW.itemsize * n_rows if in_memory else 0
    return row_bytes, index_bytes(n_rows) if work.keeps_rows else 0


def _memory(run: Run, work: Work, grid: OutputGrid | None, slabs: ExpectedSlabs | None) -> int:
    """Add up what is resident now, what all of the run keeps, and the largest of what it needs for a while."""
    crew, stored = run.executor.crew, _stored_bytes(run, work)
    locates = work.cube is not None or work.n_tables
    kept = _PRODUCTS_BYTES + _chunks(run, work, _COPIES if locates and not work.in_one_pass else _COPIES_IN_ONE_PASS)
    stages = [0]
    own = None
    kept += min(work.waiting_bytes, ARRAYS_BYTES)
    if work.own_cubes or work.bands:
        kept += _FIT_BYTES if work.bands else _SKY_BYTES
        own = Footprint.of([max(work.exposures, key=lambda exposure: exposure.rows.n_rows)], work.wavelengths)
    if own is not None:
        for cube in work.own_cubes:
            stages.append(_own_cube(run, own, cube, stored))
        for part in filter(None, map(own.cut, work.bands)):
            kept += ROW.itemsize * part.n_rows
            stages.append(_BAND_COPIES * ROW.itemsize * part.n_rows + _own_cube(run, part, _IMAGE_OF_BAND, (0, 0)))
    if work.n_tables or work.stacked:
        kept += _TABLES_BYTES
        if not work.in_one_pass or work.save != {"individual"}:  # those are written as they are
            stages.append(_chunks(run, work, _STACKED_COPIES if work.stacked else _TABLE_COPIES))
    if grid is not None and work.cube is not None and slabs is not None:
        needed = int(_UNEVEN * slabs.memory_bytes)
        if FORMATS[work.cube.options.format].spools:
            needed += min(BLOCK_BYTES, _SPOOLED * math.prod(grid.shape))  # read when all slabs are there
        drafts = 0 if crew is None else stored[0]  # are gone by then
        stages.append(needed - drafts + _IMAGE * grid.nx * grid.ny * len(work.cube.filters))
    if work.images:
        kept += _SEARCH_BYTES
    stages.append(_SEARCHED * max(work.images, default=0))
    kept += _PIXEL * sum(work.images)
    return int((resident_memory() or BASE_BYTES) + sum(stored) + kept + max(stages))


def _own_cube(run: Run, footprint: Footprint, cube: OwnCube, stored: tuple[int, int]) -> int:
    """Return the memory of a cube of an exposure in its own spaxels; 0 if its size is not known."""
    grid = footprint.grid(cube.options.step)
    if grid is None:
        return 0
    slabs = _slabs(run, footprint, grid, cube.options, stored)
    return cube.voxel_bytes * math.prod(grid.shape) + int(_UNEVEN * slabs.memory_bytes)


def _chunks(run: Run, work: Work, copies: float) -> int:
    """Return the memory of the rows of chunks on which threads work."""
    lengths = [chunk.file_stop - chunk.file_start for exposure in work.exposures for chunk in exposure.rows.chunks]
    n_threads = min(run.resources.n_threads, len(lengths))
    return int(copies * ROW.itemsize * max(lengths, default=0) * n_threads)


def _slabs(
    run: Run,
    footprint: Footprint,
    grid: OutputGrid,
    options: ResampleOptions,
    stored: tuple[int, int],
    n_workers: int = 0,
) -> ExpectedSlabs:
    """Return what is to be expected of the slabs of a cube, made by us or by so many workers."""
    exposures, resources = footprint.exposures, run.resources
    limits = resources.slab_memory(*stored)
    planner = SlabPlanner(grid, options, footprint.n_rows, limits, resources.n_threads, lambda: footprint.spread(grid))
    n_slices = sum(exposure.n_slices for exposure in exposures)
    return planner.expected(n_slices, footprint.wavelengths, n_workers)

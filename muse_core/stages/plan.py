# SPDX-License-Identifier: GPL-2.0-or-later
"""The plan of a run, made from headers alone, and the beginning of its work."""

import contextlib
import dataclasses
import itertools
import logging
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from muse_core.engine import plan as model
from muse_core.engine.exposure import RowLimits
from muse_core.engine.plan import Disk, Plan
from muse_core.engine.resources import BASE_BYTES
from muse_core.engine.slabs import plan_slab, refuse_empty_grid, rows_per_plane
from muse_core.engine.store import INDEX_BYTES, RowStore
from muse_core.errors import MuseError
from muse_core.model import units
from muse_core.model.grid import Limits, OutputGrid, make_grid
from muse_core.model.header import PIXTABLE, get_float
from muse_core.model.rows import ROW, make_rows
from muse_core.recipe.parameters import WavelengthRange
from muse_core.recipe.run import PlanMade, Run
from muse_core.stages.cube import CubeInputs
from muse_core.stages.opening import OpenedExposure
from muse_core.stages.pointing import Pointing
from muse_core.steps.astrometry import Positioning
from muse_core.steps.offsets import require_match
from muse_core.steps.passes import locate_rows
from muse_core.steps.resample import slab_memory

_LOG = logging.getLogger(__name__)
#: Bytes of a voxel in the cube and in the journal, of a spaxel in an image that accumulates, of a value in a product.
_CUBE, _JOURNAL, _IMAGE, _PIXEL = 8, 12, 16, 4
#: Copies of the rows of a chunk that a thread works on.
_COPIES = 3
#: Positions beyond are no position in the field, in spaxels.
_FIELD = 1000
#: Number of exposures that a message names.
_NAMED = 3


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a recipe is going to do; enough to say what it will need.

    Attributes
    ----------
    exposures : sequence of OpenedExposure
        The exposures.
    wavelengths : WavelengthRange
        Which rows are loaded.
    pointing : Pointing, optional
        Where exposures in pix will be on the sky; None if they stay there.
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
    row_seconds : float
        Processor seconds for each row beside those of loading, positions and tables.
    keeps_rows : bool
        Rows go into the store.
    """

    exposures: Sequence[OpenedExposure]
    wavelengths: WavelengthRange
    pointing: Pointing | None = None
    cube: CubeInputs | None = None
    save: frozenset[str] = frozenset()
    n_tables: int = 0
    saves_weights: bool = False
    stacked: bool = False
    row_seconds: float = 0.0
    keeps_rows: bool = True

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
        The grid would be all but empty, or the offsets are those of other exposures.
    ResourceError
        There is not enough memory or disk space.
    """
    if work.pointing is not None:
        require_match(work.pointing.offsets, [exposure.header for exposure in work.exposures], run.compat)
    plan = make_plan(run, work)
    if run.plan_only:
        raise PlanMade(plan)
    _LOG.info("Plan: %s", plan)
    plan.require_space()
    run.factory.expect(work.save, len(work.exposures), 0 if work.cube is None else len(work.cube.filters))
    journal = run.journal
    lengths = work.lengths if work.keeps_rows else []
    with (
        journal,
        run.factory.all_or_none(journal.products),
        journal.make_store(lengths, run.resources) as store,
    ):
        yield store


def make_plan(run: Run, work: Work) -> Plan:
    """Say what a run will need.

    Raises
    ------
    DataError
        The grid would be all but empty.
    ResourceError
        There is not enough memory for a single plane of the cube.
    """
    resources, cube = run.resources, work.cube
    n_rows = sum(work.lengths)
    grid = None if cube is None else _expected_grid(work, cube)
    n_voxels = 0 if grid is None else math.prod(grid.shape)
    row_bytes = ROW.itemsize * n_rows
    product_bytes = work.n_tables * row_bytes + _PIXEL * n_rows * (work.saves_weights + work.stacked)
    if grid is not None:
        product_bytes += _CUBE * n_voxels + _PIXEL * grid.nx * grid.ny * len(cube.filters)
    kept_bytes = row_bytes if work.keeps_rows else 0
    if resources.resume is not None:
        scratch = resources.resume
        scratch_bytes = kept_bytes + _JOURNAL * n_voxels
        if scratch.stat().st_dev != run.factory.directory.stat().st_dev:
            scratch_bytes += product_bytes
    else:
        scratch = resources.scratch
        scratch_bytes = 0 if resources.keeps_in_memory(work.lengths) else kept_bytes
    seconds = (
        n_rows * (model.ROW_SECONDS + work.row_seconds + work.n_tables * model.TABLE_SECONDS)
        + n_voxels * model.VOXEL_SECONDS
    )
    return Plan(
        n_exposures=len(work.exposures),
        n_rows=n_rows,
        grid=None if grid is None else (grid.nx, grid.ny, grid.nz),
        memory_bytes=_memory(run, work, grid),
        memory_limit=resources.memory_bytes,
        scratch=_disk(run, scratch, scratch_bytes),
        products=_disk(run, run.factory.directory, product_bytes),
        n_threads=resources.n_threads,
        seconds=model.START_SECONDS + seconds / resources.n_threads,
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


def _memory(run: Run, work: Work, grid: OutputGrid | None) -> int:
    resources, lengths = run.resources, work.lengths
    n_rows = sum(lengths)
    chunks = (chunk for exposure in work.exposures for chunk in exposure.rows.chunks)
    longest = max((chunk.file_stop - chunk.file_start for chunk in chunks), default=0)
    in_memory = work.keeps_rows and resources.resume is None and resources.keeps_in_memory(lengths)
    row_bytes = ROW.itemsize * n_rows if in_memory else 0
    largest = _COPIES * ROW.itemsize * longest * resources.n_threads
    if grid is not None:
        options, n_threads = work.cube.options.resample, resources.n_threads
        thickness = plan_slab(n_rows, grid, options, resources.slab_bytes(row_bytes), n_threads)
        slab = slab_memory(grid, options, thickness, rows_per_plane(n_rows, grid), n_threads)
        largest = max(largest, slab + _IMAGE * grid.nx * grid.ny * len(work.cube.filters))
    index_bytes = INDEX_BYTES * n_rows if work.keeps_rows else 0
    return int(BASE_BYTES + index_bytes + row_bytes + largest)


def _expected_grid(work: Work, cube: CubeInputs) -> OutputGrid | None:
    """Lay out the grid around the corners of the exposures; None if their headers do not say where these are."""
    opened = work.exposures
    header, unit, reference = opened[0].header.copy(), units.PIX, None
    limits, pointings = RowLimits(), []
    try:
        for exposure in opened:
            rows, file_unit = _corners(work.wavelengths, exposure), exposure.rows.files[0].position_unit
            if work.pointing is not None and file_unit == units.PIX:
                extent = RowLimits.of(rows).extent
                projection, own = work.pointing.in_advance(exposure.header, extent)
                if reference is None:
                    projection.write_cards(header)
                    own.write_cards(header)
                    unit, reference = units.DEG, own
                locate_rows(rows, projection=projection, positioning=Positioning.at(own.ra_deg, own.dec_deg, reference))
                pointings.append((own.ra_deg, own.dec_deg))
            elif file_unit != units.PIX:
                return None
            limits.include(RowLimits.of(rows))
        origin = (0.0, 0.0) if reference is None else (reference.ra_deg, reference.dec_deg)
        grid = make_grid(
            header, Limits.from_extremes(limits.extent, origin), unit, cube.options.resample.step, cube.override
        )
    except (MuseError, KeyError, TypeError):
        return None  # whatever it is, the step that needs it will say so
    if cube.override is None:
        n_rows = sum(exposure.rows.n_rows for exposure in opened)
        refuse_empty_grid(grid, n_rows, _farthest(opened, pointings))
    return grid


def _farthest(opened: Sequence[OpenedExposure], pointings: Sequence[tuple[float, float]]) -> str:
    """Name the exposures that lie farthest from the middle of all."""
    if not pointings:
        return "Positions are in spaxels."
    distance = np.abs(np.array(pointings) - np.median(pointings, axis=0)).max(axis=1)
    named = np.argsort(-distance, kind="stable")[:_NAMED]
    texts = (f"{opened[i].header.get('DATE-OBS')} at {pointings[i][0]:.4f}, {pointings[i][1]:.4f}" for i in named)
    return f"Farthest from the middle of all exposures (RA, DEC in deg): {'; '.join(texts)}"


def _corners(wavelengths: WavelengthRange, exposure: OpenedExposure) -> np.ndarray:
    """Return rows at the corners of an exposure, by the limits in the headers of its files.

    Raises
    ------
    KeyError
        A header has no limits, or senseless ones.
    """
    limits = []
    for axis in ("X", "Y", "LAMBDA"):
        ends = [
            [get_float(file.header, f"{PIXTABLE}LIMITS {axis} {end}") for file in exposure.rows.files]
            for end in ("LOW", "HIGH")
        ]
        limits.append((min(ends[0]), max(ends[1])))
    x, y, lbda = limits
    if max(map(abs, (*x, *y))) > _FIELD:
        raise KeyError("LIMITS")
    lbda = np.clip(lbda, wavelengths.lambdamin, wavelengths.lambdamax)
    corners = np.array(list(itertools.product(x, y, lbda)))
    return make_rows(*corners.T, 0, 0, 0, 0)

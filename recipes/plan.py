# SPDX-License-Identifier: GPL-2.0-or-later
"""The plan of a run, made from headers alone."""

import itertools
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from muse_core.engine import plan as model
from muse_core.engine.exposure import Limits as RowLimits
from muse_core.engine.plan import Disk, Plan
from muse_core.engine.resources import BASE_BYTES
from muse_core.engine.slabs import plan_slab, refuse_empty_grid, rows_per_plane
from muse_core.engine.store import INDEX_BYTES
from muse_core.errors import MuseError
from muse_core.model import units
from muse_core.model.grid import Limits, OutputGrid, make_grid
from muse_core.model.header import PIXTABLE, get_float
from muse_core.model.rows import ROW, make_rows
from muse_core.recipes import exposures
from muse_core.recipes.final import CubeInputs
from muse_core.recipes.inputs import Run
from muse_core.recipes.opening import Exposure
from muse_core.steps.astrometry import Positioning
from muse_core.steps.passes import locate_rows
from muse_core.steps.resample import slab_memory

#: Bytes of a voxel in the cube and in the journal, of a spaxel in an image that accumulates, of a value in a product.
_CUBE, _JOURNAL, _IMAGE, _PIXEL = 8, 12, 16, 4
_TABLES = ("individual", "positioned", "combined")
#: Copies of the rows of a chunk that a thread works on.
_COPIES = 3
#: Positions beyond are no position in the field, in spaxels.
_FIELD = 1000
#: Number of exposures that a message names.
_NAMED = 3


def make_plan(run: Run, cube: CubeInputs | None, opened: Sequence[Exposure]) -> Plan:
    """Say what a run will need.

    Parameters
    ----------
    run : Run
        The run.
    cube : CubeInputs, optional
        Inputs of the cube, if one is made.
    opened : sequence of Exposure
        The exposures.

    Raises
    ------
    DataError
        The grid would be all but empty.
    ResourceError
        There is not enough memory for a single plane of the cube.
    """
    resources, parameters = run.resources, run.parameters
    lengths = [exposure.rows.n_rows for exposure in opened]
    n_rows = sum(lengths)
    grid = None if cube is None else _expected_grid(run, cube, opened)
    n_voxels = 0 if grid is None else math.prod(grid.shape)
    tables = sum(name in run.save for name in _TABLES)
    row_bytes = ROW.itemsize * n_rows
    product_bytes = tables * row_bytes + _PIXEL * n_rows * (_has_weights(run, opened) + ("stacked" in run.save))
    if grid is not None:
        product_bytes += _CUBE * n_voxels + _PIXEL * grid.nx * grid.ny * len(cube.filters)
    if resources.resume is not None:
        scratch = resources.resume
        scratch_bytes = row_bytes + _JOURNAL * n_voxels
        if scratch.stat().st_dev != run.factory.directory.stat().st_dev:
            scratch_bytes += product_bytes
    else:
        scratch = resources.scratch
        scratch_bytes = 0 if resources.keeps_in_memory(lengths) else row_bytes
    seconds = (
        n_rows * (model.ROW_SECONDS + model.SKY_SECONDS[parameters.skymethod] + tables * model.TABLE_SECONDS)
        + n_voxels * model.VOXEL_SECONDS
    )
    return Plan(
        n_exposures=len(opened),
        n_rows=n_rows,
        grid=None if grid is None else (grid.nx, grid.ny, grid.nz),
        memory_bytes=_memory(run, cube, grid, opened),
        memory_limit=resources.memory_bytes,
        scratch=_disk(run, scratch, scratch_bytes),
        products=_disk(run, run.factory.directory, product_bytes),
        n_threads=resources.n_threads,
        seconds=model.START_SECONDS + seconds / resources.n_threads,
    )


def _has_weights(run: Run, opened: Sequence[Exposure]) -> bool:
    made = len(opened) > 1 and run.parameters.weight != "none"
    return "combined" in run.save and (made or opened[0].weights is not None)


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


def _memory(run: Run, cube: CubeInputs | None, grid: OutputGrid | None, opened: Sequence[Exposure]) -> int:
    resources = run.resources
    lengths = [exposure.rows.n_rows for exposure in opened]
    n_rows = sum(lengths)
    longest = max(chunk.file_stop - chunk.file_start for exposure in opened for chunk in exposure.rows.chunks)
    in_memory = resources.resume is None and resources.keeps_in_memory(lengths)
    row_bytes = ROW.itemsize * n_rows if in_memory else 0
    largest = _COPIES * ROW.itemsize * longest * resources.n_threads
    if grid is not None:
        options, n_threads = cube.options, resources.n_threads
        thickness = plan_slab(n_rows, grid, options, resources.slab_bytes(row_bytes), n_threads)
        slab = slab_memory(grid, options, thickness, rows_per_plane(n_rows, grid), n_threads)
        largest = max(largest, slab + _IMAGE * grid.nx * grid.ny * len(cube.filters))
    return int(BASE_BYTES + INDEX_BYTES * n_rows + row_bytes + largest)


def _expected_grid(run: Run, cube: CubeInputs, opened: Sequence[Exposure]) -> OutputGrid | None:
    """Lay out the grid around the corners of the exposures; None if their headers do not say where these are."""
    header, unit, zero = opened[0].header.copy(), units.PIX, None
    limits, pointings = RowLimits(), []
    try:
        for exposure in opened:
            rows, file_unit = _corners(run, exposure), exposure.rows.files[0].position_unit
            if run.parameters.astrometry and file_unit == units.PIX:
                extent = RowLimits.of(rows).extent
                projection, own = exposures.position_in_advance(run, exposure.header, extent)
                if zero is None:
                    projection.write_cards(header)
                    own.write_cards(header)
                    unit, zero = units.DEG, own
                locate_rows(rows, projection=projection, positioning=Positioning.at(own.ra_deg, own.dec_deg, zero))
                pointings.append((own.ra_deg, own.dec_deg))
            elif file_unit != units.PIX:
                return None
            limits.include(RowLimits.of(rows))
        origin = (0.0, 0.0) if zero is None else (zero.ra_deg, zero.dec_deg)
        grid = make_grid(header, Limits.from_extremes(limits.extent, origin), unit, cube.options.step, cube.override)
    except (MuseError, KeyError, TypeError):
        return None  # whatever it is, the step that needs it will say so
    if cube.override is None:
        n_rows = sum(exposure.rows.n_rows for exposure in opened)
        refuse_empty_grid(grid, n_rows, _farthest(opened, pointings))
    return grid


def _farthest(opened: Sequence[Exposure], pointings: Sequence[tuple[float, float]]) -> str:
    """Name the exposures that lie farthest from the middle of all."""
    if not pointings:
        return "Positions are in spaxels."
    distance = np.abs(np.array(pointings) - np.median(pointings, axis=0)).max(axis=1)
    named = np.argsort(-distance, kind="stable")[:_NAMED]
    texts = (f"{opened[i].header.get('DATE-OBS')} at {pointings[i][0]:.4f}, {pointings[i][1]:.4f}" for i in named)
    return f"Farthest from the middle of all exposures (RA, DEC in deg): {'; '.join(texts)}"


def _corners(run: Run, exposure: Exposure) -> np.ndarray:
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
    (x, y, lbda), parameters = limits, run.parameters
    if max(map(abs, (*x, *y))) > _FIELD:
        raise KeyError("LIMITS")
    lbda = np.clip(lbda, parameters.lambdamin, parameters.lambdamax)
    corners = np.array(list(itertools.product(x, y, lbda)))
    return make_rows(*corners.T, 0, 0, 0, 0)

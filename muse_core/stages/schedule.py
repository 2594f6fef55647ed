# SPDX-License-Identifier: GPL-2.0-or-later
"""The steps of a run with the time that each will take, from headers alone."""

import math
from typing import TYPE_CHECKING

from muse_core.engine.exposure import CHANGING, LOADING
from muse_core.engine.meter import PlannedStep
from muse_core.engine.plan import EXPOSURES, EXPOSURES_STEP
from muse_core.engine.slabs import RESAMPLING
from muse_core.model.grid import OutputGrid
from muse_core.stages import align, calibrate, combine, cube, locate, stacked
from muse_core.stages.footprint import Footprint
from muse_core.stages.opening import OpenedExposure

if TYPE_CHECKING:
    from muse_core.engine.plan import Crew
    from muse_core.stages.plan import Work

#: Processor seconds for each row: to load and calibrate it, to put it on the sky, to look at it once more, to have it
#: in a cube; for each voxel of a cube; for each pixel of an image whose sources are looked for.
_CALIBRATE, _LOCATE, _LOOK, _CUBE_ROW, _VOXEL, _PIXEL = 1.2e-7, 9e-8, 2.5e-8, 1.8e-7, 9e-8, 1e-6
#: Seconds for each row, whatever the number of threads, of a pixel table that is written, of the image of all slices.
_WRITE, _STACK = 8e-8, 2e-7


def schedule(work: "Work", grid: OutputGrid | None, n_threads: int, crew: "Crew | None") -> list[PlannedStep]:
    """Say which steps a run will have, and how long they will take.

    Parameters
    ----------
    work : Work
        What is done.
    grid : OutputGrid, optional
        Expected grid of the cube.
    n_threads : int
        Threads, of each worker if there are some.
    crew : Crew, optional
        Workers of a cluster who do exposures and planes.
    """
    steps = [
        step
        for number, exposure in enumerate(work.exposures, 1)
        for step in _steps_of_exposure(work, exposure, number, n_threads)
    ]
    n_rows, n_workers = sum(work.lengths), 1
    if crew is not None:
        n_workers = max(crew.n_workers, 1)
        rounds = -(-len(work.exposures) // n_workers) / max(len(work.exposures), 1)
        seconds = rounds * sum(step.total for step in steps)
        steps = [PlannedStep(name=EXPOSURES_STEP, passes=((EXPOSURES, seconds),))] if work.exposures else []
    if work.cube is not None:
        n_voxels = 2 * n_rows if grid is None else math.prod(grid.shape)
        seconds = _cube_seconds(n_rows, n_voxels) / n_threads / n_workers
        steps.append(PlannedStep(name=cube.STEP, passes=((RESAMPLING, seconds),)))
    if "combined" in work.save:
        steps.append(PlannedStep(name=combine.TABLE_STEP, seconds=_WRITE * n_rows))
    if work.stacked:
        steps.append(PlannedStep(name=stacked.STEP, seconds=_STACK * n_rows))
    if work.images:
        steps.append(PlannedStep(name=align.STEP, passes=((align.IMAGES, _PIXEL * sum(work.images)),)))
    return steps


def _cube_seconds(n_rows: int, n_voxels: int) -> float:
    return _CUBE_ROW * n_rows + _VOXEL * n_voxels


def _steps_of_exposure(work: "Work", exposure: OpenedExposure, number: int, n_threads: int) -> list[PlannedStep]:
    n_rows = exposure.rows.n_rows
    loading, locating, looking = (seconds * n_rows / n_threads for seconds in (_CALIBRATE, _LOCATE, _LOOK))
    n_tables = work.n_tables - ("combined" in work.save)
    writing = _WRITE * n_rows * n_tables
    if work.in_one_pass:
        passes = ((LOADING, loading + locating + writing),)
        return [PlannedStep(name=locate.WHOLE_STEP, passes=passes, exposure=number)]
    steps = [PlannedStep(name=calibrate.STEP, passes=((LOADING, loading),), exposure=number)]
    footprint = Footprint.of([exposure], work.wavelengths) if work.own_cubes else None
    for step in work.steps:
        passes = []
        for one in step.passes:
            if isinstance(one, str):
                passes.append((one, looking))
                continue
            own = None if footprint is None else footprint.grid(one.options.step)
            n_voxels = n_rows if own is None else math.prod(own.shape)
            passes.append((RESAMPLING, _cube_seconds(n_rows, n_voxels) / n_threads))
        steps.append(PlannedStep(name=step.name, passes=tuple(passes), exposure=number))
    if work.cube is not None or n_tables:
        passes = ((CHANGING, locating + writing),)
        steps.append(PlannedStep(name=locate.STEP, passes=passes, exposure=number))
    return steps

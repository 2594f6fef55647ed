# SPDX-License-Identifier: GPL-2.0-or-later
"""The steps of a run with the time that each will take, from headers alone.

``benchmarks/costs.py`` measures the costs and can write them. Those of rows beside voxels of a cube, of the start and
of exposures were shared out by hand, from longer runs (``benchmarks/side_by_side.py --ours``) beside its own.
"""

import math
from typing import TYPE_CHECKING

from muse_core import stages
from muse_core.engine.exposure import CHANGING, LOADING
from muse_core.engine.meter import PlannedStep
from muse_core.engine.pace import Cost, Pace
from muse_core.engine.plan import EXPOSURES, EXPOSURES_STEP
from muse_core.engine.slabplan import ExpectedSlabs
from muse_core.engine.slabs import RESAMPLING
from muse_core.model.grid import OutputGrid
from muse_core.stages import calibrate, combine, cube, locate
from muse_core.stages.footprint import Footprint
from muse_core.stages.opening import OpenedExposure
from muse_core.steps.resample import ResampleOptions

if TYPE_CHECKING:
    from muse_core.engine.plan import Crew
    from muse_core.stages.plan import Work


#: Seconds of start and end of a run, between the steps of an exposure, and between steps for each row.
START_SECONDS = 0.2
EXPOSURE_SECONDS = 0.04
BETWEEN = Cost(0.0, 4e-9)
#: For each row: to load and calibrate it, to put it on the sky, to look at it once more, to have it in a cube, also in
#: one whose cosmic rays are found by iterations; to write it into a table or the image of all slices.
LOAD = Cost(2e-8, 2e-9)
LOCATE = Cost(1.8e-8, 2e-9)
LOOK = Cost(8e-9, 0.0)
CUBE_ROW = Cost(3.7e-8, 1.6e-8)
ITERATED_ROW = Cost(5.5e-8, 2.2e-8)
WRITE = Cost(1.7e-8, 5e-8)
STACK = Cost(1.5e-8, 7.5e-8)
#: For each voxel of a cube, for each pixel of an image whose sources are looked for.
VOXEL = Cost(2e-9, 3e-9)
PIXEL = Cost(0.0, 6e-7)
#: How often each row of a cube is worked on that these costs are for, since slabs have halos; and how much more a row
#: costs where slabs are made in bands, for which rows are read that they do not need, and chosen by where they are.
_USUAL, _IN_BANDS = 1.15, 2.6
#: How much loading tells of the speed of other steps: it waits for the disk.
_OF_DISK = 0.3


def seconds_between(work: "Work", pace: Pace) -> float:
    """Return the seconds of a run that belong to no step."""
    alone = START_SECONDS + EXPOSURE_SECONDS * len(work.exposures)
    return alone * pace.alone + pace.seconds(BETWEEN, sum(work.lengths))


def schedule(
    work: "Work", grid: OutputGrid | None, slabs: ExpectedSlabs | None, pace: Pace, crew: "Crew | None"
) -> list[PlannedStep]:
    """Say which steps a run will have, and how long they will take.

    Parameters
    ----------
    work : Work
        What is done.
    grid : OutputGrid, optional
        Expected grid of the cube.
    slabs : ExpectedSlabs, optional
        How the cube is expected to be made.
    pace : Pace
        Speed of our threads, or of those of each worker if there are some.
    crew : Crew, optional
        Workers of a cluster who do exposures and planes.
    """
    steps = [
        step
        for number, exposure in enumerate(work.exposures, 1)
        for step in _steps_of_exposure(work, exposure, number, pace)
    ]
    n_rows, n_workers = sum(work.lengths), 1
    if crew is not None:
        n_workers = max(crew.n_workers, 1)
        rounds = -(-len(work.exposures) // n_workers) / max(len(work.exposures), 1)
        seconds = rounds * sum(step.total for step in steps)
        steps = [PlannedStep(name=EXPOSURES_STEP, passes=((EXPOSURES, seconds),))] if work.exposures else []
    if work.cube is not None:
        n_voxels = 2 * n_rows if grid is None else math.prod(grid.shape)
        again = 1.0
        if slabs is not None:
            again = max(slabs.again / _USUAL, 1.0) * (_IN_BANDS if slabs.in_bands else 1.0)
        seconds = _cube_seconds(work.cube.options.resample, again * n_rows, n_voxels, pace) / n_workers
        steps.append(PlannedStep(name=cube.STEP, passes=((RESAMPLING, seconds),)))
    if "combined" in work.save:
        steps.append(PlannedStep(name=combine.TABLE_STEP, seconds=pace.seconds(WRITE, n_rows)))
    if work.stacked:
        steps.append(PlannedStep(name=stages.stacked.STEP, seconds=pace.seconds(STACK, n_rows)))
    if work.images:
        looking = ((stages.align.IMAGES, pace.seconds(PIXEL, sum(work.images))),)
        steps.append(PlannedStep(name=stages.align.STEP, passes=looking))
    return steps


def _cube_seconds(options: ResampleOptions, n_rows: float, n_voxels: int, pace: Pace) -> float:
    row = ITERATED_ROW if options.crtype == "iraf" and options.rejects_cosmic_rays else CUBE_ROW
    return pace.seconds(row, n_rows) + pace.seconds(VOXEL, n_voxels)


def _steps_of_exposure(work: "Work", exposure: OpenedExposure, number: int, pace: Pace) -> list[PlannedStep]:
    n_rows = exposure.rows.n_rows
    loading, locating, looking = (pace.seconds(cost, n_rows) for cost in (LOAD, LOCATE, LOOK))
    n_tables = work.n_tables - ("combined" in work.save)
    writing = n_tables * pace.seconds(WRITE, n_rows)
    if work.in_one_pass:
        whole = ((LOADING, loading + locating + writing),)
        return [PlannedStep(name=locate.WHOLE_STEP, passes=whole, exposure=number)]
    steps = [PlannedStep(name=calibrate.STEP, passes=((LOADING, loading),), exposure=number, tells=_OF_DISK)]
    footprint = Footprint.of([exposure], work.wavelengths) if work.own_cubes else None
    for step in work.steps:
        passes: list[tuple[str, float]] = []
        for one in step.passes:
            if isinstance(one, str):
                passes.append((one, looking))
                continue
            own = None if footprint is None else footprint.grid(one.options.step)
            n_voxels = n_rows if own is None else math.prod(own.shape)
            passes.append((RESAMPLING, _cube_seconds(one.options, n_rows, n_voxels, pace)))
        steps.append(PlannedStep(name=step.name, passes=tuple(passes), exposure=number))
    if work.cube is not None or n_tables:
        last = ((CHANGING, locating + writing),)
        steps.append(PlannedStep(name=locate.STEP, passes=last, exposure=number))
    return steps

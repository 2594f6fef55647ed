# SPDX-License-Identifier: GPL-2.0-or-later
"""Single steps of the reduction as recipes of their own: each pixel table is rewritten by itself, not merged."""

from collections.abc import Callable, Sequence

from muse_core.engine.store import RowStore
from muse_core.recipe.parameters import WavelengthRange
from muse_core.recipe.run import Run
from muse_core.stages import calibrate, darcheck, exposures, locate, plan
from muse_core.stages.calibrate import CalibrationOptions
from muse_core.stages.locate import LocationOptions, RowStep
from muse_core.stages.opening import OpenedExposure
from muse_core.stages.tables import StoredTable
from muse_core.steps.astrometry import Positioning

_NO_CALIBRATION = CalibrationOptions()
_NO_LOCATION = LocationOptions(individual=True)


def rewrite(
    run: Run,
    files: Sequence[OpenedExposure],
    wavelengths: WavelengthRange,
    *,
    calibration: CalibrationOptions = _NO_CALIBRATION,
    location: LocationOptions = _NO_LOCATION,
    check: str = "none",
    find_subtraction: Callable[[Run, StoredTable], RowStep | None] | None = None,
) -> None:
    """Write each pixel table as PIXTABLE_REDUCED, changed, in one pass from file to file.

    Parameters
    ----------
    run : Run
        The run.
    files : sequence of OpenedExposure
        The pixel tables, see `muse_core.stages.opening.open_separately`.
    wavelengths : WavelengthRange
        Which rows are loaded.
    calibration : CalibrationOptions
        What is done first.
    location : LocationOptions
        What is done then; it has to write `individual` tables.
    check : str
        "check" or "correct": measure the residual refraction in between, or remove it too, which needs all rows of a
        table at a time.
    find_subtraction : callable, optional
        Gets the run and a table after its calibration; returns the subtraction of its sky, which may drop rows.
    """
    keeps_rows = check != "none" or find_subtraction is not None
    work = plan.Work(
        exposures=files,
        wavelengths=wavelengths,
        curves=calibration.curves if calibration.flux else None,
        save=frozenset({"individual"}),
        n_tables=1,
        keeps_rows=keeps_rows,
        in_one_pass=not keeps_rows,
        steps=[] if check == "none" else [darcheck.PLANNED],
    )

    def rewrite_one(
        run: Run, store: RowStore, file: OpenedExposure, first_row: int, _: Positioning | None
    ) -> exposures.ReducedExposure:
        if not keeps_rows:
            passed = calibrate.Calibration(run, file, first_row, calibration)
            return exposures.ReducedExposure(passed.table, locate.calibrate_and_locate(run, passed, None, location))
        table = calibrate.calibrate(run, file, store, first_row, calibration)
        if check != "none":
            darcheck.check_refraction(run, table, store, correct=check == "correct")
        subtraction = None if find_subtraction is None else find_subtraction(run, table)
        return exposures.ReducedExposure(table, locate.locate(run, table, store, location, None, subtraction))

    with plan.begin(run, work) as store:
        exposures.reduce_each(run, files, store, rewrite_one, None)

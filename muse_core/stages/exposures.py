# SPDX-License-Identifier: GPL-2.0-or-later
"""One exposure after the other, from its files to rows on the sky; those that an interrupted run has done are kept."""

import contextlib
import dataclasses
import json
import logging
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from muse_core.engine import meter
from muse_core.engine.executor import Site
from muse_core.engine.journal import exposure_name
from muse_core.engine.plan import EXPOSURES, EXPOSURES_STEP
from muse_core.engine.progress import stepping
from muse_core.engine.scratch import KeptRowStore
from muse_core.engine.store import RowStore
from muse_core.errors import DataError, InputError, ResourceError
from muse_core.model import units
from muse_core.model.facts import hearing, tell
from muse_core.model.header import get_float, get_string
from muse_core.model.record import record
from muse_core.recipe.run import Run
from muse_core.stages.calibrate import Calibration, CalibrationOptions, calibrate
from muse_core.stages.locate import Located, LocationOptions, calibrate_and_locate
from muse_core.stages.opening import OpenedExposure
from muse_core.stages.pointing import Pointing
from muse_core.stages.tables import StoredTable
from muse_core.steps.astrometry import Positioning

_LOG = logging.getLogger(__name__)


@record
class ReducedExposure:
    """An exposure whose rows are in the store, on the sky.

    Attributes
    ----------
    table : StoredTable
        Its pixel table.
    located : Located
        Where it is.
    seen : dict of str to dict of str to ndarray
        What `Run.watches` have seen of it, by their names.
    told : str
        The numbers that were told of it (`muse_core.model.facts`), as JSON.
    """

    table: StoredTable
    located: Located
    seen: dict[str, dict[str, np.ndarray]] = dataclasses.field(default_factory=dict)
    told: str = "{}"


#: Gets the run, the store of the rows, an exposure, the number, in the store, of its first row, and the position of the
#: first exposure (None for it). It may be called on another machine: it must hold neither run nor store.
ReduceExposure = Callable[[Run, RowStore, OpenedExposure, int, Positioning | None], ReducedExposure]


@record
class _Task:
    """An exposure to be reduced; see `muse_core.engine.executor.Task`.

    Attributes
    ----------
    run : Run
        What the reduction needs of the run.
    reduce_one : callable
        The reduction.
    number : int
        Number of the exposure, from 1.
    exposure : OpenedExposure
        The exposure.
    begin, end : int
        Its rows in the store.
    reference : Positioning, optional
        Position of the first exposure; None for that.
    """

    run: Run
    reduce_one: ReduceExposure | None
    number: int
    exposure: OpenedExposure
    begin: int
    end: int
    reference: Positioning | None

    @property
    def name(self) -> str:
        """Name of its record."""
        return exposure_name(self.number)

    @property
    def title(self) -> str:
        """Name in messages."""
        return f"Exposure {self.number}"

    @property
    def draft_rows(self) -> int:
        """Rows of which a draft is needed."""
        return self.end - self.begin

    def split(self) -> "tuple[_Task, ReduceExposure | None]":
        """Return the exposure, and the reduction with all calibrations."""
        return dataclasses.replace(self, reduce_one=None), self.reduce_one

    def joined(self, common: ReduceExposure) -> "_Task":
        """Return the task with the reduction."""
        return dataclasses.replace(self, reduce_one=common)

    def make(self, site: Site) -> ReducedExposure:
        """Reduce the exposure, or take over what an interrupted run kept of it."""
        date, span = get_string(self.exposure.header, "DATE-OBS"), (self.begin, self.end)
        n_rows, conditions = self.exposure.rows.n_rows, _conditions(self.exposure)
        tell(_LOG, "Exposure %d: %d rows of %s", self.number, n_rows, conditions, exposure=date, store=span)
        run = dataclasses.replace(self.run, journal=site.journal, resources=site.resources)
        with meter.exposure(self.number), naming(self.exposure), site.draft(self.begin, self.end) as store:
            done = run.journal.recall_exposure(self.number, store, run.factory, ReducedExposure)
            if done is None:
                assert self.reduce_one is not None
                with hearing() as told:
                    done = self.reduce_one(run, store, self.exposure, self.begin, self.reference)
                seen = {name: watch.seen() for name, watch in run.watches.items()}
                done = dataclasses.replace(done, seen=seen, told=json.dumps(told, default=float))
                run.journal.record_exposure(self.number, done, store, (self.begin, self.end), run.factory)
            else:
                kept = json.loads(done.told)
                tell(_LOG, "Exposure %d: taken over from the interrupted run", self.number, **kept)
        return done

    def take_over(self, site: Site) -> ReducedExposure:
        """Take over what another process has kept of it."""
        assert isinstance(site.store, KeptRowStore)
        return site.journal.adopt_exposure(self.number, site.store, self.run.factory, ReducedExposure)


def first_rows(exposures: Sequence[OpenedExposure]) -> np.ndarray:
    """Return the number, in the store, of the first row of each exposure, and that of all rows.

    Returns
    -------
    ndarray of int64, shape (n_exposures + 1,)
    """
    return np.cumsum([0, *(exposure.rows.n_rows for exposure in exposures)])


def reduce_each(
    run: Run,
    exposures: Sequence[OpenedExposure],
    store: RowStore,
    reduce_one: ReduceExposure,
    pointing: Pointing | None,
) -> list[ReducedExposure]:
    """Reduce the exposures, or take them over from an interrupted run.

    Parameters
    ----------
    run : Run
        The run.
    exposures : sequence of OpenedExposure
        The exposures.
    store : RowStore
        Where their rows go.
    reduce_one : callable
        Reduces one.
    pointing : Pointing, optional
        Where exposures are on the sky, if they are put there.

    Raises
    ------
    MuseError
        What `reduce_one` raises, with the name of the exposure.
    """
    reference = None if pointing is None or len(exposures) < 2 else pointing.known_positioning(exposures[0].header)
    edges = first_rows(exposures).tolist() if store.n_rows else [0] * (len(exposures) + 1)  # rows are not kept
    tasks = [
        _Task(run.of_exposure(number, exposure.header), reduce_one, number, exposure, begin, end, zero)
        for number, (exposure, begin, end, zero) in enumerate(
            zip(exposures, edges[:-1], edges[1:], [None, *[reference] * (len(exposures) - 1)], strict=True), 1
        )
    ]
    reduced: list[ReducedExposure] = []
    made = run.executor.map(EXPOSURES, tasks, [1] * len(tasks), run.site(store))
    with contextlib.nullcontext() if run.executor.crew is None else stepping(EXPOSURES_STEP):
        for task, done in zip(tasks, made, strict=True):
            run.factory.products += task.run.factory.products
            task.exposure.header = done.table.header  # where others have reduced it, it would be there twice
            run.extras.add_exposure(done.table.header, done.seen)
            reduced.append(done)
            if len(tasks) > 1:  # the next exposure needs the memory before it makes a cube
                run.work_arrays.clear()
    return reduced


#: What is told of the conditions of an exposure: keywords, of which the mean is taken, words, and how it is printed.
_CONDITIONS = (
    (("EXPTIME",), "", "{:.0f} s"),
    (("ESO TEL AIRM START", "ESO TEL AIRM END"), "airmass ", "{:.3f}"),
    (("ESO TEL AMBI FWHM START", "ESO TEL AMBI FWHM END"), "seeing ", "{:.2f} arcsec"),
    (("ESO TEL AMBI TEMP",), "", "{:.1f} C"),
    (("ESO TEL AMBI PRES START", "ESO TEL AMBI PRES END"), "", "{:.0f} hPa"),
    (("ESO TEL AMBI RHUM",), "humidity ", "{:.0f} per cent"),
)


def _conditions(exposure: OpenedExposure) -> str:
    """Say when and under which conditions an exposure was taken, as far as its header tells."""
    told = [get_string(exposure.header, "DATE-OBS", "unknown date")]
    for keys, words, form in _CONDITIONS:
        found = [get_float(exposure.header, key) for key in keys]
        values = [value for value in found if value is not None]
        if len(values) == len(found):
            told.append(words + form.format(sum(values) / len(values)))
    return ", ".join(told)


def load(
    run: Run,
    store: RowStore,
    exposure: OpenedExposure,
    first_row: int,
    reference: Positioning | None,
    *,
    calibration: CalibrationOptions | None = None,
    pointing: Pointing | None = None,
) -> ReducedExposure:
    """Load an exposure, calibrated; with `pointing`, rows whose positions are projected are put on the sky."""
    options = calibration or CalibrationOptions()
    if pointing is None or exposure.rows.files[0].position_unit != units.RAD:
        return ReducedExposure(calibrate(run, exposure, store, first_row, options), Located(None, None, None))
    steps = Calibration(run, exposure, first_row, options)
    located = calibrate_and_locate(run, steps, store, LocationOptions(pointing=pointing), reference)
    return ReducedExposure(steps.table, located)


@contextlib.contextmanager
def naming(exposure: OpenedExposure) -> Iterator[None]:
    """Say of which exposure an error is."""
    try:
        yield
    except (DataError, InputError) as error:
        file = exposure.rows.files[0].path.name
        raise type(error)(f"exposure of {get_string(exposure.header, 'DATE-OBS')} ({file} ...): {error}") from error
    except MemoryError as error:
        raise ResourceError(f"out of memory ({error}); see MUSE_MAX_MEMORY") from error

# SPDX-License-Identifier: GPL-2.0-or-later
"""How far a run is: its steps as they were planned, how far they are done, and how much time is left.

The plan (`muse_core.engine.plan`) says how long each step will take. While the run goes on, that is corrected by what
steps have taken: those of the same name, or, where there is none yet, all of them.
"""

import collections
import contextlib
import contextvars
import dataclasses
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from muse_core.model.record import record

_LOG = logging.getLogger(__name__)
#: Part of a run as planned that counts as done in just the time that was planned, before any of it is.
_PRIOR = 0.03
#: Part of the time of a step that is left at least until it is done.
_LEAST = 0.03
#: Seconds after which those who watch hear again, though nothing has happened.
INTERVAL = 0.5


@record(kw_only=True)
class Progress:
    """How far a run is.

    Attributes
    ----------
    step : str
        What is done now.
    detail : str
        How far that is, such as ``resampling planes, 120 of 321``; empty where it does not tell.
    exposure, n_exposures : int
        Number of the exposure that is worked on, from 1, and of all; 0 where it is not one of several.
    part : float
        Part of the time of all steps that is over, 0 to 1; it never goes back.
    seconds : float
        Since the run began.
    left : float or None
        Seconds that are left, as far as can be told; None before there is a plan.
    """

    step: str
    detail: str = ""
    exposure: int = 0
    n_exposures: int = 0
    part: float = 0.0
    seconds: float = 0.0
    left: float | None = None

    def __str__(self) -> str:
        exposure = f", exposure {self.exposure} of {self.n_exposures}" if self.exposure else ""
        if self.left is None:
            return f"{self.step}{exposure}: {time_text(self.seconds)}"
        return f"{self.step}{exposure}: {self.part:.0%}, {time_text(self.left)} left"

    def to_json(self) -> str:
        """Return it as JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Progress":
        """Return that of which the text was made."""
        return cls(**json.loads(text))


def time_text(seconds: float) -> str:
    """Return seconds as text, such as 1:05 or 2:00:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _count_text(n: int) -> str:
    return f"{n / 1e6:.1f} M" if n >= 1e6 else str(n)


@record(kw_only=True)
class PlannedStep:
    """A step of a run as it is planned.

    Attributes
    ----------
    name : str
        Its name in the log.
    passes : tuple of (str, float)
        Name, as `muse_core.engine.progress.track` gets it, and seconds of each pass over the data, in order.
    seconds : float
        What it takes beside them.
    exposure : int
        Number of the exposure that it is for, from 1; 0 for all.
    tells : float
        How much it tells of the speed of steps of other names.
    """

    name: str
    passes: tuple[tuple[str, float], ...] = ()
    seconds: float = 0.0
    exposure: int = 0
    tells: float = 1.0

    @property
    def total(self) -> float:
        """Seconds that it takes."""
        return self.seconds + sum(seconds for _, seconds in self.passes)


@record(frozen=False, eq=False)
class _Step:
    """A step on its way: when it began, what it took, how far it is, and when that was told."""

    planned: PlannedStep
    started: float = 0.0
    taken: float | None = None
    is_over: bool = False
    n_passes: int = 0
    part: float = 0.0
    told: float = 0.0

    def advance(self, name: str, part: float, now: float) -> None:
        """Note how much of a pass is done; one that was not planned does not count."""
        names = [found for found, _ in self.planned.passes]
        if name not in names[self.n_passes :]:
            return
        number = names.index(name, self.n_passes)
        seconds = [seconds for _, seconds in self.planned.passes]
        done = sum(seconds[:number]) + part * seconds[number]
        self.part, self.told = max(self.part, min(done / max(self.planned.total, 1e-9), 1.0)), now
        self.n_passes = number + (part >= 1)


class Meter:
    """Measures the progress of a run; parts of the run tell it, from any thread, and anybody may read it.

    Parameters
    ----------
    clock : callable
        Returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock, self._begin = clock, clock()
        self._lock = threading.RLock()
        self._steps: list[_Step] = []
        self._now: _Step | None = None
        self._is_planned = False
        self._exposure = self._n_exposures = 0
        self._title, self._detail, self._part = "Starting", "", 0.0
        self.changed = threading.Event()

    def expect(self, steps: Sequence[PlannedStep]) -> None:
        """Take the plan of the run."""
        with self._lock:
            self._steps = [_Step(step) for step in steps]
            self._n_exposures = len({step.exposure for step in steps} - {0})
            self._is_planned = True

    def show(self, title: str) -> None:
        """Note what is done now, where it is no step of the plan."""
        with self._lock:
            self._title, self._detail = title, ""
            self.changed.set()

    def begin_exposure(self, number: int) -> None:
        """Note that what comes is for the exposure of a number."""
        with self._lock:
            self._exposure = number

    def end_exposure(self, number: int) -> None:
        """Note that nothing more comes of an exposure."""
        with self._lock:
            self._exposure = 0
            for step in self._steps:
                if step.planned.exposure == number:
                    step.is_over = True

    def enter(self, name: str) -> None:
        """Note that a step begins; those before it, which have not, are not needed."""
        with self._lock:
            waiting = [s for s in self._steps if not s.is_over and s.planned.exposure in (0, self._exposure)]
            named = [step for step in waiting if step.planned.name == name]
            # one of another name stands for the next of the exposure
            found = (named or [step for step in waiting if self._exposure and step.planned.exposure])[:1]
            for step in waiting[: waiting.index(found[0])] if found else ():
                step.is_over = True
            if not found:
                found = [_Step(PlannedStep(name=name, exposure=self._exposure))]
                self._steps += found
            self._now = found[0]
            self._now.started = self._now.told = self._clock()
            self.show(name)

    def leave(self) -> None:
        """Note that a step has ended."""
        with self._lock:
            step, self._now = self._now, None
            if step is not None:
                step.is_over, step.taken = True, self._clock() - step.started

    def advance(self, name: str, done: int, total: int, remark: str = "") -> None:
        """Note how much of a pass is done."""
        with self._lock:
            self._detail = f"{name}, {_count_text(done)} of {_count_text(total)}{remark}"
            if done == 0:
                self.changed.set()
            if self._now is not None:
                self._now.advance(name, done / total if total else 1.0, self._clock())

    def read(self) -> Progress:
        """Return how far the run is."""
        with self._lock:
            now = self._clock()
            left = self._left(now) if self._is_planned else None
            if left is not None:
                spent = sum(step.taken or 0.0 for step in self._steps)
                spent += now - self._now.started if self._now is not None else 0.0
                self._part = max(self._part, min(spent / max(spent + left, 1e-9), 0.99))
            several = self._exposure if self._n_exposures > 1 else 0
            return Progress(
                step=self._title,
                detail=self._detail,
                exposure=several,
                n_exposures=self._n_exposures if several else 0,
                part=self._part,
                seconds=now - self._begin,
                left=left,
            )

    def _left(self, now: float) -> float:
        """Return the seconds that are left."""
        taken: dict[str, float] = collections.defaultdict(float)
        planned: dict[str, float] = collections.defaultdict(float)
        running = self._now
        real = expected = _PRIOR * sum(step.planned.total for step in self._steps)
        for step in self._steps:
            name, seconds, tells = step.planned.name, step.planned.total, step.planned.tells
            if step.taken is not None and seconds > 0:
                taken[name] += step.taken
                planned[name] += seconds
                real += tells * step.taken
                expected += tells * seconds
            elif step is running and step.part > 0:
                real += tells * (step.told - step.started)
                expected += tells * step.part * seconds
        known = {name: taken[name] / seconds for name, seconds in planned.items()}
        rate = real / max(expected, 1e-9)
        left = 0.0
        for step in self._steps:
            expected = step.planned.total * known.get(step.planned.name, rate)
            if step is running:
                left += self._left_of(step, expected, now)
            elif not step.is_over:
                left += expected
        return left

    @staticmethod
    def _left_of(step: _Step, expected: float, now: float) -> float:
        """Return the seconds that are left of a step that should take so many in all."""
        if step.part > 0:
            expected += step.part * ((step.told - step.started) / step.part - expected)
        rest = (1 - step.part) * expected
        return max(rest - (now - step.told), _LEAST * rest)


_METER: contextvars.ContextVar[Meter | None] = contextvars.ContextVar("meter", default=None)


def current() -> Meter | None:
    """Return the meter of the run, if somebody watches it."""
    return _METER.get()


def show(title: str) -> None:
    """Tell those who watch what is done now, before and after the steps of the plan."""
    meter = _METER.get()
    if meter is not None:
        meter.show(title)


@contextlib.contextmanager
def exposure(number: int) -> Iterator[None]:
    """Tell those who watch that the block is for the exposure of a number."""
    meter = _METER.get()
    if meter is None:
        yield
        return
    meter.begin_exposure(number)
    yield
    meter.end_exposure(number)


@contextlib.contextmanager
def watching(listener: Callable[[Progress], object], interval: float = INTERVAL) -> Iterator[None]:
    """Have `listener` called during the block, by another thread: when a step or pass begins, and from time to time.

    An error of the listener is logged, and it is not called any more.
    """
    meter = _METER.get() or Meter()
    token = _METER.set(meter)
    ended = threading.Event()

    def watch() -> None:
        while True:
            meter.changed.clear()
            try:
                listener(meter.read())
            except Exception as error:
                _LOG.warning("Progress cannot be shown: %s: %s", type(error).__name__, error)
                return
            meter.changed.wait(interval)
            if ended.is_set():
                return

    thread = threading.Thread(target=watch, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        _METER.reset(token)
        ended.set()
        meter.changed.set()
        thread.join(0.5)

# SPDX-License-Identifier: GPL-2.0-or-later
"""The time that is left, by a clock of our own: it does not depend on the machine."""

import itertools
import logging
import random
import threading

import pytest

from muse_core.engine import meter
from muse_core.engine.meter import Meter, PlannedStep, Progress, time_text
from muse_core.engine.progress import stepping, timed, track


class Run:
    """A run as it is planned and as it goes; `slowness` is how much longer steps take, by name."""

    def __init__(self, n_exposures, slowness, seed=1):
        self.now, self.heard = 100.0, []
        self.meter = Meter(lambda: self.now)
        self.random = random.Random(seed)
        self.slowness = slowness
        self.steps = []
        for number in range(1, n_exposures + 1):
            self.steps += [
                PlannedStep(name="Calibration", passes=(("reading rows", 2.7),), exposure=number),
                PlannedStep(
                    name="Sky model", passes=(("resampling planes", 6.5), ("looking at rows", 0.6)), exposure=number
                ),
                PlannedStep(name="Position", passes=(("changing rows", 2.0),), exposure=number),
            ]
        self.steps.append(PlannedStep(name="Cube", passes=(("resampling planes", 6.0 * n_exposures),)))

    def wait(self, seconds):
        """Let time pass, and look at the meter meanwhile."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(self.now + 0.5, end)
            self.heard.append((self.now, self.meter.read()))

    def go(self, kept=()):
        """Run; those exposures were kept of an earlier run. Return when it began and ended."""
        self.wait(1.7)
        begin = self.now
        self.meter.expect(self.steps)
        for number, steps in itertools.groupby(self.steps, lambda step: step.exposure):
            if number:
                self.meter.begin_exposure(number)
            for step in () if number in kept else steps:
                self.meter.enter(step.name)
                for name, seconds in step.passes:
                    n = 11
                    self.meter.advance(name, 0, n)
                    for done in range(1, n + 1):
                        noise = self.random.uniform(0.8, 1.25)
                        self.wait(seconds / n * noise * self.slowness.get(step.name, self.slowness[""]))
                        self.meter.advance(name, done, n)
                self.meter.leave()
                self.wait(0.1)
            if number:
                self.meter.end_exposure(number)
        return begin, self.now

    def predicted(self, part, end):
        """Return the whole time that was predicted when a part of it was over, relative to what it was."""
        total = end - 100.0
        now, told = min(self.heard, key=lambda one: abs(one[0] - 100.0 - part * total))
        return (now - 100.0 + told.left) / total


@pytest.mark.parametrize("n_exposures", [1, 3, 8])
@pytest.mark.parametrize("slowness", [0.4, 1.0, 2.5])
@pytest.mark.parametrize("odd", ["", "Cube", "Sky model"])
def test_time_left_at_each_quarter(n_exposures, slowness, odd):
    """Also on another machine than that of the plan, and where one step takes other than the rest."""
    run = Run(n_exposures, {"": slowness, odd: 1.3 * slowness if odd else slowness})
    begin, end = run.go()
    assert all(told.left is None for now, told in run.heard if now < begin)
    for quarter in (0.25, 0.5, 0.75):
        assert run.predicted(quarter, end) == pytest.approx(1, abs=0.3), quarter
    parts = [told.part for _, told in run.heard]
    assert parts == sorted(parts)
    assert parts[0] == 0
    assert parts[-1] == pytest.approx(0.99, abs=0.01)
    assert run.heard[-1][1].left == pytest.approx(0, abs=0.3)


def test_exposures_that_were_kept_take_no_time():
    run = Run(4, {"": 1.5})
    _, end = run.go(kept=(1, 2))
    assert run.predicted(0.5, end) == pytest.approx(1, abs=0.2)
    first = next(told for _, told in run.heard if told.exposure == 3)
    assert (first.n_exposures, first.step) == (4, "Calibration")
    assert run.heard[-1][1].exposure == 0


def test_steps_that_were_not_planned_and_those_that_are_not_needed():
    now = 0.0
    measured = Meter(lambda: now)
    measured.expect([PlannedStep(name=name, seconds=10.0) for name in ("one", "two", "three")])
    measured.enter("surprise")
    now = 5.0
    measured.leave()
    assert measured.read().left == pytest.approx(30, rel=0.3)
    measured.enter("three")  # one and two are left out
    assert measured.read().left < 20
    now = 40.0  # much too long
    assert 0 < measured.read().left < 10
    measured.leave()
    assert measured.read().left == 0


def test_nothing_is_known_before_the_plan():
    measured = Meter()
    measured.show("Opening inputs")
    told = measured.read()
    assert (told.left, told.part) == (None, 0.0)
    assert str(told) == "Opening inputs: 0:00"


def test_texts():
    told = Progress(step="Sky model", detail="x", exposure=2, n_exposures=3, part=0.414, seconds=50.0, left=79.6)
    assert str(told) == "Sky model, exposure 2 of 3: 41%, 1:20 left"
    assert Progress.from_json(told.to_json()) == told
    assert [time_text(seconds) for seconds in (0.4, 59.6, 3599, 36000)] == ["0:00", "1:00", "59:59", "10:00:00"]


def test_steps_and_passes_tell_who_watches():
    heard = []
    with meter.watching(heard.append, interval=0.01):
        meter.current().expect([PlannedStep(name="Step", passes=(("rows", 1.0),))])
        meter.show("Opening inputs")
        with timed("Step", 12), meter.exposure(1):
            assert list(track("rows", iter("ab"), [range(3), range(4)], lambda: 2)) == ["a", "b"]
            told = meter.current().read()
        with stepping("Other step"):
            assert meter.current().read().step == "Other step"
    assert (told.step, told.detail) == ("Step", "rows, 7 of 7, 2 workers")
    assert heard[0].seconds >= 0
    assert meter.current() is None
    assert "progress" not in [thread.name for thread in threading.enumerate()]


def test_error_of_who_watches_is_told_once(caplog):
    called = threading.Event()

    def fail(_):
        called.set()
        raise ValueError("no screen")

    with caplog.at_level(logging.WARNING), meter.watching(fail, interval=0.001):
        assert called.wait(60)
    assert [record.getMessage() for record in caplog.records] == ["Progress cannot be shown: ValueError: no screen"]

# SPDX-License-Identifier: GPL-2.0-or-later
"""How the progress of runs is shown: a line on a terminal, a bar in a notebook, a call of a function, or not at all."""

import contextlib
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import ClassVar

from muse_core.cplapi import messages
from muse_core.engine.meter import Progress, watching

#: What is told of the progress of runs: a function of `Progress`, False for nothing, None for what suits.
Wanted = Callable[[Progress], object] | bool | None


class TerminalLine:
    """One run in the line that all runs of this process share, below their messages, with details under it."""

    _lock = threading.Lock()
    _running: ClassVar[dict["TerminalLine", Progress]] = {}

    def __call__(self, progress: Progress) -> None:
        """Show how far the run is."""
        with self._lock:
            self._running[self] = progress
            self._draw()

    def close(self, *, complete: bool) -> None:
        """Take it away."""
        with self._lock:
            self._running.pop(self, None)
            self._draw()

    @classmethod
    def _draw(cls) -> None:
        runs = list(cls._running.values())
        if len(runs) == 1:
            messages.status.draw([str(runs[0]), f"  {runs[0].detail}"])
        elif runs:
            messages.status.draw([f"{len(runs)} runs: {' | '.join(map(str, runs))}"])
        else:
            messages.status.draw([])


class NotebookBar:
    """One run as a bar in a notebook, or in text where widgets are not installed."""

    def __init__(self, name: str):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is not installed
            from tqdm.auto import tqdm

            self._bar = tqdm(total=100, desc=name, bar_format="{desc} {percentage:3.0f}%|{bar}| {postfix}")
        self._name = name

    def __call__(self, progress: Progress) -> None:
        """Show how far the run is."""
        step, _, left = str(progress).rpartition(": ")
        self._bar.n = min(round(100 * progress.part), 99)
        self._bar.set_description_str(f"{self._name}: {step}", refresh=False)
        self._bar.set_postfix_str(left.rpartition("%, ")[2] + (f" ({progress.detail})" if progress.detail else ""))

    def close(self, *, complete: bool) -> None:
        """Leave a full bar, or one of a run that has failed."""
        self._bar.n = 100 if complete else self._bar.n
        self._bar.set_description_str(self._name, refresh=False)
        self._bar.set_postfix_str("done" if complete else "failed")
        self._bar.close()


def in_notebook() -> bool:
    """Does this process work for a notebook?"""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


@contextlib.contextmanager
def display(name: str, wanted: Wanted = None) -> Iterator[Callable[[Progress], object] | None]:
    """Yield what shows the progress of a run during the block; None if nothing does.

    Parameters
    ----------
    name : str
        Name of the recipe.
    wanted : callable, bool, optional
        A function that is called with it; False: nothing is shown; None: a bar in a notebook, a line on a terminal.
    """
    if callable(wanted):
        yield wanted
        return
    if wanted is False or not (in_notebook() or messages.status.is_possible()):
        yield None
        return
    shown = NotebookBar(name) if in_notebook() else TerminalLine()
    complete = False
    try:
        yield shown
        complete = True
    finally:
        shown.close(complete=complete)


@contextlib.contextmanager
def watched(name: str, wanted: Wanted = None) -> Iterator[None]:
    """Show the progress of the block, which is a run in this process; parameters as for `display`."""
    with display(name, wanted) as shown, contextlib.nullcontext() if shown is None else watching(shown):
        yield

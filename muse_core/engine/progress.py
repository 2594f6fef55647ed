# SPDX-License-Identifier: GPL-2.0-or-later
"""Progress of long loops, for whoever wants to show it (nobody by default), and a line in the log for each step."""

import contextlib
import contextvars
import logging
import re
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from pathlib import Path
from typing import TypeVar

_LOG = logging.getLogger(__name__)
T = TypeVar("T")
#: Unit of the largest resident memory of a process, in bytes.
_RESIDENT_UNIT = 1 if sys.platform == "darwin" else 1024
#: Called with the name of a step, how much of it is done, and how much there is.
Reporter = Callable[[str, int, int], None]
_REPORTER: contextvars.ContextVar[Reporter | None] = contextvars.ContextVar("reporter", default=None)


@contextlib.contextmanager
def reporting(reporter: Reporter) -> Iterator[None]:
    """Have `reporter` called during the block, from the thread that entered it."""
    token = _REPORTER.set(reporter)
    try:
        yield
    finally:
        _REPORTER.reset(token)


def track(step: str, items: Iterable[T], sizes: Iterable[Sized]) -> Iterator[T]:
    """Yield `items` and report the sum of the `sizes` of those that are done."""
    reporter = _REPORTER.get()
    if reporter is None:
        yield from items
        return
    lengths = [len(size) for size in sizes]
    total, done = sum(lengths), 0
    reporter(step, 0, total)
    for item, length in zip(items, lengths, strict=True):
        yield item
        done += length
        reporter(step, done, total)


def peak_memory() -> int:
    """Return the largest resident memory that this process has had, in bytes."""
    # that of the system counts what the process that started us had before it did
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RESIDENT_UNIT


def resident_memory() -> int | None:
    """Return the resident memory of this process in bytes; None where the system does not tell."""
    return _status("VmRSS")


def _status(key: str) -> int | None:
    try:
        found = re.search(rf"^{key}:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


@contextlib.contextmanager
def timed(step: str, n_rows: int, *, wanted: bool = True) -> Iterator[None]:
    """Log, after the block, the seconds of a step, and as details its rows and the peak memory so far; if wanted."""
    start = time.monotonic()
    yield
    if wanted:
        seconds, memory = time.monotonic() - start, peak_memory()
        facts = {"step": step, "seconds": seconds, "rows": n_rows, "peak_memory": memory}
        # the lines are those of the caller, two frames above
        _LOG.info("%s: %.1f s", step, seconds, extra={"facts": facts}, stacklevel=3)
        _LOG.debug("%s: %d rows, peak memory %.0f MB", step, n_rows, memory / 1e6, stacklevel=3)

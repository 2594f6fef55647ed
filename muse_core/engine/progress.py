# SPDX-License-Identifier: GPL-2.0-or-later
"""What steps and passes over the data tell the meter of a run (nothing, if nobody watches), and the log."""

import contextlib
import logging
import re
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from pathlib import Path
from typing import TypeVar

from muse_core.engine.meter import current

_LOG = logging.getLogger(__name__)
T = TypeVar("T")
#: Unit of the largest resident memory of a process, in bytes.
_RESIDENT_UNIT = 1 if sys.platform == "darwin" else 1024


@contextlib.contextmanager
def stepping(step: str) -> Iterator[None]:
    """Tell the meter of the run, if there is one, that the block is a step of it."""
    meter = current()
    if meter is None:
        yield
        return
    meter.enter(step)
    try:
        yield
    finally:
        meter.leave()


def track(
    step: str, items: Iterable[T], sizes: Iterable[Sized], n_workers: Callable[[], int] | None = None
) -> Iterator[T]:
    """Yield `items`, and tell the meter of the run, if there is one, the sum of the `sizes` of those that are done.

    `n_workers` returns how many others work on them.
    """
    meter = current()
    if meter is None:
        yield from items
        return

    def tell() -> None:
        n = n_workers() if n_workers is not None else None
        meter.advance(step, done, total, "" if n is None else f", {n} worker{'s' * (n != 1)}")

    lengths = [len(size) for size in sizes]
    total, done = sum(lengths), 0
    tell()
    for item, length in zip(items, lengths, strict=True):
        yield item
        done += length
        tell()


def peak_memory() -> int:
    """Return the largest resident memory that this process has had, in bytes."""
    # that of the system counts what the process that started us had before it did
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RESIDENT_UNIT


def resident_memory() -> int | None:
    """Return the resident memory of this process in bytes; None where the system does not tell."""
    return _status("VmRSS")


def bytes_written() -> int:
    """Return how many bytes this process has written into files and streams; 0 where the system does not tell."""
    return _number(Path("/proc/self/io"), "wchar") or 0


def _status(key: str) -> int | None:
    kilobytes = _number(Path("/proc/self/status"), key)
    return None if kilobytes is None else kilobytes * 1024


def _number(path: Path, key: str) -> int | None:
    try:
        found = re.search(rf"^{key}:\s*(\d+)", path.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) if found else None


@contextlib.contextmanager
def timed(step: str, n_rows: int, *, wanted: bool = True) -> Iterator[None]:
    """Log, after the block, the seconds of a step, and as details its rows and the peak memory so far; if wanted."""
    start, written_before = time.monotonic(), bytes_written()
    with stepping(step):
        yield
    if wanted:
        seconds, memory, written = time.monotonic() - start, peak_memory(), bytes_written() - written_before
        facts = {"step": step, "seconds": seconds, "rows": n_rows, "peak_memory": memory, "written": written}
        # the lines are those of the caller, two frames above
        _LOG.info("%s: %.1f s", step, seconds, extra={"facts": facts}, stacklevel=3)
        _LOG.debug("%s: %d rows, peak memory %.0f MB", step, n_rows, memory / 1e6, stacklevel=3)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Progress of long loops, for whoever wants to show it; nobody by default."""

import contextlib
import contextvars
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TypeVar

T = TypeVar("T")
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

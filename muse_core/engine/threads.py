# SPDX-License-Identifier: GPL-2.0-or-later
"""How many threads a run uses, chunks of work in order on a pool of them, and long work that a signal can end.

Kernels release the interpreter lock; a chunk is worked on by one thread. Which chunks there are depends on the data
alone, and results are taken in the order of the chunks, so that any number of threads gives the same bits.

Python runs the handler of a signal between two steps of the main thread, and while that waits for another thread, but
not while it is in a kernel. So what takes longer than a chunk is done by another thread that can be told to stop.
"""

import contextlib
import contextvars
import functools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar

import numpy as np

from muse_core.errors import ParameterError, Stopped

T = TypeVar("T")
R = TypeVar("R")
#: More than this the kernels refuse, before OpenMP ends the process because it cannot start them.
MOST_THREADS = 1024
_CGROUP_CPU = Path("/sys/fs/cgroup/cpu.max")


def thread_count() -> int:
    """Return ``OMP_NUM_THREADS`` if set, else the number of cores that we may use.

    Raises
    ------
    ParameterError
        If OMP_NUM_THREADS is not a number of threads.
    """
    text = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if text:
        if not text.isdigit() or not 1 <= int(text) <= MOST_THREADS:
            raise ParameterError(f"OMP_NUM_THREADS: found {text!r}, expected a number from 1 to {MOST_THREADS}")
        return int(text)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _CGROUP_CPU.read_text().split()
        if quota != "max":
            cores = min(cores, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass  # no control group, or none that limits the processor
    return min(cores, MOST_THREADS)


#: Says whether the work of this thread was called off, if somebody may do so.
_CALLED_OFF: contextvars.ContextVar[Callable[[], bool] | None] = contextvars.ContextVar("called off", default=None)
#: Seconds between two questions.
_PAUSE = 0.2


@contextlib.contextmanager
def stoppable(is_called_off: Callable[[], bool]) -> Iterator[None]:
    """Have what is done in this thread and its pools raise `Stopped`, soon, when `is_called_off` says so."""
    token = _CALLED_OFF.set(is_called_off)
    try:
        yield
    finally:
        _CALLED_OFF.reset(token)


def _go_on() -> None:
    is_called_off = _CALLED_OFF.get()
    if is_called_off is not None and is_called_off():
        raise Stopped("the work was called off")


def map_in_order(function: Callable[[T], R], items: Iterable[T], n_threads: int) -> Iterator[R]:
    """Yield ``function(item)`` in the order of `items`, with up to `n_threads` items in work at a time.

    The first exception ends the iteration; items that have not begun are dropped.
    """
    if n_threads == 1:
        for item in items:
            _go_on()
            yield function(item)
        return
    pool = ThreadPoolExecutor(n_threads)
    pending: deque[Future[R]] = deque()
    try:
        for item in items:
            _go_on()
            pending.append(pool.submit(function, item))
            if len(pending) > n_threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def stoppable_runs() -> Iterator[Callable[[Callable[[np.ndarray], R]], R]]:
    """Provide a function that does as `run_stoppable`, with one thread for all that it is given in the block.

    OpenMP has threads for each thread that runs kernels: to start them again and again takes longer than to wake them.
    """
    with ThreadPoolExecutor(1) as pool:
        yield functools.partial(_run_stoppable, pool)


def run_stoppable(function: Callable[[np.ndarray], R]) -> R:
    """Return ``function(stop)``, run by another thread; an exception in this one, such as from a signal, ends it.

    Parameters
    ----------
    function : callable
        Looks at the number that it is given (ndarray of int32, shape (1,)), and raises `Stopped` soon after that is not
        0 any more.
    """
    with stoppable_runs() as run:
        return run(function)


def _run_stoppable(pool: ThreadPoolExecutor, function: Callable[[np.ndarray], R]) -> R:
    stop = np.zeros(1, np.int32)
    try:
        made = pool.submit(function, stop)
        while _CALLED_OFF.get() is not None and wait([made], _PAUSE).not_done:
            _go_on()
        return made.result()
    except BaseException:
        stop[0] = 1  # whoever closes the pool waits for its end
        raise

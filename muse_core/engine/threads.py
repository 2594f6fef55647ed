# SPDX-License-Identifier: GPL-2.0-or-later
"""How many threads a run uses, and chunks of work in order on a pool of them.

Kernels release the interpreter lock; a chunk is worked on by one thread. Which chunks there are depends on the data
alone, and results are taken in the order of the chunks, so that any number of threads gives the same bits.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from muse_core.errors import ParameterError

T = TypeVar("T")
R = TypeVar("R")
_CGROUP_CPU = Path("/sys/fs/cgroup/cpu.max")


def thread_count() -> int:
    """Return ``OMP_NUM_THREADS`` if set, else the number of cores that we may use.

    Raises
    ------
    ParameterError
        If OMP_NUM_THREADS is not a positive number.
    """
    text = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if text:
        if not text.isdigit() or int(text) < 1:
            raise ParameterError(f"OMP_NUM_THREADS: found {text!r}, expected a positive number")
        return int(text)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _CGROUP_CPU.read_text().split()
        if quota != "max":
            cores = min(cores, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass  # no control group, or none that limits the processor
    return cores


def map_in_order(function: Callable[[T], R], items: Iterable[T], n_threads: int) -> Iterator[R]:
    """Yield ``function(item)`` in the order of `items`, with up to `n_threads` items in work at a time.

    The first exception ends the iteration; items that have not begun are dropped.
    """
    if n_threads == 1:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(n_threads)
    pending: deque = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > n_threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)

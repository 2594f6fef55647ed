# SPDX-License-Identifier: GPL-2.0-or-later
"""How fast this machine is: one core of it, and as many as there are threads at once.

Seconds of a step (`muse_core.stages.schedule`) were measured on one machine. A piece of work that takes less than a
millisecond, to put rows together and to sort them, tells how those of another one compare, and what threads lose to
each other, as cores do that share a processor or its caches. What they lose by waiting for the memory is in the costs.
"""

import functools
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from muse_core.cython_ext import columns as columns_kernels
from muse_core.cython_ext import rows as rows_kernels
from muse_core.model.record import record
from muse_core.model.rows import FIELDS, ROW

#: Seconds of the piece of work on one core of the machine on which the costs of steps were measured.
PIECE_SECONDS = 3.6e-4
_N_ROWS, _ROUNDS, _TRIES = 1 << 14, 3, 6


@record
class Cost:
    """Seconds for each row or voxel: those that threads share, and those that they do not."""

    shared: float
    alone: float = 0.0


@record
class Pace:
    """The speed of so many threads.

    Attributes
    ----------
    alone : float
        Seconds that it takes to do what took one on the machine on which costs were measured, by one thread.
    shared : float
        The same, by all threads together.
    """

    alone: float = 1.0
    shared: float = 1.0

    def seconds(self, cost: Cost, n: float) -> float:
        """Return the seconds that so many rows or voxels take."""
        return n * (cost.shared * self.shared + cost.alone * self.alone)


class _Piece:
    """A piece of work, for one thread."""

    def __init__(self) -> None:
        numbers = (np.arange(_N_ROWS, dtype=np.uint32) * np.uint32(2654435761)).astype(np.float32)
        self._raw = numbers.astype(">f4").tobytes()
        self._rows = np.zeros(_N_ROWS, ROW)
        self._words = self._rows.view(np.uint32).reshape(-1, len(FIELDS))
        self._pairs = np.empty(2 * _N_ROWS, np.uint64)
        self._buffer = np.empty(_N_ROWS, ROW)

    def __call__(self) -> None:
        for _ in range(_ROUNDS):
            columns_kernels.unpack(self._raw, 4, self._words, FIELDS.index("lbda"))
            rows_kernels.sort(self._rows, True, self._pairs, self._buffer)


def _seconds_together(n_threads: int) -> float:
    """Return the seconds in which each of so many threads does a piece, at once."""
    pieces = [_Piece() for _ in range(n_threads)]
    gate = threading.Barrier(n_threads)

    def work(piece: _Piece) -> list[float]:
        piece()  # memory is there now
        seconds = []
        gate.wait()  # once: threads that wait for each other again and again are woken on the same core
        for _ in range(_TRIES):
            start = time.perf_counter()
            piece()
            seconds.append(time.perf_counter() - start)
        return seconds

    with ThreadPoolExecutor(n_threads) as pool:
        try:
            seconds = list(pool.map(work, pieces))
            return min(max(found[k] for found in seconds) for k in range(_TRIES))
        except BaseException:
            gate.abort()  # a thread that could not be started: the others would wait for it
            raise


def piece_seconds() -> float:
    """Measure the piece of work on one core."""
    return _seconds_together(1)


@functools.cache
def pace_of(n_threads: int) -> Pace:
    """Measure the speed of so many threads, in less than a hundredth of a second."""
    one = piece_seconds() / PIECE_SECONDS
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    at_once = min(n_threads, cores)
    together = one if at_once == 1 else _seconds_together(at_once) / PIECE_SECONDS / at_once
    return Pace(one, min(together, one))  # they may have been interrupted, but they are no slower than one

# SPDX-License-Identifier: GPL-2.0-or-later
"""How the C library of this process keeps memory that was given back.

glibc lets threads take memory from arenas of their own, up to eight for each core. What one of them has given back the
others do not use, so that short-lived threads, which ours are, make the process larger with each step. Values that
change no result; another C library has other ways and is left alone.
"""

import contextlib
import ctypes
import functools

_M_ARENA_MAX, _M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -8, -1, -3
#: Two: a thread hardly waits for another one, since what is large is not asked for often.
_ARENAS = 2


@functools.cache
def _set(option: int, value: int) -> None:
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(option, value)


def share_memory() -> None:
    """Have threads use what other threads have given back."""
    _set(_M_ARENA_MAX, _ARENAS)


def give_back() -> None:
    """Give the system what was given back to the C library, before work that wants memory in other sizes."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def keep_memory() -> None:
    """Have the C library keep memory that was given back, as it does by itself in any other process.

    Dask's nanny sets a variable by which it gives everything to the system at once: a third of the time of an exposure
    would go into getting it again.
    """
    _set(_M_TRIM_THRESHOLD, 64 << 20)  # what glibc reaches by itself
    _set(_M_MMAP_THRESHOLD, 32 << 20)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the command and says how long, in processor seconds, it was deaf to signals at most, and in what.

    python -m harness.listening muse_scipost PARAMETERS SOF

Python runs the handler of a signal between two steps of the main thread, and while that waits for another one. Before a
pass ends, the chunks must end that other threads are at. So the spans are those of the main thread between two handlers
of a timer, and those of each chunk.
"""

import signal
import sys
import threading
import time
import traceback

from muse_core.engine import threads

_spans: dict[str, float] = {}
_lock = threading.Lock()
_last = 0.0


def _note(what: str, seconds: float) -> None:
    with _lock:
        _spans[what] = max(_spans.get(what, 0.0), seconds)


def _look(_number, frame) -> None:
    """Handle the timer: where the main thread is now, it was deaf before."""
    global _last
    now = time.thread_time()
    if now - _last > 0.1:
        ours = [entry for entry in traceback.extract_stack(frame) if "muse_core" in entry.filename]
        where = f"{ours[-1].filename.rpartition('muse_core')[2]}:{ours[-1].lineno}" if ours else "start"
        _note(where, now - _last)
    _last = now


def _timed(map_in_order):
    """Return `map_in_order` that notes the time of each call."""

    def mapped(function, items, n_threads):
        def call(item):
            began = time.thread_time()
            try:
                return function(item)
            finally:
                _note(f"chunk of {function.__qualname__}", time.thread_time() - began)

        return map_in_order(call, items, n_threads)

    return mapped


def main() -> int:
    """Run the command."""
    global _last
    threads.map_in_order = _timed(threads.map_in_order)
    from muse_core.frontends.esorex import main as command  # all else takes map_in_order from here on

    signal.signal(signal.SIGALRM, _look)
    _last = time.thread_time()
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    status = command.main(sys.argv[1:], "muse-esorex")
    signal.setitimer(signal.ITIMER_REAL, 0)
    for what, seconds in sorted(_spans.items(), key=lambda item: -item[1]):
        print(f"SPAN {seconds:.3f} {what}")
    return status


if __name__ == "__main__":
    sys.exit(main())

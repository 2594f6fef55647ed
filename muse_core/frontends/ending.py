# SPDX-License-Identifier: GPL-2.0-or-later
"""How a process that runs a recipe ends when it is asked to: within a second, and without leaving anything.

A signal becomes an exception of the main thread, so that everything is cleaned up on its way out. While a kernel or the
system keeps the main thread busy, Python raises none; so a thread watches, and ends the process when its time is up. It
also watches the pipe to whoever waits for the recipe: if nobody reads any more, there is nothing left to run for.
"""

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Seconds in which the main thread may end by itself.
GRACE = 0.4
_PR_SET_PDEATHSIG = 1


class Stopped(BaseException):
    """A signal, `number`, asks the process to end."""

    def __init__(self, number: int):
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


@contextlib.contextmanager
def watched(overdue: Callable[[int], None], pipe: int | None = None) -> Iterator[None]:
    """Raise `Stopped` in the block, which is in the main thread, at the first signal that asks the process to end.

    Signals that had to wait (`block`) are delivered in the block.

    Parameters
    ----------
    overdue : callable
        Called in another thread with the number of the signal, if the process is still there after `GRACE`; it ends
        the process.
    pipe : int, optional
        File descriptor of the writing end of a pipe; that nobody reads it any more counts as SIGTERM.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def stop(number: int, _frame) -> None:
        for other in handled:  # one is enough: another would end the cleaning up
            signal.signal(other, _take_no_notice)
        raise Stopped(number)

    # what is ignored stays so: nohup, jobs in the background
    handled = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, stop) for number in handled}
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(reader, pipe, overdue), name="watcher", daemon=True)
    watcher.start()
    try:
        unblock()
        yield
    finally:
        if all(signal.getsignal(number) is stop for number in handled):
            # not asked to end; else the thread stays, until the process has ended
            for number, handler in previous.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(wakeup)
            os.write(writer, b"\0")
            watcher.join()
            os.close(reader)
            os.close(writer)


def _take_no_notice(_number: int, _frame) -> None:
    """Handle a signal; Python complains of ignored ones that it has already seen."""


def _watch(reader: int, pipe: int | None, overdue: Callable[[int], None]) -> None:
    """Wait for the number of a signal, or for the end of the pipe's other side; a zero is the end of the watch."""
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    if pipe is not None:
        poll.register(pipe, 0)  # its errors are always told
    number = 0
    while not number:
        for descriptor, _ in poll.poll():
            if descriptor == pipe:
                number = signal.SIGTERM
                os.kill(os.getpid(), number)  # for the main thread
            elif descriptor == reader:
                number = os.read(reader, 1)[0]
                if not number:
                    return
                number = number if number in SIGNALS else 0
    time.sleep(GRACE)
    overdue(number)


def block() -> set[signal.Signals]:
    """Let the signals wait, for this thread and for processes that it starts; return those that had to wait before."""
    return signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def unblock() -> None:
    """Deliver the signals that had to wait."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def end_with_parent() -> None:
    """Get SIGTERM when the process that started this one ends."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def die(number: int) -> NoReturn:  # pragma: no cover (a process that ends by a signal writes no data)
    """End as the signal would have ended us, from whatever thread: a shell loop around the program stops too."""
    import ctypes

    ctypes.CDLL(None).signal(number, None)  # signal.signal works in the main thread only; None is the default action
    os.kill(os.getpid(), number)
    time.sleep(0.1)
    os._exit(128 + number)

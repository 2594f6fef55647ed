# SPDX-License-Identifier: GPL-2.0-or-later
"""The process that runs one recipe for the native plugin or for `muse_core.Recipe`.

Usage: ``python -m muse_core.frontends.worker recipe descriptor [plan]``. `recipe` is an address of `registry`; the
request comes from standard input, the reply goes to the file descriptor (see `protocol`). With ``plan`` the recipe is
asked for its plan and not run. Nothing is shared with the host: neither its interpreter nor its CPL.
"""

import contextlib
import ctypes
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence

from muse_core import cplapi

cplapi.use_standin()

from muse_core.cplapi import messages, ui  # noqa: E402 (after the choice)
from muse_core.errors import DataError, MissingFileError, ProductError  # noqa: E402
from muse_core.frontends import protocol, registry  # noqa: E402

logger = logging.getLogger("muse_core.frontends.worker")  # not __name__, which is __main__

#: Exceptions and the codes of CPL errors; the first match counts.
_CODES = (
    (MissingFileError, 9),
    (ProductError, 5),
    (DataError, 13),
    (ValueError, 14),
    (KeyError, 10),
    (OSError, 5),
    (TypeError, 19),
)
_TYPES = {"bool": lambda text: text == "1", "int": int, "float": float, "str": str}
_PR_SET_PDEATHSIG = 1


class Stopped(BaseException):
    """The host asks the recipe to end."""


class Reply:
    """Sends records, each at once; stands in for `core.Msg` as a receiver of messages."""

    def __init__(self, descriptor: int):
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def send(self, *fields) -> None:
        """Send one record."""
        data = protocol.encode(*fields)
        with self._lock:
            while data:
                data = data[os.write(self._descriptor, data) :]

    def get_config(self) -> dict:
        """Ask for all messages; the host chooses."""
        return {"level": messages.SeverityLevel.DEBUG}

    def debug(self, component: str, text: str) -> None:
        """Send a message."""
        self.send("M", 0, component, text)

    def info(self, component: str, text: str) -> None:
        """Send a message."""
        self.send("M", 1, component, text)

    def warning(self, component: str, text: str) -> None:
        """Send a message."""
        self.send("M", 2, component, text)

    def error(self, component: str, text: str) -> None:
        """Send a message."""
        self.send("M", 3, component, text)


def _failure(error: BaseException) -> tuple[int, str, str, int, str]:
    """Return code, text, file, line and function of an exception."""
    code = next((code for kind, code in _CODES if isinstance(error, kind)), 1)
    place = traceback.extract_tb(error.__traceback__)[-1]
    known = type(error).__module__ == "muse_core.errors"
    text = str(error) if known else f"{type(error).__name__}: {error}"
    text = text.encode("ascii", "backslashreplace").decode()
    return code, text, os.path.basename(place.filename), place.lineno or 0, place.name


@contextlib.contextmanager
def _end_with_host() -> Iterator[None]:
    """Turn signals that ask us to end, and the death of the host, into an exception, so that files are cleaned up."""

    def stop(number, frame):
        raise Stopped(f"stopped by {signal.Signals(number).name}")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    yield


def main(arguments: Sequence[str]) -> int:
    """Run the recipe that the request asks for; the status is 0 whenever the reply is complete."""
    name, descriptor, *only_plan = arguments
    reply = Reply(int(descriptor))
    frames, settings = ui.FrameSet(), {}
    with _end_with_host():
        for kind, *fields in protocol.records(sys.stdin.buffer, protocol.REQUEST):
            if kind == "F":
                frame = ui.Frame(os.devnull, fields[1], ui.Frame.FrameGroup(int(fields[2])))
                frame.file = fields[0]
                frames.append(frame)
            else:
                settings[fields[0]] = _TYPES[fields[1]](fields[2])
        with messages.forward_logging(reply):
            run(name, frames, settings, reply, only_plan=bool(only_plan))
        times = os.times()
        reply.send("T", times.user, times.system)
        reply.send("E")
    return 0


def run(name: str, frames: ui.FrameSet, settings: dict, reply: Reply, *, only_plan: bool = False) -> None:
    """Run the recipe and send what came of it; or have it plan only, and send that."""
    products = ()
    try:
        recipe = registry.load(name)()
        if only_plan:
            reply.send("D", recipe.plan(frames, settings).to_json())
        else:
            products = recipe.run(frames, settings)
    except BaseException as error:  # SystemExit of library code and Stopped too: the host must hear of it
        code, text, *place = _failure(error)
        for line in traceback.format_exc().splitlines():
            logger.debug("%s", line)
        logger.error("%s", text)
        reply.send("X", code, text, *place)
    for number, frame in enumerate(frames):
        reply.send("G", number, int(frame.group))
    for frame in products:
        reply.send("R", frame.file, frame.tag, int(frame.type), int(frame.level))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

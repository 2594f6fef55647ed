# SPDX-License-Identifier: GPL-2.0-or-later
"""The process that runs one recipe for the native plugin or for `muse_core.Recipe`.

Usage: ``python -m muse_core.frontends.worker recipe descriptor [plan] [--temporary=folder]``. `recipe` is an address of
`registry`; the request comes from standard input, the reply goes to the file descriptor (see `protocol`). With ``plan``
the recipe is asked for its plan and not run. The folder is removed if the host has gone, and cannot do it any more.
Nothing is shared with the host: neither its interpreter nor its CPL.
"""

import contextlib
import os
import select
import shutil
import sys
import threading
import traceback
from collections.abc import Sequence

from muse_core import cplapi

cplapi.use_standin()

from muse_core.cplapi import messages, ui  # noqa: E402 (after the choice)
from muse_core.engine.meter import watching  # noqa: E402
from muse_core.errors import DataError, MissingFileError, ProductError  # noqa: E402
from muse_core.frontends import ending, failure, protocol, registry  # noqa: E402
from muse_core.frontends.lean import lean_process  # noqa: E402
from muse_core.io import litter  # noqa: E402

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


class Reply:
    """Sends records, each at once; stands in for `core.Msg` as a receiver of messages."""

    def __init__(self, descriptor: int):
        self.descriptor = descriptor
        self._lock = threading.Lock()

    def is_lost(self) -> bool:
        """Has the host gone? Whoever ends both of us may need a moment for it."""
        poll = select.poll()
        poll.register(self.descriptor, 0)
        return bool(poll.poll(200))  # milliseconds

    def send(self, *fields) -> None:
        """Send one record; nothing once the host has gone, which ends the run by itself."""
        data = protocol.encode(*fields)
        with self._lock, contextlib.suppress(BrokenPipeError):
            while data:
                data = data[os.write(self.descriptor, data) :]

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
    text = failure.text_of(error).encode("ascii", "backslashreplace").decode()
    return code, text, os.path.basename(place.filename), place.lineno or 0, place.name


def main(arguments: Sequence[str]) -> int:
    """Run the recipe that the request asks for; the status is 0 whenever the reply is complete."""
    name, descriptor, *more = arguments
    temporary = [folder.removeprefix("--temporary=") for folder in more if folder.startswith("--temporary=")]
    messages.open_standard_streams()
    reply = Reply(int(descriptor))

    def remove_temporary() -> None:
        for folder in temporary if reply.is_lost() else ():
            shutil.rmtree(folder, ignore_errors=True)

    def overdue(number: int) -> None:
        litter.clean_up()
        remove_temporary()
        ending.die(number)

    ending.end_with_parent()
    try:
        with ending.watched(overdue, reply.descriptor):
            _work(name, reply, only_plan="plan" in more)
    except (ending.Stopped, EOFError):  # EOFError: the host has gone before the end of its request
        remove_temporary()
        return 1
    return 0


def _work(name: str, reply: Reply, *, only_plan: bool) -> None:
    frames, settings = ui.FrameSet(), {}
    for kind, *fields in protocol.records(sys.stdin.buffer, protocol.REQUEST):
        if kind == "F":
            tag = fields[1].removesuffix("\r")  # esorex leaves it there, from a set of frames with CR LF
            frame = ui.Frame(os.devnull, tag, ui.Frame.FrameGroup(int(fields[2])))
            frame.file = fields[0]
            frames.append(frame)
        else:
            settings[fields[0]] = _TYPES[fields[1]](fields[2])
    with messages.forward_logging(reply), watching(lambda now: reply.send("S", now, now.detail, now.to_json())):
        error = run(name, frames, settings, reply, only_plan=only_plan)
    times = os.times()
    reply.send("T", times.user, times.system)
    reply.send("E")
    if isinstance(error, ending.Stopped):
        raise error


def run(
    name: str, frames: ui.FrameSet, settings: dict, reply: Reply, *, only_plan: bool = False
) -> BaseException | None:
    """Run the recipe, or have it plan only, and send what came of it; return the exception if it failed."""
    products, recipe, failed = (), None, None
    try:
        recipe = registry.load(name)()
        if only_plan:
            reply.send("D", recipe.plan(frames, settings).to_json())
        else:
            products = recipe.run(frames, settings)
    except BaseException as error:  # SystemExit of library code and Stopped too: the host must hear of it
        failure.log(error, recipe.name if recipe is not None else "worker")
        reply.send("X", *_failure(error))
        failed = error
    for number, frame in enumerate(frames):
        reply.send("G", number, int(frame.group))
    for frame in products:
        reply.send("R", frame.file, frame.tag, int(frame.type), int(frame.level))
    return failed


if __name__ == "__main__":
    with lean_process():
        status = main(sys.argv[1:])
    sys.exit(status)

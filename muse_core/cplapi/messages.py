# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages in the layout of CPL, on the terminal and in a log file, and the bridge to them from `logging`.

`Msg` stands in for ``cpl.core.Msg``. The package itself logs with `logging`; `forward_logging` hands its records on to
the `Msg` of whichever interface is in use.
"""

import contextlib
import datetime
import enum
import errno
import logging
import os
import stat
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

PACKAGE_LOGGER = "muse_core"

#: Why standard output or standard error cannot be written any more, by name.
lost: dict[str, OSError] = {}


class StatusLines:
    """Up to two lines at the end of the terminal of standard error that make way for whatever else is written.

    The cursor waits at the begin of the first one. A terminal that cannot move it up gets the first line only.
    """

    def __init__(self):
        self._lock = threading.RLock()
        self._lines: Sequence[str] = ()
        self._shown = ""

    @staticmethod
    def is_possible() -> bool:
        """Is standard error a terminal, and are we not in its background?"""
        try:
            descriptor = sys.stderr.fileno()
            if not os.isatty(descriptor):
                return False
        except (AttributeError, OSError, ValueError):  # closed, or replaced by something that is no file
            return False
        try:
            return os.tcgetpgrp(descriptor) == os.getpgrp()
        except OSError:  # not the terminal that controls us
            return True

    def draw(self, lines: Sequence[str]) -> None:
        """Show other lines, or none."""
        with self._lock:
            if lines != self._lines:
                self._lines = lines
                self._erase()
                self._write()

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Take the lines away during the block, in which something else is written."""
        with self._lock:
            self._erase()
            try:
                yield
            finally:
                self._write()

    def _erase(self) -> None:
        shown, self._shown = self._shown, ""
        if shown:
            self._put("\r\033[J" if "\n" in shown else f"\r{' ' * len(shown)}\r")

    def _write(self) -> None:
        if not self._lines or "stderr" in lost or not self.is_possible():
            return
        try:
            width = os.get_terminal_size(sys.stderr.fileno()).columns - 1
        except OSError:
            width = 0
        first, *more = (line.encode("ascii", "replace").decode()[: width if width > 0 else 79] for line in self._lines)
        if os.environ.get("TERM", "dumb") == "dumb":
            self._put(f"\r{first}\r")
            self._shown = first
        else:
            self._shown = f"{first}\n{(more or [''])[0]}"
            self._put(f"\r{self._shown}\r\033[A")

    @staticmethod
    def _put(text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError as error:
            give_up("stderr", error)


#: How far runs are, where that is shown on the terminal.
status = StatusLines()


def show(text: str = "", stream: str = "stdout") -> None:
    """Write a line to standard output or, with ``stderr``, to standard error.

    Where that fails - closed, disk full, reader gone - the reason is kept in `lost`, and nothing more goes there.
    """
    if stream in lost:
        return
    file = getattr(sys, stream)
    try:
        with status.aside():
            try:
                print(text, file=file, flush=True)
            except UnicodeEncodeError:
                print(text.encode("ascii", "backslashreplace").decode(), file=file, flush=True)
    except OSError as error:
        give_up(stream, error)


def give_up(stream: str, error: OSError) -> None:
    """Let all that is written to a standard stream from now on, and what its buffer still has, go nowhere."""
    lost[stream] = error
    null = os.open(os.devnull, os.O_RDWR)
    with contextlib.suppress(OSError, ValueError, AttributeError):  # replaced by something that is no file
        os.dup2(null, getattr(sys, stream).fileno())
    os.close(null)


def open_standard_streams() -> None:
    """Open the standard streams that were closed when the process started, so that no file takes their numbers."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError as error:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
            file = open(number, "r" if name == "stdin" else "w", closefd=False)  # noqa: SIM115 (stays open)
            setattr(sys, name, file)
            lost[name] = error


def _open_log(name: str) -> int:
    """Open a file to be written, and return its descriptor; a link that another user may have planted is refused."""
    with contextlib.suppress(FileNotFoundError):
        found = os.lstat(name)
        if stat.S_ISLNK(found.st_mode) and found.st_uid not in (0, os.geteuid()):
            raise PermissionError(errno.EACCES, "it is a link of another user")
    # a FIFO that nobody reads would keep us waiting
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    os.set_blocking(descriptor, True)
    return descriptor


class SeverityLevel(enum.IntEnum):
    """Severities, and the level that shows none."""

    DEBUG = 0
    INFO = 1
    WARNING = 2
    ERROR = 3
    OFF = 4


_LABELS = {
    SeverityLevel.DEBUG: "[ DEBUG ]",
    SeverityLevel.INFO: "[ INFO  ]",
    SeverityLevel.WARNING: "[WARNING]",
    SeverityLevel.ERROR: "[ ERROR ]",
    SeverityLevel.OFF: "[  OFF  ]",
}


class Msg:
    """Static messages of four severities: errors go to stderr, all others to stdout, and all to the log file."""

    SeverityLevel = SeverityLevel

    _defaults: dict[str, Any] = {
        "level": SeverityLevel.INFO,
        "domain": "",
        "width": 0,
        "indent": 2,
        "show_threadid": False,
        "show_domain": True,
        "show_time": False,
        "show_component": False,
    }
    _config = dict(_defaults)
    _file: TextIO | None = None
    _file_name = ""
    _file_level = SeverityLevel.OFF
    _told_lost = False
    _lock = threading.RLock()

    @classmethod
    def set_config(cls, **config) -> None:
        """Change settings: level, domain, show_time, show_component, show_threadid...; unknown ones are ignored."""
        cls._config.update({key: value for key, value in config.items() if key in cls._defaults})

    @classmethod
    def get_config(cls) -> dict[str, Any]:
        """Return a copy of the settings."""
        return dict(cls._config)

    @classmethod
    def start_file(cls, verbosity: SeverityLevel, name: str = ".logfile") -> None:
        """Write messages of at least the severity `verbosity` to the file `name` too, which is overwritten.

        Raises
        ------
        OSError
            The file cannot be written.
        """
        cls.stop_file()
        cls._file = open(_open_log(name), "w", encoding="utf-8", errors="surrogateescape")  # noqa: SIM115 (stays open)
        cls._file_name = name
        cls._file_level = SeverityLevel(verbosity)
        start = datetime.datetime.now().isoformat(timespec="seconds")
        header = (
            f"\nStart time     : {start}\n"
            f"Program name   : {cls._config['domain']}\n"
            f"Severity level : {_LABELS[cls._file_level]} \n\n"
        )
        try:
            cls._file.write(header)
            cls._file.flush()
        except OSError:
            cls.stop_file()
            raise

    @classmethod
    def stop_file(cls) -> None:
        """Close the log file."""
        if cls._file is not None:
            with contextlib.suppress(OSError):  # of lines that could not be written
                cls._file.close()
        cls._file = None
        cls._file_level = SeverityLevel.OFF

    @classmethod
    def debug(cls, component: str, text: str) -> None:
        """Report a detail."""
        cls.emit(SeverityLevel.DEBUG, component, text)

    @classmethod
    def info(cls, component: str, text: str) -> None:
        """Report progress."""
        cls.emit(SeverityLevel.INFO, component, text)

    @classmethod
    def warning(cls, component: str, text: str) -> None:
        """Report what may be wrong."""
        cls.emit(SeverityLevel.WARNING, component, text)

    @classmethod
    def error(cls, component: str, text: str) -> None:
        """Report a failure."""
        cls.emit(SeverityLevel.ERROR, component, text)

    @classmethod
    def emit(cls, level: SeverityLevel, component: str, text: str) -> None:
        """Write one message where it belongs; a place that cannot be written costs one warning in the others."""
        now = time.strftime("%H:%M:%S")
        with cls._lock:
            cls._to_file(level, f"{now} {_LABELS[level]} {component}: [tid=000] {text}\n")
            config = cls._config
            if level < config["level"]:
                return
            line = f"{now} " if config["show_time"] else ""
            line += f"{_LABELS[level]} "
            line += f"{config['domain']}: " if config["show_domain"] else ""
            line += f"{component}: " if config["show_component"] else ""
            line += "[tid=000] " if config["show_threadid"] else ""
            if level == SeverityLevel.ERROR:
                show(line + text, "stderr")
                return
            show(line + text)
            if "stdout" in lost and not cls._told_lost:
                cls._told_lost = True
                reason = lost["stdout"].strerror
                warning = f"The messages cannot be written to standard output ({reason}); the run goes on without"
                cls._to_file(SeverityLevel.WARNING, f"{now} {_LABELS[SeverityLevel.WARNING]} : [tid=000] {warning}\n")
                show(f"{_LABELS[SeverityLevel.WARNING]} {config['domain']}: {warning}", "stderr")

    @classmethod
    def _to_file(cls, level: SeverityLevel, line: str) -> None:
        if cls._file is None or level < cls._file_level:
            return
        try:
            cls._file.write(line)
            cls._file.flush()
        except OSError as error:
            cls.stop_file()
            cls.warning(
                "", f"Unable to write the log file '{cls._file_name}' ({error.strerror}); the run goes on without"
            )


_SEVERITIES = ((logging.ERROR, "error"), (logging.WARNING, "warning"), (logging.INFO, "info"), (0, "debug"))


def step_of(logger: str) -> str:
    """Return the name of the step whose module has a logger: `sky` for ``muse_core.steps.sky.fit``."""
    _package, *inside = logger.split(".")
    return inside[min(1, len(inside) - 1)] if inside else logger


class MsgHandler(logging.Handler):
    """Hands log records on to a `Msg` class; the component is the step that logged.

    A warning that comes again is counted; `finish` says how often it came.
    """

    def __init__(self, msg: type[Msg]):
        super().__init__()
        self._msg = msg
        self._warnings: dict[tuple[str, str], int] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Pass on one message per line, in ASCII (readers of CPL's messages expect it)."""
        name = next(name for level, name in _SEVERITIES if record.levelno >= level)
        try:
            text = record.getMessage().encode("ascii", "backslashreplace").decode()
            if name == "warning":
                warning = step_of(record.name), text
                self._warnings[warning] = self._warnings.get(warning, 0) + 1
                if self._warnings[warning] > 1:
                    return
            for line in text.splitlines() or [""]:
                getattr(self._msg, name)(step_of(record.name), line)
        except Exception:
            self.handleError(record)

    def finish(self) -> None:
        """Say how often the warnings came that came more than once, and begin to count again."""
        counts, self._warnings = self._warnings, {}
        for (step, text), n in counts.items():
            if n > 1:
                self._msg.warning(step, f"{n} times: {' '.join(text.split())}")


@contextlib.contextmanager
def forward_logging(msg: type[Msg]) -> Iterator[None]:
    """While active, all records of this package that `msg` may show go to it.

    Nested uses share the handler of the outermost; each says at its end what came more than once.
    """
    logger = logging.getLogger(PACKAGE_LOGGER)
    for handler in logger.handlers:
        if isinstance(handler, MsgHandler):
            try:
                yield
            finally:
                handler.finish()
            return
    handler = MsgHandler(msg)
    previous = logger.level
    logger.addHandler(handler)
    lowest = min(int(msg.get_config()["level"]), getattr(msg, "_file_level", SeverityLevel.DEBUG))
    logger.setLevel(logging.DEBUG + 10 * lowest)
    try:
        yield
    finally:
        handler.finish()
        logger.setLevel(previous)
        logger.removeHandler(handler)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Files and settings of esorex for `Recipe`, as python-cpl's module `cpl.esorex` has them.

``msg`` shows the messages of recipes on the terminal and ``log`` keeps them in a file, at and above their `level`:
``esorex.msg.level = esorex.msg.INFO``; ``esorex.log.filename = "night.log"``.
"""

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from muse_core.errors import InputError
from muse_core.frontends.esorex import config
from muse_core.frontends.pythoncpl.recipe import Recipe
from muse_core.io import sof

_LEVELS = ("debug", "info", "warning", "error", "off")


def _text(source: str | os.PathLike | TextIO) -> str:
    """Return the text of a file, which is given open, by its name, or as its content."""
    if hasattr(source, "read"):
        return source.read()
    if isinstance(source, str) and ("\n" in source or not os.path.exists(source)):
        return source
    try:
        return Path(source).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise InputError(f"{os.fspath(source)}: {error.strerror}") from error


def load_sof(source: str | os.PathLike | TextIO) -> dict[str, str | list[str]]:
    """Read a set of frames.

    Parameters
    ----------
    source : path, file or str
        Set-of-frames file, or its content.

    Returns
    -------
    dict
        File name, or list of them, for each tag; can be assigned to `Recipe.calib`.

    Raises
    ------
    InputError
        The file cannot be read, or is no set of frames.

    Examples
    --------
    >>> import muse_core
    >>> frames = muse_core.esorex.load_sof("none.sof")
    >>> len(frames["PIXTABLE_OBJECT"]), frames["EXTINCT_TABLE"]
    (2, '.../EXTINCT_TABLE.fits')
    """
    found: dict[str, list[str]] = {}
    for frame in sof.parse_sof(_text(source)):
        found.setdefault(frame.tag, []).append(frame.path)
    return {tag: paths[0] if len(paths) == 1 else paths for tag, paths in found.items()}


def load_rc(source: str | os.PathLike | TextIO | None = None) -> dict[str, str]:
    r"""Read a configuration file of esorex or of a recipe.

    Parameters
    ----------
    source : path, file or str, optional
        Configuration file, or its content; by default ``~/.esorex/esorex.rc``.

    Returns
    -------
    dict
        Values, as texts, by full name; can be assigned to `Recipe.param`.

    Raises
    ------
    InputError
        The file cannot be read.

    Examples
    --------
    >>> import muse_core
    >>> muse_core.esorex.load_rc("# of muse_scipost\nmuse.muse_scipost.skymethod=none\n")
    {'muse.muse_scipost.skymethod': 'none'}
    """
    if source is None:
        source = config.user_file("esorex.rc") or ""
    lines = (line.strip() for line in _text(source).splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name.strip(): value.strip().strip('"') for name, _, value in pairs if value.strip()}


def init(source: str | os.PathLike | TextIO | None = None) -> None:
    r"""Set `Recipe.path`, ``msg`` and ``log`` to what a configuration file of esorex says.

    Parameters
    ----------
    source : path, file or str, optional
        As for `load_rc`.

    Raises
    ------
    InputError
        The file cannot be read, or a level is none.

    Examples
    --------
    >>> import muse_core
    >>> muse_core.esorex.init("esorex.caller.msg-level=off\nesorex.caller.log-level=off\n")
    """
    settings = load_rc(source)
    setting = {name.removeprefix("esorex.caller."): value for name, value in settings.items()}.get
    if folders := setting("recipe-dir"):
        Recipe.path = folders.split(":")
    msg.level = _level(setting("msg-level", "info"))
    log.level = _level(setting("log-level", "info"))
    log.dir = setting("log-dir", ".")
    log.filename = setting("log-file", "esorex.log")


def _level(name: str) -> int:
    if name not in _LEVELS:
        raise InputError(f"level of messages: found {name!r}, expected one of {', '.join(_LEVELS)}")
    return (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, CplLogger.OFF)[_LEVELS.index(name)]


class CplLogger:
    """Shows the messages of recipes on standard error.

    Attributes
    ----------
    level : int
        `DEBUG`, `INFO`, `WARN`, `ERROR` or `OFF`.
    time, component, threadid : bool
        Whether lines have the time, the name of the logger, that of the thread.
    format : str
        Format of the lines, as of `logging.Formatter`; made from the three above unless it is set.
    dir : str or None
        Of a log in a file: its folder.

    Examples
    --------
    >>> import muse_core
    >>> msg = muse_core.esorex.msg
    >>> msg.level, msg.time, msg.component, msg.threadid, msg.dir = msg.WARN, True, False, False, None
    >>> msg.format
    '%(asctime)s [%(levelname)7s] %(message)s'
    >>> msg.level = msg.OFF
    """

    DEBUG, INFO, WARN, ERROR = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR
    OFF = logging.CRITICAL + 1
    _defaults = {"level": OFF, "time": False, "component": False, "threadid": False, "format": None, "dir": None}

    def __init__(self):
        self.handler: logging.Handler | None = None
        self._values = dict(self._defaults)

    def _make(self) -> logging.Handler | None:
        return None if self._values["level"] >= self.OFF else logging.StreamHandler()

    def _apply(self) -> None:
        """Replace the handler by one with the settings in force."""
        logger = logging.getLogger("cpl")
        if self.handler is not None:
            logger.removeHandler(self.handler)
            self.handler.close()
        self.handler = self._make()
        if self.handler is None:
            return
        self.handler.setLevel(self._values["level"])
        self.handler.setFormatter(logging.Formatter(self.format, "%H:%M:%S"))
        logger.addHandler(self.handler)
        logger.setLevel(min(self._values["level"], logger.level or self.OFF))

    @property
    def format(self) -> str:
        """Format of the lines."""
        values = self._values
        made = "%(asctime)s " if values["time"] else ""
        made += "[%(levelname)7s]" + ("[%(threadName)s]" if values["threadid"] else "")
        return values["format"] or f"{made} {'%(name)s: ' if values['component'] else ''}%(message)s"

    @format.setter
    def format(self, text: str) -> None:
        self._set("format", text)

    def _set(self, name: str, value) -> None:
        self._values[name] = value
        self._apply()


def _setting(name: str) -> property:
    return property(lambda self: self._values[name], lambda self, value: self._set(name, value), doc=f"See `{name}`.")


for _name in ("level", "time", "component", "threadid", "dir"):
    setattr(CplLogger, _name, _setting(_name))


class CplFileLogger(CplLogger):
    """Keeps the messages of recipes in a file.

    Attributes
    ----------
    filename : str or None
        Name of the file, in the folder `dir`; None: there is none.
    level, time, component, threadid, format, dir : object
        As for `CplLogger`.

    Examples
    --------
    >>> import muse_core
    >>> muse_core.esorex.log.filename = "night.log"
    >>> muse_core.esorex.log.filename = None
    """

    _defaults = CplLogger._defaults | {
        "level": CplLogger.INFO,
        "time": True,
        "component": True,
        "threadid": True,
        "filename": None,
    }
    filename = _setting("filename")

    def _make(self) -> logging.Handler | None:
        name = self._values["filename"]
        if name is None or self._values["level"] >= self.OFF:
            return None
        path = os.path.join(self._values["dir"] or ".", name)
        try:
            return logging.FileHandler(path, encoding="utf-8", errors="surrogateescape")
        except OSError as error:
            logging.getLogger("cpl").warning("Unable to write the log file '%s' (%s)", path, error.strerror)
            return None


msg = CplLogger()
log = CplFileLogger()

__all__: Iterable[str] = ["CplFileLogger", "CplLogger", "Recipe", "init", "load_rc", "load_sof", "log", "msg"]

# SPDX-License-Identifier: GPL-2.0-or-later
"""What a recipe call gives back: products, messages, times, errors."""

import html
import signal
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from muse_core.errors import MuseError
from muse_core.frontends.pythoncpl.logger import LogList

#: Texts of the signals by their numbers.
_SIGNALS = {int(number): f"{number.name}: {signal.strsignal(number)}" for number in signal.Signals}


class RecipeError(MuseError, RuntimeError):
    """A recipe has failed.

    Parameters
    ----------
    code : int
        Code of the CPL error that stands for it.
    msg : str
        What happened.
    file : str
        Where: name of the source file.
    line : int
        Its line.
    function : str
        Name of the function.
    log : LogList
        Messages of the run.

    Attributes
    ----------
    next_error : None
        For compatibility: there is one error only.

    Examples
    --------
    >>> import muse_core
    >>> scipost = muse_core.Recipe("muse_scipost")
    >>> try:
    ...     scipost("no_such.fits")
    ... except muse_core.CplError as error:
    ...     error.filename == error.file, len(error.log.error) > 0
    (True, True)
    """

    next_error = None

    def __init__(self, code: int, msg: str, file: str, line: int, function: str, log: LogList):
        super().__init__(f"{msg} ({code}) in {function}() ({file}:{line})")
        self.code, self.msg, self.file, self.line, self.function, self.log = code, msg, file, line, function, log

    filename = property(lambda self: self.file, doc="Source file, see `file`.")

    def __iter__(self) -> Iterator["RecipeError"]:
        yield self


class RecipeCrash(RecipeError, OSError):
    """The process of a recipe has died.

    Parameters
    ----------
    code, msg, file, line, function, log : object
        As for `CplError`.

    Attributes
    ----------
    signal : int or None
        Number of the signal that ended it.
    signals : dict of int to str
        Names and texts of all signals.
    elements : list
        For compatibility: empty, there is no stack of C functions.

    Examples
    --------
    >>> import muse_core
    >>> muse_core.RecipeCrash.signals[9]
    'SIGKILL: Killed'
    """

    signal: int | None = None
    elements: ClassVar[list] = []
    signals: ClassVar[dict[int, str]] = _SIGNALS


class Stat:
    """Return code and processor times (in seconds) of a run."""

    memory_is_empty = None
    mtrace = None

    def __init__(self, return_code: int, user_time: float, sys_time: float):
        self.return_code, self.user_time, self.sys_time = return_code, user_time, sys_time


class Result:
    """The products of a run, by tag, as attributes or items: HDULists, or file names if an output folder was given.

    Parameters
    ----------
    products : sequence of (str, HDUList or str)
        Tags, and products.
    stat : Stat
        Return code and times.
    log : LogList
        Messages.
    always_lists : bool
        Give lists, even of one product.

    Attributes
    ----------
    tags : set of str
        Tags of the products.
    error : None
        For compatibility: a run with an error raises it.

    Examples
    --------
    >>> import muse_core
    >>> scipost = muse_core.Recipe("muse_scipost")
    >>> frames = muse_core.esorex.load_sof("none.sof")
    >>> raw = frames.pop("PIXTABLE_OBJECT")
    >>> scipost.calib = frames
    >>> result = scipost(raw, output_dir="products", param={"save": "cube", "skymethod": "none"})
    >>> sorted(result.tags) == sorted(tag for tag, _ in result), "DATACUBE_FINAL" in result
    (True, True)
    >>> result["DATACUBE_FINAL"] == result.DATACUBE_FINAL, result.stat.return_code, result.log.error
    (True, 0, [])
    """

    error = None

    def __init__(self, products: Iterable[tuple[str, Any]], stat: Stat, log: LogList, *, always_lists: bool):
        self.stat, self.log = stat, log
        self._items: dict[str, list] = {}
        for tag, item in products:
            self._items.setdefault(tag, []).append(item)
        self.tags = set(self._items)
        for tag, items in self._items.items():
            setattr(self, tag, items if always_lists or len(items) > 1 else items[0])

    def __getitem__(self, tag: str):
        if tag not in self._items:
            raise KeyError(tag)
        return getattr(self, tag)

    def __contains__(self, tag: str) -> bool:
        return tag in self._items

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter([(tag, getattr(self, tag)) for tag in self._items])

    def __len__(self) -> int:
        return len(self._items)

    def _products(self) -> list[tuple[str, str]]:
        """Return tags of products, and their file names or what is in them."""
        return [
            (tag, item if isinstance(item, str) else ", ".join(f"{hdu.name or 'primary'} {hdu.shape}" for hdu in item))
            if isinstance(item, (str, list))
            else (tag, f"{len(item)} bytes")
            for tag, items in self._items.items()
            for item in items
        ]

    def __repr__(self) -> str:
        return "\n".join([f"<Result, {len(self.tags)} tags>", *(f"  {tag}: {what}" for tag, what in self._products())])

    def _repr_html_(self) -> str:
        """Table of the products for notebooks."""
        rows = "".join(f"<tr><td>{tag}</td><td>{html.escape(what)}</td></tr>" for tag, what in self._products())
        return f"<table><tr><th>product</th><th>file, or HDUs and shapes</th></tr>{rows}</table>"

    def _ipython_key_completions_(self) -> list[str]:
        """Tags for the tab key between brackets."""
        return list(self._items)

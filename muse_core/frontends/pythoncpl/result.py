# SPDX-License-Identifier: GPL-2.0-or-later
"""What a recipe call gives back: products, messages, times, errors."""

import contextlib
import html
import signal
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from muse_core.errors import InputError, MuseError
from muse_core.frontends.pythoncpl.logger import LogList

if TYPE_CHECKING:
    from astropy.table import Table

    from muse_core.api import Cube, Image, PixelTable

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

    def open(self, tag: str, number: int = 0) -> "Cube | Image | PixelTable | Table":
        """Open a product as what it is, for notebooks.

        Parameters
        ----------
        tag : str
            Its tag.
        number : int
            Which one, if there are several.

        Returns
        -------
        Cube, Image, PixelTable or astropy.table.Table
            Of `muse_core.api`: they have `to_mpdaf`, `to_nddata`, `to_table`, `plot`.

        Raises
        ------
        KeyError
            There is no such product.
        InputError
            It is no FITS file with a cube, an image or a table.

        Examples
        --------
        >>> result = recipe(files, output_dir="reduced")  # doctest: +SKIP
        >>> result.open("DATACUBE_FINAL").to_mpdaf()  # doctest: +SKIP
        <Cube(...)>
        """
        from muse_core.api import Cube
        from muse_core.api.products import open_product

        item = self._items[tag][number]
        if isinstance(item, str):
            return open_product(Path(item))
        if isinstance(item, bytes):
            raise InputError(f"{tag}: found {len(item)} bytes of another kind of file, expected FITS")
        folder = tempfile.TemporaryDirectory(prefix="muse-product-", ignore_cleanup_errors=True)
        with contextlib.ExitStack() as stack:
            stack.callback(folder.cleanup)
            item.writeto(Path(folder.name, f"{tag}.fits"))
            product = open_product(Path(folder.name, f"{tag}.fits"), folder)
            if isinstance(product, Cube):  # it reads from its file, and removes it
                stack.pop_all()
        return product

    def _products(self, *, pictures: bool) -> Iterator[tuple[str, str, str, str]]:
        """Yield tag, file, size with shapes, and small picture of the products."""
        from astropy.io import fits

        from muse_core.api.products import Glance
        from muse_core.engine.plan import size_text

        for tag, items in self._items.items():
            for item in items:
                name = Path(item).name if isinstance(item, str) else ""
                try:
                    with contextlib.ExitStack() as stack:
                        hdus = stack.enter_context(fits.open(item)) if isinstance(item, str) else item
                        glance = Glance.of(hdus, picture=pictures)
                    yield tag, name, f"{size_text(glance.n_bytes)}: {glance.shapes}", glance.picture
                except (OSError, AttributeError, TypeError):  # it is not there any more, or no FITS file
                    yield tag, name, f"{len(item)} bytes" if isinstance(item, bytes) else "no FITS file", ""

    def __repr__(self) -> str:
        lines = [
            " ".join(filter(None, (f"  {tag}:", name, what))) for tag, name, what, _ in self._products(pictures=False)
        ]
        return "\n".join([f"<Result, {len(self.tags)} tags>", *lines])

    def _repr_html_(self) -> str:
        """Table of the products for notebooks: tag, file, size and shapes, a small picture."""
        rows = "".join(
            f"<tr><td>{tag}</td><td>{html.escape(name)}</td><td>{html.escape(what)}</td><td>{picture}</td></tr>"
            for tag, name, what, picture in self._products(pictures=True)
        )
        return f"<table><tr><th>product</th><th>file</th><th>size</th><th></th></tr>{rows}</table>"

    def _ipython_key_completions_(self) -> list[str]:
        """Tags for the tab key between brackets."""
        return list(self._items)

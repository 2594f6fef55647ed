# SPDX-License-Identifier: GPL-2.0-or-later
"""How a product was made, by its header, as python-cpl's module `cpl.dfs` has it."""

import pprint
import re
from typing import Any, TextIO

from muse_core.errors import InputError
from muse_core.frontends.pythoncpl.recipe import Recipe

_RECORD = re.compile(r"ESO PRO REC(\d+) ID")


class ProcessingInfo:
    """Recipe, frames and parameters that made a product of a pipeline.

    Parameters
    ----------
    source : path, HDUList, HDU or Header
        The product.
    recno : int
        Number of the step, 1 for the first; negative numbers count from the last.

    Attributes
    ----------
    name, pipeline, cpl_version, tag, product, orig_filename, md5sum : str
        Recipe; its pipeline and library; tags of the raw frames and of the product; its first name; its DATAMD5.
    version : tuple of (int, str)
        Version of the pipeline.
    calib, raw : dict, str or list of str
        Calibrations by tag; raw frames. Names only, without folders.
    param : dict
        Parameters.
    md5sums : dict
        DATAMD5 of the calibrations, by file name.
    frames : list of (str, str, str or None)
        Name, tag and DATAMD5 of all frames, in the order of the header: raw ones, then calibrations.
    values : dict
        Parameters as the texts of the header.

    Raises
    ------
    InputError
        The header has no such step.

    Examples
    --------
    >>> import muse_core
    >>> info = muse_core.dfs.ProcessingInfo("DATACUBE_FINAL.fits")
    >>> info.name, info.tag, info.product
    ('muse_scipost', 'PIXTABLE_OBJECT', 'DATACUBE_FINAL')
    >>> info.param["ld"], info.values["ld"], len(info.frames) > len(info.calib)
    (1, '1', True)
    """

    def __init__(self, source, recno: int = -1):
        header = header_of(source)
        numbers = sorted({int(match[1]) for key in header if (match := _RECORD.fullmatch(key))})
        index = recno - 1 if recno > 0 else recno
        if not -len(numbers) <= index < len(numbers):
            raise InputError(f"{source}: found {len(numbers)} steps of processing (ESO PRO RECn ID), expected {recno}")
        record = f"ESO PRO REC{numbers[index]}"
        self.name = header[f"{record} ID"]
        self.product = header.get("ESO PRO CATG")
        self.orig_filename = header.get("PIPEFILE")
        self.pipeline, _, version = str(header.get(f"{record} PIPE ID", "")).partition("/")
        parts = [int(part) for part in re.findall(r"\d+", version)[:3]]
        self.version = (sum(part * 100 ** (2 - n) for n, part in enumerate(parts)), version)
        self.cpl_version = header.get(f"{record} DRS ID")
        self.md5sum = header.get("DATAMD5")
        raw = _entries(header, f"{record} RAW", "CATG")
        tags = list(dict.fromkeys(tag for _, tag, _ in raw))
        self.tag = tags[0] if tags else None
        self.raw = _single([name for name, tag, _ in raw if tag == self.tag])
        calibrations = _entries(header, f"{record} CAL", "CATG")
        self.calib = {tag: _single([n for n, t, _ in calibrations if t == tag]) for _, tag, _ in calibrations}
        self.md5sums = {name: md5 for name, _, md5 in calibrations if md5}
        self.frames = [*raw, *calibrations]
        parameters = _entries(header, f"{record} PARAM", "VALUE")
        self.values = {name: str(text).lower() if isinstance(text, bool) else str(text) for name, text, _ in parameters}
        self.param = {name: _value(text) for name, text in self.values.items()}

    @classmethod
    def list(cls, source) -> "list[ProcessingInfo]":
        """Return all steps that made a product, in their order.

        Parameters
        ----------
        source : path, HDUList, HDU or Header
            The product.

        Returns
        -------
        list of ProcessingInfo
            One for each step.

        Raises
        ------
        InputError
            The file cannot be read.

        Examples
        --------
        >>> import muse_core
        >>> [info.name for info in muse_core.dfs.ProcessingInfo.list("DATACUBE_FINAL.fits")][-1]
        'muse_scipost'
        """
        header = header_of(source)
        count = sum(bool(_RECORD.fullmatch(key)) for key in header)
        return [cls(header, recno) for recno in range(1, count + 1)]

    def create_recipe(self) -> Recipe:
        """Return the recipe with these calibrations and parameters.

        Returns
        -------
        Recipe
            The recipe; frames are names without folders, `Recipe.from_product` finds their files.

        Raises
        ------
        InputError
            There is no such recipe.

        Examples
        --------
        >>> import muse_core
        >>> info = muse_core.dfs.ProcessingInfo("DATACUBE_FINAL.fits")
        >>> info.create_recipe().param.filter.value
        'white,sim_7030'
        """
        recipe = Recipe(self.name)
        recipe.tag = self.tag
        recipe.calib = self.calib
        recipe.param = self.param
        return recipe

    def create_script(self, scriptfile: TextIO | None = None) -> None:
        """Write a Python script that makes the product again, from frames in the current folder.

        Parameters
        ----------
        scriptfile : file, optional
            Open file to write to; by default standard output.

        Examples
        --------
        >>> import muse_core
        >>> info = muse_core.dfs.ProcessingInfo("DATACUBE_FINAL.fits")
        >>> info.create_script()
        #!/usr/bin/env python3
        import muse_core
        ...
        """
        print(
            "#!/usr/bin/env python3\n"
            "import muse_core\n\n"
            f"recipe = muse_core.Recipe({self.name!r})\n"
            f"recipe.calib = {pprint.pformat(self.calib)}\n"
            f"recipe.param = {pprint.pformat(self.param)}\n"
            f"recipe({pprint.pformat(self.raw)}, tag={self.tag!r}, output_dir='.')",
            file=scriptfile,
        )

    def printinfo(self) -> None:
        """Print everything that is known.

        Examples
        --------
        >>> import muse_core
        >>> info = muse_core.dfs.ProcessingInfo("DATACUBE_FINAL.fits")
        >>> info.printinfo()
        Recipe: muse_scipost, version ...
        """
        print(self)

    def __str__(self):
        lines = [f"Recipe: {self.name}, version {self.version[1]} of {self.pipeline}", f"Product: {self.product}"]
        lines += [f"Raw frames ({self.tag}): {self.raw}", "Calibrations:"]
        lines += [f"  {tag}: {frames}" for tag, frames in self.calib.items()]
        return "\n".join([*lines, "Parameters:", *(f"  {name} = {value!r}" for name, value in self.param.items())])


def header_of(source):
    """Return a primary header.

    Parameters
    ----------
    source : path, HDUList, HDU or Header
        What has it.

    Returns
    -------
    Header
        The primary header, or that of the HDU.

    Raises
    ------
    InputError
        The file cannot be read.

    Examples
    --------
    >>> import muse_core
    >>> muse_core.dfs.header_of("DATACUBE_FINAL.fits")["ESO PRO CATG"]
    'DATACUBE_FINAL'
    """
    from astropy.io import fits

    if isinstance(source, fits.Header):
        return source
    if isinstance(source, fits.HDUList):
        return source[0].header
    if hasattr(source, "header"):
        return source.header
    try:
        return fits.getheader(source)
    except OSError as error:
        raise InputError(f"{source}: {error}, expected a FITS file") from error


def _entries(header, prefix: str, what: str) -> "list[tuple[str, Any, Any]]":
    """Return NAME, `what` and DATAMD5 of the numbered entries of a record."""
    found, number = [], 1
    while f"{prefix}{number} NAME" in header:
        keys = (f"{prefix}{number} {key}" for key in ("NAME", what, "DATAMD5"))
        found.append(tuple(header.get(key) for key in keys))
        number += 1
    return found


def _single(frames: "list[str]") -> "str | list[str] | None":
    return frames[0] if len(frames) == 1 else frames or None


def _value(text: Any) -> Any:
    """Return the text of a parameter as a number or bool if it is one."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except (TypeError, ValueError):
            continue
    return text

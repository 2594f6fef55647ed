# SPDX-License-Identifier: GPL-2.0-or-later
"""How a product was made, by its own header, and where the files that it was made of are now.

A header has names of files without folders, DATAMD5 of the calibrations, and the parameters in six digits. It does not
have what the environment says, but for `MUSE_COMPAT`; see docs/python.md.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from muse_core.errors import InputError
from muse_core.frontends import registry
from muse_core.frontends.pythoncpl.dfs import ProcessingInfo, header_of
from muse_core.io import verify
from muse_core.io.fitsreader import FitsFile
from muse_core.model import compat
from muse_core.model.declare import did_you_mean
from muse_core.model.header import get_string
from muse_core.model.record import record
from muse_core.recipe.extras import EXTRAS, EXTRAS_VARIABLE

#: How DRS ID of our products begins; ESO's is that of CPL.
_OURS = "muse-scipost-"


@record
class Input:
    """A file that a product was made of.

    Attributes
    ----------
    name, tag : str
        Its name without folder, and its tag.
    group : str
        "RAW" or "CALIB".
    md5 : str or None
        Its DATAMD5 when it was used, if the product says it.
    path : Path or None
        Where it is now; None if it was not found.
    """

    name: str
    tag: str
    group: str
    md5: str | None
    path: Path | None


@record
class Redo:
    """What it takes to make a product again.

    Attributes
    ----------
    product : Path
        The product.
    recipe : str
        Name of the recipe that made it.
    pipeline : str
        Its pipeline and version.
    inputs : list of Input
        The files, raw ones first, in their order.
    values : dict
        Parameters, as texts.
    environment : dict
        Variables with which the product is made again; empty text for one that must not be set.
    folders : list of Path
        Where files were looked for.
    date : str
        DATE-OBS of the first raw file, empty if the product does not tell.

    Examples
    --------
    >>> import os
    >>> import muse_core
    >>> from muse_core.frontends.redo import Redo
    >>> archive = os.path.dirname(muse_core.esorex.load_sof("model.sof")["PIXTABLE_OBJECT"][0])
    >>> again = Redo.of("DATACUBE_FINAL.fits", [archive])
    >>> again.recipe, again.problems()
    ('muse_scipost', [])
    """

    product: Path
    recipe: str
    pipeline: str
    inputs: list[Input]
    values: dict[str, str]
    environment: dict[str, str]
    folders: list[Path]
    date: str

    @classmethod
    def of(cls, product: str | os.PathLike, search_path: Iterable[str | os.PathLike] = ()) -> "Redo":
        """Read how a product was made, and look for its files.

        Parameters
        ----------
        product : path
            The product, of one of our recipes or of ESO's of the same name.
        search_path : iterable of path
            Folders, looked at first, with all that is below them. Then come the folder of the product and the current
            one, with the folders in them.

        Raises
        ------
        InputError
            The product does not say how it was made, or was made by a recipe that there is not.
        """
        product = Path(product)
        info, header = ProcessingInfo(os.fspath(product)), header_of(os.fspath(product))
        if info.name not in registry.built_in():
            near = did_you_mean(info.name, registry.built_in())
            raise InputError(
                f"{product}: found that recipe {info.name} of {info.pipeline} {info.version[1]} made it, expected one "
                f"of ours: {', '.join(registry.built_in())}{near}"
            )
        raw = {spec.tag for spec in registry.class_of(info.name).INPUTS if spec.group == "RAW"}
        own = list(dict.fromkeys(path.resolve() for path in (product.parent, Path.cwd())))
        search = [Path(folder) for folder in search_path]
        for folder in search:
            if not folder.is_dir():
                raise InputError(f"search path: found no folder {folder}, expected one with files that were used")
        wanted = {name for name, _, _ in info.frames}
        places = _find(search, own, wanted)
        inputs = [
            Input(name, tag, "RAW" if tag in raw else "CALIB", md5, _choose(places.get(name, []), md5))
            for name, tag, md5 in info.frames
        ]
        ours = str(info.cpl_version).startswith(_OURS)
        exact = ours and compat.KEYWORD in header
        environment = {compat.ENVIRONMENT_VARIABLE: "" if exact else compat.REFERENCE_VERSION}
        extra = header.get("ESO DRS MUSE EXTRA")
        if ours and extra in EXTRAS:
            environment[EXTRAS_VARIABLE] = extra
        pipeline = f"{info.pipeline} {info.version[1]}" + ("" if ours else " (ESO's)")
        date = str(header.get("DATE-OBS", ""))
        return cls(product, info.name, pipeline, inputs, info.values, environment, [*search, *own], date)

    def missing(self) -> list[str]:
        """Return a sentence for each file that was not found."""
        looked = ", ".join(map(str, self.folders))
        return [f"{i.tag} {i.name}: found in none of {looked}" for i in self.inputs if i.path is None]

    def problems(self) -> list[str]:
        """Return what is missing or not as it was, after reading all files; an empty list if nothing is."""
        found = self.missing()
        for number, item in enumerate(self.inputs):
            if item.path is None:
                continue
            try:
                found += verify.changes(item.path, item.md5)
                if not number and self.date and item.group == "RAW":
                    found += _of_other_date(item.path, self.date)
            except InputError as error:
                found.append(str(error))
        return found

    def set_of_frames(self) -> str:
        """Return the files as a set of frames; those that were not found are comments."""
        return "".join(
            f"# missing: {i.name} {i.tag}\n" if i.path is None else f"{i.path} {i.tag}\n" for i in self.inputs
        )

    def apply_environment(self) -> None:
        """Set the variables with which the product is made again, whatever they are now."""
        os.environ.update(self.environment)

    def refuse_own_place(self, folder: str | os.PathLike) -> None:
        """Check that products in a folder, with their own names, do not take the place of this one.

        Raises
        ------
        InputError
            They would.
        """
        if Path(folder).resolve() == self.product.resolve().parent:
            raise InputError(
                f"{self.product}: what is made again would take its place in {Path(folder).resolve()}, expected "
                "another folder (--output-dir, output_dir)"
            )


def _find(search: Sequence[Path], own: Sequence[Path], wanted: set[str]) -> dict[str, list[Path]]:
    """Return where files of these names are: at any depth of the search path, one level down in the own folders."""
    places: dict[str, list[Path]] = {}
    for folder in [*(f for root in search for f in _below(root)), *(f for root in own for f in _with_subfolders(root))]:
        try:
            names = wanted.intersection(os.listdir(folder))
        except OSError:  # not ours to look into
            continue
        for name in names:
            path = Path(folder, name).absolute()
            if path.is_file() and path not in places.get(name, []):
                places.setdefault(name, []).append(path)
    return places


def _below(root: Path) -> Iterator[Path]:
    for folder, subfolders, _ in os.walk(root):
        subfolders.sort()
        yield Path(folder)


def _with_subfolders(root: Path) -> Iterator[Path]:
    yield root
    try:
        yield from sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:
        return


def _choose(candidates: Sequence[Path], md5: str | None) -> Path | None:
    """Return the first file with that DATAMD5 in its header, else the first."""
    for path in candidates if md5 and len(candidates) > 1 else ():
        try:
            with FitsFile(path) as file:
                if get_string(file.primary.header, "DATAMD5") == md5:
                    return path
        except InputError:
            continue
    return candidates[0] if candidates else None


def _of_other_date(path: Path, date: str) -> list[str]:
    with FitsFile(path) as file:
        found = get_string(file.primary.header, "DATE-OBS", "")
    return [] if found == date else [f"{path}: found DATE-OBS {found}, expected {date} as in the product"]

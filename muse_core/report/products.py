# SPDX-License-Identifier: GPL-2.0-or-later
"""The products of a run on disk, found by their headers."""

import dataclasses
import functools
import hashlib
import logging
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from muse_core.errors import InputError, MissingFileError
from muse_core.io.fitsreader import FitsFile
from muse_core.model.fits import Header
from muse_core.model.record import record

_LOG = logging.getLogger(__name__)
#: Recipes whose products are looked at.
RECIPES = ("muse_scipost", "muse_exp_combine", "muse_exp_align", "muse_create_sky")
#: Files that are read at the same time.
_READERS = 2
#: A comment may be cut at the end of its card: the quotation mark at the end is missing then.
_DEFAULT = re.compile(r"Default: (?:'(.*?)('?)|([^']*))$")


@record
class ProductFile:
    """A product: file, tag (PRO CATG), primary header."""

    path: Path
    tag: str
    header: Header


@record
class Provenance:
    """What a product says about the run that made it.

    Attributes
    ----------
    recipe, version, system : str
        PRO RECn ID, PIPE ID and DRS ID.
    parameters : list of dict
        Name, value, default, and whether they differ (None if the header does not tell), of each parameter.
    inputs : list of dict
        Name, tag and MD5 signature (where there is one) of each frame.
    """

    recipe: str
    version: str
    system: str
    parameters: list[dict]
    inputs: list[dict]

    @classmethod
    def of(cls, header: Header) -> "Provenance":
        """Read the last recipe of a header."""
        n = recipe_number(header)
        rec = f"ESO PRO REC{n} "
        parameters, inputs, i = [], [], 1
        while f"{rec}PARAM{i} NAME" in header:
            key = f"{rec}PARAM{i} VALUE"
            value = str(header.get(key, ""))
            found = _DEFAULT.search(header.comments[key]) if key in header else None
            text, closed, plain = found.groups() if found else (None, None, None)
            default = plain if text is None else text
            is_cut = text is not None and not closed
            changed = None if is_cut and value.startswith(default) else default is not None and value != default
            name = header[f"{rec}PARAM{i} NAME"]
            parameters.append({"name": name, "value": value, "default": default, "changed": changed})
            i += 1
        for kind in ("RAW", "CAL"):
            i = 1
            while f"{rec}{kind}{i} NAME" in header:
                item = {key: header.get(f"{rec}{kind}{i} {card}") for key, card in (("name", "NAME"), ("tag", "CATG"))}
                inputs.append(item | {"md5": header.get(f"{rec}{kind}{i} DATAMD5")})
                i += 1
        version, system = (str(header.get(rec + key, "")) for key in ("PIPE ID", "DRS ID"))
        return cls(str(header.get(rec + "ID", "")), version, system, parameters, inputs)


def sign_inputs(inputs: Sequence[dict], paths: Iterable[Path]) -> None:
    """Add checksums to inputs whose products tell none: DATAMD5 of the file, or else its SHA-256.

    Parameters
    ----------
    inputs : sequence of dict
        Of `Provenance`; those whose files are known get ``md5`` or ``sha256``.
    paths : iterable of Path
        The files, in the order of the set of frames.
    """
    known: dict[str, list[Path]] = {}
    for path in paths:
        known.setdefault(path.name, []).append(path)
    unsigned = []
    for item in inputs:
        item["sha256"] = None
        files = known.get(item["name"])
        if files:
            path = files.pop(0)
            if not item["md5"]:
                with FitsFile(path) as file:
                    item["md5"] = file.primary.header.get("DATAMD5")
            if not item["md5"]:
                unsigned.append((item, path))
    with ThreadPoolExecutor(_READERS) as pool:
        for (item, _), found in zip(unsigned, pool.map(_sha256, [path for _, path in unsigned]), strict=True):
            item["sha256"] = found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def recipe_number(header: Header) -> int:
    """Return the number of the last recipe in a header, 0 if there is none."""
    n = 0
    while f"ESO PRO REC{n + 1} ID" in header:
        n += 1
    return n


@dataclasses.dataclass(frozen=True)
class Run:
    """The products of a run.

    Attributes
    ----------
    name : str
        What to call it.
    products : list of ProductFile
        The products, by tag and name.
    """

    name: str
    products: list[ProductFile]

    def of(self, *tags: str) -> list[ProductFile]:
        """Return the products of some tags."""
        return [product for product in self.products if product.tag in tags]

    def first(self, *tags: str) -> ProductFile | None:
        """Return the first product of some tags, in the order of these."""
        return next((found for tag in tags for found in self.of(tag)), None)

    @functools.cached_property
    def main(self) -> ProductFile:
        """The product that stands for the run."""
        ranked = ("DATACUBE_FINAL", "OFFSET_LIST", "SKY_LINES", "SKY_SPECTRUM", "PIXTABLE_REDUCED")
        return self.first(*ranked) or self.products[0]

    @functools.cached_property
    def provenance(self) -> Provenance:
        """What the main product says about the run."""
        return Provenance.of(self.main.header)

    @property
    def recipe(self) -> str:
        """Name of the recipe."""
        return self.provenance.recipe


def _look_at(path: Path) -> ProductFile | None:
    """Return a product of one of the recipes; None for any other FITS file."""
    with FitsFile(path) as file:
        header = file.primary.header
    tag = header.get("ESO PRO CATG")
    recipe = str(header.get(f"ESO PRO REC{recipe_number(header)} ID", ""))
    return ProductFile(path, tag, header) if isinstance(tag, str) and recipe.startswith(RECIPES) else None


def find_run(places: Sequence[Path], name: str | None = None) -> Run:
    """Find the products in folders (not in folders inside them) and files.

    Raises
    ------
    InputError
        There is no product, or a file that was named is none.
    """
    found: list[ProductFile] = []
    for place in places:
        if place.is_dir():
            found += _products_in(place)
        elif not place.exists():
            raise MissingFileError(f"{place}: found nothing, expected a product or a folder of products")
        else:
            product = _look_at(place)
            if product is None:
                raise InputError(
                    f"{place}: found no product of {', '.join(RECIPES)}, expected one (PRO CATG, PRO RECi ID)"
                )
            found.append(product)
    if not found:
        where = ", ".join(map(str, places))
        raise InputError(f"{where}: found no products of {', '.join(RECIPES)}, expected some (*.fits)")
    return Run(name or _name_of(places), sorted(found, key=lambda product: (product.tag, str(product.path))))


def _products_in(folder: Path) -> Iterable[ProductFile]:
    for path in sorted(folder.glob("*.fits")):
        try:
            product = _look_at(path)
        except InputError as error:
            _LOG.warning("%s; left out", error)
            continue
        if product is not None:
            yield product


def _name_of(places: Sequence[Path]) -> str:
    place = places[0].resolve()
    return (place if place.is_dir() else place.parent).name or str(place)

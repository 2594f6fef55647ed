# SPDX-License-Identifier: GPL-2.0-or-later
"""What happens to the products of a recipe: signatures, names, folders, links, lists."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from muse_core.errors import MuseError
from muse_core.frontends.esorex import report
from muse_core.frontends.esorex.config import json_text

CANNOT_LIST, CANNOT_MOVE, CANNOT_LINK, FAILED = 8, 61, 62, 255


class ProductsError(Exception):
    """Products could not be put where they belong; the messages have been given.

    Attributes
    ----------
    status : int
        Exit status that the reference gives for it.
    """

    def __init__(self, status: int):
        super().__init__(status)
        self.status = status


def destination(settings: Callable[[str], object]):
    """Return where the products go, a `Destination`, by the options of the command.

    Raises
    ------
    ProductsError
        There is no such folder.
    """
    from muse_core.io.delivery import Destination
    from muse_core.io.folders import working_folder

    directory, prefix = str(settings("output-dir")), None
    try:
        current = str(working_folder())
    except MuseError as error:
        report.error(str(error))
        raise ProductsError(FAILED) from error
    in_place = os.path.samefile(directory, ".")
    if settings("suppress-prefix"):
        shown = "" if in_place else directory
    else:
        # a prefix may have folders in it
        shown, prefix = os.path.split(os.path.join(current if in_place else directory, settings("output-prefix")))
        if not os.path.isdir(shown):
            report.error(
                f"--output-prefix: found {settings('output-prefix')!r}, expected a prefix in a folder; {shown} is none"
            )
            raise ProductsError(CANNOT_MOVE)
    return Destination(
        Path(shown).absolute(),
        shown=shown,
        prefix=prefix,
        read_only=bool(settings("output-readonly")),
        links=None if settings("suppress-link") else Path(str(settings("link-dir"))),
        md5=not settings("no-datamd5"),
        checksum=not settings("no-checksum"),
    )


@contextlib.contextmanager
def taking_over(goal, recipe: str, inputs: Sequence[str]) -> Iterator:
    """Hold the folder of the products of a recipe that leaves them in the current one; yields a `Delivery`.

    Raises
    ------
    ProductsError
        They cannot have their places.
    """
    from muse_core.io.delivery import Delivery, PlaceError

    try:
        with Delivery(goal, recipe) as delivery:
            delivery.refuse_unusable(["product.fits"] if goal.prefix else [], inputs)
            yield delivery
    except PlaceError as error:
        raise refused(error, goal) from error
    except MuseError as error:
        report.error(str(error))
        raise ProductsError(FAILED) from error


def deliver(found: Sequence[tuple[str, str]], goal, delivery) -> list[tuple[str, str]]:
    """Sign, rename, move, protect and link products that a recipe left in the current folder.

    Parameters
    ----------
    found : sequence of (str, str)
        Path and tag of each.
    goal : Destination
        Where they go.
    delivery : Delivery
        What brings them there.

    Returns
    -------
    list of (str, str)
        Paths and tags in the end.

    Raises
    ------
    PlaceError
        They cannot have their places, and are still in the current folder.
    """
    from muse_core.io.delivery import is_same_name
    from muse_core.io.signature import ensure_signed

    for path, _ in found:
        try:
            ensure_signed(path, md5=goal.md5, checksum=goal.checksum)
        except OSError as error:
            report.error(f"could not update the product header of {path}: {error}")
    goal.md5 = goal.checksum = True  # as far as it can be
    places = delivery.commit([Path(path) for path, _ in found])
    for (path, _), place in zip(found, places, strict=True):
        if not is_same_name(Path(path), place):
            os.unlink(path)
    return [(goal.text(place.name), tag) for (_, tag), place in zip(found, places, strict=True)]


def tell(products: Sequence[tuple[str, str]], goal) -> None:
    """Say what has been delivered.

    Parameters
    ----------
    products : sequence of (str, str)
        Path and tag of each.
    goal : Destination
        Where they went.
    """
    in_place = not goal.shown
    for path, _ in products:
        if not in_place and path in goal.replaced:
            report.warning(f"Product final output path file already exists and will be overwritten ({path})")
        report.info(f"Created product {path}{' (in place)' if in_place else ''}")
        if goal.links is not None and (link := os.path.join(goal.links, os.path.basename(path))) in goal.replaced:
            report.warning(f"the link {link} already exists - will be overwritten!")
    report.info(f"{len(products)} product{'' if len(products) == 1 else 's'} created")


def refused(error, goal) -> ProductsError:
    """Say that products cannot have their places, for which there is a `PlaceError`; return what to raise then."""
    report.error(str(error))
    if error.is_link:
        path = goal.text(os.path.basename(error.place))
        report.error(f"Unable to create symbolic link for {path} in directory {goal.links}")
    else:
        report.error(f"Unable to move product file to final output path ({error.place})")
    report.info("0 products created")
    report.error("An error occurred while trying to move the output products")
    return ProductsError(CANNOT_LINK if error.is_link else CANNOT_MOVE)


def write_list(path: str, products: Sequence[tuple[str, str]], inputs: Sequence[str]) -> None:
    """Write the list of products, as set of frames or, for a name that ends in .json, as JSON.

    Raises
    ------
    ProductsError
        If the file cannot be written, or is a product or an input.
    """
    if path.endswith(".json"):
        text = json_text([{"name": name, "category": tag} for name, tag in products])
    else:
        text = "\n".join(f"{name}     {tag}" for name, tag in products)
    try:
        for other in (*(name for name, _ in products), *inputs):
            if os.path.exists(path) and os.path.exists(other) and os.path.samefile(path, other):
                raise FileExistsError(f"{path} is {other}")
        with open(path, "wb") as file:
            file.write(text.encode("utf-8", "surrogateescape"))
    except OSError as error:
        report.debug(str(error))
        report.error(f"Cannot create output sof file, status = {CANNOT_LIST}")
        raise ProductsError(CANNOT_LIST) from None

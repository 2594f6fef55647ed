# SPDX-License-Identifier: GPL-2.0-or-later
"""What happens to the products of a recipe: signatures, names, folders, links, lists."""

import errno
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from muse_core.cplapi import ui
from muse_core.frontends.esorex import report
from muse_core.frontends.esorex.config import json_text

CANNOT_LIST, CANNOT_MOVE = 8, 61


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


def sign(frames: Sequence[ui.Frame], *, md5: bool, checksum: bool) -> None:
    """Bring DATAMD5, CHECKSUM and DATASUM of the products into the state that is asked for.

    Products that are signed already (ours are, when they are written) are not written again.
    """
    if not frames:
        return
    if md5 or checksum:
        report.info("Calculating product checksums")
    from astropy.io import fits

    from muse_core.io.signature import sign_file

    for frame in frames:
        try:
            header = fits.getheader(frame.file)
            state = ("DATAMD5" in header and len(header["DATAMD5"]) == 32, "CHECKSUM" in header)
            if state != (md5, checksum):
                sign_file(frame.file, md5=md5, checksum=checksum)
        except OSError as error:
            report.error(f"could not update the product header of {frame.file}: {error}")


def deliver(frames: Sequence[ui.Frame], settings: Callable[[str], object]) -> list[tuple[str, str]]:
    """Rename, move, protect and link the products.

    Parameters
    ----------
    frames : sequence of Frame
        Products in the current folder.
    settings : callable
        Returns the value of an option of the command.

    Returns
    -------
    list of (str, str)
        Path and tag of each product.

    Raises
    ------
    ProductsError
        If a product cannot be moved; those before it stay where they have been put.
    """
    delivered: list[tuple[str, str]] = []
    failed = False
    for number, frame in enumerate(frames):
        path, in_place = _target(frame.file, number, settings)
        if not in_place:
            if os.path.lexists(path):
                report.warning(f"Product final output path file already exists and will be overwritten ({path})")
            try:
                _move(frame.file, path)
            except OSError as error:
                report.debug(str(error))
                report.error(f"Unable to move product file to final output path ({path})")
                failed = True
                break
        if settings("output-readonly"):
            os.chmod(path, 0o444)
        if not settings("suppress-link"):
            _link(path, Path(str(settings("link-dir"))))
        report.info(f"Created product {path}{' (in place)' if in_place else ''}")
        delivered.append((path, frame.tag))
    report.info(f"{len(delivered)} product{'' if len(delivered) == 1 else 's'} created")
    if failed:
        report.error("An error occurred while trying to move the output products")
        raise ProductsError(CANNOT_MOVE)
    return delivered


def _target(name: str, number: int, settings: Callable[[str], object]) -> tuple[str, bool]:
    """Return the final path of a product and whether it is there already."""
    directory = str(settings("output-dir"))
    if not settings("suppress-prefix"):
        name = f"{settings('output-prefix')}_{number:04d}{Path(name).suffix}"
        if directory == ".":
            return os.path.join(os.getcwd(), name), False
    elif directory == ".":
        return name, True
    return os.path.join(directory, name), False


def _move(source: str, target: str) -> None:
    """Move a file; across file systems nothing incomplete is ever seen under its final name."""
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        folder, name = os.path.split(target)
        partial = os.path.join(folder, f".{name}.part")
        try:
            shutil.copy2(source, partial)
            os.replace(partial, target)
        except OSError:
            Path(partial).unlink(missing_ok=True)
            raise
        os.unlink(source)


def _link(path: str, folder: Path) -> None:
    link = folder / Path(path).name
    try:
        link.unlink(missing_ok=True)
        link.symlink_to(path)
    except OSError as error:
        report.error(f"Unable to create the link {link}: {error.strerror}")


def write_list(path: str, products: Sequence[tuple[str, str]]) -> None:
    """Write the list of products, as set of frames or, for a name that ends in .json, as JSON.

    Raises
    ------
    ProductsError
        If the file cannot be written.
    """
    if path.endswith(".json"):
        text = json_text([{"name": name, "category": tag} for name, tag in products])
    else:
        text = "\n".join(f"{name}     {tag}" for name, tag in products)
    try:
        with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
    except OSError:
        report.error(f"Cannot create output sof file, status = {CANNOT_LIST}")
        raise ProductsError(CANNOT_LIST) from None

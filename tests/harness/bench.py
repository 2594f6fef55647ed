# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames, parameters and machines with which muse_scipost cannot work: what the user is told, and what is left behind.

Each run has to end with a non-zero status and a message that says where, what was found and what was expected. It may
leave nothing in the folder of the products, where an older product lies that must stay as it is.
"""

import os
import re
from pathlib import Path

import numpy as np
from astropy.io import fits

from harness.case import Frames
from muse_core.frontends.esorex import main

PIXTABLE = "PIXTABLE_OBJECT"
OLD_PRODUCT = b"a product of the day before"
FAILED, CANNOT_OPEN = 255, 9
#: What a message of an exception that nobody foresaw looks like.
UNFORESEEN = re.compile(r"Traceback|\b[A-Z]\w*(Error|Exception|Interrupt)\b")


class Bench:
    """A folder to run the command in, with an old product, and a folder for spoiled frames."""

    def __init__(self, folder, datasets, monkeypatch, capfd):
        self.products, self.inputs = folder / "products", folder / "inputs"
        self.products.mkdir()
        self.inputs.mkdir()
        (self.products / "DATACUBE_FINAL.fits").write_bytes(OLD_PRODUCT)
        self._datasets, self._monkeypatch, self._capfd = datasets, monkeypatch, capfd

    def frames(self, sof: str = "none", data: str = "small") -> Frames:
        """Return a set of frames."""
        return Frames(self._datasets[data].frames(sof), self.inputs)

    def arguments(self, frames: Frames, parameters) -> list[str]:
        """Return the command line."""
        parameters = list(parameters)
        if not any(p.startswith("--skymethod") for p in parameters):
            lines = any(tag == "LSF_PROFILE" for _, tag in frames.entries)
            parameters.insert(0, f"--skymethod={'model' if lines else 'none'}")
        return [f"--log-dir={self.inputs}", "muse_scipost", *parameters, str(frames.write())]

    def run(self, frames: Frames, *parameters: str) -> tuple[int, str]:
        """Run the command in this process; return its status and what it said."""
        self._monkeypatch.chdir(self.products)
        self._capfd.readouterr()
        status = main.main(self.arguments(frames, parameters), "muse-esorex")
        return status, "".join(self._capfd.readouterr())

    def fails(self, frames: Frames, *parameters: str, says: str, status: int = FAILED) -> None:
        """Run the command and check that it fails as it should, with a message that `says` (a pattern) finds."""
        found, output = self.run(frames, *parameters)
        self.check(found, output, says, status)

    def check(self, found: int, output: str, says: str, status: int = FAILED) -> None:
        """Check status, messages and what was left."""
        assert found == status, output
        errors = [line for line in output.splitlines() if "ERROR" in line]
        assert any(re.search(says, line) for line in errors), output
        assert not UNFORESEEN.search("\n".join(errors)), output
        self.is_untouched()

    def is_untouched(self) -> None:
        """Check that nothing was left and that the old product is what it was."""
        assert os.listdir(self.products) == ["DATACUBE_FINAL.fits"]
        assert (self.products / "DATACUBE_FINAL.fits").read_bytes() == OLD_PRODUCT


SOFS = {
    PIXTABLE: ("none", ()),
    "STD_RESPONSE": ("none", ()),
    "EXTINCT_TABLE": ("none", ()),
    "ASTROMETRY_WCS": ("none", ()),
    "FILTER_LIST": ("none", ("--filter=white,sim_7030",)),
    "OFFSET_LIST": ("offsets", ()),
    "OUTPUT_WCS": ("output_wcs", ()),
    "SKY_LINES": ("model", ()),
    "LSF_PROFILE": ("model", ()),
    "SKY_MASK": ("mask_pix", ()),
    "SKY_CONTINUUM": ("subtract", ("--skymethod=subtract-model",)),
    "AUTOCAL_FACTORS": ("autocal", ("--autocalib=user", "--skymethod=none")),
}


def edit(path: Path, change) -> None:
    """Apply `change` to the HDUs of a file."""
    with fits.open(path, memmap=False) as hdus:
        copy = fits.HDUList([hdu.copy() for hdu in hdus])
    change(copy)
    copy.writeto(path, overwrite=True)


def set_key(key: str, value, hdu: int = 0):
    """Return a change that sets a keyword, or removes it if `value` is None."""

    def change(hdus):
        if value is None:
            del hdus[hdu].header[key]
        else:
            hdus[hdu].header[key] = value

    return change


def column(name: str, make):
    """Return a change that replaces the data of an extension, or removes it if `make` returns None."""

    def change(hdus):
        index = next(i for i, hdu in enumerate(hdus) if hdu.header.get("EXTNAME") == name)
        data = make(hdus[index].data)
        if data is None:
            del hdus[index]
            return
        new = fits.ImageHDU(data)
        for key in ("EXTNAME", "BUNIT"):
            if key in hdus[index].header:
                new.header[key] = hdus[index].header[key]
        hdus[index] = new

    return change


def put(value, rows=slice(0, 3)):
    """Return a function that sets some values of a column."""

    def change(data):
        data[rows] = value
        return data

    return change


def table_column(name: str, make):
    """Return a change of a column of the first table: new values (of any type), or none to remove it."""

    def change(hdus):
        index = next(i for i, hdu in enumerate(hdus) if isinstance(hdu, fits.BinTableHDU))
        old = hdus[index]
        values = {c.name: np.asarray(old.data[c.name]) for c in old.columns}
        values[name] = make(values[name])
        forms = {"f": "D", "i": "J", "U": f"{values[name].dtype.itemsize // 4}A"} if values[name] is not None else {}
        columns = [
            fits.Column(
                c.name, c.format if c.name != name else forms[values[name].dtype.kind], c.unit, array=values[c.name]
            )
            for c in old.columns
            if values[c.name] is not None
        ]
        hdus[index] = fits.BinTableHDU.from_columns(columns)
        if "EXTNAME" in old.header:
            hdus[index].header["EXTNAME"] = old.header["EXTNAME"]

    return change

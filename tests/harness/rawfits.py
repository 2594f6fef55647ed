# SPDX-License-Identifier: GPL-2.0-or-later
"""FITS files as cards and bytes, to be spoiled or rewritten in ways that libraries do not allow."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from astropy.io import fits

BITPIX = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
LETTERS = {"D": ">f8", "E": ">f4", "J": ">i4", "I": ">i2", "K": ">i8", "B": "u1"}


class RawFile(list):
    """The HDUs of a file: lists of header and bytes of the data."""

    @classmethod
    def read(cls, path) -> "RawFile":
        """Read a file."""
        raw = Path(path).read_bytes()
        with fits.open(path, do_not_scale_image_data=True, memmap=False, disable_image_compression=True) as hdus:
            places = [(hdu.header.copy(), hdu.fileinfo()["datLoc"], hdu.size) for hdu in hdus]
        return cls([header, raw[begin : begin + size]] for header, begin, size in places)

    def write(self, path) -> Path:
        """Write a file."""
        with open(path, "wb") as file:
            for header, data in self:
                file.write(header.tostring().encode("latin-1") + data + b"\0" * (-len(data) % 2880))
        return Path(path)

    def number(self, extname: str) -> int:
        """Return the number of an extension."""
        return next(i for i, (header, _) in enumerate(self) if header.get("EXTNAME") == extname)

    def values(self, hdu: int) -> np.ndarray:
        """Return the elements of an image."""
        header, data = self[hdu]
        return np.frombuffer(data, BITPIX[header["BITPIX"]])

    def set_image(self, hdu: int, bitpix: int, scale: float | None = None, zero: float | None = None, values=None):
        """Store an image, or other `values`, as another type with other scaling, so that its numbers stay."""
        header, _ = self[hdu]
        values = (self.values(hdu) if values is None else np.asarray(values)).astype("f8")
        stored = (values - (zero or 0)) / (scale or 1)
        header["BITPIX"] = bitpix
        for key, value in (("BSCALE", scale), ("BZERO", zero)):
            if value is not None:
                header[key] = value
        self[hdu][1] = (np.rint(stored) if bitpix > 0 else stored).astype(BITPIX[bitpix]).tobytes()

    def rows(self, hdu: int) -> np.ndarray:
        """Return the rows of a table."""
        header, data = self[hdu]
        return np.frombuffer(data, _row(header))

    def set_column(self, hdu: int, name: str, letter: str, scale=None, zero=None, values=None):
        """Store a column, or other `values`, as another type with other scaling, so that its numbers stay."""
        header, _ = self[hdu]
        old = self.rows(hdu)
        number = old.dtype.names.index(name) + 1
        values = (old[name] if values is None else np.asarray(values)).astype("f8")
        stored = (values - (zero or 0)) / (scale or 1)
        header[f"TFORM{number}"] = re.sub("[A-Z]", letter, header[f"TFORM{number}"])
        for key, value in (("TSCAL", scale), ("TZERO", zero)):
            if value is not None:
                header[f"{key}{number}"] = value
        new = np.zeros(len(old), _row(header))
        for column in old.dtype.names:
            new[column] = old[column] if column != name else np.rint(stored) if letter in "BIJK" else stored
        header["NAXIS1"] = new.itemsize
        self[hdu][1] = new.tobytes()


def _row(header: fits.Header) -> np.dtype:
    fields = []
    for i in range(1, header["TFIELDS"] + 1):
        count, letter = re.fullmatch(r"(\d*)([A-Z])", header[f"TFORM{i}"].strip()).groups()
        count = int(count or 1)
        form = f"S{count}" if letter == "A" else LETTERS[letter]
        fields.append((header[f"TTYPE{i}"].strip(), form, (count,) if letter != "A" and count > 1 else ()))
    return np.dtype(fields)


def rewrite(path, change: Callable[[RawFile], None], target=None) -> Path:
    """Apply a change to a file; write it in its place or to `target`."""
    file = RawFile.read(path)
    change(file)
    return file.write(target or path)


def replace_card(path, key: str, text: str, hdu: int = 0) -> None:
    """Replace the first card of a keyword in a header by a text, whatever that is; an empty text removes the card."""
    file = RawFile.read(path)
    begin = sum(len(h.tostring()) + len(d) + -len(d) % 2880 for h, d in file[:hdu])
    raw = Path(path).read_bytes()
    names = (f"HIERARCH {key} ", f"HIERARCH {key}=", f"{key:<8}=") if len(key) <= 8 else (f"HIERARCH {key} ",)
    at = next(i for i in range(begin, len(raw), 80) if raw[i : i + 80].startswith(tuple(n.encode() for n in names)))
    Path(path).write_bytes(raw[:at] + text.encode("latin-1").ljust(80)[:80] + raw[at + 80 :])

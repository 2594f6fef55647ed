# SPDX-License-Identifier: GPL-2.0-or-later
"""FITS files of the simulator, written column by column without holding a file in memory.

Only what the simulator needs: primary header, images, binary tables. Big-endian data are streamed from lists of arrays.
"""

import hashlib
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from astropy.io import fits

_BLOCK = 2880
_BITPIX = {"f4": -32, "f8": -64, "i4": 32, "u1": 8}
_TFORM = {"f4": "1E", "f8": "1D", "i4": "1J"}


def set_cards(header: fits.Header, cards: Iterable[tuple]) -> fits.Header:
    """Append ``(keyword, value[, comment])`` cards; keywords that start with ``ESO`` become HIERARCH cards.

    Returns
    -------
    Header
        `header`.
    """
    for key, *rest in cards:
        header.append(("HIERARCH " + key if key.startswith("ESO ") else key, *rest), end=True)
    return header


def _header_bytes(header: fits.Header) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fits.verify.VerifyWarning)  # a comment that does not fit is cut
        return header.tostring().encode("ascii")


def _write_data(file, arrays: Iterable[np.ndarray], digest=None) -> None:
    size = 0
    for array in arrays:
        data = array.astype(array.dtype.newbyteorder(">"), copy=False).tobytes()
        file.write(data)
        if digest is not None:
            digest.update(data)
        size += len(data)
    padding = bytes(-size % _BLOCK)
    file.write(padding)
    if digest is not None:
        digest.update(padding)


def _image_header(shape: Sequence[int], dtype: np.dtype, cards: Iterable[tuple]) -> fits.Header:
    header = fits.Header([("XTENSION", "IMAGE", "Image extension"), ("BITPIX", _BITPIX[dtype.str[1:]])])
    header["NAXIS"] = len(shape)
    for i, n in enumerate(reversed(shape), 1):
        header[f"NAXIS{i}"] = n
    header["PCOUNT"] = 0
    header["GCOUNT"] = 1
    return set_cards(header, cards)


def _table_header(dtype: np.dtype, n: int, units: dict[str, str], cards: Iterable[tuple]) -> fits.Header:
    header = fits.Header([("XTENSION", "BINTABLE", "binary table extension"), ("BITPIX", 8), ("NAXIS", 2)])
    header["NAXIS1"] = dtype.itemsize
    header["NAXIS2"] = n
    header["PCOUNT"] = 0
    header["GCOUNT"] = 1
    header["TFIELDS"] = len(dtype.names)
    for i, name in enumerate(dtype.names, 1):
        field = dtype[name]
        base = field.base
        form = f"{base.itemsize}A" if base.kind == "S" else _TFORM[base.str[1:]]
        if field.shape:
            form = f"{field.shape[0]}{form[1:]}"
        header[f"TTYPE{i}"] = name
        header[f"TFORM{i}"] = form
        if name in units:
            header[f"TUNIT{i}"] = units[name]
    return set_cards(header, cards)


class FitsWriter:
    """Writes one file, HDU after HDU; to be used in a ``with`` statement.

    Parameters
    ----------
    path : Path
        Overwritten if it exists.
    cards : iterable of tuple
        Cards of the primary header, after the mandatory ones.
    image : ndarray, optional
        Image of the primary HDU.
    with_md5 : bool
        Write the keyword DATAMD5 of ESO's pipelines: MD5 of all data units with their padding.
    """

    def __init__(
        self, path: Path, cards: Iterable[tuple] = (), image: np.ndarray | None = None, with_md5: bool = False
    ):
        header = fits.Header([("SIMPLE", True), ("BITPIX", 8 if image is None else _BITPIX[image.dtype.str[1:]])])
        shape = () if image is None else image.shape
        header["NAXIS"] = len(shape)
        for i, n in enumerate(reversed(shape), 1):
            header[f"NAXIS{i}"] = n
        header["EXTEND"] = True
        set_cards(header, cards)
        self._digest = hashlib.md5() if with_md5 else None
        if with_md5:
            header["DATAMD5"] = ("0" * 32, "MD5 checksum")
        self._path, self._header = Path(path), header
        self._file = self._path.open("wb")
        self._file.write(_header_bytes(header))
        if image is not None:
            _write_data(self._file, [image], self._digest)

    def image(self, arrays: Sequence[np.ndarray], shape: Sequence[int], cards: Iterable[tuple]) -> None:
        """Append an image of `shape` (slowest axis first) whose data are the concatenated `arrays`."""
        self._file.write(_header_bytes(_image_header(shape, arrays[0].dtype, cards)))
        _write_data(self._file, arrays, self._digest)

    def table(
        self, arrays: Sequence[np.ndarray], cards: Iterable[tuple] = (), units: dict[str, str] | None = None
    ) -> None:
        """Append a binary table whose rows are the concatenated structured `arrays`."""
        big_endian = arrays[0].dtype.newbyteorder(">")
        n = sum(len(a) for a in arrays)
        self._file.write(_header_bytes(_table_header(big_endian, n, units or {}, cards)))
        _write_data(self._file, arrays, self._digest)

    def __enter__(self) -> "FitsWriter":
        return self

    def __exit__(self, kind, value, traceback) -> None:
        if kind is None and self._digest is not None:
            self._header["DATAMD5"] = (self._digest.hexdigest(), "MD5 checksum")
            self._file.seek(0)
            self._file.write(_header_bytes(self._header))
        self._file.close()

# SPDX-License-Identifier: GPL-2.0-or-later
"""Binary tables for our writer."""

from collections.abc import Sequence

import numpy as np

from muse_core.model.fits import Header

#: Name, format of FITS, unit or None, values.
TableColumn = tuple[str, str, str | None, np.ndarray]
#: Types by the letters of formats.
_DTYPES = {"L": "S1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}


def _dtype(form: str) -> np.dtype:
    repeat, letter = int(form[:-1]), form[-1]
    return np.dtype(f"S{repeat}" if letter == "A" else (_DTYPES[letter], (repeat,) if repeat > 1 else ()))


def _structure(row_bytes: int, n_rows: int, n_columns: int) -> Header:
    """Return the structural cards of a binary table, as astropy has them."""
    header = Header()
    header["XTENSION"] = ("BINTABLE", "binary table extension")
    header["BITPIX"] = (8, "array data type")
    header["NAXIS"] = (2, "number of array dimensions")
    header["NAXIS1"] = (row_bytes, "length of dimension 1")
    header["NAXIS2"] = (n_rows, "length of dimension 2")
    header["PCOUNT"] = (0, "number of group parameters")
    header["GCOUNT"] = (1, "number of groups")
    header["TFIELDS"] = (n_columns, "number of table fields")
    return header


def table_hdu(columns: Sequence[TableColumn], extname: str | None = None) -> tuple[Header, np.ndarray]:
    """Make a binary table for `FitsStreamWriter`.

    Parameters
    ----------
    columns : sequence of (name, FITS format, unit or None, values)
        The columns.
    extname : str, optional
        EXTNAME.

    Returns
    -------
    header : Header
        Header of the extension.
    data : ndarray of uint8
        The data unit as it lies in the file.
    """
    formats = [form if form[0].isdigit() else f"1{form}" for _, form, _, _ in columns]
    fields = [(name, _dtype(form)) for (name, _, _, _), form in zip(columns, formats, strict=True)]
    stored = np.zeros(len(columns[0][3]), fields)
    for name, form, _, values in columns:
        stored[name] = np.where(values, b"T", b"F") if form[-1] == "L" else values
    header = _structure(stored.dtype.itemsize, len(stored), len(columns))
    for i, ((name, _, unit, _), form) in enumerate(zip(columns, formats, strict=True), 1):
        header[f"TTYPE{i}"], header[f"TFORM{i}"] = name, form
        if unit:
            header[f"TUNIT{i}"] = unit
    if extname:
        header["EXTNAME"] = extname
    return header, stored.view(np.uint8)

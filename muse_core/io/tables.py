# SPDX-License-Identifier: GPL-2.0-or-later
"""Binary tables for our writer."""

from collections.abc import Sequence

import numpy as np
from astropy.io import fits

#: Name, format of FITS, unit or None, values.
TableColumn = tuple[str, str, str | None, np.ndarray]


def table_hdu(columns: Sequence[TableColumn], extname: str | None = None) -> tuple[fits.Header, np.ndarray]:
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
    hdu = fits.BinTableHDU.from_columns(
        [
            fits.Column(name=name, format=form if form[0].isdigit() else f"1{form}", unit=unit, array=values)
            for name, form, unit, values in columns
        ]
    )
    if extname:
        hdu.header["EXTNAME"] = extname
    stored = np.asarray(hdu.data)
    stored = stored.astype(stored.dtype.newbyteorder(">"))
    return hdu.header, np.frombuffer(stored.tobytes(), np.uint8)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Headers of Euro3D files: the table of spectra, the table of groups, and the keywords that say so."""

from collections.abc import Iterable, Mapping

import numpy as np

from muse_core.io.cube import extension_header
from muse_core.model import units
from muse_core.model.cards import card, set_card
from muse_core.model.fits import Card, Header

#: Keywords of the primary header. The data are marked as not corrected for dispersion even if they are, as ESO does.
CARDS = (
    card("EURO3D", "T", "file conforms to Euro3D standard"),
    card("E3D_VERS", "1.0", "version number of the Euro3D format"),
    card("E3D_ADC", "F", "data not corrected for atmospheric dispersion"),
)
_LETTER = {"i4": "J", "f4": "E", "f8": "D", "S1": "A"}
_LOGICAL = "SELECTED"
_GROUP_UNITS = {
    "G_SIZE1": "arcsec",
    "G_ANGLE": "deg",
    "G_SIZE2": "arcsec",
    "G_POSWAV": units.ANGSTROM,
    "G_PARANG": "deg",
    "G_PRESSU": "hPa",
    "G_TEMPER": "K",
}
_AXIS = (("CTYPES", "CTYPE3"), ("CUNITS", "CUNIT3"), ("CRVALS", "CRVAL3"), ("CDELTS", "CD3_3"))


def _table_header(row: np.dtype, n_rows: int, unit: Mapping[str, str], extname: str, comment: str) -> Header:
    names = row.names or ()
    header = Header()
    header["XTENSION"] = ("BINTABLE", "binary table extension")
    header["BITPIX"] = (8, "8-bit bytes")
    header["NAXIS"] = (2, "2-dimensional binary table")
    header["NAXIS1"] = (row.itemsize, "width of table in bytes")
    header["NAXIS2"] = (n_rows, "number of rows in table")
    header["PCOUNT"] = (0, "size of special data area")
    header["GCOUNT"] = (1, "one data group (required keyword)")
    header["TFIELDS"] = (len(names), "number of fields in each row")
    for i, name in enumerate(names, 1):
        base, shape = row[name].base, row[name].shape
        letter = "L" if name == _LOGICAL else _LETTER[base.str[1:]]
        header[f"TTYPE{i}"] = name
        header[f"TFORM{i}"] = f"{shape[0] if shape else 1}{letter}"
        if name in unit:
            header[f"TUNIT{i}"] = unit[name]
    header["EXTNAME"] = (extname, comment)
    return header


def spectra_header(
    row: np.dtype,
    n_rows: int,
    wcs: Iterable[Card],
    *,
    position_unit: str,
    data_unit: str,
    stat_unit: str,
    has_unused_elements: bool,
) -> Header:
    """Make the header of the table of spectra.

    Parameters
    ----------
    row : dtype
        Of a row.
    n_rows : int
        Number of rows.
    wcs : iterable of Card
        World coordinates of the cube.
    position_unit, data_unit, stat_unit : str
        Units of the pixel table.
    has_unused_elements : bool
        Is a spectrum shorter than its array?
    """
    unit = {
        "SPEC_LEN": "pixel",
        "SPEC_STA": "pixel",
        "XPOS": position_unit,
        "YPOS": position_unit,
        "DATA_SPE": data_unit,
        "STAT_SPE": stat_unit,
    }
    header = _table_header(row, n_rows, unit, "E3D_DATA", "This is the Euro3D data table extension")
    if has_unused_elements:
        header[f"TNULL{list(row.names or ()).index('QUAL_SPE') + 1}"] = 0
    values = {item.keyword: item.value for item in wcs}
    for key, source in _AXIS:
        set_card(header, key, values[source])
    return header


def group_header(row: np.dtype) -> Header:
    """Make the header of the table of groups, of one row."""
    return _table_header(row, 1, _GROUP_UNITS, "E3D_GRP", "This is the Euro3D group table extension")


def image_headers(
    name: str,
    shape: tuple[int, int],
    wcs: Iterable[Card],
    own: Iterable[Card],
    *,
    unit: str,
    object_name: str | None,
) -> list[Header]:
    """Make the headers of an image in the same file and of its flags.

    Parameters
    ----------
    name : str
        Filter.
    shape : tuple of int
        (ny, nx).
    wcs : iterable of Card
        World coordinates of two axes.
    own : iterable of Card
        Keywords of the filter.
    unit : str
        Unit of the image.
    object_name : str, optional
        OBJECT of the exposure.
    """
    wcs, own, flags = list(wcs), list(own), f"{name}_DQ"
    image = extension_header(
        "DATA",
        shape,
        wcs,
        unit=unit or None,
        extname=name,
        content="reconstructed image (data values)",
        partners=[("DQ", flags)],
        object_name=object_name and f"{object_name} ({name})",
    )
    mask = extension_header(
        "DQ",
        shape,
        wcs,
        extname=flags,
        content="reconstructed image (bad pixel status values)",
        partners=[("DATA", name)],
        object_name=object_name and f"{object_name} ({name}, DQ)",
    )
    for header in (image, mask):
        header.extend(own)
    return [image, mask]

# SPDX-License-Identifier: GPL-2.0-or-later
"""Bit layout of the ``origin`` column: where on which CCD a row was measured.

``origin = (x - offset) << 24 | y << 11 | ifu << 6 | slice``, with slice 1...48, IFU 1...24, y 1...4112 and
x - offset 0...127.
"""

import numpy as np
import numpy.typing as npt

N_IFU = 24
N_SLICE = 48
SLICE_BITS = 6
IFU_SHIFT = 6
IFU_MASK = 0x1F
SLICE_MASK = 0x3F
Y_SHIFT = 11
Y_MASK = 0x1FFF
X_SHIFT = 24
X_MASK = 0x7F
SLICE_KEY_MASK = 0x7FF  # IFU and slice together: groups the rows of one slice
FIRST_SLICE = 1 << IFU_SHIFT | 1  # slice 1 of IFU 1


def encode(
    x: npt.ArrayLike, y: npt.ArrayLike, ifu: npt.ArrayLike, slice_number: npt.ArrayLike, offset: npt.ArrayLike
) -> np.ndarray:
    """Encode CCD positions.

    Parameters
    ----------
    x, y : int or ndarray
        Position on the trimmed CCD, in pixels, from 1.
    ifu, slice_number : int or ndarray
        IFU 1...24 and slice 1...48.
    offset : int or ndarray
        Horizontal offset of the slice (keyword XOFFSET), in pixels.

    Returns
    -------
    ndarray of uint32
        The encoded origin.
    """
    x, y, ifu, slice_number, offset = (np.asarray(a, np.int64) for a in (x, y, ifu, slice_number, offset))
    value = ((x - offset) << X_SHIFT) | (y << Y_SHIFT) | (ifu << IFU_SHIFT) | slice_number
    return np.asarray(value, np.uint32)


def ifu_of(origin: npt.ArrayLike) -> np.ndarray:
    """IFU number of each row."""
    return (np.asarray(origin) >> IFU_SHIFT) & IFU_MASK


def slice_of(origin: npt.ArrayLike) -> np.ndarray:
    """Slice number (on the CCD) of each row."""
    return np.asarray(origin) & SLICE_MASK


def slice_key(origin: npt.ArrayLike) -> np.ndarray:
    """IFU and slice as one number, ascending in the order of the merged table."""
    return np.asarray(origin) & SLICE_KEY_MASK


def y_of(origin: npt.ArrayLike) -> np.ndarray:
    """Vertical CCD position of each row, in pixels from 1."""
    return (np.asarray(origin) >> Y_SHIFT) & Y_MASK


def x_of(origin: npt.ArrayLike, offset: npt.ArrayLike) -> np.ndarray:
    """Horizontal CCD position of each row, in pixels from 1, with the slice's offset."""
    x: np.ndarray = ((np.asarray(origin) >> X_SHIFT) & X_MASK) + np.asarray(offset)
    return x

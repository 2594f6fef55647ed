# SPDX-License-Identifier: GPL-2.0-or-later
"""Pixel tables in memory: rows, header, units."""

import numpy as np

from muse_core.model import units
from muse_core.model.fits import Header
from muse_core.model.record import record
from muse_core.model.rows import ROW


@record(frozen=False)
class FlatFieldSpectrum:
    """Flat-field spectrum of an IFU, or the smoothed average of an exposure.

    Attributes
    ----------
    lbda : ndarray of float64, shape (n,)
        Wavelength in Angstrom, ascending.
    data : ndarray of float64, shape (n,)
        Relative flux.
    unsmoothed : ndarray of float64, shape (n,), optional
        The average before smoothing.
    """

    lbda: np.ndarray
    data: np.ndarray
    unsmoothed: np.ndarray | None = None


@record(frozen=False)
class PixelTable:
    """A pixel table.

    Attributes
    ----------
    rows : ndarray of ROW, shape (n,)
        Rows in the order of the table.
    header : Header
        Primary header.
    position_unit : str
        ``pix`` (nominal spaxels from the field centre), ``rad`` (native spherical: longitude, latitude - pi/2) or
        ``deg`` (right ascension and declination minus CRVAL1 and CRVAL2 of the header). Decides the state of the table.
    data_unit, stat_unit : str
        Units of ``data`` and of its variance ``stat``.
    flat_field : FlatFieldSpectrum, optional
        Attached flat-field spectrum.
    weight : ndarray of float32, shape (n,), optional
        Weight of each row, in weighted combined tables.
    """

    rows: np.ndarray
    header: Header
    position_unit: str = units.PIX
    data_unit: str = units.COUNT
    stat_unit: str = units.COUNT_VARIANCE
    flat_field: FlatFieldSpectrum | None = None
    weight: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.rows.dtype != ROW:
            raise TypeError(f"rows: found {self.rows.dtype}, expected {ROW}")

    def __len__(self) -> int:
        return len(self.rows)

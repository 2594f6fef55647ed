# SPDX-License-Identifier: GPL-2.0-or-later
"""One-dimensional spectra of the sky: binned spectrum with variance, continuum, and how to interpolate them."""

import numpy as np

from muse_core.model.record import record


@record
class Spectrum:
    """A binned spectrum; bins without data are left out, so it need not be contiguous.

    Attributes
    ----------
    lbda : ndarray of float64, shape (n,)
        Wavelength in Angstrom (air), ascending.
    data : ndarray of float64, shape (n,)
        Mean value, in the unit of the pixel table.
    stat : ndarray of float64, shape (n,)
        Mean variance of the *pixels* in a bin (not the variance of the mean).
    count : ndarray of float64, shape (n,), optional
        Number of pixels in a bin; one between two bins counts in part in either.
    """

    lbda: np.ndarray
    data: np.ndarray
    stat: np.ndarray
    count: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.lbda)


@record
class Continuum:
    """A spectrum without variance that is subtracted from pixel tables.

    Attributes
    ----------
    lbda : ndarray of float64, shape (n,)
        Wavelength in Angstrom (air), ascending.
    flux : ndarray of float64, shape (n,)
        Value in the unit of the pixel table's ``data`` (whatever the unit keyword of a file says).
    """

    lbda: np.ndarray
    flux: np.ndarray

    def __len__(self) -> int:
        return len(self.lbda)

    @property
    def limits(self) -> tuple[float, float]:
        """Lowest and highest wavelength in Angstrom."""
        return float(np.min(self.lbda)), float(np.max(self.lbda))

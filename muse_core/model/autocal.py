# SPDX-License-Identifier: GPL-2.0-or-later
"""Factors of the slice autocalibration: one for each wavelength bin, IFU and slice."""

import numpy as np

from muse_core.model.origin import N_IFU, N_SLICE
from muse_core.model.record import record

_EDGES = (0, 5000, 5265, 5466, 5658, 5850, 6120, 6440, 6678, 6931, 7211, 7450, 7668, 7900, 8120, 8330, 8565, 8731, 9012,
          9275, 10000)  # fmt: skip
_INSIDE_NOTCH = 5850  # with the lasers on, one bin reaches from 5658 to 6120


def wavelength_edges(ao: bool) -> np.ndarray:
    """Limits of the wavelength bins in Angstrom: float32, shape (21,), or (20,) with adaptive optics (`ao`)."""
    return np.array([e for e in _EDGES if not (ao and e == _INSIDE_NOTCH)], np.float32)


@record
class AutocalFactors:
    """Factors of the slice autocalibration.

    Attributes
    ----------
    edges : ndarray of float32, shape (n_bin + 1,)
        Limits of the wavelength bins in Angstrom; bin b holds edges[b] <= lbda < edges[b + 1].
    corr : ndarray of float32, shape (n_bin, 24, 48)
        Factor of each bin, IFU and slice.
    npts : ndarray of int32, shape (n_bin, 24, 48), optional
        Selected rows of each bin, IFU and slice.
    corr_orig : ndarray of float32, shape (n_bin, 24, 48), optional
        Factor before the comparison with the neighbouring bins where that changed it, else NaN.
    """

    edges: np.ndarray
    corr: np.ndarray
    npts: np.ndarray | None = None
    corr_orig: np.ndarray | None = None

    def __post_init__(self) -> None:
        expected = (len(self.edges) - 1, N_IFU, N_SLICE)
        for name in ("corr", "npts", "corr_orig"):
            array = getattr(self, name)
            if array is not None and array.shape != expected:
                raise ValueError(f"{name}: found shape {array.shape}, expected {expected}")

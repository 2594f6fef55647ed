# SPDX-License-Identifier: GPL-2.0-or-later
"""Filter curves of field-of-view images."""

import numpy as np

from muse_core.errors import InputError
from muse_core.model.record import record

WHITE = "white"
_NEGLIGIBLE = 2.22e-16  # a plane with less throughput at an end of the range is left out


@record(eq=False)
class FilterCurve:
    """Throughput against wavelength, linear between its nodes and zero outside.

    Attributes
    ----------
    name : str
        As given by the user; EXTNAME in a FILTER_LIST.
    lbda : ndarray of float64, shape (n,)
        Wavelengths in Angstrom, ascending.
    throughput : ndarray of float64, shape (n,)
        Throughput.
    zp_vega, zp_ab : float, optional
        Zero points in magnitudes.
    """

    name: str
    lbda: np.ndarray
    throughput: np.ndarray
    zp_vega: float | None = None
    zp_ab: float | None = None

    def __post_init__(self) -> None:
        if len(self.lbda) < 2 or len(self.lbda) != len(self.throughput) or np.any(np.diff(self.lbda) < 0):
            raise InputError(
                f"filter {self.name!r}: found {len(self.lbda)} wavelengths and {len(self.throughput)} throughputs, "
                "expected at least two of each, with ascending wavelengths"
            )

    def __call__(self, lbda: np.ndarray) -> np.ndarray:
        """Return the throughput at wavelengths in Angstrom (float64)."""
        return np.asarray(np.interp(lbda, self.lbda, self.throughput, left=0.0, right=0.0))

    def plane_range(self, throughput: np.ndarray) -> tuple[int, int]:
        """Return the range of planes that an image uses, given the throughput in each plane of the cube.

        The range starts at the last of the leading planes without throughput, or at 0.
        """
        visible = np.flatnonzero(~(np.abs(throughput) < _NEGLIGIBLE))
        if visible.size == 0:
            return max(len(throughput) - 1, 0), len(throughput)
        return max(int(visible[0]) - 1, 0), int(visible[-1]) + 1

    def fraction(self, first: float, last: float) -> float:
        """Fraction of the filter between two wavelengths in Angstrom, summed in steps of 1 Angstrom."""
        lbda = np.arange(self.lbda[0], np.nextafter(self.lbda[-1], np.inf), 1.0)
        throughput = self(lbda)
        total = throughput.sum()
        inside = throughput[(lbda >= first) & (lbda <= last)].sum()
        return float(inside / total) if total else 0.0


def white() -> FilterCurve:
    """Return the built-in filter: throughput 1 between 4650 and 9300 Angstrom."""
    return FilterCurve(WHITE, np.array([4650 - 1e-5, 4650.0, 9300.0, 9300 + 1e-5]), np.array([0.0, 1.0, 1.0, 0.0]))

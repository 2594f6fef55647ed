# SPDX-License-Identifier: GPL-2.0-or-later
"""The sky spectrum: mean of the selected rows in bins of wavelength, from a table that comes in chunks.

Work is in two halves. `usable_samples` reduces a chunk to the few numbers that matter; chunks are independent and may
run in threads. `SpectrumAccumulator.add` sums the samples; it is called in the order of the table, so that the sums
are those of a single pass and do not depend on threads or chunks.
"""

import math

import numpy as np

from muse_core.cython_ext import sky_select as sky_select_kernels
from muse_core.errors import DataError
from muse_core.model.spectrum import Spectrum

#: Wavelength, value and variance of a row that counts.
SAMPLE_BYTES = 12


def usable_samples(rows: np.ndarray, selected: np.ndarray, flagged: np.ndarray | None = None) -> np.ndarray:
    """Return wavelength, value and variance of the rows that count for the sky spectrum.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n,)
        Rows of a chunk.
    selected : ndarray of uint8, shape (n,)
        Rows on sky.
    flagged : ndarray of int, optional
        Numbers of rows (in this chunk) that are bad for the sky spectrum only, such as cosmic rays found in the cube
        of the white-light image.

    Returns
    -------
    ndarray of float32, shape (m, 3)
        lbda in Angstrom, data, stat of the selected rows without quality flag and with finite data, in order.
    """
    if flagged is not None and len(flagged):
        selected = selected.copy()
        selected[flagged] = 0
    samples = np.empty((np.count_nonzero(selected), 3), np.float32)
    return samples[: sky_select_kernels.gather(rows, selected, samples)]


class SpectrumAccumulator:
    """Sums of a spectrum in bins of wavelength.

    Each sample is shared between the two bins around its wavelength.

    Parameters
    ----------
    llo, lhi : float
        Wavelength limits in Angstrom of the whole table, not only of its selected rows.
    width : float
        Width of the bins in Angstrom (``skymodel_sampling``).
    previous : Spectrum, optional
        Spectrum of an earlier pass with the same limits; samples above it are left out.
    sigma : float
        Samples are left out that are more than `sigma` times the square root of the mean variance above the brighter of
        the two bins of `previous` around them. 0 or less: none.

    Raises
    ------
    DataError
        If the limits make no sense.
    """

    def __init__(self, llo: float, lhi: float, width: float, previous: Spectrum | None = None, sigma: float = 0.0):
        if not (math.isfinite(llo) and math.isfinite(lhi) and llo <= lhi and width > 0):
            raise DataError(f"sky spectrum: limits {llo} to {lhi} Angstrom with bins of {width} Angstrom")
        self.llo = float(llo)
        self.width = float(width)
        self._sums = np.zeros((3, math.floor((lhi - llo) / width) + 2))
        self._upper = np.empty(0)
        if previous is not None and sigma > 0:
            self._upper = self._upper_limits(previous, sigma)

    def _lbda(self) -> np.ndarray:
        return np.arange(self._sums.shape[1]) * self.width + self.llo

    def _upper_limits(self, previous: Spectrum, sigma: float) -> np.ndarray:
        """Highest value allowed between each bin and the next."""
        brighter = np.arange(len(previous))
        brighter[:-1] += previous.data[:-1] < previous.data[1:]
        with np.errstate(invalid="ignore"):
            noise = np.sqrt(previous.stat[brighter])
        limits: np.ndarray = previous.data[brighter] + float(np.float32(sigma)) * noise
        at_or_below = np.searchsorted(previous.lbda, self._lbda(), side="right") - 1
        return np.take(limits, np.maximum(at_or_below, 0))

    def add(self, samples: np.ndarray) -> None:
        """Add samples (ndarray of float32, shape (m, 3), from `usable_samples`), in the order of the table."""
        sky_select_kernels.accumulate(samples, self.llo, self.width, self._upper, self._sums)

    def spectrum(self) -> Spectrum:
        """Return the mean spectrum, without empty bins.

        Raises
        ------
        DataError
            If no sample was added.
        """
        data, stat, weight = self._sums
        filled = weight > 0
        if not filled.any():
            raise DataError(
                "sky spectrum: no pixel left; is the sky mask empty (skymodel_fraction, skymodel_ignore, SKY_MASK), "
                "or every pixel flagged?"
            )
        weight = weight[filled]
        return Spectrum(self._lbda()[filled], data[filled] / weight, stat[filled] / weight, weight)

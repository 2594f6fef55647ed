# SPDX-License-Identifier: GPL-2.0-or-later
"""Flat-field spectra: average over the IFUs of an exposure, smoothing, and the factor that rows are corrected by."""

import enum
import logging
from collections.abc import Sequence

import numpy as np

from muse_core.cython_ext import calibrate_smooth as calibrate_smooth_kernels
from muse_core.errors import DataError
from muse_core.model.curves import interval_starts, segments
from muse_core.model.fits import Header
from muse_core.model.header import PIXTABLE, has
from muse_core.model.pixtable import FlatFieldSpectrum
from muse_core.model.record import record

_LOG = logging.getLogger(__name__)

CARD_CORRECTED = PIXTABLE + "FFCORR"
GRID_START, GRID_STEP, GRID_SIZE = 4150.0, 1.25, 4521  # Angstrom: 4150 to 9800
FIT_HALF_WIDTH = 120  # grid points: 150 Angstrom
MEAN_HALF_WIDTH = 12  # grid points: 15 Angstrom
REJECTION = 3.0  # of the rms
TRIM_MARGIN = 2.5  # Angstrom

#: Where the spectrum is smooth enough to be smoothed: ranges in Angstrom for each mode. Between the two ranges of the
#: AO modes is the notch filter.
_SMOOTHED = {
    "WFM-NOAO-N": ((4775.0, 9800.0),),
    "WFM-AO-N": ((4700.0, 5805.0), (5966.0, 9800.0)),
    "WFM-AO-E": ((4150.0, 5755.0), (6008.0, 9800.0)),
    "NFM-AO-N": ((4770.0, 9800.0),),
}
_SMOOTHED_ELSE = ((4150.0, 9800.0),)

#: Coefficients of one interval of wavelength, see `muse_core.cython_ext.calibrate`.
FACTOR = np.dtype([("intercept", np.float64), ("gradient", np.float64), ("outside", np.int64)])


class Mode(enum.IntFlag):
    """What to do with the factor; both: multiply, round to float32, divide."""

    NOTHING = 0
    MULTIPLY = 1
    DIVIDE = 2


def grid() -> np.ndarray:
    """Wavelengths of the common grid in Angstrom, float64, shape (4521,)."""
    return GRID_START + GRID_STEP * np.arange(GRID_SIZE)


def trim(spectrum: FlatFieldSpectrum, lambda_min: float, lambda_max: float) -> FlatFieldSpectrum:
    """Cut a spectrum to the wavelengths of the rows (Angstrom) and a margin of 2.5 Angstrom."""
    keep = (spectrum.lbda >= lambda_min - TRIM_MARGIN) & (spectrum.lbda <= lambda_max + TRIM_MARGIN)
    unsmoothed = None if spectrum.unsmoothed is None else spectrum.unsmoothed[keep]
    return FlatFieldSpectrum(spectrum.lbda[keep], spectrum.data[keep], unsmoothed)


def on_grid(spectrum: FlatFieldSpectrum) -> np.ndarray:
    """Interpolate the spectrum of one IFU on `grid`; NaN where the grid is not inside the spectrum."""
    lbda, data, x = spectrum.lbda, spectrum.data, grid()
    if len(lbda) < 2:
        return np.full(GRID_SIZE, np.nan)
    after = np.searchsorted(lbda, x)
    segment = np.clip(after - 1, 0, len(lbda) - 2)
    intercept, gradient = _lines(lbda, data, segment, segment + 1)
    inside = (x > lbda[0]) & (x <= lbda[-1])
    inside[0] |= x[0] == lbda[0]
    values = np.where(inside, intercept + gradient * x, np.nan)
    first = int(np.argmax(inside))
    if inside[first] and lbda[after[first]] == x[first]:  # only here the reference takes a node as it is
        values[first] = data[after[first]]
    return values


def average(spectra: Sequence[FlatFieldSpectrum], mode: str, n_threads: int = 1) -> FlatFieldSpectrum:
    """Average the flat-field spectra of all IFUs of an exposure, and smooth the average.

    Parameters
    ----------
    spectra : sequence of FlatFieldSpectrum
        Of the IFUs in their order.
    mode : str
        Instrument mode as `muse_core.model.header.instrument_mode` gives it.
    n_threads : int
        Threads.

    Returns
    -------
    FlatFieldSpectrum
        On those points of `grid` where all spectra exist.

    Raises
    ------
    DataError
        If the spectra have no wavelength in common.
    """
    total = on_grid(spectra[0])
    for spectrum in spectra[1:]:
        total = total + on_grid(spectrum)
    mean = total * (1 / len(spectra))  # not a division, whose last bit differs
    valid = np.isfinite(mean)
    if not valid.any():
        raise DataError(f"flat-field spectra: {len(spectra)} IFUs have no wavelength in common")
    return FlatFieldSpectrum(grid()[valid], smooth(mean, mode, n_threads)[valid], mean[valid])


def smooth(values: np.ndarray, mode: str, n_threads: int = 1) -> np.ndarray:
    """Smooth a spectrum on `grid`: local cubic polynomials within 150 Angstrom, then a mean over 15 Angstrom.

    Parameters
    ----------
    values : ndarray of float64, shape (4521,)
        Spectrum; NaN where it does not exist.
    mode : str
        Instrument mode; outside of its range of wavelengths the spectrum is not smoothed.
    n_threads : int
        Threads.

    Returns
    -------
    ndarray of float64, shape (4521,)
    """
    lbda, valid = grid(), np.isfinite(values)
    ranges = _SMOOTHED.get(mode, _SMOOTHED_ELSE)
    selections = [valid & (lbda >= low) & (lbda <= high) for low, high in ranges]
    symmetric = not selections[0].all()
    out = values.copy()
    for selected in map(np.flatnonzero, selections):
        for run in np.split(selected, np.flatnonzero(np.diff(selected) > 1) + 1):
            if len(run):
                # the reference never takes the first point of the grid into a mean to its right
                fitted = _local_polynomials(lbda[run], values[run], n_threads)
                out[run] = _running_mean(fitted, symmetric, int(run[0] == 0))
    return out


def _local_polynomials(lbda: np.ndarray, values: np.ndarray, n_threads: int) -> np.ndarray:
    """Replace each value by a cubic fit to its neighbours, with rejection of outliers until there are none."""
    out, shape = np.empty(len(values)), (n_threads, 2 * FIT_HALF_WIDTH + 1)
    used, residuals = np.empty(shape, np.uint8), np.empty(shape)
    calibrate_smooth_kernels.smooth_locally(lbda, values, FIT_HALF_WIDTH, REJECTION, used, residuals, out, n_threads)
    return out


def _running_mean(values: np.ndarray, symmetric: bool, skip: int) -> np.ndarray:
    """Mean over neighbours, as many on each side if `symmetric`; the first `skip` values are no left neighbours."""
    index = np.arange(len(values))
    left = np.clip(index - skip, 0, MEAN_HALF_WIDTH)
    right = np.minimum(index[::-1], MEAN_HALF_WIDTH)
    if symmetric:
        left = right = np.minimum(left, right)
    padded = np.pad(values, MEAN_HALF_WIDTH)
    mean, count = np.zeros((2, len(values)))
    for distance in range(-MEAN_HALF_WIDTH, MEAN_HALF_WIDTH + 1):
        # a running mean of one neighbour after the other, not their sum: its rounding shows in float32 data
        inside = (distance >= -left) & (distance <= right)
        count += inside
        neighbour = padded[MEAN_HALF_WIDTH + distance :][: len(values)]
        mean += np.where(inside, (neighbour - mean) / np.maximum(count, 1), 0)
    return mean


def _lines(lbda: np.ndarray, data: np.ndarray, index: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Intercept and gradient of segments of a curve; a segment of no length is constant."""
    step = np.where(other > index, lbda[other] - lbda[index], 1.0)
    gradient = (data[other] - data[index]) / step
    return data[index] - gradient * lbda[index], gradient


@record(eq=False)
class FlatFieldFactor:
    """Flat-field factor as the kernel takes it.

    Attributes
    ----------
    mode : Mode
        What to do with it.
    starts : ndarray of float64, shape (n + 1,)
        Ends of the intervals in Angstrom, from -inf to inf; shape (0,) for no factor.
    factors : ndarray of FACTOR, shape (n,)
        Coefficients for each interval.
    """

    mode: Mode
    starts: np.ndarray
    factors: np.ndarray

    @classmethod
    def none(cls) -> "FlatFieldFactor":
        """Return the factor that changes nothing."""
        return cls(Mode.NOTHING, np.empty(0), np.empty(0, FACTOR))

    @classmethod
    def of(cls, spectrum: FlatFieldSpectrum, mode: Mode = Mode.MULTIPLY) -> "FlatFieldFactor":
        """Return the factor of a smoothed spectrum: linear in between, nothing outside."""
        lbda = np.ascontiguousarray(spectrum.lbda, np.float64)
        starts = interval_starts(lbda)
        index, other, inside = segments(lbda, starts[:-1])
        factors = np.zeros(len(index), FACTOR)
        factors["intercept"], factors["gradient"] = _lines(lbda, spectrum.data, index, other)
        factors["outside"] = ~inside
        return cls(mode, starts, factors)


def must_revert(header: Header, response_flat_field_corrected: bool) -> bool:
    """Was the table corrected by a flat-field spectrum, but the response made without?"""
    return has(header, CARD_CORRECTED) and not response_flat_field_corrected


def write_reverted(header: Header) -> None:
    """Note that the correction was taken back."""
    header.remove(CARD_CORRECTED, ignore_missing=True)

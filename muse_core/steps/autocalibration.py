# SPDX-License-Identifier: GPL-2.0-or-later
"""Slice autocalibration: one factor for each slice and wavelength bin that levels the sky between slices.

It runs on data with sky, in pixel positions, before the sky subtraction. ``dq`` and ``stat`` play no role in the
statistics: flagged rows take part (with the lasers on also those of the notch filter), and are multiplied like all.
Not in here: the white-light image from which the mask of method ``deepfield`` is made, and the selection of rows by a
mask.

Method ``deepfield``: rows on the mask go to a `SliceStatistics`, IFU by IFU; its `~SliceStatistics.factors` are applied
to all rows by `apply_factors`. Method ``user``: `apply_factors` with factors that were read from a table.
"""

import logging
import math

import numpy as np

from muse_core.cython_ext import autocal as autocal_kernels
from muse_core.errors import DataError
from muse_core.model.autocal import AutocalFactors, wavelength_edges
from muse_core.model.fits import Header
from muse_core.model.header import PIXTABLE, get_string
from muse_core.model.origin import N_IFU, N_SLICE, X_MASK
from muse_core.steps.detect import dilated, eroded, median

_LOG = logging.getLogger(__name__)

KEYWORD = PIXTABLE + "AUTOCAL"
DEEPFIELD = "slice-median"
USER = "user"
_COMMENTS = {
    DEEPFIELD: "15.000 (autocalibration clipping limit)",
    USER: "used user table for slice autocalibration",
}

MASK_SIGMAS = 5.0  # half width of the sky's range of values, in median absolute deviations
OUTLIER_SIGMAS = 15.0  # a slice is compared to the others of its half with this limit
_HALVES = (slice(0, N_SLICE // 2), slice(N_SLICE // 2, N_SLICE))
_NSTOP = 20  # clipping of slices stops before fewer are left
_TRUSTED_SLICES = 16  # a half with fewer slices takes over the flux of one with more
_SMALLEST_JUMP = 0.03  # between neighbouring bins
_JUMP_OF_NEIGHBOURS = 3.0


def is_autocalibrated(header: Header) -> bool:
    """Whether the rows of a pixel table with this `header` carry factors already; then nothing is to be done."""
    return get_string(header, KEYWORD) in _COMMENTS


def autocalibrated_card(method: str) -> tuple[str, str, str]:
    """Keyword, value and comment that record the application of factors by `DEEPFIELD` or `USER`."""
    return KEYWORD, method, _COMMENTS[method]


def sky_limits(image: np.ndarray, dq: np.ndarray) -> tuple[float, float]:
    """Range of values of the sky in a white-light image: median -+ 5 median absolute deviations.

    Parameters
    ----------
    image : ndarray of float32, shape (ny, nx)
        White-light image.
    dq : ndarray of int32, shape (ny, nx)
        Its flags; only pixels with 0 count.

    Raises
    ------
    DataError
        If there is no such pixel.
    """
    good = image[(dq == 0) & ~np.isnan(image)]
    if good.size == 0:
        raise DataError("white-light image for the autocalibration: found no pixel with data, expected a field of view")
    middle = median(good)
    half_width = MASK_SIGMAS * median(np.abs(good - good.dtype.type(middle)))
    return middle - half_width, middle + half_width


def deepfield_mask(image: np.ndarray, dq: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Make the mask of the sky for method ``deepfield`` from a white-light image.

    Pixels outside `sky_limits`, and those without data, are objects. Objects are opened with a full 3 x 3 kernel and
    then dilated twice with it; each of these operations leaves the outermost pixels of the image as they were.

    Parameters
    ----------
    image : ndarray of float32, shape (ny, nx)
        White-light image.
    dq : ndarray of int32, shape (ny, nx)
        Its flags.

    Returns
    -------
    mask : ndarray of bool, shape (ny, nx)
        True on sky.
    low, high : float
        Limits of the sky's values (QC keywords LOWLIMIT and THRESHOLD).

    Raises
    ------
    DataError
        If no pixel of the image has data.
    """
    low, high = sky_limits(image, dq)
    objects = ~((image > low) & (image < high) & (dq == 0))
    for operation in (eroded, dilated, dilated, dilated):
        changed = operation(objects)
        objects[1:-1, 1:-1] = changed[1:-1, 1:-1]
    return ~objects, low, high


class SliceStatistics:
    """Collects the rows of an exposure, and computes the factors of method ``deepfield`` from them.

    Needs 35 MB, whatever the number of rows.

    Parameters
    ----------
    ao : bool
        Whether the lasers were on: 19 wavelength bins instead of 20.
    exclude_raman : float
        With `ao`: rows nearer than this to 6483.8 or 6826.5 Angstrom are not used; 0: all are.
    limits : tuple of float
        Wavelengths between which there are rows, in Angstrom: what lacks beyond is no reason for a warning.
    """

    def __init__(self, ao: bool, exclude_raman: float = 0.0, limits: tuple[float, float] = (0.0, math.inf)):
        self._limits = limits
        self._edges = wavelength_edges(ao)
        self._exclude_raman = exclude_raman if ao else 0.0
        shape = (N_IFU, N_SLICE, len(self._edges) - 1, X_MASK + 1)
        self._sums = np.zeros(shape, np.float64)
        self._counts = np.zeros(shape, np.int32)

    def add(self, rows: np.ndarray, selected: np.ndarray | None = None) -> None:
        """Add rows. Threads may add rows of different slices at the same time.

        Parameters
        ----------
        rows : ndarray of ROW, shape (n,)
            Rows; those with a wavelength outside 0...10000 Angstrom are ignored.
        selected : ndarray of uint8, shape (n,), optional
            Non-zero for rows on the sky; default: all rows.
        """
        autocal_kernels.add_columns(rows, selected, self._edges, self._exclude_raman, self._sums, self._counts)

    def factors(self) -> AutocalFactors:
        """Compute the factors.

        For each wavelength bin: the flux of a slice is the clipped mean of the means of its detector columns; its
        factor is the clipped mean of all slices' fluxes over that. A slice without flux takes that of its half of the
        IFU (slices 1...24 and 25...48). A factor more than 15 sigmas away from its half's mean is replaced by that of
        the half. Last, the bins of a slice are compared: a factor that differs from the mean of its neighbours by more
        than 0.03 and more than three times the neighbours' difference is replaced by that mean.

        Bins without rows keep the factor 1, and are compared to their neighbours all the same; so do slices with a flux
        <= 0 and factors that are not finite (with a warning).

        Returns
        -------
        AutocalFactors
            Of all 24 IFUs, whether they are there or not.

        Notes
        -----
        Agrees with ESO's recipe 2.8.7 bit by bit, but for the order of its sums of several threads (1 ulp of float32):
        tests/parity/test_autocalibration.py. ESO's recipe leaves infinite factors in place.
        """
        flux = np.empty((len(self._edges) - 1, N_IFU, N_SLICE), np.float32)
        npts = np.empty(flux.shape, np.int32)
        autocal_kernels.slice_fluxes(self._sums, self._counts, flux, npts)
        corr = np.ones(flux.shape, np.float32)
        empty = [b for b in range(len(flux)) if not _bin_factors(flux[b], npts[b], corr[b])]
        low, high = self._limits
        lacking = [b for b in empty if self._edges[b] <= high and low < self._edges[b + 1]]
        if lacking:
            ranges = ", ".join(f"{self._edges[b]:.0f}...{self._edges[b + 1]:.0f}" for b in lacking)
            _LOG.warning("Autocalibration: no slice with enough sky at %s Angstrom, factors of 1", ranges)
        bad = ~np.isfinite(corr)
        if bad.any():
            _LOG.warning("Autocalibration: %d factors are not finite, using 1", np.count_nonzero(bad))
            corr[bad] = 1.0
        corr_orig = _despike(corr)
        used = corr[npts > 0]
        if used.size:
            _LOG.info(
                "Autocalibration: factors from %.3f to %.3f (scatter %.3f) in %d of %d bins of wavelength; the "
                "data are in %d",
                *(used.min(), used.max(), np.std(used, dtype=np.float64), len(flux) - len(empty), len(flux)),
                len(flux) - len(empty) + len(lacking),
            )
        return AutocalFactors(self._edges, corr, npts, corr_orig)


def _clipped_mean(values: np.ndarray, nstop: int = _NSTOP, by_mad: bool = True) -> tuple[float, float]:
    values = np.ascontiguousarray(values)
    return autocal_kernels.clipped_mean(values, np.empty_like(values), nstop, by_mad)[:2]


def _bin_factors(flux: np.ndarray, npts: np.ndarray, corr: np.ndarray) -> bool:
    """Set the factors of one bin; all arrays of shape (24, 48), NaN in `flux` without a measured flux.

    Returns
    -------
    bool
        Whether any slice has one; else nothing is set.
    """
    measured = flux[~np.isnan(flux)]
    if measured.size == 0:
        return False
    reference = np.float32(_clipped_mean(measured, by_mad=False)[0])
    half_flux = np.zeros((N_IFU, 2), np.float32)
    for ifu in range(N_IFU):
        _fill_from_half(flux[ifu], half_flux[ifu])
    positive = flux > 0
    corr[positive] = reference / flux[positive]
    for ifu in range(N_IFU):
        filled = npts[ifu] != 0
        for half, part in enumerate(_HALVES):
            if filled[part].any():
                mean, spread = _clipped_mean(corr[ifu, part][filled[part]])
                outlier = np.abs(corr[ifu, part] - mean) > OUTLIER_SIGMAS * spread
                if outlier.any():
                    with np.errstate(divide="ignore", invalid="ignore"):
                        corr[ifu, part][outlier] = reference / half_flux[ifu, half]
    return True


def _fill_from_half(flux: np.ndarray, half_flux: np.ndarray) -> None:
    """Set the fluxes of both halves of an IFU, shape (2,), and give them to slices (48,) without a flux."""
    counts = [0, 0]
    for half, part in enumerate(_HALVES):
        good = flux[part][~np.isnan(flux[part])]
        counts[half] = good.size
        if good.size:
            half_flux[half] = _clipped_mean(good)[0]
    for half, other in ((0, 1), (1, 0)):
        if counts[half] < _TRUSTED_SLICES < counts[other]:
            half_flux[half] = half_flux[other]
    for half, part in enumerate(_HALVES):
        flux[part][np.isnan(flux[part])] = half_flux[half]


def _despike(corr: np.ndarray) -> np.ndarray:
    """Compare each bin of `corr`, shape (n_bin, ...), to its neighbours, in place; return replaced values, else NaN.

    Bins are treated in ascending order, so that the lower neighbour is a corrected one. The first and the last bin are
    compared to the two that follow or precede.
    """
    last = len(corr) - 1
    before = np.full_like(corr, np.nan)
    for b in range(len(corr)):
        low, high = {0: (1, 2), last: (last - 1, last - 2)}.get(b, (b - 1, b + 1))
        first, second = corr[low].astype(np.float64), corr[high].astype(np.float64)
        mean = ((first + second) / 2).astype(np.float32)
        limit = np.maximum(_SMALLEST_JUMP, _JUMP_OF_NEIGHBOURS * np.abs(first - second)).astype(np.float32)
        spike = np.abs(corr[b].astype(np.float64) - mean) > limit
        before[b][spike] = corr[b][spike]
        corr[b][spike] = mean[spike]
    return before


def apply_factors(rows: np.ndarray, factors: AutocalFactors) -> None:
    """Multiply ``data`` by the factor of each row and ``stat`` by its square, in place, whatever the flags.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n,)
        Rows in any order; those outside all wavelength bins stay as they are.
    factors : AutocalFactors
        Factors.
    """
    autocal_kernels.apply_factors(rows, factors.edges, factors.corr)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Check of the refraction correction on the objects in a cube, and its residual correction.

Brings together the centroids of the objects in each plane of a coarse cube (10 Angstrom a plane, in pixels) and fits
the shift of the field against wavelength. Not in here: the cube, which comes with its flags from the resampling.

Cosmic rays flagged while the cube was made, but also all those flagged before, are reset in the pixel table afterwards
(`reset_cosmic_rays`), whatever came out; that is what ESO's recipe does.
"""

import logging
import math

import numpy as np

from muse_core.cython_ext import darcheck as darcheck_kernels
from muse_core.errors import DataError
from muse_core.model.compat import OURS, Compat
from muse_core.model.dq import DQ
from muse_core.model.fits import Header
from muse_core.model.header import PIXTABLE, get_float, has, spaxel_size_arcsec
from muse_core.model.record import record
from muse_core.steps import gaussfit
from muse_core.steps.detect import centroids, detect_sources

_LOG = logging.getLogger(__name__)

DLAMBDA = 10.0  # Angstrom; step of the cube
PIXFRAC = 1.0
CRSIGMA = 7.0  # of cosmic-ray rejection "iraf" while the cube is made
SIGMAS = (50.0, 30.0, 10.0, 8.0, 6.0, 5.0)
_CARD_CORRECT = PIXTABLE + "DAR CORRECT"
_CARD_CHECK = PIXTABLE + "DAR CHECK"
_CARD_RESIDUAL = PIXTABLE + "DAR CORRECT RESIDUAL"
_MIN_PLANES = 3  # objects are looked for in the median of so many
_MIN_PIXELS = 7
_MAX_OFFSET = 5.0  # pixels between the first guess and the fit
_CLIP_SIGMA = 3.0
_SIGMA_PER_HALF_WIDTH = 1 / math.sqrt(2 * math.log(2))
_STAMPS_AT_A_TIME = 64  # 3 MB of derivatives with the larger stamps


@record
class _Setup:
    lbda_ref: float
    half_size: int
    order: int


@record
class ResidualShift:
    """Shift of the positions against wavelength that is left.

    Attributes
    ----------
    lbda_ref : float
        Wavelength without shift, in Angstrom.
    scale : float
        The polynomials' argument is (lbda - lbda_ref) / scale, in Angstrom.
    x, y : ndarray of float64, shape (order + 1,)
        Coefficients of what to add to the positions, in pixels, lowest power first.
    max_shift_arcsec : float
        The larger one of the ranges of both polynomials over all planes.
    n_objects : int
        Number of objects used.
    sigma : float
        Threshold at which they were found.
    lbda : ndarray of float64, shape (n_plane,)
        Wavelengths of the planes.
    offsets : ndarray of float64, shape (n_plane, 2)
        Measured mean offsets in x and y; NaN without any object.
    """

    lbda_ref: float
    scale: float
    x: np.ndarray
    y: np.ndarray
    max_shift_arcsec: float
    n_objects: int
    sigma: float
    lbda: np.ndarray
    offsets: np.ndarray

    def check_cards(self) -> list[tuple[str, float, str]]:
        """Keyword, value and comment for the pixel table that was checked."""
        return [(_CARD_CHECK, self.max_shift_arcsec, "[arcsec] maximum residual DAR offsets found")]

    def correction_cards(self, header: Header) -> list[tuple[str, float | np.float32, str]]:
        """Further ones after `correct`, from the header before its limits are computed anew."""
        cards: list[tuple[str, float | np.float32, str]] = [
            (_CARD_RESIDUAL, self.lbda_ref, "[Angstrom] ref. lambda for residual DAR correction")
        ]
        for axis in "XY":
            for end, name in (("LO", "LOW"), ("HI", "HIGH")):
                old, new = f"{PIXTABLE}LIMITS {axis} {name}", f"{PIXTABLE}PREDAR LIMITS {axis}{end}"
                if not has(header, new) and has(header, old):
                    cards.append((new, np.float32(get_float(header, old)), header.comments[old]))
        return cards

    def correct(self, rows: np.ndarray) -> None:
        """Shift the positions of `rows` (ndarray of ROW, in pix), in place."""
        darcheck_kernels.shift_positions(rows, self.lbda_ref, self.scale, self.x, self.y)


def reset_cosmic_rays(rows: np.ndarray) -> None:
    """Clear the cosmic-ray flag of all rows (ndarray of ROW), in place."""
    rows["dq"] &= ~np.int32(DQ.COSMIC_RAY)


def measure_shift(
    data: np.ndarray, dq: np.ndarray, stat: np.ndarray, lbda: np.ndarray, header: Header, compat: Compat = OURS
) -> ResidualShift:
    """Measure how positions drift with wavelength.

    Parameters
    ----------
    data : ndarray of float32, shape (n_plane, ny, nx)
        Cube in pixels of the nominal spaxel size, linear in wavelength.
    dq : ndarray of int32, shape (n_plane, ny, nx)
        Its flags; voxels with anything but 0 are not used.
    stat : ndarray of float32, shape (n_plane, ny, nx)
        Its variance.
    lbda : ndarray of float64, shape (n_plane,)
        Wavelengths of the planes in Angstrom.
    header : Header
        Header of the pixel table: mode, and what is known of its refraction correction.
    compat : Compat
        Where the fits end (``dar_fits_end_early``), and what too few planes give (``dar_of_few_planes_zero``).

    Returns
    -------
    ResidualShift
        The shift.

    Raises
    ------
    DataError
        The cube has less than 3 planes, there is no object in it, or too few planes in which one can be measured.

    Notes
    -----
    The centres are those of elliptical Gaussians, fitted to convergence; ESO's recipe ends its fits earlier.
    """
    if len(lbda) < _MIN_PLANES:
        raise DataError(f"DAR check: found {len(lbda)} planes of {DLAMBDA:g} Angstrom, expected at least {_MIN_PLANES}")
    setup = _set_up(lbda, header)
    reference = math.floor((setup.lbda_ref - lbda[0]) / (lbda[1] - lbda[0]) + 0.5)
    planes = slice(reference - 1, reference + 2)
    image, good = _median_of_planes(data[planes], dq[planes])
    labels, n_objects, sigma = detect_sources(image, SIGMAS, good)
    if n_objects == 0:
        raise DataError(
            f"DAR check: found no object at {sigma:g} sigma around {setup.lbda_ref:.1f} Angstrom, expected at least one"
        )
    positions = centroids(image, labels, n_objects)
    _LOG.info("DAR check: %d objects at %g sigma", n_objects, sigma)
    offsets = _plane_offsets(data, dq, stat, positions, setup, compat)
    scale = (lbda[-1] - lbda[0]) / 2
    t = (lbda - setup.lbda_ref) / scale
    fits = [_fit_polynomial(t, offsets[:, axis], setup.order, "xy"[axis], compat) for axis in (0, 1)]
    ranges = [np.ptp(np.polynomial.polynomial.polyval(t, fit)) for fit in fits]
    return ResidualShift(
        lbda_ref=setup.lbda_ref,
        scale=scale,
        x=fits[0],
        y=fits[1],
        max_shift_arcsec=max(r * size for r, size in zip(ranges, spaxel_size_arcsec(header), strict=True)),
        n_objects=n_objects,
        sigma=sigma,
        lbda=lbda,
        offsets=offsets,
    )


def _set_up(lbda: np.ndarray, header: Header) -> _Setup:
    """Reference wavelength, half size of the stamps and order of the polynomials: wide where nothing is corrected."""
    first, last = lbda[1], lbda[-2]
    middle = (first + last) / 2
    corrected, was_checked = has(header, _CARD_CORRECT), has(header, _CARD_RESIDUAL)
    half_size, order = 5, 2 if corrected or was_checked else 4
    lbda_ref = get_float(header, _CARD_CORRECT, -1.0)
    if lbda_ref < 0:
        lbda_ref = middle
        if not was_checked:
            half_size, order = 15, 4
            _LOG.warning("DAR check: the pixel table carries no DAR correction, looking for large shifts")
    if not first <= lbda_ref <= last:
        _LOG.warning("DAR check: no planes around %.1f Angstrom, using %.1f Angstrom as reference", lbda_ref, middle)
        lbda_ref = middle
    return _Setup(lbda_ref, half_size, order)


def _median_of_planes(data: np.ndarray, dq: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median of the good values of up to three planes, and where there are any.

    Returns
    -------
    image : ndarray of float32, shape (ny, nx)
        For an even number, the mean of the central two; arbitrary without a good value.
    good : ndarray of bool, shape (ny, nx)
        Whether there is one.
    """
    usable = dq == 0
    n = usable.sum(axis=0)
    ordered = np.sort(np.where(usable, data, np.float32(np.inf)), axis=0)
    low, high = (
        np.take_along_axis(ordered, k[None], axis=0)[0] for k in (np.maximum(n - 1, 0) // 2, n // 2 % len(data))
    )
    with np.errstate(invalid="ignore"):
        image = np.where(n % 2 == 1, low, (low + high) / 2)
    return image, n > 0


def _plane_offsets(
    data: np.ndarray, dq: np.ndarray, stat: np.ndarray, positions: np.ndarray, setup: _Setup, compat: Compat
) -> np.ndarray:
    """Mean of (reference position - position in the plane) over objects, shape (n_plane, 2); NaN without any."""
    n_planes = len(data)
    plane, which = (i.ravel() for i in np.indices((n_planes, len(positions))))
    offsets = np.concatenate(
        [
            _object_offsets(data, dq, stat, plane[block], positions[which[block]], setup, compat)
            for block in (slice(i, i + _STAMPS_AT_A_TIME) for i in range(0, len(plane), _STAMPS_AT_A_TIME))
        ]
    )
    measured = np.isfinite(offsets[:, 0])
    plane, offsets = plane[measured], offsets[measured]
    sums = np.stack([np.bincount(plane, offsets[:, axis], n_planes) for axis in (0, 1)], axis=1)
    with np.errstate(invalid="ignore"):
        return sums / np.bincount(plane, minlength=n_planes)[:, None]


def _object_offsets(
    data: np.ndarray,
    dq: np.ndarray,
    stat: np.ndarray,
    plane: np.ndarray,
    positions: np.ndarray,
    setup: _Setup,
    compat: Compat,
) -> np.ndarray:
    """Offsets of objects at `positions`, shape (n, 2), in planes (n,); NaN for those that cannot be measured."""
    offsets = np.full(positions.shape, np.nan)
    ny, nx = data.shape[1:]
    hx, hy = (n // 2 if 2 * setup.half_size > n else setup.half_size for n in (nx, ny))
    centre = np.floor(positions + 0.5).astype(np.intp)  # pixels from 1; positions are positive
    x = centre[:, 0, None, None] + np.arange(-hx, hx + 1)[None, None, :]
    y = centre[:, 1, None, None] + np.arange(-hy, hy + 1)[None, :, None]
    inside = (x >= 1) & (x <= nx) & (y >= 1) & (y <= ny)
    index = plane[:, None, None], np.clip(y - 1, 0, ny - 1), np.clip(x - 1, 0, nx - 1)
    values, variance = data[index].astype(np.float64), stat[index].astype(np.float64)
    good = inside & (dq[index] == 0) & (variance > 0) & np.isfinite(values)
    enough = good.sum(axis=(1, 2)) >= _MIN_PIXELS
    if not enough.any():
        return offsets
    values, good, inside, variance = values[enough], good[enough], inside[enough], variance[enough]
    values = np.where(good, values, 0.0)
    x, y = (np.broadcast_to(c[enough], values.shape) for c in (x, y))
    guess = np.stack([_marginal_centroid(values, good, inside, axis, c) for axis, c in ((1, x), (2, y))], axis=1)
    weights = np.divide(1.0, np.sqrt(variance), out=np.zeros_like(values), where=good)
    first = np.maximum(centre[enough] - (hx, hy), 1) - 1  # pixels are counted from the first one of the stamp
    x, y, guess = x - first[:, 0, None, None], y - first[:, 1, None, None], guess - first
    end: type[gaussfit.AtMinimum]
    if compat.dar_fits_end_early:
        start, end = _start_values_of_reference(values, good, x, guess, 2.0 * hx), gaussfit.Early
    else:
        start, end = _start_values(values, good, x, guess), gaussfit.AtMinimum
    flat = (len(values), -1)
    fits = gaussfit.fit_gaussians(
        values.reshape(flat), weights.reshape(flat), x.reshape(flat), y.reshape(flat).astype(float), start, end
    )
    found = fits.parameters[:, [gaussfit.X, gaussfit.Y]]
    accepted = fits.converged & (np.abs(found - guess) < _MAX_OFFSET).all(axis=1)
    offsets[np.flatnonzero(enough)[accepted]] = (positions[enough] - first - found)[accepted]
    return offsets


def _marginal_centroid(
    values: np.ndarray, good: np.ndarray, inside: np.ndarray, axis: int, coordinate: np.ndarray
) -> np.ndarray:
    """Centroid of stamps, shape (n, ny, nx), summed along an axis after their mean is subtracted; shape (n,).

    Columns (rows) with bad pixels are scaled up; those below zero, and those without a good pixel, are left out.
    """
    n_good = good.sum(axis=axis)
    mean = (values.sum(axis=(1, 2)) / good.sum(axis=(1, 2)))[:, None, None]
    profile = np.where(good, values - mean, 0.0).sum(axis=axis)
    profile = np.divide(profile * inside.sum(axis=axis), n_good, out=np.zeros_like(profile), where=n_good > 0)
    profile = np.maximum(profile, 0.0)
    where = np.take(coordinate, 0, axis=axis)
    total = profile.sum(axis=1)
    centre = where[:, where.shape[1] // 2].astype(float)
    centroid: np.ndarray = np.divide((profile * where).sum(axis=1), total, out=centre, where=total > 0)
    return centroid


def _start_values(values: np.ndarray, good: np.ndarray, x: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """First guesses of the Gaussians, shape (n, 7): median, half width along the row of the peak, no correlation."""
    n = len(values)
    background = np.nanmedian(np.where(good, values, np.nan).reshape(n, -1), axis=1)
    peaks = np.where(good, values, -np.inf).reshape(n, -1)
    at = peaks.argmax(axis=1)
    peak = peaks[np.arange(n), at] - background
    row = values[np.arange(n), at // values.shape[2]]
    distance = np.abs(x[:, 0, :] - x[np.arange(n), 0, at % values.shape[2]][:, None])
    below = row - background[:, None] < peak[:, None] / 2
    half_width = np.where(below & (distance > 0), distance, values.shape[2]).min(axis=1)
    sigma = np.maximum(half_width * _SIGMA_PER_HALF_WIDTH, 0.5)
    return _parameters(background, np.maximum(peak, 0), guess, sigma)


def _start_values_of_reference(
    values: np.ndarray, good: np.ndarray, x: np.ndarray, guess: np.ndarray, widest: float
) -> np.ndarray:
    """First guesses where ESO's recipe starts, shape (n, 7).

    The width is the distance of the centre from the first place in the row of the peak where the profile crosses half
    of it, about a pixel too large; `widest` without one. The peak is the minimum if the mean is below the median.
    """
    stamp, n = np.arange(len(values)), len(values)
    background = np.nanmedian(np.where(good, values, np.nan).reshape(n, -1), axis=1)
    sign = np.where(values.sum(axis=(1, 2)) / good.sum(axis=(1, 2)) < background, -1.0, 1.0)
    flat = np.where(good, values * sign[:, None, None], -np.inf).reshape(n, -1)
    line = flat.argmax(axis=1) // values.shape[2]
    peak = flat.max(axis=1) * sign - background
    above = (values[stamp, line] - background[:, None] - peak[:, None] / 2) * sign[:, None]
    usable = good[stamp, line]
    crosses = (above[:, 1:] * above[:, :-1] <= 0) & usable[:, 1:] & usable[:, :-1]
    at = crosses.argmax(axis=1)
    edge = x[stamp, 0, at] + np.where(above[stamp, at] < 0, -1, 1)
    sigma = np.where(crosses.any(axis=1), np.abs(guess[:, 0] - edge), widest)
    return _parameters(background, peak, guess, sigma)


def _parameters(background: np.ndarray, peak: np.ndarray, guess: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Parameters of round Gaussians, shape (n, 7)."""
    start = np.zeros((len(guess), gaussfit.N_PARAMETERS))
    start[:, gaussfit.BACKGROUND] = background
    start[:, gaussfit.VOLUME] = peak * 2 * np.pi * sigma**2
    start[:, gaussfit.X], start[:, gaussfit.Y] = guess.T
    start[:, gaussfit.SIGMA_X] = start[:, gaussfit.SIGMA_Y] = sigma
    return start


def _fit_polynomial(t: np.ndarray, offsets: np.ndarray, order: int, axis: str, compat: Compat) -> np.ndarray:
    """Coefficients of a polynomial through offsets, clipped at 3 sigma, with value 0 at t = 0; shape (order + 1,)."""
    good = np.isfinite(offsets)
    while True:
        if good.sum() <= order:
            if compat.dar_of_few_planes_zero:
                return np.zeros(order + 1)
            raise DataError(
                f"DAR check: found {good.sum()} planes with a position in {axis}, expected more than {order}"
            )
        fit = np.polynomial.polynomial.polyfit(t[good], offsets[good], order)
        residuals = np.abs(np.polynomial.polynomial.polyval(t, fit) - offsets)
        rms = np.sqrt((residuals[good] ** 2).mean())
        keep = good & (residuals < _CLIP_SIGMA * max(rms, np.finfo(float).tiny))
        if rms == 0 or keep.sum() == good.sum():
            fit[0] = 0.0
            return fit
        good = keep

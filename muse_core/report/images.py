# SPDX-License-Identifier: GPL-2.0-or-later
"""Images and cubes that are measured, and the sources in them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from astropy.wcs import WCS

from muse_core.errors import InputError
from muse_core.io.fitsreader import FitsFile, Hdu
from muse_core.model.fits import Header, as_astropy
from muse_core.model.record import record
from muse_core.model.statistics import FWHM_PER_SIGMA, SIGMA_PER_MAD
from muse_core.steps.gaussfit import (
    CORRELATION,
    N_PARAMETERS,
    SIGMA_X,
    SIGMA_Y,
    VOLUME,
    X,
    Y,
    fit_gaussians,
)

#: A source has so many pixels above so many times the noise of the smoothed image; of galaxies only the core counts.
_PIXELS, _SIGMAS = 9, 5.0
#: Width, in pixels, of the kernel with which an image is smoothed for the detection.
_SMOOTH_FWHM = 3.0
#: Of that many sources, the brightest, a width is fitted, in a box of that many pixels.
_FITTED, _BOX = 12, 15
#: Parts of a pixel along a side, in apertures.
_PARTS = 10
#: The background is clipped so often at most, at so many times its scatter.
_CLIPS, _CLIP_SIGMAS = 10, 3.0
_BIG_ENDIAN = np.dtype(">f4")


@record(eq=False)
class Sources:
    """Sources of an image, brightest first.

    Attributes
    ----------
    x, y : ndarray of float64, shape (n,)
        Pixels, from 0.
    flux : ndarray of float64, shape (n,)
        Sum of the values of its pixels above the background.
    fwhm : ndarray of float64, shape (n,)
        Width in pixels; NaN where it was not fitted or the fit makes no sense.
    mask : ndarray of bool, shape (ny, nx)
        Pixels of sources, with a rim.
    """

    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    fwhm: np.ndarray
    mask: np.ndarray

    def __len__(self) -> int:
        return len(self.x)


def read_image(path: Path) -> tuple[np.ndarray, Header]:
    """Return the image of a file (extension DATA, else the first), flagged pixels as NaN, and its header."""
    with FitsFile(path) as file:
        images = [hdu for hdu in file if hdu.is_image and len(hdu.shape) == 2 and hdu.name not in ("STAT", "DQ")]
        if not images:
            raise InputError(f"{path}: found no image of two dimensions, expected one")
        image, flags = min(images, key=lambda hdu: hdu.name != "DATA"), file.find("DQ")
        data = image.image().astype(np.float64)
        if flags is not None and flags.shape == data.shape:
            data[flags.image() != 0] = np.nan
        return data, image.header


def find_sources(image: np.ndarray) -> Sources:
    """Detect sources; pixels that are NaN do not take part."""
    from scipy import ndimage

    finite = np.isfinite(image)
    inner = ndimage.binary_erosion(finite, iterations=3)
    nothing = Sources(*(np.empty(0) for _ in range(4)), np.zeros(image.shape, bool))
    if finite.sum() < 100 or not inner.any():
        return nothing
    data = np.where(finite, image - clipped_median(image[finite]), 0.0)
    smooth = ndimage.gaussian_filter(data, _SMOOTH_FWHM / FWHM_PER_SIGMA, radius=3)
    noise = SIGMA_PER_MAD * np.median(np.abs(smooth[inner] - np.median(smooth[inner])))
    labels, _ = ndimage.label(inner & (smooth > _SIGMAS * noise), np.ones((3, 3)))
    sizes = np.bincount(labels.ravel())
    numbers = np.flatnonzero(sizes[1:] >= _PIXELS) + 1
    flux = np.atleast_1d(ndimage.sum_labels(data, labels, numbers))
    numbers, flux = numbers[flux > 0], flux[flux > 0]
    if not len(numbers):
        return nothing
    order = np.argsort(-flux)
    y, x = np.array(ndimage.center_of_mass(np.maximum(data, 0.0), labels, numbers[order])).T
    fwhm = np.full(len(x), np.nan)
    fwhm[:_FITTED] = fit_widths(data, x[:_FITTED], y[:_FITTED], ~finite)
    mask = ndimage.binary_dilation(np.isin(labels, numbers), iterations=4)
    return Sources(x, y, flux[order], fwhm, mask)


def clipped_median(values: np.ndarray) -> float:
    """Return the median of values after clipping at three times their scatter."""
    for _ in range(_CLIPS):
        middle = np.median(values)
        kept = values[np.abs(values - middle) <= _CLIP_SIGMAS * values.std()]
        if len(kept) == len(values):
            break
        values = kept
    return float(np.median(values))


def fit_widths(data: np.ndarray, x: np.ndarray, y: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Fit the full width at half maximum of sources, in pixels; `data` without background. NaN where that fails."""
    widths = np.full(len(x), np.nan)
    half = _BOX // 2
    offset_y, offset_x = (part.ravel().astype(float) for part in np.mgrid[-half : half + 1, -half : half + 1])
    rows, columns = (np.rint(place).astype(int) for place in (y, x))
    cuts, numbers = [], []
    for i, (row, column) in enumerate(zip(rows, columns, strict=True)):
        box = np.s_[max(row - half, 0) : row + half + 1, max(column - half, 0) : column + half + 1]
        cut = data[box]
        if cut.shape == (_BOX, _BOX) and not mask[box].any():
            cuts.append((cut - np.median(np.r_[cut[0], cut[-1], cut[:, 0], cut[:, -1]])).ravel())
            numbers.append(i)
    if not cuts:
        return widths
    values, n = np.array(cuts), len(cuts)
    start = np.zeros((n, N_PARAMETERS))
    start[:, VOLUME] = np.maximum(values.sum(axis=1), values.max(axis=1))
    start[:, X], start[:, Y] = (x - columns)[numbers], (y - rows)[numbers]
    start[:, SIGMA_X] = start[:, SIGMA_Y] = _SMOOTH_FWHM / FWHM_PER_SIGMA
    places = (np.broadcast_to(offset, values.shape) for offset in (offset_x, offset_y))
    fits = fit_gaussians(values, np.ones_like(values), *places, start)
    correlation = fits.parameters[:, CORRELATION]
    product = fits.parameters[:, SIGMA_X] * fits.parameters[:, SIGMA_Y] * np.sqrt(np.maximum(1 - correlation**2, 0))
    found = FWHM_PER_SIGMA * np.sqrt(np.maximum(product, 0))
    good = fits.converged & (found > 0.5) & (found < _BOX)
    widths[np.array(numbers)[good]] = found[good]
    return widths


@record(eq=False)
class Apertures:
    """Circular apertures in an image.

    Attributes
    ----------
    rows, columns : ndarray of int64, shape (n, k, k)
        Pixels of each.
    weights : ndarray of float64, shape (n, k, k)
        Part of each pixel that is in the circle; NaN if the aperture is not in the image as a whole.
    """

    rows: np.ndarray
    columns: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, shape: tuple[int, int], x: np.ndarray, y: np.ndarray, radius: float) -> "Apertures":
        """Set up apertures around places in an image of that shape; all in pixels, from 0."""
        half = int(np.ceil(radius + 0.5))
        offset = np.arange(-half, half + 1)
        fine = (np.arange(_PARTS * len(offset)) + 0.5) / _PARTS - half - 0.5
        centres = [np.rint(place).astype(int) for place in (y, x)]
        apart = [fine - (place - centre)[:, None] for place, centre in zip((y, x), centres, strict=True)]
        inside = apart[0][:, :, None] ** 2 + apart[1][:, None, :] ** 2 < radius**2
        k = len(offset)
        weights = inside.reshape(-1, k, _PARTS, k, _PARTS).mean(axis=(2, 4))
        rows = np.broadcast_to(centres[0][:, None, None] + offset[:, None], weights.shape)
        columns = np.broadcast_to(centres[1][:, None, None] + offset, weights.shape)
        beyond = (rows < 0) | (rows >= shape[0]) | (columns < 0) | (columns >= shape[1])
        weights[(beyond & (weights > 0)).any(axis=(1, 2))] = np.nan
        return cls(rows.clip(0, shape[0] - 1), columns.clip(0, shape[1] - 1), weights)

    def sums(self, image: np.ndarray) -> np.ndarray:
        """Return the sum of an image in each aperture; NaN if a pixel is missing there, or outside."""
        values = image[self.rows, self.columns]
        return np.where(self.weights == 0, 0.0, values * self.weights).sum(axis=(1, 2))


class Cube:
    """A cube on disk, read plane by plane.

    Attributes
    ----------
    lbda : ndarray of float64, shape (nz,)
        Wavelengths in Angstrom.
    shape : tuple of int
        nz, ny, nx.
    wcs : WCS, optional
        Of the spaxels, if they are on the sky.
    step_arcsec : float
        Size of a spaxel; NaN if it is not on the sky.
    """

    def __init__(self, path: Path):
        self._file = FitsFile(path)
        self.path = path
        data = self._file.find("DATA")
        if data is None or len(data.shape) != 3:
            raise InputError(f"{path}: found no extension DATA of three dimensions, expected a cube")
        stat = self._file.find("STAT")
        self._data, self._stat = data, stat if stat is not None and stat.shape == data.shape else None
        for hdu in (data, stat):
            if hdu is not None:
                hdu.require_complete()
        self.shape = data.shape
        header = self.header = data.header
        step = header.get("CD3_3", header.get("CDELT3", 1.0))
        self.lbda = header.get("CRVAL3", 1.0) + (np.arange(self.shape[0]) + 1 - header.get("CRPIX3", 1.0)) * step
        if header.get("CTYPE3", "").startswith("AWAV-LOG"):
            crval = header["CRVAL3"]
            self.lbda = crval * np.exp((self.lbda - crval) / crval)
        self.wcs = celestial(header)
        self.step_arcsec = np.nan if self.wcs is None else pixel_arcsec(self.wcs)
        self.unit = header.get("BUNIT", "")

    @property
    def has_stat(self) -> bool:
        """Is there a variance?"""
        return self._stat is not None

    def _plane(self, hdu: Hdu, number: int) -> np.ndarray:
        _, ny, nx = self.shape
        if hdu.bitpix != -32:
            raise hdu.error(f"keyword BITPIX: found {hdu.bitpix}, expected -32")
        raw = self._file.read(hdu.data_begin + number * 4 * ny * nx, 4 * ny * nx)
        return np.frombuffer(raw, _BIG_ENDIAN).astype(np.float32).reshape(ny, nx)

    def plane(self, number: int) -> np.ndarray:
        """Return a plane; ndarray of float32, shape (ny, nx)."""
        return self._plane(self._data, number)

    def variance(self, number: int) -> np.ndarray:
        """Return the variance of a plane."""
        return self._plane(self._stat, number)

    def planes(self) -> Iterator[tuple[int, np.ndarray]]:
        """Go over all planes."""
        for number in range(self.shape[0]):
            yield number, self.plane(number)


def celestial(header: Header) -> WCS | None:
    """Return the world coordinates of the spaxels of an image or cube; None if they are not on the sky."""
    if not str(header.get("CTYPE1", "")).startswith("RA"):
        return None
    plain = Header()
    keys = [f"{name}{i}" for name in ("CTYPE", "CUNIT", "CRPIX", "CRVAL", "CDELT") for i in (1, 2)]
    for key in [*keys, "CD1_1", "CD1_2", "CD2_1", "CD2_2"]:
        if key in header:
            plain[key] = header[key]
    return WCS(as_astropy(plain))


def pixel_arcsec(wcs: WCS) -> float:
    """Return the size of a pixel."""
    return float(np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix))) * 3600)

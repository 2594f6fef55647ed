# SPDX-License-Identifier: GPL-2.0-or-later
"""Images and cubes that are measured, and the sources in them."""

import dataclasses
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from astropy.io.fits import Header
from astropy.stats import mad_std, sigma_clipped_stats
from astropy.wcs import WCS

from muse_core.errors import InputError
from muse_core.io.fitsreader import FitsFile, Hdu

#: A source has so many pixels above so many times the noise of the smoothed image; of galaxies only the core counts.
_PIXELS, _SIGMAS = 9, 5.0
#: Width, in pixels, of the kernel with which an image is smoothed for the detection.
_SMOOTH_FWHM = 3.0
#: Of that many sources, the brightest, a width is fitted, in a box of that many pixels.
_FITTED, _BOX = 12, 15
_BIG_ENDIAN = np.dtype(">f4")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
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


def find_sources(image: np.ndarray, *, fit: bool = True) -> Sources:
    """Detect sources with photutils; pixels that are NaN do not take part."""
    from photutils.segmentation import SourceCatalog, detect_sources, make_2dgaussian_kernel
    from scipy.ndimage import binary_dilation, binary_erosion, convolve

    finite = np.isfinite(image)
    nothing = Sources(*(np.empty(0) for _ in range(4)), np.zeros(image.shape, bool))
    if finite.sum() < 100:
        return nothing
    _, median, _ = sigma_clipped_stats(image, mask=~finite, sigma=3.0, maxiters=10)
    data = np.where(finite, image - median, 0.0)
    kernel = make_2dgaussian_kernel(_SMOOTH_FWHM, 7).array
    smooth = convolve(data, kernel, mode="nearest")
    inner = binary_erosion(finite, iterations=3, border_value=0)
    if not inner.any():
        return nothing
    noise = mad_std(smooth[inner])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # there may be none, and fits may fail
        found = detect_sources(smooth, _SIGMAS * noise, _PIXELS, mask=~inner)
        if found is None:
            return nothing
        catalog = SourceCatalog(data, found, mask=~finite)
        x, y = np.atleast_2d(catalog.centroid).T
        flux = np.atleast_1d(catalog.segment_flux)
        order = np.argsort(-flux)
        x, y, flux = x[order], y[order], flux[order]
        fwhm = np.full(len(x), np.nan)
        if fit:
            fwhm[:_FITTED] = fit_widths(data, x[:_FITTED], y[:_FITTED], ~finite)
    return Sources(x, y, flux, fwhm, binary_dilation(found.data > 0, iterations=4))


def fit_widths(data: np.ndarray, x: np.ndarray, y: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Fit the full width at half maximum of sources, in pixels; `data` without background. NaN where that fails."""
    from photutils.psf import fit_fwhm

    widths = np.full(len(x), np.nan)
    half = _BOX // 2
    ny, nx = data.shape
    for i, place in enumerate(zip(x, y, strict=True)):
        column, row = (int(round(value)) for value in place)
        box = np.s_[max(row - half, 0) : row + half + 1, max(column - half, 0) : column + half + 1]
        cut = data[box].copy()
        if cut.shape != (_BOX, _BOX) or mask[box].any():
            continue
        cut -= np.median(np.r_[cut[0], cut[-1], cut[:, 0], cut[:, -1]])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                width = float(
                    fit_fwhm(cut, xypos=[(half + place[0] - column, half + place[1] - row)], fit_shape=_BOX)[0]
                )
            except (ValueError, TypeError, np.linalg.LinAlgError):
                continue
        if 0.5 < width < _BOX:
            widths[i] = width
    return widths


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
    return WCS(plain)


def pixel_arcsec(wcs: WCS) -> float:
    """Return the size of a pixel."""
    return float(np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix))) * 3600)

# SPDX-License-Identifier: GPL-2.0-or-later
"""The field: images of the cube, its sources, their width with wavelength, exposure time of the spaxels."""

import warnings

import numpy as np
from astropy.wcs import WCS
from scipy.ndimage import gaussian_filter, median_filter

from muse_core.model.record import record
from muse_core.model.statistics import SIGMA_PER_MAD
from muse_core.report.exposures import Exposure, stellar_fwhm
from muse_core.report.images import Cube, Sources, find_sources, fit_widths, pixel_arcsec

#: Parts of the wavelength range whose images are kept: three times as many as colours.
_BANDS = 9
#: An image is of all that an exposure saw if it has so much of the area of the cube, at most of a wide field.
_WHOLE = 0.3
#: Planes of an emission-line map on either side of its line, and of the continuum beside it.
_LINE_HALF, _BESIDE = 2, 8
#: An emission line is brighter than its surroundings by so many times the scatter of the spectrum, and by such a part.
_LINE_SIGMAS, _OF_CONTINUUM = 5.0, 0.3
#: Sources whose lines are looked for have so many times the noise of a plane.
_CONTINUUM_SIGMAS = 2.0
#: Lines are looked for in so many sources, the brightest, in boxes of twice that size; not in these parts of the range
#: and of the field at either end.
_SEARCHED, _HALF_ARCSEC, _EDGE, _EDGE_OF_FIELD = 25, 0.8, 0.03, 0.05
#: Width of the smoothing of the map of a line, in spaxels (standard deviation).
_SMOOTH = 1.0


@record(frozen=False, eq=False)
class Field:
    """What the cube shows.

    Attributes
    ----------
    numbers : dict
        For the JSON.
    white : ndarray of float64, shape (ny, nx)
        Mean of all planes, NaN where there is nothing.
    bands : list of ndarray of float64
        Mean of each part of the wavelength range.
    sources : Sources
        Those of the white-light image.
    sky : ndarray of bool, shape (ny, nx)
        Spaxels without source.
    exposure_time : ndarray of float64, shape (ny, nx), optional
        Seconds.
    """

    numbers: dict
    white: np.ndarray
    bands: list[np.ndarray]
    sources: Sources
    sky: np.ndarray
    exposure_time: np.ndarray | None

    @property
    def colours(self) -> list[np.ndarray]:
        """Red, green, blue: means of thirds of the wavelength range."""
        third = max(len(self.bands) // 3, 1)
        parts = [self.bands[i : i + third] for i in range(0, len(self.bands), third)][:3]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # nothing there
            return [np.nanmean(part, axis=0) for part in reversed(parts)]


def measure_field(cube: Cube, exposures: list[Exposure]) -> Field:
    """Measure the field of a cube."""
    nz, ny, nx = cube.shape
    n_bands = min(_BANDS, nz)
    sums, counts = np.zeros((n_bands, ny, nx)), np.zeros((n_bands, ny, nx), np.int32)
    for number, plane in cube.planes():
        band = number * n_bands // nz
        finite = np.isfinite(plane)
        sums[band] += np.where(finite, plane, 0.0)
        counts[band] += finite
    total = counts.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        white = sums.sum(axis=0) / total
        bands = list(sums / counts)
    covered = total >= 0.5 * nz
    white[~covered] = np.nan
    sources = find_sources(white)
    sky = covered & ~sources.mask
    step = cube.step_arcsec
    widths = _widths(cube, bands, sources)
    time = _exposure_time(cube, exposures, total / nz)
    numbers = {
        "shape": [nx, ny, nz],
        "spaxel": None if np.isnan(step) else step,
        "wavelength": [float(cube.lbda[0]), float(cube.lbda[-1])],
        "filled": float(total.sum() / (nz * max(covered.sum(), 1))),
        "area": None if np.isnan(step) else float(covered.sum() * step**2 / 3600),
        "sky_part": float(sky.sum() / max(covered.sum(), 1)),
        "n_sources": len(sources),
        "fwhm": float(np.median([item["fwhm"] for item in widths]))
        if widths
        else _number(stellar_fwhm(sources) * step),
        "fwhm_by_wavelength": widths,
        "sources": _source_list(cube, sources),
    }
    if time is not None:
        inside = time[time > 0]
        numbers["exposure_time"] = {
            "median": float(np.median(inside)) if inside.size else 0.0,
            "max": float(time.max()),
            "area": None if np.isnan(step) else float(inside.size * step**2 / 3600),
        }
    return Field(numbers, white, bands, sources, sky, time)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _source_list(cube: Cube, sources: Sources) -> list[dict]:
    listed = []
    ra = dec = np.full(len(sources), np.nan)
    if cube.wcs is not None and len(sources):
        ra, dec = cube.wcs.wcs_pix2world(sources.x, sources.y, 0)
    for i in range(len(sources)):
        listed.append(
            {
                "x": float(sources.x[i]) + 1,
                "y": float(sources.y[i]) + 1,
                "ra": _number(ra[i]),
                "dec": _number(dec[i]),
                "flux": float(sources.flux[i]),
                "fwhm": _number(sources.fwhm[i] * cube.step_arcsec),
            }
        )
    return listed


def _widths(cube: Cube, bands: list[np.ndarray], sources: Sources) -> list[dict]:
    """Return the width of the stars in each part of the wavelength range."""
    fitted = np.flatnonzero(np.isfinite(sources.fwhm))
    if not len(fitted) or np.isnan(cube.step_arcsec):
        return []
    stars = fitted[np.argsort(sources.fwhm[fitted])][: max(1, (len(fitted) + 2) // 4)]
    found = []
    edges = -(-np.arange(len(bands) + 1) * cube.shape[0] // len(bands))  # as planes are added to bands
    for band, begin, end in zip(bands, edges[:-1], edges[1:], strict=True):
        missing = ~np.isfinite(band)
        widths = fit_widths(np.where(missing, 0.0, band), sources.x[stars], sources.y[stars], missing)
        if np.isfinite(widths).any():
            width = float(np.nanmedian(widths) * cube.step_arcsec)
            found.append(
                {"wavelength": float(cube.lbda[begin:end].mean()), "fwhm": width, "n": int(np.isfinite(widths).sum())}
            )
    return found


def _exposure_time(cube: Cube, exposures: list[Exposure], filled: np.ndarray) -> np.ndarray | None:
    """Return the exposure time of each spaxel: of what exposures it is, by their images; else all of them."""
    known = [exposure for exposure in exposures if exposure.numbers.get("exptime")]
    if not known:
        return None
    whole = [e for e in known if e.wcs is not None and e.image is not None and _sees_all(e, cube, filled)]
    if cube.wcs is None or len(known) == 1 or len(whole) < len(known):
        return sum(e.numbers["exptime"] for e in known) * np.where(filled > 0.5, 1.0, 0.0)
    time = sum(e.numbers["exptime"] * on_cube(np.isfinite(e.image), e.wcs, cube) for e in known)
    return np.where(filled > 0, time, 0.0)


def _sees_all(exposure: Exposure, cube: Cube, filled: np.ndarray) -> bool:
    """Tell whether the image of an exposure is one of all that it saw; with a SKY_MASK it is of the sky only."""
    area = np.isfinite(exposure.image).sum() * pixel_arcsec(exposure.wcs) ** 2
    return area > _WHOLE * min((filled > 0.5).sum() * cube.step_arcsec**2, 3600.0)


def on_cube(mask: np.ndarray, wcs: WCS, cube: Cube) -> np.ndarray:
    """Return a mask with other coordinates on the spaxels of a cube."""
    _, ny, nx = cube.shape
    y, x = np.indices((ny, nx))
    world = cube.wcs.wcs_pix2world(np.column_stack([x.ravel(), y.ravel()]), 0)
    place = np.rint(wcs.wcs_world2pix(world, 0)).astype(int)
    inside = (place >= 0).all(axis=1) & (place < mask.shape[::-1]).all(axis=1)
    found = np.zeros(x.size, bool)
    found[inside] = mask[place[inside, 1], place[inside, 0]]
    return found.reshape(ny, nx)


def strongest_line(cube: Cube, field: Field) -> tuple[int, int, np.ndarray] | None:
    """Find the strongest emission line of the sources, and its image without continuum.

    Parameters
    ----------
    cube, field : Cube, Field
        The cube, and what was measured of it.

    Returns
    -------
    plane : int
        Number of the plane of the line.
    source : int
        Number of the source that has it.
    image : ndarray of float64, shape (ny, nx)
        Sum of the planes of the line without the mean of those beside it, smoothed; NaN where the field has nothing.
    """
    nz, ny, nx = cube.shape
    x, y = field.sources.x, field.sources.y
    rim = _EDGE_OF_FIELD * nx, _EDGE_OF_FIELD * ny
    chosen = np.flatnonzero((x > rim[0]) & (x < nx - rim[0]) & (y > rim[1]) & (y < ny - rim[1]))[:_SEARCHED]
    n = len(chosen)
    if nz < 4 * _BESIDE or not n or np.isnan(cube.step_arcsec):
        return None
    half = max(1, round(_HALF_ARCSEC / cube.step_arcsec))
    places = np.rint(np.column_stack([y, x])[chosen]).astype(int)
    boxes = [np.s_[max(row - half, 0) : row + half + 1, max(i - half, 0) : i + half + 1] for row, i in places]
    spectra, variances = np.zeros((n, nz)), np.zeros((n, nz))
    for number, plane in cube.planes():
        variance = cube.variance(number) if cube.has_stat else np.zeros_like(plane)
        for i, box in enumerate(boxes):
            spectra[i, number] = np.nansum(plane[box])
            variances[i, number] = np.nansum(variance[box])
    continuum = median_filter(spectra, size=(1, 4 * _BESIDE + 1), mode="nearest")
    excess = spectra - continuum
    if n > 2:
        excess -= np.median(excess, axis=0)  # what is left of the sky is in all of them
    scatter = SIGMA_PER_MAD * np.median(np.abs(excess), axis=1, keepdims=True)
    noise = np.hypot(scatter, np.sqrt(variances))
    signal = np.divide(excess, noise, out=np.zeros_like(excess), where=noise > 0)
    signal[excess < _OF_CONTINUUM * continuum] = 0.0  # stars have none
    # what is seen in a few planes only, without continuum, may be a cosmic ray
    signal[continuum.mean(axis=1) < _CONTINUUM_SIGMAS * np.sqrt(variances.mean(axis=1))] = 0.0
    signal = median_filter(signal, (1, 3))  # a line is seen in three planes, what is left of a cosmic ray is not
    margin = max(int(_EDGE * nz), _BESIDE + _LINE_HALF)
    signal[:, :margin] = signal[:, nz - margin :] = 0.0
    source, peak = np.unravel_index(np.argmax(signal), signal.shape)
    if signal[source, peak] < _LINE_SIGMAS:
        return None
    image, beside, n_beside = np.zeros(field.white.shape), np.zeros(field.white.shape), 0
    for number in range(peak - _BESIDE, peak + _BESIDE + 1):
        distance = abs(number - peak)
        plane = cube.plane(number).astype(np.float64)
        if distance <= _LINE_HALF:
            image += plane
        elif distance > _LINE_HALF + 1:
            beside += plane
            n_beside += 1
    image -= beside * (2 * _LINE_HALF + 1) / n_beside
    seen = np.isfinite(image)
    smooth = gaussian_filter(np.where(seen, image, 0.0), _SMOOTH)
    return int(peak), int(chosen[source]), np.where(np.isfinite(field.white), smooth, np.nan)

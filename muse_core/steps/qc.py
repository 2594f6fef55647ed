# SPDX-License-Identifier: GPL-2.0-or-later
"""Quality control of the final cube: sources in its central plane and their widths."""

import logging

import numpy as np

from muse_core.model.compat import OURS, Compat
from muse_core.model.grid import OutputGrid
from muse_core.steps.detect import centroids, detect_sources, median

DETECTION_SIGMAS = (5.0, 4.0, 3.0)
_SHORTEST_AXIS = 5  # pixels
_FAILED = np.float32(-1)

_LOG = logging.getLogger(__name__)


def fwhm_plane(grid: OutputGrid) -> int:
    """Return the plane (from 0) in which the sources are measured."""
    return grid.nz // 2


def fwhm_qc(
    image: np.ndarray, grid: OutputGrid, spaxel_size: tuple[float, float], compat: Compat = OURS
) -> list[tuple[str, int | np.float32]]:
    """Measure the sources of a plane.

    Parameters
    ----------
    image : ndarray of float32, shape (ny, nx)
        Plane `fwhm_plane` of the cube, missing voxels 0; NaN where the data were.
    grid : OutputGrid
        Its world coordinates.
    spaxel_size : tuple of float
        Nominal size of a spaxel in arcsec, used where the cube is not on the sky.
    compat : Compat
        ``fwhm_y_from_converted_x`` and ``nan_hides_sources`` are used.

    Returns
    -------
    list of (str, int or float32)
        QC keywords without prefix, in the order of the product header: NDET, LAMBDA, POSk X, POSk Y (pixel), FWHMk X,
        FWHMk Y (arcsec; -1 if it failed), FWHM NVALID, FWHM MEDIAN, FWHM MAD.
    """
    plane = fwhm_plane(grid)
    lbda = np.float32(grid.wavelength(plane, logarithmic=grid.ctype3 == "AWAV-LOG"))  # WAVE-LOG counts as linear
    labels, n, _ = detect_sources(image, DETECTION_SIGMAS)
    if compat.nan_hides_sources and np.isnan(image).any():
        n = 0
    result: list[tuple[str, int | np.float32]] = [("NDET", n), ("LAMBDA", lbda)]
    if n == 0:
        _LOG.warning(
            "No sources found for FWHM measurement down to %.1f sigma limit on plane %d",
            DETECTION_SIGMAS[-1],
            plane + 1,
        )
        names = ("POS0 X", "POS0 Y", "FWHM0 X", "FWHM0 Y")
        return result + [(name, _FAILED) for name in names]
    matrix = _arcsec_matrix(grid, spaxel_size)
    valid: list[float] = []
    for k, centroid in enumerate(centroids(image, labels, n), start=1):
        x, y = (int(np.floor(c + 0.5)) for c in centroid)
        fwhm = _to_arcsec(_fwhm_pixels(image, x, y), matrix, compat)
        if min(fwhm) > 0:
            valid += fwhm
        values = (x, y, *fwhm)
        names = (f"POS{k} X", f"POS{k} Y", f"FWHM{k} X", f"FWHM{k} Y")
        result += [(name, np.float32(value)) for name, value in zip(names, values, strict=True)]
    middle = spread = 0.0
    if n >= 3 and valid:
        middle = median(np.array(valid))
        spread = median(np.abs(np.array(valid) - middle))
    return result + [
        ("FWHM NVALID", len(valid) // 2),
        ("FWHM MEDIAN", np.float32(middle)),
        ("FWHM MAD", np.float32(spread)),
    ]


def _arcsec_matrix(grid: OutputGrid, spaxel_size: tuple[float, float]) -> np.ndarray:
    if grid.celestial:
        return np.abs(np.reshape(np.array(grid.cd), (2, 2))) * 3600.0
    return np.diag(spaxel_size)


def _to_arcsec(pixels: tuple[float, float], matrix: np.ndarray, compat: Compat) -> tuple[float, float]:
    if min(pixels) < 0:
        return -1.0, -1.0
    x = matrix[0, 0] * pixels[0] + matrix[0, 1] * pixels[1]
    y = matrix[1, 1] * pixels[1] + matrix[1, 0] * (x if compat.fwhm_y_from_converted_x else pixels[0])
    return float(x), float(y)


def _fwhm_pixels(image: np.ndarray, x: int, y: int) -> tuple[float, float]:
    """Widths along the row and the column through a pixel (counted from 1)."""
    ny, nx = image.shape
    if not (1 <= x <= nx and 1 <= y <= ny) or not image[y - 1, x - 1] > 0:
        return -1.0, -1.0
    return _fwhm(image[y - 1].astype(np.float64), x - 1), _fwhm(image[:, x - 1].astype(np.float64), y - 1)


def _fwhm(values: np.ndarray, peak: int) -> float:
    """Full width at half maximum around `peak`, above half the level of the neighbouring minima; -1 if undefined."""
    if len(values) < _SHORTEST_AXIS:
        return -1.0
    level = 0.5 * values[peak] + 0.5 * _noise(values, peak)
    if not values[peak] > level:
        return -1.0
    right = _crossing(values[peak:], level)
    left = _crossing(values[peak::-1], level)
    return -1.0 if right is None or left is None else left + right


def _crossing(values: np.ndarray, level: float) -> float | None:
    """Distance in pixels at which values, from the first on, fall to `level`; None if they do not, or are NaN."""
    below = np.flatnonzero(~(values > level))
    if below.size == 0 or np.isnan(values[below[0]]):
        return None
    i = int(below[0])
    before, after = float(values[i - 1]), float(values[i])
    return i - 1 + (before - level) / (before - after)


def _noise(values: np.ndarray, peak: int) -> float:
    """Mean of the minima on both sides of a peak, in the values smoothed over three pixels."""
    padded = np.pad(values, 1, mode="edge")
    smooth = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    if peak + 1 < len(smooth) and smooth[peak + 1] > smooth[peak]:
        peak += 1
    elif peak > 0 and smooth[peak - 1] > smooth[peak]:
        peak -= 1
    left = right = peak
    while left > 0 and smooth[left - 1] < smooth[left]:
        left -= 1
    while right < len(smooth) - 1 and smooth[right + 1] < smooth[right]:
        right += 1
    mean: float = (smooth[left] + smooth[right]) / 2
    return mean

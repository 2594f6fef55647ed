# SPDX-License-Identifier: GPL-2.0-or-later
"""Detection of objects in an image by a threshold, and their centroids.

Used by the check of the refraction correction and by the FWHM quality control. No background model, no deblending:
the median is the background, and touching objects are one.
"""

from collections.abc import Iterable

import numpy as np

from muse_core.cython_ext import detect as detect_kernels

_SHIFTED_MINIMUM = 1e-10  # smallest weight of a centroid whose object has values <= 0


def median(values: np.ndarray) -> float:
    """Median of a non-empty array in its own precision; for an even number ``a + (b - a) / 2`` of the central two."""
    values = np.ravel(values)
    half = values.size // 2
    if values.size % 2:
        return float(np.partition(values, half)[half])
    low, high = np.partition(values, (half - 1, half))[half - 1 : half + 1]
    return float(low + (high - low) / 2)


def clear_rim(mask: np.ndarray) -> None:
    """Set the outermost pixels of a 2-D boolean array to False, in place."""
    mask[[0, -1], :] = False
    mask[:, [0, -1]] = False


def dilated(mask: np.ndarray) -> np.ndarray:
    """Return which pixels of a 2-D boolean array have a True one among them and their eight neighbours."""
    padded = np.pad(mask, 1)
    across = padded[:, :-2] | padded[:, 1:-1] | padded[:, 2:]
    found: np.ndarray = across[:-2] | across[1:-1] | across[2:]
    return found


def eroded(mask: np.ndarray) -> np.ndarray:
    """Return which pixels have eight neighbours that are True, as they are."""
    whole = ~dilated(~mask)
    clear_rim(whole)
    return whole


def detect_sources(
    image: np.ndarray, sigmas: Iterable[float], valid: np.ndarray | None = None, strict: bool = True
) -> tuple[np.ndarray, int, float]:
    """Detect objects at the first of several thresholds that finds any.

    A threshold is median + sigma * d, where d is the mean absolute deviation from the median. Pixels above it are
    opened with a full 3 x 3 kernel (erosion and dilation; the rim of the image is False after it), and labelled with
    4-connectivity.

    Parameters
    ----------
    image : ndarray of float32 or float64, shape (ny, nx)
        Pixel values.
    sigmas : iterable of float
        Factors to try, in that order.
    valid : ndarray of bool, shape (ny, nx), optional
        Pixels that take part in the statistics and may belong to an object; default: all. NaN never does.
    strict : bool
        Whether a pixel has to be above (True), or at least at (False) the threshold.

    Returns
    -------
    labels : ndarray of int32, shape (ny, nx)
        Number of the object of each pixel, 0 for none. Numbered from 1 in the order of the first pixel, x fastest.
    n : int
        Number of objects.
    sigma : float
        Factor of the successful threshold; the last one tried if n is 0, NaN if nothing could be tried.
    """
    image = np.asarray(image)
    valid = ~np.isnan(image) if valid is None else valid & ~np.isnan(image)
    labels, n, sigma = np.zeros(image.shape, np.int32), 0, np.nan
    values = image[valid]
    if values.size == 0:
        return labels, n, sigma
    middle = median(values)
    deviation = np.abs(values.astype(np.float64) - middle).mean()
    for sigma in sigmas:
        threshold = middle + sigma * deviation
        above = valid & (image > threshold if strict else image >= threshold)
        above = dilated(eroded(above))
        clear_rim(above)
        n = detect_kernels.label(above.view(np.uint8), labels)
        if n:
            break
    return labels, n, sigma


def centroids(image: np.ndarray, labels: np.ndarray, n: int) -> np.ndarray:
    """Flux-weighted centroids of labelled objects.

    The weights are the pixel values; an object with a value <= 0 is shifted so that its smallest weight is 1e-10.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        Pixel values.
    labels : ndarray of int, shape (ny, nx)
        As returned by `detect_sources`.
    n : int
        Number of objects.

    Returns
    -------
    ndarray of float64, shape (n, 2)
        x and y of each object in pixels, the centre of the first pixel being 1.
    """
    y, x = np.nonzero(labels)
    which = labels[y, x] - 1
    weight = np.asarray(image, np.float64)[y, x]
    minimum = np.full(n, np.inf)
    np.minimum.at(minimum, which, weight)
    weight += np.where(minimum <= 0, _SHIFTED_MINIMUM - minimum, 0.0)[which]
    total = np.bincount(which, weight, n)
    return np.column_stack(
        [np.bincount(which, weight * (x + 1), n) / total, np.bincount(which, weight * (y + 1), n) / total]
    )

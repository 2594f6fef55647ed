# SPDX-License-Identifier: GPL-2.0-or-later
"""What a quick image needs beside sums of rows: the spectrum of the sky, and rows that are cosmic rays.

Slices that lie side by side in the field do not on the detector: what is bright in a slice and not in its neighbours,
at the same place and wavelength, is a cosmic ray. No cube is needed to see that.
"""

import numpy as np

from muse_core.model.arrays import Float64Array
from muse_core.model.grid import SPECTRAL_STEP

#: A row is bright if it is so many times the scatter above the sky, and a cosmic ray if it is so many times what its
#: spaxel has on average, too: lines of sources are not, if the neighbouring slices have them as well.
BRIGHT_SIGMAS, STEEPEST = 10.0, 3.0
#: Rows of a wavelength of which their median and scatter are found; with fewer no row is bright.
_FEWEST = 16
#: So many rows of neighbouring slices make a row more than a cosmic ray: a few may be those of another one. A line as
#: narrow as the line spread function has this many at the corners of a square of 3 x 3 spaxels.
_FEWEST_OTHERS = 4
#: Columns of rows that are bright, see `columns.add_image`.
_X, _Y, _LAMBDA, _VALUE, _WEIGHT = range(5)


def sky_spectrum(index: np.ndarray, values: np.ndarray, n: int) -> tuple[Float64Array, Float64Array]:
    """Return median and limit of brightness of rows by wavelength.

    Parameters
    ----------
    index : ndarray of int, shape (n_rows,)
        Number of the wavelength of each row, 0...n - 1.
    values : ndarray of float64, shape (n_rows,)
        Values; a sample of the whole field.
    n : int
        Number of wavelengths.

    Returns
    -------
    median : ndarray of float64, shape (n,)
        Median; between its neighbours where there are too few rows.
    limit : ndarray of float64, shape (n,)
        From where on, above the median, a row is bright; inf where there are too few rows. The scatter is that of the
        fainter half, in which there are no sources.
    """
    order = np.lexsort((values, index))
    edges = np.searchsorted(index[order], np.arange(n + 1))
    number = np.diff(edges)
    known = number >= _FEWEST
    median, limit = np.zeros(n), np.full(n, np.inf)
    if not known.any():
        return median, limit

    def quantile(part: float) -> np.ndarray:
        return values[order[edges[:-1][known] + (part * (number[known] - 1)).astype(np.int64)]]

    middle = quantile(0.5)
    median = np.interp(np.arange(n), np.flatnonzero(known), middle)
    limit[known] = BRIGHT_SIGMAS * (middle - quantile(0.1587))
    return median, limit


def take_away_cosmic_rays(bright: Float64Array, total: Float64Array, norm: Float64Array) -> int:
    """Take rows that are cosmic rays out of sums.

    Parameters
    ----------
    bright : ndarray of float64, shape (n, 5)
        Rows that are bright, as `columns.add_image` finds them.
    total, norm : ndarray of float64, shape (ny, nx)
        Sums, in which these rows are; changed.

    Returns
    -------
    int
        Number of rows that were taken out.
    """
    x, y = (np.rint(bright[:, k]).astype(np.int64) for k in (_X, _Y))
    with np.errstate(invalid="ignore", divide="ignore"):
        image = np.maximum(np.nan_to_num(total / norm), 0)
    steep = bright[:, _VALUE] > STEEPEST * image[y, x]
    bright, x, y = bright[steep], x[steep], y[steep]
    plane = np.rint(bright[:, _LAMBDA] / SPECTRAL_STEP).astype(np.int64)
    plane -= plane.min(initial=0) - 1
    width, depth = total.shape[1] + 2, int(plane.max(initial=0)) + 2
    cell = (y * width + x) * depth + plane
    order = np.argsort(cell, kind="stable")
    bright, cell = bright[order], np.append(cell[order], np.iinfo(np.int64).max)
    others = np.zeros(len(bright), np.int64)
    for dy in (-1, 1):  # the neighbouring slices
        for dx in (-1, 0, 1):
            other = cell[:-1] + (dy * width + dx) * depth
            others += np.searchsorted(cell, other + 2) - np.searchsorted(cell, other - 1)
    lone = others < _FEWEST_OTHERS
    u, v, _, value, weight = bright[lone].T
    x, y = u.astype(np.int64), v.astype(np.int64)  # as the kernel has shared them out
    for dy, part_y in ((0, 1 - (v - y)), (1, v - y)):
        for dx, part_x in ((0, 1 - (u - x)), (1, u - x)):
            share = weight * part_x * part_y
            np.subtract.at(total, (y + dy, x + dx), share * value)
            np.subtract.at(norm, (y + dy, x + dx), share)
    nothing = norm < 1e-9 * norm.max(initial=0)  # what rounding leaves
    total[nothing], norm[nothing] = 0, 0
    return int(lone.sum())

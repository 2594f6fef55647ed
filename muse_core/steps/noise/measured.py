# SPDX-License-Identifier: GPL-2.0-or-later
"""The noise of a cube as it is: the scatter of sky spaxels, beside the variance that the cube has for them."""

import math
from collections.abc import Sequence

import numpy as np

from muse_core.model.arrays import Float64Array
from muse_core.model.record import record
from muse_core.model.statistics import SIGMA_PER_MAD

#: Spaxels along the side of the boxes.
SIZES = (1, 3, 5)
#: Boxes of each size that are looked at: enough for 2, 3 and 4 per cent in a plane.
MOST = {1: 5000, 3: 1500, 5: 800}
#: Spaxels are sky as long as they are that many times the scatter from the median of the field.
_CLIP, _ROUNDS = 3.0, 20
_FEWEST = 5


def sky_spaxels(image: np.ndarray) -> np.ndarray:
    """Return which spaxels are sky: those left of the mean of all planes after clipping.

    Parameters
    ----------
    image : ndarray of float32, shape (ny, nx)
        Mean of all planes, NaN where there are no data.

    Returns
    -------
    ndarray of bool, shape (ny, nx)
    """
    kept: np.ndarray = np.isfinite(image)
    for _ in range(_ROUNDS):
        if not kept.any():
            break
        middle = np.median(image[kept])
        scatter = SIGMA_PER_MAD * np.median(np.abs(image[kept] - middle))
        with np.errstate(invalid="ignore"):
            now = kept & (np.abs(image - middle) <= _CLIP * scatter)
        if np.array_equal(now, kept) or not now.any():
            break
        kept = now
    return kept


def spread(values: np.ndarray) -> float:
    """Return the standard deviation of Gaussian noise with the median absolute deviation of `values`; NaN for few."""
    if len(values) < _FEWEST:
        return math.nan
    return SIGMA_PER_MAD * float(np.median(np.abs(values - np.median(values))))


@record
class Boxes:
    """Boxes of sky spaxels that do not overlap.

    Attributes
    ----------
    size : int
        Spaxels along a side.
    spaxels : ndarray of int64, shape (size * size, n)
        The spaxels of each, as indices into a plane.
    """

    size: int
    spaxels: np.ndarray

    @classmethod
    def of(cls, sky: np.ndarray, size: int) -> "Boxes":
        """Lay out boxes, evenly spread over all that there are, in which all spaxels are sky."""
        ny, nx = (n // size for n in sky.shape)
        tiles = np.arange(sky.size).reshape(sky.shape)[: ny * size, : nx * size]
        tiles = tiles.reshape(ny, size, nx, size).swapaxes(1, 2).reshape(-1, size * size)
        tiles = tiles[sky.ravel()[tiles].all(axis=1)]
        return cls(size, np.ascontiguousarray(tiles[:: -(-len(tiles) // MOST[size]) or 1].T))

    def ratio(self, data: np.ndarray, stat: np.ndarray) -> tuple[float, int]:
        """Return measured over propagated noise of the sums over the boxes of a plane, and how many spaxels they have.

        Parameters
        ----------
        data, stat : ndarray of float32, in any order of bytes, shape (ny, nx)
            Values and variances; NaN where there are none.
        """
        total, variance = (plane.ravel()[self.spaxels].sum(axis=0, dtype=np.float64) for plane in (data, stat))
        usable = np.isfinite(total) & (variance > 0)
        return spread(total[usable] / np.sqrt(variance[usable])), int(np.count_nonzero(usable)) * self.size**2


def boxes_of(image: np.ndarray) -> list[Boxes]:
    """Return the boxes, of each of `SIZES`, in the sky of a mean image (see `sky_spaxels`)."""
    sky = sky_spaxels(image)
    return [Boxes.of(sky, size) for size in SIZES]


@record
class SkyNoise:
    """The error of the sky spectrum of an exposure, which all its spaxels share.

    Attributes
    ----------
    lbda : ndarray of float64, shape (n,)
        Wavelength of the bins, in Angstrom.
    stat : ndarray of float64, shape (n,)
        Mean variance of the pixels in a bin.
    count : ndarray of float64, shape (n,)
        Number of pixels in a bin.
    """

    lbda: np.ndarray
    stat: np.ndarray
    count: np.ndarray

    def variance(self, lbda: np.ndarray, length: np.ndarray) -> np.ndarray:
        """Return the variance of the mean sky in planes of a cube.

        Parameters
        ----------
        lbda, length : ndarray of float64, shape (nz,)
            Wavelength and size of the planes, in Angstrom.

        Returns
        -------
        ndarray of float64, shape (nz,)
            NaN where there is no sky spectrum.
        """
        step = float(np.median(np.diff(self.lbda))) if len(self.lbda) > 1 else 1.0
        width = np.maximum(length, step)
        edges = np.append(self.lbda - step / 2, self.lbda[-1] + step / 2)
        with np.errstate(invalid="ignore", divide="ignore"):
            pixels = _integral(edges, self.count, lbda, width)
            squares = _integral(edges, self.count * self.stat, lbda, width)
            return np.where(pixels > 0, squares / pixels**2, np.nan)


def _integral(edges: Float64Array, values: Float64Array, lbda: Float64Array, width: Float64Array) -> Float64Array:
    """Return the sum of what bins hold within `width` around `lbda`, as if it were spread evenly in each."""
    total = np.concatenate([[0], np.cumsum(values)])
    found: Float64Array = np.interp(lbda + width / 2, edges, total) - np.interp(lbda - width / 2, edges, total)
    return found


def combined_sky_variance(variances: Sequence[np.ndarray], shares: Sequence[float]) -> np.ndarray:
    """Return the variance of the sky in planes that exposures share; `shares` are their parts of the weight."""
    total = np.sum([share**2 * np.nan_to_num(v) for v, share in zip(variances, shares, strict=True)], axis=0)
    return np.where(np.any([np.isfinite(v) for v in variances], axis=0), total, np.nan)

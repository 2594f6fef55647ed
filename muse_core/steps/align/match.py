# SPDX-License-Identifier: GPL-2.0-or-later
"""Offsets between images from the positions of their sources.

For each pair of images, the sources that a search radius brings together give an offset; a least-squares solution over
all pairs gives one offset for each image. That is repeated with smaller and smaller radii. In the first round the
offset of a pair is the most frequent one, in a two-dimensional histogram, later the median.

Offsets are differences of coordinates, as an OFFSET_LIST has them: those in right ascension are not multiplied by the
cosine of the declination. Not modelled: rotation, scale.
"""

import itertools
import logging
from collections.abc import Sequence

import numpy as np

from muse_core.errors import ParameterError
from muse_core.model.compat import OURS, Compat
from muse_core.model.record import record
from muse_core.steps.detect import median

_LOG = logging.getLogger(__name__)

ARCSEC_PER_DEGREE = 3600.0


@record(kw_only=True)
class MatchOptions:
    """How to match sources.

    Attributes
    ----------
    radii : tuple of float
        Search radius of each round in arcsec.
    nbins : int
        Bins of the histogram along each axis.
    weighted : bool
        Do pairs of images count by the number of their common sources and the scatter of these?
    """

    radii: tuple[float, ...] = (30.0, 4.0, 2.0, 0.8)
    nbins: int = 60
    weighted: bool = True


def parse_radii(text: str) -> tuple[float, ...]:
    """Read the parameter ``rsearch``: positive numbers, separated by commas.

    Raises
    ------
    ParameterError
        If it is something else.
    """
    try:
        radii = tuple(float(token) for token in text.removesuffix(",").split(","))
    except ValueError:
        radii = ()
    if not radii or not all(0 < radius < np.inf for radius in radii):
        raise ParameterError(f"parameter rsearch: found {text!r}, expected positive numbers, as in 30.,4.,2.,0.8")
    return radii


@record(eq=False)
class Alignment:
    """Offsets of images relative to the first.

    Attributes
    ----------
    offsets : ndarray of float64, shape (n_images, 2)
        What is to be subtracted from right ascension and declination, in degrees of coordinate.
    matches : ndarray of int, shape (n_images, n_images)
        Number of pairs of sources of two images in the last round.
    """

    offsets: np.ndarray
    matches: np.ndarray

    def median_matches(self) -> list[int]:
        """Median number of matches of each image with those that it has any with, 0 if there is none."""
        return [int(median(row[row > 0])) if row.any() else 0 for row in self.matches]

    def groups(self) -> list[list[int]]:
        """Images that are connected by common sources, each group in ascending order, the first image's first."""
        left, found = set(range(len(self.matches))), []
        while left:
            group, new = set(), {min(left)}
            while new:
                group |= new
                new = set(np.flatnonzero(self.matches[list(group)].any(axis=0)).tolist()) - group
            left -= group
            found.append(sorted(group))
        return found


def align(positions: Sequence[np.ndarray], options: MatchOptions, compat: Compat = OURS) -> Alignment:
    """Find the offsets between images.

    Parameters
    ----------
    positions : sequence of ndarray of float64, shape (n_sources, 2)
        Right ascension and declination of the sources of each image, in degrees.
    options : MatchOptions
        How.
    compat : Compat
        ``ra_zero_not_crossed``: right ascensions just above 0 and just below 360 degrees count as far apart.

    Returns
    -------
    Alignment
        An image without common sources keeps its pointing, relative to the mean of all others.
    """
    n = len(positions)
    pairs = [(i, j, *_separations(positions[i], positions[j], compat)) for i, j in itertools.combinations(range(n), 2)]
    offsets, matches = np.zeros((n, 2)), np.zeros((n, n), int)
    for number, radius in enumerate(options.radii):
        rows, measured = [], []
        matches[:] = 0
        for i, j, separations, cosines in pairs:
            relative = offsets[i] - offsets[j]
            if number == 0:
                found = _most_frequent(separations, cosines, radius, options.nbins)
            else:
                found = _median(separations - relative, cosines, radius)
            if found is None:
                continue
            offset, count, weight = found
            matches[i, j] = matches[j, i] = count
            row = np.zeros(n)
            row[i], row[j] = 1.0, -1.0
            if not options.weighted:
                weight = 1.0
            rows.append(weight * row)
            measured.append(weight * (offset + (relative if number else 0.0)))
        if not rows:
            _LOG.warning("no images have sources in common within %g arcsec", radius)
            offsets[:] = 0
            continue
        closure = np.ones(n), np.zeros(2)  # pairs give differences only
        offsets = np.linalg.lstsq(np.array([*rows, closure[0]]), np.array([*measured, closure[1]]), rcond=None)[0]
        offsets[~matches.any(axis=0)] = 0
    return Alignment((offsets - offsets[0]) / ARCSEC_PER_DEGREE, matches)


def _separations(a: np.ndarray, b: np.ndarray, compat: Compat) -> tuple[np.ndarray, np.ndarray]:
    """Return differences of all pairs of sources in arcsec, shape (n_pairs, 2), and cosines of their declinations."""
    difference = (a[:, None] - b).reshape(-1, 2)
    if not compat.ra_zero_not_crossed:
        difference[:, 0] -= 360 * np.rint(difference[:, 0] / 360)
    cosines = np.cos(np.radians((a[:, None, 1] + b[:, 1]) / 2)).ravel()
    return difference * ARCSEC_PER_DEGREE, cosines


def _within(separations: np.ndarray, cosines: np.ndarray, radius: float) -> np.ndarray:
    near: np.ndarray = separations[np.hypot(separations[:, 0] * cosines, separations[:, 1]) < radius]
    return near


def _most_frequent(
    separations: np.ndarray, cosines: np.ndarray, radius: float, nbins: int
) -> tuple[np.ndarray, int, float] | None:
    """Return the middle of the fullest bin of a histogram over +-radius, its count as count and weight; or None.

    Of bins that are equally full it is the first, right ascension running fastest. What is less than a bin below the
    histogram counts in its first bin, as in the ESO pipeline.
    """
    step = 2 * radius / nbins
    bins = np.trunc((_within(separations, cosines, radius) + radius) / step).astype(int)
    bins = bins[((bins >= 0) & (bins < nbins)).all(axis=1)]
    if not len(bins):
        return None
    counts = np.bincount(bins[:, 1] * nbins + bins[:, 0], minlength=nbins**2)
    y, x = divmod(int(np.argmax(counts)), nbins)
    return (np.array([x, y]) + 0.5) * step - radius, len(bins), float(counts.max())


def _median(separations: np.ndarray, cosines: np.ndarray, radius: float) -> tuple[np.ndarray, int, float] | None:
    """Return the median separation, the number of pairs, and that over the variance as weight; or None."""
    near = _within(separations, cosines, radius)
    n = len(near)
    if n == 0:
        return None
    variance = near.var(axis=0, ddof=1).sum() if n > 1 else 0.0
    return np.median(near, axis=0), n, n / (variance if variance > 0 else 2 * radius**2)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Statistics of the rows of an exposure after the subtraction of the sky: slices, flags, residual spectrum.

The sky part of a slice is found in the slice itself: the columns of the detector, each of which has seen one place on
the sky, whose mean is in the lowest quarter. Columns are chosen by every other row and measured in those between, and
the other way round: what is low by chance does not count.
"""

import dataclasses
from typing import Self

import numpy as np

from muse_core.io.pixtable import PixelTableFile
from muse_core.model.dq import DQ
from muse_core.model.origin import N_IFU, N_SLICE, X_MASK, X_SHIFT, ifu_of, slice_key, slice_of
from muse_core.model.record import record
from muse_core.model.statistics import SIGMA_PER_MAD

#: Data that are so many times their noise do not count in chi square.
CLIP_SIGMAS = 5.0
#: Every so many rows of a slice is looked at.
_STRIDE = 4
#: Width of the bins of the residual spectrum in Angstrom.
_BIN = 1.25
#: Part of the columns of a slice that is taken for sky.
_QUANTILE = 0.25
#: What there is of each slice, and of each bin.
_OF_SLICES, _OF_BINS = ("level", "ratio", "noise", "peak"), ("sums", "weights", "counts", "squares", "n_squares")
#: Rows of a file that are read at once, and in which slices are told apart at once.
_AT_A_TIME, _BLOCK = 1 << 20, 1 << 15


@record(frozen=False, eq=False)
class RowStatistics:
    """Statistics of the rows of an exposure, added chunk by chunk, of whole slices each.

    Attributes
    ----------
    lbda_min, lbda_max : float
        Wavelengths of the residual spectrum, in Angstrom.
    level : ndarray of float64, shape (24, 48)
        Median of what is left in the sky part of each slice; NaN where there is none.
    ratio : ndarray of float64, shape (24, 48)
        Scatter of these rows over the square root of their variance.
    noise : ndarray of float64, shape (24, 48)
        Uncertainty of the level, from the variance.
    peak : ndarray of float64, shape (24, 48)
        Mean of the brightest column of each slice: a bright star in it shows here.
    flags : dict of str to int
        Number of rows with each flag; some have several.
    n_rows, n_flagged : int
        Number of rows, and of those with a flag.
    sums, weights, counts : ndarray of float64
        Of the sky rows in each bin of wavelength: sum, sum of variances, number.
    squares, n_squares : ndarray of float64
        Sum of their squares in units of their noise, and number, without those far beyond it.
    """

    lbda_min: float
    lbda_max: float
    level: np.ndarray = dataclasses.field(default_factory=lambda: np.full((N_IFU, N_SLICE), np.nan))
    ratio: np.ndarray = dataclasses.field(default_factory=lambda: np.full((N_IFU, N_SLICE), np.nan))
    noise: np.ndarray = dataclasses.field(default_factory=lambda: np.full((N_IFU, N_SLICE), np.nan))
    peak: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((N_IFU, N_SLICE)))
    flags: dict = dataclasses.field(default_factory=dict)
    n_rows: int = 0
    n_flagged: int = 0
    sums: np.ndarray = None
    weights: np.ndarray = None
    counts: np.ndarray = None
    squares: np.ndarray = None
    n_squares: np.ndarray = None

    def __post_init__(self):
        n = max(1, int(np.ceil((self.lbda_max - self.lbda_min) / _BIN)) + 1)
        for name in _OF_BINS:
            setattr(self, name, np.zeros(n))

    @property
    def lbda(self) -> np.ndarray:
        """Middle of the bins of wavelength."""
        return self.lbda_min + (np.arange(len(self.sums)) + 0.5) * _BIN

    def add(self, rows: np.ndarray) -> None:
        """Add rows, those of each slice together."""
        if not len(rows):
            return
        flags = rows["dq"]
        self.n_rows += len(rows)
        flagged = flags[flags != 0].view(np.uint32)
        self.n_flagged += len(flagged)
        for flag in DQ:
            n = int(np.count_nonzero(flagged & np.uint32(int(flag) & 0xFFFFFFFF)))
            if n:
                self.flags[flag.name] = self.flags.get(flag.name, 0) + n
        edges = _changes_of_slice(rows["origin"])
        for begin, end in zip([0, *edges], [*edges, len(rows)], strict=True):
            self._add_slice(rows[begin:end:_STRIDE])

    def _add_slice(self, rows: np.ndarray) -> None:
        rows = rows[(rows["dq"] == 0) & (rows["stat"] > 0) & np.isfinite(rows["data"])]
        if len(rows) < 50:
            return
        ifu, number = int(ifu_of(rows["origin"][0])), int(slice_of(rows["origin"][0]))
        column = ((rows["origin"] >> X_SHIFT) & X_MASK).astype(np.int64)
        data, stat = rows["data"].astype(np.float64), rows["stat"].astype(np.float64)
        peak, chosen = -np.inf, np.zeros(len(rows), bool)
        for half in (0, 1):
            n = np.bincount(column[half::2], minlength=X_MASK + 1)
            seen = n > 0
            means = np.bincount(column[half::2], data[half::2], minlength=X_MASK + 1)[seen] / n[seen]
            is_sky = np.zeros(X_MASK + 1, bool)
            is_sky[seen] = means <= np.quantile(means, _QUANTILE)
            chosen[1 - half :: 2] = is_sky[column[1 - half :: 2]]
            peak = max(peak, float(means.max()))
        sky, variance, lbda = data[chosen], stat[chosen], rows["lbda"][chosen]
        if len(sky) < 20 or not 1 <= ifu <= N_IFU or not 1 <= number <= N_SLICE:
            return
        in_noise = sky / np.sqrt(variance)
        inside = np.abs(in_noise) < CLIP_SIGMAS
        middle = np.median(sky)
        scaled = (sky - middle) / np.sqrt(variance)
        place = ((lbda - self.lbda_min) / _BIN).astype(np.int64).clip(0, len(self.sums) - 1)
        size = len(self.sums)
        self.level[ifu - 1, number - 1] = middle
        self.peak[ifu - 1, number - 1] = peak
        self.ratio[ifu - 1, number - 1] = SIGMA_PER_MAD * np.median(np.abs(scaled - np.median(scaled)))
        self.noise[ifu - 1, number - 1] = 1.25 * np.sqrt(variance.mean() / len(sky))
        self.sums += np.bincount(place, sky, minlength=size)
        self.weights += np.bincount(place, variance, minlength=size)
        self.counts += np.bincount(place, minlength=size)
        self.squares += np.bincount(place[inside], in_noise[inside] ** 2, minlength=size)
        self.n_squares += np.bincount(place[inside], minlength=size)

    def include(self, other: "RowStatistics") -> None:
        """Add the statistics of other rows, of other slices, with the same bins."""
        for name in _OF_SLICES:
            own, found = getattr(self, name), getattr(other, name)
            np.copyto(own, found, where=np.isfinite(other.level))
        for name in _OF_BINS:
            getattr(self, name)[:] += getattr(other, name)
        for flag, n in other.flags.items():
            self.flags[flag] = self.flags.get(flag, 0) + n
        self.n_rows += other.n_rows
        self.n_flagged += other.n_flagged

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all that there is."""
        flags = np.array([self.flags.get(flag.name, 0) for flag in DQ])
        counts = np.array([self.n_rows, self.n_flagged])
        arrays = {name: getattr(self, name) for name in (*_OF_SLICES, *_OF_BINS)}
        return {"range": np.array([self.lbda_min, self.lbda_max]), "flags": flags, "rows": counts, **arrays}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Self:
        """Return the statistics of which `arrays` has made these."""
        made = cls(*arrays["range"].tolist())
        made.n_rows, made.n_flagged = arrays["rows"].tolist()
        made.flags = {flag.name: n for flag, n in zip(DQ, arrays["flags"].tolist(), strict=True) if n}
        for name in (*_OF_SLICES, *_OF_BINS):
            setattr(made, name, arrays[name])
        return made

    @property
    def chi_square(self) -> float:
        """Mean of the squares of the sky rows in units of their noise; 1 if only noise is left."""
        n = self.n_squares.sum()
        return float(self.squares.sum() / n) if n else np.nan

    @property
    def residual(self) -> np.ndarray:
        """Mean of the sky rows in each bin of wavelength, without their median; NaN where there are none."""
        with np.errstate(invalid="ignore"):
            mean = np.where(self.counts > 0, self.sums / self.counts, np.nan)
        return mean - np.nanmedian(mean) if np.isfinite(mean).any() else mean

    @property
    def residual_in_noise(self) -> float:
        """Root mean square of the residual spectrum over the noise of a row."""
        used = self.counts > 0.2 * np.median(self.counts[self.counts > 0]) if self.counts.any() else self.counts > 0
        if not used.any():
            return np.nan
        noise = np.sqrt(self.weights[used].sum() / self.counts[used].sum())
        return float(np.sqrt(np.mean(self.residual[used] ** 2)) / noise)

    @property
    def residual_noise(self) -> float:
        """What `residual_in_noise` is if there is only noise."""
        seen = self.counts[self.counts > 0]
        return float(np.sqrt(np.mean(1 / seen))) if seen.size else 0.0


def _changes_of_slice(origins: np.ndarray) -> list[int]:
    """Return the rows that are of another slice than the one before; looked for in blocks, to save memory."""
    found: list[int] = []
    for begin in range(0, len(origins), _BLOCK):
        keys = slice_key(origins[begin : begin + _BLOCK + 1])
        found += (np.flatnonzero(keys[1:] != keys[:-1]) + begin + 1).tolist()
    return found


def statistics_of_file(path) -> RowStatistics:
    """Return the statistics of a pixel table on disk."""
    with PixelTableFile(path) as file:
        lbda = file.column("lambda")
        statistics = RowStatistics(float(lbda.min()), float(lbda.max()))
        del lbda
        begin = 0
        while begin < file.n_rows:
            end = min(begin + _AT_A_TIME, file.n_rows)
            rows = file.read(begin, end, columns=("lambda", "data", "dq", "stat", "origin"))
            if end < file.n_rows:  # up to the last change of slice
                keys = slice_key(rows["origin"])
                changes = np.flatnonzero(keys[1:] != keys[:-1])
                if len(changes):
                    rows = rows[: changes[-1] + 1]
            statistics.add(rows)
            begin += len(rows)
    return statistics

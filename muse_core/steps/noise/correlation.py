# SPDX-License-Identifier: GPL-2.0-or-later
"""From the coefficients that are kept to the covariance of any voxels."""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from muse_core.model.arrays import Float32Array, Float64Array, UInt8Array
from muse_core.model.record import record
from muse_core.steps.noise.layout import Layout

#: How coefficients are kept: integers, of which one means that there is none.
SCALE, ZERO, BLANK = 127, 127, 255
#: Side, in spaxels, of the square in which variances are averaged to tell what all its voxels have in common.
WINDOW = 9
#: Part of a plane, along y and x.
Slices = tuple[slice, slice]
_CHUNK = 1 << 21  # voxels whose coefficients are made at once


def encode(values: Float32Array) -> UInt8Array:
    """Return coefficients, NaN where there are none, as uint8."""
    scaled = values * SCALE
    np.rint(scaled, out=scaled)
    scaled += ZERO
    np.fmin(scaled, BLANK, out=scaled)  # of NaN and a number, the number
    return scaled.astype(np.uint8)


def decode(raw: np.ndarray) -> np.ndarray:
    """Return float32, NaN where there are none, of what `encode` made."""
    scaled = (raw.astype(np.float32) - ZERO) / np.float32(SCALE)
    return np.where(raw == BLANK, np.float32(np.nan), scaled)


def mean_of(raw: UInt8Array) -> Float64Array:
    """Return the mean of encoded images, shape (n, ny, nx), each; 0 where there are none."""
    blank = np.count_nonzero(raw == BLANK, axis=(1, 2))
    seen = raw[0].size - blank
    total = raw.sum(axis=(1, 2), dtype=np.int64) - blank * BLANK - seen * ZERO
    mean: Float64Array = total / (SCALE * np.maximum(seen, 1))
    return mean


def overlap(offset: tuple[int, int], shape: tuple[int, int]) -> tuple[Slices, Slices]:
    """Return the part of an image whose pixels have a neighbour at (dy, dx), and the part that these are."""

    def first(d: int, n: int) -> slice:
        return slice(max(-d, 0), max(n - max(d, 0), 0))

    (dy, dx), (ny, nx) = offset, shape
    return (first(dy, ny), first(dx, nx)), (first(-dy, ny), first(-dx, nx))


def fill(values: np.ndarray, planes: np.ndarray) -> np.ndarray:
    """Replace NaN along the first axis by the value of the nearest plane that has one, by 0 if none has."""
    n = len(values)
    valid = ~np.isnan(values)
    number = np.arange(n).reshape(-1, *(1,) * (values.ndim - 1))
    before = np.maximum.accumulate(np.where(valid, number, -1), axis=0)
    after = np.minimum.accumulate(np.where(valid, number, n)[::-1], axis=0)[::-1]
    far = 2 * int(planes[-1]) + 2
    own = planes.reshape(number.shape)
    to_before = np.where(before < 0, far, own - planes[np.maximum(before, 0)])
    to_after = np.where(after >= n, far, planes[np.minimum(after, n - 1)] - own)
    nearest = np.clip(np.where(to_before <= to_after, before, after), 0, n - 1)
    filled: np.ndarray = np.nan_to_num(np.take_along_axis(values, nearest, axis=0))
    return filled


@record
class Box:
    """Part of a cube: first and last + 1 along x, y and the planes."""

    x: tuple[int, int]
    y: tuple[int, int]
    planes: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (planes, ny, nx)."""
        return self.planes[1] - self.planes[0], self.y[1] - self.y[0], self.x[1] - self.x[0]

    def chunks(self, halo: int) -> Iterator["Box"]:
        """Yield the box in pieces that are worked on at once, each with `halo` more planes at its end, if there are."""
        size = max(_CHUNK // (self.shape[1] * self.shape[2]), 1)
        for first in range(*self.planes, size):
            yield dataclasses.replace(self, planes=(first, min(first + size + halo, self.planes[1])))

    @property
    def chunk_planes(self) -> int:
        """Number of planes of a piece."""
        return max(_CHUNK // (self.shape[1] * self.shape[2]), 1)


def window_mean(images: np.ndarray) -> np.ndarray:
    """Return the mean around each pixel of those that are not 0, within `WINDOW`; shape (..., ny, nx)."""
    from scipy.ndimage import uniform_filter1d  # here, because its import takes as long as that of a recipe

    total, number = images, (images > 0).astype(np.float64)
    for axis in (-2, -1):
        total, number = (
            uniform_filter1d(found, WINDOW, axis=axis, mode="constant", output=np.float64) for found in (total, number)
        )
    return total / np.maximum(number, 0.5 / WINDOW**2)


class Variances:
    """The variances of a cube, or of a part of it.

    Parameters
    ----------
    stat : ndarray, shape (nz, ny, nx)
        Variances; a map of a file will do.
    origin : tuple of int
        Where the first voxel, along planes, y and x, is in the cube of the correlations.
    """

    def __init__(self, stat: np.ndarray, origin: tuple[int, int, int] = (0, 0, 0)):
        self._stat, self._origin = stat, origin

    def read(
        self, planes: np.ndarray, y: tuple[int, int], x: tuple[int, int], halo: int = 0
    ) -> tuple[Float64Array, Slices]:
        """Return variances, 0 where there are none, and what is beyond the box.

        Parameters
        ----------
        planes : ndarray of int
            Planes, numbered as in the cube of the correlations; beyond the part, its first or last counts for them.
        y, x : tuple of int
            First and last + 1.
        halo : int
            Spaxels around the box that are read too, as far as there are any.

        Returns
        -------
        variances : ndarray of float64, shape (n_planes, ny, nx)
            With the halo.
        inside : tuple of slice
            The box in it, along y and x.
        """
        ranges, inside = [], []
        for (low, high), start, size in zip((y, x), self._origin[1:], self._stat.shape[1:], strict=True):
            first, last = max(low - start - halo, 0), min(high - start + halo, size)
            ranges.append(slice(first, last))
            inside.append(slice(low - start - first, high - start - first))
        numbers = np.clip(planes - self._origin[0], 0, self._stat.shape[0] - 1)
        low, high = int(numbers.min()), int(numbers.max()) + 1
        if high - low < 2 * len(numbers):  # as good as all: read in one piece
            found = np.asarray(self._stat[low:high, ranges[0], ranges[1]], np.float64)[numbers - low]
        else:
            found = np.stack([np.asarray(self._stat[n, ranges[0], ranges[1]], np.float64) for n in numbers.tolist()])
        return np.where(np.isfinite(found) & (found > 0), found, 0), (inside[0], inside[1])


class Correlation:
    """The coefficients of a cube.

    Parameters
    ----------
    layout : Layout
        What is kept.
    pattern : ndarray of uint8, shape (n_planes, n_offsets, ny, nx)
        Pattern, as encoded; a map of a file will do.
    spectral : ndarray of uint8, shape (n_planes, depth, ny, nx)
        Spectral part, as encoded.
    """

    def __init__(self, layout: Layout, pattern: np.ndarray, spectral: np.ndarray):
        self.layout, self._pattern, self._spectral = layout, pattern, spectral
        self.depth = layout.neighbourhood.depth
        self.offsets = [tuple(offset) for offset in layout.neighbourhood.offsets.tolist()]

    def local(self, box: Box, variances: Variances) -> "LocalCorrelation":
        """Read the coefficients of some voxels of a cube with these variances; only those that matter are read."""
        return LocalCorrelation(self, box, variances)

    def read_pattern(self, box: Box, nodes: slice, number: int) -> np.ndarray:
        """Return the coefficients of an offset in planes of the pattern; float32, shape (n, ny, nx)."""
        return decode(np.asarray(self._pattern[nodes, number, slice(*box.y), slice(*box.x)]))

    def read_spectral(self, box: Box, nodes: slice, dz: int) -> np.ndarray:
        """Return the coefficients with the plane `dz` further on; float32, shape (n, ny, nx)."""
        return decode(np.asarray(self._spectral[nodes, dz - 1, slice(*box.y), slice(*box.x)]))

    def mean(self, plane: int) -> dict[tuple[int, int, int], float]:
        """Return the mean coefficients of the field at a plane, by (dz, dy, dx)."""
        places = _Places.of(self.layout.pattern, np.array([plane]))
        whole = Box((0, self._pattern.shape[3]), (0, self._pattern.shape[2]), (plane, plane + 1))
        found = {}
        for number, offset in enumerate(self.offsets):
            values = self.read_pattern(whole, places.nodes, number)
            means = [np.nanmean(v) if np.isfinite(v).any() else np.nan for v in values]
            found[offset] = float(places.interpolate(np.reshape(means, (-1, 1, 1)))[0, 0, 0])
        return found


@record
class _Places:
    """Where planes lie among those that are kept.

    Attributes
    ----------
    nodes : slice
        The kept planes that matter.
    planes : ndarray of int32
        Their numbers.
    low, high : ndarray of int64, shape (n,)
        The two of them around each plane.
    part : ndarray of float32, shape (n,)
        Its place between these, from 0 to 1.
    """

    nodes: slice
    planes: np.ndarray
    low: np.ndarray
    high: np.ndarray
    part: np.ndarray

    @classmethod
    def of(cls, kept: np.ndarray, wanted: np.ndarray) -> "_Places":
        """Find planes, ascending, among those that are kept."""
        high = np.clip(np.searchsorted(kept, wanted, side="right"), min(1, len(kept) - 1), len(kept) - 1)
        low = np.maximum(high - 1, 0)
        nodes = slice(max(int(low[0]) - 1, 0), min(int(high[-1]) + 2, len(kept)))  # and one more for the slope
        part = np.clip((wanted - kept[low]) / np.maximum(kept[high] - kept[low], 1), 0, 1).astype(np.float32)
        return cls(nodes, kept[nodes], low - nodes.start, high - nodes.start, part)

    def interpolate(self, values: np.ndarray) -> np.ndarray:
        """Interpolate what is kept by cubics with the mean slope to both sides; values of shape (n_nodes, ny, nx)."""
        values = fill(values, self.planes)
        if len(values) == 1:
            return np.repeat(values, len(self.part), axis=0)
        slopes = np.gradient(values, self.planes.astype(np.float32), axis=0)
        length = (self.planes[self.high] - self.planes[self.low]).astype(np.float32)[:, None, None]
        t = self.part[:, None, None]
        rest = 1 - t
        found: np.ndarray = (
            values[self.low] * (1 + 2 * t) * rest**2
            + values[self.high] * (3 - 2 * t) * t**2
            + (slopes[self.low] * rest - slopes[self.high] * t) * (length * t * rest)
        )
        return found


class _Units:
    """In which units covariances change slowly from plane to plane, see `LocalCorrelation`."""

    def __init__(self, box: Box, planes: list[np.ndarray], variances: Variances, depth: int):
        self._planes = np.unique(np.concatenate(planes)[:, None] + np.arange(-1, depth + 2))
        stat, (y, x) = variances.read(self._planes, box.y, box.x, WINDOW // 2)
        self._mean = window_mean(stat)[:, y, x]
        self._root = (stat[:, y, x] ** 0.25).astype(np.float32)
        self._common: dict[tuple[str, int], np.ndarray] = {}

    def _of_planes(self, key: str, first: np.ndarray, dz: int) -> np.ndarray:
        """Return what all voxels around have in common: (m_j m_k)^(1/4) / M."""
        if (key, dz) not in self._common:
            m = self._mean
            if dz == 1:
                middle = (9 * (m[first] + m[first + 1]) - m[first - 1] - m[first + 2]) / 16
            elif dz == 2:  # halfway is a plane; sharpened as much as a cubic does it between planes
                middle = (18 * m[first + 1] - m[first] - m[first + 2]) / 16
            else:
                middle = m[first]
            middle = np.maximum(middle, np.minimum(m[first], m[first + dz]) / 4)
            with np.errstate(divide="ignore", invalid="ignore"):
                found = (m[first] * m[first + dz]) ** 0.25 / middle
            self._common[key, dz] = np.where(middle > 0, found, 0).astype(np.float32)
        return self._common[key, dz]

    def factors(self, key: str, planes: np.ndarray, dz: int, here: Slices, there: Slices) -> np.ndarray:
        """Return coefficients in these units, of those in units of the two variances; 0 where a voxel is missing.

        Parameters
        ----------
        key : str
            Name of the list of planes.
        planes : ndarray of int
            Planes of the first voxels of the pairs.
        dz : int
            The second ones are that many planes further on.
        here, there : tuple of slice
            The voxels in their planes.

        Returns
        -------
        ndarray of float32, shape (n_planes, ny, nx)
        """
        first = np.searchsorted(self._planes, planes)
        found: np.ndarray = self._of_planes(key, first, dz)[:, *here] * self._root[first][:, *here]
        found *= self._root[first + dz][:, *there]
        return found


class LocalCorrelation:
    """The coefficients of the voxels in a box, interpolated between the planes in which they are kept.

    Notes
    -----
    Coefficients change from plane to plane with the variance of the voxels, which is known of each: a voxel made of few
    pixels has a large variance, and small coefficients; those with the next plane are small or large in the wing and on
    the top of a sky line. What changes slowly is the covariance in units of

        M ((S_j S_k) / (m_j m_k))^(1/4)

    where S are the variances of the two voxels, m are means of the variance around the first in their planes (see
    `WINDOW`), and M is this mean halfway between the planes. So these are interpolated. The root stands between
    covariances that go with the variances of the voxels, as those of neighbours in a plane do, and such that do not.
    """

    def __init__(self, correlation: Correlation, box: Box, variances: Variances):
        self._correlation, self.box = correlation, box
        self.offsets, self.depth = correlation.offsets, correlation.depth
        self._numbers = {offset: number for number, offset in enumerate(self.offsets)}
        self._wanted, layout = np.arange(*box.planes), correlation.layout
        planes = [self._wanted]
        if self.offsets:
            self._pattern_places = _Places.of(layout.pattern, self._wanted)
            planes.append(self._pattern_places.planes)
        if self.depth:
            self._spectral_places = _Places.of(layout.spectral, self._wanted)
            planes.append(self._spectral_places.planes)
        self._units = _Units(box, planes, variances, self.depth)
        self._kept: dict[tuple[int, int, int] | tuple[str, int], np.ndarray] = {}

    def _interpolated(
        self, key: str, places: "_Places", values: np.ndarray, dz: int, here: Slices, there: Slices
    ) -> np.ndarray:
        factors = self._units.factors(key, places.planes, dz, here, there)
        return places.interpolate(np.where(factors > 0, values[:, *here] * factors, np.float32(np.nan)))

    def _pattern(self, offset: tuple[int, int, int]) -> np.ndarray:
        """Return what is interpolated of the pattern, of the voxels that have a neighbour at an offset."""
        if offset not in self._kept:
            here, there = overlap(offset[1:], self.box.shape[1:])
            values = self._correlation.read_pattern(self.box, self._pattern_places.nodes, self._numbers[offset])
            found = self._interpolated("pattern", self._pattern_places, values, offset[0], here, there)
            self._kept[offset] = found
        return self._kept[offset]

    def _change(self, dz: int) -> np.ndarray:
        """Return by how much that with the same spaxel differs from the pattern."""
        key = "change", dz
        if key not in self._kept:
            places, whole = self._spectral_places, (slice(None), slice(None))
            values = self._correlation.read_spectral(self.box, places.nodes, dz)
            found = self._interpolated("spectral", places, values, dz, whole, whole)
            self._kept[key] = found - self._pattern((dz, 0, 0))
        return self._kept[key]

    def _within(self, dy: int, dx: int) -> np.ndarray | float:
        """Return that with a neighbour in the same plane, of the voxels that have one."""
        if (dy, dx) == (0, 0):
            return 1.0
        return self._pattern((0, dy, dx) if (dy, dx) > (0, 0) else (0, -dy, -dx))

    def pairs(self, offset: tuple[int, int, int]) -> tuple[tuple[slice, ...], tuple[slice, ...], np.ndarray]:
        """Return the coefficients of all pairs of voxels in the box at an offset.

        Returns
        -------
        here, there : tuple of slice
            Index of the first and of the second voxels in the box.
        values : ndarray of float32
            Coefficients, in the shape of either; 0 where a voxel is missing.

        Notes
        -----
        Between planes of the pattern a coefficient with a later plane is that of the pattern, plus the change of the
        one with the same spaxel times the coefficient within the plane: rows have a weight along the wavelength, and
        one on the sky (as with drizzle and Lanczos).
        """
        dz, dy, dx = offset
        here, there = overlap((dy, dx), self.box.shape[1:])
        n = max(self.box.shape[0] - dz, 0)
        values = self._pattern(offset)[:n]
        if dz:
            change = self._change(dz)
            mean = 0.5 * (change[:n, *here] + change[:n, *there])
            within = self._within(dy, dx)
            values = values + (within if isinstance(within, float) else within[:n]) * mean
        factors = self._units.factors("wanted", self._wanted, dz, here, there)[:n]
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.where(factors > 0, np.clip(values / factors, -1, 1), 0)
        return (slice(0, n), *here), (slice(dz, dz + n), *there), values


def bands(correlation: Correlation, box: Box, variances: Variances, weights: np.ndarray) -> np.ndarray:
    """Return the covariance of sums over the spaxels of each plane, between planes.

    Parameters
    ----------
    correlation : Correlation
        Coefficients.
    box : Box
        Part of the cube.
    variances : Variances
        Variances of the cube.
    weights : ndarray of float64, shape (ny, nx) or (n_planes, ny, nx)
        Weight of each spaxel, or of each voxel, in the box.

    Returns
    -------
    ndarray of float64, shape (depth + 1, n_planes)
        Variance of the sum of each plane; its covariance with the sum of the next plane, and so on.
    """
    scaled = weights * np.sqrt(variances.read(np.arange(*box.planes), box.y, box.x)[0])
    out = np.zeros((correlation.depth + 1, len(scaled)))
    out[0] = np.einsum("pyx,pyx->p", scaled, scaled)
    size = box.chunk_planes
    for piece in box.chunks(correlation.depth):
        start = piece.planes[0] - box.planes[0]
        part = scaled[start : start + piece.shape[0]]
        local = correlation.local(piece, variances)
        for offset in correlation.offsets:
            here, there, values = local.pairs(offset)
            found = np.einsum("pyx,pyx,pyx->p", part[here], part[there], values, dtype=np.float64)[:size]
            out[offset[0], start : start + len(found)] += found * (1 if offset[0] else 2)
    return out


def quadratic_form(bands_: np.ndarray, weights: np.ndarray) -> float:
    """Return the variance of a weighted sum of the planes; `weights` of shape (n_planes,)."""
    total = float(np.sum(bands_[0] * weights**2))
    for dz in range(1, len(bands_)):
        total += 2 * float(np.sum(bands_[dz, : len(weights) - dz] * weights[dz:] * weights[: len(weights) - dz]))
    return total


def box_factor(mean: dict[tuple[int, int, int], float], size: int) -> float:
    """Return by how much the error of a sum over `size` x `size` spaxels is larger than without correlations."""
    extra = sum(
        2 * rho * max(size - abs(dy), 0) * max(size - abs(dx), 0) for (dz, dy, dx), rho in mean.items() if dz == 0
    )
    return math.sqrt(max(1 + extra / size**2, 0.0))

# SPDX-License-Identifier: GPL-2.0-or-later
"""From the coefficients that are kept to the covariance of any voxels."""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from muse_core.steps.noise.layout import Layout

#: How coefficients are kept: integers, of which one means that there is none.
PATTERN_SCALE, PATTERN_BLANK = 32767, -32768
SPECTRAL_SCALE, SPECTRAL_ZERO, SPECTRAL_BLANK = 127, 127, 255
_CHUNK = 1 << 21  # voxels whose coefficients are made at once


def encode_pattern(values: np.ndarray) -> np.ndarray:
    """Return coefficients, NaN where there are none, as int16."""
    return np.where(np.isnan(values), PATTERN_BLANK, np.rint(np.nan_to_num(values) * PATTERN_SCALE)).astype(np.int16)


def decode_pattern(raw: np.ndarray) -> np.ndarray:
    """Return float32, NaN where there are none, of what `encode_pattern` made."""
    return np.where(raw == PATTERN_BLANK, np.nan, raw / np.float32(PATTERN_SCALE)).astype(np.float32)


def encode_spectral(values: np.ndarray) -> np.ndarray:
    """Return coefficients, NaN where there are none, as uint8."""
    scaled = np.rint(np.nan_to_num(values) * SPECTRAL_SCALE) + SPECTRAL_ZERO
    return np.where(np.isnan(values), SPECTRAL_BLANK, scaled).astype(np.uint8)


def decode_spectral(raw: np.ndarray) -> np.ndarray:
    """Return float32, NaN where there are none, of what `encode_spectral` made."""
    scaled = (raw.astype(np.float32) - SPECTRAL_ZERO) / np.float32(SPECTRAL_SCALE)
    return np.where(raw == SPECTRAL_BLANK, np.float32(np.nan), scaled)


def overlap(offset: tuple[int, int], shape: tuple[int, int]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the part of an image whose pixels have a neighbour at (dy, dx), and the part that these are."""
    pairs = list(zip(offset, shape, strict=True))
    here = tuple(slice(max(-d, 0), max(n - max(d, 0), 0)) for d, n in pairs)
    there = tuple(slice(max(d, 0), max(n - max(-d, 0), 0)) for d, n in pairs)
    return here, there


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
    return np.nan_to_num(np.take_along_axis(values, nearest, axis=0))


@dataclasses.dataclass(frozen=True, slots=True)
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


class Correlation:
    """The coefficients of a cube.

    Parameters
    ----------
    layout : Layout
        What is kept.
    pattern : ndarray of int16, shape (n_planes, n_offsets, ny, nx)
        Pattern, as encoded; a map of a file will do.
    spectral : ndarray of uint8, shape (n_planes, depth, ny, nx)
        Spectral part, as encoded.
    """

    def __init__(self, layout: Layout, pattern: np.ndarray, spectral: np.ndarray):
        self.layout, self._pattern, self._spectral = layout, pattern, spectral
        self.depth = layout.neighbourhood.depth
        self.offsets = [tuple(offset) for offset in layout.neighbourhood.offsets.tolist()]

    def local(self, box: Box) -> "LocalCorrelation":
        """Read the coefficients of some voxels; only those that matter are read."""
        return LocalCorrelation(self, box)

    def read_pattern(self, box: Box, nodes: slice, number: int) -> np.ndarray:
        """Return the coefficients of an offset in planes of the pattern; float32, shape (n, ny, nx)."""
        return decode_pattern(np.asarray(self._pattern[nodes, number, slice(*box.y), slice(*box.x)]))

    def read_spectral(self, box: Box, nodes: slice, dz: int) -> np.ndarray:
        """Return the coefficients with the plane `dz` further on; float32, shape (n, ny, nx)."""
        return decode_spectral(np.asarray(self._spectral[nodes, dz - 1, slice(*box.y), slice(*box.x)]))

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


@dataclasses.dataclass(frozen=True, slots=True)
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
        return (
            values[self.low] * (1 + 2 * t) * rest**2
            + values[self.high] * (3 - 2 * t) * t**2
            + (slopes[self.low] * rest - slopes[self.high] * t) * (length * t * rest)
        )


class LocalCorrelation:
    """The coefficients of the voxels in a box, interpolated between the planes in which they are kept."""

    def __init__(self, correlation: Correlation, box: Box):
        self._correlation, self.box = correlation, box
        self.offsets, self.depth = correlation.offsets, correlation.depth
        self._numbers = {offset: number for number, offset in enumerate(self.offsets)}
        wanted, layout = np.arange(*box.planes), correlation.layout
        if self.offsets:
            self._pattern_places = _Places.of(layout.pattern, wanted)
        if self.depth:
            self._spectral_places = _Places.of(layout.spectral, wanted)
        self._kept: dict[tuple, np.ndarray] = {}

    def _pattern(self, offset: tuple[int, int, int]) -> np.ndarray:
        if offset not in self._kept:
            places, number = self._pattern_places, self._numbers[offset]
            values = self._correlation.read_pattern(self.box, places.nodes, number)
            self._kept[offset] = places.interpolate(values)
        return self._kept[offset]

    def _change(self, dz: int) -> np.ndarray:
        """Return by how much the coefficients with the same spaxel differ from those of the pattern."""
        key = "change", dz
        if key not in self._kept:
            places = self._spectral_places
            values = places.interpolate(self._correlation.read_spectral(self.box, places.nodes, dz))
            self._kept[key] = values - self._pattern((dz, 0, 0))
        return self._kept[key]

    def _within(self, dy: int, dx: int, here: np.ndarray, there: np.ndarray) -> np.ndarray | float:
        """Return the coefficients with a neighbour in the same plane, of the voxels `here`."""
        if (dy, dx) == (0, 0):
            return 1.0
        if (dy, dx) > (0, 0):
            return self._pattern((0, dy, dx))[:, here[0], here[1]]
        return self._pattern((0, -dy, -dx))[:, there[0], there[1]]

    def pairs(self, offset: tuple[int, int, int]) -> tuple[tuple, tuple, np.ndarray]:
        """Return the coefficients of all pairs of voxels in the box at an offset.

        Returns
        -------
        here, there : tuple of slice
            Index of the first and of the second voxels in the box.
        values : ndarray of float32
            Coefficients, in the shape of either.

        Notes
        -----
        Between planes of the pattern a coefficient with a later plane is that of the pattern, plus the change of the
        one with the same spaxel times the coefficient within the plane: rows have a weight along the wavelength, and
        one on the sky (as with drizzle and Lanczos).
        """
        dz, dy, dx = offset
        here, there = overlap((dy, dx), self.box.shape[1:])
        n = max(self.box.shape[0] - dz, 0)
        values = self._pattern(offset)[:, here[0], here[1]]
        if dz:
            change = self._change(dz)
            mean = 0.5 * (change[:, here[0], here[1]] + change[:, there[0], there[1]])
            values = values + self._within(dy, dx, here, there) * mean
        return (slice(0, n), *here), (slice(dz, dz + n), *there), np.clip(values[:n], -1, 1)


def bands(correlation: Correlation, box: Box, scaled: np.ndarray) -> np.ndarray:
    """Return the covariance of sums over the spaxels of each plane, between planes.

    Parameters
    ----------
    correlation : Correlation
        Coefficients.
    box : Box
        Part of the cube.
    scaled : ndarray of float64, shape (n_planes, ny, nx)
        Weight of each voxel times its noise; 0 for those that do not count.

    Returns
    -------
    ndarray of float64, shape (depth + 1, n_planes)
        Variance of the sum of each plane; its covariance with the sum of the next plane, and so on.
    """
    out = np.zeros((correlation.depth + 1, len(scaled)))
    out[0] = np.einsum("pyx,pyx->p", scaled, scaled)
    size = box.chunk_planes
    for piece in box.chunks(correlation.depth):
        start = piece.planes[0] - box.planes[0]
        part = scaled[start : start + piece.shape[0]]
        local = correlation.local(piece)
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

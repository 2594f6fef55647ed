# SPDX-License-Identifier: GPL-2.0-or-later
"""Empty fields of independent noise with known variance, on the detector of an instrument like MUSE, and their cubes.

A field is a few slices side by side and one above the other. Each has its own place along the wavelength, dispersion
and curvature; the variance of the pixels has sky lines; refraction moves the rows with the wavelength.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import fft

from harness.grids import pixel_grid
from muse_core.model.rows import make_rows
from muse_core.steps.noise.correlation import (
    Box,
    Correlation,
    Variances,
    encode,
    overlap,
)
from muse_core.steps.noise.layout import Layout
from muse_core.steps.noise.sums import CorrelationSums, CorrelationWatch
from muse_core.steps.resample import CosmicRayDirection, ResampleOptions, SlabResampler

NX, NY, NZ = 46, 30, 72
#: Columns between the slices on the left and on the right that see nothing; position of their edge; slice without data.
EDGE, GAP = 22.4, 19
#: Shift by refraction over all planes, in spaxels.
REFRACTION = 0.6
METHODS = {
    "drizzle 0.6": ResampleOptions(method="drizzle", pixfrac=(0.6,) * 3, crsigma=0),
    "drizzle 0.8": ResampleOptions(method="drizzle", pixfrac=(0.8,) * 3, crsigma=0),
    "drizzle 1.0": ResampleOptions(method="drizzle", pixfrac=(1.0,) * 3, crsigma=0),
    "linear": ResampleOptions(method="linear", crsigma=0),
    "quadratic": ResampleOptions(method="quadratic", crsigma=0),
    "renka": ResampleOptions(method="renka", crsigma=0),
    "lanczos": ResampleOptions(method="lanczos", crsigma=0),
}
GRID = pixel_grid(NX, NY, NZ, (0.0, 0.0, 6000.0))
SHIFT = np.linspace(0, REFRACTION, NZ)
#: Planes in which sums begin.
PLANES = slice(3, 59)


@dataclasses.dataclass(frozen=True)
class Pointing:
    """An exposure: dither in spaxels, angle in degrees, weight, level of the variance."""

    dither: tuple[float, float] = (0.0, 0.0)
    angle: float = 0.0
    weight: float = 1.0
    level: float = 1.0


ONE = (Pointing((0.23, 0.37)),)
THREE = (
    Pointing((0.23, 0.37), 0.0, 1.0, 1.0),
    Pointing((-1.41, 0.86), 90.0, 0.6, 1.7),
    Pointing((0.77, -1.28), 180.0, 1.4, 0.7),
)


def exposure(pointing: Pointing, rng: np.random.Generator, half: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of an exposure, with data of 0, and whether they are in the gap.

    Parameters
    ----------
    half : float
        Half of the size of the field of the slices, in spaxels.
    """
    columns, lines = np.arange(-half, half), np.arange(-half, half)
    middle = np.array([(NX - 1) / 2, (NY - 1) / 2])
    parts = []
    for line in lines:
        for side in (0, 1):  # slices on the left and on the right of the edge
            dispersion, start = 1.25 * (1 + rng.uniform(-0.03, 0.03)), rng.uniform(-0.625, 0.625)
            curvature, tilt, place = rng.uniform(-2, 2), rng.uniform(-0.1, 0.1), rng.uniform(-0.15, 0.15)
            edge = EDGE - middle[0]
            x = columns[columns < edge - 1] if side == 0 else columns[columns > edge] + 0.37
            if line == GAP - round(middle[1]):
                x = x[np.abs(x) > 6]  # a broken slice
            number = np.arange(-3, int(NZ * 1.25 / dispersion) + 4)
            bend = curvature * ((x - x.mean()) / half) ** 2
            lbda = 6000.0 + start + bend[:, None] + dispersion * number
            y = line + tilt * x / half + place
            shift = REFRACTION * (lbda - 6000.0) / (1.25 * NZ)
            u, v = x[:, None] + shift, np.broadcast_to(y[:, None], lbda.shape)
            parts.append(np.stack([u, v, lbda]).reshape(3, -1))
    u, v, lbda = np.concatenate(parts, axis=1)
    angle = math.radians(pointing.angle)
    x = math.cos(angle) * u - math.sin(angle) * v + middle[0] + pointing.dither[0]
    y = math.sin(angle) * u + math.cos(angle) * v + middle[1] + pointing.dither[1]
    lines_of_sky = sum(8 * np.exp(-0.5 * ((lbda - centre) / 1.1) ** 2) for centre in (6012.0, 6033.0, 6037.5, 6071.0))
    inside = (x > -0.5) & (x < NX - 0.5) & (y > -0.5) & (y < NY - 0.5) & (lbda > 5999.4) & (lbda < 6000 + 1.25 * NZ)
    variance = pointing.level * (1 + lines_of_sky)
    rows = make_rows(x[inside], y[inside], lbda[inside], 0, 0, variance[inside], 0)
    return rows, np.full(len(rows), pointing.weight, np.float32)


class _Exact(Correlation):
    """Coefficients that are not encoded."""

    def read_pattern(self, box: Box, nodes: slice, number: int) -> np.ndarray:
        return self._pattern[nodes, number, slice(*box.y), slice(*box.x)]

    def read_spectral(self, box: Box, nodes: slice, dz: int) -> np.ndarray:
        return self._spectral[nodes, dz - 1, slice(*box.y), slice(*box.x)]


class Field:
    """A field, resampled by one method; with `every_plane`, coefficients are kept of all planes: the exact ones.

    Attributes
    ----------
    stat : ndarray of float64
        Variances of the cube, 0 where there are no data.
    """

    def __init__(
        self, pointings: tuple[Pointing, ...], options: ResampleOptions, seed: int = 1, every_plane: bool = False
    ):
        rng = np.random.default_rng(seed)
        found = [exposure(pointing, rng, 30) for pointing in pointings]
        self.rows = np.concatenate([rows for rows, _ in found])
        self.weights = np.concatenate([weights for _, weights in found])
        self._sigma = np.sqrt(self.rows["stat"].astype(float))
        self.resampler = SlabResampler(GRID, options, CosmicRayDirection.ALL, 2)
        self.layout = Layout.of(GRID, options, SHIFT)
        if every_plane:
            planes = np.arange(GRID.nz, dtype=np.int32)
            self.layout = Layout(self.layout.neighbourhood, planes, planes)
        shape, kind = (GRID.ny, GRID.nx), np.float64 if every_plane else np.uint8
        n, depth = len(self.layout.neighbourhood.offsets), self.layout.neighbourhood.depth
        pattern, spectral = np.empty((GRID.nz, n, *shape), kind), np.empty((GRID.nz, depth, *shape), kind)

        def coded(values: np.ndarray) -> dict[str, np.ndarray]:
            return {"codes": values if every_plane else encode(values)}

        self.resampler.watch = watch = CorrelationWatch(GRID, self.layout, coded, coded)
        cube = self.resampler.slab(self.rows, self.weights, 0, GRID.nz)
        self.resampler.watch = None
        sums = CorrelationSums(
            watch,
            lambda plane, kept: pattern.__setitem__(plane, kept["codes"]),
            lambda plane, kept: spectral.__setitem__(plane, kept["codes"]),
        )
        sums.add(cube.seen)
        assert sums.complete
        self.stat = np.where(cube.dq == 0, cube.stat, 0).astype(float)
        made = _Exact if every_plane else Correlation
        self.correlation = made(self.layout, pattern[self.layout.pattern], spectral[self.layout.spectral])

    def realisation(self, rng: np.random.Generator) -> np.ndarray:
        """Return a cube of noise; float32, 0 where there are no data."""
        self.rows["data"] = rng.normal(0, self._sigma)
        return self.resampler.slab(self.rows, self.weights, 0, GRID.nz).data

    def covariances(self) -> Iterator[tuple[tuple[int, int, int], np.ndarray]]:
        """Yield the predicted covariances of all voxels with those at an offset; 0 where there are none."""
        noise = np.sqrt(self.stat)
        box = Box((0, GRID.nx), (0, GRID.ny), (0, GRID.nz))
        local = self.correlation.local(box, Variances(self.stat))
        for offset in self.correlation.offsets:
            here, there, values = local.pairs(offset)
            found = np.zeros(self.stat.shape)
            found[here] = values * noise[here] * noise[there]
            yield offset, found

    def variances(self, kinds: Sequence["Sums"]) -> dict["Sums", tuple[np.ndarray, np.ndarray]]:
        """Return the variances of sums, predicted with correlations and by STAT alone; 0 where there are no data."""
        shapes = {sums.kind: sums.weights for sums in kinds}
        stat = _transform(self.stat)
        alone = {kind: _weighted(stat, w**2) for kind, w in shapes.items()}
        total = {(kind, 0): found.copy() for kind, found in alone.items()}
        for (dz, dy, dx), found in self.covariances():
            here, there = overlap((dy, dx), (WIDEST, WIDEST))
            found = _transform(found)
            for kind, w in shapes.items():
                pairs = np.zeros_like(w)
                pairs[here] = w[here] * w[there]
                if pairs.any():
                    total[kind, dz] = total.get((kind, dz), 0) + _weighted(found, (1 if dz else 2) * pairs)
        alone, total = ({key: _back(found) for key, found in each.items()} for each in (alone, total))
        out = {}
        for sums in kinds:
            n = sums.n_planes
            predicted = _of_planes(total[sums.kind, 0], n)
            for dz in range(1, n):
                if (sums.kind, dz) in total:
                    predicted += 2 * _of_planes(total[sums.kind, dz], n - dz)[: len(predicted)]
            out[sums] = sums.chosen(predicted), sums.chosen(_of_planes(alone[sums.kind], n))
        return out


#: Size of the square in which weights of spaxels are given.
WIDEST = 11


def _transform(cube: np.ndarray) -> np.ndarray:
    """Return the Fourier transforms of planes, with a margin for weights."""
    margin = WIDEST // 2
    return fft.rfft2(np.pad(cube, ((0, 0), (margin, margin), (margin, margin))))


def _weighted(planes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the transforms of the weighted sums around each spaxel."""
    return planes * np.conj(fft.rfft2(weights, (NY + WIDEST - 1, NX + WIDEST - 1)))


def _back(planes: np.ndarray) -> np.ndarray:
    """Return the planes of transforms."""
    found = fft.irfft2(planes, (NY + WIDEST - 1, NX + WIDEST - 1))[:, :NY, :NX]
    found[np.abs(found) < 1e-9] = 0  # rounding
    return found


def _of_planes(cube: np.ndarray, n: int) -> np.ndarray:
    """Return sums over n planes from each one on."""
    total = np.cumsum(np.concatenate([np.zeros((1, *cube.shape[1:])), cube]), axis=0)
    return total[n:] - total[:-n]


@dataclasses.dataclass(frozen=True, eq=False)
class Sums:
    """Sums of one kind at many places.

    Attributes
    ----------
    place, kind : str
        Where, and over which spaxels.
    n_planes : int
        Over how many planes.
    weights : ndarray of float64, shape (WIDEST, WIDEST)
        Weights of the spaxels around the middle one.
    middles : ndarray of bool, shape (ny, nx)
        The middle spaxels.
    """

    place: str
    kind: str
    n_planes: int
    weights: np.ndarray
    middles: np.ndarray

    def chosen(self, values: np.ndarray) -> np.ndarray:
        """Return the values, of shape (planes, ny, nx), at the places."""
        return values[PLANES][:, self.middles]


def sums_of(cube: np.ndarray, kinds: Sequence[Sums]) -> list[np.ndarray]:
    """Return the sums of a cube."""
    found, transform = {}, _transform(cube.astype(float))
    for sums in kinds:
        if sums.kind not in found:
            found[sums.kind] = _back(_weighted(transform, sums.weights))
        if (sums.kind, sums.n_planes) not in found:
            found[sums.kind, sums.n_planes] = _of_planes(found[sums.kind], sums.n_planes)
    return [sums.chosen(found[sums.kind, sums.n_planes]) for sums in kinds]


def all_sums() -> list[Sums]:
    """Return sums over 1, 9, 25 and 81 spaxels, of 1, 3 and 10 planes, and the narrow-band images of an aperture."""
    y, x = np.indices((NY, NX))
    below = (y >= 5) & (y <= GAP - 6)
    places = {
        "centre": below & (x >= 5) & (x < NX - 5) & (abs(x - EDGE) > 6),
        "slice edge": below & (abs(x - EDGE) < 1.5),
        "gap": (abs(y - GAP) <= 1) & (abs(x - (NX - 1) / 2) <= 6),
    }
    rows, columns = np.indices((WIDEST, WIDEST)) - WIDEST // 2
    found = []
    for place, middles in places.items():
        for size in (1, 3, 5, 9):
            square = ((abs(rows) <= size // 2) & (abs(columns) <= size // 2)).astype(float)
            found += [Sums(place, f"{size} x {size}", n, square, middles) for n in (1, 3, 10)]
        circle = (np.hypot(rows, columns) <= 5).astype(float)
        found.append(Sums(place, "aperture 1 arcsec", 8, circle, middles))
    return found


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Variance of sums, predicted and by STAT alone, over the empirical one; and the error of the latter."""

    sums: Sums
    predicted: float
    alone: float
    error: float


def compare(field: Field, n_realisations: int, seed: int = 5) -> list[Verdict]:
    """Compare predicted with empirical variances, kind by kind: ratios, means over all places of a kind."""
    rng, kinds = np.random.default_rng(seed), all_sums()
    predicted = field.variances(kinds)
    seen = [predicted[sums][0] > 0 for sums in kinds]
    each = []  # of mean 1, if predictions are right
    for _ in range(n_realisations):
        found = sums_of(field.realisation(rng), kinds)
        each.append(
            [
                np.mean(values[ok] ** 2 / predicted[sums][0][ok])
                for sums, ok, values in zip(kinds, seen, found, strict=True)
            ]
        )
    means, errors = np.mean(each, axis=0), np.std(each, axis=0) / math.sqrt(n_realisations)
    verdicts = []
    for sums, ok, mean, error in zip(kinds, seen, means, errors, strict=True):
        by_correlation, by_stat = predicted[sums]
        alone = float(np.mean(by_stat[ok] / by_correlation[ok]))
        verdicts.append(Verdict(sums, 1 / mean, alone / mean, error / mean))
    return verdicts


def deviations(field: Field, exact: Field) -> dict[Sums, tuple[float, float]]:
    """Return the mean, and the scatter from place to place, of predicted over exact variances, minus 1."""
    kinds = all_sums()
    found, expected = field.variances(kinds), exact.variances(kinds)
    out = {}
    for sums in kinds:
        seen = expected[sums][0] > 0
        ratio = found[sums][0][seen] / expected[sums][0][seen]
        out[sums] = float(ratio.mean()) - 1, float(ratio.std())
    return out

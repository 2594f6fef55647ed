# SPDX-License-Identifier: GPL-2.0-or-later
"""Empty fields of independent noise with known variance, on the detector of an instrument like MUSE, and their cubes.

A field is a few slices side by side and one above the other. Each has its own place along the wavelength, dispersion
and curvature; the variance of the pixels has sky lines; refraction moves the rows with the wavelength.
"""

import dataclasses
import math

import numpy as np

from muse_core.model.grid import OutputGrid
from muse_core.model.rows import make_rows
from muse_core.steps.noise.correlation import (
    Box,
    Correlation,
    bands,
    encode_pattern,
    encode_spectral,
    quadratic_form,
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
GRID = OutputGrid(
    nx=NX,
    ny=NY,
    nz=NZ,
    celestial=False,
    ctype3="AWAV",
    crpix=(1.0, 1.0, 1.0),
    crval=(0.0, 0.0, 6000.0),
    cd=(1.0, 0.0, 0.0, 1.0),
    cd33=1.25,
    origin=(0.0, 0.0),
    scale=(1.0, 1.0),
)
SHIFT = np.linspace(0, REFRACTION, NZ)


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


class Field:
    """A field, resampled by one method.

    Attributes
    ----------
    stat : ndarray of float64
        Variances of the cube, 0 where there are no data.
    """

    def __init__(self, pointings: tuple[Pointing, ...], options: ResampleOptions, seed: int = 1):
        rng = np.random.default_rng(seed)
        found = [exposure(pointing, rng, 30) for pointing in pointings]
        self.rows = np.concatenate([rows for rows, _ in found])
        self.weights = np.concatenate([weights for _, weights in found])
        self._sigma = np.sqrt(self.rows["stat"].astype(float))
        self.resampler = SlabResampler(GRID, options, CosmicRayDirection.ALL, 2)
        self.layout = Layout.of(GRID, options, SHIFT)
        shape = (GRID.ny, GRID.nx)
        n = len(self.layout.neighbourhood.offsets)
        pattern = np.empty((len(self.layout.pattern), n, *shape), np.int16)
        spectral = np.empty((len(self.layout.spectral), self.layout.neighbourhood.depth, *shape), np.uint8)

        def keep_pattern(plane, kept):
            pattern[self.layout.pattern.tolist().index(plane)] = kept["codes"]

        def keep_spectral(plane, kept):
            spectral[self.layout.spectral.tolist().index(plane)] = kept["codes"]

        self.resampler.watch = watch = CorrelationWatch(
            GRID, self.layout, lambda v: {"codes": encode_pattern(v)}, lambda v: {"codes": encode_spectral(v)}
        )
        cube = self.resampler.slab(self.rows, self.weights, 0, GRID.nz)
        self.resampler.watch = None
        sums = CorrelationSums(watch, keep_pattern, keep_spectral)
        sums.add(cube.seen)
        assert sums.complete
        self.stat = np.where(cube.dq == 0, cube.stat, 0).astype(float)
        self.correlation = Correlation(self.layout, pattern, spectral)

    def realisation(self, rng: np.random.Generator) -> np.ndarray:
        """Return a cube of noise; float32, 0 where there are no data."""
        self.rows["data"] = rng.normal(0, self._sigma)
        return self.resampler.slab(self.rows, self.weights, 0, GRID.nz).data

    def variances(self, sums: "Sums") -> tuple[np.ndarray, np.ndarray]:
        """Return the variances of sums, predicted with correlations and by STAT alone."""
        predicted, alone = [], []
        for y, x, z, weights in sums.boxes:
            box = Box((x, x + weights.shape[1]), (y, y + weights.shape[0]), (z, z + sums.n_planes))
            stat = self.stat[slice(*box.planes), slice(*box.y), slice(*box.x)]
            scaled = weights * np.sqrt(stat)
            predicted.append(quadratic_form(bands(self.correlation, box, scaled), np.ones(sums.n_planes)))
            alone.append(np.sum(scaled**2))
        return np.array(predicted), np.array(alone)


@dataclasses.dataclass(frozen=True)
class Sums:
    """Sums of one kind at several places: first y, x and plane, and weights of the spaxels, of each."""

    place: str
    kind: str
    n_planes: int
    boxes: tuple

    def of(self, cube: np.ndarray) -> np.ndarray:
        """Return the sums of a cube."""
        return np.array(
            [
                np.einsum(
                    "zyx,yx->", cube[z : z + self.n_planes, y : y + w.shape[0], x : x + w.shape[1]].astype(float), w
                )
                for y, x, z, w in self.boxes
            ]
        )


def all_sums() -> list[Sums]:
    """Return sums over 1, 9, 25 and 81 spaxels, of 1, 3 and 10 planes, and the narrow-band images of an aperture."""
    centres = {
        "centre": [(8, 9), (8, 34), (23, 9), (23, 34)],
        "slice edge": [(6, 22), (11, 22), (23, 22), (17, 23)],
        "gap": [(GAP, 18), (GAP, 25), (GAP, 28), (GAP - 1, 20)],
    }
    planes = (3, 17, 29, 41, 55)
    rows, columns = np.indices((11, 11)) - 5
    circle = (np.hypot(rows, columns) <= 5).astype(float)  # 1 arcsec
    found = []
    for place, spots in centres.items():
        for size in (1, 3, 5, 9):
            w = np.ones((size, size))
            for n in (1, 3, 10):
                boxes = [(y - size // 2, x - size // 2, z, w) for y, x in spots for z in planes]
                found.append(Sums(place, f"{size} x {size}", n, tuple(boxes)))
        boxes = tuple((y - 5, x - 5, z, circle) for y, x in spots for z in planes)
        found.append(Sums(place, "aperture 1 arcsec", 8, boxes))
    return found


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Standard deviation of sums, predicted and by STAT alone, over the empirical one; and the error of the latter."""

    sums: Sums
    predicted: float
    alone: float
    error: float


def compare(field: Field, n_realisations: int, seed: int = 5) -> list[Verdict]:
    """Compare predicted with empirical variances, kind by kind: ratios, means over all places of a kind."""
    rng, kinds = np.random.default_rng(seed), all_sums()
    squares = [[] for _ in kinds]
    for _ in range(n_realisations):
        cube = field.realisation(rng)
        for found, sums in zip(squares, kinds, strict=True):
            found.append(sums.of(cube) ** 2)
    verdicts = []
    for found, sums in zip(squares, kinds, strict=True):
        predicted, alone = field.variances(sums)
        seen = predicted > 0
        predicted, alone = predicted[seen], alone[seen]
        scaled = np.array(found)[:, seen] / predicted  # of mean 1, if the prediction is right
        each = scaled.mean(axis=1)
        mean, error = each.mean(), each.std() / math.sqrt(n_realisations)
        ratio = 1 / mean
        verdicts.append(Verdict(sums, ratio, float(np.mean(alone / predicted) / mean), error / mean))
    return verdicts

# SPDX-License-Identifier: GPL-2.0-or-later
"""Which correlations of a cube are kept: with which neighbours, and in which planes.

A full set of coefficients, with all neighbours of a voxel, is kept in planes between which refraction moves the
spaxels over the sky by a fraction of their size (the *pattern*). Along the wavelength the coefficients change faster:
the pixels of the detector drift through the planes, once in some thirty of them. Those with the same spaxel in the next
planes are therefore kept more densely (the *spectral* part).
"""

import math

import numpy as np

from muse_core.model.grid import OutputGrid
from muse_core.model.record import record
from muse_core.model.resampling import METHODS
from muse_core.steps.resample import ResampleOptions

#: Neighbours farther away are left out, unless the reach of the method is longer.
RADIUS, DEPTH = 2, 2
#: Shift by refraction, in spaxels, and number of planes between two planes of the pattern, at most.
SHIFT, SPACING = 0.15, 64
#: Part of the cube's size (8 bytes a voxel) that the pattern may take, for each plane of neighbours; there are a few
#: planes anyway.
PATTERN_SHARE, FEWEST = 0.018, 8
_VOXEL_BYTES = 8
#: Planes between two of the spectral part.
SPECTRAL_SPACING = 12
#: A drop that is larger than a voxel by rounding alone.
_ROUNDING = 1e-3


@record
class Neighbourhood:
    """The neighbours of a voxel with which it is correlated.

    Attributes
    ----------
    radius : int
        Largest distance in x and in y, in spaxels.
    depth : int
        Largest distance in planes.
    """

    radius: int
    depth: int

    @classmethod
    def of(cls, grid: OutputGrid, options: ResampleOptions) -> "Neighbourhood":
        """Return the neighbourhood for a grid and a method: all that share rows, within `RADIUS` and `DEPTH`."""
        if not METHODS[options.method].has_neighbours:
            return cls(0, 0)
        radius = depth = 2 * options.ld
        if options.method == "drizzle":  # a drop covers a few voxels only
            sizes = grid.scale[0] / abs(grid.cd[0] or np.inf), grid.scale[1] / abs(grid.cd[3] or np.inf)
            drops = [fraction * size for fraction, size in zip(options.pixfrac[:2], sizes, strict=True)]
            radius = min(radius, math.ceil(max(drops) * (1 - _ROUNDING)) or 1)
            length = float(np.min(grid.voxel_length(np.array([0, grid.nz - 1]))))
            depth = min(depth, math.ceil(options.pixfrac[2] * 1.25 / length * (1 - _ROUNDING)) or 1)
        return cls(min(radius, max(RADIUS, options.ld)), min(depth, DEPTH))

    @property
    def offsets(self) -> np.ndarray:
        """(dz, dy, dx) of the neighbours, of which the others follow by symmetry; int16, shape (n, 3)."""
        around = range(-self.radius, self.radius + 1)
        every = [(dz, dy, dx) for dz in range(self.depth + 1) for dy in around for dx in around]
        return np.array([offset for offset in every if offset > (0, 0, 0)], np.int16).reshape(-1, 3)


@record
class Layout:
    """What is kept.

    Attributes
    ----------
    neighbourhood : Neighbourhood
        The neighbours.
    pattern, spectral : ndarray of int32
        Planes, ascending, counted from 0.
    """

    neighbourhood: Neighbourhood
    pattern: np.ndarray
    spectral: np.ndarray

    @classmethod
    def of(cls, grid: OutputGrid, options: ResampleOptions, shift: np.ndarray | None = None) -> "Layout":
        """Choose the planes.

        Parameters
        ----------
        grid, options : OutputGrid and ResampleOptions
            Grid and method.
        shift : ndarray of float64, shape (nz,), optional
            Shift by refraction in each plane, in spaxels.
        """
        neighbourhood = Neighbourhood.of(grid, options)
        n = len(neighbourhood.offsets)
        if not n:
            return cls(neighbourhood, np.empty(0, np.int32), np.empty(0, np.int32))
        # planes at the ends lack neighbours, and rows
        low = min(options.reach, grid.nz - 1)
        high = max(grid.nz - 1 - options.reach - neighbourhood.depth, low)
        changed = np.zeros(grid.nz) if shift is None else np.concatenate([[0], np.cumsum(np.abs(np.diff(shift)))])
        change = np.arange(grid.nz) / SPACING + changed / SHIFT
        most = max(FEWEST, int(PATTERN_SHARE * (1 + neighbourhood.depth) * _VOXEL_BYTES * grid.nz / n))
        count = min(math.ceil(change[high] - change[low]) + 1, most)
        at = np.interp(np.linspace(change[low], change[high], count), change, np.arange(grid.nz))
        return cls(
            neighbourhood,
            np.unique(np.rint(at).astype(np.int32)),
            np.unique(np.append(np.arange(low, high + 1, SPECTRAL_SPACING), high)).astype(np.int32),
        )

    def product_bytes(self, grid: OutputGrid) -> int:
        """Return the size of the coefficients in a file."""
        n = len(self.neighbourhood.offsets)
        spaxels = grid.ny * grid.nx
        return spaxels * (n * len(self.pattern) + self.neighbourhood.depth * len(self.spectral))

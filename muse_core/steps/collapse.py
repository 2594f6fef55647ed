# SPDX-License-Identifier: GPL-2.0-or-later
"""Field-of-view images: the planes of a cube, weighted with the throughput of filters."""

from collections.abc import Sequence

import numpy as np

from muse_core.cython_ext import collapse as collapse_kernels
from muse_core.errors import DataError
from muse_core.model.filters import FilterCurve
from muse_core.model.grid import OutputGrid

_OUT_OF_RANGE = -1.0


def covers(grid: OutputGrid, curve: FilterCurve) -> bool:
    """Does any plane of a cube have throughput in a filter?"""
    return bool(np.any(curve(grid.wavelength(np.arange(grid.nz)))))


class Collapse:
    """Images of a cube of which the planes come one after the other.

    An image is the mean of the planes weighted with the throughput; missing and non-finite voxels drop out.

    Parameters
    ----------
    grid : OutputGrid
        Grid of the cube.
    curves : sequence of FilterCurve or None
        Filters; None stands for throughput 1 everywhere.
    n_threads : int
        Number of threads.
    """

    def __init__(self, grid: OutputGrid, curves: Sequence[FilterCurve | None], n_threads: int = 1):
        self.grid = grid
        self.curves = tuple(curves)
        self.n_threads = n_threads
        self._ranges = []
        self._throughput = np.full((len(self.curves), grid.nz), _OUT_OF_RANGE)
        lbda = grid.wavelength(np.arange(grid.nz))
        for throughput, curve in zip(self._throughput, self.curves, strict=True):
            values = np.ones(grid.nz) if curve is None else curve(lbda)
            start, stop = (0, grid.nz) if curve is None else curve.plane_range(values)
            throughput[start:stop] = values[start:stop]
            self._ranges.append((start, stop))
        shape = (len(self.curves), grid.ny, grid.nx)
        self._total, self._weight = np.zeros(shape), np.zeros(shape)
        self._next = 0

    def add_planes(self, first: int, data: np.ndarray, dq: np.ndarray) -> None:
        """Add the planes from number `first` on.

        Parameters
        ----------
        first : int
            Number of the first plane; each call goes on where the last one ended.
        data : ndarray of float32, shape (n, ny, nx)
            Values.
        dq : ndarray of int32, shape (n, ny, nx)
            Flags; flagged voxels drop out.
        """
        if first != self._next:
            raise DataError(f"planes from {first} on: expected those from {self._next} on")
        self._next += len(data)
        throughput = np.ascontiguousarray(self._throughput[:, first : self._next])
        collapse_kernels.add_planes(data, dq, throughput, self._total, self._weight, self.n_threads)

    def images(self) -> list[np.ndarray]:
        """Return an image for each filter: float32, shape (ny, nx), NaN where there are no data."""
        result = []
        for total, weight in zip(self._total, self._weight, strict=True):
            image = np.empty(total.shape, np.float32)
            collapse_kernels.divide(total, weight, image)
            result.append(image)
        return result

    def fractions(self, n_planes: int | None = None) -> list[float]:
        """Return the fraction (0...1) of each filter that the used planes cover; 1 without a filter.

        As in the reference the upper end is the wavelength of the first plane after the used ones. `n_planes` replaces
        the number of planes of the cube.
        """
        ranges = self._ranges
        if n_planes is not None:
            lbda = self.grid.wavelength(np.arange(n_planes))
            ranges = [(0, n_planes) if curve is None else curve.plane_range(curve(lbda)) for curve in self.curves]
        return [
            1.0 if curve is None else curve.fraction(*self.grid.wavelength(np.array(used)))
            for curve, used in zip(self.curves, ranges, strict=True)
        ]

# SPDX-License-Identifier: GPL-2.0-or-later
"""Time and peak memory of the kernels at three sizes, one thread: ``make kernels``, or ``asv run`` between commits.

Rows lie on the sky as those of an exposure do: about one in each voxel. Peak memory is that of the process.
"""

import numpy as np

from muse_core.cython_ext import rows as row_kernels
from muse_core.cython_ext import sky_lines as sky_line_kernels
from muse_core.model import origin
from muse_core.model.grid import OutputGrid
from muse_core.model.rows import ROW, make_rows
from muse_core.steps.resample import METHODS, CosmicRayDirection, ResampleOptions, SlabResampler

SIDE = 100
SIZES = (100_000, 1_000_000, 4_000_000)


def grid_of(n: int) -> OutputGrid:
    """Return a grid with about as many voxels as there are rows."""
    shape = {"nx": SIDE, "ny": SIDE, "nz": n // SIDE**2}
    return OutputGrid(
        **shape, celestial=False, ctype3="AWAV", crpix=(1.0, 1.0, 1.0), crval=(1.0, 1.0, 5000.0),
        cd=(1.0, 0.0, 0.0, 1.0), cd33=1.25, origin=(0.0, 0.0), scale=(1.0, 1.0),
    )  # fmt: skip


def exposure(n: int) -> np.ndarray:
    """Return rows, of all IFUs and slices, in random order."""
    random = np.random.default_rng(1)
    x, y = random.uniform(1, SIDE, (2, n))
    lbda = random.uniform(5000, 5000 + 1.25 * (n // SIDE**2 - 1), n)
    where = origin.encode(random.integers(1, 25, n), random.integers(1, 49, n), 3, 7, 0)
    return make_rows(x, y, lbda, random.normal(10, 2, n), 0, np.full(n, 4.0), where)


class Rows:
    """Passes over rows."""

    params = SIZES
    param_names = ("rows",)

    def setup(self, n: int) -> None:
        """Make the rows."""
        self.rows = exposure(n)
        self.keys, self.sorted = np.zeros(2 * n, np.uint64), np.zeros(n, ROW)
        self.limits = np.array([3e38, -3e38] * 3)
        self.slices = np.zeros(2048, np.uint8)
        self.lines = (np.arange(5000.0, 5500.0, 2.0), np.ones(250))
        self.lsf = (np.linspace(1, 2, 12).reshape(2, 6), np.array([3.0, 0.0, 1.0, 1.0, 5000.0, 10.0]))

    def time_sort(self, n: int) -> None:
        """By IFU, slice and wavelength."""
        row_kernels.sort(self.rows, False, self.keys, self.sorted)

    def time_limits(self, n: int) -> None:
        """Of positions and wavelengths."""
        row_kernels.limits(self.rows, self.limits, self.slices)

    def time_sky_lines(self, n: int) -> None:
        """250 sky lines are subtracted."""
        sky_line_kernels.subtract_lines(self.rows, *self.lines, *self.lsf, np.zeros((2, 10)), np.zeros((2, n)))

    def peakmem_sort(self, n: int) -> None:
        """With keys and a second set of rows."""
        self.time_sort(n)


class Resampling:
    """Sorting into cells, rejection of cosmic rays, planes."""

    params = (SIZES, METHODS)
    param_names = ("rows", "method")

    def setup(self, n: int, method: str) -> None:
        """Make rows and what resamples them."""
        self.rows, self.grid = exposure(n), grid_of(n)
        options = ResampleOptions(method=method, pixfrac=(0.8, 0.8, 0.8))
        self.resampler = SlabResampler(self.grid, options, CosmicRayDirection.X, 1)

    def time_slab(self, n: int, method: str) -> None:
        """All planes at once."""
        self.resampler.slab(self.rows, None, 0, self.grid.nz)

    def peakmem_slab(self, n: int, method: str) -> None:
        """All planes at once."""
        self.time_slab(n, method)

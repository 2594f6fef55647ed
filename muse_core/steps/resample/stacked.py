# SPDX-License-Identifier: GPL-2.0-or-later
"""The stacked image: all slices side by side, resampled along wavelength."""

import math
from collections.abc import Sequence

import numpy as np

from muse_core.cython_ext import stacked as stacked_kernels
from muse_core.model import units
from muse_core.model.cards import card
from muse_core.model.compat import OURS, Compat
from muse_core.model.fits import Card
from muse_core.model.grid import SPECTRAL_STEP, OutputGrid, TableLimits
from muse_core.model.record import record


@record(kw_only=True)
class StackedGrid:
    """Sampling of the stacked image.

    Attributes
    ----------
    dx : float
        Width of a column, in the unit of xpos.
    lbda_low, dl : float
        Wavelength of the first line, and step, in Angstrom.
    n_lines : int
        Number of lines.
    """

    dx: float
    lbda_low: float
    dl: float
    n_lines: int

    def n_columns(self, low: np.float32, high: np.float32) -> int:
        """Return the number of columns of a slice with positions from `low` to `high`."""
        return math.ceil(float(high - low) / self.dx) + 1

    def cards(self) -> list[Card]:
        """Return the cards of the world coordinates."""
        values = (
            ("CRPIX1", 1.0),
            ("CRPIX2", 1.0),
            ("CRVAL1", 1.0),
            ("CRVAL2", self.lbda_low),
            ("CD1_1", 1.0),
            ("CD2_2", self.dl),
            ("CD1_2", 0.0),
            ("CD2_1", 0.0),
            ("CUNIT1", "pixel"),
            ("CUNIT2", units.ANGSTROM),
            ("CTYPE1", "PIXEL"),
            ("CTYPE2", "AWAV"),
        )
        return [card(key, value) for key, value in values]


def stacked_grid(
    limits: TableLimits, grid: OutputGrid, step: tuple[float, float, float], compat: Compat = OURS
) -> StackedGrid:
    """Lay out the stacked image.

    Parameters
    ----------
    limits : TableLimits
        Extent of the pixel table.
    grid : OutputGrid
        Natural grid of the table: tells the unit of its positions and the size of its spaxels.
    step : tuple of float
        dx and dy (arcsec or spaxels) and dlambda (Angstrom) of the recipe; 0 for the natural ones.
    compat : Compat
        ``stacked_dx_in_degrees`` is used.
    """
    dx = step[0]
    if not dx:
        dx = 1.2 * grid.scale[0] if grid.celestial else 1.0
    elif grid.celestial and not compat.stacked_dx_in_degrees:
        dx /= 3600.0
    dl = step[2] or SPECTRAL_STEP
    low, high = float(limits.lbda_low), float(limits.lbda_high)
    return StackedGrid(dx=dx, lbda_low=low, dl=dl, n_lines=math.ceil((high - low) / dl) + 1)


def stack_slice(rows: np.ndarray, grid: StackedGrid) -> np.ndarray:
    """Resample the rows of one slice.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n,)
        All rows of one slice of one IFU (of all exposures), at least one.
    grid : StackedGrid
        Sampling.

    Returns
    -------
    ndarray of float32, shape (n_lines, n_columns)
        Values; 0 where there are none.
    """
    low, high = rows["xpos"].min(), rows["xpos"].max()
    n_columns = grid.n_columns(low, high)
    total, weight = np.zeros((grid.n_lines, n_columns)), np.zeros((grid.n_lines, n_columns))
    stacked_kernels.stack_rows(rows, low, grid.dx, grid.lbda_low, grid.dl, total, weight)
    return np.divide(total, weight, out=np.zeros_like(total), where=weight > 0).astype(np.float32)


def stack(slices: Sequence[np.ndarray]) -> np.ndarray:
    """Put the images of the slices, in the order of IFU and slice, side by side."""
    return np.ascontiguousarray(np.concatenate(slices, axis=1))

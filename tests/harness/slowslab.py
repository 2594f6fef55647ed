# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows and a grid of which a slab takes seconds to minutes with some methods: for tests of what a signal waits for."""

import numpy as np

from harness.grids import pixel_grid
from muse_core.model.grid import OutputGrid
from muse_core.model.rows import ROW


def slow_slab() -> tuple[np.ndarray, OutputGrid]:
    """Return rows (ROW, sorted by wavelength) and a grid around them."""
    rng = np.random.default_rng(1)
    rows = np.zeros(400_000, ROW)
    rows["xpos"], rows["ypos"] = rng.uniform(0, 99, (2, len(rows)))
    rows["lbda"] = np.sort(rng.uniform(5000, 5050, len(rows)))
    rows["data"], rows["stat"] = rng.normal(10, 1, len(rows)), 1.0
    grid = pixel_grid(100, 100, 40, (0.0, 0.0, 5000.0))
    return rows, grid

# SPDX-License-Identifier: GPL-2.0-or-later
"""Images of several exposures laid over each other: a preview, and a map of exposure times.

Each pixel gets what the nearest pixels of the images have, summed; there is no resampling that keeps the flux.
"""

import logging
from collections.abc import Sequence

import numpy as np

from muse_core.model.compat import OURS, Compat
from muse_core.model.fov import CelestialGrid, FovImage
from muse_core.model.header import spaxel_size_arcsec

_LOG = logging.getLogger(__name__)

_LARGEST = 18000  # spaxels: images that are farther from the first are left out


def near_first(images: Sequence[FovImage], grids: Sequence[CelestialGrid]) -> list[int]:
    """Return the numbers of the images whose reference points are not too far from that of the first."""
    limits = np.array(spaxel_size_arcsec(images[0].header)) * _LARGEST / 3600
    near = []
    for number, (image, grid) in enumerate(zip(images, grids, strict=True)):
        d_ra = abs((grid.crval[0] - grids[0].crval[0] + 180) % 360 - 180) * np.cos(np.radians(grids[0].crval[1]))
        if d_ra > limits[0] or abs(grid.crval[1] - grids[0].crval[1]) > limits[1]:
            _LOG.warning(
                "%s: more than %.3g degrees from the first exposure, not in the mosaic", image.where, max(limits)
            )
        else:
            near.append(number)
    return near


def mosaic_grid(
    grids: Sequence[CelestialGrid], shapes: Sequence[tuple[int, int]], compat: Compat = OURS
) -> tuple[CelestialGrid, tuple[int, int]]:
    """Return a grid, oriented as the first one, and a shape that hold all images.

    Parameters
    ----------
    grids : sequence of CelestialGrid
        World coordinates of the images.
    shapes : sequence of (ny, nx)
        Their shapes.
    compat : Compat
        ``preview_cut``: the size is the distance of the corners with least and largest coordinates on the first grid,
        and the area begins half a pixel before the first pixel's edge.
    """
    first = grids[0]
    corners = np.concatenate(
        [
            grid.sky(np.array([1, nx, 1, nx]), np.array([1, 1, ny, ny]))
            for grid, (ny, nx) in zip(grids, shapes, strict=True)
        ]
    )
    if not compat.ra_zero_not_crossed:
        corners[:, 0] += 360 * np.rint((first.crval[0] - corners[:, 0]) / 360)
    low, high = corners.min(axis=0), corners.max(axis=0)
    middle = tuple(((low + high) / 2).tolist())
    if compat.preview_cut:
        (x_low, y_low), (x_high, y_high) = first.pixels(np.stack([low, high])).tolist()
        nx, ny = abs(x_high - x_low), abs(y_high - y_low)
        return CelestialGrid((nx / 2, ny / 2), middle, first.cd), (int(ny) + 1, int(nx) + 1)
    centred = CelestialGrid((0.0, 0.0), middle, first.cd)
    pixels = centred.pixels(corners)
    begin = pixels.min(axis=0)
    nx, ny = (np.rint(np.ptp(pixels, axis=0)).astype(int) + 1).tolist()
    return CelestialGrid(tuple((1 - begin).tolist()), middle, first.cd), (ny, nx)


def overlay(
    grids: Sequence[CelestialGrid], layers: Sequence[np.ndarray], grid: CelestialGrid, shape: tuple[int, int]
) -> np.ndarray:
    """Sum the nearest pixels of images.

    Parameters
    ----------
    grids : sequence of CelestialGrid
        World coordinates of the images.
    layers : sequence of ndarray of float32, shape (ny, nx)
        The images; NaN does not count.
    grid : CelestialGrid
        World coordinates of the result.
    shape : tuple of int
        Its shape.

    Returns
    -------
    ndarray of float32
        NaN where no image has a value.
    """
    total, covered = np.zeros(shape, np.float32), np.zeros(shape, bool)
    x = np.arange(1.0, shape[1] + 1)
    for layer_grid, layer in zip(grids, layers, strict=True):
        for row in range(shape[0]):
            pixels = layer_grid.pixels(grid.sky(x, np.full(len(x), row + 1.0)))
            i, j = (np.floor(np.nan_to_num(pixels, nan=-1.0) + 0.5).astype(int) - 1).T
            inside = (i >= 0) & (j >= 0) & (i < layer.shape[1]) & (j < layer.shape[0])
            values = layer[j[inside], i[inside]]
            has_value = np.isfinite(values)
            columns = np.flatnonzero(inside)[has_value]
            total[row, columns] += values[has_value]
            covered[row, columns] = True
    total[~covered] = np.nan
    return total

# SPDX-License-Identifier: GPL-2.0-or-later
# Made by make_stubs.py from grid.pyx.

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

def n_chunks(n_rows: int) -> int: ...
def tangent_plane(ra: float, dec: float, ra0: float, dec0: float) -> tuple[float, float]: ...
def pixel_of_position(grid: Mapping[str, Any], x: float, y: float) -> tuple[float, float]: ...
def position_of_pixel(grid: Mapping[str, Any], px: float, py: float) -> tuple[float, float]: ...
def spaxel_table(grid: Mapping[str, Any], out: npt.NDArray[np.void]) -> None: ...
def assign_cells(
    rows: npt.NDArray[np.void],
    grid: Mapping[str, Any],
    first: int,
    last: int,
    bottom: int,
    top: int,
    strip_rows: int,
    voxel: npt.NDArray[np.int32],
    counts: npt.NDArray[np.int64],
    stop: npt.NDArray[np.int32],
    n_threads: int,
) -> None: ...
def sort_by_strip(
    voxel: npt.NDArray[np.int32],
    nx: int,
    ny: int,
    strip_rows: int,
    starts: npt.NDArray[np.int64],
    order: npt.NDArray[np.int32],
    stop: npt.NDArray[np.int32],
    n_threads: int,
) -> None: ...
def sort_cells(
    rows: npt.NDArray[np.void],
    weights: Any,
    voxel: npt.NDArray[np.int32],
    order: npt.NDArray[np.int32],
    strip_starts: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int32],
    cells: npt.NDArray[np.void],
    values: Any,
    variances: Any,
    nx: int,
    ny: int,
    strip_rows: int,
    fullest: npt.NDArray[np.int32],
    stop: npt.NDArray[np.int32],
    n_threads: int,
) -> None: ...
def rows_of_extents(extents: npt.NDArray[np.float32], grid: Mapping[str, Any], out: npt.NDArray[np.int32]) -> None: ...
def planes_of(lbda: npt.NDArray[np.float32], grid: Mapping[str, Any], out: npt.NDArray[np.int32]) -> None: ...

# SPDX-License-Identifier: GPL-2.0-or-later
# Made by make_stubs.py from rows.pyx.

import numpy as np
import numpy.typing as npt
from typing_extensions import Buffer

def constants() -> tuple[dict[str, int], dict[str, int]]: ...
def index(
    rows: npt.NDArray[np.void],
    per_entry: int,
    per_extent: int,
    wavelengths: npt.NDArray[np.float32],
    extents: npt.NDArray[np.float32],
) -> None: ...
def find_runs(
    first_rows: npt.NDArray[np.int64],
    n_rows: npt.NDArray[np.int64],
    ascends: Buffer,
    low: npt.NDArray[np.float32],
    high: npt.NDArray[np.float32],
    per_entry: int,
    groups: Buffer,
    entries_per_group: int,
    begin: float,
    end: float,
    starts: npt.NDArray[np.int64],
    stops: npt.NDArray[np.int64],
) -> tuple[int, int]: ...
def limits(rows: npt.NDArray[np.void], out: npt.NDArray[np.float64], slices: Buffer) -> None: ...
def copy_runs(
    rows: npt.NDArray[np.void],
    starts: npt.NDArray[np.int64],
    stops: npt.NDArray[np.int64],
    out: npt.NDArray[np.void],
    stop: npt.NDArray[np.int32],
) -> None: ...
def compress(
    rows: npt.NDArray[np.void],
    wanted: Buffer,
    out: npt.NDArray[np.void],
    numbers: npt.NDArray[np.uint32],
) -> int: ...
def keep_inside(rows: npt.NDArray[np.void], low: float, high: float) -> int: ...
def sort_space(rows: npt.NDArray[np.void]) -> tuple[int, bool]: ...
def sort(
    rows: npt.NDArray[np.void],
    grouped: bool,
    pairs: npt.NDArray[np.uint64],
    buffer: npt.NDArray[np.void],
) -> None: ...

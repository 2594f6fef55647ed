# SPDX-License-Identifier: GPL-2.0-or-later
# Made by make_stubs.py from resample.pyx.

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

def scratch_size(nx: int, reach: int, thickness: int) -> int: ...
def weigh(
    cells: npt.NDArray[np.void],
    offsets: npt.NDArray[np.int32],
    grid: Mapping[str, Any],
    spaxels: npt.NDArray[np.void],
    lbda: npt.NDArray[np.float64],
    length: npt.NDArray[np.float64],
    method: int,
    weighting: Mapping[str, Any],
    first: int,
    last: int,
    thickness: int,
    n_bands: int,
    scratch: npt.NDArray[np.float64],
    data: npt.NDArray[np.float32],
    stat: Any,
    dq: npt.NDArray[np.int32],
    stop: npt.NDArray[np.int32],
    n_threads: int,
) -> None: ...
def nearest(
    cells: npt.NDArray[np.void],
    offsets: npt.NDArray[np.int32],
    grid: Mapping[str, Any],
    spaxels: npt.NDArray[np.void],
    lbda: npt.NDArray[np.float64],
    xn: float,
    yn: float,
    first: int,
    last: int,
    data: npt.NDArray[np.float32],
    stat: npt.NDArray[np.float32],
    dq: npt.NDArray[np.int32],
    stop: npt.NDArray[np.int32],
    n_threads: int,
) -> None: ...

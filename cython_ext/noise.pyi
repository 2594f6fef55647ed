# SPDX-License-Identifier: GPL-2.0-or-later
# Made by make_stubs.py from noise.pyx.

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

def n_sums(depth: int, radius: int, selves: bool) -> int: ...
def scratch_size(reach: int) -> int: ...
def pair_sums(
    cells: npt.NDArray[np.void],
    offsets: npt.NDArray[np.int32],
    grid: Mapping[str, Any],
    spaxels: npt.NDArray[np.void],
    bottom: int,
    top: int,
    first: int,
    last: int,
    lbda: npt.NDArray[np.float64],
    length: npt.NDArray[np.float64],
    method: int,
    weighting: Mapping[str, Any],
    plane: int,
    depth: int,
    radius: int,
    selves: bool,
    scratch: npt.NDArray[np.float64],
    sums: npt.NDArray[np.float64],
    stop: npt.NDArray[np.int32],
    n_threads: int,
) -> None: ...

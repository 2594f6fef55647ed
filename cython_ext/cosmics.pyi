# SPDX-License-Identifier: GPL-2.0-or-later
# Made by make_stubs.py from cosmics.pyx.

from typing import Any

import numpy as np
import numpy.typing as npt

def scratch_sizes(nx: int, row_rows: int, cell_rows: int, variance: bool) -> tuple[int, int, int]: ...
def reject(
    cells: npt.NDArray[np.void],
    offsets: npt.NDArray[np.int32],
    values: npt.NDArray[np.float32],
    variances: Any,
    nx: int,
    ny: int,
    strip_rows: int,
    first: int,
    last: int,
    kind: int,
    direction: int,
    sigma: float,
    flagged: npt.NDArray[np.int32],
    n_flagged: npt.NDArray[np.int64],
    row_rows: int,
    cell_rows: int,
    floats: npt.NDArray[np.float32],
    ints: npt.NDArray[np.int32],
    work: npt.NDArray[np.float64],
    stop: npt.NDArray[np.int32],
    n_threads: int,
) -> None: ...

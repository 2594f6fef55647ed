# SPDX-License-Identifier: GPL-2.0-or-later
# Made by make_stubs.py from collapse.pyx.

import numpy as np
import numpy.typing as npt

def add_planes(
    data: npt.NDArray[np.float32],
    dq: npt.NDArray[np.int32],
    throughput: npt.NDArray[np.float64],
    total: npt.NDArray[np.float64],
    weight: npt.NDArray[np.float64],
    n_threads: int,
) -> None: ...
def divide(total: npt.NDArray[np.float64], weight: npt.NDArray[np.float64], image: npt.NDArray[np.float32]) -> None: ...
def blank(
    data: npt.NDArray[np.float32],
    stat: npt.NDArray[np.float32],
    dq: npt.NDArray[np.int32],
    n_threads: int,
) -> None: ...
def add_histogram(
    values: npt.NDArray[np.float32],
    dq: npt.NDArray[np.int32],
    width: float,
    counts: npt.NDArray[np.int64],
) -> None: ...

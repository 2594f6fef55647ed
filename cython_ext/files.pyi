# SPDX-License-Identifier: GPL-2.0-or-later
# Made by make_stubs.py from files.pyx.

import numpy as np
import numpy.typing as npt
from typing_extensions import Buffer

STOPPED: int
TOO_SHORT: int

def read_pieces(
    descriptors: npt.NDArray[np.int32],
    positions: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    out: Buffer,
    stop: npt.NDArray[np.int32],
) -> int: ...
def read_columns(
    descriptor: int,
    positions: npt.NDArray[np.int64],
    strides: npt.NDArray[np.int64],
    fields: npt.NDArray[np.int32],
    words: npt.NDArray[np.uint32],
    buffer: Buffer,
) -> tuple[int, int]: ...

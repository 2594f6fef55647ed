# SPDX-License-Identifier: GPL-2.0-or-later
# Made by make_stubs.py from columns.pyx.

import numpy as np
import numpy.typing as npt
from typing_extensions import Buffer

def unpack(raw: Buffer, stride: int, words: npt.NDArray[np.uint32], field: int) -> None: ...
def pack(words: npt.NDArray[np.uint32], out: npt.NDArray[np.uint32]) -> int: ...
def find_changes(
    raw: Buffer,
    stride: int,
    n: int,
    mask: int,
    last: int,
    positions: npt.NDArray[np.int64],
) -> tuple[int, int]: ...
def block_ranges(
    raw: Buffer,
    stride: int,
    block: int,
    low: npt.NDArray[np.float32],
    high: npt.NDArray[np.float32],
) -> None: ...
def add_image(
    xpos: Buffer,
    ypos: Buffer,
    lbda: Buffer,
    data: Buffer,
    dq: Buffer,
    strides: npt.NDArray[np.intp],
    n: int,
    first: float,
    step: float,
    curves: npt.NDArray[np.float64],
    left: float,
    bottom: float,
    total: npt.NDArray[np.float64],
    norm: npt.NDArray[np.float64],
    bright: npt.NDArray[np.float64],
    steepest: float,
) -> int: ...

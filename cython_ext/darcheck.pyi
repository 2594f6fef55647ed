# SPDX-License-Identifier: GPL-2.0-or-later
# Made by make_stubs.py from darcheck.pyx.

import numpy as np
import numpy.typing as npt

def shift_positions(
    rows: npt.NDArray[np.void],
    lbda_ref: float,
    scale: float,
    shift_x: npt.NDArray[np.float64],
    shift_y: npt.NDArray[np.float64],
) -> None: ...

# SPDX-License-Identifier: GPL-2.0-or-later
# Made by make_stubs.py from stacked.pyx.

import numpy as np
import numpy.typing as npt

def stack_rows(
    rows: npt.NDArray[np.void],
    x_low: float,
    dx: float,
    lbda_low: float,
    dl: float,
    total: npt.NDArray[np.float64],
    weight: npt.NDArray[np.float64],
) -> None: ...

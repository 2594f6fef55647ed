# SPDX-License-Identifier: GPL-2.0-or-later
# Made by make_stubs.py from calibrate_smooth.pyx.

import numpy as np
import numpy.typing as npt
from typing_extensions import Buffer

def smooth_locally(
    lbda: npt.NDArray[np.float64],
    values: npt.NDArray[np.float64],
    half: int,
    rejection: float,
    used: Buffer,
    residuals: npt.NDArray[np.float64],
    out: npt.NDArray[np.float64],
    n_threads: int,
) -> None: ...

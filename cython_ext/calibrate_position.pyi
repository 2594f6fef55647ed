# SPDX-License-Identifier: GPL-2.0-or-later
# Made by make_stubs.py from calibrate_position.pyx.

import numpy as np
import numpy.typing as npt

def locate(
    rows: npt.NDArray[np.void],
    stretch: float,
    projection: npt.NDArray[np.float64],
    positioning: npt.NDArray[np.float64],
    flux_scale: float,
) -> None: ...

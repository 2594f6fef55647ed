# SPDX-License-Identifier: GPL-2.0-or-later
# Made by make_stubs.py from calibrate.pyx.

import numpy as np
import numpy.typing as npt

def calibrate(
    rows: npt.NDArray[np.void],
    scale: float,
    flat_mode: int,
    flat_start: npt.NDArray[np.float64],
    flat: npt.NDArray[np.void],
    dar: npt.NDArray[np.float64],
    flux_start: npt.NDArray[np.float64],
    flux: npt.NDArray[np.void],
    curves: npt.NDArray[np.void],
    constants: npt.NDArray[np.void],
    flag_outside: bool,
) -> None: ...

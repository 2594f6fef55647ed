# SPDX-License-Identifier: GPL-2.0-or-later
# Made by make_stubs.py from raman.pyx.

import numpy as np
import numpy.typing as npt

def add_moments(
    rows: npt.NDArray[np.void],
    lsf: npt.NDArray[np.float64],
    scale: float,
    data_offset: float,
    gram: npt.NDArray[np.float64],
) -> None: ...
def residuals(
    rows: npt.NDArray[np.void],
    lsf: npt.NDArray[np.float64],
    p: npt.NDArray[np.float64],
    flux: float,
    rounded: bool,
    out: npt.NDArray[np.float64],
) -> None: ...
def subtract(
    rows: npt.NDArray[np.void],
    lsf: npt.NDArray[np.float64],
    p: npt.NDArray[np.float64],
    rounded: bool,
) -> None: ...

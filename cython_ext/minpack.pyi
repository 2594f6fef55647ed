# SPDX-License-Identifier: GPL-2.0-or-later
# Made by make_stubs.py from minpack.pyx.

import numpy as np
import numpy.typing as npt

def norm(x: npt.NDArray[np.float64]) -> float: ...
def qr_factor(
    jac: npt.NDArray[np.float64],
    pivot: npt.NDArray[np.int64],
    r_diag: npt.NDArray[np.float64],
    column_norm: npt.NDArray[np.float64],
    work: npt.NDArray[np.float64],
) -> None: ...
def apply_q(
    jac: npt.NDArray[np.float64],
    r_diag: npt.NDArray[np.float64],
    residuals: npt.NDArray[np.float64],
    qtf: npt.NDArray[np.float64],
) -> None: ...
def scaled_gradient(
    jac: npt.NDArray[np.float64],
    pivot: npt.NDArray[np.int64],
    qtf: npt.NDArray[np.float64],
    column_norm: npt.NDArray[np.float64],
    residual_norm: float,
) -> float: ...
def r_times(
    jac: npt.NDArray[np.float64],
    pivot: npt.NDArray[np.int64],
    step: npt.NDArray[np.float64],
    out: npt.NDArray[np.float64],
) -> None: ...
def damping_parameter(
    r: npt.NDArray[np.float64],
    pivot: npt.NDArray[np.int64],
    scale: npt.NDArray[np.float64],
    qtf: npt.NDArray[np.float64],
    delta: float,
    par: float,
    x: npt.NDArray[np.float64],
    work: npt.NDArray[np.float64],
) -> float: ...

# SPDX-License-Identifier: GPL-2.0-or-later
# Made by make_stubs.py from sky_lines.pyx.

import numpy as np
import numpy.typing as npt

def profile(
    image: npt.NDArray[np.float64],
    grid: npt.NDArray[np.float64],
    line: float,
    nodes: npt.NDArray[np.float64],
) -> None: ...
def line_spectrum(
    lbda: npt.NDArray[np.float64],
    line_lbda: npt.NDArray[np.float64],
    line_flux: npt.NDArray[np.float64],
    image: npt.NDArray[np.float64],
    grid: npt.NDArray[np.float64],
    lone: bool,
    nodes: npt.NDArray[np.float64],
    out: npt.NDArray[np.float64],
) -> None: ...
def subtract_lines(
    rows: npt.NDArray[np.void],
    line_lbda: npt.NDArray[np.float64],
    line_flux: npt.NDArray[np.float64],
    image: npt.NDArray[np.float64],
    grid: npt.NDArray[np.float64],
    nodes: npt.NDArray[np.float64],
    scratch: npt.NDArray[np.float64],
) -> None: ...
def subtract_spectrum(
    rows: npt.NDArray[np.void],
    lbda: npt.NDArray[np.float64],
    flux: npt.NDArray[np.float64],
) -> None: ...
def interpolate(
    x: npt.NDArray[np.float64],
    lbda: npt.NDArray[np.float64],
    flux: npt.NDArray[np.float64],
    out: npt.NDArray[np.float64],
) -> None: ...
def hermite_spectrum(
    lbda: npt.NDArray[np.float64],
    line_lbda: npt.NDArray[np.float64],
    line_flux: npt.NDArray[np.float64],
    width: npt.NDArray[np.float64],
    h3: npt.NDArray[np.float64],
    h4: npt.NDArray[np.float64],
    h5: npt.NDArray[np.float64],
    h6: npt.NDArray[np.float64],
    slit_width: float,
    bin_width: float,
    reach: float,
    out: npt.NDArray[np.float64],
) -> None: ...

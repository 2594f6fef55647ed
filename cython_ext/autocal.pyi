# SPDX-License-Identifier: GPL-2.0-or-later
# Made by make_stubs.py from autocal.pyx.

import numpy as np
import numpy.typing as npt

def add_columns(
    rows: npt.NDArray[np.void],
    selected: npt.NDArray[np.uint8] | None,
    edges: npt.NDArray[np.float32],
    exclude_raman: float,
    sums: npt.NDArray[np.float64],
    counts: npt.NDArray[np.int32],
) -> None: ...
def clipped_mean(
    values: npt.NDArray[np.float32],
    scratch: npt.NDArray[np.float32],
    nstop: int,
    by_mad: bool,
) -> tuple[float, float, int]: ...
def slice_fluxes(
    sums: npt.NDArray[np.float64],
    counts: npt.NDArray[np.int32],
    flux: npt.NDArray[np.float32],
    npts: npt.NDArray[np.int32],
) -> None: ...
def apply_factors(
    rows: npt.NDArray[np.void],
    edges: npt.NDArray[np.float32],
    factors: npt.NDArray[np.float32],
) -> None: ...

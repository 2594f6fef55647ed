# SPDX-License-Identifier: GPL-2.0-or-later
# Made by make_stubs.py from sky_select.pyx.

import numpy as np
import numpy.typing as npt

def select(
    rows: npt.NDArray[np.void],
    mask: npt.NDArray[np.uint8],
    wcs: npt.NDArray[np.float64],
    celestial: bool,
    ra_deg: float,
    dec_deg: float,
    selected: npt.NDArray[np.uint8],
) -> None: ...
def gather(rows: npt.NDArray[np.void], selected: npt.NDArray[np.uint8], out: npt.NDArray[np.float32]) -> int: ...
def count_slices(rows: npt.NDArray[np.void], counts: npt.NDArray[np.int64]) -> None: ...
def accumulate(
    samples: npt.NDArray[np.float32],
    llo: float,
    width: float,
    upper: npt.NDArray[np.float64],
    sums: npt.NDArray[np.float64],
) -> None: ...

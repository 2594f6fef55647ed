# SPDX-License-Identifier: GPL-2.0-or-later
"""Order of the rows of a pixel table: by slice, then by wavelength."""

import numpy as np

from muse_core.cython_ext import rows as rows_kernels
from muse_core.model.origin import SLICE_KEY_MASK
from muse_core.model.rows import ROW


def slice_order(rows: np.ndarray) -> np.ndarray:
    """Return the order of `sort_rows`: numbers of rows (ndarray of int, shape (n,)), for what goes with the rows."""
    return np.lexsort((rows["lbda"], rows["origin"] & SLICE_KEY_MASK))


def sort_rows(rows: np.ndarray) -> bool:
    """Sort rows stably by (IFU, slice, wavelength), in place.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n,)
        Rows. If they are grouped by slice, as they come from the instrument, each slice is sorted for itself, with
        44 bytes of working space for each row of the longest slice.

    Returns
    -------
    bool
        False if slices were not in ascending order, so that ranges of rows in headers no longer hold.
    """
    n_rows, grouped = rows_kernels.sort_space(rows)
    if n_rows:
        rows_kernels.sort(rows, grouped, np.empty(2 * n_rows, np.uint64), np.empty(n_rows, ROW))
    return grouped

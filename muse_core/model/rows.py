# SPDX-License-Identifier: GPL-2.0-or-later
"""The rows of a pixel table in memory: one record of 28 bytes a row.

A record keeps a row together, so that a kernel that visits rows in the order of the output grid touches one cache line
a row. ``stat`` is the variance of ``data``. The state of the positions is not part of a row, see
`muse_core.model.pixtable`.
"""

import numpy as np
import numpy.typing as npt

#: One row of a pixel table: positions (pix, rad or deg), wavelength in Angstrom, value, flags, variance, origin.
ROW = np.dtype(
    [
        ("xpos", np.float32),
        ("ypos", np.float32),
        ("lbda", np.float32),
        ("data", np.float32),
        ("dq", np.int32),
        ("stat", np.float32),
        ("origin", np.uint32),
    ]
)

#: Fields of `ROW`, in order.
FIELDS = tuple(ROW.names or ())

#: Field of `ROW` for each FITS column.
FIELD_OF_COLUMN = {
    "xpos": "xpos",
    "ypos": "ypos",
    "lambda": "lbda",
    "data": "data",
    "dq": "dq",
    "stat": "stat",
    "origin": "origin",
}
COLUMNS = tuple(FIELD_OF_COLUMN)


def make_rows(
    xpos: npt.ArrayLike,
    ypos: npt.ArrayLike,
    lbda: npt.ArrayLike,
    data: npt.ArrayLike,
    dq: npt.ArrayLike,
    stat: npt.ArrayLike,
    origin: npt.ArrayLike,
) -> np.ndarray:
    """Pack columns (arrays or scalars) into an array of `ROW`."""
    columns = np.broadcast_arrays(xpos, ypos, lbda, data, dq, stat, origin)
    rows = np.empty(columns[0].shape, ROW)
    for name, column in zip(FIELDS, columns, strict=True):
        rows[name] = column
    return rows

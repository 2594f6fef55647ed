# SPDX-License-Identifier: GPL-2.0-or-later
"""Noise of sums of voxels, as the product NOISE_CORRELATION tells it."""

import numpy as np

from muse_core.io.fitsreader import FitsFile
from muse_core.model.record import record
from muse_core.report.products import Run

#: Boxes of so many spaxels a side are summed up.
_SIZES = (3, 5)


@record(eq=False)
class Correlation:
    """Noise of sums of voxels over that of as many independent ones, with wavelength.

    Attributes
    ----------
    lbda : ndarray of float64, shape (nz,)
        Wavelength in Angstrom.
    measured, predicted : dict of int to ndarray of float64
        For boxes of so many spaxels a side: from the sky, and from how the voxels were made.
    """

    lbda: np.ndarray
    measured: dict[int, np.ndarray]
    predicted: dict[int, np.ndarray]

    def numbers(self) -> list[dict]:
        """Return the medians for each size of box, for the JSON."""
        return [
            {
                "box": size,
                "predicted": float(np.nanmedian(self.predicted[size])),
                "measured": float(np.nanmedian(measured)) if np.isfinite(measured).any() else None,
            }
            for size, measured in self.measured.items()
        ]


def read_correlation(run: Run) -> Correlation | None:
    """Read what there is of a run; None without."""
    product = run.first("NOISE_CORRELATION")
    if product is None:
        return None
    with FitsFile(product.path) as file:
        table = file.table("NOISE")
        columns = {
            name: table.column(name, "DE") for name in ("WAVELENGTH", *_columns("RATIO"), *_columns("PREDICTED"))
        }
    return Correlation(
        columns["WAVELENGTH"].astype(float),
        *({size: columns[f"{name}{size}"].astype(float) for size in _SIZES} for name in ("RATIO", "PREDICTED")),
    )


def _columns(name: str) -> list[str]:
    return [f"{name}{size}" for size in _SIZES]

# SPDX-License-Identifier: GPL-2.0-or-later
"""A two-dimensional mask with world coordinates that selects rows of pixel tables."""

import numpy as np

from muse_core.model.record import record


@record
class SkyMask:
    """Mask with the coordinates of its header.

    Attributes
    ----------
    data : ndarray of uint8, shape (ny, nx)
        Not 0: selected.
    crpix : tuple of two floats
        CRPIX1, CRPIX2 (from 1).
    crval : tuple of two floats
        CRVAL1, CRVAL2: in nominal spaxels as the pixel table before its projection, or in degrees if `celestial`.
    cd : tuple of four floats
        CD1_1, CD1_2, CD2_1, CD2_2.
    celestial : bool
        Gnomonic projection of right ascension and declination instead of linear coordinates.
    """

    data: np.ndarray
    crpix: tuple[float, float] = (1.0, 1.0)
    crval: tuple[float, float] = (0.0, 0.0)
    cd: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 1.0)
    celestial: bool = False

    def wcs_numbers(self) -> np.ndarray:
        """CRPIX1, CRPIX2, CRVAL1, CRVAL2, CD1_1, CD1_2, CD2_1, CD2_2 as the kernels take them."""
        return np.array([*self.crpix, *self.crval, *self.cd], np.float64)

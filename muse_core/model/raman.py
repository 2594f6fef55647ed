# SPDX-License-Identifier: GPL-2.0-or-later
"""Raman lines of the laser light in air, and the two bands that they lie in."""

import numpy as np

from muse_core.model.record import record


@record
class RamanBand:
    """A band of Raman lines of one molecule: name, centre of the fitted window in Angstrom, group of its lines."""

    name: str
    centre: float
    group: int


BANDS = (RamanBand("O2", 6484.0, 0), RamanBand("N2", 6827.0, 1))


@record
class RamanLines:
    """Raman lines.

    Attributes
    ----------
    lbda : ndarray of float64, shape (n,)
        Wavelengths in air, in Angstrom.
    flux : ndarray of float64, shape (n,)
        Relative fluxes.
    group : ndarray of int32, shape (n,)
        Group of each line, see `BANDS`; lines of other groups play no role.
    unit : float
        Unit of `flux` in erg/s/cm2/arcsec2; 1 if the table has another unit.
    """

    lbda: np.ndarray
    flux: np.ndarray
    group: np.ndarray
    unit: float = 1e-20

    def band(self, band: RamanBand) -> tuple[np.ndarray, np.ndarray]:
        """Wavelengths and fluxes of the lines of a band, in the order of the table."""
        mine = self.group == band.group
        return self.lbda[mine], self.flux[mine]

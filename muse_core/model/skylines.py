# SPDX-License-Identifier: GPL-2.0-or-later
"""List of sky emission lines, and how it is made from transitions of the OH molecule."""

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from muse_core.errors import DataError
from muse_core.model.record import record

BOLTZMANN = 1.3806504e-23  # J / K
HC = 1.98623e-8  # erg Angstrom
OH_TEMPERATURE = 200.0  # K
MAX_OH_GROUPS = 100


@record
class SkyLines:
    """Sky emission lines; the lines of a group scale together in a fit.

    Attributes
    ----------
    name : ndarray of str, shape (n,)
        Name of the line.
    group : ndarray of int32, shape (n,)
        Group number.
    lbda : ndarray of float64, shape (n,)
        Wavelength in Angstrom (air).
    flux : ndarray of float64, shape (n,)
        Flux in 1e-20 erg / s / cm2 / arcsec2.
    dq : ndarray of int32, shape (n,)
        Quality; carried along, never evaluated.
    """

    name: np.ndarray
    group: np.ndarray
    lbda: np.ndarray
    flux: np.ndarray
    dq: np.ndarray

    @classmethod
    def from_columns(
        cls,
        name: npt.ArrayLike,
        group: npt.ArrayLike,
        lbda: npt.ArrayLike,
        flux: npt.ArrayLike,
        dq: npt.ArrayLike | None = None,
    ) -> "SkyLines":
        """Make a list from anything that converts to columns of equal length."""
        group = np.array(group, np.int32)
        return cls(
            np.array(name, np.str_).reshape(group.shape),
            group,
            np.array(lbda, np.float64),
            np.array(flux, np.float64),
            np.zeros(group.shape, np.int32) if dq is None else np.array(dq, np.int32),
        )

    def __len__(self) -> int:
        return len(self.lbda)

    def take(self, index: np.ndarray) -> "SkyLines":
        """Return the lines of `index` (boolean mask or row numbers), in that order."""
        return SkyLines(*(getattr(self, f.name)[index] for f in dataclasses.fields(self)))

    def reindexed(self) -> "SkyLines":
        """Return the list with groups numbered 0, 1, ... in the order of their first line."""
        numbers: dict[int, int] = {}
        group = [numbers.setdefault(g, len(numbers)) for g in self.group.tolist()]
        return dataclasses.replace(self, group=np.array(group, np.int32))

    def restricted(self, lo: float, hi: float) -> "SkyLines":
        """Return the lines in [lo, hi] Angstrom, groups renumbered."""
        return self.take((self.lbda >= lo) & (self.lbda <= hi)).reindexed()

    def followed_by(self, other: "SkyLines") -> "SkyLines":
        """Return the lines of both; the groups of `other` are numbered after those of this list."""
        shift = 1 + int(self.group.max()) if len(self) else 0
        other = dataclasses.replace(other, group=other.group + np.int32(shift))
        return SkyLines(
            *(np.concatenate([getattr(self, f.name), getattr(other, f.name)]) for f in dataclasses.fields(self))
        )

    @property
    def n_groups(self) -> int:
        """Highest group number plus one; 0 for an empty list."""
        return int(self.group.max()) + 1 if len(self) else 0

    def strongest_of_groups(self) -> np.ndarray:
        """Row number of the strongest line of each group, the first one on ties.

        Returns
        -------
        ndarray of int64, shape (n_groups,)
            Every group from 0 must have a line, as after `reindexed`.
        """
        strongest = np.full(self.n_groups, -1, np.int64)
        for row, group in enumerate(self.group.tolist()):
            if strongest[group] < 0 or self.flux[row] > self.flux[strongest[group]]:
                strongest[group] = row
        return strongest


def lines_from_oh(
    name: np.ndarray, lbda: np.ndarray, v_u: np.ndarray, e_u: np.ndarray, j_u: np.ndarray, a: np.ndarray
) -> SkyLines:
    """Make lines from OH transitions in thermal equilibrium at 200 K; one group per upper vibrational level.

    Parameters
    ----------
    name : sequence of str, length n
        Names of the transitions.
    lbda : array_like of float64, shape (n,)
        Wavelength in Angstrom (air).
    v_u : array_like of int, shape (n,)
        Vibrational quantum number of the upper level.
    e_u : array_like of float64, shape (n,)
        Energy of the upper level in J.
    j_u : array_like of float64, shape (n,)
        Rotational quantum number of the upper level.
    a : array_like of float64, shape (n,)
        Einstein coefficient in 1/s.

    Returns
    -------
    SkyLines
        Fluxes in 1e-20 erg / s / cm2 / arcsec2, for a nominal column density; groups renumbered.

    Raises
    ------
    DataError
        If the vibrational numbers span 100 or more.

    Notes
    -----
    The order of the operations matters: a difference in the last digit of a start flux moves the end point of the
    line fit by more than the digits that products carry.
    """
    lbda = np.array(lbda, np.float64)
    v_u = np.array(v_u, np.int64)
    if not len(lbda):
        return SkyLines.from_columns([], [], [], [])
    group = v_u - v_u.min()
    if group.max() >= MAX_OH_GROUPS:
        raise DataError(
            f"OH transitions: v_u from {v_u.min()} to {v_u.max()}, expected a range of less than {MAX_OH_GROUPS}"
        )
    exponents = np.array(e_u, np.float64) * (1.0 / (-BOLTZMANN * OH_TEMPERATURE))
    b = np.array([math.pow(math.e, x) for x in exponents.tolist()])  # libm's power: numpy's differs in the last digit
    b *= 2.0 * np.array(j_u, np.float64) + 1.0
    partition = np.zeros(int(group.max()) + 1)
    np.add.at(partition, group, b)
    flux = b * np.array(a, np.float64)
    flux *= 2.0 * HC
    flux /= lbda
    flux /= partition[group]
    flux *= 1e20
    flux *= 1.0 / 50.0
    return SkyLines.from_columns(name, group, lbda, flux).reindexed()

# SPDX-License-Identifier: GPL-2.0-or-later
"""A field-of-view image with its world coordinates (IMAGE_FOV)."""

import dataclasses
import functools
from typing import TYPE_CHECKING

import numpy as np

from muse_core.errors import InputError
from muse_core.model.fits import Card, Header, as_astropy
from muse_core.model.header import get_float, stated
from muse_core.model.record import record
from muse_core.model.wcs import CTYPES, is_tan

if TYPE_CHECKING:
    from astropy.wcs import WCS

_KEYS = tuple(f"{name}{axis}" for name in ("CTYPE", "CUNIT", "CRPIX", "CRVAL") for axis in (1, 2))
TAG = "IMAGE_FOV"
COORDINATE_ERRORS = tuple(f"{name}{axis}" for name in ("CSYER", "CRDER") for axis in (1, 2))
_MATRIX = tuple(f"CD{i}_{j}" for i in (1, 2) for j in (1, 2))


@dataclasses.dataclass(frozen=True)
class CelestialGrid:
    """World coordinates of an image: the gnomonic projection of right ascension and declination.

    Pixels are counted from 1; angles are in degrees.

    Attributes
    ----------
    crpix, crval : tuple of float
        CRPIX1, CRPIX2; CRVAL1, CRVAL2.
    cd : tuple of 4 float
        CD1_1, CD1_2, CD2_1, CD2_2.
    """

    crpix: tuple[float, float]
    crval: tuple[float, float]
    cd: tuple[float, float, float, float]

    @classmethod
    def from_header(cls, header: Header, where: str) -> "CelestialGrid":
        """Read the header of an image.

        Raises
        ------
        InputError
            Another projection, a keyword is missing, or the matrix has no inverse.
        """
        if not is_tan(header):
            raise InputError(
                f"{where}: keywords CTYPE1, CTYPE2: found {stated(header, 'CTYPE1', 'CTYPE2', tag=TAG)}, "
                f"expected {CTYPES[0]!r}, {CTYPES[1]!r}"
            )
        keys = (*_KEYS[4:], *_MATRIX)
        defaults = {"CD1_2": 0.0, "CD2_1": 0.0}
        found = {key: get_float(header, key, defaults.get(key), tag=TAG) for key in keys}
        missing = [key for key, value in found.items() if value is None]
        if missing:
            what = stated(header, missing[0], tag=TAG)
            raise InputError(f"{where}: keyword {missing[0]}: found {what}, expected a number")
        crpix1, crpix2, crval1, crval2, cd11, cd12, cd21, cd22 = (
            value for value in found.values() if value is not None
        )
        if cd11 * cd22 == cd12 * cd21:
            raise InputError(f"{where}: keywords CDi_j: found {[cd11, cd12, cd21, cd22]}, expected a regular matrix")
        return cls((crpix1, crpix2), (crval1, crval2), (cd11, cd12, cd21, cd22))

    def moved(self, ra_deg: float, dec_deg: float) -> "CelestialGrid":
        """Return the grid with an offset of an OFFSET_LIST subtracted."""
        return dataclasses.replace(self, crval=(self.crval[0] - ra_deg, self.crval[1] - dec_deg))

    def cards(self) -> list[tuple[str, object]]:
        """Keywords and values."""
        values = (*CTYPES, "deg", "deg", *self.crpix, *self.crval)
        return [*zip(_KEYS, values, strict=True), *zip(_MATRIX, self.cd, strict=True)]

    @functools.cached_property
    def _wcs(self) -> "WCS":
        from astropy.wcs import WCS  # here, because its import takes as long as all others together

        return WCS(as_astropy(Header(self.cards())), naxis=2)

    def sky(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Right ascension and declination of pixels: float64 of shape (n, 2); less than 180 degrees from CRVAL1."""
        positions: np.ndarray = self._wcs.wcs_pix2world(np.column_stack([x, y]), 1)
        positions[:, 0] += 360 * np.rint((self.crval[0] - positions[:, 0]) / 360)
        return positions

    def pixels(self, positions: np.ndarray) -> np.ndarray:
        """x and y of positions of shape (n, 2): float64 of the same shape; NaN far from the tangent point."""
        pixels: np.ndarray = self._wcs.wcs_world2pix(positions, 1)
        return pixels


@record(eq=False)
class FovImage:
    """Image of the field of view of one exposure.

    Attributes
    ----------
    data : ndarray of float32, shape (ny, nx)
        Values, NaN where there are no data.
    grid : CelestialGrid
        World coordinates.
    header : Header
        Primary header.
    mjd_obs : float
        Start of the exposure.
    unit : str
        Unit of the values.
    where : str
        Names it in messages.
    coordinate_errors : tuple of Card
        What its extension says of the errors of its coordinates: `COORDINATE_ERRORS`, as far as they are there.
    """

    data: np.ndarray
    grid: CelestialGrid
    header: Header
    mjd_obs: float
    unit: str
    where: str
    coordinate_errors: tuple[Card, ...] = ()

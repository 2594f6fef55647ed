# SPDX-License-Identifier: GPL-2.0-or-later
"""From positions in the field of view to native spherical coordinates, and from these to the sky.

Both change the rows by `muse_core.steps.passes.locate_rows`; here are their constants, and what they leave in headers.
"""

import logging
import math
from collections.abc import Sequence

import numpy as np

from muse_core.errors import DataError
from muse_core.model import units
from muse_core.model.cards import set_card
from muse_core.model.compat import OURS, Compat
from muse_core.model.fits import Header
from muse_core.model.header import PIXTABLE, get_float, require_float, stated
from muse_core.model.record import record
from muse_core.model.wcs import AstrometricSolution, is_tan, remove_wcs
from muse_core.steps.airmass import position_angle

_LOG = logging.getLogger(__name__)

CARD_WCS = PIXTABLE + "WCS"
DEGREES_PER_RADIAN = 57.29577951308232
#: Extent of the rows before refraction was corrected, if it was.
_BEFORE_REFRACTION = [f"{PIXTABLE}PREDAR LIMITS {axis}{end}" for axis in "XY" for end in ("LO", "HI")]


def has_limits_before_refraction(header: Header) -> bool:
    """Whether a header has the extent of the field as it was before refraction was corrected."""
    return all(get_float(header, key) is not None for key in _BEFORE_REFRACTION)


def rotate(cd: np.ndarray, position_angle_deg: float) -> np.ndarray:
    """Combine the CD matrix of a solution with the position angle of an exposure.

    The rotation of the solution enters inverted, the mirroring of the first axis survives: so the reference does it.

    Parameters
    ----------
    cd : ndarray of float64, shape (2, 2)
        CD matrix in degrees per pix.
    position_angle_deg : float
        Effective position angle in degrees.

    Returns
    -------
    ndarray of float64, shape (2, 2)
        CD matrix of the exposure.
    """
    (cd11, cd12), (cd21, cd22) = cd
    flip = -1.0 if cd11 * cd22 - cd12 * cd21 < 0 else 1.0
    if cd12 == 0 and cd21 == 0:
        scale = np.array([flip * cd11, cd22])
    else:
        scale = np.array([math.sqrt(cd11**2 + cd12**2), math.sqrt(cd21**2 + cd22**2)])
    unit = cd / scale[:, None]
    det = unit[0, 0] * unit[1, 1] - unit[0, 1] * unit[1, 0]
    if det == 0:
        _LOG.warning("the CD matrix of the astrometric solution is singular, its rotation is left out")
        inverse = np.eye(2)
    else:
        inverse = np.array([[unit[1, 1], -unit[0, 1]], [-unit[1, 0], unit[0, 0]]]) / det
    (k11, k12), (k21, k22) = scale[:, None] * inverse
    sin, cos = math.sin(math.radians(position_angle_deg)), math.cos(math.radians(position_angle_deg))
    return np.array([[cos * k11 - sin * k21, cos * k12 - sin * k22], [sin * k11 + cos * k21, sin * k12 + cos * k22]])


@record(eq=False)
class Projection:
    """Gnomonic projection of one exposure: pix to native spherical coordinates in rad.

    Attributes
    ----------
    crpix : tuple of float
        Reference pixel: the centre of the data before refraction was corrected, plus the offset of the solution.
    cd : ndarray of float64, shape (2, 2)
        Degrees per pix.
    solution : AstrometricSolution, optional
        Where it came from; None if no header is to tell.
    """

    crpix: tuple[float, float]
    cd: np.ndarray
    solution: AstrometricSolution | None

    @classmethod
    def from_header(
        cls,
        header: Header,
        solution: AstrometricSolution,
        limits: Sequence[float] | np.ndarray | None = None,
        position_unit: str = units.PIX,
        where: str = "pixel table",
        compat: Compat = OURS,
    ) -> "Projection":
        """Set up the projection of an exposure.

        Parameters
        ----------
        header : Header
            Header of the merged pixel table.
        solution : AstrometricSolution
            Solution of the field of view.
        limits : sequence of float, optional
            Extent xlo, xhi, ylo, yhi of the rows before refraction was corrected, exact where cards have seven digits.
            Without, PREDAR LIMITS of the header, or its LIMITS.
        position_unit : str
            Unit of the positions.
        where : str
            Names the table in error messages.

        Raises
        ------
        DataError
            If the positions are not in pix.
        InputError
            If the header has no limits and they are not given.
        """
        if position_unit != units.PIX:
            raise DataError(f"{where}: found positions in {position_unit!r}, expected {units.PIX!r}")
        loaded = [f"{PIXTABLE}LIMITS {axis} {end}" for axis in "XY" for end in ("LOW", "HIGH")]
        if limits is None:
            keys = _BEFORE_REFRACTION if has_limits_before_refraction(header) else loaded
            limits = [require_float(header, key, where) for key in keys]
        xlo, xhi, ylo, yhi = (float(np.float32(limit)) for limit in limits[:4])
        crpix = ((xhi + xlo) / 2 + solution.crpix[0], (yhi + ylo) / 2 + solution.crpix[1])
        return cls(crpix, rotate(solution.cd, position_angle(header, compat).value), solution)

    def constants(self) -> np.ndarray:
        """CRPIX1, CRPIX2, CD1_1, CD1_2, CD2_1, CD2_2 for the kernel."""
        return np.array([*self.crpix, *self.cd.ravel()])

    def write_cards(self, header: Header) -> None:
        """Replace the WCS in the header of the pixel table."""
        remove_wcs(header)
        assert self.solution is not None
        cards = self.solution.cards.copy()
        for i in (1, 2):
            set_card(cards, f"CRPIX{i}", self.crpix[i - 1])
            for j in (1, 2):
                set_card(cards, f"CD{i}_{j}", self.cd[i - 1, j - 1])
        for item in cards.cards:
            set_card(header, item.keyword, item.value, item.comment)
        set_card(header, CARD_WCS, "projected (intermediate)", "Gnomonic projection applied to this pixel table")


@record
class Positioning:
    """Position of the field centre on the sky: native spherical coordinates to offsets from it in degrees.

    Attributes
    ----------
    ra_deg, dec_deg : float
        Right ascension and declination of the reference pixel.
    zero_ra_deg, zero_dec_deg : float
        What the positions of rows are relative to: those of the first exposure of a combination.
    """

    ra_deg: float
    dec_deg: float
    zero_ra_deg: float
    zero_dec_deg: float

    @classmethod
    def at(cls, ra_deg: float, dec_deg: float, zero: "Positioning | None" = None) -> "Positioning":
        """Position at (ra, dec), relative to `zero` if given."""
        if zero is None:
            return cls(ra_deg, dec_deg, ra_deg, dec_deg)
        return cls(ra_deg, dec_deg, zero.ra_deg, zero.dec_deg)

    def constants(self) -> np.ndarray:
        """sin and cos of the declination, the declination, and the shifts to the zero point, for the kernel."""
        dec = self.dec_deg / DEGREES_PER_RADIAN  # rounds as in the reference, math.radians() does not
        return np.array(
            [
                math.sin(dec),
                math.cos(dec),
                self.dec_deg,
                self.ra_deg - self.zero_ra_deg,
                self.dec_deg - self.zero_dec_deg,
            ]
        )

    @staticmethod
    def check(header: Header, position_unit: str, where: str = "pixel table") -> None:
        """Check that a pixel table can be positioned.

        Raises
        ------
        DataError
            If its positions are not in rad or its header has no gnomonic projection.
        """
        if position_unit != units.RAD:
            raise DataError(f"{where}: found positions in {position_unit!r}, expected {units.RAD!r}")
        if not is_tan(header):
            raise DataError(f"{where}: keywords CTYPE1, CTYPE2: found {stated(header, 'CTYPE1')}, expected 'RA---TAN'")

    def write_cards(self, header: Header) -> None:
        """Write CRVAL and the state of the positions to the header of the pixel table."""
        set_card(header, "CRVAL1", self.zero_ra_deg)
        set_card(header, "CRVAL2", self.zero_dec_deg)
        set_card(header, CARD_WCS, "positioned (final)", "Positioned this pixel table to sky coordinates")

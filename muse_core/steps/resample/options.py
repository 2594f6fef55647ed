# SPDX-License-Identifier: GPL-2.0-or-later
"""Choices of resampling, as the recipe's parameters give them."""

import enum
import logging

from muse_core.errors import ParameterError
from muse_core.model import header as keywords
from muse_core.model import units
from muse_core.model.compat import OURS, Compat
from muse_core.model.declare import leading_number
from muse_core.model.fits import Header
from muse_core.model.record import record
from muse_core.model.resampling import METHODS

COSMIC_RAY_TYPES = ("iraf", "mean", "median")  # in the order of their numbers in cosmics.pyx
#: The recipes' default, and that of the cubes that steps make for themselves.
DEFAULT_PIXFRAC, INTERNAL_PIXFRAC = (0.8, 0.8, 0.8), (0.6, 0.6, 0.6)

_LOG = logging.getLogger(__name__)


class CosmicRayDirection(enum.Enum):
    """Direction of the slices on the grid; neighbouring cells along it give no statistics."""

    ALL = 0
    X = 1
    Y = 2


@record(kw_only=True)
class ResampleOptions:
    """How to resample.

    Attributes
    ----------
    method : str
        One of `METHODS`.
    crtype : str
        Statistics of the cosmic-ray rejection: one of `COSMIC_RAY_TYPES`.
    crsigma : float
        Its threshold; 0 or less: no rejection.
    ld : int
        Neighbouring cells that a voxel takes rows from, on each side (not used by nearest).
    rc : float
        Critical radius of renka.
    pixfrac : tuple of 3 float
        Drizzle: size of a drop relative to a spaxel in x and y and to 1.25 Angstrom.
    step : tuple of 3 float
        dx and dy (arcsec or spaxels) and dlambda (Angstrom); 0: natural.
    """

    method: str = "drizzle"
    crtype: str = "median"
    crsigma: float = 15.0
    ld: int = 1
    rc: float = 1.25
    pixfrac: tuple[float, float, float] = DEFAULT_PIXFRAC
    step: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ParameterError(f"resample: found {self.method!r}, expected one of {', '.join(METHODS)}")
        if self.crtype not in COSMIC_RAY_TYPES:
            raise ParameterError(f"crtype: found {self.crtype!r}, expected one of {', '.join(COSMIC_RAY_TYPES)}")
        if self.ld < 1:
            _LOG.info("ld = %d: using 1", self.ld)
            object.__setattr__(self, "ld", 1)

    def __str__(self) -> str:
        told = self.method
        if self.method == "drizzle":
            told += f" (drops of {' x '.join(f'{size:g}' for size in self.pixfrac)})"
        elif METHODS[self.method].has_neighbours:
            told += f" (ld {self.ld}{f', rc {self.rc:g}' if self.method == 'renka' else ''})"
        if self.rejects_cosmic_rays:
            return f"{told}, cosmic rays rejected beyond {self.crsigma:g} sigma ({self.crtype})"
        return f"{told}, cosmic rays kept"

    @property
    def rejects_cosmic_rays(self) -> bool:
        """Is the rejection switched on?"""
        return self.crsigma > 0

    @property
    def reach(self) -> int:
        """Planes on each side of a voxel's that contribute to it."""
        return self.ld if METHODS[self.method].has_neighbours else 0

    @property
    def halo(self) -> int:
        """Planes on each side of a slab whose rows it needs."""
        return self.reach + (1 if self.rejects_cosmic_rays else 0)


def parse_pixfrac(text: str, compat: Compat = OURS) -> tuple[float, float, float]:
    """Read the parameter ``pixfrac``.

    Parameters
    ----------
    text : str
        One value for all axes, two for the spatial axes and wavelength, or three.
    compat : Compat
        ``text_counts_as_zero``: what does not start with a number counts as 0, and the internal default stands for any
        other number of values.

    Raises
    ------
    ParameterError
        Any other number of values, or one that is no number above 0.
    """
    numbers = [leading_number(token) for token in text.split(",") if token]
    usable = 1 <= len(numbers) <= 3 and all(number is not None and number > 0 for number in numbers)
    if not usable and not compat.text_counts_as_zero:
        raise ParameterError(f"parameter pixfrac: found {text!r}, expected one to three numbers above 0, as in 0.8,0.8")
    values = [number or 0.0 for number in numbers]
    if len(values) == 1:
        return (values[0],) * 3
    if len(values) == 2:
        return values[0], values[0], values[1]
    if len(values) == 3:
        return values[0], values[1], values[2]
    _LOG.warning("pixfrac: found %r, expected one to three numbers; using %s", text, INTERNAL_PIXFRAC)
    return INTERNAL_PIXFRAC


def cosmic_ray_direction(header: Header, position_unit: str) -> CosmicRayDirection:
    """Direction of the slices in the cube, from the position angle of the (first) exposure."""
    angle = abs(keywords.get_float(header, "ESO INS DROT POSANG", 0.0))
    if position_unit == units.PIX or min(abs(angle - a) for a in (0.0, 180.0, 360.0)) < 5:
        return CosmicRayDirection.X
    if min(abs(angle - a) for a in (90.0, 270.0)) < 5:
        return CosmicRayDirection.Y
    return CosmicRayDirection.ALL

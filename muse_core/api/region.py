# SPDX-License-Identifier: GPL-2.0-or-later
"""Regions on the sky: circles, ellipses, boxes."""

import math
import re

import numpy as np

from muse_core.errors import ParameterError
from muse_core.model.record import record

_SHAPES = {"circle": 1, "ellipse": 2, "box": 2}


@record
class Region:
    """A region on the sky, small enough for the tangential plane in its centre.

    Parameters
    ----------
    shape : str
        "circle", "ellipse" or "box".
    ra_deg, dec_deg : float
        Its centre, in degrees.
    size_arcsec : tuple of two floats
        Radius (twice), semi-axes, or full width and height, in arcsec; the first one along right ascension.
    angle_deg : float
        Position angle by which it is turned, in degrees from north to east.

    Raises
    ------
    ParameterError
        There is no such shape, or a size is not above 0.

    Examples
    --------
    >>> from muse_core.api import Region
    >>> galaxy = Region.parse('ellipse(53.1625, -27.7914, 6", 3", 30)')
    >>> galaxy.contains([53.1625, 53.2], [-27.7914, -27.7914]).tolist()
    [True, False]
    >>> galaxy.reach_arcsec
    6.0
    """

    shape: str
    ra_deg: float
    dec_deg: float
    size_arcsec: tuple[float, float]
    angle_deg: float = 0.0

    def __post_init__(self):
        if self.shape not in _SHAPES:
            raise ParameterError(f"region: found {self.shape!r}, expected one of {', '.join(_SHAPES)}")
        if not all(size > 0 for size in self.size_arcsec):
            raise ParameterError(f"region: found sizes {self.size_arcsec}, expected them above 0")

    @classmethod
    def circle(cls, ra_deg: float, dec_deg: float, radius_arcsec: float) -> "Region":
        """Return a circle.

        Parameters
        ----------
        ra_deg, dec_deg : float
            Its centre, in degrees.
        radius_arcsec : float
            Its radius, in arcsec.

        Returns
        -------
        Region
            The circle.

        Raises
        ------
        ParameterError
            The radius is not above 0.

        Examples
        --------
        >>> from muse_core.api import Region
        >>> Region.circle(10.0, -30.0, 2.0).size_arcsec
        (2.0, 2.0)
        """
        return cls("circle", ra_deg, dec_deg, (radius_arcsec, radius_arcsec))

    @classmethod
    def box(
        cls,
        ra_deg: float,
        dec_deg: float,
        width_arcsec: float,
        height_arcsec: float | None = None,
        angle_deg: float = 0,
    ) -> "Region":
        """Return a box; a square without a height.

        Parameters
        ----------
        ra_deg, dec_deg : float
            Its centre, in degrees.
        width_arcsec, height_arcsec : float
            Full width along right ascension and height along declination, in arcsec, before it is turned.
        angle_deg : float
            Position angle by which it is turned, in degrees from north to east.

        Returns
        -------
        Region
            The box.

        Raises
        ------
        ParameterError
            A size is not above 0.

        Examples
        --------
        >>> from muse_core.api import Region
        >>> Region.box(10.0, -30.0, 6.0)
        Region(shape='box', ra_deg=10.0, dec_deg=-30.0, size_arcsec=(6.0, 6.0), angle_deg=0)
        """
        height = width_arcsec if height_arcsec is None else height_arcsec
        return cls("box", ra_deg, dec_deg, (width_arcsec, height), angle_deg)

    @classmethod
    def parse(cls, text: str) -> "Region":
        r"""Read a region as DS9 writes it: ``circle(ra,dec,r")``, ``ellipse(ra,dec,a",b",angle)``, ``box(...)``.

        Parameters
        ----------
        text : str
            Positions in degrees or sexagesimal (hours and degrees), sizes in degrees, or with ``"`` or ``'`` behind.

        Returns
        -------
        Region
            The region.

        Raises
        ------
        ParameterError
            The text does not describe one.

        Examples
        --------
        >>> from muse_core.api import Region
        >>> Region.parse('fk5; circle(03:32:39.0,-27:47:29,3.5")')
        Region(shape='circle', ra_deg=53.162..., dec_deg=-27.7913..., size_arcsec=(3.5, 3.5), angle_deg=0.0)
        """
        found = re.search(r"(\w+)\s*\(([^()]*)\)\s*$", text.strip().split("#")[0].strip())
        words = [word.strip() for word in found[2].split(",")] if found else []
        shape = found[1].lower() if found else ""
        n_sizes = _SHAPES.get(shape, 0)
        try:
            if not n_sizes or len(words) not in (2 + n_sizes, 3 + n_sizes):
                raise ValueError(text)
            ra, dec = _angle(words[0], 15.0), _angle(words[1], 1.0)
            sizes = [_arcsec(word) for word in words[2 : 2 + n_sizes]]
            angle = float(words[2 + n_sizes]) if len(words) > 2 + n_sizes else 0.0
        except ValueError as error:
            raise ParameterError(
                f'region: found {text!r}, expected one as circle(53.1625, -27.7914, 3"), '
                'ellipse(53.1625, -27.7914, 6", 3", 30) or box(03:32:39.0, -27:47:29, 6", 6", 0)'
            ) from error
        return cls(shape, ra, dec, (sizes[0], sizes[-1]), angle)

    def contains(self, ra_deg, dec_deg) -> np.ndarray:
        """Return which positions are inside.

        Parameters
        ----------
        ra_deg, dec_deg : array_like of float, shape (n,)
            Positions in degrees.

        Returns
        -------
        ndarray of bool, shape (n,)
            True inside, and on the edge.

        Examples
        --------
        >>> from muse_core.api import Region
        >>> Region.box(10.0, -30.0, 6.0).contains(10.0, [-30.0005, -30.001]).tolist()
        [True, False]
        """
        ra, dec = np.asarray(ra_deg, np.float64), np.asarray(dec_deg, np.float64)
        east = ((ra - self.ra_deg + 180) % 360 - 180) * math.cos(math.radians(self.dec_deg)) * 3600
        north = (dec - self.dec_deg) * 3600
        sin, cos = math.sin(math.radians(self.angle_deg)), math.cos(math.radians(self.angle_deg))
        u, v = east * cos - north * sin, east * sin + north * cos
        a, b = self.size_arcsec
        if self.shape == "box":
            return (np.abs(u) <= a / 2) & (np.abs(v) <= b / 2)
        return (u / a) ** 2 + (v / b) ** 2 <= 1

    @property
    def reach_arcsec(self) -> float:
        """How far from the centre its outermost point is, in arcsec."""
        a, b = self.size_arcsec
        return math.hypot(a, b) / 2 if self.shape == "box" else max(a, b)


def as_region(region: "Region | str | tuple") -> Region:
    """Return a region that is given as such, as a text, or as centre and radius (degrees, degrees, arcsec)."""
    if isinstance(region, Region):
        return region
    if isinstance(region, str):
        return Region.parse(region)
    try:
        ra, dec, radius = map(float, region)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"region: found {region!r}, expected a Region, a text, or (ra, dec, radius)") from error
    return Region.circle(ra, dec, radius)


def _angle(text: str, factor: float) -> float:
    """Return degrees from a number, or from a sexagesimal one in units of `factor` degrees."""
    if ":" not in text:
        return float(text.removesuffix("d"))
    first, *rest = text.split(":")
    sign = -1.0 if first.strip().startswith("-") else 1.0
    return factor * sign * sum(abs(float(part)) / 60**i for i, part in enumerate([first, *rest]))


def _arcsec(text: str) -> float:
    for suffix, factor in (('"', 1.0), ("'", 60.0), ("d", 3600.0)):
        if text.endswith(suffix):
            return float(text.removesuffix(suffix)) * factor
    return float(text) * 3600

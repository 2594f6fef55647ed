# SPDX-License-Identifier: GPL-2.0-or-later
"""Astrometric solution of the field of view: the celestial WCS that ESO calls ASTROMETRY_WCS, and its default."""

import re

import numpy as np

from muse_core.errors import InputError
from muse_core.model.compat import OURS, Compat
from muse_core.model.fits import Header
from muse_core.model.header import WCS_CARDS, get_float, get_string, naming, require_float, spaxel_size_arcsec, stated
from muse_core.model.keywords import PIXEL_TABLE
from muse_core.model.record import record

_TAG = "ASTROMETRY_WCS"
CTYPES = ("RA---TAN", "DEC--TAN")
_NOT_COPIED = re.compile(r"^CRVAL[0-9]+$|^L[OA][NT]POLE$")
_WCS = re.compile(WCS_CARDS)
_ALMOST_ZERO = 1.1754943508222875e-38  # what the reference writes instead of 0 in CRPIX of the default


def is_tan(header: Header, tag: str = PIXEL_TABLE) -> bool:
    """Do CTYPE1 and CTYPE2 name the gnomonic projection of right ascension and declination?"""
    return tuple(get_string(header, key, None, tag) for key in ("CTYPE1", "CTYPE2")) == CTYPES


def remove_wcs(header: Header) -> None:
    """Remove all cards of a WCS from the header of a pixel table."""
    for key in {key for key in header if _WCS.search(key)}:
        header.remove(key, remove_all=True)


@record(eq=False)
class AstrometricSolution:
    """Linear part of the WCS of the field of view.

    Attributes
    ----------
    cd : ndarray of float64, shape (2, 2)
        Degrees per nominal spaxel, for position angle 0.
    crpix : tuple of float
        Reference pixel relative to the centre of the data, in nominal spaxels.
    cards : Header
        WCS cards of the solution, to be handed on to pixel tables.
    """

    cd: np.ndarray
    crpix: tuple[float, float]
    cards: Header

    @classmethod
    def from_header(cls, header: Header, where: str = "ASTROMETRY_WCS", compat: Compat = OURS) -> "AstrometricSolution":
        """Read a solution from a primary header.

        Raises
        ------
        InputError
            If it is not a gnomonic projection or has no CD matrix.
        """
        with naming(where):
            tan = is_tan(header, _TAG)
        if not tan:
            raise InputError(
                f"{where}: keywords CTYPE1, CTYPE2: found {stated(header, 'CTYPE1', 'CTYPE2', tag=_TAG)}, "
                f"expected {CTYPES[0]!r}, {CTYPES[1]!r}"
            )

        with naming(where):
            cd = np.array([[get_float(header, f"CD{i}_{j}", 0.0, compat, _TAG) for j in (1, 2)] for i in (1, 2)])
        if not np.isfinite(cd).all() or not (cd.any(axis=0).all() and cd.any(axis=1).all()):
            raise InputError(f"{where}: keywords CDi_j: found {cd.ravel().tolist()}, expected a regular matrix")
        if compat.senseless_values_used:
            x, y = (get_float(header, f"CRPIX{i}", 0.0, compat, _TAG) for i in (1, 2))
        else:
            x, y = (require_float(header, f"CRPIX{i}", where, compat, _TAG) for i in (1, 2))
        cards = Header([card for card in header.cards if _WCS.search(card.keyword)])
        for key in [key for key in cards if _NOT_COPIED.search(key)]:
            cards.remove(key, ignore_missing=True, remove_all=True)
        return cls(cd, (x, y), cards)

    @classmethod
    def default(cls, exposure: Header) -> "AstrometricSolution":
        """Return the solution with nominal spaxels for the mode of an exposure."""
        size_x, size_y = spaxel_size_arcsec(exposure)
        cards = Header()
        for i, (ctype, size) in enumerate(zip(CTYPES, (-size_x, size_y), strict=True), 1):
            cards[f"CRPIX{i}"] = _ALMOST_ZERO
            cards[f"CTYPE{i}"] = ctype
            cards[f"CUNIT{i}"] = "deg"
            for j in (1, 2):
                cards[f"CD{i}_{j}"] = size / 3600 if i == j else 0.0
        return cls.from_header(cards, "default WCS")

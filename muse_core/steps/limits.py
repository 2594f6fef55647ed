# SPDX-License-Identifier: GPL-2.0-or-later
"""Header cards with the extent of the rows of a pixel table."""

from collections.abc import Sequence

import numpy as np

from muse_core.model import units
from muse_core.model.cards import set_card
from muse_core.model.fits import Header
from muse_core.model.header import PIXTABLE, require_float

PREFIX = PIXTABLE + "LIMITS "


def write_limits(
    header: Header,
    extent: Sequence[float] | np.ndarray,
    ifu: tuple[int, int],
    slice_number: tuple[int, int],
    position_unit: str = units.PIX,
    zero: tuple[float, float] = (0.0, 0.0),
) -> None:
    """Replace the LIMITS cards of a pixel table.

    Parameters
    ----------
    header : Header
        Header of the pixel table.
    extent : sequence of float
        xlo, xhi, ylo, yhi (in `position_unit`), llo, lhi (in Angstrom) of all rows, flagged ones too.
    ifu, slice_number : tuple of int
        Lowest and highest IFU and slice.
    position_unit : str
        With ``deg``, the cards are absolute.
    zero : tuple of float
        Right ascension and declination that positions in ``deg`` are relative to, in degrees (CRVAL1, CRVAL2).

    Notes
    -----
    Coordinates are single-precision numbers: near right ascension 150 degrees, in steps of 0.05 arcsec.
    """
    for key in [key for key in header if key.startswith(PREFIX)]:
        header.remove(key)
    zero_x, zero_y = zero if position_unit == units.DEG else (0.0, 0.0)
    xlo, xhi, ylo, yhi, llo, lhi = (float(value) for value in extent)
    for name, low, high in (
        ("X", xlo + zero_x, xhi + zero_x),
        ("Y", ylo + zero_y, yhi + zero_y),
        ("LAMBDA", llo, lhi),
    ):
        set_card(header, f"{PREFIX}{name} LOW", np.float32(low))
        set_card(header, f"{PREFIX}{name} HIGH", np.float32(high))
    for name, (first, last) in (("IFU", ifu), ("SLICE", slice_number)):
        set_card(header, f"{PREFIX}{name} LOW", int(first))
        set_card(header, f"{PREFIX}{name} HIGH", int(last))


def wavelength_limits(header: Header) -> tuple[float, float]:
    """Return the lowest and highest wavelength in Angstrom from the LIMITS cards, as single-precision numbers."""
    low, high = (require_float(header, f"{PREFIX}LAMBDA {end}", "pixel table") for end in ("LOW", "HIGH"))
    return float(np.float32(low)), float(np.float32(high))

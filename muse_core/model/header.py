# SPDX-License-Identifier: GPL-2.0-or-later
"""Typed access to FITS headers, and the names of the keywords that steps read and write.

Headers are `astropy.io.fits.Header`; HIERARCH keywords are named without that prefix (``ESO TEL GEOLAT``).
"""

import numpy as np
from astropy.io.fits import Header

from muse_core.errors import InputError
from muse_core.model.compat import OURS, Compat

PIXTABLE = "ESO DRS MUSE PIXTABLE "
WCS_CARDS = r"^C(TYPE|UNIT|RPIX|RVAL|DELT|SYER|RDER)|^CD[0-9]+_[0-9]+|^WCSAXES[ A-Z]|^WCSNAME[ A-Z]|^L[OA][NT]POLE$"


def get_float(header: Header, key: str, default: float | None = None, compat: Compat = OURS) -> float | None:
    """Return a number, or `default` if the keyword is missing or not a number.

    The reference takes a number without decimal point as missing (``compat.integer_keywords_missing``).
    """
    value = header.get(key)
    if isinstance(value, bool) or value is None:
        return default
    if isinstance(value, (float, np.floating)):
        return float(value)
    if isinstance(value, int) and not compat.integer_keywords_missing:
        return float(value)
    return default


def require_float(header: Header, key: str, where: str, compat: Compat = OURS) -> float:
    """Return a number.

    Raises
    ------
    InputError
        If the keyword is missing or not a number; `where` names the file or table.
    """
    value = get_float(header, key, None, compat)
    if value is None:
        raise InputError(f"{where}: keyword {key}: found {header.get(key, 'nothing')!r}, expected a number")
    return value


def get_string(header: Header, key: str, default: str | None = None) -> str | None:
    """Return a string, or `default` if the keyword is missing or not a string."""
    value = header.get(key)
    return value if isinstance(value, str) else default


def instrument_mode(header: Header) -> str:
    """Return NFM-AO-N, WFM-AO-N, WFM-AO-E, WFM-NOAO-N or WFM-NOAO-E, from the prefix of ESO INS MODE.

    A missing keyword counts as WFM-NOAO-N, any other text as the extended mode.
    """
    mode = get_string(header, "ESO INS MODE")
    if mode is None:
        return "WFM-NOAO-N"
    for prefix, name in (
        ("NFM", "NFM-AO-N"),
        ("WFM-AO-N", "WFM-AO-N"),
        ("WFM-AO-E", "WFM-AO-E"),
        ("WFM-NOAO-N", "WFM-NOAO-N"),
        ("WFM-NONAO-N", "WFM-NOAO-N"),
    ):
        if mode.startswith(prefix):
            return name
    return "WFM-NOAO-E"


def is_nfm(header: Header) -> bool:
    """Narrow-field mode?"""
    return instrument_mode(header).startswith("NFM")


def is_ao(header: Header) -> bool:
    """A mode with the lasers on (notch filter in front of the instrument)?"""
    return "-AO-" in instrument_mode(header)


def spaxel_size_arcsec(header: Header) -> tuple[float, float]:
    """Nominal spaxel size (x, y) of the mode in arcsec."""
    return (0.02519, 0.02542) if is_nfm(header) else (0.2, 0.2)

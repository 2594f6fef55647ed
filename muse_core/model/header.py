# SPDX-License-Identifier: GPL-2.0-or-later
"""Typed access to FITS headers, and the names of the keywords that steps read and write.

Headers are `muse_core.model.fits.Header`, or those of astropy; HIERARCH keywords are named without that prefix
(``ESO TEL GEOLAT``).
"""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any, overload

import numpy as np

from muse_core.errors import InputError
from muse_core.model.compat import OURS, Compat
from muse_core.model.fits import Header, is_undefined
from muse_core.model.keywords import KEYWORDS, PIXEL_TABLE, Keyword, Reaction, find
from muse_core.model.keywords import PIXTABLE as PIXTABLE  # for steps

_LOG = logging.getLogger(__name__)
WCS_CARDS = r"^C(TYPE|UNIT|RPIX|RVAL|DELT|SYER|RDER)|^CD[0-9]+_[0-9]+|^WCSAXES[ A-Z]|^WCSNAME[ A-Z]|^L[OA][NT]POLE$"


@overload
def get_float(header: Header, key: str, default: float, compat: Compat = ..., tag: str = ...) -> float: ...
@overload
def get_float(header: Header, key: str, default: None = None, compat: Compat = ..., tag: str = ...) -> float | None: ...
def get_float(
    header: Header, key: str, default: float | None = None, compat: Compat = OURS, tag: str = PIXEL_TABLE
) -> float | None:
    """Return a number, or `default` if the keyword is missing.

    If it is no number, or none in the range of `muse_core.model.keywords`, what is declared there happens.

    Parameters
    ----------
    header : Header
        The header.
    key : str
        Keyword, declared for frames of this `tag`.
    default : float, optional
        What to return if it is missing.
    compat : Compat
        ``integer_keywords_missing``: a number without decimal point counts as missing. ``senseless_values_used``: the
        range does not matter, and what is no number counts as missing.
    tag : str
        Tag of the frame.

    Raises
    ------
    InputError
        It cannot be used, and is declared so.
    """
    value, keyword = _value(header, key), find(key, tag)
    if value is None:
        return default
    if compat.integer_keywords_missing and isinstance(value, int):
        return default
    if keyword.is_usable(value):
        return float(value)
    if compat.senseless_values_used:
        return float(value) if isinstance(value, (float, np.floating)) else default
    _unusable(tag, keyword, key, value)
    return default


def require_float(header: Header, key: str, where: str, compat: Compat = OURS, tag: str = PIXEL_TABLE) -> float:
    """Return a number.

    Raises
    ------
    InputError
        If the keyword is missing, not a number or out of its range; `where` names the file or table.
    """
    value = _value(header, key)
    number = None
    if not isinstance(value, str):
        try:
            number = get_float(header, key, None, compat, tag)
        except InputError as error:
            raise InputError(f"{where}: {str(error).partition(': ')[2]}") from error
    if number is None:
        raise InputError(f"{where}: keyword {key}: found {stated(header, key, tag=tag)}, expected a number")
    return number


@overload
def get_int(header: Header, key: str, default: int, tag: str = ..., compat: Compat = ...) -> int: ...
@overload
def get_int(header: Header, key: str, default: None = None, tag: str = ..., compat: Compat = ...) -> int | None: ...
def get_int(
    header: Header, key: str, default: int | None = None, tag: str = PIXEL_TABLE, compat: Compat = OURS
) -> int | None:
    """Return a whole number, or `default` if the keyword is missing; `compat` as in `get_string`.

    Raises
    ------
    InputError
        It is no whole number in its range.
    """
    value, keyword = _value(header, key), find(key, tag)
    if value is None:
        return default
    if keyword.is_usable(value):
        return int(value)
    if not compat.senseless_values_used:
        _unusable(tag, keyword, key, value)
    return default


def get_bool(header: Header, key: str, tag: str = PIXEL_TABLE, compat: Compat = OURS) -> bool:
    """Return T or F, F if the keyword is missing; `compat` as in `get_string`.

    Raises
    ------
    InputError
        It is neither.
    """
    value, keyword = _value(header, key), find(key, tag)
    if value is None:
        return False
    if keyword.is_usable(value):
        return bool(value)
    if not compat.senseless_values_used:
        _unusable(tag, keyword, key, value)
    return False


@overload
def get_string(header: Header, key: str, default: str, tag: str = ..., compat: Compat = ...) -> str: ...
@overload
def get_string(header: Header, key: str, default: None = None, tag: str = ..., compat: Compat = ...) -> str | None: ...
def get_string(
    header: Header, key: str, default: str | None = None, tag: str = PIXEL_TABLE, compat: Compat = OURS
) -> str | None:
    """Return a string, or `default` if the keyword is missing.

    If it is no string, what is declared in `muse_core.model.keywords` happens; with `compat`, it counts as missing.

    Raises
    ------
    InputError
        It is no string, and is declared so.
    """
    value, keyword = _value(header, key), find(key, tag)
    if isinstance(value, str):
        return value
    if value is not None and not compat.senseless_values_used:
        _unusable(tag, keyword, key, value)
    return default


def has(header: Header, key: str, tag: str = PIXEL_TABLE) -> bool:
    """Is there a value, of whatever kind, for a keyword that is declared?"""
    find(key, tag)
    return _value(header, key) is not None


def stated(header: Header, *keys: str, tag: str = PIXEL_TABLE) -> str:
    """Return what there is for keywords that are declared, for messages: their values, or "nothing"."""
    return ", ".join(repr(_value(header, key)) if has(header, key, tag) else "nothing" for key in keys)


def _value(header: Header, key: str) -> Any:
    """Return the value of a card, None if there is no card or no value in it."""
    value = header.get(key)
    return None if is_undefined(value) else value


def _unusable(tag: str, keyword: Keyword, key: str, value: Any) -> None:
    """Raise or warn, as is declared, before a default is used."""
    message = f"{tag}: keyword {key}: found {value!r}, expected {keyword.expected}"
    if keyword.unusable is Reaction.ERROR:
        raise InputError(message)
    if keyword.unusable is Reaction.WARNING:
        _LOG.warning("%s; a default is used", message)


@contextlib.contextmanager
def naming(where: str) -> Iterator[None]:
    """Put a file or HDU before errors about keywords that do not name it."""
    try:
        yield
    except InputError as error:
        raise error if where in str(error) else InputError(f"{where}: {error}") from error


def check_keywords(header: Header, where: str, compat: Compat = OURS, tag: str = PIXEL_TABLE) -> None:
    """Check the keywords of a frame that a run may use, but for numbered ones, before anything is done with them.

    Raises
    ------
    InputError
        One that is there cannot be used, and is declared so; `where` names the file.
    """
    if compat.senseless_values_used:
        return
    for keyword in KEYWORDS[tag]:
        value = None if "*" in keyword.name else _value(header, keyword.name)
        if value is not None and keyword.unusable is Reaction.ERROR and not keyword.is_usable(value):
            raise InputError(f"{where}: keyword {keyword.name}: found {value!r}, expected {keyword.expected}")


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

# SPDX-License-Identifier: GPL-2.0-or-later
"""Header cards as CPL writes them: numbers of single precision (numpy.float32) with 7 digits, of double with 15.

No card is continued on another one, which CPL cannot read: a long comment, then a long string, is cut.
"""

import math
import re
from typing import Any

import numpy as np
from astropy.io import fits

CARD = 80
#: Keywords of free text: they may be there many times.
COMMENTARY = ("COMMENT", "HISTORY", "")
_STANDARD = re.compile(r"^[A-Z0-9_-]{1,8}$")


def format_number(value: float, digits: int) -> str:
    """Return a floating-point number with up to `digits` significant digits and always a decimal point."""
    text = f"{value:.{digits}G}"
    mantissa, exponent, power = text.partition("E")
    if "." not in mantissa:
        mantissa += "."
        if exponent:
            mantissa += "0"
    return mantissa + exponent + power


#: An empty string; without blanks astropy takes it for a quote if the comment has quotes too.
_EMPTY = "'        '"


def _format_value(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "T" if value else "F"
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, (float, np.floating)):
        if not math.isfinite(value):
            raise ValueError(f"{value} cannot be written to a FITS header")
        return format_number(float(value), 7 if isinstance(value, np.float32) else 15)
    if value is None or isinstance(value, fits.card.Undefined):
        return _EMPTY
    return "'" + _printable(str(value)).replace("'", "''") + "'" if value else _EMPTY


def _printable(text: str) -> str:
    """Return a text as CPL writes it: a blank for each byte that is no printable ASCII."""
    if text.isascii() and text.isprintable():
        return text
    raw = text.encode("utf-8", "surrogateescape")
    return bytes(byte if 0x20 <= byte < 0x7F else 0x20 for byte in raw).decode()


def card(key: str, value: Any, comment: str = "") -> fits.Card:
    """Make a card; keys longer than 8 characters or with blanks become HIERARCH cards.

    Parameters
    ----------
    key : str
        Keyword, without ``HIERARCH``.
    value : bool, int, float, numpy.float32, str or undefined
        The type decides the format; an undefined value becomes an empty string, as in CPL.
    comment : str
        Cut to what fits.
    """
    if key in COMMENTARY:
        return fits.Card(key, _printable(value) if isinstance(value, str) else value)
    text, comment = _format_value(value), _printable(comment)
    is_string = text.startswith("'")
    if _STANDARD.match(key):
        if is_string:
            text = f"'{text[1:-1]:<8}'"
            text = f"{text:<20}" if comment else text
        else:
            text = f"{text:>20}"
        start = f"{key:<8}= "
    else:
        start = f"HIERARCH {key} = "
    if is_string and len(start) + len(text) > CARD:
        start = start if _STANDARD.match(key) else start.replace(" = ", "= ")
        room = CARD - len(start) - 2
        body = text[1:-1][:room]
        if (len(body) - len(body.rstrip("'"))) % 2:  # do not cut a doubled quote in half
            body = body[:-1]
        text = f"'{body}'"
    image = start + text
    if comment and len(image) + 4 <= CARD:
        image += f" / {comment}"
    return fits.Card.fromstring(image[:CARD].ljust(CARD))


def set_card(header: fits.Header, key: str, value: Any, comment: str = "") -> None:
    """Set a keyword, replacing an existing card in place; the value stays exact until `formatted`."""
    fitting = card(key, value, comment).comment
    value = _printable(value) if isinstance(value, str) else value
    new = fits.Card(key if _STANDARD.match(key) else f"HIERARCH {key}", value, fitting)
    if key in header:
        index = header.index(key)
        header.remove(key)
        header.insert(index, new, useblanks=False)
    else:
        header.append(new, useblanks=False, end=True)


def formatted(header: fits.Header) -> fits.Header:
    """Return a header with every card as `card` formats it; blank and commentary cards stay."""
    return fits.Header([card(item.keyword, item.value, item.comment) for item in header.cards])

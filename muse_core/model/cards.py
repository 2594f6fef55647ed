# SPDX-License-Identifier: GPL-2.0-or-later
"""Making cards as CPL writes them, see `muse_core.model.fits`."""

import functools
from typing import Any

from muse_core.model.fits import COMMENTARY as COMMENTARY  # for those who make cards
from muse_core.model.fits import STANDARD, Card, Header, card_image, printable
from muse_core.model.fits import format_number as format_number

#: Texts and whole numbers of headers are made into images again and again, for each product of a run.
_known_image = functools.lru_cache(maxsize=4096, typed=True)(card_image)


def card(key: str, value: Any, comment: str = "") -> Card:
    """Make a card, of which value and comment are what is left of them when it is written, see `card_image`."""
    if key in COMMENTARY:
        return Card(key, printable(value) if isinstance(value, str) else value)
    image = _known_image if type(value) in (str, int, bool) else card_image
    return Card.of_image(key, image(key, value, comment))


def set_card(header: Header, key: str, value: Any, comment: str = "") -> None:
    """Set a keyword, replacing an existing card in place; the value stays exact until `formatted`."""
    fitting = card(key, value, comment).comment
    value = printable(value) if isinstance(value, str) else value
    new = (key if STANDARD.match(key) else f"HIERARCH {key}", value, fitting)
    if key in header:
        index = header.index(key)
        header.remove(key)
        header.insert(index, new, useblanks=False)
    else:
        header.append(new, useblanks=False, end=True)


def formatted(header: Header) -> Header:
    """Return a header with every card as `card` formats it; blank and commentary cards stay."""
    return Header([card(item.keyword, item.value, item.comment) for item in header.cards])

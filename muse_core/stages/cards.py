# SPDX-License-Identifier: GPL-2.0-or-later
"""Which keywords of a pixel table go into the headers of what is made from it."""

import re
from collections.abc import Iterable

from muse_core.model.cards import card
from muse_core.model.fits import Card, Header
from muse_core.model.header import PIXTABLE, WCS_CARDS, has

_NOT_IN_OBJECTS = re.compile(rf"{WCS_CARDS}|^{PIXTABLE}|^BUNIT$|^EXTNAME$")
_THIRD_AXIS = re.compile(r"^C(TYPE|UNIT|RPIX|RVAL|DELT|SYER|RDER)3$|^CD\d_3$|^CD3_\d$|^SPECSYS$")
_PIXTABLE = re.compile(rf"^{PIXTABLE}")


def object_cards(header: Header) -> list[Card]:
    """Return the keywords of a cube or image made from a pixel table, without world coordinates."""
    cards = [item for item in header.cards if not _NOT_IN_OBJECTS.search(item.keyword)]
    if has(header, PIXTABLE + "FFCORR"):
        cards.append(card("ESO DRS MUSE FLUX FFCORR", True, "Data was flat-field spectrum corrected"))
    return cards


def table_cards(header: Header) -> list[Card]:
    """Return the keywords of a table made from a pixel table: without those of pixel tables."""
    return [item for item in header.cards if not _PIXTABLE.search(item.keyword)]


def image_wcs(cards: Iterable[Card]) -> list[Card]:
    """Return the keywords of a cube that hold for an image made of its planes."""
    return [item for item in cards if not _THIRD_AXIS.match(item.keyword)]

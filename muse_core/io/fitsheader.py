# SPDX-License-Identifier: GPL-2.0-or-later
"""Headers as they lie in files: cards of 80 bytes up to END, checked one by one."""

import math
import re
import warnings

from muse_core.errors import InputError
from muse_core.model.fits import CARD, Card, Header

#: Cards that need no second look: no damaged value, no number beyond double precision.
_GOOD_CARD = re.compile(
    rb"(?:HIERARCH (?P<long>[A-Z0-9_. -]+?)|(?=.{8}=)(?P<short>[A-Z0-9_-]{1,8})) *= *"
    rb"(?:'(?:[^']|'')*'|[TF]|[+-]?\d+(?:\.\d*)?(?:E[+-]?\d\d?)?|) *(?:/.*)?"
    rb"|(?P<free>COMMENT|HISTORY| {7}) .*|END *"
)
#: What bytes become: themselves, or a question mark.
PRINTABLE = bytes(c if 32 <= c < 127 else ord("?") for c in range(256))


def header_length(raw: bytes, begin: int) -> int | None:
    """Return the length of a header with its END card, None if it has none; it is none before byte `begin`."""
    at = raw.find(b"END ", begin)
    while at >= 0:
        if at % CARD == 0 and not raw[at + 3 : at + CARD].strip():
            return at + CARD
        at = raw.find(b"END ", at + 1)
    return None


def parse_header(raw: bytes, where: str) -> Header:
    """Return the header of the bytes of cards; what is no printable character becomes a question mark.

    Raises
    ------
    InputError
        A card is damaged, or a number is not finite. The reference does not load such files either.
    """
    raw = raw.translate(PRINTABLE)
    text, header, end = raw.decode("ascii"), Header(), 0
    while end < len(raw):
        begin, end = end, min(end + CARD, len(raw))
        good = _GOOD_CARD.fullmatch(raw, begin, end)
        while raw.startswith(b"CONTINUE", end):  # it belongs to the card before it, whatever that is
            good, end = None, min(end + CARD, len(raw))
        if not good:
            header.append(_odd_card(text[begin:end], where))
        elif (keyword := good["short"] or good["long"] or good["free"]) is not None:
            header.append(Card.of_image(keyword.decode("ascii").strip(), text[begin:end]))
    return header


def _odd_card(text: str, where: str) -> Card:
    """Return a card that only astropy understands, if it does."""
    from astropy.io import fits  # here, because its import takes as long as a small run
    from astropy.io.fits.verify import VerifyError
    from astropy.utils.exceptions import AstropyUserWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyUserWarning)
        card = fits.Card.fromstring(text)
        try:
            keyword, value, _ = card.keyword, card.value, str(card)  # as it will be written again
        except (VerifyError, ValueError, KeyError, TypeError, IndexError) as error:
            key, _, rest = text.removeprefix("HIERARCH ").partition("=")
            raise InputError(
                f"{where}: keyword {key.strip()}: found {rest.strip()!r}, expected a value that can be read; card "
                "damaged?"
            ) from error
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"{where}: keyword {keyword}: found {value}, expected a finite number")
        return Card(keyword, value, card.comment)

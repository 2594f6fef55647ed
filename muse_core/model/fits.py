# SPDX-License-Identifier: GPL-2.0-or-later
"""Cards and headers of FITS files, as lists of cards that are parsed when their values are asked for.

`Header` has the part of `astropy.io.fits.Header` that we use, under the same names, so that all that takes a header
takes either. To import astropy takes longer than to reduce a small field, and an exposure has thousands of cards, of
which a run looks at some dozens. Cards are written as CPL does: numbers of single precision (numpy.float32) with 7
digits, of double with 15; none is continued on another one, which CPL cannot read: a long comment, then a long string,
is cut.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

import numpy as np

CARD = 80
_BLOCK = 2880
#: Keywords of free text: they may be there many times.
COMMENTARY = ("COMMENT", "HISTORY", "")
STANDARD = re.compile(r"^[A-Z0-9_-]{1,8}$")
#: What follows the equals sign of a card.
_VALUE = re.compile(
    r" *(?:'(?P<text>(?:[^']|'')*)'|(?P<logical>[TF])|(?P<number>[+-]?\d+(?:\.\d*)?(?:E[+-]?\d+)?)|) *"
    r"(?:/ *(?P<comment>.*))?"
)
#: An empty string; without blanks astropy takes it for a quote if the comment has quotes too.
_EMPTY = "'        '"
_UNREAD: Any = object()


def format_number(value: float, digits: int) -> str:
    """Return a floating-point number with up to `digits` significant digits and always a decimal point."""
    text = f"{value:.{digits}G}"
    mantissa, exponent, power = text.partition("E")
    if "." not in mantissa:
        mantissa += "."
        if exponent:
            mantissa += "0"
    return mantissa + exponent + power


def is_undefined(value: object) -> bool:
    """Has a card no value? Astropy has an object of its own for it."""
    return value is None or type(value).__name__ == "Undefined"


def _format_value(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "T" if value else "F"
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, (float, np.floating)):
        if not math.isfinite(value):
            raise ValueError(f"{value} cannot be written to a FITS header")
        return format_number(float(value), 7 if isinstance(value, np.float32) else 15)
    if is_undefined(value):
        return _EMPTY
    return "'" + printable(str(value)).replace("'", "''") + "'" if value else _EMPTY


def printable(text: str) -> str:
    """Return a text as CPL writes it: a blank for each byte that is no printable ASCII."""
    if text.isascii() and text.isprintable():
        return text
    raw = text.encode("utf-8", "surrogateescape")
    return bytes(byte if 0x20 <= byte < 0x7F else 0x20 for byte in raw).decode()


def card_image(key: str, value: Any, comment: str = "") -> str:
    """Return a card as it is written: 80 characters, of free text as many times 80 as it needs.

    Parameters
    ----------
    key : str
        Keyword, without ``HIERARCH``; those longer than 8 characters or with blanks become HIERARCH cards.
    value : bool, int, float, numpy.float32, str or undefined
        The type decides the format; an undefined value becomes an empty string, as in CPL.
    comment : str
        Cut to what fits.
    """
    if key in COMMENTARY:
        text, room = "" if is_undefined(value) else printable(str(value)), CARD - 8
        lines = [text[i : i + room] for i in range(0, len(text), room)] or [""]
        return "".join(f"{key:<8}{line:<{room}}" for line in lines)
    text, comment = _format_value(value), printable(comment)
    is_string = text.startswith("'")
    is_standard = STANDARD.match(key)
    if is_standard:
        if is_string:
            text = f"'{text[1:-1]:<8}'"
            text = f"{text:<20}" if comment else text
        else:
            text = f"{text:>20}"
        start = f"{key:<8}= "
    else:
        start = f"HIERARCH {key} = "
    if is_string and len(start) + len(text) > CARD:
        start = start if is_standard else start.replace(" = ", "= ")
        room = CARD - len(start) - 2
        body = text[1:-1][:room]
        if (len(body) - len(body.rstrip("'"))) % 2:  # do not cut a doubled quote in half
            body = body[:-1]
        text = f"'{body}'"
    image = start + text
    if comment and len(image) + 4 <= CARD:
        image += f" / {comment}"
    return image[:CARD].ljust(CARD)


class Card:
    """A card; it never changes.

    Attributes
    ----------
    keyword : str
        Keyword, without ``HIERARCH``.
    value : bool, int, float, str, a number of numpy, or None
        None: no value.
    comment : str
        Comment.
    """

    __slots__ = ("_comment", "_image", "_value", "keyword")

    def __init__(self, keyword: str = "", value: Any = None, comment: str = ""):
        self.keyword = keyword.removeprefix("HIERARCH ")
        self._value = value.rstrip() if isinstance(value, str) else None if is_undefined(value) else value
        if self.keyword in COMMENTARY and self._value is None:
            self._value = ""
        self._comment = comment or ""
        self._image: str | None = None

    @classmethod
    def of_image(cls, keyword: str, image: str) -> "Card":
        """Return the card of this keyword that lies in a file as `image`, which nothing is wrong with."""
        found = cls.__new__(cls)
        found.keyword, found._image, found._value = keyword, image, _UNREAD
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        """A card that was not looked at travels as it was in its file."""
        if self._image is not None:
            return Card.of_image, (self.keyword, self._image)
        return Card, (self.keyword, self._value, self._comment)

    def _read(self) -> None:
        image = self._image
        assert image is not None
        if self.keyword in COMMENTARY:
            self._comment, self._value = "", image[8:].rstrip()
            return
        match = _VALUE.fullmatch(image, image.index("=") + 1)
        assert match is not None
        self._comment = (match["comment"] or "").rstrip()
        if (text := match["text"]) is not None:
            self._value = text.replace("''", "'").rstrip()
        elif number := match["number"]:
            self._value = float(number) if "." in number or "E" in number else int(number)
        else:
            self._value = match["logical"] == "T" if match["logical"] else None

    @property
    def value(self) -> Any:
        if self._value is _UNREAD:
            self._read()
        return self._value

    @property
    def comment(self) -> str:
        if self._value is _UNREAD:
            self._read()
        return self._comment

    @property
    def image(self) -> str:
        """The card as it is in a file: as it was there, or as `card_image` has it."""
        return self._image or card_image(self.keyword, self._value, self._comment)

    def __str__(self) -> str:
        return self.image

    def __repr__(self) -> str:
        return f"Card({self.keyword!r}, {self.value!r}, {self.comment!r})"


def _as_card(item: Any) -> Card:
    """Return a card of ours for one, for one of astropy, or for keyword, value and comment."""
    if isinstance(item, Card):
        return item
    return Card(*item) if isinstance(item, tuple) else Card(item.keyword, item.value, item.comment)


def _normal(key: str) -> str:
    """Return a keyword as it is looked for."""
    return key.strip().upper().removeprefix("HIERARCH ")


class _Comments:
    """Comments of a header by keyword."""

    def __init__(self, header: "Header"):
        self._header = header

    def __getitem__(self, key: str) -> str:
        return self._header.card(key).comment


class Header:
    """The cards of an HDU, in order, without END; of cards with the same keyword, the first is found.

    Parameters
    ----------
    cards : iterable of Card
        Or cards of astropy, or tuples of keyword, value and comment.
    """

    def __init__(self, cards: Iterable[Any] = ()):
        self._cards: list[Card] = []
        self._first: dict[str, Card] = {}
        self._repeated: set[str] = set()
        self.extend(cards)

    # looking

    @property
    def cards(self) -> list[Card]:
        """All cards."""
        return list(self._cards)

    @property
    def comments(self) -> _Comments:
        """Comments by keyword."""
        return _Comments(self)

    def _find(self, key: str) -> Card | None:
        found = self._first.get(key)
        return self._first.get(_normal(key)) if found is None else found

    def card(self, key: str) -> Card:
        """Return the first card of a keyword.

        Raises
        ------
        KeyError
            There is none.
        """
        found = self._find(key)
        if found is None:
            raise KeyError(f"Keyword {key!r} not found.")
        return found

    def __getitem__(self, key: str) -> Any:
        return self.card(key).value

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value, `default` if there is no card."""
        found = self._find(key)
        return default if found is None else found.value

    def __contains__(self, key: str) -> bool:
        return self._find(key) is not None

    def __iter__(self) -> Iterator[str]:
        return iter([card.keyword for card in self._cards])

    def __len__(self) -> int:
        return len(self._cards)

    def keys(self) -> Iterator[str]:
        """Go over the keywords."""
        return iter(self)

    def items(self) -> Iterator[tuple[str, Any]]:
        """Go over keywords and values."""
        return iter([(card.keyword, card.value) for card in self._cards])

    def index(self, key: str) -> int:
        """Return the number of the first card of a keyword."""
        return self._cards.index(self.card(key))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Header) and self.tostring() == other.tostring()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "\n".join(card.image for card in self._cards)

    def tostring(self) -> str:
        """Return the header as it is in a file, with END and padding."""
        text = "".join([card.image for card in self._cards]) + "END".ljust(CARD)
        return text.ljust(-(-len(text) // _BLOCK) * _BLOCK)

    def copy(self) -> Self:
        """Return a header with the same cards."""
        made = type(self)()
        made._cards, made._first, made._repeated = self._cards.copy(), self._first.copy(), self._repeated.copy()
        return made

    # changing

    def insert(self, index: int, card: Any, useblanks: bool = False) -> None:
        """Put a card before another one; `useblanks` is there for astropy's sake."""
        card = _as_card(card)
        self._cards.insert(index, card)
        key = _normal(card.keyword)
        if key in self._first:
            self._repeated.add(key)
            if index <= self._cards.index(self._first[key]):
                self._first[key] = card
        else:
            self._first[key] = card

    def append(self, card: Any, useblanks: bool = False, end: bool = True) -> None:
        """Add a card at the end; the other arguments are there for astropy's sake."""
        card = _as_card(card)
        self._cards.append(card)
        if self._first.setdefault(key := _normal(card.keyword), card) is not card:
            self._repeated.add(key)

    def extend(self, cards: Iterable[Any], unique: bool = False, bottom: bool = True, end: bool = True) -> None:
        """Add cards at the end; the other arguments are there for astropy's sake."""
        for card in getattr(cards, "cards", cards):
            self.append(card)

    def __setitem__(self, key: str, value: Any) -> None:
        """Set value, or value and comment, of a keyword, in its place; lines of free text are added."""
        old = self._find(key)
        value, comment = value if isinstance(value, tuple) else (value, "" if old is None else old.comment)
        if old is None or old.keyword in COMMENTARY:
            self.append((_normal(key), value, comment))
            return
        new = Card(old.keyword, value, comment)
        self._cards[self._cards.index(old)] = self._first[_normal(key)] = new

    def update(self, values: Mapping[str, Any]) -> None:
        """Set the values of keywords."""
        for key, value in values.items():
            self[key] = value

    def remove(self, key: str, ignore_missing: bool = False, remove_all: bool = False) -> None:
        """Remove the first card, or all cards, of a keyword.

        Raises
        ------
        KeyError
            There is none, unless that is to be ignored.
        """
        if ignore_missing and key not in self:
            return
        card = self.card(key)
        name = _normal(key)
        self._cards.remove(card)
        del self._first[name]
        if name in self._repeated:
            self._repeated.discard(name)
            others = [other for other in self._cards if _normal(other.keyword) == name]
            if remove_all:
                self._cards = [other for other in self._cards if _normal(other.keyword) != name]
            elif others:
                self._first[name] = others[0]
                if len(others) > 1:
                    self._repeated.add(name)

    def __delitem__(self, key: str) -> None:
        self.remove(key, remove_all=True)


def as_astropy(header: Any) -> Any:
    """Return a header of ours as one of astropy, of which users know more; one of astropy as it is."""
    from astropy.io import fits

    if isinstance(header, fits.Header):
        return header
    return fits.Header([_to_astropy(fits, card) for card in header.cards])


def _to_astropy(fits: Any, card: Card) -> Any:
    if card._image is not None:
        return fits.Card.fromstring(card._image)
    is_short = STANDARD.match(card.keyword) or card.keyword in COMMENTARY
    return fits.Card(card.keyword if is_short else f"HIERARCH {card.keyword}", card.value, card.comment)

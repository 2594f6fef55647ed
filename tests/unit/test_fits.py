# SPDX-License-Identifier: GPL-2.0-or-later
"""Cards and headers: as astropy has them, where it has them."""

import pickle

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from muse_core.io.fitsheader import parse_header
from muse_core.io.tables import table_hdu
from muse_core.model.cards import card, formatted, set_card
from muse_core.model.fits import Card, Header, as_astropy

_TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)
_VALUES = st.booleans() | st.integers(-(2**62), 2**62) | st.floats(-1e300, 1e300) | _TEXT
_KEYS = st.sampled_from(["OBJECT", "EXPTIME", "ESO DET OUT1 X", "ESO OBS NAME", "HISTORY", "COMMENT"])


def facts(header) -> list[tuple]:
    found = [(item.keyword, item.value, item.comment) for item in header.cards]
    return [(key, None if type(value).__name__ == "Undefined" else value, text) for key, value, text in found]


def is_rvkc(text) -> bool:
    """Is it what astropy takes for a keyword and its value within a string, which only some WCS papers know?"""
    return isinstance(text, str) and ":" in text


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(_KEYS, _VALUES.filter(lambda value: not is_rvkc(value)), _TEXT), max_size=8))
@example([("OBJECT", "it's", "/ of 'it'"), ("EXPTIME", 1e-300, ""), ("ESO OBS NAME", "x" * 90, "cut")])
def test_cards_are_read_as_by_astropy(items):
    header = formatted(Header([card(key, str(value) if key in ("HISTORY", "COMMENT") else value, text)
                               for key, value, text in items]))  # fmt: skip
    raw = header.tostring()
    assert len(raw) % 2880 == 0
    assert facts(parse_header(raw.rstrip().encode(), "here")) == facts(fits.Header.fromstring(raw))
    assert facts(header) == facts(fits.Header.fromstring(raw))


ODD = [
    "FLOAT   =               1.5D10 / exponent of Fortran",
    "POINT   =                   .5",
    "LONG    = 'a text that goes on &'",
    "CONTINUE  'and on' / comment",
    "HIERARCH eso lower case = 3 / of another observatory",
    "NOVALUE =                      / nothing",
    "EMPTY   = '' / it's",
    "        a blank keyword",
    "COMMENT   indented",
]


def test_odd_cards_are_read_by_astropy():
    raw = "".join(f"{line:<80}" for line in ODD)
    found, expected = parse_header(raw.encode(), "here"), fits.Header.fromstring(raw)
    kept = [item for item in facts(expected) if item[0] != "EMPTY"]  # there astropy is wrong
    assert [item for item in facts(found) if item[0] != "EMPTY"] == kept
    assert (found["EMPTY"], found.comments["EMPTY"]) == ("", "it's")
    assert found["long"] == "a text that goes on and on"


@pytest.mark.parametrize("kind", [Header, fits.Header])
def test_header_changes(kind):
    """Ours does what that of astropy does."""
    header = kind()
    for key, value in (("A", 1), ("ESO X Y", 2.5), ("B", "b")):
        set_card(header, key, value, f"of {key}")
    header["B"] = "c"
    header["C"] = (True, "new")
    header.append(("HISTORY", "first"), end=True)
    header["HISTORY"] = "second"
    set_card(header, "A", np.float32(0.1), "again")
    header.append(("B", "twice"), end=True)
    header.insert(1, ("ESO0", 0))
    copy = header.copy()
    header.remove("B")
    header.remove("A", ignore_missing=True)
    header.remove("A", ignore_missing=True)
    with pytest.raises(KeyError):
        header.remove("A")
    assert list(header) == ["ESO0", "ESO X Y", "C", "HISTORY", "HISTORY", "B"]
    assert header["B"] == "twice"
    assert [copy[key] for key in ("A", "eso x y", "HIERARCH ESO X Y", "B")] == [np.float32(0.1), 2.5, 2.5, "c"]
    assert type(copy["A"]) is np.float32
    assert (copy.comments["B"], copy.comments["A"], copy.index("C")) == ("of B", "again", 4)
    copy.remove("B", remove_all=True)
    assert "B" not in copy
    assert copy.get("B", 7) == 7
    assert len(copy) == 6


def test_a_header_travels_and_becomes_one_of_astropy():
    header = parse_header(f"{'OBJECT  = ' + repr('M 1') + ' / name':<80}".encode(), "here")
    set_card(header, "ESO TEL ALT", 1 / 3, "[deg]")
    again = pickle.loads(pickle.dumps(header))
    assert again == header
    assert facts(again) == facts(header)
    assert facts(pickle.loads(pickle.dumps(header))) == facts(header)  # now that its cards have been looked at
    for found in (as_astropy(header), as_astropy(as_astropy(header))):
        assert facts(found) == facts(header)
    assert facts(Header(as_astropy(header).cards)) == facts(header)
    assert header["ESO TEL ALT"] == 1 / 3


def test_a_table_is_as_astropy_writes_it():
    columns = [
        ("a", "1D", "m", np.arange(3.0)),
        ("b", "7A", None, np.array(["x", "yy", "zzzzzzz"])),
        ("c", "L", None, np.array([True, False, True])),
        ("v", "3E", "s", np.ones((3, 3), "f4")),
        ("i", "I", None, np.arange(3, dtype=np.int16)),
        ("j", "J", None, np.arange(3, dtype=np.int32)),
    ]
    header, data = table_hdu(columns, "NAME")
    hdu = fits.BinTableHDU.from_columns(
        [
            fits.Column(name=name, format=form if form[0].isdigit() else f"1{form}", unit=unit, array=values)
            for name, form, unit, values in columns
        ],
        name="NAME",
    )
    assert facts(header) == facts(fits.Header([c for c in hdu.header.cards if c.keyword != "EXTNAME"])) + [
        ("EXTNAME", "NAME", "")
    ]
    stored = np.asarray(hdu.data)
    assert data.tobytes() == stored.astype(stored.dtype.newbyteorder(">")).tobytes()


def test_card_is_shown():
    assert repr(Card("HIERARCH ESO A", 1, "c")) == "Card('ESO A', 1, 'c')"
    assert str(Card("ESO A", 1, "c")) == f"{'HIERARCH ESO A = 1 / c':<80}"

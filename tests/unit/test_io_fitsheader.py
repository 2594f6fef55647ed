# SPDX-License-Identifier: GPL-2.0-or-later
"""Headers as the fuzzer has spoiled them: what it found, one by one."""

import pytest
from astropy.io import fits

from muse_core.errors import InputError
from muse_core.io.fitsheader import parse_header


def cards(*texts: str) -> bytes:
    return "".join(text.ljust(80) for text in texts).encode("ascii")


@pytest.mark.parametrize(
    "texts",
    [
        pytest.param(("NAXIS   =                    2", "CONTINUE  'text'"), id="after a number"),
        pytest.param(("OBJECT  = 'a&'", "CONTINUE  5"), id="a number"),
        pytest.param(("NAXIS   =                    2", "CONTINUE= 'text'"), id="with a value"),
        pytest.param(("CONTINUE=            '1P",), id="at the beginning"),
    ],
)
def test_continue_that_continues_nothing(texts):
    with pytest.raises(InputError, match=r"^file: .*(NAXIS|OBJECT|CONTINUE)"):
        parse_header(cards(*texts, "END"), "file")


def test_card_that_only_begins_like_the_last_one():
    header = parse_header(cards("SIMPLE  =                    T", "END   ? =                   -1", "END"), "file")
    assert [(card.keyword, card.value) for card in header.cards] == [("SIMPLE", True), ("END   ?", -1)]


def test_comment_with_a_value():
    with pytest.raises(InputError, match=r"^file: keyword COMMENT\?: found '1   COMMENT', expected"):
        parse_header(cards("COMMENT?=                    1   COMMENT", "END"), "file")


def test_long_texts_are_read():
    header = fits.Header([("OBJECT", "x" * 200, "of it"), ("NAXIS", 2)])
    assert parse_header(header.tostring().encode("ascii"), "file")["OBJECT"] == "x" * 200

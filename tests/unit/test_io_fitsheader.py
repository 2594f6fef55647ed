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


@pytest.mark.parametrize("text", ["END   ? =                   -1", "COMMENT?=                    1   COMMENT"])
def test_keywords_that_are_none(text):
    try:
        header = parse_header(cards("SIMPLE  =                    T", text, "END"), "file")
        refused = ""
    except InputError as error:
        header, refused = fits.Header(), str(error)
    assert refused.startswith("file: ") or len([card.value for card in header.cards]) >= 1  # all can be read


def test_long_texts_are_read():
    header = fits.Header([("OBJECT", "x" * 200, "of it"), ("NAXIS", 2)])
    assert parse_header(header.tostring().encode("ascii"), "file")["OBJECT"] == "x" * 200

# SPDX-License-Identifier: GPL-2.0-or-later
"""Set-of-frames files are read as esorex reads them."""

import pytest

from muse_core.errors import MissingFileError
from muse_core.io.sof import Frame, parse_sof, read_sof


def parsed(text):
    return [(f.path, f.tag, f.group) for f in parse_sof(text)]


@pytest.mark.parametrize(
    ("text", "frames"),
    [
        ("a.fits T RAW\n", [("a.fits", "T", "RAW")]),
        (" \t a.fits\t \tT  CALIB more words # x \n", [("a.fits", "T", "CALIB")]),
        ("a.fits T raw", [("a.fits", "T", "")]),
        ("a.fits T PRODUCT\na.fits T PRODUCT", [("a.fits", "T", "PRODUCT")] * 2),
        ("a.fits", [("a.fits", "", "")]),
        ("# c\n  # c\n\n   \n", []),
        ("! a", [("!", "a", "")]),
        ("a.fits T\r\n", [("a.fits", "T", "")]),
        ("~/a.fits T", [("~/a.fits", "T", "")]),
        ('"a b.fits" T', [('"a', 'b.fits"', "T"[:0])]),
        (
            "$FOLDER/a T\n${FOLDER}b T\n$FOLDER$FOLDER/c T",
            [("dir/a", "T", ""), ("dirb", "T", ""), ("dirdir/c", "T", "")],
        ),
        ("$UNSET/a T\n./$FOLDER/a T", [("/a", "T", ""), ("./$FOLDER/a", "T", "")]),
        ("", []),
    ],
)
def test_lines(text, frames, monkeypatch):
    monkeypatch.setenv("FOLDER", "dir")
    monkeypatch.delenv("UNSET", raising=False)
    assert parsed(text) == frames


def test_line_numbers_do_not_count_in_comparisons():
    (frame,) = parse_sof("\n# c\na T RAW")
    assert frame.line == 3
    assert frame == Frame("a", "T", "RAW")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(MissingFileError, match=r"nope\.sof"):
        read_sof(tmp_path / "nope.sof")
    with pytest.raises(MissingFileError):
        read_sof(tmp_path)
    (tmp_path / "x.sof").write_bytes(b"\xff.fits T\n")
    assert read_sof(tmp_path / "x.sof")[0].path.encode("utf-8", "surrogateescape") == b"\xff.fits"

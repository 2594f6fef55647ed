# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of differences from the reference, and the switches of the code, are the same."""

import dataclasses
import re
from pathlib import Path

import pytest
from harness.tolerances import IGNORED_KEYWORDS

from muse_core.model.compat import Compat

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "known_differences.md").read_text()
SWITCHES = [field.name for field in dataclasses.fields(Compat)]


def test_table_has_every_switch_once():
    assert sorted(re.findall(r"^\| `([a-z0-9_]+)` \|", PAGE, re.MULTILINE)) == sorted(SWITCHES)


@pytest.mark.parametrize("switch", SWITCHES)
def test_switch_is_used(switch):
    sources = [*(ROOT / "muse_core").rglob("*.py"), *(ROOT / "recipes").glob("*.py")]
    assert any(f"compat.{switch}" in path.read_text() for path in sources)


@pytest.mark.parametrize(
    "key", ["ESO PRO REC1 PIPE ID", "ESO PRO REC2 DRS ID", "DATE", "DATASUM", "DATAMD5", "CHECKSUM"]
)
def test_keywords_that_parity_tests_ignore_are_listed(key):
    assert IGNORED_KEYWORDS.match(key)
    assert f"`{re.sub(r'REC[0-9]', 'RECi', key)}`" in PAGE


def test_mark_of_products_is_listed():
    assert IGNORED_KEYWORDS.match("ESO DRS MUSE SCIPOST COMPAT")
    assert "`ESO DRS MUSE SCIPOST COMPAT = 'none'`" in PAGE

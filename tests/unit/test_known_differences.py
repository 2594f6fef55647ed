# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of differences from the reference, and the switches of the code, are the same."""

import ast
import dataclasses
import functools
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


@functools.cache
def decided() -> frozenset[str]:
    """Switches on which the code decides something: what is read of a ``compat``, in a condition or as an argument."""
    found = set()
    for path in [*(ROOT / "muse_core").rglob("*.py"), *(ROOT / "recipes").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            parts: list[ast.AST] = []
            match node:
                case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test) | ast.Assert(test=test):
                    parts = [test]
                case ast.comprehension(ifs=ifs):
                    parts = [*ifs]
                case ast.BoolOp(values=values):
                    parts = [*values]
                case ast.Call(args=args, keywords=keywords):
                    parts = [*args, *(keyword.value for keyword in keywords)]
                case ast.Return(value=value) | ast.Assign(value=value) if value is not None:
                    parts = [value]
            for part in parts:
                for read in ast.walk(part):
                    if (
                        isinstance(read, ast.Attribute)
                        and ast.unparse(read.value).rpartition(".")[2].lstrip("_") == "compat"
                    ):
                        found.add(read.attr)
    return frozenset(found)


@pytest.mark.parametrize("switch", SWITCHES)
def test_code_decides_on_switch(switch):
    assert switch in decided()


@pytest.mark.parametrize(
    "key", ["ESO PRO REC1 PIPE ID", "ESO PRO REC2 DRS ID", "DATE", "DATASUM", "DATAMD5", "CHECKSUM"]
)
def test_keywords_that_parity_tests_ignore_are_listed(key):
    assert IGNORED_KEYWORDS.match(key)
    assert f"`{re.sub(r'REC[0-9]', 'RECi', key)}`" in PAGE


def test_mark_of_products_is_listed():
    assert IGNORED_KEYWORDS.match("ESO DRS MUSE SCIPOST COMPAT")
    assert "`ESO DRS MUSE SCIPOST COMPAT = 'none'`" in PAGE

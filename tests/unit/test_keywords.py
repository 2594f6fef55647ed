# SPDX-License-Identifier: GPL-2.0-or-later
"""All declared keywords and columns with all values that make no sense: what is declared happens."""

import ast
import logging
import math
from pathlib import Path

import numpy as np
import pytest

import muse_core
from muse_core.errors import InputError
from muse_core.model import header as access
from muse_core.model import keywords
from muse_core.model.compat import OURS, Compat
from muse_core.model.keywords import COLUMNS, PIXEL_TABLE, Reaction, checked_column, declared

DECLARED = list(declared())
VALUES = {
    "missing": None,
    "text": "abc",
    "number": 5,
    "flag": True,
    "NaN": math.nan,
    "inf": math.inf,
    "1e30": 1e30,
    "-1e30": -1e30,
    "0": 0.0,
    "negative": -0.5,
}


def _read(tag, keyword, value, compat=OURS):
    key = keyword.name.replace("*", "1")
    header = {} if value is None else {key: value}
    if keyword.kind is str:
        return access.get_string(header, key, "default", tag, compat)
    if keyword.kind is int:
        return access.get_int(header, key, 77, tag, compat)
    if keyword.kind is bool:
        return access.get_bool(header, key, tag, compat)
    return access.get_float(header, key, 77.0, compat, tag)


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize(("tag", "keyword"), DECLARED, ids=lambda x: getattr(x, "name", x))
def test_every_keyword(tag, keyword, name, caplog):
    value = VALUES[name]
    default = {str: "default", int: 77, bool: False, float: 77.0}[keyword.kind]
    with caplog.at_level(logging.WARNING):
        if value is None:
            assert _read(tag, keyword, value) == default
        elif keyword.is_usable(value):
            assert _read(tag, keyword, value) == value
            assert keyword.kind in (str, bool) or math.isfinite(value)
        elif keyword.unusable is Reaction.ERROR:
            with pytest.raises(InputError, match=rf"{tag}: keyword .*: found .*, expected {keyword.expected[:6]}"):
                _read(tag, keyword, value)
        else:
            assert _read(tag, keyword, value) == default
            assert bool(caplog.records) == (keyword.unusable is Reaction.WARNING)
    if name in ("NaN", "inf", "1e30", "-1e30") and keyword.kind is float:
        assert not keyword.is_usable(value)


@pytest.mark.parametrize(("tag", "keyword"), DECLARED, ids=lambda x: getattr(x, "name", x))
def test_every_keyword_of_a_file_is_checked_when_it_is_opened(tag, keyword):
    if "*" in keyword.name or keyword.unusable is not Reaction.ERROR:
        access.check_keywords({"ESO NO SUCH": 1.0}, "x.fits", tag=tag)
        return
    header = {keyword.name: 5 if keyword.kind is str else "abc"}
    with pytest.raises(InputError, match=rf"x.fits: keyword {keyword.name}: found (5|'abc'), expected"):
        access.check_keywords(header, "x.fits", tag=tag)
    access.check_keywords(header, "x.fits", Compat.reference(), tag)


@pytest.mark.parametrize(("tag", "keyword"), DECLARED, ids=lambda x: getattr(x, "name", x))
def test_reference_uses_any_number(tag, keyword):
    unusable, default = {float: ("abc", 77.0), str: (5, "default"), int: ("abc", 77), bool: ("abc", False)}[
        keyword.kind
    ]
    assert _read(tag, keyword, unusable, Compat.reference()) == default
    if keyword.kind is float:
        assert _read(tag, keyword, -1e30, Compat.reference()) == -1e30


def test_nothing_is_used_that_is_not_declared():
    with pytest.raises(KeyError):
        access.get_float({}, "ESO NO SUCH")
    with pytest.raises(KeyError):
        access.get_float({}, "ZP_AB")
    assert keywords.find("CD1_2").name == "CD*_*"


def test_keywords_in_the_code_are_declared():
    """Every keyword that is written out in a call of an accessor is one of the declared ones."""
    known, found = {keywords._NUMBER.sub("*", keyword.name) for _, keyword in declared()}, set()
    for path in Path(muse_core.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            name = getattr(node, "func", None)
            name = getattr(name, "id", getattr(name, "attr", ""))
            is_access = name in ("get_float", "require_float", "get_string", "get_int", "get_bool", "has", "stated")
            if is_access and len(node.args) > 1 and isinstance(node.args[1], ast.Constant):
                found.add(keywords._NUMBER.sub("*", node.args[1].value))
    assert len(found) > 15
    assert not found - known


#: Where headers are read directly, and why.
DIRECT = {
    "muse_core/model/header.py": "the accessors",
    "muse_core/model/cards.py": "cards are written; whether one is there decides where",
    "muse_core/io/fitsreader.py": "keywords of the structure, which it checks itself",
    "muse_core/io/fitswriter.py": "headers that we have made",
    "muse_core/io/signature.py": "headers that we have made",
    "muse_core/io/verify.py": "keywords of products, whose signatures are checked",
    "muse_core/frontends/redo.py": "keywords of products, which say how they were made",
    "muse_core/api/cube.py": "keywords of products, to be looked at",
    "muse_core/api/pixtable.py": "keywords of products, to be looked at",
    "muse_core/api/products.py": "keywords of products, to be looked at",
    "muse_core/api/quicklook.py": "copied to another header",
    "muse_core/api/steps/__init__.py": "copied to another header",
    "muse_core/frontends/pythoncpl/dfs.py": "keywords of products, for scripts; nothing is made of them",
}


def _direct_reads(tree: ast.AST) -> list[int]:
    """Lines in which a header is read by ``header[...]``, ``header.get`` or ``... in header``."""
    found = []
    for scope in (tree, *(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))):
        annotated = [*scope.args.args, *scope.args.kwonlyargs] if isinstance(scope, ast.FunctionDef) else []
        headers = {a.arg for a in annotated if a.annotation and ast.unparse(a.annotation).endswith("Header")}
        found += [node.lineno for node in ast.walk(scope) if _is_direct_read(node, headers)]
    return sorted(set(found))


def _is_direct_read(node: ast.AST, headers: set[str]) -> bool:
    """Is it such a read, of something that is called or annotated as a header?"""

    def is_header(node) -> bool:
        if isinstance(node, ast.Subscript):  # of a sequence of headers
            node = node.value
        name = getattr(node, "id", getattr(node, "attr", ""))
        return name in headers or name.rstrip("s").endswith("header")

    match node:
        case ast.Subscript(value=value, ctx=ast.Load()):
            is_sequence = getattr(value, "id", getattr(value, "attr", "")).endswith("s")
            return not is_sequence and is_header(value)
        case ast.Call(func=ast.Attribute(value=value, attr="get" | "pop" | "setdefault" | "index" | "count")):
            return is_header(value)
        case ast.Compare(ops=[ast.In() | ast.NotIn()], comparators=[value]):
            return is_header(value)
    return False


def test_no_keyword_is_read_past_the_declarations():
    package = Path(muse_core.__file__).parent
    root, found, direct = package.parent, [], set()
    for path in (*package.rglob("*.py"), *(root / "recipes").glob("*.py")):
        name = path.relative_to(root).as_posix()
        # nothing but exposures that are made up, pages and pictures is made of these reads
        if name.startswith(("muse_core/simulate/", "muse_core/report/", "muse_core/sof_examples/")):
            continue
        lines = _direct_reads(ast.parse(path.read_text()))
        if name in DIRECT:
            direct |= {name} if lines else set()
        else:
            found.extend(f"{name}:{line}" for line in lines)
    assert not found
    assert direct == DIRECT.keys(), "exceptions that are none any more"


@pytest.mark.parametrize(
    "line", ["header['A']", "table.header.get('A')", "'A' in one.table.header", "headers[0]['A']", "raw.pop('A')"]
)
def test_direct_reads_are_found(line):
    assert _direct_reads(ast.parse(f"def f(raw: fits.Header, headers):\n    return {line}")) == [2]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e39, -1e39])
@pytest.mark.parametrize(("tag", "column"), [(tag, c) for tag, columns in COLUMNS.items() for c in columns])
def test_every_column(tag, column, value):
    middle = max(min(1.0, column.high), column.low)
    values = np.full(5, middle)
    assert checked_column(tag, column.name, values, "x.fits[1]") is values
    values[3] = value
    if column.optional and not math.isfinite(value):
        assert checked_column(tag, column.name, values, "x.fits[1]") is values
        return
    with pytest.raises(InputError, match=rf"x.fits\[1\]: column {column.name}, row 4: found .*, expected numbers from"):
        checked_column(tag, column.name, values, "x.fits[1]")
    found = checked_column(tag, column.name, values, "x.fits[1]", Compat.reference())
    if column.as_zero and not math.isfinite(value):
        assert found.tolist() == [middle] * 3 + [0.0, middle]
    else:
        assert np.array_equal(found, values, equal_nan=True)


def test_every_frame_is_declared():
    assert PIXEL_TABLE in keywords.KEYWORDS
    assert {"STD_RESPONSE", "EXTINCT_TABLE", "STD_TELLURIC", "SKY_LINES", "AUTOCAL_FACTORS"} <= COLUMNS.keys()

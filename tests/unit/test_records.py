# SPDX-License-Identifier: GPL-2.0-or-later
"""Values go into records and come back as they were; anything else is refused."""

import ast
import dataclasses
import enum
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import muse_core
from muse_core.engine.records import RecordError, pack, unpack
from muse_core.errors import ParameterError
from muse_core.io.fitsreader import FitsFile
from muse_core.model import fits
from muse_core.model.cards import card, set_card


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    x: float
    n: int = 0
    name: str | None = None


@dataclasses.dataclass
class Everything:
    points: list[Point]
    by_name: dict[str, tuple[int, ...]]
    by_number: dict[int, np.ndarray]
    colour: Colour
    path: Path
    header: fits.Header
    single: np.float32
    pair: tuple[bool, str]
    nothing: None = None


def same(a, b) -> bool:
    """Are both the same, types and bits of numbers included?"""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, np.generic):
        return a.tobytes() == b.tobytes()
    if isinstance(a, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    if isinstance(a, fits.Header):
        return [triple(c) for c in a.cards] == [triple(c) for c in b.cards]
    if dataclasses.is_dataclass(a):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    if isinstance(a, dict):
        return same(list(a.items()), list(b.items()))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def triple(item: fits.Card) -> tuple:
    value = item.value
    return item.keyword, type(value), value.tobytes() if isinstance(value, np.generic) else repr(value), item.comment


def again(value, schema):
    """Return what comes back of a value, by way of bytes."""
    blocks = [np.frombuffer(bytearray(block.tobytes()), np.uint8) for block in pack(value, schema)]
    return unpack(blocks, schema)


def test_everything():
    header = fits.Header()
    set_card(header, "EXPTIME", 1 / 3, "[s] a comment")
    set_card(header, "ESO DRS MUSE PIXTABLE LIMITS X LOW", np.float32(-149.5))
    set_card(header, "ESO TEL AMBI RHUM", 12)
    for key, value in (("FLAG", True), ("EMPTY", None), ("TEXT", "it's"), ("WIDE", np.float64(1e-300))):
        set_card(header, key, value, "of it")
    header["HISTORY"] = "once"
    header["HISTORY"] = "twice"
    header["COMMENT"] = "upon a time"
    header.append(("", "blank keyword"), end=True)
    value = Everything(
        points=[Point(1 / 3, 2, "a"), Point(math.nan), Point(np.float32(0.1), np.int64(5)), Point(3)],
        by_name={"b": (1, 2), "a": ()},
        by_number={7: np.array([[np.nan, -0.0], [1, 2]], ">f4"), 3: np.zeros((0, 4), bool), 1: np.array(5.0)},
        colour=Colour.BLUE,
        path=Path("/somewhere/\udcff"),
        header=header,
        single=np.frombuffer(b"\x01\x00\xc0\x7f", "<f4")[0],  # a NaN with something in it
        pair=(True, "Grüße\ud800"),
    )
    found = again(value, Everything)
    assert same(found, value)
    assert [c.value for c in found.header.cards if c.keyword == "HISTORY"] == ["once", "twice"]
    assert found.by_number[7].flags.writeable


def test_header_as_read(datasets):
    path = next(datasets["small"].folder.glob("PIXTABLE_OBJECT*"))
    with FitsFile(path) as file:
        header = file.primary.header
    found = again(header, fits.Header)
    assert same(found, header)
    assert len(found) > 100
    made = [[str(card(c.keyword, c.value, c.comment)) for c in item.cards] for item in (header, found)]
    assert made[0] == made[1]


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_values)
def test_any_other_content_is_refused(content):
    """What is valid JSON but not the record of a point is a RecordError, never anything else."""
    block = np.frombuffer(json.dumps(content).encode(), np.uint8)
    for schema in (Point, Everything, fits.Header, tuple[int, np.ndarray], Colour, dict[int, Path], np.float32):
        try:
            value = unpack([block], schema)
        except RecordError:
            continue
        assert same(value, again(value, schema))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"x"', '"y"'),
        lambda text: text.replace("[2]", "[3]"),
        lambda text: text.replace("[2]", "[-2]"),
        lambda text: text.replace("<f8", "|O"),
        lambda text: text.replace("<f8", "<M8"),
        lambda text: text.replace("0.5", '"0.5"'),
        lambda text: text.replace("0.5", "true"),
        lambda text: text.replace("0.5", "[0.5]"),
        lambda text: text.replace("0.5", '{"<f8":"00"}'),
        lambda text: text.replace("0.5", '{"|O":"0000000000000000"}'),
        lambda text: text[:-1],
        lambda text: text + "}",
        lambda text: "",
    ],
)
def test_damage_is_found(change):
    schema = tuple[Point, np.ndarray]
    text, array = pack((Point(0.5), np.zeros(2)), schema)
    changed = change(bytes(text).decode())
    with pytest.raises(RecordError):
        unpack([np.frombuffer(changed.encode(), np.uint8), array], schema)
    with pytest.raises(RecordError):
        unpack([text], schema)
    with pytest.raises(RecordError):
        unpack([text, array, array], schema)


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (1.5, int),
        (True, int),
        (1, bool),
        ("a", Path),
        ((1,), tuple[int, int]),
        ([1], tuple[int, ...]),
        (np.array([object()]), np.ndarray),
        (np.array(["a"]), np.ndarray),
        (np.ma.zeros(2), np.ndarray),
        (Point("a"), Point),
        (object(), object),
        (1, int | str),
        (print, print),
        (len, "len"),
        (fits.Header([fits.Card("Z", 1 + 2j)]), fits.Header),
        (0, None),
        ({}, list[int]),
        ([], dict[str, int]),
        (1, Point),
        ("RED", Colour),
        (1.0, np.float32),
        ({}, fits.Header),
    ],
)
def test_other_values_are_refused(value, schema):
    with pytest.raises(RecordError, match="record"):
        pack(value, schema)


@dataclasses.dataclass(frozen=True)
class Positive:
    number: int

    def __post_init__(self):
        if self.number <= 0:
            raise ParameterError(f"number: found {self.number}, expected more than 0")


def test_values_that_a_class_refuses():
    text, *_ = pack(Positive(7), Positive)
    assert unpack([text], Positive) == Positive(7)
    changed = np.frombuffer(bytes(text).replace(b"7", b"0"), np.uint8)
    with pytest.raises(RecordError, match="record: number: found 0, expected more than 0"):
        unpack([changed], Positive)


def test_no_blocks():
    with pytest.raises(RecordError, match="found nothing"):
        unpack([], int)


#: Modules, and functions, with which data become code.
_LOADERS = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml", "dbm", "code"}
_CALLS = {"eval", "exec", "__import__", "execfile"}
#: Where modules are imported by name or path: recipes that the user names, and our own.
_IMPORTERS = {
    "__init__.py",
    "api/__init__.py",
    "recipe/extras.py",
    "report/write.py",
    "frontends/registry.py",
    "cplapi/__init__.py",
    "stages/__init__.py",
}
#: Tasks for the workers of a cluster, which run what they are sent anyway: the journal gives them out only if they are
#: what was put there, by a digest that comes with the order and not from the folder.
_TASKS = {"engine/cluster/worker.py"}
#: The methods of our own classes, from the names of their fields, as dataclasses make them.
_METHODS = {"model/record.py"}


def test_no_file_is_code():
    """Nothing in the package turns the content of files into code, but the search for recipes."""
    folder = Path(muse_core.__file__).parent
    found = []
    for path in sorted([*folder.rglob("*.py"), *(folder.parent / "recipes").glob("**/*.py")]):
        place = str(path.relative_to(folder)) if path.is_relative_to(folder) else path.name
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(alias.name for alias in node.names if alias.name in _LOADERS)]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                names = [node.func.id] if node.func.id in _CALLS else []
            elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                names = ["pickle"] if not (isinstance(node.value, ast.Constant) and node.value.value is False) else []
            for name in names:
                loads = name.split(".")[0] in _LOADERS | _CALLS
                imports = name in ("importlib", "importlib.util", "importlib.machinery", "runpy", "imp", "zipimport")
                if (loads and place not in _TASKS | _METHODS) or (imports and place not in _IMPORTERS):
                    found.append(f"{place}:{getattr(node, 'lineno', 0)}: {name}")
    assert not found
    assert len(list(folder.rglob("*.py"))) > 100

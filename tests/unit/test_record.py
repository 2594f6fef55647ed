# SPDX-License-Identifier: GPL-2.0-or-later
"""Our dataclasses behave like those of the library."""

import copy
import dataclasses
import inspect
import pickle

import numpy as np
import pytest

from muse_core.model.record import record


class Place:
    """A place."""

    x: float
    y: float = 0.0
    names: list = dataclasses.field(default_factory=list)
    note: str = dataclasses.field(default="", repr=False, compare=False)

    def __post_init__(self):
        if self.x < 0:
            raise ValueError("x: below 0")

    @property
    def sum(self):
        """Sum of both."""
        return self.x + self.y


class Empty:
    """Nothing."""


class One:
    """A single field."""

    value: int = dataclasses.field(kw_only=True)


class Special:
    """With methods of its own."""

    value: int

    def __eq__(self, other):
        return True

    def __hash__(self):
        return 7

    def __repr__(self):
        return "special"


class Equal:
    """With an equality of its own, and no hash."""

    value: int

    def __eq__(self, other):
        return True


OPTIONS = [
    {},
    {"frozen": False},
    {"kw_only": True},
    {"eq": False},
    {"frozen": False, "eq": False, "repr": False},
]


def both(cls, options):
    """Return a copy of a class made by the library, and one made by us."""
    made = [
        type(cls.__name__, (), {k: v for k, v in vars(cls).items() if k not in ("__dict__", "__weakref__")})
        for _ in "12"
    ]
    return dataclasses.dataclass(**{"frozen": True, "slots": True} | options)(made[0]), record(**options)(made[1])


def outcome(function):
    """Return what a function returns, or the kind and the text of what it raises; without places in memory."""
    try:
        return str(function()).split(" at 0x")[0]
    except Exception as error:
        return type(error), str(error)


def seen(made, cls, options):
    """Return how a class behaves."""
    arguments = {Place: {"x": 1.0, "names": ("a",)}, One: {"value": 3}, Special: {"value": 3}, Equal: {"value": 3}}.get(
        cls, {}
    )
    thing, same = made(**arguments), made(**arguments)
    other = made(**arguments | ({"x": 2.0} if cls is Place else {}))
    if cls is Place:
        assert made(x=1.0).names is not made(x=1.0).names
    found = [
        repr(inspect.signature(made)).replace("<_MISSING_TYPE>", ""),
        outcome(lambda: thing),
        *(outcome(lambda a=a, b=b: a == b) for a, b in ((thing, same), (thing, other), (thing, 5))),
        outcome(lambda: hash(thing) == hash(same)) if options.get("eq", True) else None,
        outcome(lambda: made(1.0, 2.0)),
        outcome(lambda: made(z=1)),
        outcome(lambda: made(x=-1.0)),
        outcome(lambda: dataclasses.replace(thing, y=4.0).sum),
        outcome(lambda: dataclasses.astuple(copy.deepcopy(thing))),
        made.__slots__,
        made.__match_args__,
        [field.name for field in dataclasses.fields(made)],
        hasattr(thing, "__dict__"),
        made.__init__.__qualname__,
        dict(made.__init__.__annotations__),
    ]
    if arguments:
        name = next(iter(arguments))
        found += [
            outcome(lambda: setattr(thing, name, 5.0)),
            getattr(thing, name),
            outcome(lambda: delattr(thing, name)),
        ]
    return found


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("cls", [Place, Empty, One, Special, Equal])
def test_same_as_the_library(cls, options):
    library, ours = both(cls, options)
    assert seen(ours, cls, options) == seen(library, cls, options)


@record
class Pickled:
    """Can be sent to another process."""

    values: np.ndarray
    low: float = 0.0


@record
class Derived(Pickled):
    """With one field more."""

    high: float = 1.0


def test_pickled_and_derived():
    made = Derived(np.arange(3), high=2.0)
    for again in (pickle.loads(pickle.dumps(made)), copy.copy(made)):
        assert np.array_equal(again.values, made.values)
        assert (again.low, again.high) == (0.0, 2.0)
        with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'low'"):
            again.low = 3.0
    assert isinstance(made, Pickled)
    assert repr(Derived(1)) == "Derived(values=1, low=0.0, high=1.0)"
    assert Derived(1) != Pickled(1)


def test_what_is_not_supported():
    class Later:
        x: int = dataclasses.field(init=False)

    with pytest.raises(TypeError, match=r"Later\.x: found a field with init=False"):
        record(Later)

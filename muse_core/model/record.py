# SPDX-License-Identifier: GPL-2.0-or-later
"""Dataclasses that are made in a quarter of the time.

`dataclasses.dataclass` compiles up to six methods for each class. There are more than a hundred classes in a run, and
to make them was a fifth of its start. Here one is compiled, ``__init__``; the others are the same for all classes.
"""

import dataclasses
import operator
from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform, overload

T = TypeVar("T")

_set = object.__setattr__


class _Default:
    """Stands for a default that is made anew for each object."""

    def __repr__(self) -> str:
        return "<factory>"


_MADE = _Default()


@overload
def record(cls: type[T], /) -> type[T]: ...


@overload
def record(
    cls: None = None, /, *, frozen: bool = True, kw_only: bool = False, eq: bool = True, repr: bool = True
) -> Callable[[type[T]], type[T]]: ...


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field, dataclasses.Field))
def record(
    cls: type[T] | None = None, /, *, frozen: bool = True, kw_only: bool = False, eq: bool = True, repr: bool = True
) -> type[T] | Callable[[type[T]], type[T]]:
    """Make a class a dataclass with slots that behaves like one of ``dataclasses.dataclass(frozen=True, slots=True)``.

    Parameters
    ----------
    cls : type
        The class.
    frozen, kw_only, eq, repr : bool
        As for `dataclasses.dataclass`.

    Examples
    --------
    >>> from muse_core.model.record import record
    >>> @record
    ... class Offset:
    ...     ra: float
    ...     dec: float = 0.0
    >>> Offset(1.5)
    Offset(ra=1.5, dec=0.0)
    """

    def make(cls: type[T]) -> type[T]:
        return _make(cls, frozen, kw_only, eq, repr)

    return make if cls is None else make(cls)


def _make(cls: type[T], frozen: bool, kw_only: bool, eq: bool, repr_: bool) -> type[T]:
    own = vars(cls)
    cls.__doc__ = cls.__doc__ or cls.__name__  # the library would inspect the class to make one
    made: Any = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True, kw_only=kw_only)(cls)
    fields = dataclasses.fields(made)
    made.__init__ = _initializer(made, fields, frozen)
    if repr_ and "__repr__" not in own:
        made.__repr__ = _representation
    if eq:
        _compare(made, fields, frozen, own)
    if frozen:
        made.__setattr__, made.__delattr__ = _refuse_assignment, _refuse_deletion
        made.__getstate__, made.__setstate__ = _state, _set_state
    done: type[T] = made
    return done


def _initializer(cls: Any, fields: tuple[dataclasses.Field[Any], ...], frozen: bool) -> Callable[..., None]:
    names: dict[str, Any] = {"_set": _set, "_made": _MADE}
    parameters: list[str] = []
    keywords: list[str] = []
    body: list[str] = []
    for field in fields:
        text = name = value = field.name
        if not field.init:
            raise TypeError(f"{cls.__qualname__}.{name}: found a field with init=False, expected one of __init__")
        default = f"_default_{name}"
        if field.default is not dataclasses.MISSING:
            names[default] = field.default
            text = f"{name}={default}"
        elif field.default_factory is not dataclasses.MISSING:
            names[default] = field.default_factory
            text, value = f"{name}=_made", f"{default}() if {name} is _made else {name}"
        (keywords if field.kw_only else parameters).append(text)
        body.append(f"_set(self, {name!r}, {value})" if frozen else f"self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    signature = ", ".join(["self", *parameters, *(["*", *keywords] if keywords else [])])
    exec(f"def __init__({signature}):\n " + "\n ".join(body or ["pass"]), names)  # as the library does
    function: Callable[..., None] = names["__init__"]
    function.__qualname__ = f"{cls.__qualname__}.__init__"
    function.__module__ = cls.__module__
    function.__annotations__ = {field.name: field.type for field in fields} | {"return": None}
    return function


def _compare(cls: Any, fields: tuple[dataclasses.Field[Any], ...], frozen: bool, own: Any) -> None:
    """Give a class equality and hash, by the values of its fields."""
    names = [field.name for field in fields if field.compare]
    values: Callable[[Any], Any] = operator.attrgetter(*names) if names else lambda self: ()

    def equal(self: Any, other: object) -> Any:
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    def number(self: Any) -> int:
        return hash((values(self),))

    if "__eq__" not in own:
        cls.__eq__ = equal
    if own.get("__hash__") is None:  # Python sets it to None in a class with an __eq__ of its own
        cls.__hash__ = number if frozen else None


def _representation(self: Any) -> str:
    shown = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in dataclasses.fields(self) if field.repr)
    return f"{self.__class__.__qualname__}({shown})"


def _refuse_assignment(self: object, name: str, value: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_deletion(self: object, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[Any]:
    return [getattr(self, field.name) for field in dataclasses.fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for field, value in zip(dataclasses.fields(self), state, strict=True):
        _set(self, field.name, value)

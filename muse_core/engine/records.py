# SPDX-License-Identifier: GPL-2.0-or-later
"""Values as data: what a run keeps of itself, written so that reading it back can run no code.

The reader says which type he expects, the schema: nothing in a record names a class or a function. A record is a text
(JSON) with the bytes of its arrays. Schemas are made of dataclasses (by the types of their fields), ``tuple[...]``,
``list[...]``, ``dict[..., ...]``, ``... | None``, enumerations, paths, FITS headers, arrays, and single values: bool,
int, float, str, each also as numpy has them. Types of numbers are kept, NaN to the bit.
"""

import abc
import dataclasses
import enum
import json
import re
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from muse_core.errors import MuseError
from muse_core.model.fits import Card, Header

#: Types of numbers, as numpy writes them, in both byte orders.
_DTYPES = {
    text
    for dtype in map(np.dtype, "?bhilqBHILQefdFD")
    for text in (dtype.newbyteorder("<").str, dtype.newbyteorder(">").str)
}
#: What may stand for a single value of a schema.
_SCALARS = {
    bool: (bool, np.bool_),
    int: (int, np.integer),
    float: (float, int, np.floating, np.integer),
    str: (str,),
}
#: Single values that are the same in the text.
_PLAIN = (bool, int, float, str)
#: Keywords of cards.
_KEYWORD = re.compile(r"[ -<>-~]*")


class RecordError(MuseError, ValueError):
    """A value, or a record, is not as its schema says."""


def pack(value: object, schema: Any) -> list[np.ndarray]:
    """Return a value as blocks of bytes: the text, then arrays.

    Parameters
    ----------
    value : object
        What to keep.
    schema : type
        Its type.

    Returns
    -------
    list of ndarray of uint8
        The blocks; arrays are not copied if they are contiguous.

    Raises
    ------
    RecordError
        The value is of another type, or the schema has one that cannot be kept.
    """
    writer = _Writer()
    text = json.dumps(writer.value(value, schema, "record"), separators=(",", ":"))
    return [np.frombuffer(text.encode("ascii"), np.uint8), *writer.arrays]


def unpack(blocks: Sequence[np.ndarray], schema: Any) -> Any:
    """Return the value of which `pack` made these blocks; its arrays are views of them.

    Raises
    ------
    RecordError
        The blocks are not what `pack` makes of a value of this type.
    """
    if not blocks:
        raise RecordError("record: found nothing")
    reader = _Reader(blocks[1:])
    try:
        content = json.loads(bytes(blocks[0]))
        value = reader.value(content, schema, "record")
    except RecordError:
        raise
    except (ValueError, OverflowError, RecursionError) as error:
        raise RecordError(f"record: {error}") from error
    if reader.n_read != len(blocks) - 1:
        raise RecordError(f"record: found {len(blocks) - 1} arrays, expected {reader.n_read}")
    return value


def _wrong(where: str, found: object, expected: object) -> RecordError:
    name = expected if isinstance(expected, str) else getattr(expected, "__name__", str(expected))
    return RecordError(f"{where}: found {type(found).__name__}, expected {name}")


class _Walker(abc.ABC):
    """Goes along a schema: what writing and reading have in common."""

    @abc.abstractmethod
    def items(self, value: Any, schemas: tuple[Any, ...], where: str, kind: type[Any] = tuple) -> Any:
        """Return what becomes of a tuple, or a list."""

    @abc.abstractmethod
    def pairs(self, value: Any, schemas: tuple[Any, ...], where: str) -> Any:
        """Return what becomes of a dictionary."""

    @abc.abstractmethod
    def fields(self, value: Any, schema: Any, where: str) -> Any:
        """Return what becomes of a dataclass."""

    @abc.abstractmethod
    def member(self, value: Any, schema: Any, where: str) -> Any:
        """Return what becomes of a member of an enumeration."""

    @abc.abstractmethod
    def path(self, value: Any, schema: type, where: str) -> Any:
        """Return what becomes of a path."""

    @abc.abstractmethod
    def array(self, value: Any, schema: type, where: str) -> Any:
        """Return what becomes of an array."""

    @abc.abstractmethod
    def scalar(self, value: Any, schema: type, where: str) -> Any:
        """Return what becomes of a single value."""

    @abc.abstractmethod
    def header(self, value: Any, schema: type, where: str) -> Any:
        """Return what becomes of a header."""

    def value(self, value: Any, schema: Any, where: str) -> Any:
        """Return what becomes of a value of this type."""
        origin, arguments = typing.get_origin(schema), typing.get_args(schema)
        if schema in (None, types.NoneType):
            return self.nothing(value, where)
        if origin in (typing.Union, types.UnionType):
            others = [item for item in arguments if item is not types.NoneType]
            if len(others) != 1 or len(arguments) != 2:
                raise RecordError(f"{where}: {schema} cannot be kept")
            return None if value is None else self.value(value, others[0], where)
        if origin is tuple:
            return self.items(value, arguments, where)
        if origin is list:
            return self.items(value, (*arguments, ...), where, list)
        if origin is dict:
            return self.pairs(value, arguments, where)
        for kind, method in (
            (np.ndarray, self.array),
            (Header, self.header),
            (Path, self.path),
            (enum.Enum, self.member),
            (np.generic, self.scalar),
        ):
            if isinstance(schema, type) and issubclass(schema, kind):
                return method(value, schema, where)
        if dataclasses.is_dataclass(schema):
            return self.fields(value, schema, where)
        if schema in _SCALARS:
            return self.scalar(value, schema, where)
        raise RecordError(f"{where}: {schema} cannot be kept")

    def nothing(self, value: Any, where: str) -> None:
        """Return None for None."""
        if value is not None:
            raise _wrong(where, value, "None")


def _has_type(value: object, schema: type) -> bool:
    """Is this single value of the type that a schema has?"""
    kinds = _SCALARS.get(schema, (schema,))
    return isinstance(value, kinds) and (schema is bool or not isinstance(value, bool))


class _Writer(_Walker):
    """Turns values into what JSON has; collects the arrays."""

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []

    def items(self, value: Any, schemas: tuple[Any, ...], where: str, kind: type[Any] = tuple) -> list[Any]:
        if type(value) is not kind:
            raise _wrong(where, value, kind)
        return _each(self.value, value, schemas, where)

    def pairs(self, value: Any, schemas: tuple[Any, ...], where: str) -> list[Any]:
        if type(value) is not dict:
            raise _wrong(where, value, dict)
        return [_each(self.value, item, schemas, f"{where}[{item[0]!r}]") for item in value.items()]

    def fields(self, value: Any, schema: Any, where: str) -> dict[str, Any]:
        if type(value) is not schema:
            raise _wrong(where, value, schema)
        fields = dataclasses.fields(schema)
        return {f.name: self.value(getattr(value, f.name), f.type, f"{where}.{f.name}") for f in fields}

    def member(self, value: Any, schema: Any, where: str) -> str:
        if type(value) is not schema:
            raise _wrong(where, value, schema)
        return str(value.name)

    def path(self, value: Any, schema: type, where: str) -> str:
        if not isinstance(value, Path):
            raise _wrong(where, value, schema)
        return str(value)

    def array(self, value: Any, schema: type, where: str) -> list[Any]:
        if type(value) is not np.ndarray or value.dtype.str not in _DTYPES:
            raise _wrong(where, value, "an array of numbers")
        self.arrays.append(np.ascontiguousarray(value).reshape(-1).view(np.uint8))
        return [value.dtype.str, list(value.shape)]

    def scalar(self, value: Any, schema: type, where: str) -> Any:
        if not _has_type(value, schema):
            raise _wrong(where, value, schema)
        return _plain(value)

    def header(self, value: Any, schema: type, where: str) -> list[Any]:
        if type(value) is not Header:
            raise _wrong(where, value, schema)
        return [_card_to_plain(item, where) for item in value.cards]


class _Reader(_Walker):
    """Turns what JSON has into values; takes the arrays one after the other."""

    def __init__(self, arrays: Sequence[np.ndarray]):
        self._arrays = arrays
        self.n_read = 0

    def items(self, value: Any, schemas: tuple[Any, ...], where: str, kind: type[Any] = tuple) -> Any:
        if type(value) is not list:
            raise _wrong(where, value, kind)
        return kind(_each(self.value, value, schemas, where))

    def pairs(self, value: Any, schemas: tuple[Any, ...], where: str) -> dict[Any, Any]:
        return dict(self.items(value, (types.GenericAlias(tuple, schemas), ...), where))

    def fields(self, value: Any, schema: Any, where: str) -> Any:
        names = [f.name for f in dataclasses.fields(schema)]
        if type(value) is not dict or list(value) != names:
            raise _wrong(where, value, schema)
        found = {f.name: self.value(value[f.name], f.type, f"{where}.{f.name}") for f in dataclasses.fields(schema)}
        try:
            return schema(**found)
        except (TypeError, MuseError) as error:
            raise RecordError(f"{where}: {error}") from error

    def member(self, value: Any, schema: Any, where: str) -> enum.Enum:
        if type(value) is not str or value not in schema.__members__:
            raise _wrong(where, value, schema)
        found: enum.Enum = schema[value]
        return found

    def path(self, value: Any, schema: type, where: str) -> Path:
        if type(value) is not str or "\0" in value:
            raise _wrong(where, value, schema)
        return Path(value)

    def array(self, value: Any, schema: type, where: str) -> np.ndarray:
        if self.n_read == len(self._arrays):
            raise RecordError(f"{where}: found no more arrays")
        block = self._arrays[self.n_read]
        self.n_read += 1
        match value:
            case [str(dtype), list(shape)] if dtype in _DTYPES and all(type(n) is int and n >= 0 for n in shape):
                if int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize == block.size:
                    return block.view(dtype).reshape(shape)
        raise _wrong(where, value, f"an array of {block.size} bytes")

    def scalar(self, value: Any, schema: type, where: str) -> Any:
        found = _from_plain(value)
        if not _has_type(found, schema):
            raise _wrong(where, found, schema)
        return found

    def header(self, value: Any, schema: type, where: str) -> Header:
        if type(value) is not list:
            raise _wrong(where, value, schema)
        return Header([_card_from_plain(item, where) for item in value])


def _each(
    step: Callable[[Any, Any, str], Any], values: Sequence[Any], schemas: tuple[Any, ...], where: str
) -> list[Any]:
    """Go over the members of a sequence; an ellipsis in the schemas means any number of the last one."""
    if schemas and schemas[-1] is ...:
        schemas = schemas[:1] * len(values)
    if len(values) != len(schemas):
        raise RecordError(f"{where}: found {len(values)} values, expected {len(schemas)}")
    return [step(value, schema, f"{where}[{i}]") for i, (value, schema) in enumerate(zip(values, schemas, strict=True))]


def _plain(value: object) -> Any:
    """Return a single value as JSON has it; None if it is of another type."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, np.generic) and value.dtype.str in _DTYPES:
        return {value.dtype.str: value.tobytes().hex()}
    return None


def _from_plain(value: Any) -> Any:
    """Return the single value of which `_plain` made this; None if it did not."""
    match value:
        case {**numbers} if len(numbers) == 1:
            ((dtype, digits),) = numbers.items()
            if dtype in _DTYPES and type(digits) is str and len(digits) == 2 * np.dtype(dtype).itemsize:
                return np.frombuffer(bytes.fromhex(digits), dtype)[0]
    return value if type(value) in _PLAIN else None


def _card_to_plain(card: Card, where: str) -> list[Any]:
    """Return keyword, value and comment of a card."""
    found = _plain(card.value)
    if found is None and card.value is not None:
        raise _wrong(f"{where}: keyword {card.keyword}", card.value, "a text or a number")
    return [card.keyword, found, card.comment]


def _card_from_plain(found: Any, where: str) -> Card:
    match found:
        case [str(keyword), value, str(comment)] if _KEYWORD.fullmatch(keyword):
            return Card(keyword, _from_plain(value), comment)
    raise _wrong(where, found, "a card")

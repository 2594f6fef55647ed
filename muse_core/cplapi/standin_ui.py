# SPDX-License-Identifier: GPL-2.0-or-later
"""Stand-in for ``cpl.ui``: recipe base class, parameters, frames."""

import abc
import enum
import operator
import os
import warnings
from collections.abc import Iterable, Iterator

from muse_core.cplapi import standin_core as core
from muse_core.io import sof

_TEXTS = ("name", "version", "author", "email", "copyright", "synopsis", "description")


class PyRecipe(abc.ABC):
    """Base of a recipe: seven underscored class attributes, `parameters`, and `run`."""

    def __new__(cls):
        """Refuse a recipe that lacks one of its texts."""
        for text in _TEXTS:
            if not hasattr(cls, "_" + text):
                raise TypeError(f"recipe class {cls.__name__} has no attribute _{text}")
        return super().__new__(cls)

    @abc.abstractmethod
    def run(self, frameset: "FrameSet", settings: dict) -> "FrameSet":
        """Run the recipe; return the frames of the products."""


for _text in _TEXTS:
    setattr(PyRecipe, _text, property(operator.attrgetter("_" + _text), doc=f"The recipe's {_text}."))


_KINDS = {bool: core.Type.BOOL, int: core.Type.INT, float: core.Type.DOUBLE, str: core.Type.STRING}


class _Parameter:
    """What all kinds of parameters share."""

    def __init__(self, name: str, description: str, context: str, default):
        if type(default) not in _KINDS:
            kind = type(default).__name__
            raise TypeError(f"parameter {name}: default is a {kind}, expected bool, int, float or str")
        self._name, self._description, self._context, self._default = name, description, context, default
        self._value = default
        self._aliases = {"cli": name, "env": name, "cfg": name}
        self.tag = ""
        self.presence = False

    name = property(lambda self: self._name, doc="Full name.")
    description = property(lambda self: self._description, doc="Help text.")
    help = property(lambda self: self._description, doc="Help text.")
    context = property(lambda self: self._context, doc="Common part of the full names of a recipe.")
    default = property(lambda self: self._default, doc="Default value.")
    data_type = property(lambda self: _KINDS[type(self._default)], doc="A `core.Type`.")

    @property
    def value(self):
        """Current value; takes what has the type of the default (integers for doubles too)."""
        return self._value

    @value.setter
    def value(self, value):
        kind = type(self._default)
        if type(value) is kind:
            self._value = value
        elif kind is float and type(value) is int:
            self._value = float(value)
        elif kind is int and type(value) is float:
            warnings.warn(f"parameter {self._name}: {value!r} truncated to an integer", RuntimeWarning, stacklevel=2)
            self._value = int(value)
        else:
            raise RuntimeError(f"parameter {self._name}: found {value!r}, expected a value of type {kind.__name__}")

    def dump(self) -> str:
        """Return one line for debugging."""
        return f"{type(self).__name__} {self._name} = {self._value!r} (default {self._default!r})"


def _alias(mode: str) -> property:
    def get(self) -> str:
        return self._aliases[mode]

    def set_(self, alias: str) -> None:
        if not isinstance(alias, str):
            raise TypeError(f"parameter {self.name}: alias {alias!r} is not a string")
        self._aliases[mode] = alias

    return property(get, set_, doc=f"Name of the parameter in the mode {mode}.")


for _mode in ("cli", "env", "cfg"):
    setattr(_Parameter, _mode + "_alias", _alias(_mode))


class ParameterValue(_Parameter):
    """A parameter that takes any value of its type."""


class ParameterRange(_Parameter):
    """A number with declared limits; they are not enforced here, the recipe checks."""

    def __init__(self, name: str, description: str, context: str, default, min, max):  # noqa: A002 (PyCPL's names)
        super().__init__(name, description, context, default)
        self._limits = (min, max)

    min = property(lambda self: self._limits[0], doc="Smallest value.")
    max = property(lambda self: self._limits[1], doc="Largest value.")


class ParameterEnum(_Parameter):
    """One of several values; a value outside is not refused here, the recipe checks."""

    def __init__(self, name: str, description: str, context: str, default, alternatives):
        super().__init__(name, description, context, default)
        if default not in alternatives:
            raise core.IllegalInputError(f"parameter {name}: default {default!r} is not among {alternatives}")
        self._alternatives = tuple(alternatives)

    alternatives = property(lambda self: self._alternatives, doc="Declared values.")


class _Sequence:
    """A list of one type of elements that only grows."""

    _type: type = object

    def __init__(self, elements: Iterable = ()):
        self._elements = []
        for element in elements:
            self.append(element)

    def append(self, element) -> None:
        """Add an element at the end."""
        if not isinstance(element, self._type):
            raise TypeError(f"found {element!r}, expected a {self._type.__name__}")
        self._elements.append(element)

    def __len__(self) -> int:
        return len(self._elements)

    def __iter__(self) -> Iterator:
        return iter(self._elements)

    def dump(self) -> str:
        """Return one line per element, for debugging."""
        return "\n".join(element.dump() for element in self._elements)


class ParameterList(_Sequence):
    """Ordered parameters, found by position or full name."""

    _type = _Parameter

    def __getitem__(self, key: int | str) -> _Parameter:
        if not isinstance(key, str):
            return self._elements[key]
        for parameter in self._elements:
            if parameter.name == key:
                return parameter
        raise KeyError(key)


class FrameGroup(enum.IntEnum):
    """What a frame is to a recipe."""

    NONE = 0
    RAW = 1
    CALIB = 2
    PRODUCT = 3


class FrameLevel(enum.IntEnum):
    """How final a product is."""

    NONE = 0
    TEMPORARY = 1
    INTERMEDIATE = 2
    FINAL = 3


class FrameType(enum.IntEnum):
    """What a frame holds."""

    NONE = 1
    IMAGE = 2
    MATRIX = 4
    TABLE = 8
    PAF = 16
    ANY = 32


class Frame:
    """A file with a tag; it must exist when the frame is made."""

    FrameGroup = FrameGroup
    FrameLevel = FrameLevel
    FrameType = FrameType

    def __init__(
        self,
        file: str | os.PathLike,
        tag: str = "",
        group: FrameGroup = FrameGroup.NONE,
        level: FrameLevel = FrameLevel.NONE,
        frameType: FrameType = FrameType.NONE,  # noqa: N803 (PyCPL's name)
    ):
        self.file = os.fspath(file)
        if not os.path.exists(self.file):
            raise core.FileIOError(f"{self.file}: no such file")
        self.tag, self.group, self.level, self.type = tag, group, level, frameType

    def as_hdulist(self):
        """Open the file with `astropy.io.fits`."""
        from astropy.io import fits

        return fits.open(self.file)

    def dump(self) -> str:
        """Return one line for debugging."""
        group, level, kind = (x.name for x in (FrameGroup(self.group), FrameLevel(self.level), FrameType(self.type)))
        return f"{self.file} {self.tag} {group} {level} {kind}"


class FrameSet(_Sequence):
    """Ordered frames, also read from a set-of-frames file."""

    _type = Frame

    def __init__(self, frames: str | os.PathLike | Iterable[Frame] = ()):
        if isinstance(frames, (str, os.PathLike)):
            frames = [
                Frame(os.path.abspath(entry.path), entry.tag, FrameGroup[entry.group or "NONE"])
                for entry in sof.read_sof(frames)
            ]
        super().__init__(frames)

    def __getitem__(self, position: int) -> Frame:
        if not isinstance(position, int):
            raise TypeError(f"a frame is found by its position, not by {position!r}")
        return self._elements[position]

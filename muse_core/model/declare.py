# SPDX-License-Identifier: GPL-2.0-or-later
"""What a recipe declares: parameters, input frames, products, QC keywords.

Each is declared once, in the file of the recipe; command line, PyCPL parameters, native plugin, man page, documentation
and product headers are made from it.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from muse_core.errors import ParameterError

UNLIMITED = -1
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclasses.dataclass(frozen=True, slots=True)
class ParameterSpec:
    """One recipe parameter.

    Attributes
    ----------
    name : str
        ESO's name, as on the command line.
    default : bool, int, float or str
        Default; its type is the type of the parameter.
    help : str
        One or more sentences.
    choices : tuple of str
        Allowed values, empty for a free value.
    hidden : bool
        Left out of help texts unless asked for; can be set all the same.
    unit : str
        Unit of a number, for the documentation.
    above, at_least, at_most : float, optional
        Limits of a number.
    """

    name: str
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    hidden: bool = False
    unit: str = ""
    above: float | None = None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def limits(self) -> str:
        """Limits of a number in words, for example ``above 0, at most 1``; empty without."""
        limits = (("above", self.above), ("at least", self.at_least), ("at most", self.at_most))
        return ", ".join(f"{word} {limit:g}" for word, limit in limits if limit is not None)

    def allows(self, value: float) -> bool:
        """Is a number within the limits?"""
        return (
            (self.above is None or value > self.above)
            and (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
        )

    @property
    def type(self) -> type:
        """bool, int, float or str."""
        return type(self.default)


@dataclasses.dataclass(frozen=True, slots=True)
class InputSpec:
    """One tag of input frames; `minimum` and `maximum` as in CPL's frame configuration (-1: unset, unlimited)."""

    tag: str
    group: str  # "RAW" or "CALIB"
    minimum: int
    maximum: int
    help: str


@dataclasses.dataclass(frozen=True, slots=True)
class QcSpec:
    """One QC keyword of a product; lower-case letters in the name (``POSk X``) stand for a running number."""

    name: str  # without the prefix "ESO QC SCIPOST "
    type: str  # "int", "float" (single precision), "double", "string"
    unit: str
    comment: str


@dataclasses.dataclass(frozen=True, slots=True)
class ProductSpec:
    """One product tag of a recipe.

    Attributes
    ----------
    tag : str
        PRO CATG and stem of the file name.
    mode : str
        "dateobs" (one a exposure, numbered), "sequence" (numbered, all exposures) or "master" (one file).
    level : str
        "INTERMEDIATE" or "FINAL".
    frame_type : str
        "IMAGE" or "TABLE".
    help : str
        What it is.
    qc : tuple of QcSpec
        QC keywords that it may carry.
    """

    tag: str
    mode: str
    level: str
    frame_type: str
    help: str
    qc: tuple[QcSpec, ...] = ()


def parameter(default, *, help, choices=(), hidden=False, unit="", **limits):  # noqa: A002 (that is its name)
    """Declare one field of a parameter dataclass; `limits` are those of `ParameterSpec`."""
    if choices and default not in choices:
        raise ValueError(f"default {default!r} is not among the choices {choices}")
    meta = {"help": help, "choices": tuple(choices), "hidden": hidden, "unit": unit, **limits}
    return dataclasses.field(default=default, metadata=meta)


def parameter_specs(cls) -> tuple[ParameterSpec, ...]:
    """Return the declared parameters of the dataclass `cls`, in order."""
    return tuple(ParameterSpec(name=f.name, default=f.default, **f.metadata) for f in dataclasses.fields(cls))


def checked_value(spec: ParameterSpec, value):
    """Return `value` as the type of `spec`.

    Integers are accepted for floats; nothing else is converted.

    Raises
    ------
    ParameterError
        If the type is another one, or the value is not among the choices or within the limits.
    """
    kind = spec.type
    is_bool = isinstance(value, bool) or type(value).__name__ == "bool_"
    if kind is float and isinstance(value, (int, float)) and not is_bool:
        value = float(value)
    elif kind is int and isinstance(value, int) and not is_bool:
        value = int(value)
    elif kind is bool and is_bool:
        value = bool(value)
    elif not (kind is str and isinstance(value, str)):
        raise ParameterError(
            f"parameter {spec.name}: found {value!r} ({type(value).__name__}), expected {kind.__name__}"
        )
    if spec.choices and value not in spec.choices:
        raise ParameterError(f"parameter {spec.name}: found {value!r}, expected one of {', '.join(spec.choices)}")
    if kind is float and not math.isfinite(value):
        raise ParameterError(f"parameter {spec.name}: found {value}, expected a finite number")
    if spec.limits and not spec.allows(value):
        raise ParameterError(f"parameter {spec.name}: found {value:g}, expected a number {spec.limits}")
    return value


def from_settings(cls, settings: Mapping[str, Any], context: str):
    """Make a parameter object from a (partial) mapping of short or full names to values.

    Parameters
    ----------
    cls : type
        Dataclass of declared parameters.
    settings : mapping
        Keys are ``name`` or ``context.name``.
    context : str
        For example ``muse.muse_scipost``.

    Raises
    ------
    ParameterError
        Unknown name, wrong type, value that is not allowed.
    """
    specs = {s.name: s for s in parameter_specs(cls)}
    values = {}
    for key, value in settings.items():
        name = key.removeprefix(context + ".")
        if name not in specs:
            raise ParameterError(f"unknown parameter {key!r}; known ones: {', '.join(specs)}")
        values[name] = checked_value(specs[name], value)
    return cls(**values)


def describe_frames(raw_tag: str, inputs: Iterable[InputSpec], products: Iterable[ProductSpec]) -> str:
    """Return the tables of input and product frames that end the description of a recipe."""
    lines = [
        f'Input frames for raw frame tag "{raw_tag}":',
        "",
        " Frame tag            Type Req #Fr Description",
        " -------------------- ---- --- --- ------------",
    ]
    for spec in inputs:
        kind, required = spec.group.lower()[:5], "Y" if spec.minimum > 0 else "."
        count = "" if spec.maximum == UNLIMITED else str(spec.maximum)
        lines.append(f" {spec.tag:<20} {kind:<5} {required}  {count:>3} {spec.help}")
    lines += [
        "",
        f'Product frames for raw frame tag "{raw_tag}":',
        "",
        " Frame tag            Level    Description",
        " -------------------- -------- ------------",
    ]
    lines += [f" {spec.tag:<20} {spec.level.lower()[:8]:<8} {spec.help}" for spec in products]
    return "\n".join(lines)


def leading_number(text: str) -> float | None:
    """Return the number that `text` starts with, as C's ``atof`` finds it, or None."""
    match = _NUMBER.match(text)
    return float(match.group()) if match else None

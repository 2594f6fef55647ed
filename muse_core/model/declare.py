# SPDX-License-Identifier: GPL-2.0-or-later
"""What a recipe declares: parameters, input frames, products, QC keywords.

Each is declared once, in the file of the recipe; command line, PyCPL parameters, native plugin, man page, documentation
and product headers are made from it.
"""

import dataclasses
import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from muse_core.errors import ParameterError
from muse_core.model.record import record

UNLIMITED = -1
T = TypeVar("T")
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@record
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
    tokens : tuple of str
        What the value is a list of, separated by commas; empty for any other value.
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
    tokens: tuple[str, ...] = ()
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


@record
class InputSpec:
    """One tag of input frames; `minimum` and `maximum` as in CPL's frame configuration (-1: unset, unlimited)."""

    tag: str
    group: str  # "RAW" or "CALIB"
    minimum: int
    maximum: int
    help: str

    def with_(self, **changes: Any) -> "InputSpec":
        """Return the frames as another recipe takes them."""
        return dataclasses.replace(self, **changes)


@record
class QcSpec:
    """One QC keyword of a product; lower-case letters in the name (``POSk X``) stand for a running number."""

    name: str  # without the prefix of the recipe, such as "ESO QC SCIPOST "
    type: str  # "int", "float" (single precision), "double", "string"
    unit: str
    comment: str


@record
class ProductSpec:
    """One product tag of a recipe.

    Attributes
    ----------
    tag : str
        PRO CATG and stem of the file name.
    mode : str
        "dateobs" (one an exposure, numbered), "file" (one a raw frame, in their order), "sequence" (numbered, of all
        raw frames) or "master" (one file).
    level : str
        "INTERMEDIATE" or "FINAL".
    frame_type : str
        "IMAGE" or "TABLE".
    help : str
        What it is.
    qc : tuple of QcSpec
        QC keywords that it may carry.
    save : str
        Word of the parameter `save` that asks for it.
    science : bool
        PRO SCIENCE is T whatever DPR CATG of the raw frames is.
    suffix : str
        End of the file name.
    """

    tag: str
    mode: str
    level: str
    frame_type: str
    help: str
    qc: tuple[QcSpec, ...] = ()
    save: str = ""
    science: bool = True
    suffix: str = ".fits"

    def with_(self, **changes: Any) -> "ProductSpec":
        """Return the product as another recipe makes it."""
        return dataclasses.replace(self, **changes)


def parameter(default: Any, *, help: str, **properties: Any) -> Any:  # noqa: A002 (that is its name)
    """Declare a field of a group of parameters, under the name of the field; `properties` as in `ParameterSpec`."""
    return use(ParameterSpec(name="", default=default, help=help, **properties))


def use(declared: Any, *, names: Mapping[str, str] | None = None, **changes: Any) -> Any:
    """Declare a field of the parameters of a recipe, or of a group, by a declaration that stands elsewhere.

    Parameters
    ----------
    declared : ParameterSpec or type
        A parameter, or a dataclass of parameters: the value of the field is an instance of it then.
    names : mapping of str to str, optional
        ESO's names of the parameters of a group that this recipe calls otherwise.
    **changes
        Properties of the parameter that are others in this recipe, or the defaults of parameters of a group.
    """
    if isinstance(declared, ParameterSpec):
        spec = dataclasses.replace(declared, **changes)
        if spec.choices and spec.default not in spec.choices:
            raise ValueError(f"default {spec.default!r} is not among the choices {spec.choices}")
        return dataclasses.field(default=spec.default, metadata={"spec": spec})
    return dataclasses.field(default=declared(**changes), metadata={"group": declared, "names": names or {}})


def _fields(
    cls: type, defaults: Any = None, names: Mapping[str, str] | None = None
) -> Iterator[tuple[dataclasses.Field[Any], Any]]:
    """Yield the fields of `cls` with the `ParameterSpec` of each, or the list of these pairs if it is a group."""
    for field in dataclasses.fields(cls):
        default = field.default if defaults is None else getattr(defaults, field.name)
        if "group" in field.metadata:
            yield field, list(_fields(field.metadata["group"], default, field.metadata["names"]))
        else:
            spec = field.metadata["spec"]
            name = (names or {}).get(field.name) or spec.name or field.name
            yield field, dataclasses.replace(spec, name=name, default=default)


def parameter_specs(cls: type) -> tuple[ParameterSpec, ...]:
    """Return the declared parameters of the dataclass `cls`, those of its groups included, in order."""
    specs: list[ParameterSpec] = []
    for _, declared in _fields(cls):
        specs.extend(spec for _, spec in declared) if isinstance(declared, list) else specs.append(declared)
    return tuple(specs)


def parameter_values(parameters: Any) -> list[tuple[ParameterSpec, Any]]:
    """Return each parameter of an instance of a parameter dataclass with its value, in order."""
    found: list[tuple[ParameterSpec, Any]] = []
    for field, declared in _fields(type(parameters)):
        value = getattr(parameters, field.name)
        if isinstance(declared, list):
            found.extend((spec, getattr(value, inner.name)) for inner, spec in declared)
        else:
            found.append((declared, value))
    return found


def did_you_mean(found: str, known: Iterable[str], form: str = "{!r}") -> str:
    """Return the end of a message that names the known word next to the one found, in a form; empty if none is near."""
    lower = {word.lower(): word for word in known}
    near = difflib.get_close_matches(found.lower(), lower, 1) or [
        word for word in lower if word.startswith(found.lower())
    ]
    return f"; did you mean {form.format(lower[near[0]])}?" if found and near else ""


def checked_value(spec: ParameterSpec, value: Any) -> Any:
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
        expected = f"{', '.join(spec.choices)}{did_you_mean(value, spec.choices)}"
        raise ParameterError(f"parameter {spec.name}: found {value!r}, expected one of {expected}")
    if kind is float and not math.isfinite(value):
        raise ParameterError(f"parameter {spec.name}: found {value}, expected a finite number")
    if spec.limits and not spec.allows(value):
        raise ParameterError(f"parameter {spec.name}: found {value:g}, expected a number {spec.limits}")
    return value


def from_settings(cls: type[T], settings: Mapping[str, Any], context: str) -> T:
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
            known = ", ".join(specs)
            raise ParameterError(f"unknown parameter {key!r}{did_you_mean(name, specs)}; known ones: {known}")
        values[name] = checked_value(specs[name], value)
    return cls(**{field.name: _value(field, declared, values) for field, declared in _fields(cls)})


def _value(field: dataclasses.Field[Any], declared: Any, values: Mapping[str, Any]) -> Any:
    if not isinstance(declared, list):
        return values.get(declared.name, declared.default)
    group = {inner.name: values.get(spec.name, spec.default) for inner, spec in declared}
    return field.metadata["group"](**group)


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

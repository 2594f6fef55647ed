# SPDX-License-Identifier: GPL-2.0-or-later
"""Parameters and calibration frames of a recipe object."""

import html
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from muse_core.errors import InputError, ParameterError
from muse_core.model.declare import did_you_mean

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


class UnknownNameError(ParameterError, KeyError, AttributeError):
    """There is no parameter or calibration of that name."""

    __str__ = ValueError.__str__


class Parameter:
    """One parameter; `value` is None as long as the default counts.

    Parameters
    ----------
    parameter : object
        Declaration of the parameter in the recipe.
    hidden : bool
        Command lines do not show it.

    Attributes
    ----------
    name, fullname, context : str
        Short name, full name and their common part.
    default : bool, int, float or str
        Default value.
    type : type
        Its type.
    range : tuple or None
        Smallest and largest value.
    sequence : list or None
        Allowed values.
    enabled : tuple of bool
        Whether the command line, environment and configuration files show it.

    Examples
    --------
    >>> import muse_core
    >>> scipost = muse_core.Recipe("muse_scipost")
    >>> parameter = scipost.param.rc
    >>> parameter.value is None, parameter.default, parameter.type
    (True, 1.25, <class 'float'>)
    >>> scipost.param.rc = "1.5"
    >>> parameter.value
    1.5
    """

    def __init__(self, parameter, *, hidden: bool):
        self.name = parameter.cli_alias
        self.fullname = parameter.name
        self.context = parameter.context
        self.default = parameter.default
        self.type = type(parameter.default)
        self.range = (parameter.min, parameter.max) if hasattr(parameter, "min") else None
        self.sequence = list(parameter.alternatives) if hasattr(parameter, "alternatives") else None
        self.enabled = (not hidden, True, True)
        self._value = None
        self.help = parameter.description
        text = f"{parameter.description} ({self.type.__name__}; default: {self.default!r})"
        self.__doc__ = "\n".join(textwrap.wrap(text, 70))

    @property
    def value(self):
        """The value, None for the default; texts are converted to the type of the parameter."""
        return self._value

    @value.setter
    def value(self, value):
        self._value = None if value is None else self.checked(value)

    @value.deleter
    def value(self):
        self._value = None

    def checked(self, value):
        """Return a value as the type of the parameter.

        Parameters
        ----------
        value : object
            Value, or text of it.

        Returns
        -------
        bool, int, float or str
            The value.

        Raises
        ------
        ParameterError
            It cannot be converted, or is not allowed.

        Examples
        --------
        >>> import muse_core
        >>> scipost = muse_core.Recipe("muse_scipost")
        >>> scipost.param.ld.checked("2")
        2
        >>> scipost.param.skymethod.checked("mdoel")
        Traceback (most recent call last):
            ...
        muse_core.errors.ParameterError: parameter skymethod: found 'mdoel', expected one of ...
        """
        found = f"parameter {self.name}: found {value!r}, expected"
        try:
            value = self._boolean(value) if self.type is bool else self.type(value)
        except (TypeError, ValueError) as error:
            kinds = {bool: "True or False", int: "an integer number", float: "a number", str: "a text"}
            raise ParameterError(f"{found} {kinds[self.type]}") from error
        if self.sequence is not None and value not in self.sequence:
            choices = [str(choice) for choice in self.sequence]
            raise ParameterError(f"{found} one of {', '.join(choices)}{did_you_mean(str(value), choices)}")
        if self.range is not None and not self.range[0] <= value <= self.range[1]:
            raise ParameterError(f"{found} a number from {self.range[0]} to {self.range[1]}")
        return value

    @staticmethod
    def _boolean(value) -> bool:
        if isinstance(value, str):
            if value.lower() not in (*_TRUE, *_FALSE):
                raise ValueError(value)
            return value.lower() in _TRUE
        return bool(value)

    def __repr__(self):
        value = "" if self._value is None else f" value={self._value!r},"
        return f"Parameter({self.name!r},{value} default={self.default!r})"

    def __str__(self):
        return f"{self.default!r} (default)" if self._value is None else repr(self._value)


class _Names:
    """Things found by name as attribute or item, and assigned to; names are fixed."""

    _what = "name"

    def __init__(self, things: Mapping[str, Any]):
        self.__dict__["_things"] = dict(things)

    def __getitem__(self, name: str):
        return self._things[self._known(name)]

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __setattr__(self, name: str, value) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        self[name] = None

    __delitem__ = __delattr__

    def __iter__(self) -> Iterator:
        return iter(self._things.values())

    def __len__(self) -> int:
        return len(self._things)

    def __contains__(self, name: str) -> bool:
        return name in self._things

    def __dir__(self):
        return list(self._things)

    def _ipython_key_completions_(self) -> list[str]:
        """Names for the tab key between brackets."""
        return list(self._things)

    def _known(self, name: str) -> str:
        if name not in self._things:
            known = f"{did_you_mean(name, self._things)}; known ones: {', '.join(self._things)}"
            raise UnknownNameError(f"unknown {self._what} {name!r}{known}")
        return name


def _shown(parameter: Parameter) -> str:
    value = parameter.default if parameter.value is None else parameter.value
    text = html.escape(repr(value))
    return text if value == parameter.default else f"<b>{text}</b> ({html.escape(repr(parameter.default))})"


def _choices(parameter: Parameter) -> str:
    return html.escape(", ".join(map(str, parameter.sequence or ())))


class ParameterList(_Names):
    """The parameters of a recipe, by short or full name, as attributes or items."""

    _what = "parameter"

    def __init__(self, parameters: Iterable[Parameter]):
        super().__init__({parameter.name.replace("-", "_"): parameter for parameter in parameters})
        self.__dict__["_short"] = {parameter.fullname: name for name, parameter in self._things.items()}

    def _known(self, name: str) -> str:
        return super()._known(self._short.get(name, name.replace("-", "_")))

    def __contains__(self, name: str) -> bool:
        return name in self._things or name in self._short

    def __setitem__(self, name: str, value) -> None:
        self[name].value = value

    def __repr__(self):
        values = {p.name: p.default if p.value is None else p.value for p in self}
        return repr(values)

    def _repr_html_(self) -> str:
        """Table of the parameters for notebooks: value, in bold if it is not the default, choices, help."""
        rows = "".join(
            "<tr>"
            + "".join(f"<td>{cell}</td>" for cell in (p.name, _shown(p), _choices(p), html.escape(p.help)))
            + "</tr>"
            for p in self
        )
        heads = "".join(f"<th>{name}</th>" for name in ("parameter", "value", "choices", "help"))
        return f"<table><tr>{heads}</tr>{rows}</table>"


class FrameConfig:
    """One tag of frames.

    Parameters
    ----------
    tag : str
        The tag.
    min_frames, max_frames : int
        Numbers of frames that are allowed, see `set_range`.
    frames : file name, HDUList, list of them, or None
        The frames.

    Attributes
    ----------
    min, max : int, int or None
        Numbers of frames that are allowed; None: no limit.

    Examples
    --------
    >>> import muse_core
    >>> scipost = muse_core.Recipe("muse_scipost")
    >>> lines = scipost.calib.SKY_LINES
    >>> lines.tag, lines.min, lines.max
    ('SKY_LINES', 0, 1)
    >>> lines.frames = "lines.fits"
    """

    def __init__(self, tag: str, min_frames: int = 0, max_frames: int = 0, frames=None):
        self.tag = tag
        self.frames = frames
        self.set_range(min_frames, max_frames)

    def set_range(self, min_frames: int, max_frames: int) -> None:
        """Set the numbers of frames that are allowed.

        Parameters
        ----------
        min_frames : int
            Smallest number.
        max_frames : int
            Largest number; 0 or less is no limit.

        Examples
        --------
        >>> import muse_core
        >>> scipost = muse_core.Recipe("muse_scipost")
        >>> lines = scipost.calib.SKY_LINES
        >>> lines.set_range(1, 0)
        >>> lines.min, lines.max
        (1, None)
        """
        self.min = min_frames if min_frames > 0 else 0
        self.max = max_frames if max_frames > 0 else None
        count = "one frame" if self.max == 1 else "one frame or list of frames"
        self.__doc__ = f"{count} ({'required' if self.min else 'optional'})"

    def extend_range(self, min_frames: int, max_frames: int) -> None:
        """Allow these numbers of frames too.

        Parameters
        ----------
        min_frames : int
            Smallest number.
        max_frames : int
            Largest number; 0 or less is no limit.

        Examples
        --------
        >>> import muse_core
        >>> scipost = muse_core.Recipe("muse_scipost")
        >>> lines = scipost.calib.SKY_LINES
        >>> lines.extend_range(0, 3)
        >>> lines.min, lines.max
        (0, 3)
        """
        lowest = min(self.min, max(min_frames, 0))
        no_limit = self.max is None or max_frames <= 0
        self.set_range(lowest, 0 if no_limit else max(self.max, max_frames))

    def __repr__(self):
        return f"FrameDef({self.tag!r}, frames={self.frames!r})"

    def __str__(self):
        return str(self.frames)


class FrameList(_Names):
    """The calibration frames of a recipe, by tag, as attributes or items."""

    _what = "tag of calibrations"

    def __setitem__(self, tag: str, frames) -> None:
        frames = frames.frames if isinstance(frames, FrameConfig) else frames
        self[tag].frames = frames

    def __repr__(self):
        return repr({config.tag: config.frames for config in self})


def as_frames(tag: str, frames) -> list[tuple[str, Any]]:
    """Return pairs of tag and file name or HDUList for a single frame, a list of them, or None.

    Raises
    ------
    InputError
        For anything else.
    """
    import os

    from astropy.io import fits

    if frames is None:
        return []
    if isinstance(frames, (str, os.PathLike)):
        return [(tag, os.fspath(frames))]
    if isinstance(frames, fits.HDUList):
        return [(tag, frames)]
    if isinstance(frames, fits.PrimaryHDU):
        return [(tag, fits.HDUList([frames]))]
    if isinstance(frames, Iterable):
        return [pair for frame in frames for pair in as_frames(tag, frame)]
    raise InputError(f"{tag}: found {frames!r}, expected a file name, an HDUList or a list of them")

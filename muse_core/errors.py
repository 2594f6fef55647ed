# SPDX-License-Identifier: GPL-2.0-or-later
"""The exceptions of this project; every failure that a user can cause is one of them.

A message says where (file, HDU, keyword, parameter), what was found, and what was expected.
"""


class MuseError(Exception):
    """Base of all errors raised on purpose by this project."""


class InputError(MuseError, ValueError):
    """An input frame, HDU, keyword or column is missing or unusable."""


class MissingFileError(InputError, OSError):
    """A file does not exist or cannot be read."""


class ParameterError(MuseError, ValueError):
    """A recipe parameter has an unknown name or an unusable value."""


class DataError(MuseError, ValueError):
    """The content of the inputs makes no sense together."""


class ResourceError(MuseError, RuntimeError):
    """The run needs more memory or disk than it may have."""


class Stopped(MuseError):
    """The work was ended from outside, by a signal for example."""


class ProductError(MuseError, OSError):
    """A product cannot be written."""

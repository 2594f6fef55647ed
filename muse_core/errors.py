# SPDX-License-Identifier: GPL-2.0-or-later
"""The exceptions of this project; every failure that a user can cause is one of them.

A message says where (file, HDU, keyword, parameter), what was found, and what was expected.
"""


class MuseError(Exception):
    """Base of all errors raised on purpose by this project.

    Examples
    --------
    >>> import muse_core.api as muse
    >>> from muse_core.errors import MuseError
    >>> try:
    ...     muse.PixelTable.read("no_such.sof")
    ... except MuseError as error:
    ...     print(error)
    set-of-frames file no_such.sof: No such file or directory
    """


class InputError(MuseError, ValueError):
    """An input frame, HDU, keyword or column is missing or unusable.

    Examples
    --------
    >>> import muse_core.api as muse
    >>> muse.Cube.open("none.sof")
    Traceback (most recent call last):
        ...
    muse_core.errors.InputError: none.sof: ...
    """


class MissingFileError(InputError, OSError):
    """A file does not exist or cannot be read.

    Examples
    --------
    >>> import muse_core.api as muse
    >>> muse.PixelTable.read("no_such.fits")
    Traceback (most recent call last):
        ...
    muse_core.errors.MissingFileError: no_such.fits: ...
    """


class ParameterError(MuseError, ValueError):
    """A recipe parameter has an unknown name or an unusable value.

    Examples
    --------
    >>> import muse_core.api as muse
    >>> muse.Region.circle(10.0, -30.0, -1.0)
    Traceback (most recent call last):
        ...
    muse_core.errors.ParameterError: region: found sizes (-1.0, -1.0), expected them above 0
    """


class DataError(MuseError, ValueError):
    """The content of the inputs makes no sense together.

    Examples
    --------
    >>> import muse_core.api as muse
    >>> muse.PixelTable.read("none.sof").select(ifu=3)
    Traceback (most recent call last):
        ...
    muse_core.errors.DataError: pixel table: found no rows of those that are asked for, expected some
    """


class ResourceError(MuseError, RuntimeError):
    """The run needs more memory or disk than it may have.

    Examples
    --------
    >>> from muse_core.errors import MuseError, ResourceError
    >>> issubclass(ResourceError, MuseError), issubclass(ResourceError, RuntimeError)
    (True, True)
    """


class Stopped(MuseError):
    """The work was ended from outside, by a signal for example.

    Examples
    --------
    >>> from muse_core.errors import MuseError, Stopped
    >>> issubclass(Stopped, MuseError)
    True
    """


class ProductError(MuseError, OSError):
    """A product cannot be written.

    Examples
    --------
    >>> import muse_core.api as muse
    >>> muse.Cube.open("DATACUBE_FINAL.fits").write("no_such_folder/cube.fits")
    Traceback (most recent call last):
        ...
    muse_core.errors.ProductError: no_such_folder/cube.fits: No such file or directory
    """

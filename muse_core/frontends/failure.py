# SPDX-License-Identifier: GPL-2.0-or-later
"""What a front-end says of an exception that ended a recipe."""

import logging
import traceback

from muse_core.cplapi.messages import PACKAGE_LOGGER
from muse_core.errors import MuseError
from muse_core.frontends.ending import Stopped


def text_of(error: BaseException) -> str:
    """Return the message of one of our exceptions; of others the class too, as it says more than the message."""
    return str(error) if isinstance(error, (MuseError, Stopped)) else f"{type(error).__name__}: {error}"


def log(error: BaseException, recipe: str) -> None:
    """Log an exception as an error of the step that raised it, with the traceback as details.

    Parameters
    ----------
    error : BaseException
        The exception.
    recipe : str
        Name of the recipe, for exceptions that come from none of our modules.
    """
    modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    layers = (f"{PACKAGE_LOGGER}.frontends.", f"{PACKAGE_LOGGER}.cplapi.")
    ours = [name for name in modules if name.startswith(f"{PACKAGE_LOGGER}.") and not name.startswith(layers)]
    logger = logging.getLogger(ours[-1] if ours else f"{PACKAGE_LOGGER}.{recipe}")
    for line in "".join(traceback.format_exception(error)).splitlines():
        logger.debug("%s", line)
    logger.error("%s", text_of(error))

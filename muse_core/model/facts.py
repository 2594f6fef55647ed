# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines of the log that tell numbers: the line is for those who read it, the numbers for those who collect them."""

import logging


def tell(log: logging.Logger, text: str, *args: object, **facts: object) -> None:
    """Log a line as information, with what it tells by name: attribute ``facts`` of the record.

    Parameters
    ----------
    log : Logger
        The logger of the module.
    text, *args
        The line.
    **facts
        What it tells.
    """
    log.info(text, *args, extra={"facts": facts}, stacklevel=2)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines of the log that tell numbers: the line is for those who read it, the numbers for those who collect them."""

import logging
from collections.abc import Sequence


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


def ranges_text(numbers: Sequence[int]) -> str:
    """Return ascending numbers as text, such as ``1-4, 7``."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ", ".join(f"{first}-{last}" if first < last else str(first) for first, last in ranges)

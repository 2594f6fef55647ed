# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines of the log that tell numbers: the line is for those who read it, the numbers for those who collect them."""

import contextlib
import logging
from collections.abc import Iterator, Sequence


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


class _Listener(logging.Handler):
    def __init__(self, told: dict[str, object]):
        super().__init__()
        self._told = told

    def emit(self, record: logging.LogRecord) -> None:
        facts = getattr(record, "facts", {})
        if "step" not in facts:  # times are those of one run
            self._told |= facts


@contextlib.contextmanager
def hearing() -> Iterator[dict[str, object]]:
    """Yield the numbers that lines tell in the block, as far as anybody wants to have lines of this kind."""
    logger, told = logging.getLogger(__name__.partition(".")[0]), dict[str, object]()
    listener = _Listener(told)
    logger.addHandler(listener)
    try:
        yield told
    finally:
        logger.removeHandler(listener)


def ranges_text(numbers: Sequence[int]) -> str:
    """Return ascending numbers as text, such as ``1-4, 7``."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ", ".join(f"{first}-{last}" if first < last else str(first) for first, last in ranges)

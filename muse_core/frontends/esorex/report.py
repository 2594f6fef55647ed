# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages of the command itself, in the layout of CPL; a text may have several lines."""

from muse_core.cplapi import core, messages


def text(text: object = "") -> None:
    """Show a text that is no message, and end the line."""
    messages.show(str(text))


def debug(text: str) -> None:
    """Report a detail."""
    core.Msg.debug("", text)


def info(text: str) -> None:
    """Report progress."""
    core.Msg.info("", text)


def warning(text: str) -> None:
    """Report what may be wrong."""
    core.Msg.warning("", text)


def error(text: str) -> None:
    """Report a failure."""
    core.Msg.error("", text)

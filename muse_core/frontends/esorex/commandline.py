# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line: ``[options] recipe [parameters] sof...``, read as C's getopt_long_only reads it."""

from collections.abc import Mapping, Sequence

from muse_core.frontends.esorex import report
from muse_core.frontends.esorex.options import Option, ValueProblem, format_value
from muse_core.model.declare import did_you_mean


class UsageError(Exception):
    """The command line cannot be used; the messages have been given."""


def _find(name: str, options: Sequence[Option]) -> Option | None:
    """Return the option of that name, or the only one whose name starts with it; hidden ones come second."""
    begun = [option for option in options if option.name.startswith(name)]
    candidates = [option for option in begun if option.name == name]
    candidates = candidates or [option for option in begun if not option.hidden] or begun
    return candidates[0] if len(candidates) == 1 else None


def _unknown(name: str, options: Sequence[Option], elsewhere: Mapping[str, str]) -> str:
    """Return the end of the message that there is no option of a name."""
    begun = [f"--{option.name}" for option in options if name and option.name.startswith(name)]
    if begun:
        return f": it may be {', '.join(begun)}"
    if name in elsewhere:
        return f": it is {elsewhere[name]}"
    return did_you_mean(name, (option.name for option in options), "'--{}'")


def leading_options(
    arguments: Sequence[str], options: Sequence[Option], elsewhere: Mapping[str, str]
) -> tuple[list[tuple[Option, str | None]], int]:
    """Split off the options at the start of the command line.

    Parameters
    ----------
    arguments : sequence of str
        Command line.
    options : sequence of Option
        Options that there are.
    elsewhere : mapping of str to str
        Names of options that belong to another place of the command line, and what they are.

    Returns
    -------
    given : list of (Option, str or None)
        Options and the texts after their equals sign.
    used : int
        Number of arguments that they take.

    Raises
    ------
    UsageError
        For a name that is no option.
    """
    given = []
    for used, argument in enumerate(arguments):
        if argument == "--":
            return given, used + 1
        if argument == "-" or not argument.startswith("-"):
            return given, used
        name, equals, text = argument.removeprefix("-").removeprefix("-").partition("=")
        option = _find(name, options) if name else None
        if option is None:
            report.error(f"Command line parameter '{argument}' not recognized{_unknown(name, options, elsewhere)}")
            report.error("Unable to continue parsing command line options")
            raise UsageError
        given.append((option, text if equals else None))
    return given, len(arguments)


def apply(given: Sequence[tuple[Option, str | None]]) -> None:
    """Set the options to what the command line says; the last of repeated ones wins.

    Raises
    ------
    UsageError
        For a value that is none.
    """
    for option, text in given:
        if option.kind in (int, float) and text is None:
            # as the reference: a number without equals sign is reported and its default stays
            report.error(f"'--{option.name}' needs an argument but none was specified...")
            continue
        if option.kind is not str and text == "":
            report.error(f"'--{option.name}' needs an argument but none was specified after the equals sign (\"=\").")
            report.error(f"'' during processing of '{option.name}'")
            raise UsageError
        if text is None:
            text = "TRUE" if option.kind is bool else ""
        set_option(option, text)


def set_option(option: Option, text: str) -> None:
    """Set one option, with messages on what is wrong with the text.

    Raises
    ------
    UsageError
        If it is no value of the option.
    """
    try:
        ignored = option.set_text(text)
    except ValueProblem as problem:
        report.error(f"--{option.name}: found '{text}', expected {problem}")
        raise UsageError from None
    if ignored:
        report.warning(f"'--{option.name}={text}' is read as {format_value(option.value)}")

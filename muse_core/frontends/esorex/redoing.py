# SPDX-License-Identifier: GPL-2.0-or-later
"""The option ``--redo``: frames and parameters of a product that is to be made again."""

from collections.abc import Sequence

from muse_core.cplapi import ui
from muse_core.frontends.esorex import commandline, execution, report
from muse_core.frontends.esorex.options import Option, by_name, format_value
from muse_core.frontends.redo import Redo
from muse_core.io import sof


def set_parameters(again: Redo, options: Sequence[Option]) -> None:
    """Set the parameters to those of the product.

    Raises
    ------
    UsageError
        The recipe has no such parameter, or it cannot have that value; the message has been given.
    """
    known = by_name(options)
    for name, text in again.values.items():
        if name not in known:
            report.error(f"{again.product}: found parameter {name}={text}, expected one that {again.recipe} has")
            raise commandline.UsageError
        commandline.set_option(known[name], text)


def frames(again: Redo, others: Sequence[str]) -> ui.FrameSet:
    """Return the frames of the product, checked, and set the environment in which they are reduced again.

    Raises
    ------
    FramesError
        A file is missing or has changed, or there are `others` on the command line; the messages have been given.
    """
    _refuse(again, others)
    if problems := again.problems():
        for problem in problems:
            report.error(problem)
        report.error(f"{again.product} is not made again: its files are not those that it was made of.")
        raise execution.FramesError
    again.apply_environment()
    found = ui.FrameSet()
    for item in again.inputs:
        found.append(execution.frame_of(sof.Frame(str(item.path), item.tag, item.group)))
    return found


def show(again: Redo, options: Sequence[Option], others: Sequence[str]) -> int:
    """Show frames, parameters and environment, and what is missing or has changed; then the status is that of failure.

    Raises
    ------
    FramesError
        There are `others` on the command line; the message has been given.
    """
    _refuse(again, others)
    report.text(f"# {again.product}: {again.recipe} of {again.pipeline}")
    for name, value in again.environment.items():
        report.text(f"# {name}={value}" if value else f"# {name} not set")
    for option in options:
        if option.value != option.default:
            report.text(f"# --{option.name}={format_value(option.value)}")
    report.text(again.set_of_frames())
    problems = again.problems()
    for problem in problems:
        report.error(problem)
    return execution.FAILED if problems else 0


def _refuse(again: Redo, others: Sequence[str]) -> None:
    if others:
        report.error(f"{again.product}: found {' '.join(others)} after it, expected parameters of {again.recipe} only")
        raise execution.FramesError

# SPDX-License-Identifier: GPL-2.0-or-later
"""Run one recipe: frames from set-of-frames files, the recipe, its products, timing."""

import os
import time
from collections.abc import Callable, Sequence

from muse_core.cplapi import core, ui
from muse_core.errors import MissingFileError
from muse_core.frontends import failure
from muse_core.frontends.esorex import products, report
from muse_core.frontends.esorex.options import Option
from muse_core.frontends.progress import bars
from muse_core.io import sof

CANNOT_OPEN, FAILED = 9, 255


class FramesError(Exception):
    """The input frames cannot be used; the messages have been given."""


def load_frames(paths: Sequence[str], must_exist: bool) -> ui.FrameSet:
    """Read set-of-frames files, one after the other.

    Raises
    ------
    FramesError
        A set-of-frames file or, if they must exist, an input file cannot be opened.
    """
    frames = ui.FrameSet()
    for path in paths:
        try:
            entries = sof.read_sof(path)
        except MissingFileError:
            report.error(f"Unable to open SOF file '{path}'")
            _give_up(path)
        for entry in entries:
            # a tilde counts for this test only, as in the reference
            if not os.access(os.path.expanduser(entry.path), os.R_OK):
                tag = f"tag '{entry.tag}'" if entry.tag else "no tag"
                group = f"group '{entry.group}'" if entry.group else "no group"
                where = f"line {entry.line} of the SOF '{path}'"
                (report.error if must_exist else report.debug)(
                    f"Could not open the input file '{entry.path}' with {tag} and {group} in {where}"
                )
                if must_exist:
                    _give_up(path)
            frames.append(_frame(entry))
    return frames


def _give_up(path: str) -> None:
    report.error(
        f"Problem occurred loading frameset from the SOF file '{path}'.\n"
        "If you want to ignore errors of missing files in the sof, set '--check-sof-exist=false'."
    )
    raise FramesError


def _frame(entry: sof.Frame) -> ui.Frame:
    """Make a frame of a file that need not exist (only the constructor insists on it)."""
    frame = ui.Frame(os.devnull, entry.tag, ui.Frame.FrameGroup[entry.group or "NONE"])
    frame.file = entry.path
    return frame


def run(recipe, options: Sequence[Option], frames: ui.FrameSet, settings: Callable[[str], object]) -> int:
    """Run a recipe and deal with its products; or, with the option plan, show what it would need.

    Parameters
    ----------
    recipe : PyRecipe
        The recipe.
    options : sequence of Option
        Its parameters with their values.
    frames : FrameSet
        Input.
    settings : callable
        Returns the value of an option of the command.

    Returns
    -------
    int
        Exit status.
    """
    if settings("plan") and not hasattr(recipe, "plan"):
        report.error(f"The recipe '{recipe.name}' makes no plan.")
        return FAILED
    method = recipe.plan if settings("plan") else recipe.run
    domain = core.Msg.get_config()["domain"]
    core.Msg.set_config(domain=recipe.name, show_threadid=True)
    start = time.monotonic()
    try:
        with bars():
            produced = method(frames, {option.full_name: option.value for option in options})
    except Exception as error:
        failure.log(error, recipe.name)
        produced = None
    finally:
        core.Msg.set_config(domain=domain)
    elapsed = time.monotonic() - start

    if produced is None:
        report.error(f"Execution of recipe '{recipe.name}' failed, status = -1")
        if settings("products-sof"):
            report.warning("Writing of output sof omitted due to previous errors")
        return FAILED
    if settings("plan"):
        return _show(produced)
    found = [frame for frame in produced if frame.group == ui.Frame.FrameGroup.PRODUCT]
    status = 0
    try:
        products.sign(found, md5=not settings("no-datamd5"), checksum=not settings("no-checksum"))
        delivered = products.deliver(found, settings)
        if settings("products-sof"):
            products.write_list(str(settings("products-sof")), delivered)
    except products.ProductsError as error:
        status = error.status
    if settings("time"):
        _report_time(frames, elapsed)
    return status


def _show(plan) -> int:
    """Show the plan of a recipe; return failure as exit status if there is too little of something."""
    report.text(plan)
    problems = plan.problems()
    for problem in problems:
        report.error(problem)
    return FAILED if problems else 0


def _report_time(frames: ui.FrameSet, elapsed: float) -> None:
    raw = [frame.file for frame in frames if frame.group == ui.Frame.FrameGroup.RAW]
    if not raw:
        return
    size = sum(os.stat(path).st_size for path in raw if os.path.exists(path)) / 1e6
    report.info(f"Recipe operation(s) took {elapsed:14.3g} seconds to complete.")
    if len(raw) == 1:
        report.info(f"Size of single raw input frame  = {size:8.2f} MB\n")
    else:
        report.info(f"Total size of {len(raw)} raw input frames  = {size:8.2f} MB\n")
    report.info(f"=> processing rate of {size / elapsed:8.2f} MB/sec \n")

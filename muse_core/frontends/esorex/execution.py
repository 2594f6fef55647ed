# SPDX-License-Identifier: GPL-2.0-or-later
"""Run one recipe: frames from set-of-frames files, the recipe, its products, timing."""

import contextlib
import os
import time
from collections.abc import Callable, Sequence

from muse_core.cplapi import core, ui
from muse_core.errors import MissingFileError
from muse_core.frontends import failure
from muse_core.frontends.esorex import products, report
from muse_core.frontends.esorex.options import Option
from muse_core.frontends.progress import watched
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
        except MissingFileError as error:
            report.error(f"Unable to open SOF file '{path}'")
            if error.__cause__ is None:  # it is there
                report.error(str(error))
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
            frames.append(frame_of(entry))
    return frames


def _give_up(path: str) -> None:
    report.error(
        f"Problem occurred loading frameset from the SOF file '{path}'.\n"
        "If you want to ignore errors of missing files in the sof, set '--check-sof-exist=false'."
    )
    raise FramesError


def frame_of(entry: sof.Frame) -> ui.Frame:
    """Make a frame of a file that need not exist (only the constructor insists on it)."""
    frame = ui.Frame(os.devnull, entry.tag, ui.Frame.FrameGroup[entry.group or "NONE"])
    frame.file = entry.path
    return frame


def execute(recipe, options: Sequence[Option], frames: ui.FrameSet, settings: Callable[[str], object], goal) -> int:
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
    goal : Destination
        Where the products go.

    Returns
    -------
    int
        Exit status.
    """
    values = {option.full_name: option.value for option in options}
    delivers = hasattr(recipe, "destination")  # else it leaves its products in the current folder
    if delivers:
        recipe.destination = goal
    if settings("plan"):
        if not hasattr(recipe, "plan"):
            report.error(f"The recipe '{recipe.name}' makes no plan.")
            return FAILED
        plan = run(recipe, recipe.plan, frames, values)
        return _failed(recipe, settings) if plan is None else _show(plan)
    inputs = [frame.file for frame in frames]
    status, elapsed = 0, 0.0
    try:
        with contextlib.nullcontext() if delivers else products.taking_over(goal, recipe.name, inputs) as delivery:
            start = time.monotonic()
            produced = run(recipe, recipe.run, frames, values)
            elapsed = time.monotonic() - start
            if produced is None:
                return _failed(recipe, settings)
            found = [(frame.file, frame.tag) for frame in produced if frame.group == ui.Frame.FrameGroup.PRODUCT]
            if found and (goal.md5 or goal.checksum):
                report.info("Calculating product checksums")
            if delivery is not None:
                found = products.deliver(found, goal, delivery)
        products.tell(found, goal)
        if settings("products-sof"):
            products.write_list(str(settings("products-sof")), found, inputs)
    except products.ProductsError as error:
        status = error.status
    if settings("time") and elapsed:
        _report_time(frames, elapsed)
    return status


def run(recipe, method: Callable, frames: ui.FrameSet, values: dict[str, object]):
    """Return what a method of a recipe returns, None after an error, which has been reported.

    Raises
    ------
    ProductsError
        Products cannot have their places.
    """
    from muse_core.io.delivery import PlaceError

    domain = core.Msg.get_config()["domain"]
    core.Msg.set_config(domain=recipe.name, show_threadid=True)
    try:
        with watched(recipe.name, None if core.Msg.get_config()["level"] < core.Msg.SeverityLevel.OFF else False):
            return method(frames, values)
    except Exception as error:
        if isinstance(error, PlaceError) and (error.is_link or recipe.destination.shown):
            core.Msg.set_config(domain=domain)
            raise products.refused(error, recipe.destination) from error
        failure.log(error, recipe.name)
    finally:
        core.Msg.set_config(domain=domain)
    return None


def _failed(recipe, settings: Callable[[str], object]) -> int:
    report.error(f"Execution of recipe '{recipe.name}' failed, status = -1")
    if settings("products-sof"):
        report.warning("Writing of output sof omitted due to previous errors")
    return FAILED


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

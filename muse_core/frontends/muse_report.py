# SPDX-License-Identifier: GPL-2.0-or-later
"""The command ``muse-report``: one page about a reduction, from its products."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from muse_core import __version__
from muse_core.errors import MuseError
from muse_core.report.checks import LIMITS, read_limits
from muse_core.report.products import find_run
from muse_core.report.write import write_report

_NAME = "MUSE_REPORT.html"


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="muse-report",
        description="Make a report of a reduction from its products, ESO's or ours: what was done, sky, alignment, "
        "depth, noise, and checks with limits. One HTML file, and the numbers as JSON beside it.",
        epilog="See docs/report.md. Names of limits: " + ", ".join(LIMITS) + ".",
    )
    add = parser.add_argument
    add("places", nargs="+", type=Path, metavar="FOLDER|FILE", help="folders with products, or products")
    add("-o", "--output", type=Path, metavar="HTML", help=f"the page (default: {_NAME} beside the first product)")
    add("--compare", action="store_true", help="each folder or file is a run of its own; side by side")
    add("--limits", type=Path, metavar="TOML", help="other limits, as in: [stat] look = 1.1")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; by default those of the process.

    Returns
    -------
    int
        0, or 1 after an error, which goes to standard error.
    """
    arguments = make_parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="muse-report: %(message)s")
    places = arguments.places
    try:
        groups = [find_run([place]) for place in places] if arguments.compare else [find_run(places)]
        first = places[0] if places[0].is_dir() else places[0].parent
        output = arguments.output or first / _NAME
        page, numbers = write_report(groups, output, read_limits(arguments.limits), __version__)
    except MuseError as error:
        sys.stderr.write(f"muse-report: {error}\n")
        return 1
    print(f"{page}, {numbers}")
    return 0

# SPDX-License-Identifier: GPL-2.0-or-later
"""Run ESO's recipe and ours, as a user would, on the same set of frames."""

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from muse_core.model.compat import REFERENCE_VERSION

RECIPE = "muse_scipost"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a run left: its folder, exit status, and what it said."""

    folder: Path
    status: int
    output: str


def measured() -> dict[str, str]:
    """Return what every environment of a process has to have for a measurement of coverage."""
    return {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}


def _run(command: Sequence[str], folder: Path, env: dict[str, str]) -> Outcome:
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "2", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=900,
        check=False,
    )
    return Outcome(folder, done.returncode, done.stdout)


def reference_problem() -> str | None:
    """Say why nothing can be compared with ESO's recipes: they are not there, or of another version."""
    esorex = shutil.which("esorex")
    if esorex is None:
        return "ESO's esorex is not installed (Debian: esorex)"
    command = [esorex, "--man-page", RECIPE]
    page = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False).stdout
    found = re.search(rf"{RECIPE} -- version (\S+)", page)
    if found is None:
        return f"ESO's recipe {RECIPE} is not installed (Debian: cpl-plugin-muse)"
    if found[1] != REFERENCE_VERSION:
        return f"ESO's recipes: found version {found[1]}, the tests compare with {REFERENCE_VERSION}"
    return None


def reference(
    sof: Path, folder: Path, *parameters: str, env: dict[str, str] | None = None, recipe: str = RECIPE
) -> Outcome:
    """Run ESO's recipe with esorex."""
    command = [shutil.which("esorex") or "esorex", "--log-file=reference.log", recipe, *parameters, str(sof)]
    return _run(command, folder, env or {})


def ours(
    sof: Path,
    folder: Path,
    *parameters: str,
    env: dict[str, str] | None = None,
    compat: bool = True,
    recipe: str = RECIPE,
) -> Outcome:
    """Run our recipe with our command, by default reproducing the defects of the reference."""
    env = {"MUSE_COMPAT": "2.8.7" if compat else "", **(env or {})}
    command = [
        sys.executable,
        "-m",
        "muse_core.frontends.esorex.main",
        "--log-file=ours.log",
        recipe,
        *parameters,
        str(sof),
    ]
    return _run(command, folder, env)

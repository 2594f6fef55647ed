# SPDX-License-Identifier: GPL-2.0-or-later
"""meson-python, with editable installations that outlive the environment they were built in.

An editable installation compiles kernels again when they are imported. Cython, ninja and meson have to be there then,
but pip removes the environment in which it builds. They are kept in ``build/tools-<tag of Python>`` instead.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mesonpy
from mesonpy import *  # noqa: F403 (all hooks of a build backend)

TOOLS = ("meson>=1.3", "ninja", "cython>=3.0.10")


def _keep_tools() -> Path:
    """Make an environment with the tools of the build, if there is none. Return the folder of its programs."""
    folder = Path.cwd() / "build" / f"tools-{sys.implementation.cache_tag}"
    python = folder / "bin" / "python"
    if not python.exists():
        interpreter = getattr(
            sys, "_base_executable", sys.executable
        )  # an environment of the build does not last either
        subprocess.run([interpreter, "-m", "venv", folder], check=True)
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    subprocess.run([python, "-m", "pip", "install", "--quiet", *TOOLS], check=True, env=surroundings)
    return python.parent


def build_editable(
    wheel_directory: str, config_settings: dict[str, Any] | None = None, metadata_directory: str | None = None
) -> str:
    """Build the wheel of an editable installation with tools that stay."""
    os.environ["PATH"] = os.pathsep.join([str(_keep_tools()), os.environ["PATH"]])
    return mesonpy.build_editable(wheel_directory, config_settings, metadata_directory)

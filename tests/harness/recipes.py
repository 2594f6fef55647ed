# SPDX-License-Identifier: GPL-2.0-or-later
"""The folder of the recipe for the tests of the front-ends."""

import atexit
import shutil
import tempfile
from pathlib import Path

from muse_core.frontends.trust import distrust


def _folder() -> Path:
    """Return the folder, or a copy of it if the sources belong to another user than the one that runs the tests."""
    source = Path(__file__).parents[1] / "frontends" / "recipes"
    if not distrust(source / "demo.py"):
        return source
    folder = Path(tempfile.mkdtemp(prefix="recipes-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    shutil.copy(source / "demo.py", folder)
    return folder


RECIPES = _folder()

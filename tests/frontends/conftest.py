# SPDX-License-Identifier: GPL-2.0-or-later
"""Native plugins and programs for the tests of the front-ends."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from harness.bench import Bench
from harness.recipes import RECIPES
from harness.run import measured

ROOT = Path(__file__).parents[2]
SYSTEM_PATH = "/usr/bin:/bin"


@pytest.fixture(scope="session")
def esorex():
    """Path of ESO's esorex; skips where it is not installed."""
    path = shutil.which("esorex", path=SYSTEM_PATH)
    if path is None:
        pytest.skip("esorex is not installed")
    return path


@pytest.fixture(scope="session")
def build_plugin(tmp_path_factory):
    """Return a function that builds the native plugin of a recipe alone in a folder; skips without CPL headers."""
    if shutil.which("gcc") is None or not Path("/usr/include/cpl.h").exists():
        pytest.skip("no compiler or no CPL headers")

    def build(address):
        folder = tmp_path_factory.mktemp("plugin")
        source = ROOT / "cython_ext" / "plugin"
        table = folder / "include" / "recipe_table.h"
        table.parent.mkdir()
        subprocess.run([sys.executable, source / "describe.py", ROOT, address, table], check=True)
        library = folder / "lib" / "plugin.so"
        library.parent.mkdir()
        flags = ["-shared", "-fPIC", "-O1", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden"]
        libraries = ["-Wl,--no-as-needed", "-lcpldfs", "-lcplui", "-lcplcore"]
        flags += [f"-I{table.parent}", '-DRECIPE_TABLE="recipe_table.h"']
        command = ["gcc", *flags, "-o", library, source / "plugin.c", *libraries]
        subprocess.run(command, check=True)
        return library.parent

    return build


@pytest.fixture(scope="session")
def demo_plugin(build_plugin):
    """Folder with the native plugin of the demo recipe."""
    return build_plugin(f"{RECIPES / 'demo.py'}:Demo")


@pytest.fixture(scope="session")
def scipost_plugin(build_plugin):
    """Folder with the native plugin of muse_scipost."""
    return build_plugin("muse_core.recipes.muse_scipost:MuseScipost")


@pytest.fixture
def clean_environment(tmp_path):
    """Environment of a fresh account."""
    home = tmp_path / "home"
    home.mkdir()
    keep = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
    return keep | measured() | {"PATH": SYSTEM_PATH, "HOME": str(home)}


@pytest.fixture
def bench(tmp_path, datasets, monkeypatch, capfd):
    """A place to run the command."""
    for name in [name for name in os.environ if name.startswith("MUSE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return Bench(tmp_path, datasets, monkeypatch, capfd)

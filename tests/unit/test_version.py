# SPDX-License-Identifier: GPL-2.0-or-later
"""The version is the same wherever it is written."""

import re
import tomllib
from pathlib import Path

import muse_core

ROOT = Path(__file__).parents[2]


def test_one_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    meson = re.search(r"version: '([^']*)'", (ROOT / "meson.build").read_text())[1]
    assert muse_core.__version__ == project == meson

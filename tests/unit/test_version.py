# SPDX-License-Identifier: GPL-2.0-or-later
"""The version is written once; the distribution and the list of changes have the same."""

import re
from importlib import metadata
from pathlib import Path

import muse_core

ROOT = Path(__file__).parents[2]


def test_one_version():
    assert metadata.version("muse-scipost") == muse_core.__version__
    assert (
        re.search(r"^## (\S+)", (ROOT / "CHANGES.md").read_text(encoding="utf-8"), re.MULTILINE)[1]
        == muse_core.__version__
    )


def test_it_is_written_nowhere_else():
    for name in ("pyproject.toml", "meson.build"):
        assert muse_core.__version__ not in (ROOT / name).read_text(encoding="utf-8")

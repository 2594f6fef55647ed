#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Print the version for the build, from the only place where it is written."""

import re
from pathlib import Path

source = Path(__file__).parents[1] / "muse_core" / "__init__.py"
found = re.search(r'^__version__ = "(.+)"$', source.read_text(encoding="utf-8"), re.MULTILINE)
if not found:
    raise SystemExit(f'{source}: found no line __version__ = "..."')
print(found[1])

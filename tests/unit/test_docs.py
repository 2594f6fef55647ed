# SPDX-License-Identifier: GPL-2.0-or-later
"""Pages that are made from the code are up to date; links between pages lead somewhere."""

import dataclasses
import re
import runpy
from pathlib import Path

from muse_core.model.compat import Compat

ROOT = Path(__file__).parents[2]


def test_parameters_page_is_up_to_date():
    made = runpy.run_path(str(ROOT / "docs" / "make_parameters.py"))["text"]()
    assert (ROOT / "docs" / "parameters.md").read_text() == made


def test_links_lead_to_pages():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_switch_is_explained():
    page = (ROOT / "docs" / "known_differences.md").read_text()
    for field in dataclasses.fields(Compat):
        assert f"| `{field.name}` |" in page

# SPDX-License-Identifier: GPL-2.0-or-later
"""Pages that are made from the code are up to date; links between pages lead somewhere."""

import dataclasses
import re
import runpy
from pathlib import Path

import pytest

from muse_core.model.compat import Compat
from muse_core.recipes.muse_scipost import MuseScipost

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def page():
    """Names of the module that makes the page of parameters."""
    return runpy.run_path(str(ROOT / "docs" / "make_parameters.py"))


def test_parameters_page_is_up_to_date(page):
    assert (ROOT / "docs" / "parameters.md").read_text() == page["text"]()


@pytest.mark.parametrize("spec", MuseScipost.PARAMETERS, ids=lambda spec: spec.name)
def test_every_parameter_is_compared_with_the_reference(page, spec):
    values = {value for _, value in page["tested_values"](spec)}
    assert values
    assert set(spec.choices) <= values | {spec.default}


@pytest.mark.parametrize("spec", MuseScipost.INPUTS, ids=lambda spec: spec.tag)
def test_every_frame_is_compared_with_the_reference(page, spec):
    assert page["tested_frames"](spec.tag)


def test_links_lead_to_pages():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_switch_is_explained():
    page = (ROOT / "docs" / "known_differences.md").read_text()
    for field in dataclasses.fields(Compat):
        assert f"| `{field.name}` |" in page

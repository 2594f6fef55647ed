# SPDX-License-Identifier: GPL-2.0-or-later
"""Pages that are made from the code are up to date; links between pages lead somewhere."""

import re
import runpy
from pathlib import Path

import pytest

from muse_core.frontends.registry import built_in, class_of

ROOT = Path(__file__).parents[2]


#: Recipes whose tests against the reference are not told as cases of the harness.
_WITHOUT_CASES = {"muse_exp_align"}


def _each(attribute: str) -> list:
    """Return name and declared parameter or frame of each recipe."""
    recipes = [class_of(name) for name in built_in() if name not in _WITHOUT_CASES]
    return [(recipe.NAME, spec) for recipe in recipes for spec in getattr(recipe, attribute)]


@pytest.fixture(scope="module")
def page():
    """Names of the module that makes the page of parameters."""
    return runpy.run_path(str(ROOT / "docs" / "make_parameters.py"))


def test_pages_of_recipes_are_up_to_date(page):
    assert (ROOT / "docs" / "parameters.md").read_text() == page["text"]()
    assert (ROOT / "docs" / "recipes.md").read_text() == page["overview"]()


@pytest.mark.parametrize(("recipe", "spec"), _each("PARAMETERS"), ids=lambda value: getattr(value, "name", value))
def test_every_parameter_is_compared_with_the_reference(page, recipe, spec):
    values = {value for _, value in page["tested_values"](recipe, spec)}
    assert values
    assert set(spec.choices) <= values | {spec.default}


@pytest.mark.parametrize(("recipe", "spec"), _each("INPUTS"), ids=lambda value: getattr(value, "tag", value))
def test_every_frame_is_compared_with_the_reference(page, recipe, spec):
    assert page["tested_frames"](recipe, spec.tag)


def test_links_lead_to_pages():
    made = {"_build", "generated"}
    pages = [page for page in (ROOT / "docs").rglob("*.md") if not made & set(page.relative_to(ROOT).parts)]
    for page in [ROOT / "README.md", *pages]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            if not made & set(Path(target).parts):  # Sphinx looks at these
                assert (page.parent / target).exists(), f"{page.name}: {target}"

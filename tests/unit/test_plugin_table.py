# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of a recipe, from which the native plugin is compiled, holds what the recipe declares."""

import re
import runpy
from pathlib import Path

import pytest

import muse_core
from muse_core.frontends.registry import built_in, class_of

DESCRIBE = Path(__file__).parents[2] / "cython_ext" / "plugin" / "describe.py"


@pytest.mark.parametrize("name", built_in())
def test_table_is_the_declaration(name):
    recipe = class_of(name)
    text = runpy.run_path(str(DESCRIBE))["table"](recipe(), f"{recipe.__module__}:{recipe.__name__}", "/some/python")
    major, minor, micro = (int(part) for part in muse_core.__version__.split(".")[:3])
    assert f"#define RECIPE_VERSION {(major * 100 + minor) * 100 + micro}\n" in text
    assert f'#define RECIPE_NAME "{name}"\n' in text
    parameters, inputs, products = (
        text.partition(f"{table}[] = {{")[2].partition("};")[0] for table in ("PARAMETERS", "INPUTS", "PRODUCTS")
    )
    assert re.findall(r'^  \{"(\w+)", ', parameters, re.MULTILINE) == [spec.name for spec in recipe.PARAMETERS]
    wanted = [(s.tag, str(int(s.group == "RAW")), str(s.minimum), str(s.maximum)) for s in recipe.INPUTS]
    assert re.findall(r'^  \{"(\w+)", (\d), (-?\d+), (-?\d+)\},', inputs, re.MULTILINE) == wanted
    assert re.findall(r'"(\w+)"', products) == [spec.tag for spec in recipe.PRODUCTS]

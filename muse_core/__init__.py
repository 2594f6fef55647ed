# SPDX-License-Identifier: GPL-2.0-or-later
"""MUSE pixel tables to datacubes: ESO's recipe muse_scipost in Python.

`Recipe` runs the recipe from Python in the manner of python-cpl; `PixelTable`, `Cube` and all steps for notebooks are
in `muse_core.api`. The steps on arrays, in `muse_core.steps`, are for those who change the package.
"""

import importlib
from typing import Any

#: Above the recipes of ESO that it reproduces (2.8.7), so that esorex prefers it when both are installed.
__version__ = "2.9.0"
__author__ = "The muse-scipost developers"
__email__ = "the issue tracker of muse-scipost"
__license__ = "GPL-2.0-or-later"
#: Versions of CPL that recipes may use, for scripts of python-cpl: they use none.
cpl_versions: list[str] = []
#: Where the public names of python-cpl are, and under which name.
_PYTHON_CPL = {
    "Recipe": ("recipe", "Recipe"),
    "Result": ("result", "Result"),
    "CplError": ("result", "RecipeError"),
    "RecipeCrash": ("result", "RecipeCrash"),
    "Parameter": ("settings", "Parameter"),
    "FrameConfig": ("settings", "FrameConfig"),
    "dfs": ("dfs", ""),
    "esorex": ("esorex", ""),
    "logger": ("logger", ""),
}
#: What notebooks use, of `muse_core.api`.
_API = ("Cube", "PixelTable", "Region")
__all__ = ["__version__", "cpl_versions", *_API, *_PYTHON_CPL]


def __getattr__(name: str) -> Any:
    """Import names of notebooks and of python-cpl when they are first asked for."""
    if name in _API:
        return getattr(importlib.import_module("muse_core.api"), name)
    if name not in _PYTHON_CPL:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PYTHON_CPL[name]
    found = importlib.import_module(f"muse_core.frontends.pythoncpl.{module}")
    return getattr(found, attribute) if attribute else found


def __dir__() -> list[str]:
    """Name what can be imported too."""
    return sorted({*globals(), *_API, *_PYTHON_CPL})

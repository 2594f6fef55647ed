# SPDX-License-Identifier: GPL-2.0-or-later
"""MUSE pixel tables to datacubes: ESO's recipe muse_scipost in Python.

`Recipe` runs the recipe from Python in the manner of python-cpl; the steps of the reduction are in `muse_core.steps`.
"""

__version__ = "2.9.0"
__all__ = ["Recipe", "__version__"]


def __getattr__(name: str):
    """Import `Recipe` when it is first asked for."""
    if name == "Recipe":
        from muse_core.frontends.pythoncpl.recipe import Recipe

        return Recipe
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

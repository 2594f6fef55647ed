# SPDX-License-Identifier: GPL-2.0-or-later
"""Where recipes come from: this package, and folders of Python files in the manner of PyEsoRex."""

import hashlib
import importlib.util
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from muse_core.cplapi import ui
from muse_core.recipes.muse_scipost import MuseScipost

logger = logging.getLogger(__name__)

BUILT_IN = (MuseScipost,)


def plugin_directory() -> Path:
    """Return the folder of the native plugins of this package; empty if it was built without CPL."""
    import muse_core.plugins

    return Path(next(iter(muse_core.plugins.__path__)))


def _python_files(directory: str) -> Iterator[Path]:
    """Yield the Python files below a folder, without hidden folders and virtual environments."""
    for folder, subfolders, files in os.walk(directory, followlinks=True):
        if "pyvenv.cfg" in files:
            subfolders.clear()
            continue
        subfolders[:] = sorted(name for name in subfolders if not name.startswith((".", "__")))
        yield from (Path(folder, name) for name in sorted(files) if name.endswith(".py"))


def _recipes_of_file(path: Path) -> Iterator[type]:
    """Yield the recipe classes that a Python file shows; a file that cannot be imported has none."""
    try:
        if b"PyRecipe" not in path.read_bytes():
            return
        name = f"muse_core_found_{path.stem}_{hashlib.sha1(os.fsencode(path), usedforsecurity=False).hexdigest()[:8]}"
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except Exception as error:
        logger.debug("%s: not a recipe: %s: %s", path, type(error).__name__, error)
        return
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, ui.PyRecipe) and value is not ui.PyRecipe:
            yield value


def find_recipes(directories: Iterable[str] = ()) -> dict[str, ui.PyRecipe]:
    """Return an instance of every recipe, by name.

    Parameters
    ----------
    directories : iterable of str
        Folders that are searched, with their subfolders, for Python files with subclasses of ``cpl.ui.PyRecipe``. Files
        without that word are not imported. A recipe of this package is not replaced by one of the same name.
    """
    recipes = {}
    found = [cls for directory in directories for path in _python_files(directory) for cls in _recipes_of_file(path)]
    for cls in (*BUILT_IN, *found):
        try:
            recipe = cls()
        except Exception as error:
            logger.debug("%s: cannot be instantiated: %s", cls.__name__, error)
            continue
        recipes.setdefault(recipe.name, recipe)
    return recipes

# SPDX-License-Identifier: GPL-2.0-or-later
"""Where recipes come from: this package, and folders of Python files in the manner of PyEsoRex."""

import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from inspect import isabstract
from pathlib import Path
from types import ModuleType

import muse_core.recipes
from muse_core.cplapi import ui
from muse_core.errors import InputError
from muse_core.frontends.trust import distrust

_LOG = logging.getLogger(__name__)

_FOUND = "muse_core_found_recipe_"


def built_in() -> list[str]:
    """Return the names of the modules of this package's recipes: those called ``muse_*``, each of which holds one."""
    return sorted(path.stem for path in Path(muse_core.recipes.__file__).parent.glob("muse_*.py"))


def class_of(module: str) -> type:
    """Return the recipe class that a module of this package's recipes defines.

    Raises
    ------
    TypeError
        If it defines none, or several.
    """
    name = f"muse_core.recipes.{module}"
    defined = [value for value in _recipe_classes(importlib.import_module(name)) if value.__module__ == name]
    if len(defined) != 1:
        raise TypeError(f"{name}: found {len(defined)} recipe classes, expected one in each module muse_*")
    return defined[0]


def _recipe_classes(module: ModuleType) -> list[type]:
    """Return the recipe classes that a module shows."""
    values = vars(module).values()
    return [v for v in values if isinstance(v, type) and issubclass(v, ui.PyRecipe) and not isabstract(v)]


def built_in_recipe(name: str) -> ui.PyRecipe | None:
    """Return an instance of a recipe of this package, None if there is none of this name."""
    return class_of(name)() if name in built_in() else None


def plugin_directory() -> Path | None:
    """Return the folder of the native plugin of this package, None if it was built without CPL."""
    import importlib.resources

    files = importlib.resources.files("muse_core.plugins").iterdir()
    return next((Path(str(file)).parent for file in files if file.name.endswith(".so")), None)


def _python_files(directory: str, warn: Callable[[str], object]) -> Iterator[Path]:
    """Yield the Python files below a folder; not those of hidden folders, virtual environments, and of others."""

    def refused(path: str | Path) -> bool:
        reason = distrust(path, alone=path != directory)
        if reason:
            warn(f"{path}: recipes in it are not used: {reason}, and it is code that would be run")
        return bool(reason)

    if not os.path.isdir(directory) or refused(directory):
        return
    for folder, subfolders, files in os.walk(directory, followlinks=True):
        if "pyvenv.cfg" in files:
            subfolders.clear()
            continue
        subfolders[:] = sorted(name for name in subfolders if not name.startswith((".", "__")))
        subfolders[:] = [name for name in subfolders if not refused(os.path.join(folder, name))]
        paths = (Path(folder, name) for name in sorted(files) if name.endswith(".py"))
        yield from (path for path in paths if path.is_file() and not refused(path))


def _classes_of_file(path: Path) -> Iterator[type]:
    """Yield the recipe classes that a Python file shows; a file that cannot be imported has none."""
    import hashlib

    name = _FOUND + hashlib.sha1(os.fsencode(path.absolute()), usedforsecurity=False).hexdigest()
    try:
        if b"PyRecipe" not in path.read_bytes():
            return
        spec = importlib.util.spec_from_file_location(name, path.absolute())
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except Exception as error:
        sys.modules.pop(name, None)
        _LOG.debug("%s: not a recipe: %s: %s", path, type(error).__name__, error)
        return
    yield from _recipe_classes(module)


def _instances(classes: Iterable[type]) -> dict[str, ui.PyRecipe]:
    recipes = {}
    for cls in classes:
        try:
            recipe = cls()
        except Exception as error:
            _LOG.debug("%s: cannot be instantiated: %s", cls.__name__, error)
            continue
        recipes.setdefault(recipe.name, recipe)
    return recipes


def recipes_of_file(path: str | os.PathLike) -> dict[str, ui.PyRecipe]:
    """Return an instance of every recipe of a Python file, by name.

    Raises
    ------
    InputError
        The file is not there, or others may have written it.
    """
    if not os.path.isfile(path):
        raise InputError(f"{os.fspath(path)}: no such file, expected a Python file with a recipe")
    if reason := distrust(path):
        raise InputError(f"{os.fspath(path)}: {reason}, expected a file of ours alone: its code would be run")
    return _instances(_classes_of_file(Path(path)))


def find_recipes(
    directories: Iterable[str] = (), warn: Callable[[str], object] = _LOG.warning
) -> dict[str, ui.PyRecipe]:
    """Return an instance of every recipe, by name.

    Parameters
    ----------
    directories : iterable of str
        Folders that are searched, with their subfolders, for Python files with subclasses of ``cpl.ui.PyRecipe``. Files
        without that word are not imported, nor those that others may write. A recipe of this package is not replaced by
        one of the same name.
    warn : callable
        Gets a text on each folder or file that is not used because others may write it.
    """
    files = (path for directory in directories for path in _python_files(directory, warn))
    found = (cls for path in files for cls in _classes_of_file(path))
    return _instances((*map(class_of, built_in()), *found))


def address(cls: type) -> str:
    """Return a text from which another process can `load` a recipe class."""
    module = cls.__module__
    return f"{sys.modules[module].__file__ if module.startswith(_FOUND) else module}:{cls.__name__}"


def load(text: str) -> type:
    """Return the recipe class of an `address`.

    Raises
    ------
    InputError
        If there is none.
    """
    place, _, name = text.rpartition(":")
    if place.endswith(".py"):
        classes = {cls.__name__: cls for cls in _classes_of_file(Path(place))}
    else:
        classes = vars(importlib.import_module(place))
    if name not in classes:
        raise InputError(f"there is no recipe {name} in {place}")
    return classes[name]

# SPDX-License-Identifier: GPL-2.0-or-later
"""PyCPL's ``cpl.ui`` and ``cpl.core``, or a stand-in with the same interface where PyCPL is not installed.

``from muse_core.cplapi import core, ui`` gives real PyCPL if ``import cpl`` finds it, else the modules of this package.
Another distribution, python-cpl, installs a different package under the same name: it is recognised and left alone, and
the stand-in is never registered as ``cpl``. Nothing else in this project decides what ``cpl`` is.

A recipe may use what the stand-in has: `ui.PyRecipe`, the parameter classes, `ui.Frame`, `ui.FrameSet`, `core.Msg`,
`core.Type` and the errors. The science never uses any of it.
"""

import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from muse_core.cplapi import standin_core as core
    from muse_core.cplapi import standin_ui as ui

__all__ = ["core", "is_pycpl", "ui", "use_standin"]

_chosen: ModuleType | None = None


def _find_pycpl() -> ModuleType | None:
    """Return the module ``cpl`` if it is PyCPL."""
    module = sys.modules.get("cpl")
    if module is None:
        spec = importlib.util.find_spec("cpl")
        if spec is None:
            return None
        if spec.submodule_search_locations is not None:
            # a package: python-cpl, unless it brings the interface that we are looking for
            folders = [Path(p) for p in spec.submodule_search_locations]
            if not any(next(folder.glob("ui*"), None) for folder in folders):
                return None
        try:
            module = importlib.import_module("cpl")
        except Exception:  # an unusable installation (say, libraries of another CPL in the process) must not stop us
            return None
    return module if hasattr(getattr(module, "ui", None), "PyRecipe") else None


def use_standin() -> None:
    """Take the stand-in even where PyCPL is installed; no effect once the choice has been made.

    The command line tool and the worker do so: they need nothing else, and importing PyCPL takes 0.2 s.
    """
    global _chosen
    if _chosen is None:
        _chosen = sys.modules[__name__]


def is_pycpl() -> bool:
    """Tell whether `ui` and `core` are those of PyCPL."""
    return _choose() is not sys.modules[__name__]


def _choose() -> ModuleType:
    global _chosen
    if _chosen is None:
        _chosen = _find_pycpl() or sys.modules[__name__]
    return _chosen


def __getattr__(name: str) -> ModuleType:
    """Resolve `ui` and `core` when first asked for."""
    if name not in ("ui", "core"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if is_pycpl():
        return getattr(_choose(), name)
    return importlib.import_module(f"{__name__}.standin_{name}")

# SPDX-License-Identifier: GPL-2.0-or-later
"""What recipes are made of. A stage knows files and the row store, takes its own options, and no recipe's parameters.

Stages are imported when they are first used: front-ends list recipes without them.
"""

import importlib
import pkgutil
from types import ModuleType

__all__ = [module.name for module in pkgutil.iter_modules(__path__)]


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")

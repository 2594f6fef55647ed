# SPDX-License-Identifier: GPL-2.0-or-later
"""Check that each public name is documented: ``check_docstrings.py``.

A public name is one of `PUBLIC`, which are the modules of the page on the Python interface: functions, classes, their
methods and properties. Each has a docstring without a fault of those in ``[tool.numpydoc_validation]`` (parameters with
types, what is returned and raised), and an example; that of a property is the one of its class, which has to use it.
The tests execute the examples.
"""

import importlib
import inspect
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[1]
#: Modules with public names. Those without ``__all__``: what is defined there, and does not begin with _.
PUBLIC = ("muse_core.api", "muse_core.api.steps", "muse_core.api.steps.sky", "muse_core", "muse_core.noise",
          "muse_core.errors")  # fmt: skip
#: What takes something from the user can fail, but for these, which fail by a wrong type only.
NO_ERRORS = {
    "check", "filter", "get_recipefilename", "set_maxthreads", "set_range", "extend_range", "create_script", "contains",
    "plot", "aperture", "aperture_factor", "join",
}  # fmt: skip


def names_of(module: ModuleType) -> list[str]:
    """Return the public names of a module."""
    own = [name for name, thing in vars(module).items() if getattr(thing, "__module__", None) == module.__name__]
    return list(getattr(module, "__all__", None) or [name for name in own if not name.startswith("_")])


def members(name: str, thing: Any) -> Iterator[tuple[str, Any]]:
    """Yield a thing with its full name, and the methods and properties of a class."""
    yield name, thing
    if inspect.isclass(thing):
        fields = getattr(thing, "__dataclass_fields__", ())
        for base in thing.__mro__:
            if not base.__module__.startswith("muse_core") or base is not thing and not base.__name__.startswith("_"):
                continue
            for member, found in vars(base).items():
                is_public = not member.startswith("_") or member == "__call__"
                if is_public and member not in fields and (callable(getattr(thing, member)) or is_property(found)):
                    yield f"{name}.{member}", found if is_property(found) else getattr(thing, member)


def is_property(thing: Any) -> bool:
    """Tell whether something is a property."""
    return inspect.isdatadescriptor(thing)


def modules() -> list[ModuleType]:
    """Return the public modules: `PUBLIC`, and those that are public names of these."""
    found = [importlib.import_module(name) for name in PUBLIC]
    within = [getattr(module, name) for module in found for name in names_of(module)]
    return list(dict.fromkeys([*found, *(thing for thing in within if inspect.ismodule(thing))]))


def public() -> dict[str, Any]:
    """Return all public names, with what they are; each thing once, under the name of the module that defines it."""
    things = [getattr(module, name) for module in modules() for name in names_of(module)]
    found: dict[str, Any] = {}
    for thing in things:
        if callable(thing):
            found |= members(f"{thing.__module__}.{thing.__qualname__}", thing)
    return found


def faults(name: str, thing: Any, checks: set[str], owner: Any) -> Iterator[str]:
    """Yield what is wrong with the docstring of a public name."""
    from numpydoc.validate import validate

    text = inspect.getdoc(thing) or ""
    if is_property(thing):
        if not text.endswith(".") or not text[:1].isupper():
            yield "no sentence that says what it is"
        if f".{name.rpartition('.')[2]}" not in (inspect.getdoc(owner) or ""):
            yield "the example of its class does not use it"
        return
    yield from (f"{code} {message}" for code, message in validate(name)["errors"] if code in checks)
    takes = not inspect.isclass(thing) and [a for a in inspect.signature(thing).parameters if a not in ("self", "ax")]
    if takes and "\nRaises\n---" not in text and name.rpartition(".")[2] not in NO_ERRORS:
        yield "takes arguments, and does not say what it raises"


def main() -> int:
    """Print all faults; return 1 if there is one."""
    configured = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["numpydoc_validation"]
    found, n_faults = public(), 0
    for name, thing in found.items():
        for fault in faults(name, thing, set(configured["checks"]), found.get(name.rpartition(".")[0])):
            print(f"{name}: {fault}")
            n_faults += 1
    print(f"{len(found)} public names, {n_faults} faults")
    return int(n_faults > 0)


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: GPL-2.0-or-later
"""Every public name of `muse_core.api` says what it is, and has an example; the examples are executed."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import muse_core.api

_SKIPPED = {"close"}
MODULES = [
    importlib.import_module(found.name)
    for found in pkgutil.walk_packages(muse_core.api.__path__, "muse_core.api.")
    if found.name.rpartition(".")[2] not in ("session", "plotting")  # not for users
]


def public():
    """Yield the names that users see, with what they are."""
    for name in muse_core.api.__all__:
        thing = getattr(muse_core.api, name)
        if inspect.ismodule(thing):
            for other in thing.__all__:
                found = getattr(thing, other)
                if inspect.ismodule(found):
                    yield from ((f"{other}.{n}", getattr(found, n)) for n in ("SkyModel", "fit", "subtract"))
                else:
                    yield other, found
            continue
        yield name, thing


def members():
    """Yield functions, classes, and the methods of classes."""
    for name, thing in public():
        yield name, thing
        if inspect.isclass(thing):
            fields = getattr(thing, "__dataclass_fields__", {})
            for other in vars(thing):
                if not other.startswith("_") and other not in fields:
                    yield f"{name}.{other}", getattr(thing, other)


ALL = dict(members())


@pytest.mark.parametrize("name", ALL)
def test_is_documented(name):
    thing = ALL[name]
    text = inspect.getdoc(thing)
    assert text
    if not callable(thing) or name.rpartition(".")[2] in _SKIPPED:  # an attribute
        return
    assert ">>>" in text
    function = thing.__init__ if inspect.isclass(thing) else thing
    arguments = [a for a in inspect.signature(function).parameters if a not in ("self", "ax")]
    if inspect.isclass(thing) or not arguments:
        return
    if "arameters as in" not in text:
        described = text.partition("Parameters\n---")[2].partition("\n\n")[0]
        missing = [
            a for a in arguments if not any(a in line.split(" : ")[0].split(", ") for line in described.split("\n"))
        ]
        assert not missing, f"{name}: no description of {missing}"
    assert "Raises\n---" in text or name in NO_ERRORS


#: What cannot fail but by a wrong type.
NO_ERRORS = {
    "Region.circle",
    "Region.box",
    "Region.contains",
    "Image.plot",
    "Spectrum.plot",
    "Cube.plot",
    "SkyModel.plot",
}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_examples(module, notebook):
    found = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE, verbose=False)
    assert found.failed == 0

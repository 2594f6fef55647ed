# SPDX-License-Identifier: GPL-2.0-or-later
"""Takes the place of PyCPL in tests: the same interface from one module, with classes of its own.

Like PyCPL it is not a package, has messages of its own, and no more than what PyCPL has.
"""

import enum
import types

from muse_core.cplapi import standin_core, standin_ui

NAMES = ("PyRecipe", "ParameterValue", "ParameterRange", "ParameterEnum", "ParameterList", "Frame", "FrameSet")
ui = types.SimpleNamespace(**{name: type(name, (getattr(standin_ui, name),), {}) for name in NAMES})
ui.ParameterList._type = standin_ui.ParameterValue.__base__


class Msg:
    """Collects messages."""

    class SeverityLevel(enum.Enum):
        """As in PyCPL not a number, but converts to one."""

        INFO = 1

        def __int__(self):
            return self.value

    collected = []

    @classmethod
    def get_config(cls):
        """Return the settings."""
        return {"level": cls.SeverityLevel.INFO}


for _name in ("debug", "info", "warning", "error"):
    setattr(
        Msg, _name, staticmethod(lambda component, text, _name=_name: Msg.collected.append((_name, component, text)))
    )

core = types.SimpleNamespace(Msg=Msg, IllegalInputError=standin_core.IllegalInputError, Error=standin_core.Error)

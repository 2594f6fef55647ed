# SPDX-License-Identifier: GPL-2.0-or-later
"""Stand-in for ``cpl.core``: data types, messages, errors."""

import enum

from muse_core.cplapi.messages import Msg, SeverityLevel

__all__ = ["Error", "Msg", "SeverityLevel", "Type"]


class Type(enum.Enum):
    """Data types of parameters."""

    BOOL = "bool"
    INT = "int"
    DOUBLE = "double"
    STRING = "string"


class Error(Exception):
    """Base of all CPL errors; attributes `message` and `code` (of CPL)."""

    code = 1

    def __init__(self, message: str = ""):
        super().__init__(message)
        self.message = message


def _error(name: str, code: int, base: type = RuntimeError) -> type[Error]:
    __all__.append(name)
    return type(name, (Error, base), {"code": code, "__doc__": f"CPL error {code}.", "__module__": __name__})


UnspecifiedError = _error("UnspecifiedError", 1)
FileIOError = _error("FileIOError", 5)
BadFileFormatError = _error("BadFileFormatError", 6)
FileNotFoundError = _error("FileNotFoundError", 9)  # noqa: A001 (PyCPL's name; not an OSError there either)
DataNotFoundError = _error("DataNotFoundError", 10)
NullInputError = _error("NullInputError", 12, ValueError)
IncompatibleInputError = _error("IncompatibleInputError", 13)
IllegalInputError = _error("IllegalInputError", 14, ValueError)
UnsupportedModeError = _error("UnsupportedModeError", 16)
TypeMismatchError = _error("TypeMismatchError", 19)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Columns of binary tables, and numbers that are stored scaled."""

import numpy as np

from muse_core.model.record import record

WIDTH = {"L": 1, "B": 1, "I": 2, "J": 4, "K": 8, "A": 1, "E": 4, "D": 8, "C": 8, "M": 16, "P": 8, "Q": 16}
_NUMERIC = {"B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}
#: Ranges of the integers that a scaled column may hold, and the letters that we give to them: S, U, V have no own ones.
_RANGES = (
    ("S", -128, 127),
    ("B", 0, 255),
    ("I", -(2**15), 2**15 - 1),
    ("U", 0, 2**16 - 1),
    ("J", -(2**31), 2**31 - 1),
    ("V", 0, 2**32 - 1),
    ("K", -(2**63), 2**63 - 1),
)
#: Letters of integers that fit into 32 bits.
INTEGERS = "SBIUJ"


@record
class Column:
    """A column of a binary table, as its header describes it.

    Attributes
    ----------
    number : int
        From 1.
    name, form, unit : str
        TTYPE, TFORM, TUNIT; empty where they are missing.
    repeat, letter : int, str
        What TFORM says.
    offset : int
        Where it begins in a row, in bytes.
    scale, zero : float
        TSCAL, TZERO.
    """

    number: int
    name: str
    form: str
    unit: str
    repeat: int
    letter: str
    offset: int
    scale: float
    zero: float

    @property
    def width(self) -> int:
        """Number of bytes in a row."""
        return (self.repeat + 7) // 8 if self.letter == "X" else self.repeat * WIDTH[self.letter]

    @property
    def dtype(self) -> np.dtype:
        """Type of an element in the file."""
        return np.dtype(_NUMERIC[self.letter])

    @property
    def effective(self) -> str:
        """Letter of the type that holds the scaled numbers; those of the reference's columns follow from it."""
        if self.letter not in "BIJK" or (self.scale, self.zero) == (1, 0):
            return self.letter
        if self.scale % 1 or self.zero % 1:
            return "E" if self.letter in "BI" else "D"
        low, high = next((low, high) for letter, low, high in _RANGES if letter == self.letter)
        ends = sorted(int(self.scale) * end + int(self.zero) for end in (low, high))
        return next((letter for letter, low, high in _RANGES if low <= ends[0] and ends[1] <= high), "D")


def scaled_numbers(values: np.ndarray, scale: float, zero: float, kind: str) -> np.ndarray:
    """Return numbers of a file as float64 (`kind` ``D``), float32 (``E``), else int64.

    Scaling is done in double precision, as in the reference, or in integers where both constants are.
    """
    if kind in "DE":
        out = values.astype(np.float64)
        if (scale, zero) != (1.0, 0.0):
            out = out * scale + zero
        with np.errstate(over="ignore", invalid="ignore"):
            return out.astype(np.float32) if kind == "E" else out
    out = values.astype(np.int64)
    return out if (scale, zero) == (1.0, 0.0) else out * int(scale) + int(zero)

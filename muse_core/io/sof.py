# SPDX-License-Identifier: GPL-2.0-or-later
"""Set-of-frames files: one input file per line, with tag and group."""

import dataclasses
import os
import re
import stat
from collections.abc import Iterator

from muse_core.errors import MissingFileError
from muse_core.model.record import record

GROUPS = ("RAW", "CALIB", "PRODUCT")
#: Bytes beyond which a file is no set of frames.
_LONGEST = 16 << 20
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))", re.ASCII)


@record
class Frame:
    """One input file.

    Attributes
    ----------
    path : str
        As written, with environment variables replaced.
    tag : str
        What the file is, ``PIXTABLE_OBJECT`` for example; empty if not given.
    group : str
        RAW, CALIB, PRODUCT, or empty if not given.
    line : int
        Line number in the set-of-frames file; 0 if it does not come from one.
    """

    path: str
    tag: str = ""
    group: str = ""
    line: int = dataclasses.field(default=0, compare=False)


def parse_sof(text: str) -> Iterator[Frame]:
    """Yield the frames of the text of a set-of-frames file, as the tool of ESO reads it.

    A line is ``path [tag [group [...]]]``, separated by blanks and tabs. Blank lines and lines that start with ``#``
    are skipped; in a path that starts with ``$``, each ``$NAME`` and ``${NAME}`` is replaced from the environment (by
    nothing if it is not set); an unknown group is ignored, everything after the group as well. Order and duplicates
    are kept. Lines may end in CR LF.
    """
    for number, line in enumerate(text.split("\n"), start=1):
        words = re.split(r"[ \t]+", line.strip(" \t\r"))
        if not words[0] or words[0].startswith("#"):
            continue
        path, tag, group, *_ = *words, "", ""
        if path.startswith("$"):
            path = _VARIABLE.sub(lambda m: os.environ.get(m[1] or m[2], ""), path)
        yield Frame(path, tag, group if group in GROUPS else "", number)


def read_sof(path: str | os.PathLike[str]) -> list[Frame]:
    """Read a set-of-frames file; the frames themselves are not looked at.

    Raises
    ------
    MissingFileError
        If it cannot be read, or is no file (a pipe, a device), no text, or too long for a list of frames.
    """
    where = f"set-of-frames file {os.fspath(path)}"
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise MissingFileError(f"{where}: found a pipe or device, expected a file")
        if status.st_size > _LONGEST:
            raise MissingFileError(f"{where}: found {status.st_size} bytes, expected at most {_LONGEST}")
        with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            text = file.read()
    except MissingFileError:
        raise
    except OSError as error:
        raise MissingFileError(f"{where}: {error.strerror}") from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise MissingFileError(f"{where}: line {line}: found a character of code 0, expected text")
    return list(parse_sof(text))

# SPDX-License-Identifier: GPL-2.0-or-later
"""Run a command on a terminal, and see what its screen shows."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path

_PART = re.compile(rb"\x1b\[([0-9;]*)([A-Za-z])|([\r\n\b])|([^\x1b\r\n\b]+)")


class Screen:
    """A terminal of some columns and endless lines: as much of it as our programs use.

    Attributes
    ----------
    lines : list of str
        What it shows.
    unknown : set of bytes
        Commands of the terminal that it does not know.
    """

    def __init__(self, columns: int):
        self.columns, self.lines, self.unknown = columns, [""], set()
        self._row = self._column = 0

    def write(self, data: bytes) -> None:
        """Do what the data say."""
        for found in _PART.finditer(data):
            numbers, command, control, text = found.groups()
            if command == b"A":
                self._row = max(self._row - int(numbers or 1), 0)
            elif command == b"J" and not numbers:
                del self.lines[self._row + 1 :]
                self.lines[self._row] = self.lines[self._row][: self._column]
            elif command:
                self.unknown.add(found[0])
            elif control == b"\r":
                self._column = 0
            elif control == b"\n":
                self._down()
            elif text:
                for character in text.decode():
                    self._put(character)

    def _down(self) -> None:
        self._row += 1
        self.lines += [""] * (self._row + 1 - len(self.lines))

    def _put(self, character: str) -> None:
        if self._column == self.columns:
            self._column = 0
            self._down()
        line = self.lines[self._row].ljust(self._column)
        self.lines[self._row] = line[: self._column] + character + line[self._column + 1 :]
        self._column += 1


def run(
    command: Sequence[str], folder: Path, env: Mapping[str, str] | None = None, columns: int = 100
) -> tuple[int, Screen, list[list[str]]]:
    """Run a command on a terminal of its own.

    Returns
    -------
    status : int
        Exit status.
    screen : Screen
        The screen at the end.
    seen : list of list of str
        The last three lines, as they were from time to time.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "TERM": "xterm", "OMP_NUM_THREADS": "2", **(env or {})},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    screen, seen = Screen(columns), []
    while True:
        try:
            data = os.read(ours, 1 << 16)
        except OSError:  # all have closed it
            break
        if not data:
            break
        # each time the lines are complete
        for part in re.split(rb"(?<=\x1b\[A)", data):
            screen.write(part)
            seen.append(screen.lines[-3:])
    os.close(ours)
    return process.wait(600), screen, seen

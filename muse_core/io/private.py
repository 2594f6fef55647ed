# SPDX-License-Identifier: GPL-2.0-or-later
"""Folders of ours alone, used by descriptor: nobody else can put anything into them, or exchange them under our hands.

Neither a link in the place of the folder is followed nor one in it.
"""

import contextlib
import os
import stat
from pathlib import Path
from typing import BinaryIO, Self

from muse_core.io.folders import LOCK, lock_folder

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO would keep us waiting
_FOLDER_KIND, _FILE_KIND = "a folder", "a file"
_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class NotPrivateError(OSError):
    """A folder or file is not ours alone; the text says what was found, and what was expected."""


class PrivateFolder:
    """A folder of ours that others may not write, held by a descriptor until it is closed.

    Parameters
    ----------
    path : Path
        Its place, for messages.
    descriptor : int
        The open folder.

    Raises
    ------
    NotPrivateError
        It belongs to another user, or others may write there.
    """

    def __init__(self, path: Path, descriptor: int):
        self.path, self._fd = path, descriptor
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid():
            self.close()
            raise NotPrivateError(f"{path}: found a folder of another user, expected our own")
        if found.st_mode & _BY_OTHERS:
            self.close()
            raise NotPrivateError(
                f"{path}: found a folder that others may write (mode {stat.S_IMODE(found.st_mode):o}), expected one "
                "that only we may; remove it, for anybody may have put there what is in it"
            )

    @classmethod
    def open(cls, path: Path, parent: int | None = None) -> "PrivateFolder":
        """Open a folder that exists; `parent` is an open folder that has it.

        Raises
        ------
        OSError
            There is none, or it is not ours alone.
        """
        try:
            descriptor = os.open(path if parent is None else path.name, _FOLDER, dir_fd=parent)
        except OSError as error:
            raise _unexpected(error, path, parent, _FOLDER_KIND) from error
        return cls(path, descriptor)

    @classmethod
    def make(cls, path: Path, parent: int | None = None) -> "PrivateFolder":
        """Open a folder, which is made if there is nothing of its name."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(path if parent is None else path.name, 0o700, dir_fd=parent)
        return cls.open(path, parent)

    def subfolder(self, name: str) -> "PrivateFolder":
        """Open a folder in this one, which is made if there is nothing of its name."""
        return self.make(self.path / name, self._fd)

    def lock(self) -> BinaryIO:
        """Hold the folder; see `lock_folder`."""
        return lock_folder(dir_fd=self._fd)

    def open_file(self, name: str, flags: int) -> int:
        """Open a file of ours in this folder and return its descriptor; a new one is readable for us alone.

        Raises
        ------
        OSError
            There is none, or what is there is not an ordinary file of ours.
        """
        try:
            descriptor = os.open(name, flags | _FILE, 0o600, dir_fd=self._fd)
        except OSError as error:
            raise _unexpected(error, self.path / name, self._fd, _FILE_KIND) from error
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink > 1:
            os.close(descriptor)
            raise NotPrivateError(
                f"{self.path / name}: found a device, a FIFO, a file of another user or one that has another name too, "
                "expected a file of our own"
            )
        return descriptor

    def names(self) -> list[str]:
        """Return the names of all that is in the folder."""
        return os.listdir(self._fd)

    def remove(self, name: str) -> None:
        """Remove a file or a link, if there is one."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._fd)

    def rename(self, name: str, target: str) -> None:
        """Give a file in the folder another name."""
        os.replace(name, target, src_dir_fd=self._fd, dst_dir_fd=self._fd)

    def clear(self) -> None:
        """Remove all that is in this very folder, wherever its path may lead by now, the lock last.

        What cannot be removed stays.
        """
        for _, folders, files, descriptor in os.fwalk(dir_fd=self._fd, topdown=False):
            for name in (*files, *folders):
                if name == LOCK and os.path.sameopenfile(descriptor, self._fd):
                    continue
                with contextlib.suppress(OSError):
                    if stat.S_ISDIR(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
                        os.rmdir(name, dir_fd=descriptor)
                    else:
                        os.unlink(name, dir_fd=descriptor)
        if self.names() == [LOCK]:
            with contextlib.suppress(OSError):
                self.remove(LOCK)

    def is_of_a_run(self) -> bool:
        """Has a run locked this folder before anything came into it?

        Others who may write in the folder above can give the name of one of ours to any private folder of the user.
        """
        names = self.names()
        return not names or LOCK in names

    def disk_bytes(self) -> int:
        """Return the disk space of all files in the folder and those below."""
        total = 0
        for _, _, files, descriptor in os.fwalk(dir_fd=self._fd):
            for name in files:
                with contextlib.suppress(OSError):
                    total += 512 * os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_blocks
        return total

    def close(self) -> None:
        """Let the folder go."""
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, value: object, traceback: object) -> None:
        self.close()


def _unexpected(error: OSError, path: Path, parent: int | None, expected: str) -> OSError:
    """Return the error to raise: another one if it came because of something else being in the place."""
    try:
        mode = os.stat(path if parent is None else path.name, dir_fd=parent, follow_symlinks=False).st_mode
    except OSError:
        return error
    kinds = ((stat.S_ISLNK, "a link"), (stat.S_ISDIR, _FOLDER_KIND), (stat.S_ISREG, _FILE_KIND))
    found = next((text for test, text in kinds if test(mode)), "a device, a FIFO or a socket")
    return error if found == expected else NotPrivateError(f"{path}: found {found}, expected {expected} of our own")

# SPDX-License-Identifier: GPL-2.0-or-later
"""Folders that belong to one running process.

A process holds a folder by a lock. The system takes it back however the process ends, so that the next one sees which
folders are abandoned.
"""

import fcntl
import os
from pathlib import Path
from typing import BinaryIO

from muse_core.errors import ResourceError

LOCK = ".lock"


def working_folder() -> Path:
    """Return the current folder.

    Raises
    ------
    ResourceError
        It was removed.
    """
    try:
        return Path.cwd()
    except OSError as error:
        raise ResourceError(
            f"current folder: found none ({error.strerror}), expected that in which the program was started; was it "
            "removed? Change to another one"
        ) from error


def lock_folder(folder: Path | None = None, dir_fd: int | None = None) -> BinaryIO:
    """Hold a folder, by its path or its descriptor, until the file that is returned is closed; no link is followed.

    Raises
    ------
    BlockingIOError
        Another process holds it.
    FileNotFoundError
        It does not exist, or was removed just now.
    """
    path = LOCK if folder is None else folder / LOCK
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    file = open(os.open(path, flags, 0o600, dir_fd=dir_fd), "ab", buffering=0)  # noqa: SIM115 (closed by the caller)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(file.fileno()), os.stat(path, dir_fd=dir_fd, follow_symlinks=False)):
            raise FileNotFoundError(f"{path} was replaced")
    except OSError:
        file.close()
        raise
    return file


def lock_directory(directory: Path) -> int:
    """Hold a folder of the user, without a trace in it, until the descriptor that is returned is closed.

    File systems without such locks (NFS has none on folders) take it for held by us.

    Raises
    ------
    BlockingIOError
        Another process holds it.
    OSError
        It cannot be opened.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:
        pass  # no locks here
    return descriptor

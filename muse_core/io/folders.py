# SPDX-License-Identifier: GPL-2.0-or-later
"""Folders that belong to one running process, and those that a killed one has left.

A process holds a folder by a lock on a file in it. The system takes the lock back however the process ends, so that
the next one sees which folders are abandoned.
"""

import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from muse_core.io.litter import cleaned_up_by

_LOG = logging.getLogger(__name__)
_LOCK = ".lock"


def lock_folder(folder: Path | None = None, dir_fd: int | None = None) -> BinaryIO:
    """Hold a folder, by its path or its descriptor, until the file that is returned is closed; no link is followed.

    Raises
    ------
    BlockingIOError
        Another process holds it.
    FileNotFoundError
        It does not exist, or was removed just now.
    """
    path = _LOCK if folder is None else folder / _LOCK
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    file = open(os.open(path, flags, 0o600, dir_fd=dir_fd), "ab")  # noqa: SIM115 (closed by the caller)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(file.fileno()), os.stat(path, dir_fd=dir_fd, follow_symlinks=False)):
            raise FileNotFoundError(f"{path} was replaced")
    except OSError:
        file.close()
        raise
    return file


@contextlib.contextmanager
def hidden_folder(directory: Path, prefix: str) -> Iterator[Path]:
    """Make a folder in `directory` for the block; remove those that killed processes left there.

    Raises
    ------
    OSError
        `directory` is not writable.
    """
    _remove_abandoned(directory, prefix)
    folder, lock = _make_locked(directory, prefix)
    try:
        with cleaned_up_by(lambda: shutil.rmtree(folder, ignore_errors=True)):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            lock.close()


def _make_locked(directory: Path, prefix: str) -> tuple[Path, BinaryIO | None]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=directory))
        try:
            return folder, lock_folder(folder)
        except (BlockingIOError, FileNotFoundError):
            continue  # another process that starts took it for abandoned, before it was locked
        except OSError:
            return folder, None  # a file system without locks, where nobody can take it for abandoned


def _remove_abandoned(directory: Path, prefix: str) -> None:
    for folder in directory.glob(f"{prefix}*/"):
        try:
            with lock_folder(folder):
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue  # in use, or of another user
        _LOG.info("Removed %s, which a run that was killed had left", folder)

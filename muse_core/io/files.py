# SPDX-License-Identifier: GPL-2.0-or-later
"""Files written as a whole or not at all: every byte, on the disk, under a name that was free.

The system may write less than it is given, and find out later that the disk is full or broken. All writing goes
through `write_all`, and what is written counts only after `sync`.
"""

import contextlib
import ctypes
import errno
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

#: Bytes of a file that are copied at once.
_PIECE = 1 << 20
_SYNC_FILE_RANGE_WRITE = 2


def describe_os_error(error: OSError, path: Path, needed: int | None = None) -> str:
    """Say in one line what went wrong with a file, which needs so many bytes if that is known."""
    wanted = "" if needed is None else f", {needed / 1e6:.1f} MB needed"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = ""
        with contextlib.suppress(OSError):
            stat = os.statvfs(path.parent)
            free = f"{stat.f_bavail * stat.f_frsize / 1e6:.1f} MB free"
        what = "quota exceeded" if error.errno == errno.EDQUOT else "no space left on the device"
        return f"{path}: {what} ({free}{wanted})"
    if error.errno == errno.EFBIG:
        return f"{path}: larger than files may be on this file system or in this process{wanted}"
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return f"{path}: folder is not writable ({error.strerror})"
    return f"{path}: {error.strerror or error}"


def write_all(descriptor: int, data: "Buffer", position: int | None = None) -> None:
    """Write all of some bytes, from a position of the file on or from where it stands.

    Raises
    ------
    OSError
        Some of them could not be written.
    """
    view = memoryview(data).cast("B")
    while view:
        if position is None:
            done = os.write(descriptor, view)
        else:
            done = os.pwrite(descriptor, view, position)
            position += done
        if not done:
            raise OSError(errno.EIO, "nothing more can be written")
        view = view[done:]


def read_all(descriptor: int, out: "Buffer", position: int) -> None:
    """Fill a buffer with the bytes of a file from a position on.

    Raises
    ------
    OSError
        The file cannot be read, or ends too early.
    """
    view = memoryview(out).cast("B")
    while view:
        done = os.preadv(descriptor, [view], position)
        if not done:
            raise OSError(errno.EIO, f"file ends at byte {position}")
        view, position = view[done:], position + done


def create(path: str | os.PathLike[str], mode: int = 0o666) -> int:
    """Make a file that is not there, not even as a link, and return its descriptor, for reading and writing."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)


def create_beside(path: Path) -> tuple[int, Path]:
    """Make a file that is going to be `path`, under a name that nobody can guess; return descriptor and name."""
    while True:
        partial = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}.part")
        with contextlib.suppress(FileExistsError):
            return create(partial), partial


def sync(path: str | os.PathLike[str]) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def begin_sync(descriptor: int, position: int, n_bytes: int) -> None:
    """Have Linux bring bytes of a file to the disk from now on, so that `os.fsync` finds them there; nobody waits."""
    with contextlib.suppress(AttributeError, OSError):
        c_library = ctypes.CDLL(None)
        c_library.sync_file_range(descriptor, ctypes.c_int64(position), ctypes.c_int64(n_bytes), _SYNC_FILE_RANGE_WRITE)


def close_quietly(descriptor: int) -> None:
    """Close a file into which nothing was written that matters: what the system complains of then is no loss."""
    with contextlib.suppress(OSError):
        os.close(descriptor)


def copy(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Copy content and permissions of a file into a new one."""
    with open(source, "rb", buffering=0) as file:
        descriptor = create(target)
        try:
            while piece := file.read(_PIECE):
                write_all(descriptor, piece)
            os.fchmod(descriptor, os.fstat(file.fileno()).st_mode & 0o777)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

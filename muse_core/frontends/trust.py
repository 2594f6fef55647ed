# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether others may have written a file: code and settings of such places are not ours to run."""

import grp
import os
import pwd
import stat
from pathlib import Path


def distrust(path: str | os.PathLike, *, alone: bool = False) -> str:
    """Return why a file or folder cannot be trusted, empty if it can.

    It can if it, and all folders above it, belong to us or to root, and nobody else may write there; a group may that
    has no other member. In a folder such as ``/tmp``, in which users cannot replace what is of others, it can too.

    Parameters
    ----------
    path : path
        File or folder, which exists; links are followed.
    alone : bool
        Do not look at the folders above.
    """
    place = Path(os.path.realpath(path))
    for above in (place,) if alone else (place, *place.parents):
        found = os.stat(above)
        if found.st_uid not in (0, os.geteuid()):
            return f"{above} belongs to another user ({found.st_uid})"
        by_others = found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and not _is_ours_alone(found.st_gid))
        if by_others and not (above != place and found.st_mode & stat.S_ISVTX):
            return f"others may write to {above} (mode {stat.S_IMODE(found.st_mode):o})"
    return ""


def _is_ours_alone(group: int) -> bool:
    """Is this a group that a system gives to each user, whose umask then lets it write?"""
    try:
        user, found = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
    except KeyError:
        return False
    return user.pw_gid == group and user.pw_name == found.gr_name and set(found.gr_mem) <= {user.pw_name}

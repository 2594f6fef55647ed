# SPDX-License-Identifier: GPL-2.0-or-later
"""What a process has to clean up even if it ends without leaving its blocks, since a kernel holds the main thread."""

import contextlib
from collections.abc import Callable, Iterator

_cleaners: list[Callable[[], object]] = []


@contextlib.contextmanager
def cleaned_up_by(cleaner: Callable[[], object]) -> Iterator[None]:
    """During the block, `clean_up` calls `cleaner`, in another thread than the one that runs the block."""
    _cleaners.append(cleaner)
    try:
        yield
    finally:
        _cleaners.remove(cleaner)


def clean_up() -> None:
    """Clean up what is there: the process ends right afterwards."""
    for cleaner in reversed(_cleaners):
        with contextlib.suppress(Exception):
            cleaner()

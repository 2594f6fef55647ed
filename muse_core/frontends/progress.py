# SPDX-License-Identifier: GPL-2.0-or-later
"""Bars with the time left, on a terminal only."""

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def bars() -> Iterator[None]:
    """Show the progress of the block on stderr if that is a terminal; else do nothing, and import nothing."""
    if not sys.stderr.isatty():
        yield
        return
    from tqdm import tqdm

    from muse_core.engine.progress import reporting

    shown: dict[str, tqdm] = {}

    def show(step: str, done: int, total: int) -> None:
        if done == 0:
            shown[step] = tqdm(total=total, desc=step, unit_scale=True, leave=False, dynamic_ncols=True)
        bar = shown[step]
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    try:
        with reporting(show):
            yield
    finally:
        for bar in shown.values():
            bar.close()

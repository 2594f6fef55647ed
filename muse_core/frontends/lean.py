# SPDX-License-Identifier: GPL-2.0-or-later
"""What a process that only runs a recipe need not do: it is started for each run, and ends with it."""

import contextlib
import gc
import os
from collections.abc import Iterator


@contextlib.contextmanager
def lean_process() -> Iterator[None]:
    """Save work in a process that ends with the block; numpy must not have been imported before."""
    gc.set_threshold(10_000)  # what is imported and read at the start is many objects, and no garbage
    # numpy's linear algebra is for small matrices here: threads of its own would wait for work, and cost time by that
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    yield
    gc.freeze()  # no need to look through all that has been imported for what might be garbage

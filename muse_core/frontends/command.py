# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the command muse-esorex starts: Ctrl-C ends it silently even while the rest is being imported."""

import gc
import os
import signal


def main() -> int:
    """Run the command; see `muse_core.frontends.esorex.main`."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.set_threshold(10_000)  # what is imported and read at the start is many objects, and no garbage
    # numpy's linear algebra is for small matrices here: threads of its own would wait for work, and cost time by that
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from muse_core.frontends.esorex.main import main

    status = main()
    gc.freeze()  # the process ends: no need to look through all that has been imported for what might be garbage
    return status

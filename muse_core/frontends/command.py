# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the command muse-esorex starts: Ctrl-C ends it silently even while the rest is being imported."""

import signal


def main() -> int:
    """Run the command; see `muse_core.frontends.esorex.main`."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from muse_core.frontends.lean import lean_process

    with lean_process():
        from muse_core.frontends.esorex.main import main

        return main()

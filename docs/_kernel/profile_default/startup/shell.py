# SPDX-License-Identifier: GPL-2.0-or-later
"""Cells of commands in the notebooks of the manual: what they print is shown in one piece, in order."""

import subprocess

from IPython.core.magic import register_cell_magic


@register_cell_magic
def sh(line: str, cell: str) -> None:
    """Run commands until one fails, which ends the notebook."""
    done = subprocess.run(["sh", "-ec", cell], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    print(done.stdout.strip("\n"))
    if done.returncode:
        raise RuntimeError(f"exit status {done.returncode}")

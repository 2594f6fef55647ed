# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the command again and again, each time in a child that has everything loaded, with one system call that fails.

Usage: ``python driver.py shim folder argument...``, with the shim preloaded. Reads lines ``kinds call event`` from
standard input, and answers each with the status of the run, the number of calls that it made, and what it said, as
JSON. `folder` is that of which the calls count; the command runs in ``folder/work``.
"""

import ctypes
import json
import os
import sys

import astropy.table  # noqa: F401 (loaded for the children)
import scipy.optimize  # noqa: F401

from muse_core.frontends.esorex import main
from muse_core.recipe import run  # noqa: F401
from muse_core.recipes import muse_scipost  # noqa: F401


def child(shim, folder, arguments, kinds, call, event, calls, output):
    for number in (1, 2):
        os.dup2(output, number)
    sys.stdout.reconfigure(line_buffering=True)
    os.chdir(f"{folder}/work")
    shim.fault_arm(os.fsencode(folder), kinds, ctypes.c_long(call), event)
    status = 99
    try:
        status = main.main(arguments, "muse-esorex")
    finally:
        number = shim.fault_calls()
        shim.fault_arm(b"", 0, ctypes.c_long(-1), 0)
        os.write(calls, str(number).encode())
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def answer(shim, folder, arguments, kinds, call, event):
    """Run the command in a child; return status, number of calls, output."""
    reader, writer = os.pipe()
    output = os.memfd_create("output")
    pid = os.fork()
    if not pid:
        child(shim, folder, arguments, kinds, call, event, writer, output)
    os.close(writer)
    _, status = os.waitpid(pid, 0)
    with open(reader, "rb") as pipe, open(output, "rb") as said:
        said.seek(0)
        return os.waitstatus_to_exitcode(status), int(pipe.read() or 0), said.read().decode(errors="replace")


if __name__ == "__main__":
    shim = ctypes.CDLL(sys.argv[1])
    shim.fault_calls.restype = ctypes.c_long
    for line in sys.stdin:
        print(json.dumps(answer(shim, sys.argv[2], sys.argv[3:], *map(int, line.split()))), flush=True)

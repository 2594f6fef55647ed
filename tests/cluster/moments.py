# SPDX-License-Identifier: GPL-2.0-or-later
"""Preloaded by the workers of tests: something happens to a worker at a certain moment of its work, once.

A moment is a call of a function that the work consists of, counted from the begin of a task; it does not depend on the
speed of the machine. ``MUSE_TEST_MOMENTS`` names a folder; ``<what>-<phase>-<number>`` is a file in it for each moment
that is to come: who comes there first removes it, and does what it says. Numbers of calls of each task go into the
file ``counts`` there.

what: kill, stop (SIGSTOP), hang, full (no space on the disk from there on), scheduler (kill the process that the file
``scheduler.pid`` names, then hang).
"""

import errno
import os
import signal
import time
from pathlib import Path

from muse_core.engine import journal, scratch, store
from muse_core.engine.cluster import worker
from muse_core.io import fitswriter, private
from muse_core.steps.resample import SlabResampler

FOLDER = Path(os.environ["MUSE_TEST_MOMENTS"])
HAPPENED = "happened"
_state = {"phase": "", "number": 0, "full": False}


def _come(*_) -> None:
    """Count a moment, and do what is to happen then."""
    if _state["full"]:
        raise OSError(errno.ENOSPC, "no space left on the device")
    if not _state["phase"]:
        return
    _state["number"] += 1
    moment = f"{_state['phase']}-{_state['number']}"
    for what in ("kill", "stop", "hang", "full", "scheduler"):
        try:
            os.rename(FOLDER / f"{what}-{moment}", FOLDER / f"{HAPPENED}-{what}-{moment}-{os.getpid()}")
        except FileNotFoundError:
            continue
        if what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        if what == "scheduler":
            os.kill(int((FOLDER / "scheduler.pid").read_text()), signal.SIGKILL)
        if what == "full":
            _state["full"] = True
            raise OSError(errno.ENOSPC, "no space left on the device")
        while what in ("hang", "scheduler"):
            time.sleep(1)


def _before(owner, name: str) -> None:
    function = getattr(owner, name)

    def counted(*arguments, **keywords):
        _come()
        return function(*arguments, **keywords)

    setattr(owner, name, counted)


class _Os:
    """The module os, in which renaming counts."""

    def __getattr__(self, name: str):
        return getattr(os, name)

    def replace(self, *arguments, **keywords) -> None:
        _come()
        os.replace(*arguments, **keywords)


def dask_setup(_worker) -> None:
    """Count what writes, reads and computes."""
    for module in (scratch, fitswriter):
        _before(module, "write_all")
    _before(scratch.files_kernels, "read_pieces")
    _before(store.RowStore, "write")
    _before(store.RowStore, "read")
    _before(SlabResampler, "slab")
    _before(journal.Journal, "_record")
    private.os = _Os()
    unpack = worker.Parcel.unpack

    def unpacked(self, journal):
        task = unpack(self, journal)
        _state.update(phase=task.name.split("-")[0], number=0, full=False)
        return task

    worker.Parcel.unpack = unpacked
    settle = scratch.KeptRowStore.settle

    def settled(self) -> None:
        settle(self)
        with open(FOLDER / "counts", "a") as file:
            file.write(f"{_state['phase']} {_state['number']}\n")
        _state["phase"] = ""

    scratch.KeptRowStore.settle = settled

# SPDX-License-Identifier: GPL-2.0-or-later
"""The command in a process of its own that need not import anything: for tests that kill it, or limit what it has."""

import multiprocessing
import os
import resource
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from unittest import mock

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["muse_core.frontends.esorex.main", "muse_core.recipe.run", "muse_core.stages.plan", "astropy.table"]
)
OUTPUT = "output.log"


def start(
    folder: Path,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    planes: int | None = None,
    records: int | None = None,
    largest_file: int | None = None,
    in_memory: int | None = None,
    free: int | None = None,
) -> multiprocessing.Process:
    """Start muse-esorex in `folder`; what it says goes to a file `OUTPUT` there.

    Parameters
    ----------
    folder : Path
        Where it runs; made.
    arguments : sequence of str
        Command line without the name of the program.
    environment : mapping of str to str
        Settings; of all others that start with MUSE_ there are none.
    planes : int, optional
        Planes of a slab.
    records : int, optional
        Let it kill itself when it has this many records in the journal and is about to name the next one.
    largest_file : int, optional
        No file can become larger than so many bytes: a full disk for those who cannot mount one.
    in_memory : int, optional
        Bytes of rows beyond which there is a scratch file.
    free : int, optional
        Let it find so many bytes free on the disk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    process = _CONTEXT.Process(
        target=_run, args=(folder, list(arguments), dict(environment), planes, records, largest_file, in_memory, free)
    )
    # the first of them starts the server, which has to import the installed package, not that of the folder it is in
    with mock.patch.dict(os.environ, PYTHONSAFEPATH="1"):
        process.start()
    return process


def _run(folder, arguments, environment, planes, records, largest_file, in_memory, free):
    from muse_core.engine import resources, slabplan
    from muse_core.frontends.esorex import main
    from muse_core.io import private

    for name in [name for name in os.environ if name.startswith("MUSE_")]:
        del os.environ[name]
    os.environ.update(environment)
    os.chdir(folder)
    output = os.open(OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout.reconfigure(line_buffering=True)
    if planes is not None:
        slabplan.slab_size = lambda *arguments: slabplan.SlabSize(planes)
    if records is not None:
        private.os = _DeadlyOs(records)
    if in_memory is not None:
        resources.IN_MEMORY_BYTES = in_memory
    if free is not None:
        usage = shutil.disk_usage(folder)
        shutil.disk_usage = lambda path: usage._replace(free=free)
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    sys.exit(main.main(arguments, "muse-esorex"))


class _DeadlyOs:
    """The module os, of which a call of replace, after some, is the last thing that happens."""

    def __init__(self, allowed: int):
        self._allowed = allowed

    def __getattr__(self, name: str):
        return getattr(os, name)

    def replace(self, *arguments, **keywords) -> None:
        if self._allowed == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._allowed -= 1
        os.replace(*arguments, **keywords)

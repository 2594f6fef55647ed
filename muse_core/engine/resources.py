# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run may use: memory, scratch folder, threads."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from muse_core.engine.cluster import CLUSTER_VARIABLE
from muse_core.engine.scratch import KeptRowStore, ScratchRowStore
from muse_core.engine.store import RowStore
from muse_core.engine.threads import thread_count
from muse_core.errors import ParameterError, ResourceError
from muse_core.model.record import record
from muse_core.model.rows import ROW

MEMORY_VARIABLE = "MUSE_MAX_MEMORY"
SCRATCH_VARIABLE = "MUSE_SCRATCH"
RESUME_VARIABLE = "MUSE_RESUME"
#: Settings that change no product.
ENVIRONMENT = (MEMORY_VARIABLE, SCRATCH_VARIABLE, RESUME_VARIABLE, CLUSTER_VARIABLE)
#: Part of the memory that is available which a run takes for itself when it is not told.
DEFAULT_SHARE = 0.6
#: Resident size of the interpreter with its libraries.
BASE_BYTES = 130 << 20
#: Rows stay in memory up to this size; beyond, a scratch file in the page cache is as fast (docs/performance.md) ...
IN_MEMORY_BYTES = 16 << 20
#: ... up to this part of the memory that is available, at which the system begins to write it to the disk.
PAGE_CACHE_SHARE = 0.1
#: Memory that a slab with its rows aims at, or this part of that of all rows where these are in memory; more gains
#: nothing but where that is only a few planes.
SLAB_BYTES, SLAB_SHARE = 400 << 20, 0.1
#: Part of the working memory that rows may take, and what they have to leave for chunks, slabs and images.
ROWS_SHARE, BESIDE_ROWS_BYTES = 0.8, 1 << 30
_SIZE = re.compile(r"^\s*(\d+(?:\.\d*)?)\s*([KMGT]?)(?:i?B)?\s*$", re.IGNORECASE)
_CGROUP_MEMORY = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def parse_size(text: str, name: str) -> int:
    """Return a number of bytes from a text such as ``4G`` or ``500 MiB`` (powers of 1024).

    Raises
    ------
    ParameterError
        If the text is no size; the message names `name`.
    """
    match = _SIZE.match(text)
    if not match or float(match[1]) == 0:
        raise ParameterError(f"{name}: found {text!r}, expected a size such as 4G or 500M")
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " "))


def available_memory() -> int:
    """Return the bytes of memory that are available on this machine, or to our control group."""
    available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                available = int(line.split()[1]) * 1024
    except OSError:
        pass  # not Linux: physical memory has to do
    for file in _CGROUP_MEMORY:
        try:
            text = file.read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            available = min(available, int(text))
    return available


def _folder(environ: Mapping[str, str], name: str) -> Path | None:
    """Return the folder that a variable names, if it is set."""
    path = Path(environ[name]) if environ.get(name) else None
    if path is not None and not path.is_dir():
        raise ParameterError(f"{name}: {path}: found no folder of this name")
    return path


@record
class SlabMemory:
    """Memory, in bytes, for a slab of planes of a cube and the rows that are read for it.

    Attributes
    ----------
    most : int
        What it may take.
    wanted : int
        What it aims at.
    """

    most: int
    wanted: int = SLAB_BYTES


@record(kw_only=True)
class Resources:
    """Limits of a run; they may not change its results.

    Attributes
    ----------
    memory_bytes : int
        Peak resident memory that the run may reach.
    scratch : Path
        Folder of the scratch file.
    n_threads : int
        Threads.
    resume : Path, optional
        Folder where runs keep what they have done, so that they can go on after they were killed.
    """

    memory_bytes: int
    scratch: Path
    n_threads: int
    resume: Path | None = None

    @classmethod
    def from_environment(cls, directory: Path, environ: Mapping[str, str] | None = None) -> "Resources":
        """Read MUSE_MAX_MEMORY, MUSE_SCRATCH (default: `directory`), MUSE_RESUME and OMP_NUM_THREADS."""
        environ = os.environ if environ is None else environ
        text = environ.get(MEMORY_VARIABLE, "")
        memory = parse_size(text, MEMORY_VARIABLE) if text else int(DEFAULT_SHARE * available_memory())
        scratch, resume = (_folder(environ, name) for name in (SCRATCH_VARIABLE, RESUME_VARIABLE))
        return cls(memory_bytes=memory, scratch=scratch or directory, n_threads=thread_count(), resume=resume)

    @property
    def working_bytes(self) -> int:
        """Memory for rows and grids, without the interpreter.

        Raises
        ------
        ResourceError
            If the limit leaves nothing.
        """
        left = self.memory_bytes - BASE_BYTES
        if left < 64 << 20:
            raise ResourceError(
                f"{MEMORY_VARIABLE}: {self.memory_bytes / 2**20:.0f} MiB are too little: the interpreter alone takes "
                f"{BASE_BYTES / 2**20:.0f} MiB, expected at least {(BASE_BYTES + (64 << 20)) / 2**20:.0f} MiB"
            )
        return left

    def slab_memory(self, row_bytes: int = 0, index_bytes: int = 0) -> SlabMemory:
        """Memory for a slab where all rows take `row_bytes` of it (0 in a file), and what tells where they are."""
        most = min(3 * self.working_bytes // 4, self.working_bytes - row_bytes - index_bytes)
        return SlabMemory(most, max(SLAB_BYTES, int(SLAB_SHARE * row_bytes)))

    def keeps_in_memory(self, lengths: Sequence[int], *, draft: bool = False) -> bool:
        """Do the rows of exposures with these numbers of rows stay in memory?

        They do if they are few, or those of a single exposure if they are too many for the page cache: memory does not
        grow with the number of exposures. A `draft` of one, which is written somewhere else in the end, does if there
        is room: it would be written twice.
        """
        size = sum(lengths) * ROW.itemsize
        most = self.working_bytes // 4
        if size <= (most if draft else min(IN_MEMORY_BYTES, most)):
            return True
        room = min(ROWS_SHARE * self.working_bytes, self.working_bytes - BESIDE_ROWS_BYTES)
        return len(lengths) == 1 and PAGE_CACHE_SHARE * available_memory() < size <= room

    def make_store(self, lengths: Sequence[int], first: int = 0, final: KeptRowStore | None = None) -> RowStore:
        """Return a store for the rows of exposures with these numbers of rows; the others as for `RowStore`."""
        n_rows = sum(lengths)
        if self.keeps_in_memory(lengths, draft=final is not None):
            return RowStore(n_rows, first, final)
        return ScratchRowStore(n_rows, self.scratch, first, final)

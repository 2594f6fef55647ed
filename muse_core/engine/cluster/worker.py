# SPDX-License-Identifier: GPL-2.0-or-later
"""What runs in the workers of a cluster: looking at what they have, and doing tasks."""

import contextlib
import dataclasses
import logging
import os
import platform
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dask
import distributed
import numpy as np
from distributed.protocol import pickle

import muse_core
from muse_core.engine.allocator import keep_memory, share_memory
from muse_core.engine.executor import Site, Task
from muse_core.engine.journal import Journal
from muse_core.engine.progress import resident_memory
from muse_core.engine.resources import (
    BASE_BYTES,
    DEFAULT_SHARE,
    MEMORY_VARIABLE,
    Resources,
    available_memory,
    parse_size,
)
from muse_core.engine.scratch import KeptRowStore
from muse_core.engine.threads import stoppable
from muse_core.errors import MuseError, Stopped
from muse_core.model.record import record
from muse_core.model.rows import ROW

Message = tuple[str, int, str, dict[str, object]]
#: Dask gives a worker no new task beyond this part of its limit.
_PAUSE = "distributed.worker.memory.pause"
#: One task at a time: each may use the memory and the threads of the worker.
_turn = threading.Lock()
#: What the tasks of the last step have in common, by its name.
_common: dict[str, bytes] = {}
_MOUNTS = Path("/proc/self/mountinfo")
_IN_MEMORY = {"tmpfs", "ramfs"}


def versions() -> dict[str, str]:
    """Return the versions on which the bits of products may depend."""
    return {
        "muse-scipost": muse_core.__version__,
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "numpy": np.__version__,
    }


@record
class Facts:
    """What a worker says of itself.

    Attributes
    ----------
    host : str
        Name of its machine.
    n_threads : int
        Threads of a task.
    memory_bytes : int
        Memory that a task may take with all that is there already.
    versions : dict of str to str
        See `versions`.
    problems : list of str
        Folders and files that it does not see as it should.
    """

    host: str
    n_threads: int
    memory_bytes: int
    versions: dict[str, str]
    problems: list[str]


@record
class Question:
    """What a worker is asked.

    Attributes
    ----------
    tokens : mapping of Path to str
        Files in the folders that all share, and what they say.
    inputs : sequence of (str, int)
        Files and their sizes.
    """

    tokens: Mapping[Path, str] = dataclasses.field(default_factory=dict)
    inputs: Sequence[tuple[str, int]] = ()


@record
class Order:
    """What a worker has to know to do a task of a run.

    Attributes
    ----------
    folder : Path
        The journal of the run.
    n_rows : int
        Rows in its store.
    draft_rows : int
        Rows of which the task makes a draft.
    log_level : int
        Lowest level of messages that anybody wants to have.
    """

    folder: Path
    n_rows: int
    draft_rows: int
    log_level: int


@record
class Report:
    """How a task went.

    Attributes
    ----------
    messages : list of (str, int, str, dict)
        Logger, level and text of each, and the numbers that it tells (`muse_core.model.facts`).
    failure : MuseError, optional
        Why it could not be done.
    lacked_memory : bool
        The reason is that memory was not to be had.
    """

    messages: list[Message]
    failure: MuseError | None = None
    lacked_memory: bool = False


def look(question: Question) -> Facts:
    """Answer a question; runs in a worker."""
    worker = distributed.get_worker()
    problems = []
    for path, text in question.tokens.items():
        try:
            found = path.read_text()
            answer = path.with_name(f"{path.name}-{worker.id}")
            answer.write_text(text)
            answer.unlink()
            if found != text:
                problems.append(f"{path.parent}: found another folder of this name, expected that of the run")
        except OSError as error:
            problems.append(f"folder {path.parent}: cannot be used there ({error.strerror})")
    for name, size in question.inputs:
        try:
            there = os.stat(name).st_size
            if there != size:
                problems.append(f"{name}: found {there} bytes there, expected {size}")
        except OSError as error:
            problems.append(f"folder {os.path.dirname(name)}: {os.path.basename(name)}: {error.strerror} there")
    return Facts(platform.node(), worker.state.nthreads, _memory(worker), versions(), problems)


def _memory(worker: Any) -> int:
    """Return the memory of a task: what MUSE_MAX_MEMORY says there, or what Dask allows without holding it."""
    text = os.environ.get(MEMORY_VARIABLE, "")
    limits = [parse_size(text, MEMORY_VARIABLE)] if text else []
    allowed = worker.memory_manager.memory_limit
    if allowed:
        limits.append(int((dask.config.get(_PAUSE) or 1) * allowed))
    return min(limits) if limits else int(DEFAULT_SHARE * available_memory())


def _resources(worker: Any, memory_bytes: int, folder: Path, n_rows: int) -> Resources:
    """Return what a task may use; its draft of so many rows lies on the worker's own disk, if there is room."""
    used = max((resident_memory() or 0) - BASE_BYTES, 0)  # for other things than what is counted for a run
    own = Path(worker.local_directory)
    usable = os.path.isdir(own) and not _is_in_memory(own)
    usable = usable and shutil.disk_usage(own).free > 2 * n_rows * ROW.itemsize
    return Resources(
        memory_bytes=memory_bytes - used, scratch=own if usable else folder, n_threads=worker.state.nthreads
    )


def _is_in_memory(folder: Path) -> bool:
    """Do files in a folder take memory?"""
    device = os.stat(folder).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = _MOUNTS.read_text().splitlines()
    except OSError:
        return False
    return any(line.split()[2] == number and line.split(" - ")[1].split()[0] in _IN_MEMORY for line in lines)


@record
class Parcel:
    """Under which names the journal has a task: the scheduler, through which it does not travel, would keep some of it.

    Attributes
    ----------
    task : str
        The task itself.
    common : str
        What it shares with others; empty if nothing.
    """

    task: str
    common: str = ""

    def unpack(self, journal: Journal) -> Task[Any]:
        """Return the task."""
        task: Task[Any] = pickle.loads(journal.get(self.task))
        if not self.common:
            return task
        if self.common not in _common:
            _common.clear()  # of another run
            _common[self.common] = journal.get(self.common)
        return task.joined(pickle.loads(_common[self.common]))


class Packer:
    """Packs the tasks of a step."""

    def __init__(self, journal: Journal):
        self._journal = journal
        self._last: tuple[object, str] = (None, "")

    def pack(self, task: Task[Any]) -> Parcel:
        """Pack a task; what is common goes into the journal, if it is another than that of the last task."""
        bare, common = task.split()
        if common is not self._last[0]:
            self._last = common, self._journal.put(pickle.dumps(common))
        return Parcel(self._journal.put(pickle.dumps(bare)), self._last[1])


def perform(parcel: Parcel, order: Order) -> Report:
    """Do a task; runs in a worker. An error that a user can understand is returned, any other one raised."""
    keep_memory()
    share_memory()
    worker = distributed.get_worker()
    is_called_off = _is_called_off(worker)
    with _one_at_a_time(is_called_off), stoppable(is_called_off), _captured(order.log_level) as messages:
        try:
            resources = _resources(worker, _memory(worker), order.folder, order.draft_rows)
            with (
                Journal.of_another(order.folder) as journal,
                journal.make_store([order.n_rows], resources) as store,
            ):
                parcel.unpack(journal).make(Site(journal, store, resources))
                assert isinstance(store, KeptRowStore)
                store.settle()
        except MuseError as error:
            return Report(messages, error, isinstance(error.__cause__, MemoryError))
    return Report(messages)


def _is_called_off(worker: Any) -> Callable[[], bool]:
    """Return what says whether nobody waits for the task of this thread any more."""
    key = worker.get_current_task()

    def is_called_off() -> bool:
        state = worker.state.tasks.get(key)
        return state is None or state.state not in ("executing", "long-running")

    return is_called_off


@contextlib.contextmanager
def _one_at_a_time(is_called_off: Callable[[], bool]) -> Iterator[None]:
    while not _turn.acquire(timeout=1):
        if is_called_off():
            raise Stopped("the task was called off before it began")
    try:
        yield
    finally:
        _turn.release()


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.messages: list[Message] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append((record.name, record.levelno, record.getMessage(), getattr(record, "facts", {})))


@contextlib.contextmanager
def _captured(level: int) -> Iterator[list[Message]]:
    """Yield the list into which the messages of the block go."""
    logger, collector = logging.getLogger(muse_core.__name__), _Collector()
    previous, propagates = logger.level, logger.propagate
    logger.addHandler(collector)
    logger.setLevel(level)
    logger.propagate = False
    try:
        yield collector.messages
    finally:
        logger.propagate = propagates
        logger.setLevel(previous)
        logger.removeHandler(collector)

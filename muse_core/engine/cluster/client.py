# SPDX-License-Identifier: GPL-2.0-or-later
"""The side of a run that hands out its tasks to the workers of a Dask cluster.

Each worker has one task at a time, since a task uses all threads and the memory of its worker. Dask moves tasks, and
says which workers there are; who gets what is decided here, so that a worker that is gone costs its task only, and a
task that takes its workers with it ends the run.
"""

import collections
import contextlib
import dataclasses
import itertools
import logging
import os
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, Self, TypeVar

import distributed

from muse_core.engine.cluster import CLUSTER_VARIABLE
from muse_core.engine.cluster.worker import Facts, Order, Packer, Parcel, Question, Report, look, perform, versions
from muse_core.engine.executor import Executor, OwnTask, Site, Task
from muse_core.engine.journal import slab_name, tell_kept
from muse_core.engine.plan import Crew
from muse_core.engine.progress import track
from muse_core.engine.resources import RESUME_VARIABLE
from muse_core.engine.slabplan import slab_ranges
from muse_core.engine.slabs import RESAMPLING, Slab, SlabSource
from muse_core.engine.slabtask import SlabTask
from muse_core.errors import ResourceError
from muse_core.model.record import record
from muse_core.steps.resample import SlabSize

R = TypeVar("R")
_LOG = logging.getLogger(__name__)
#: Workers that may be lost with a task before it is taken for the reason.
TRIES = 5
#: Seconds without any worker, and without an answer of the scheduler, after which a run ends.
PATIENCE, SILENCE = 600.0, 60.0
#: Seconds in which a connection has to come.
_CONNECT = 20.0
#: Seconds between two looks at which workers there are.
_LOOK = 1.0
#: Tasks that may be done before the next one in the order is, for each worker.
_AHEAD = 2


def _differences(theirs: Mapping[str, str]) -> list[str]:
    """Say which versions of another process are not ours."""
    return [
        f"found {name} {theirs.get(name)}, expected {version} as here"
        for name, version in versions().items()
        if theirs.get(name) != version
    ]


@record(frozen=False, eq=False)
class _Try:
    """A task on its way; `number` is its place in the order, `lost` names the workers that were lost with it."""

    number: int
    task: Task[Any]
    lost: list[str] = dataclasses.field(default_factory=list)
    worker: str = ""
    parcel: Parcel | None = None


class DaskExecutor(Executor):
    """Has tasks done by the workers of a Dask cluster; parameters as for `muse_core.engine.cluster.connect`.

    Attributes
    ----------
    workers : dict of str to Facts
        The workers that can be used, by address.
    """

    def __init__(self, address: str, recipe: str, inputs: Sequence[str]):
        self._address, self._recipe = address, recipe
        folders = {os.path.dirname(path): path for path in map(os.path.abspath, inputs)}
        self._inputs = list(folders.values())  # one of each folder
        self._client: distributed.Client | None = None
        self.workers: dict[str, Facts] = {}
        self._refused: set[str] = set()
        self._asked: dict[distributed.Future[Any], str] = {}
        self._events: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._question = Question()
        self._looked = self._seen = 0.0

    # connection

    def __enter__(self) -> Self:
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # it tells at length what we tell in a line
        where = {"address": self._address} if "://" in self._address else {"scheduler_file": self._address}
        try:
            self._client = distributed.Client(**where, name=self._recipe, set_as_default=False, timeout=_CONNECT)
        except (OSError, ValueError, TimeoutError) as error:
            raise ResourceError(
                f"{CLUSTER_VARIABLE}: {self._address}: no scheduler answers there ({error or type(error).__name__}); "
                "start one with: dask scheduler"
            ) from error
        self._address = self._connection.scheduler.address
        try:
            self._require_same_versions()
            self._await_workers()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, traceback: object) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close(timeout=0.2 if kind is not None and not issubclass(kind, Exception) else 5)

    @property
    def _connection(self) -> Any:
        """The client, which is connected; Dask says of much in it only that it may not be there."""
        assert self._client is not None
        return self._client

    @property
    def crew(self) -> Crew:
        """The workers as they are now."""
        facts = self.workers.values()
        return Crew(
            n_workers=len(facts),
            n_threads=min(found.n_threads for found in facts),
            memory_bytes=min(found.memory_bytes for found in facts),
        )

    def _require_same_versions(self) -> None:
        """Check the versions of the scheduler, which reads what is sent to workers.

        Raises
        ------
        ResourceError
            They are not ours.
        """
        try:
            problems = _differences(self._connection.run_on_scheduler(versions))
        except (ImportError, AttributeError) as error:
            problems = [f"found no muse-scipost {versions()['muse-scipost']} that can be used ({error})"]
        except Exception as error:
            raise self._lost_scheduler(error) from error
        if problems:
            raise ResourceError(f"{CLUSTER_VARIABLE}: scheduler {self._address}: {'; '.join(problems)}")

    def _await_workers(self) -> None:
        """Wait for a worker, and for what those say that are there."""
        self._seen, told = time.monotonic(), False
        while True:
            self.look(strict=True)
            if self.workers and not self._asked:
                return
            if not self._asked and not told:
                _LOG.info("Cluster %s: no workers yet, waiting for some", self._address)
                told = True
            self.wait()

    def _crew_text(self) -> str:
        facts = self.workers.values()
        threads = sum(found.n_threads for found in facts)
        hosts = sorted({found.host for found in facts})
        return f"{len(facts)} workers with {threads} threads on {', '.join(hosts)}"

    def _addresses(self) -> set[str]:
        """Ask the scheduler which workers there are."""
        try:
            found = self._connection.sync(self._connection.scheduler.ncores, workers=None, callback_timeout=SILENCE)
        except Exception as error:  # of many kinds: the connection is gone, or closed, or nobody answers
            raise self._lost_scheduler(error) from error
        return set(found)

    def _lost_scheduler(self, error: object) -> ResourceError:
        return ResourceError(
            f"{CLUSTER_VARIABLE}: {self._address}: the scheduler does not answer any more "
            f"({str(error) or type(error).__name__}); with {RESUME_VARIABLE} the same command goes on with what is done"
        )

    def look(self, *, strict: bool = False) -> None:
        """See which workers have come or gone; in a `strict` look, those that cannot be used are an error.

        Raises
        ------
        ResourceError
            The scheduler does not answer, or there has been no worker for too long.
        """
        if self._connection.status != "running":
            raise self._lost_scheduler("the connection was lost")  # it has dropped our tasks, even if it comes back
        now = time.monotonic()
        if now - self._looked >= _LOOK:
            self._looked = now
            there = self._addresses()
            for address in there - self.workers.keys() - set(self._asked.values()) - self._refused:
                self._ask(address)
            for future in [future for future, address in self._asked.items() if address not in there]:
                del self._asked[future]
            for address in self.workers.keys() - there:
                del self.workers[address]
                _LOG.warning("Cluster: worker %s is gone; %d are left", address, len(self.workers))
        for future in [future for future in self._asked if future.done()]:
            self._hear(future, self._asked.pop(future), strict=strict)
        if self.workers:
            self._seen = now
        elif now - self._seen > PATIENCE:
            raise ResourceError(
                f"{CLUSTER_VARIABLE}: {self._address}: found no workers for {PATIENCE:.0f} s; with {RESUME_VARIABLE} "
                "the same command goes on with what is done"
            )

    def _ask(self, address: str) -> None:
        future = self.submit(look, self._question, address=address, key=f"look-{secrets.token_hex(4)}")
        self._asked[future] = address

    def submit(
        self, function: Callable[..., Any], *arguments: Any, address: str, key: str
    ) -> "distributed.Future[Any]":
        """Have a worker, and no other one, call a function; `wait` ends when it has."""
        future: distributed.Future[Any] = self._connection.submit(
            function, *arguments, key=key, workers=[address], allow_other_workers=False, pure=False
        )
        future.add_done_callback(self._events.put)
        return future

    def _hear(self, future: "distributed.Future[Any]", address: str, *, strict: bool) -> None:
        """Take the answer of a worker."""
        problem = ""
        facts: Facts | None = None
        if future.status == "finished":
            found: Facts = future.result()
            facts, problem = found, "; ".join([*_differences(found.versions), *found.problems])
            if not problem and not strict and self.workers and found.memory_bytes < self.crew.memory_bytes:
                problem = "it may use less memory than the others, by which the work has been cut"
        elif future.status == "error":
            error = future.exception()
            problem = f"found no muse-scipost {versions()['muse-scipost']} that can be used ({error})"
        else:
            return  # it has gone meanwhile
        if facts is not None and not problem:
            self.workers[address] = facts
            if not strict:
                _LOG.info("Cluster: worker %s on %s has come; there are %d", address, facts.host, len(self.workers))
            return
        name = f"worker {address}" + (f" on {facts.host}" if facts else "")
        if strict:
            raise ResourceError(f"{CLUSTER_VARIABLE}: {name}: {problem}")
        self._refused.add(address)
        _LOG.warning("Cluster: %s is not used: %s", name, problem)

    def wait(self) -> None:
        """Wait for an event, or until it is time to look."""
        try:
            self._events.get(timeout=_LOOK)
            while True:
                self._events.get_nowait()
        except queue.Empty:
            pass

    def wake(self) -> None:
        """Have `wait` return."""
        self._events.put(None)

    # work

    def begin(self, site: Site) -> None:
        """Make sure that all workers see the folders of a run.

        Raises
        ------
        ResourceError
            One does not, with its name and that of the folder.
        """
        assert site.journal.folder is not None
        token = site.journal.folder / "token"
        text = secrets.token_hex(16)
        token.write_text(text)
        self._question = Question({token: text}, [(path, os.stat(path).st_size) for path in self._inputs])
        known, self.workers = self.workers, {}
        for address in known:
            self._ask(address)
        self._looked = 0.0
        self._await_workers()
        _LOG.info("Cluster %s: %s", self._address, self._crew_text())

    def map(self, step: str, tasks: Iterable[OwnTask[R]], sizes: Sequence[int], site: Site) -> Iterator[R]:
        """Yield what comes of tasks, in their order."""
        with self._results(tasks, site) as results:
            yield from track(step, results, [range(size) for size in sizes], lambda: len(self.workers))

    @contextlib.contextmanager
    def slabs(self, source: SlabSource, site: Site) -> Iterator[Iterator[Slab]]:
        """Have workers make the slabs of the final cube; yields them in their order."""
        kept = {slab.first: len(slab.result.data) for slab in site.journal.kept_slabs(source)}
        first = sum(kept.values())
        tell_kept(first)
        source = source.resized(self._slab_size(source, first, site))
        site.store.extents()  # makes its index, before two threads ask for it
        ranges = slab_ranges(source.resampler.grid, source.thickness, first)
        tasks = (SlabTask.of(source, *planes) for planes in ranges)
        with self._results(tasks, site) as results:
            made = track(RESAMPLING, results, [range(*planes) for planes in ranges], lambda: len(self.workers))
            yield itertools.chain((site.journal.adopt_slab(slab_name(number)) for number in kept), made)

    def _slab_size(self, source: SlabSource, first: int, site: Site) -> SlabSize:
        """Cut the planes from number `first` on so that they fit into the memory of any worker, and all have some."""
        while not self.workers:
            self.look()
            self.wait()
        crew = self.crew
        limits = dataclasses.replace(site.resources, memory_bytes=crew.memory_bytes).slab_memory()
        n_planes = source.resampler.grid.nz - first
        return source.planner(limits, crew.n_threads).shared_slab(n_planes, crew.n_workers)

    @contextlib.contextmanager
    def _results(self, tasks: Iterable[Task[R]], site: Site) -> Iterator[Iterator[R]]:
        """Hand out tasks, beginning now; yields what comes of them, in their order."""
        handout = _Handout(self, tasks, site)
        try:
            yield (task.take_over(site) for task in handout)
        finally:
            handout.end()


class _Handout(Generic[R]):
    """Hands tasks out to workers, in a thread of its own; iterated, yields those that are done, in their order.

    So no worker waits while results are taken over and written, and the next step may begin before they are wanted.

    Parameters
    ----------
    executor : DaskExecutor
        Knows the workers; nobody else asks it about them until `end` has been called.
    tasks : iterable of Task
        The tasks.
    site : Site
        Where their parcels are put.
    """

    def __init__(self, executor: DaskExecutor, tasks: Iterable[Task[R]], site: Site):
        self._executor, self._journal, self._n_rows = executor, site.journal, site.store.n_rows
        self._source, self._packer = enumerate(tasks), Packer(site.journal)
        self._log_level, self._run = logging.getLogger("muse_core").getEffectiveLevel(), secrets.token_hex(4)
        assert site.journal.folder is not None
        self._folder = site.journal.folder
        self._waiting: collections.deque[_Try] = collections.deque()
        self._running: dict[distributed.Future[Any], _Try] = {}
        self._is_all = self._is_over = self._is_ended = False
        self._error: BaseException | None = None
        self._done: dict[int, tuple[Task[R], Report]] = {}
        self._following = 0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="handout", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Task[R]]:
        """Yield the tasks that are done, after what their workers have said; raises the error of one, or of all."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._following in self._done or self._is_over)
                if self._error is not None:
                    raise self._error
                if self._following not in self._done:
                    return
                task, report = self._done.pop(self._following)
                self._following += 1
            self._executor.wake()
            _tell(task, report)
            yield task

    def end(self) -> None:
        """Call off what is not done."""
        self._is_ended = True
        self._executor.wake()
        self._thread.join(_CONNECT)  # it may wait for a scheduler that is gone; it does nothing more after that

    def _work(self) -> None:
        try:
            self._hand_out()
        except BaseException as error:  # whoever iterates raises it
            self._error = error
        finally:
            for future in self._running:
                future.release()
            with self._changed:
                self._is_over = True
                self._changed.notify_all()

    def _hand_out(self) -> None:
        while True:
            self._executor.look()
            if self._is_ended:
                return
            self._collect()
            free = self._executor.workers.keys() - {one.worker for one in self._running.values()}
            for address in sorted(free):
                one = self._next()
                if one is None:
                    break
                self._give(one, address)
            if self._is_all and not self._running and not self._waiting:
                return
            self._executor.wait()

    def _collect(self) -> None:
        """See which tasks are done, or lost."""
        for future, one in list(self._running.items()):
            if one.worker not in self._executor.workers:
                del self._running[future]
                future.release()
                self._waiting.append(self._again(one, "is gone"))
            elif future.done():
                del self._running[future]
                report = _report(future, one)
                if report is None:
                    self._waiting.append(self._again(one, "was lost"))
                    continue
                assert one.parcel is not None
                self._journal.drop(one.parcel.task)
                with self._changed:
                    self._done[one.number] = one.task, report
                    self._changed.notify_all()

    def _next(self) -> _Try | None:
        """Return the task that is to be handed out next, if there is one and not too many are done ahead."""
        if self._waiting:
            return self._waiting.popleft()
        if self._is_all or len(self._done) >= _AHEAD * len(self._executor.workers):
            return None
        found = next(self._source, None)
        self._is_all = found is None
        return None if found is None else _Try(*found)

    def _give(self, one: _Try, address: str) -> None:
        """Hand a task out to a worker."""
        one.worker, one.parcel = address, one.parcel or self._packer.pack(one.task)
        order = Order(self._folder, self._n_rows, one.task.draft_rows, self._log_level)
        key = f"{one.task.name}-{self._run}-{len(one.lost) + 1}"
        self._running[self._executor.submit(perform, one.parcel, order, address=address, key=key)] = one

    def _again(self, one: _Try, what: str) -> _Try:
        """Count a try of a task that came to nothing.

        Raises
        ------
        ResourceError
            It was the last one.
        """
        one.lost.append(one.worker)
        if len(one.lost) >= TRIES:
            raise ResourceError(
                f"{one.task.title}: {len(one.lost)} workers were lost ({', '.join(one.lost)}); do they have too "
                "little memory?"
            )
        _LOG.warning("%s: worker %s %s; done again by another one", one.task.title, one.worker, what)
        return one


def _report(future: "distributed.Future[Any]", one: _Try) -> Report | None:
    """Return what a worker says of a task; None if it was lost."""
    if future.status == "finished":
        report: Report = future.result()
        if report.lacked_memory:
            _LOG.warning("%s: worker %s lacked memory: %s", one.task.title, one.worker, report.failure)
            return None
        return report
    if future.status == "error":
        error = future.exception()
        if not isinstance(error, distributed.scheduler.KilledWorker):
            raise error
    return None


def _tell(task: Task[Any], report: Report) -> None:
    """Log what a worker has said, and raise its error."""
    for name, level, text, facts in report.messages:
        line = text if text.startswith(task.title) else f"{task.title}: {text}"
        logging.getLogger(name).log(level, "%s", line, extra={"facts": facts})
    if report.failure is not None:
        raise report.failure

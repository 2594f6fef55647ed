# SPDX-License-Identifier: GPL-2.0-or-later
"""Who does the parts of a run: this process, one after the other with threads inside each, or others (`cluster`).

A part, a task, is an exposure or some planes of the cube. Its result is the same wherever it is made, and results are
taken in the order of the tasks, so that products do not depend on who made what.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from muse_core.engine.journal import Journal
from muse_core.engine.resources import Resources
from muse_core.engine.scratch import KeptRowStore
from muse_core.engine.slabs import Slab, SlabSource
from muse_core.engine.store import RowStore
from muse_core.model.record import record

if TYPE_CHECKING:
    from muse_core.engine.plan import Crew

R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")


@record
class Site:
    """Where a task is done.

    Attributes
    ----------
    journal : Journal
        Keeps what is done.
    store : RowStore
        The rows of the run.
    resources : Resources
        What a task may use.
    """

    journal: Journal
    store: RowStore
    resources: Resources

    @contextlib.contextmanager
    def draft(self, begin: int, end: int) -> Iterator[RowStore]:
        """Yield the store in which rows of a range are worked on until they are done.

        That is another one than the one for all where others are at work there too: who was taken for dead, and whose
        task was given to another one, can put nothing into it but what will be there anyway.
        """
        if not (isinstance(self.store, KeptRowStore) and self.store.is_shared):
            yield self.store
            return
        with self.resources.make_store([end - begin], begin, self.store) as store:
            yield store


class Task(Protocol[R_co]):
    """A part of a run; can be sent to another machine.

    Attributes
    ----------
    name : str
        Short name without blanks, the same in each run.
    title : str
        Name for messages.
    draft_rows : int
        Rows of which a draft is needed, see `Site.draft`.
    """

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def draft_rows(self) -> int: ...

    def split(self) -> "tuple[Task[R_co], Any]":
        """Return the task without what all tasks of a step have in common, and that: it is sent once."""

    def joined(self, common: Any) -> "Task[R_co]":
        """Return the task with that."""

    def make(self, site: Site) -> object:
        """Do it, or take over what an interrupted run has done of it; what can be kept is in the journal then."""

    def take_over(self, site: Site) -> R_co:
        """Return what another process has put into the journal."""


class OwnTask(Task[R_co], Protocol[R_co]):
    """A task that may be done in this process, too."""

    def make(self, site: Site) -> R_co:
        """Return what comes of it."""


class Executor:
    """Does tasks in this process; a context, in which it may have to hold connections."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, traceback: object) -> None:
        pass

    @property
    def crew(self) -> "Crew | None":
        """What others may use who do the tasks; None if we do."""
        return None

    def begin(self, site: Site) -> None:
        """Make sure that the work can be done; raises `MuseError` if not."""

    def map(self, step: str, tasks: Iterable[OwnTask[R]], sizes: Sequence[int], site: Site) -> Iterator[R]:
        """Yield what comes of tasks, in their order.

        Parameters
        ----------
        step : str
            Name of them all, for the display of the progress.
        tasks : iterable of Task
            The tasks.
        sizes : sequence of int
            How much of the step each is.
        site : Site
            Where they are done if we do them.
        """
        return (task.make(site) for task in tasks)

    @contextlib.contextmanager
    def slabs(self, source: SlabSource, site: Site) -> Iterator[Iterator[Slab]]:
        """Begin with the slabs of the final cube, if others make them; yields them in their order."""
        yield site.journal.slabs(source)

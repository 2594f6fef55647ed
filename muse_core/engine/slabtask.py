# SPDX-License-Identifier: GPL-2.0-or-later
"""Some planes of a cube as a task that any process can do which has the row store of the run."""

import dataclasses

import numpy as np

from muse_core.engine.executor import Site
from muse_core.engine.journal import slab_name
from muse_core.engine.slabs import Part, Slab, SlabSource, Weights, make_part, make_slab
from muse_core.model.compat import Compat
from muse_core.model.grid import OutputGrid
from muse_core.model.record import record
from muse_core.steps.resample import CosmicRayDirection, ResampleOptions, SlabResampler, SlabResult, SlabWatch


@record
class SlabTask:
    """Planes to be made; see `muse_core.engine.executor.Task`.

    Attributes
    ----------
    grid, options, direction, compat, watch
        As for `SlabResampler`.
    weights : Weights, optional
        Weights of the exposures.
    parts : list of (Part, ndarray of int64, ndarray of int64)
        What is made one after the other, and the rows that it needs; see `RowStore.runs`.
    """

    grid: OutputGrid
    options: ResampleOptions
    direction: CosmicRayDirection
    compat: Compat
    watch: SlabWatch | None
    weights: Weights | None
    parts: list[tuple[Part, np.ndarray, np.ndarray]]

    @classmethod
    def of(cls, source: SlabSource, first: int, last: int) -> "SlabTask":
        """Describe the planes `first` to `last` - 1 of a cube."""
        made = source.resampler
        parts = [(dataclasses.replace(part, among=None), *source.runs(part)) for part in source.parts(first, last)]
        return cls(made.grid, made.options, made.direction, made.compat, made.watch, source.weights, parts)

    @property
    def first(self) -> int:
        """First plane."""
        return self.parts[0][0].first

    @property
    def last(self) -> int:
        """Last plane + 1."""
        return self.parts[0][0].last

    @property
    def name(self) -> str:
        """Name of its record."""
        return slab_name(self.first)

    @property
    def title(self) -> str:
        """Name in messages."""
        return f"Planes {self.first + 1} to {self.last}"

    @property
    def draft_rows(self) -> int:
        """None: the rows are done."""
        return 0

    def split(self) -> "tuple[SlabTask, None]":
        """Nothing is worth to be sent apart."""
        return self, None

    def joined(self, common: None) -> "SlabTask":
        """Return the task."""
        return self

    def make(self, site: Site) -> None:
        """Make the planes, unless an interrupted run has kept them."""
        if site.journal.has_slab(self.first, self.last):
            return
        n_threads = site.resources.n_threads
        resampler = SlabResampler(self.grid, self.options, self.direction, n_threads, self.compat)
        resampler.watch = self.watch
        runs = {part: (starts, stops) for part, starts, stops in self.parts}

        def make(part: Part, into: SlabResult | None) -> Slab:
            window = site.store.read_runs(*runs[part], choose=part.choice(resampler), n_threads=n_threads)
            return make_part(resampler, window, part, self.weights, into=into)

        site.journal.record_slab(make_slab(resampler, list(runs), make))

    def take_over(self, site: Site) -> Slab:
        """Take over what another process has kept of them."""
        return site.journal.adopt_slab(self.name)

# SPDX-License-Identifier: GPL-2.0-or-later
"""The context of a run: what every stage may need, and no recipe's parameters. The environment is read here, once."""

import dataclasses
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np

from muse_core.engine.allocator import share_memory
from muse_core.engine.cluster import cluster_address, connect
from muse_core.engine.executor import Executor, Site
from muse_core.engine.journal import Journal, fingerprint
from muse_core.engine.plan import Plan
from muse_core.engine.resources import Resources
from muse_core.engine.store import RowStore
from muse_core.errors import InputError, MuseError
from muse_core.io.delivery import Destination
from muse_core.io.fitsreader import limit_arrays
from muse_core.io.frames import FrameSelection
from muse_core.io.pixtable import AS_TABLE_VARIABLE
from muse_core.io.products import ProductFactory
from muse_core.io.sof import Frame
from muse_core.model.cards import card
from muse_core.model.compat import KEYWORD as COMPAT_KEYWORD
from muse_core.model.compat import Compat
from muse_core.model.declare import parameter_values
from muse_core.model.fits import Card, Header
from muse_core.model.record import record
from muse_core.recipe.extras import ExposureWatch, Extras, wanted
from muse_core.steps.refraction import Method

if TYPE_CHECKING:
    from muse_core.recipe.base import Recipe

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
#: Environment variables of the reference: formula of the refractive index; rows that near to the Raman lines (Angstrom)
#: are left out of the statistics of the autocalibration.
REFRACTION_VARIABLE, EXCLUDE_RAMAN_VARIABLE = "MUSE_DAR_CORRECT_METHOD", "MUSE_AUTOCAL_EXCLUDE_RAMAN"


def compat_cards(compat: Compat) -> list[Card]:
    """Return what headers of products say of the defects: nothing with MUSE_COMPAT=2.8.7."""
    if compat == Compat.reference():
        return []
    return [card(COMPAT_KEYWORD, "none", "reproduced defects of muse_scipost 2.8.7")]


class PlanMade(Exception):  # noqa: N818 (no error)
    """Ends a run that is only planned; `plan` is the plan."""

    def __init__(self, plan: Plan):
        super().__init__(plan)
        self.plan = plan


@record(kw_only=True)
class Environment:
    """Settings outside the parameters that change products.

    Attributes
    ----------
    compat : Compat
        Which defects of the reference are reproduced.
    refraction : Method
        Formula of the refractive index.
    excluded_raman_width : float
        Rows that near to the Raman lines (Angstrom) are left out of the statistics of the autocalibration.
    saves_as_table : bool
        Pixel tables are saved as one binary table, not as images.
    """

    compat: Compat
    refraction: Method
    excluded_raman_width: float
    saves_as_table: bool

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Self:
        """Read the environment.

        Raises
        ------
        ParameterError
            A variable has an unusable value.
        """
        return cls(
            compat=Compat.from_environment(environ),
            refraction=Method.named(environ.get(REFRACTION_VARIABLE)),
            excluded_raman_width=max(_number(float, environ, EXCLUDE_RAMAN_VARIABLE), 0.0),
            saves_as_table=_number(int, environ, AS_TABLE_VARIABLE) > 0,
        )


def _number(kind: Callable[[str], float], environ: Mapping[str, str], name: str) -> float:
    try:
        return kind(environ.get(name, ""))
    except ValueError:
        return 0


def claim_resources(scratch: Path) -> Resources:
    """Return what a run may use, `scratch` unless the environment names another folder; this process keeps to it.

    Raises
    ------
    ParameterError
        A variable of the environment has an unusable value.
    """
    resources = Resources.from_environment(scratch)
    limit_arrays(resources.memory_bytes)
    share_memory()
    return resources


@record(kw_only=True)
class Run:
    """What all stages of a run share.

    Attributes
    ----------
    environment : Environment
        Settings outside the parameters.
    resources : Resources
        Memory, folders, threads.
    frames : FrameSelection
        Input frames.
    factory : ProductFactory
        Makes names and headers of products.
    journal : Journal
        What an earlier, interrupted run has done.
    executor : Executor
        Who does the parts of the run.
    qc_prefix : str
        Prefix of QC keywords.
    ends_at_failed_step : bool
        In the reference as well; see `Recipe`.
    plan_only : bool
        End before the first row is read.
    extras : Extras
        What is made beyond the products of the reference.
    watches : dict of str to ExposureWatch
        Who of the extras looks at an exposure while it is reduced.
    work_arrays : dict of str to ndarray
        Of the cube that was made last, for the next one; see `SlabResampler`.
    """

    environment: Environment
    resources: Resources
    frames: FrameSelection
    factory: ProductFactory
    journal: Journal
    executor: Executor
    qc_prefix: str
    ends_at_failed_step: bool = True
    plan_only: bool = False
    extras: Extras = dataclasses.field(default_factory=Extras)
    watches: dict[str, ExposureWatch] = dataclasses.field(default_factory=dict)
    work_arrays: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @classmethod
    def prepare(
        cls,
        recipe: "Recipe",
        frames: Sequence[Frame],
        parameters: object,
        destination: Destination,
        *,
        plan_only: bool = False,
    ) -> Self:
        """Make the context of a call of a recipe.

        Raises
        ------
        MuseError
            Frames, environment or machine cannot be used.
        """
        environment, extras = Environment.read(os.environ), Extras(wanted(os.environ, recipe.NAME))
        compat = environment.compat
        resources = claim_resources(destination.directory)
        selection = FrameSelection(frames, recipe.INPUTS, compat)
        if not selection.all(recipe.raw_tag()):
            found = ", ".join(sorted({frame.tag or "(none)" for frame in frames})) or "no frames"
            raise InputError(f"set of frames: found {found}, expected at least one frame with tag {recipe.raw_tag()}")
        factory = ProductFactory(
            recipe=recipe.NAME,
            pipeline=f"muse/{recipe.version}",
            system=f"muse-scipost-{recipe.version}",
            parameters=parameter_values(parameters),
            products=recipe.PRODUCTS,
            extras=extras.products,
            qc_prefix=recipe.QC,
            destination=destination,
            inputs=[Path(frame.path) for frame in frames],
            marks=compat_cards(compat),
        )
        cluster = cluster_address(os.environ)
        if resources.resume is not None:
            name = fingerprint(frames, recipe.version, parameters)
            journal = Journal(resources.resume / f"{recipe.NAME}-{name}")
        elif cluster is not None and not plan_only:
            journal = Journal.passing(resources.scratch)
        else:
            journal = Journal()
        run = cls(
            environment=environment,
            resources=resources,
            frames=selection,
            factory=factory,
            journal=journal,
            executor=Executor() if cluster is None else connect(cluster, recipe.NAME, [f.path for f in frames]),
            qc_prefix=recipe.QC,
            ends_at_failed_step=recipe.ENDS_AT_FAILED_STEP,
            plan_only=plan_only,
            extras=extras,
        )
        extras.open(run)
        return run

    @property
    def compat(self) -> Compat:
        """Which defects of the reference are reproduced."""
        return self.environment.compat

    def site(self, store: RowStore) -> Site:
        """Return where the parts of the run are done if we do them, given the store of its rows."""
        return Site(self.journal, store, self.resources)

    def of_exposure(self, number: int, header: Header) -> Self:
        """Return what the reduction of an exposure needs of the run; the rest is that of where it is reduced."""
        factory = self.factory.of_exposure(number, header)
        own: dict[str, Any] = {
            "journal": Journal(),
            "executor": Executor(),
            "extras": Extras(),
            "watches": self.extras.watches(),
        }
        return dataclasses.replace(self, factory=factory, **own)

    def or_ignore(self, error: MuseError, consequence: str) -> None:
        """Raise the error of a step, unless the reference is to be reproduced, which goes on without it."""
        if self.ends_at_failed_step or not self.compat.failed_step_ignored:
            raise error
        _LOG.warning("%s; %s", error, consequence)

    def load(self, tag: str, reader: Callable[[Path], T], *, several: bool = False) -> T | None:
        """Load the calibration of a tag, if there is one, and note it as used unless the reader returns None.

        Parameters
        ----------
        tag : str
            Tag.
        reader : callable
            Reads the file.
        several : bool
            With several frames of the tag the first one is taken; else that is an error.

        Raises
        ------
        InputError
            The file cannot be used, or there are several.
        """
        path = self.frames.first(tag) if several else self.frames.only(tag)
        if path is None:
            return None
        loaded = reader(path)
        if loaded is not None:
            self.factory.use_calibration(path, tag)
            _LOG.info("Loaded %s from %s", tag, path)
        return loaded

    def qc_cards(self, values: Sequence[tuple[str, object]]) -> list[Card]:
        """Return QC keywords, given without their prefix, as cards."""
        return [card(self.qc_prefix + name, value) for name, value in values]

# SPDX-License-Identifier: GPL-2.0-or-later
"""The base class of all recipes, as PyCPL, PyEsoRex, the command muse-esorex, the native plugin and Python call them.

Nothing heavy is imported before `Recipe.run`: front-ends list and describe recipes without it.
"""

import contextlib
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from muse_core import __version__
from muse_core.cplapi import core, messages, ui
from muse_core.engine import meter
from muse_core.errors import ProductError
from muse_core.io import sof
from muse_core.model import declare
from muse_core.model.declare import InputSpec, ParameterSpec, ProductSpec

if TYPE_CHECKING:
    from muse_core.engine.meter import Progress
    from muse_core.engine.plan import Plan
    from muse_core.io.delivery import Destination
    from muse_core.io.products import Product
    from muse_core.recipe.run import Run

VERSION = __version__
AUTHOR = "The muse-scipost developers"
EMAIL = "the issue tracker of muse-scipost"
COPYRIGHT = (
    "muse-scipost is free software; you can redistribute it and/or modify it under the terms\n"
    "of the GNU General Public License as published by the Free Software Foundation; either\n"
    "version 2 of the License, or (at your option) any later version. It comes WITHOUT ANY WARRANTY."
)


class Recipe(ui.PyRecipe):
    """A recipe: what it declares, and `process`. A `cpl.ui.PyRecipe` where PyCPL is installed.

    Attributes
    ----------
    NAME, SYNOPSIS : str
        Name, and what it does in a line.
    ALGORITHM : str
        What it does, step by step.
    Parameters : type
        Frozen dataclass of its parameters, in the order of the reference; see `muse_core.model.declare`.
    INPUTS : tuple of InputSpec
        Its input frames; the first is that of the raw frames.
    PRODUCTS : tuple of ProductSpec
        Its products.
    QC : str
        Prefix of its QC keywords, with a blank at the end.
    ENDS_AT_FAILED_STEP : bool
        The reference ends with an error, too, where a step cannot be done; muse_scipost goes on without the step.
    PARAMETERS : tuple of ParameterSpec
        Its parameters, one by one; made from `Parameters`.
    destination : muse_core.io.delivery.Destination, optional
        Where the products of an instance go; by default the current folder.
    progress : callable, optional
        Called during a run, by another thread, with a `muse_core.engine.meter.Progress`: when a step begins, and every
        half second.
    """

    NAME: ClassVar[str]
    SYNOPSIS: ClassVar[str]
    ALGORITHM: ClassVar[str]
    Parameters: ClassVar[type]
    INPUTS: ClassVar[tuple[InputSpec, ...]]
    PRODUCTS: ClassVar[tuple[ProductSpec, ...]]
    QC: ClassVar[str]
    ENDS_AT_FAILED_STEP: ClassVar[bool] = True
    PARAMETERS: ClassVar[tuple[ParameterSpec, ...]]
    #: What `cpl.ui.PyRecipe` wants to know; `version` is its property.
    _name: ClassVar[str]
    _synopsis: ClassVar[str]
    _version: ClassVar[str]
    _author: ClassVar[str]
    _email: ClassVar[str]
    _copyright: ClassVar[str]
    _description: ClassVar[str]
    version: str
    destination: "Destination | None" = None
    progress: "Callable[[Progress], object] | None" = None

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        cls.PARAMETERS = declare.parameter_specs(cls.Parameters)
        cls._name, cls._synopsis, cls._version = cls.NAME, cls.SYNOPSIS, VERSION
        cls._author, cls._email, cls._copyright = AUTHOR, EMAIL, COPYRIGHT
        cls._description = f"{cls.ALGORITHM}\n\n{declare.describe_frames(cls.raw_tag(), cls.INPUTS, cls.PRODUCTS)}"

    def __init__(self) -> None:
        super().__init__()
        self.parameters = ui.ParameterList([self._parameter(spec) for spec in self.PARAMETERS])
        self._log = logging.getLogger(f"muse_core.recipes.{self.NAME}")  # wherever the file of the recipe is

    @classmethod
    def raw_tag(cls) -> str:
        """Tag of the raw frames."""
        return cls.INPUTS[0].tag

    @classmethod
    def context(cls) -> str:
        """Context of the parameters: what their full names begin with."""
        return f"muse.{cls.NAME}"

    def process(self, run: "Run", parameters: Any) -> None:
        """Do what the recipe is for.

        Parameters
        ----------
        run : Run
            Frames, products, limits of the run. All inputs are looked at before `muse_core.stages.plan.begin`, where a
            run that is only planned ends.
        parameters : Parameters
            An instance of the recipe's own class.
        """
        raise NotImplementedError(f"{self.NAME} has no process()")

    def run(self, frameset: ui.FrameSet, settings: Mapping[str, Any]) -> ui.FrameSet:
        """Reduce the frames of `frameset`; write products to `destination`.

        Parameters
        ----------
        frameset : ui.FrameSet
            Input frames, known by their tags. Their groups (RAW, CALIB) are set here.
        settings : dict
            Values by full or short parameter name; parameters that it lacks keep the values in `parameters`.

        Returns
        -------
        ui.FrameSet
            Products, sorted by tag, then file name.

        Raises
        ------
        MuseError
            Unusable parameters, inputs or machine; nothing is left under the name of a product then.
        """
        watch = contextlib.nullcontext() if self.progress is None else meter.watching(self.progress)
        with messages.forward_logging(core.Msg), watch:
            run, parameters = self._prepare(frameset, settings)
            try:
                self.process(run, parameters)
            finally:
                run.extras.close()
            products, destination = run.factory.products, run.factory.destination
        return ui.FrameSet([_product_frame(product, destination) for product in products])

    def plan(self, frameset: ui.FrameSet, settings: Mapping[str, Any]) -> "Plan":
        """Say what `run` would need with the same arguments: rows, voxels, memory, disk, time; nothing is written.

        Returns
        -------
        muse_core.engine.plan.Plan
            The plan; `str` makes a line of it, and `problems` says what there is too little of.

        Raises
        ------
        MuseError
            Unusable parameters, inputs or machine.
        """
        from muse_core.recipe.run import PlanMade

        with messages.forward_logging(core.Msg):
            run, parameters = self._prepare(frameset, settings, plan_only=True)
            try:
                self.process(run, parameters)
            except PlanMade as made:
                return made.plan
        raise RuntimeError(f"{self.NAME} ran without a plan")

    def _prepare(
        self, frameset: ui.FrameSet, settings: Mapping[str, Any], *, plan_only: bool = False
    ) -> "tuple[Run, Any]":
        """Return context and parameters of a call; the frames of `frameset` get their groups."""
        groups = {spec.tag: spec.group for spec in self.INPUTS}
        frames = []
        for frame in frameset:
            group = groups.get(frame.tag, "")
            if group:
                frame.group = ui.Frame.FrameGroup.RAW if group == "RAW" else ui.Frame.FrameGroup.CALIB
            frames.append(sof.Frame(frame.file, frame.tag, group))
        values = {parameter.cli_alias: parameter.value for parameter in self.parameters}
        values.update((key.removeprefix(self.context() + "."), value) for key, value in settings.items())
        self._log.info("%s of muse-scipost %s", self.NAME, self.version)
        parameters: Any = declare.from_settings(self.Parameters, values, self.context())
        self._log_inputs(frames, parameters)
        meter.show("Opening inputs")
        from muse_core.io.delivery import Destination
        from muse_core.io.folders import working_folder
        from muse_core.recipe.run import Run

        destination = self.destination or Destination(working_folder())
        return Run.prepare(self, frames, parameters, destination, plan_only=plan_only), parameters

    def _log_inputs(self, frames: Any, parameters: Any) -> None:
        """Log, as details, what the run depends on; the parameters in the form of a recipe configuration file."""
        for frame in frames:
            self._log.debug("input frame %s %s", frame.path, frame.tag)
        for spec, value in declare.parameter_values(parameters):
            text = str(value).upper() if isinstance(value, bool) else value
            self._log.debug("%s.%s=%s", self.context(), spec.name, text)
        for name in sorted(os.environ):
            if name.startswith(("MUSE_", "OMP_")):
                self._log.debug("environment: %s=%s", name, os.environ[name])

    def _parameter(self, spec: ParameterSpec) -> Any:
        """Make the PyCPL parameter of a declared one."""
        keywords = {
            "name": f"{self.context()}.{spec.name}",
            "description": spec.help,
            "context": self.context(),
            "default": spec.default,
        }
        parameter: Any
        if spec.choices:
            parameter = ui.ParameterEnum(**keywords, alternatives=spec.choices)
        else:
            parameter = ui.ParameterValue(**keywords)
        parameter.cli_alias = parameter.cfg_alias = spec.name
        return parameter


def _product_frame(product: "Product", destination: "Destination") -> ui.Frame:
    """Make the frame of a product that has its place."""
    name = destination.text(product.path.name)
    if not Path(name).is_file():
        raise ProductError(f"product {name} ({product.tag}) is not there, seen from the folder {Path.cwd()}")
    return ui.Frame(
        name,
        tag=product.tag,
        group=ui.Frame.FrameGroup.PRODUCT,
        level=getattr(ui.Frame.FrameLevel, product.level),
        frameType=getattr(ui.Frame.FrameType, product.frame_type),
    )

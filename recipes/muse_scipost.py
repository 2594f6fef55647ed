# SPDX-License-Identifier: GPL-2.0-or-later
"""The recipe muse_scipost as PyCPL, PyEsoRex, the command muse-esorex, the native plugin and Python call it.

Nothing heavy is imported before `run`: front-ends list and describe recipes without it.
"""

import dataclasses
import logging
import os
from pathlib import Path

from muse_core.cplapi import core, messages, ui
from muse_core.errors import ProductError
from muse_core.io import sof
from muse_core.model import declare
from muse_core.recipes import declaration

logger = logging.getLogger("muse_core.recipes.muse_scipost")  # PyEsoRex loads this file under another name


def _parameter(spec: declare.ParameterSpec):
    """Make the PyCPL parameter of a declared one."""
    keywords = {
        "name": f"{declaration.CONTEXT}.{spec.name}",
        "description": spec.help,
        "context": declaration.CONTEXT,
        "default": spec.default,
    }
    if spec.choices:
        parameter = ui.ParameterEnum(**keywords, alternatives=spec.choices)
    else:
        parameter = ui.ParameterValue(**keywords)
    parameter.cli_alias = parameter.cfg_alias = spec.name
    return parameter


class MuseScipost(ui.PyRecipe):
    """MUSE pixel tables to calibrated, sky-subtracted, combined datacubes.

    A `cpl.ui.PyRecipe` where PyCPL is installed. `PARAMETERS`, `INPUTS` and `PRODUCTS` are the declarations from which
    front-ends make help texts and frame configurations.
    """

    _name = declaration.NAME
    _version = declaration.VERSION
    _author = declaration.AUTHOR
    _email = declaration.EMAIL
    _copyright = declaration.COPYRIGHT
    _synopsis = declaration.SYNOPSIS
    _description = declaration.DESCRIPTION

    PARAMETERS = declare.parameter_specs(declaration.ScipostParameters)
    INPUTS = declaration.INPUTS
    PRODUCTS = declaration.PRODUCTS

    def __init__(self):
        super().__init__()
        self.parameters = ui.ParameterList([_parameter(spec) for spec in self.PARAMETERS])

    def run(self, frameset, settings):
        """Reduce the frames of `frameset`; write products into the current folder.

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
        from muse_core.recipes.flow import reduce

        with messages.forward_logging(core.Msg):
            products = reduce(*self._request(frameset, settings), Path.cwd())
        return ui.FrameSet([_product_frame(p) for p in sorted(products, key=lambda p: (p.tag, Path(p.path).name))])

    def plan(self, frameset, settings):
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
        from muse_core.recipes.flow import plan

        with messages.forward_logging(core.Msg):
            return plan(*self._request(frameset, settings), Path.cwd())

    def _request(self, frameset, settings):
        """Return frames and parameters of a call; the frames of `frameset` get their groups."""
        groups = {spec.tag: spec.group for spec in self.INPUTS}
        frames = []
        for frame in frameset:
            group = groups.get(frame.tag, "")
            if group:
                frame.group = ui.Frame.FrameGroup.RAW if group == "RAW" else ui.Frame.FrameGroup.CALIB
            frames.append(sof.Frame(frame.file, frame.tag, group))
        values = {parameter.cli_alias: parameter.value for parameter in self.parameters}
        values.update((key.removeprefix(declaration.CONTEXT + "."), value) for key, value in settings.items())
        logger.info("muse-scipost %s", self.version)
        parameters = declare.from_settings(declaration.ScipostParameters, values, declaration.CONTEXT)
        _log_inputs(frames, parameters)
        return frames, parameters


def _log_inputs(frames, parameters):
    """Log, as details, what the run depends on; the parameters in the form of a recipe configuration file."""
    for frame in frames:
        logger.debug("input frame %s %s", frame.path, frame.tag)
    for name, value in dataclasses.asdict(parameters).items():
        logger.debug("%s.%s=%s", declaration.CONTEXT, name, str(value).upper() if isinstance(value, bool) else value)
    for name in sorted(os.environ):
        if name.startswith(("MUSE_", "OMP_")):
            logger.debug("environment: %s=%s", name, os.environ[name])


def _product_frame(product):
    """Make the frame of a product that lies in the current folder."""
    name = Path(product.path).name
    if not Path(name).is_file():
        raise ProductError(f"product {name} ({product.tag}) is not in the folder {Path.cwd()}")
    return ui.Frame(
        name,
        tag=product.tag,
        group=ui.Frame.FrameGroup.PRODUCT,
        level=getattr(ui.Frame.FrameLevel, product.level),
        frameType=getattr(ui.Frame.FrameType, product.frame_type),
    )

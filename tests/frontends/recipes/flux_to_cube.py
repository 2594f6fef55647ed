# SPDX-License-Identifier: GPL-2.0-or-later
"""A recipe (a PyRecipe) of one's own: flux calibration and nothing else, then a cube in pixels."""

import dataclasses
import functools

from muse_core import stages
from muse_core.model.declare import use
from muse_core.recipe import base, frames, parameters, products


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FluxToCubeParameters:
    """Its parameters."""

    wavelengths: parameters.WavelengthRange = use(parameters.WavelengthRange, lambdamin=4600.0)
    resampling: parameters.Resampling = use(parameters.Resampling, resample="nearest")
    filter: str = use(parameters.FILTER)


class FluxToCube(base.Recipe):
    """Pixel tables to a cube with calibrated flux."""

    NAME = "flux_to_cube"
    SYNOPSIS = "Pixel tables to a cube in pixels with calibrated flux."
    ALGORITHM = "Merge the pixel tables of an exposure, calibrate the flux, resample the pixels where they are."
    QC = "ESO QC FLUXCUBE "
    Parameters = FluxToCubeParameters
    INPUTS = (frames.PIXTABLE_OBJECT, frames.EXTINCT_TABLE, frames.STD_RESPONSE, frames.FILTER_LIST)
    PRODUCTS = (products.DATACUBE_FINAL, products.IMAGE_FOV)

    def process(self, run, p):
        """Calibrate the flux, make the cube."""
        exposures = stages.opening.open_exposures(run, frames.PIXTABLE_OBJECT.tag, p.wavelengths)
        calibration = stages.calibrate.CalibrationOptions(curves=stages.calibrations.load_flux_curves(run), flux=True)
        options = stages.cube.CubeOptions(resample=p.resampling.options(run.compat), filters=p.filter)
        cube = stages.cube.load_cube_inputs(run, options, exposures)
        work = stages.plan.Work(
            exposures=exposures, wavelengths=p.wavelengths, projects=False, cube=cube, save=frozenset({"cube"})
        )
        with stages.plan.begin(run, work) as store:
            load = functools.partial(stages.exposures.load, calibration=calibration)
            table = stages.combine.combine(run, stages.exposures.reduce_each(run, exposures, store, load, None), None)
            stages.cube.make_cube(run, cube, table, store)

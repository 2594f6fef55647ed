# SPDX-License-Identifier: GPL-2.0-or-later
"""The recipe muse_exp_combine: reduced pixel tables of several exposures to one cube."""

import functools
from typing import TYPE_CHECKING

from muse_core import stages
from muse_core.model.declare import use
from muse_core.model.record import record
from muse_core.recipe import base, frames, parameters, products

if TYPE_CHECKING:
    from muse_core.recipe.run import Run

_SAVE = parameters.save("cube", cube="combined cube and field-of-view images", combined="pixel table of all exposures")


@record(kw_only=True)
class ExpCombineParameters:
    """The parameters of muse_exp_combine, in the order of the reference."""

    save: str = use(_SAVE)
    resampling: parameters.Resampling = use(parameters.Resampling, crsigma=10.0, pixfrac="0.6,0.6")
    format: str = use(parameters.FORMAT)
    weight: str = use(
        parameters.WEIGHT,
        choices=("exptime", "fwhm", "header", "none"),
        help="Weights of the exposures: exposure time, exposure time and seeing (fwhm), exposure time and the keyword "
        "ESO DRS MUSE WEIGHT of each (header), or none.",
    )
    filter: str = use(parameters.FILTER)
    wavelengths: parameters.WavelengthRange = use(parameters.WavelengthRange)


class MuseExpCombine(base.Recipe):
    """Several reduced exposures to one datacube."""

    NAME = "muse_exp_combine"
    SYNOPSIS = "Combine several exposures into one datacube."
    ALGORITHM = (
        "Sort the pixel tables of reduced exposures, as muse_scipost --save=individual writes them, by time. Put each "
        "on the sky, with its offset and flux scale (OFFSET_LIST), weight them (--weight), resample them into one "
        "datacube, and make images of the field through filters (--filter). OUTPUT_WCS prescribes the grid of the cube."
    )
    QC = "ESO QC EXPCOMB "
    Parameters = ExpCombineParameters
    INPUTS = (
        frames.PIXTABLE_REDUCED.with_(minimum=2),
        frames.OFFSET_LIST,
        frames.FILTER_LIST,
        frames.OUTPUT_WCS,
    )
    PRODUCTS = (products.DATACUBE_FINAL, products.IMAGE_FOV, products.PIXTABLE_COMBINED)

    def process(self, run: "Run", p: ExpCombineParameters) -> None:
        """Put the exposures on the sky, combine them, make the cube."""
        save = parameters.parse_tokens(_SAVE, p.save)
        exposures = stages.opening.open_exposures(run, frames.PIXTABLE_REDUCED.tag, p.wavelengths)
        stages.combine.require_several(exposures)
        weights = stages.combine.find_weights(run, exposures, p.weight)
        pointing = stages.pointing.load_pointing(run)
        cube = None
        if "cube" in save:
            wanted = stages.cube.CubeOptions(
                resample=p.resampling.options(run.compat), format=p.format, filters=p.filter
            )
            cube = stages.cube.load_cube_inputs(run, wanted, exposures)
        work = stages.plan.Work(
            exposures=exposures,
            wavelengths=p.wavelengths,
            pointing=pointing,
            in_one_pass=True,
            cube=cube,
            save=save,
            n_tables=int("combined" in save),
            saves_weights="combined" in save and weights is not None,
        )
        with stages.plan.begin(run, work) as store:
            load = functools.partial(stages.exposures.load, pointing=pointing)
            table = stages.combine.combine(
                run, stages.exposures.reduce_each(run, exposures, store, load, pointing), weights
            )
            flagged = stages.cube.make_cube(run, cube, table, store)
            if "combined" in save:
                stages.combine.save_combined(run, table, store, flagged)

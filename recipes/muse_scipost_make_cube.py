# SPDX-License-Identifier: GPL-2.0-or-later
"""The recipe muse_scipost_make_cube: a pixel table to a cube."""

import functools
from typing import TYPE_CHECKING

from muse_core import stages
from muse_core.model.declare import parameter, use
from muse_core.model.record import record
from muse_core.recipe import base, frames, parameters, products

if TYPE_CHECKING:
    from muse_core.recipe.run import Run


@record(kw_only=True)
class MakeCubeParameters:
    """The parameters of muse_scipost_make_cube, in the order of the reference."""

    wavelengths: parameters.WavelengthRange = use(parameters.WavelengthRange)
    resampling: parameters.Resampling = use(parameters.Resampling)
    format: str = use(
        parameters.FORMAT,
        choices=("Cube", "Euro3D", "xCube", "xEuro3D"),
        help="Format of the cube: FITS cube, Euro3D table, either with the field-of-view images inside (x).",
    )
    stacked: bool = parameter(False, help="Write a two-dimensional image of all slices, too.")
    filter: str = use(parameters.FILTER)


class MuseScipostMakeCube(base.Recipe):
    """A pixel table to a datacube."""

    NAME = "muse_scipost_make_cube"
    SYNOPSIS = "Make a MUSE cube from a MUSE pixel table."
    ALGORITHM = (
        "Take the first pixel table, put its pixels on the sky if they are projected, resample them into a datacube, "
        "and make images of the field through filters (--filter), and of all slices (--stacked). OUTPUT_WCS prescribes "
        "the grid of the cube. This is a part of muse_scipost."
    )
    QC = "ESO QC SCIPOST "
    Parameters = MakeCubeParameters
    INPUTS = (frames.PIXTABLE_OBJECT, frames.FILTER_LIST, frames.OUTPUT_WCS)
    PRODUCTS = (products.DATACUBE_FINAL.with_(qc=()), products.IMAGE_FOV.with_(qc=()), products.OBJECT_RESAMPLED)

    def process(self, run: "Run", p: MakeCubeParameters) -> None:
        """Put the pixels on the sky, make the cube."""
        resample = p.resampling.options(run.compat)
        exposure = stages.opening.open_first(run, frames.PIXTABLE_OBJECT.tag, p.wavelengths)
        pointing = stages.pointing.Pointing(run.compat)
        wanted = stages.cube.CubeOptions(resample=resample, format=p.format, filters=p.filter, measures_fwhm=False)
        cube = stages.cube.load_cube_inputs(run, wanted, [exposure])
        work = stages.plan.Work(
            exposures=[exposure],
            wavelengths=p.wavelengths,
            pointing=pointing,
            in_one_pass=True,
            projects=False,
            cube=cube,
            save=frozenset({"cube", "stacked"} if p.stacked else {"cube"}),
            stacked=p.stacked,
        )
        with stages.plan.begin(run, work) as store:
            load = functools.partial(stages.exposures.load, pointing=pointing)
            table = stages.combine.combine(
                run, stages.exposures.reduce_each(run, [exposure], store, load, pointing), exposure.weights
            )
            flagged = stages.cube.make_cube(run, cube, table, store)
            if p.stacked:
                stages.stacked.make_stacked(run, resample.step, table, store, flagged)

# SPDX-License-Identifier: GPL-2.0-or-later
"""The recipe muse_scipost_apply_astrometry: positions of pixel tables from pixels to native spherical coordinates."""

from typing import TYPE_CHECKING

from muse_core import stages
from muse_core.errors import InputError
from muse_core.model.declare import use
from muse_core.model.record import record
from muse_core.recipe import base, frames, parameters, products

if TYPE_CHECKING:
    from muse_core.recipe.run import Run


@record(kw_only=True)
class ApplyAstrometryParameters:
    """The parameters of muse_scipost_apply_astrometry, in the order of the reference."""

    wavelengths: parameters.WavelengthRange = use(parameters.WavelengthRange)


class MuseScipostApplyAstrometry(base.Recipe):
    """Project the positions of pixel tables with an astrometric solution."""

    NAME = "muse_scipost_apply_astrometry"
    SYNOPSIS = "Project the positions of pixel tables with an astrometric solution."
    ALGORITHM = (
        "Project the positions of each pixel table, in pixels, to native spherical coordinates with the solution in "
        "ASTROMETRY_WCS. Pixel tables are not merged; muse_scipost does the same with exposures."
    )
    QC = "ESO QC SCIPOST "
    Parameters = ApplyAstrometryParameters
    INPUTS = (frames.PIXTABLE_OBJECT, frames.ASTROMETRY_WCS)
    PRODUCTS = (products.PIXTABLE_REDUCED.with_(mode="file", level="FINAL"),)

    def process(self, run: "Run", p: ApplyAstrometryParameters) -> None:
        """Rewrite each table with other positions."""
        pointing = stages.pointing.load_solution(run)
        if pointing is None:
            raise InputError("set of frames: found no frame with tag ASTROMETRY_WCS, expected one")
        recorded = not run.compat.astrometry_input_not_recorded
        files = stages.opening.open_separately(run, frames.PIXTABLE_OBJECT.tag, p.wavelengths, recorded=recorded)
        stages.opening.require_pixels(files)
        location = stages.locate.LocationOptions(pointing=pointing, project=True, position=False, individual=True)
        stages.separate.rewrite(run, files, p.wavelengths, location=location)

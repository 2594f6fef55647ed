# SPDX-License-Identifier: GPL-2.0-or-later
"""The recipe muse_scipost_correct_rv: wavelengths of pixel tables in the rest frame of the Sun, Earth or barycentre."""

from typing import TYPE_CHECKING

from muse_core import stages
from muse_core.model.declare import use
from muse_core.model.record import record
from muse_core.recipe import base, frames, parameters, products

if TYPE_CHECKING:
    from muse_core.recipe.run import Run


@record(kw_only=True)
class CorrectRvParameters:
    """The parameters of muse_scipost_correct_rv, in the order of the reference."""

    wavelengths: parameters.WavelengthRange = use(parameters.WavelengthRange)
    rvcorr: str = use(parameters.RVCORR)


class MuseScipostCorrectRv(base.Recipe):
    """Correct the wavelengths of pixel tables for the motion of the observer."""

    NAME = "muse_scipost_correct_rv"
    SYNOPSIS = "Correct the wavelengths of pixel tables for the motion of the observer."
    ALGORITHM = (
        "Correct the wavelengths of each pixel table for the motion of the observer (--rvcorr). Pixel tables are not "
        "merged; muse_scipost does the same with exposures."
    )
    QC = "ESO QC SCIPOST "
    Parameters = CorrectRvParameters
    INPUTS = (frames.PIXTABLE_OBJECT,)
    PRODUCTS = (products.PIXTABLE_REDUCED.with_(mode="file", level="FINAL"),)

    def process(self, run: "Run", p: CorrectRvParameters) -> None:
        """Rewrite each table with other wavelengths."""
        files = stages.opening.open_separately(run, frames.PIXTABLE_OBJECT.tag, p.wavelengths)
        location = stages.locate.LocationOptions(rvcorr=p.rvcorr, individual=True)
        stages.separate.rewrite(run, files, p.wavelengths, location=location)

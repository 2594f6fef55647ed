# SPDX-License-Identifier: GPL-2.0-or-later
"""The recipe muse_scipost_correct_dar: positions of pixel tables without differential atmospheric refraction."""

from typing import TYPE_CHECKING

from muse_core import stages
from muse_core.model.declare import use
from muse_core.model.record import record
from muse_core.recipe import base, frames, parameters, products

if TYPE_CHECKING:
    from muse_core.recipe.run import Run


@record(kw_only=True)
class CorrectDarParameters:
    """The parameters of muse_scipost_correct_dar, in the order of the reference."""

    wavelengths: parameters.WavelengthRange = use(parameters.WavelengthRange)
    lambdaref: float = use(parameters.LAMBDAREF)
    darcheck: str = use(parameters.DARCHECK)


class MuseScipostCorrectDar(base.Recipe):
    """Correct pixel tables for differential atmospheric refraction."""

    NAME = "muse_scipost_correct_dar"
    SYNOPSIS = "Correct pixel tables for differential atmospheric refraction."
    ALGORITHM = (
        "Correct the positions of each pixel table for differential atmospheric refraction; on request measure what is "
        "left of it on the sources in the field (--darcheck). Pixel tables are not merged; muse_scipost does the same "
        "with exposures."
    )
    QC = "ESO QC SCIPOST "
    Parameters = CorrectDarParameters
    INPUTS = (frames.PIXTABLE_OBJECT,)
    PRODUCTS = (products.PIXTABLE_REDUCED.with_(mode="file", level="FINAL"),)

    def process(self, run: "Run", p: CorrectDarParameters) -> None:
        """Rewrite each table with other positions."""
        files = stages.opening.open_separately(run, frames.PIXTABLE_OBJECT.tag, p.wavelengths)
        calibration = stages.calibrate.CalibrationOptions(reference_wavelength=p.lambdaref)
        stages.separate.rewrite(run, files, p.wavelengths, calibration=calibration, check=p.darcheck)

# SPDX-License-Identifier: GPL-2.0-or-later
"""The recipe muse_scipost_calibrate_flux: pixel tables from counts to flux densities."""

from typing import TYPE_CHECKING

from muse_core import stages
from muse_core.model.declare import use
from muse_core.model.record import record
from muse_core.recipe import base, frames, parameters, products

if TYPE_CHECKING:
    from muse_core.recipe.run import Run


@record(kw_only=True)
class CalibrateFluxParameters:
    """The parameters of muse_scipost_calibrate_flux, in the order of the reference."""

    wavelengths: parameters.WavelengthRange = use(parameters.WavelengthRange)


class MuseScipostCalibrateFlux(base.Recipe):
    """Calibrate the flux of pixel tables."""

    NAME = "muse_scipost_calibrate_flux"
    SYNOPSIS = "Calibrate the flux of pixel tables."
    ALGORITHM = (
        "Calibrate the flux of each pixel table with response curve, atmospheric extinction and, if given, telluric "
        "absorption. Pixel tables are not merged: the levels of the IFUs and the flat-field spectrum stay as they are; "
        "muse_scipost does the same with exposures."
    )
    QC = "ESO QC SCIPOST "
    Parameters = CalibrateFluxParameters
    INPUTS = (frames.PIXTABLE_OBJECT, frames.EXTINCT_TABLE, frames.STD_RESPONSE, frames.STD_TELLURIC)
    PRODUCTS = (products.PIXTABLE_REDUCED.with_(mode="file", level="FINAL"),)

    def process(self, run: "Run", p: CalibrateFluxParameters) -> None:
        """Rewrite each table with other data and variances."""
        curves = stages.calibrations.load_flux_curves(run)
        files = stages.opening.open_separately(run, frames.PIXTABLE_OBJECT.tag, p.wavelengths)
        calibration = stages.calibrate.CalibrationOptions(curves=curves, flux=True)
        stages.separate.rewrite(run, files, p.wavelengths, calibration=calibration)

# SPDX-License-Identifier: GPL-2.0-or-later
"""The recipe muse_scipost_subtract_sky_simple: pixel tables without a given sky spectrum."""

from typing import TYPE_CHECKING

from muse_core import stages
from muse_core.model.declare import use
from muse_core.model.record import record
from muse_core.recipe import base, frames, parameters, products

if TYPE_CHECKING:
    from muse_core.recipe.run import Run
    from muse_core.stages.sky import SkySubtraction
    from muse_core.stages.tables import StoredTable


@record(kw_only=True)
class SubtractSkySimpleParameters:
    """The parameters of muse_scipost_subtract_sky_simple, in the order of the reference."""

    wavelengths: parameters.WavelengthRange = use(parameters.WavelengthRange)


class MuseScipostSubtractSkySimple(base.Recipe):
    """Subtract a given sky spectrum from pixel tables."""

    NAME = "muse_scipost_subtract_sky_simple"
    SYNOPSIS = "Subtract a given sky spectrum from pixel tables."
    ALGORITHM = (
        "Subtract the sky spectrum that muse_create_sky or muse_scipost made, interpolated, from each pixel table, as "
        "muse_scipost does with --skymethod=simple. Rows beyond it are dropped. Pixel tables are not merged."
    )
    QC = "ESO QC SCIPOST "
    Parameters = SubtractSkySimpleParameters
    INPUTS = (frames.PIXTABLE_REDUCED, frames.SKY_SPECTRUM)
    PRODUCTS = (products.PIXTABLE_REDUCED.with_(level="FINAL"),)

    def process(self, run: "Run", p: SubtractSkySimpleParameters) -> None:
        """Rewrite each table without sky."""
        sky = stages.sky.load_spectrum(run)
        files = stages.opening.open_separately(run, frames.PIXTABLE_REDUCED.tag, p.wavelengths)

        def subtraction(run: "Run", table: "StoredTable") -> "SkySubtraction | None":
            stages.sky.require_sky(run, table)
            return stages.sky.SkySubtraction.of(run, sky, table)

        stages.separate.rewrite(run, files, p.wavelengths, find_subtraction=subtraction)

# SPDX-License-Identifier: GPL-2.0-or-later
"""The recipe muse_scipost_subtract_sky: pixel tables without the sky of given lines and continuum."""

from typing import TYPE_CHECKING

from muse_core import stages
from muse_core.model.declare import parameter, use
from muse_core.model.record import record
from muse_core.recipe import base, frames, parameters, products

if TYPE_CHECKING:
    from muse_core.recipe.run import Run
    from muse_core.stages.sky import SkySubtraction
    from muse_core.stages.tables import StoredTable


@record(kw_only=True)
class SubtractSkyParameters:
    """The parameters of muse_scipost_subtract_sky, in the order of the reference."""

    wavelengths: parameters.WavelengthRange = use(parameters.WavelengthRange)
    orig: str = parameter("", help="Name of a further column in which the original data are kept; empty: none.")
    flux_sky: float = parameter(
        0.0,
        at_least=0,
        help="Level of the sky flat field (ESO DRS MUSE FLAT FLUX SKY) to which lines and continuum belong: the sky of "
        "a pixel table of another level is scaled. 0: flux_lamp counts.",
    )
    flux_lamp: float = parameter(
        0.0, at_least=0, help="The same for the lamp flat field (ESO DRS MUSE FLAT FLUX LAMP). 0: not scaled."
    )


class MuseScipostSubtractSky(base.Recipe):
    """Subtract given sky lines and continuum from pixel tables."""

    NAME = "muse_scipost_subtract_sky"
    SYNOPSIS = "Subtract given sky lines and continuum from pixel tables."
    ALGORITHM = (
        "Subtract sky continuum and sky lines, folded with the line spread function of each slice, from each flux "
        "calibrated pixel table, as muse_scipost does with --skymethod=subtract-model. Rows beyond the continuum are "
        "dropped. Pixel tables are not merged."
    )
    QC = "ESO QC SCIPOST "
    Parameters = SubtractSkyParameters
    INPUTS = (
        frames.PIXTABLE_REDUCED,
        frames.SKY_LINES.with_(minimum=1),
        frames.SKY_CONTINUUM.with_(minimum=1),
        frames.LSF_PROFILE.with_(minimum=1),
    )
    PRODUCTS = (products.PIXTABLE_REDUCED.with_(level="FINAL"),)

    def process(self, run: "Run", p: SubtractSkyParameters) -> None:
        """Rewrite each table without sky."""
        sky = stages.sky.given_sky(stages.sky.load_given_sky(run))
        files = stages.opening.open_separately(run, frames.PIXTABLE_REDUCED.tag, p.wavelengths)
        original = p.orig if p.orig or run.compat.original_always_kept else None
        location = stages.locate.LocationOptions(individual=True, original=original)

        def subtraction(run: "Run", table: "StoredTable") -> "SkySubtraction | None":
            stages.sky.require_sky(run, table, calibrated=True)
            scale = stages.sky.flat_level_ratio(table.header, sky=p.flux_sky, lamp=p.flux_lamp)
            return stages.sky.SkySubtraction.of(run, sky, table, scale, noted=True)

        stages.separate.rewrite(run, files, p.wavelengths, location=location, find_subtraction=subtraction)

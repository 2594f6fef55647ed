# SPDX-License-Identifier: GPL-2.0-or-later
"""The recipe muse_scipost_combine_pixtables: pixel tables of IFUs or exposures to one pixel table."""

import functools
from typing import TYPE_CHECKING

from muse_core import stages
from muse_core.model.declare import use
from muse_core.model.record import record
from muse_core.recipe import base, frames, parameters, products

if TYPE_CHECKING:
    from muse_core.recipe.run import Run


@record(kw_only=True)
class CombinePixtablesParameters:
    """The parameters of muse_scipost_combine_pixtables, in the order of the reference."""

    wavelengths: parameters.WavelengthRange = use(parameters.WavelengthRange)
    weight: str = use(parameters.WEIGHT)


class MuseScipostCombinePixtables(base.Recipe):
    """Pixel tables of IFUs, exposures, or both, to one pixel table."""

    NAME = "muse_scipost_combine_pixtables"
    SYNOPSIS = "Combine MUSE pixel tables, either from different IFUs, or from different exposures, or both."
    ALGORITHM = (
        "Group the pixel tables by exposure and merge the IFUs of each. If there are several exposures, whose "
        "positions have to be projected, put each on the sky, with its offset and flux scale (OFFSET_LIST), and weight "
        "them (--weight). Write one pixel table. A single exposure stays as it is, offset and flux scale included. "
        "This is a part of muse_scipost."
    )
    QC = "ESO QC SCIPOST "
    Parameters = CombinePixtablesParameters
    INPUTS = (frames.PIXTABLE_OBJECT, frames.OFFSET_LIST)
    PRODUCTS = (products.PIXTABLE_COMBINED,)

    def process(self, run: "Run", p: CombinePixtablesParameters) -> None:
        """Merge the IFUs of each exposure, put the exposures on the sky, write all in one table."""
        exposures = stages.opening.open_exposures(run, frames.PIXTABLE_OBJECT.tag, p.wavelengths)
        weights = stages.combine.find_weights(run, exposures, p.weight)
        pointing = stages.pointing.load_pointing(run)
        used = pointing if len(exposures) > 1 else None
        work = stages.plan.Work(
            exposures=exposures,
            wavelengths=p.wavelengths,
            pointing=used,
            in_one_pass=True,
            save=frozenset({"combined"}),
            n_tables=1,
            saves_weights=weights is not None,
        )
        with stages.plan.begin(run, work) as store:
            load = functools.partial(stages.exposures.load, pointing=used)
            table = stages.combine.combine(
                run, stages.exposures.reduce_each(run, exposures, store, load, used), weights
            )
            stages.combine.save_combined(run, table, store)

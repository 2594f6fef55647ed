# SPDX-License-Identifier: GPL-2.0-or-later
"""The recipe muse_scipost_raman: an exposure without the Raman lines of the lasers."""

from typing import TYPE_CHECKING

from muse_core import stages
from muse_core.model.declare import parameter, use
from muse_core.model.record import record
from muse_core.recipe import base, frames, parameters, products

if TYPE_CHECKING:
    from muse_core.recipe.run import Run


@record(kw_only=True)
class RamanParameters:
    """The parameters of muse_scipost_raman, in the order of the reference."""

    wavelengths: parameters.WavelengthRange = use(parameters.WavelengthRange)
    lambdaref: float = use(parameters.LAMBDAREF)
    width: float = use(parameters.RAMAN_WIDTH, name="width")
    crsigma: float = parameter(
        15.0,
        unit="sigma",
        hidden=True,
        help="Threshold of the cosmic-ray rejection in the white-light images of the bands; 0 or less switches it off.",
    )
    region: parameters.SkyRegion = use(parameters.SkyRegion)


class MuseScipostRaman(base.Recipe):
    """Remove the Raman lines of the lasers from an exposure."""

    NAME = "muse_scipost_raman"
    SYNOPSIS = "Remove the Raman lines of the lasers from an exposure."
    ALGORITHM = (
        "Merge the pixel tables of an exposure, calibrate its flux if a response is given, drop flagged rows, correct "
        "it for atmospheric refraction, and fit and subtract the Raman lines that the laser guide stars leave in the "
        "bands of O2 and N2. Do so before the sky is subtracted. Refraction is corrected here: "
        "muse_scipost_correct_dar is not needed."
    )
    QC = "ESO QC SCIPOST "
    Parameters = RamanParameters
    INPUTS = (
        frames.PIXTABLE_OBJECT.with_(maximum=1),
        frames.RAMAN_LINES.with_(minimum=1),
        frames.LSF_PROFILE.with_(minimum=1),
        frames.SKY_MASK.with_(minimum=1),
        frames.EXTINCT_TABLE.with_(minimum=0),
        frames.STD_RESPONSE.with_(minimum=0),
        frames.STD_TELLURIC,
    )
    PRODUCTS = (
        products.RAMAN_IMAGES,
        products.PIXTABLE_REDUCED.with_(mode="master", level="FINAL"),
    )

    def process(self, run: "Run", p: RamanParameters) -> None:
        """Calibrate the exposure, and clean it."""
        curves = stages.calibrations.load_flux_curves(run)
        lines, lsf = stages.raman.load_lines(run), stages.sky.load_lsf(run, for_sky=False)
        mask = stages.sky.load_sky_mask(run)
        exposure = stages.opening.open_single(run, frames.PIXTABLE_OBJECT.tag, p.wavelengths)
        calibration = stages.calibrate.CalibrationOptions(
            reference_wavelength=p.lambdaref,
            curves=curves,
            flux=curves.response is not None and not stages.calibrate.is_calibrated(run, exposure),
            drop_flagged=True,
        )
        options = stages.raman.RamanOptions(width=p.width, crsigma=p.crsigma, region=p.region, any_mode=True)
        work = stages.plan.Work(
            exposures=[exposure],
            wavelengths=p.wavelengths,
            curves=curves,
            save=frozenset({"individual", "raman"}),
            n_tables=1,
            steps=[] if lines is None else [stages.raman.PLANNED],
            bands=[] if lines is None else stages.raman.band_limits(p.width),
        )
        with stages.plan.begin(run, work) as store, stages.exposures.naming(exposure):
            table = stages.calibrate.calibrate(run, exposure, store, 0, calibration)
            pointing = stages.pointing.Pointing(run.compat)
            cleaned = stages.raman.clean(run, options, pointing, table, store, lines, lsf, mask)
            stages.locate.locate(run, table, store, stages.locate.LocationOptions(individual=True), None)
            if cleaned is not None:
                stages.raman.save_images(run, cleaned)

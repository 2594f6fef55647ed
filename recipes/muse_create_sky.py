# SPDX-License-Identifier: GPL-2.0-or-later
"""The recipe muse_create_sky: an exposure of empty sky to sky lines and sky continuum."""

from typing import TYPE_CHECKING

from muse_core import stages
from muse_core.model.declare import use
from muse_core.model.record import record
from muse_core.recipe import base, frames, parameters, products

if TYPE_CHECKING:
    from muse_core.recipe.run import Run


@record(kw_only=True)
class CreateSkyParameters:
    """The parameters of muse_create_sky, in the order of the reference."""

    sky: parameters.SkyModel = use(parameters.SkyModel)
    wavelengths: parameters.WavelengthRange = use(parameters.WavelengthRange)
    lambdaref: float = use(parameters.LAMBDAREF)


class MuseCreateSky(base.Recipe):
    """Make sky lines and sky continuum of an exposure of empty sky."""

    NAME = "muse_create_sky"
    SYNOPSIS = "Make sky lines and sky continuum of an exposure of empty sky."
    ALGORITHM = (
        "Merge the pixel tables of an exposure of (mostly) empty sky, calibrate its flux, correct it for atmospheric "
        "refraction, and find the sky in its white-light image (--fraction, --ignore; inside of SKY_MASK if that is "
        "given). Fit the sky lines to the spectrum of the sky, and take what is left as the continuum. The products "
        "serve for other exposures: muse_scipost --skymethod=subtract-model."
    )
    QC = "ESO QC SKY "
    Parameters = CreateSkyParameters
    INPUTS = (
        frames.PIXTABLE_SKY,
        frames.EXTINCT_TABLE,
        frames.STD_RESPONSE,
        frames.STD_TELLURIC,
        frames.SKY_LINES.with_(minimum=1),
        frames.SKY_CONTINUUM,
        frames.LSF_PROFILE.with_(minimum=1),
        frames.SKY_MASK,
    )
    PRODUCTS = (
        products.SKY_MASK.with_(mode="master"),
        products.SKY_IMAGE.with_(mode="master"),
        products.SKY_SPECTRUM.with_(mode="master"),
        products.SKY_LINES.with_(mode="master"),
        products.SKY_CONTINUUM.with_(mode="master"),
    )

    def process(self, run: "Run", p: CreateSkyParameters) -> None:
        """Calibrate the exposure, and model its sky."""
        curves = stages.calibrations.load_flux_curves(run)
        mask = stages.sky.load_sky_mask(run)
        n_before_fit = run.factory.calibrations_used
        options = stages.sky.SkyOptions(method="model", model=p.sky, from_sky_rows=True)
        known = stages.sky.load_sky_inputs(run, options, mask)
        exposure = stages.opening.open_single(run, frames.PIXTABLE_SKY.tag, p.wavelengths)
        calibration = stages.calibrate.CalibrationOptions(
            reference_wavelength=p.lambdaref, curves=curves, flux=True, drop_flagged=True
        )
        work = stages.plan.Work(
            exposures=[exposure],
            wavelengths=p.wavelengths,
            curves=curves,
            save=frozenset({"skymodel"}),
            steps=[stages.sky.planned(stages.whitelight.own_cube(p.sky.thresholds(run.compat)[0]), p.sky)],
        )
        with stages.plan.begin(run, work) as store, stages.exposures.naming(exposure):
            table = stages.calibrate.calibrate(run, exposure, store, 0, calibration)
            stages.sky.require_sky(run, table, calibrated=True)
            found = stages.sky.model_sky(run, options, known, stages.pointing.Pointing(run.compat), table, store)
            stages.sky.save_sky_alone(run, table, found, n_before_fit)

# SPDX-License-Identifier: GPL-2.0-or-later
"""The recipe muse_scipost: pixel tables of exposures to one calibrated, sky-subtracted, combined cube."""

import functools
from typing import TYPE_CHECKING

from muse_core import stages
from muse_core.model.declare import use
from muse_core.model.record import record
from muse_core.recipe import base, frames, parameters, products

if TYPE_CHECKING:
    from muse_core.engine.plan import ExposureStep
    from muse_core.engine.store import RowStore
    from muse_core.recipe.run import Run
    from muse_core.stages.exposures import ReducedExposure
    from muse_core.stages.opening import OpenedExposure
    from muse_core.steps.astrometry import Positioning

_SAVE = parameters.save(
    "cube,skymodel",
    cube="final cube and field-of-view images",
    autocal="autocalibration factors and mask",
    raman="images of the Raman fit",
    skymodel="sky mask, spectrum, lines, continuum",
    individual="pixel table of each exposure, calibrated",
    positioned="the same on the sky",
    combined="pixel table of all exposures",
    stacked="two-dimensional image of all slices",
)


@record(kw_only=True)
class ScipostParameters:
    """The parameters of muse_scipost, in the order of the reference."""

    save: str = use(_SAVE)
    resampling: parameters.Resampling = use(parameters.Resampling)
    format: str = use(parameters.FORMAT)
    weight: str = use(parameters.WEIGHT)
    filter: str = use(parameters.FILTER)
    autocalib: str = use(parameters.AUTOCALIB)
    raman_width: float = use(parameters.RAMAN_WIDTH)
    skymethod: str = use(parameters.SKYMETHOD)
    wavelengths: parameters.WavelengthRange = use(parameters.WavelengthRange)
    lambdaref: float = use(parameters.LAMBDAREF)
    darcheck: str = use(parameters.DARCHECK)
    sky: parameters.SkyModel = use(parameters.SkyModel, fraction=0.10, names=parameters.SKYMODEL_NAMES)
    rvcorr: str = use(parameters.RVCORR)
    astrometry: bool = use(parameters.ASTROMETRY)


class MuseScipost(base.Recipe):
    """MUSE pixel tables to calibrated, sky-subtracted, combined datacubes."""

    NAME = "muse_scipost"
    SYNOPSIS = "MUSE pixel tables to calibrated, sky-subtracted, combined datacubes."
    ALGORITHM = (
        "Group the pixel tables by exposure and merge the IFUs of each. Correct each exposure for atmospheric "
        "refraction, calibrate its flux (response, extinction, telluric absorption), remove Raman lines (adaptive "
        "optics, if RAMAN_LINES is given), autocalibrate the slices (--autocalib), subtract the sky (--skymethod), "
        "correct the wavelengths for the motion of the observer (--rvcorr) and put the pixels on the sky "
        "(ASTROMETRY_WCS). Then weight and combine the exposures, resample them into one datacube, and make images of "
        "the field through filters (--filter). --save selects what is written, from each exposure and from all."
    )
    QC = "ESO QC SCIPOST "
    ENDS_AT_FAILED_STEP = False
    Parameters = ScipostParameters
    INPUTS = (
        frames.PIXTABLE_OBJECT,
        frames.EXTINCT_TABLE,
        frames.STD_RESPONSE,
        frames.STD_TELLURIC,
        frames.ASTROMETRY_WCS,
        frames.OFFSET_LIST,
        frames.FILTER_LIST,
        frames.OUTPUT_WCS,
        frames.AUTOCAL_FACTORS,
        frames.RAMAN_LINES,
        frames.SKY_LINES,
        frames.SKY_CONTINUUM,
        frames.LSF_PROFILE,
        frames.SKY_MASK,
    )
    PRODUCTS = (
        products.DATACUBE_FINAL,
        products.IMAGE_FOV,
        products.OBJECT_RESAMPLED,
        products.PIXTABLE_REDUCED,
        products.PIXTABLE_POSITIONED,
        products.PIXTABLE_COMBINED,
        products.AUTOCAL_MASK,
        products.AUTOCAL_FACTORS,
        products.RAMAN_IMAGES,
        products.SKY_IMAGE,
        products.SKY_MASK,
        products.SKY_SPECTRUM,
        products.SKY_LINES,
        products.SKY_CONTINUUM,
    )

    def process(self, run: "Run", p: ScipostParameters) -> None:
        """Reduce each exposure, combine them, make the cube."""
        save = parameters.parse_tokens(_SAVE, p.save)
        resample = p.resampling.options(run.compat)
        steps = _ExposureSteps(run, p, save)
        exposures = stages.opening.open_exposures(run, frames.PIXTABLE_OBJECT.tag, p.wavelengths)
        weights = stages.combine.find_weights(run, exposures, p.weight)
        cube = None
        if "cube" in save:
            wanted = stages.cube.CubeOptions(resample=resample, format=p.format, filters=p.filter)
            cube = stages.cube.load_cube_inputs(run, wanted, exposures)
        work = stages.plan.Work(
            exposures=exposures,
            wavelengths=p.wavelengths,
            curves=steps.curves,
            pointing=steps.location.pointing,
            projects=p.astrometry,
            cube=cube,
            save=save,
            n_tables=len(save & {"individual", "positioned", "combined"}),
            saves_weights="combined" in save and weights is not None,
            stacked="stacked" in save,
            steps=steps.planned,
            in_one_pass=steps.need_no_barrier,
            bands=[] if steps.raman_lines is None else stages.raman.band_limits(p.raman_width),
        )
        with stages.plan.begin(run, work) as store:
            reduced = stages.exposures.reduce_each(run, exposures, store, steps.reduce, steps.location.pointing)
            if not save & {"cube", "combined", "stacked"}:
                return
            table = stages.combine.combine(run, reduced, weights)
            flagged = stages.cube.make_cube(run, cube, table, store)
            if "combined" in save:
                stages.combine.save_combined(run, table, store, flagged)
            if "stacked" in save:
                stages.stacked.make_stacked(run, resample.step, table, store, flagged)


class _ExposureSteps:
    """The steps from the files of an exposure to its rows on the sky: their options and inputs."""

    def __init__(self, run: "Run", p: ScipostParameters, save: frozenset[str]):
        self.save, self.darcheck = save, p.darcheck
        self.curves = stages.calibrations.load_flux_curves(run)
        self.calibration = stages.calibrate.CalibrationOptions(
            reference_wavelength=p.lambdaref, curves=self.curves, flux=p.darcheck == "none"
        )
        self.location = stages.locate.LocationOptions(
            pointing=stages.pointing.load_pointing(run),
            rvcorr=p.rvcorr,
            project=p.astrometry,
            individual="individual" in save,
            positioned="positioned" in save,
        )
        crsigma, _ = p.sky.thresholds(run.compat)
        self.raman_lines = self.raman = None
        if run.frames.first(frames.RAMAN_LINES.tag) is not None:
            self.raman_lines = stages.raman.load_lines(run)
            self.raman = stages.raman.RamanOptions(width=p.raman_width, crsigma=crsigma, region=p.sky)
        self.autocalibration = stages.autocalibration.AutocalibrationOptions(method=p.autocalib, crsigma=crsigma)
        self.factors = stages.autocalibration.load_factors(run, p.autocalib)
        self.sky = stages.sky.SkyOptions(method=p.skymethod, model=p.sky)
        self.known_sky = stages.sky.load_sky_inputs(
            run,
            self.sky,
            lsf_for_raman=self.raman_lines is not None,
            mask_for_autocalibration=p.autocalib == "deepfield",
        )

    @property
    def need_no_barrier(self) -> bool:
        """Does no step need all rows of an exposure, so that they can go from the file to the sky in one pass?"""
        return (
            self.darcheck == "none"
            and self.raman_lines is None
            and self.autocalibration.method == "none"
            and not self.sky.is_modelled
            and not self.location.writes_tables  # tables have to know beforehand how many rows are left
        )

    @property
    def planned(self) -> "list[ExposureStep]":
        """The steps between calibration and position, for the plan."""
        planned = [] if self.darcheck == "none" else [stages.darcheck.PLANNED, stages.calibrate.PLANNED_FLUX]
        if self.raman_lines is not None:
            planned.append(stages.raman.PLANNED)
        white_light = stages.whitelight.own_cube(self.autocalibration.crsigma)
        if self.autocalibration.method != "none":
            levels = self.autocalibration.method == "deepfield" and self.known_sky.mask is None
            planned.append(stages.autocalibration.planned(white_light if levels else None))
            white_light = None if levels else white_light
        if self.sky.is_modelled:
            planned.append(stages.sky.planned(white_light, self.sky.model))
        return planned

    def reduce(
        self,
        run: "Run",
        store: "RowStore",
        exposure: "OpenedExposure",
        first_row: int,
        reference: "Positioning | None",
    ) -> "ReducedExposure":
        """Reduce an exposure up to its rows on the sky, and write its own products."""
        pointing, known = self.location.pointing, self.known_sky
        if self.need_no_barrier:
            calibration = stages.calibrate.Calibration(run, exposure, first_row, self.calibration)
            subtraction = functools.partial(stages.sky.SkySubtraction.of, run, stages.sky.given_sky(known))
            located = stages.locate.calibrate_and_locate(run, calibration, store, self.location, reference, subtraction)
            return stages.exposures.ReducedExposure(calibration.table, located)
        table = stages.calibrate.calibrate(run, exposure, store, first_row, self.calibration)
        if self.darcheck != "none":
            stages.darcheck.check_refraction(run, table, store, correct=self.darcheck == "correct")
            stages.calibrate.calibrate_flux(run, table, store, self.curves)
        cleaned = None
        if self.raman is not None:
            given = self.raman_lines, known.lsf, known.mask
            cleaned = stages.raman.clean(run, self.raman, pointing, table, store, *given)
        levelled = stages.autocalibration.autocalibrate(
            run, self.autocalibration, pointing, table, store, self.factors, known.mask
        )
        found = stages.sky.model_sky(run, self.sky, known, pointing, table, store, levelled.white_light)
        subtraction = stages.sky.SkySubtraction.of(run, found, table)
        located = stages.locate.locate(run, table, store, self.location, reference, subtraction)
        if "autocal" in self.save:
            stages.autocalibration.save_autocal(run, levelled)
        if "raman" in self.save and cleaned is not None:
            stages.raman.save_images(run, cleaned)
        if "skymodel" in self.save:
            stages.sky.save_sky(run, table, found)
        return stages.exposures.ReducedExposure(table, located)

# SPDX-License-Identifier: GPL-2.0-or-later
"""What the recipe muse_scipost declares: its 27 parameters, its input frames, its products and their QC keywords."""

import dataclasses

from muse_core import __version__
from muse_core.model.declare import UNLIMITED, InputSpec, ProductSpec, QcSpec, describe_frames, parameter
from muse_core.model.resampling import METHODS

NAME = "muse_scipost"
CONTEXT = "muse.muse_scipost"
VERSION = __version__
PIPELINE = f"muse/{VERSION}"
AUTHOR = "The muse-scipost developers"
EMAIL = "the issue tracker of muse-scipost"
COPYRIGHT = (
    "muse-scipost is free software; you can redistribute it and/or modify it under the terms\n"
    "of the GNU General Public License as published by the Free Software Foundation; either\n"
    "version 2 of the License, or (at your option) any later version. It comes WITHOUT ANY WARRANTY."
)
SYNOPSIS = "MUSE pixel tables to calibrated, sky-subtracted, combined datacubes."
QC_PREFIX = "ESO QC SCIPOST "


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ScipostParameters:
    """The parameters of muse_scipost, in the order of the reference."""

    save: str = parameter(
        "cube,skymodel",
        help="Products to write, separated by commas: cube (final cube and field-of-view images), autocal "
        "(autocalibration factors and mask), raman (images of the Raman fit), skymodel (sky mask, spectrum, lines, "
        "continuum), individual (pixel table of each exposure, calibrated), positioned (the same on the sky), combined "
        "(pixel table of all exposures), stacked (two-dimensional image of all slices).",
    )
    resample: str = parameter(
        "drizzle",
        choices=tuple(METHODS),
        help="Method of resampling into the final cube.",
    )
    dx: float = parameter(
        0.0,
        at_least=0,
        unit="arcsec or pixel",
        help="Horizontal step of the cube, in arcsec (in pixels if the data have no "
        "astrometry). 0 means the nominal spaxel: 0.2 arcsec (WFM), 0.025 arcsec (NFM), 1 pixel.",
    )
    dy: float = parameter(0.0, at_least=0, unit="arcsec or pixel", help="Vertical step of the cube, as dx.")
    dlambda: float = parameter(
        0.0, at_least=0, unit="Angstrom", help="Wavelength step of the cube. 0 means 1.25 Angstrom."
    )
    crtype: str = parameter(
        "median",
        choices=("iraf", "mean", "median"),
        help="Statistics of the cosmic-ray rejection: iraf (mean and propagated variance), mean (mean and standard "
        "deviation), median (median and median absolute deviation).",
    )
    crsigma: float = parameter(
        15.0, unit="sigma", help="Threshold of the cosmic-ray rejection; 0 or less switches it off."
    )
    rc: float = parameter(1.25, above=0, unit="voxel", help="Critical radius of the renka method.")
    pixfrac: str = parameter(
        "0.8,0.8",
        help="Size of a drop relative to its pixel, for drizzle: one value for all axes, two for space and wavelength, "
        "or three for x, y and wavelength.",
    )
    ld: int = parameter(1, unit="voxel", help="Number of neighbouring voxels to search on each side.")
    format: str = parameter(
        "Cube",
        choices=("Cube", "Euro3D", "xCube", "xEuro3D", "sdpCube"),
        help="Format of the cube: FITS cube, Euro3D table, either with the field-of-view images inside (x), or a cube "
        "with the keywords of ESO's science data products (sdpCube).",
    )
    weight: str = parameter(
        "exptime",
        choices=("exptime", "fwhm", "none"),
        help="Weights of several exposures: exposure time, exposure time and seeing (from header keywords), or none.",
    )
    filter: str = parameter(
        "white",
        help="Filters of the field-of-view images, separated by commas: white, or names of extensions of FILTER_LIST; "
        "none for no image.",
    )
    autocalib: str = parameter(
        "none",
        choices=("none", "deepfield", "user"),
        help="Slice autocalibration: none, computed from the sky background (deepfield), or taken from "
        "AUTOCAL_FACTORS (user).",
    )
    raman_width: float = parameter(
        20.0,
        above=0,
        unit="Angstrom",
        hidden=True,
        help="Full width of the wavelength windows in which Raman lines are fitted.",
    )
    skymethod: str = parameter(
        "model",
        choices=("none", "subtract-model", "model", "simple"),
        help="Sky subtraction: none, with the given lines and continuum (subtract-model), with lines fitted to the "
        "darkest part of the field (model), or with the spectrum of that part itself (simple).",
    )
    lambdamin: float = parameter(4000.0, unit="Angstrom", help="Pixels below this wavelength are not loaded.")
    lambdamax: float = parameter(10000.0, unit="Angstrom", help="Pixels above this wavelength are not loaded.")
    lambdaref: float = parameter(
        7000.0,
        unit="Angstrom",
        help="Reference wavelength of the correction for atmospheric refraction; below 3500 or above 22000 it "
        "is switched off.",
    )
    darcheck: str = parameter(
        "none",
        choices=("none", "check", "correct"),
        help="Measure the residual refraction from sources in the field (check), and remove it (correct).",
    )
    skymodel_fraction: float = parameter(
        0.10, above=0, at_most=1, help="Fraction of the field, without the ignored part, that is used as sky."
    )
    skymodel_ignore: float = parameter(
        0.05, at_least=0, at_most=1, help="Fraction of the field, the darkest, that is ignored."
    )
    skymodel_sampling: float = parameter(
        0.3125, above=0, unit="Angstrom", hidden=True, help="Sampling of the sky spectrum."
    )
    skymodel_csampling: float = parameter(
        0.3125, above=0, unit="Angstrom", hidden=True, help="Sampling of the sky continuum."
    )
    sky_crsigma: str = parameter(
        "15.,15.",
        unit="sigma",
        hidden=True,
        help="Thresholds of the cosmic-ray rejections for the sky: in the cube of the white-light image, in "
        "the spectrum.",
    )
    rvcorr: str = parameter(
        "bary",
        choices=("bary", "helio", "geo", "none"),
        help="Rest frame of the wavelengths: barycentre, Sun, Earth, or none (topocentric).",
    )
    astrometry: bool = parameter(True, help="Use an astrometric calibration; without it the cube stays in pixels.")


SAVE_TOKENS = ("cube", "autocal", "raman", "skymodel", "individual", "positioned", "combined", "stacked")

_OPTIONAL = {"minimum": UNLIMITED, "maximum": 1}
_CALIB = {"group": "CALIB"}
INPUTS = (
    InputSpec("PIXTABLE_OBJECT", "RAW", 1, UNLIMITED, help="pixel tables of science exposures, one an IFU"),
    InputSpec("EXTINCT_TABLE", minimum=1, maximum=1, **_CALIB, help="atmospheric extinction curve"),
    InputSpec("STD_RESPONSE", minimum=1, maximum=1, **_CALIB, help="response curve"),
    InputSpec("STD_TELLURIC", **_OPTIONAL, **_CALIB, help="telluric absorption"),
    InputSpec("ASTROMETRY_WCS", **_OPTIONAL, **_CALIB, help="astrometric solution"),
    InputSpec("OFFSET_LIST", **_OPTIONAL, **_CALIB, help="offsets and flux scales of the exposures"),
    InputSpec("FILTER_LIST", **_OPTIONAL, **_CALIB, help="filter curves"),
    InputSpec("OUTPUT_WCS", **_OPTIONAL, **_CALIB, help="world coordinates of the cube to make"),
    InputSpec("AUTOCAL_FACTORS", minimum=0, maximum=1, **_CALIB, help="factors of an autocalibration"),
    InputSpec("RAMAN_LINES", minimum=0, maximum=1, **_CALIB, help="Raman lines"),
    InputSpec("SKY_LINES", minimum=0, maximum=1, **_CALIB, help="sky emission lines"),
    InputSpec("SKY_CONTINUUM", minimum=0, maximum=1, **_CALIB, help="sky continuum"),
    InputSpec("LSF_PROFILE", minimum=0, maximum=UNLIMITED, **_CALIB, help="line spread functions of the slices"),
    InputSpec("SKY_MASK", minimum=0, maximum=1, **_CALIB, help="mask of the sky regions"),
)

_FWHM_QC = (
    QcSpec("NDET", "int", "", "Number of detected sources in output cube."),
    QcSpec("LAMBDA", "float", "Angstrom", "Wavelength of plane in combined cube that was used for object detection."),
    QcSpec(
        "POSk X",
        "float",
        "pix",
        "Position of source k in x-direction in output cube. If the FWHM measurement fails, this value will be -1.",
    ),
    QcSpec(
        "POSk Y",
        "float",
        "pix",
        "Position of source k in y-direction in output cube. If the FWHM measurement fails, this value will be -1.",
    ),
    QcSpec(
        "FWHMk X",
        "float",
        "arcsec",
        "FWHM of source k in x-direction in output cube. If the FWHM measurement fails, this value will be -1.",
    ),
    QcSpec(
        "FWHMk Y",
        "float",
        "arcsec",
        "FWHM of source k in y-direction in output cube. If the FWHM measurement fails, this value will be -1.",
    ),
    QcSpec("FWHM NVALID", "int", "", "Number of detected sources with valid FWHM in output cube."),
    QcSpec(
        "FWHM MEDIAN",
        "float",
        "arcsec",
        "Median FWHM of all sources with valid FWHM measurement (in x- and y-direction). If less than "
        "three sources with valid FWHM are detected, this value is zero.",
    ),
    QcSpec(
        "FWHM MAD",
        "float",
        "arcsec",
        "Median absolute deviation of the FWHM of all sources with valid FWHM measurement (in x- and "
        "y-direction). If less than three sources with valid FWHM are detected, this value is zero.",
    ),
)
_MASK_QC = (
    QcSpec("LOWLIMIT", "double", "", "Low limit in the white light image used to ignore the darkest pixels"),
    QcSpec("THRESHOLD", "double", "", "Threshold in the white light image considered as sky"),
)
_LINE_FLUX = "erg/(s cm2 arcsec2)"
PRODUCTS = (
    ProductSpec("DATACUBE_FINAL", "master", "FINAL", "IMAGE", "combined datacube", _FWHM_QC),
    ProductSpec("IMAGE_FOV", "sequence", "FINAL", "IMAGE", "image of the field through a filter", _FWHM_QC),
    ProductSpec("OBJECT_RESAMPLED", "master", "FINAL", "IMAGE", "two-dimensional image of all slices"),
    ProductSpec("PIXTABLE_REDUCED", "dateobs", "INTERMEDIATE", "TABLE", "calibrated pixel table of an exposure"),
    ProductSpec("PIXTABLE_POSITIONED", "dateobs", "INTERMEDIATE", "TABLE", "the same, on the sky"),
    ProductSpec("PIXTABLE_COMBINED", "master", "INTERMEDIATE", "TABLE", "pixel table of all exposures"),
    ProductSpec("AUTOCAL_MASK", "dateobs", "INTERMEDIATE", "IMAGE", "sky mask of the autocalibration", _MASK_QC),
    ProductSpec("AUTOCAL_FACTORS", "dateobs", "INTERMEDIATE", "TABLE", "factors of the autocalibration"),
    ProductSpec(
        "RAMAN_IMAGES",
        "dateobs",
        "INTERMEDIATE",
        "IMAGE",
        "images of the Raman fit",
        (
            *(
                QcSpec(f"RAMAN SPATIAL {c}", "double", "", f"Spatial Raman fit coefficient {c}")
                for c in ("XX", "XY", "YY", "X", "Y")
            ),
            *(
                QcSpec(
                    f"RAMAN FLUX {m}", "float", _LINE_FLUX, f"Computed average Raman scattered flux in the {m} bands"
                )
                for m in ("O2", "N2")
            ),
        ),
    ),
    ProductSpec("SKY_IMAGE", "dateobs", "INTERMEDIATE", "IMAGE", "white-light image of the sky mask"),
    ProductSpec("SKY_MASK", "dateobs", "INTERMEDIATE", "IMAGE", "mask of the sky regions", _MASK_QC),
    ProductSpec("SKY_SPECTRUM", "dateobs", "INTERMEDIATE", "TABLE", "spectrum of the sky regions"),
    ProductSpec(
        "SKY_LINES",
        "dateobs",
        "FINAL",
        "TABLE",
        "fitted sky lines",
        (
            QcSpec("LINEl NAME", "string", "", "Name of the strongest line in group l"),
            QcSpec("LINEl AWAV", "double", "Angstrom", "Wavelength (air) of the strongest line of group l"),
            QcSpec("LINEl FLUX", "double", _LINE_FLUX, "Flux of the strongest line in group l"),
        ),
    ),
    ProductSpec(
        "SKY_CONTINUUM",
        "dateobs",
        "FINAL",
        "TABLE",
        "sky continuum",
        (
            QcSpec("CONT FLUX", "double", _LINE_FLUX, "Total flux of the continuum"),
            QcSpec(
                "CONT MAXDEV",
                "double",
                _LINE_FLUX.replace(")", " Angstrom)"),
                "Maximum (absolute value) of the derivative of the continuum spectrum",
            ),
        ),
    ),
)

DESCRIPTION = (
    "Group the pixel tables by exposure and merge the IFUs of each. Correct each exposure for atmospheric refraction, "
    "calibrate its flux (response, extinction, telluric absorption), remove Raman lines (adaptive optics, if "
    "RAMAN_LINES is given), autocalibrate the slices (--autocalib), subtract the sky (--skymethod), correct the "
    "wavelengths for the motion of the observer (--rvcorr) and put the pixels on the sky (ASTROMETRY_WCS). Then weight "
    "and combine the exposures, resample them into one datacube, and make images of the field through filters "
    "(--filter). --save selects what is written, from each exposure and from all.\n\n"
    + describe_frames("PIXTABLE_OBJECT", INPUTS, PRODUCTS)
)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Product tags that several recipes make, each declared once with its QC keywords; `with_` as in `frames`."""

from muse_core.model.declare import ProductSpec, QcSpec

FWHM_QC = (
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
DATACUBE_FINAL = ProductSpec("DATACUBE_FINAL", "master", "FINAL", "IMAGE", "combined datacube", FWHM_QC, save="cube")
IMAGE_FOV = ProductSpec(
    "IMAGE_FOV", "sequence", "FINAL", "IMAGE", "image of the field through a filter", FWHM_QC, save="cube"
)
OBJECT_RESAMPLED = ProductSpec(
    "OBJECT_RESAMPLED", "master", "FINAL", "IMAGE", "two-dimensional image of all slices", save="stacked"
)
PIXTABLE_REDUCED = ProductSpec(
    "PIXTABLE_REDUCED", "dateobs", "INTERMEDIATE", "TABLE", "calibrated pixel table of an exposure", save="individual"
)
PIXTABLE_POSITIONED = ProductSpec(
    "PIXTABLE_POSITIONED", "dateobs", "INTERMEDIATE", "TABLE", "the same, on the sky", save="positioned"
)
PIXTABLE_COMBINED = ProductSpec(
    "PIXTABLE_COMBINED", "master", "INTERMEDIATE", "TABLE", "pixel table of all exposures", save="combined"
)
AUTOCAL_MASK = ProductSpec(
    "AUTOCAL_MASK", "dateobs", "INTERMEDIATE", "IMAGE", "sky mask of the autocalibration", _MASK_QC, save="autocal"
)
AUTOCAL_FACTORS = ProductSpec(
    "AUTOCAL_FACTORS", "dateobs", "INTERMEDIATE", "TABLE", "factors of the autocalibration", save="autocal"
)
RAMAN_IMAGES = ProductSpec(
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
            QcSpec(f"RAMAN FLUX {m}", "float", _LINE_FLUX, f"Computed average Raman scattered flux in the {m} bands")
            for m in ("O2", "N2")
        ),
    ),
    save="raman",
)
SKY_IMAGE = ProductSpec(
    "SKY_IMAGE", "dateobs", "INTERMEDIATE", "IMAGE", "white-light image of the sky mask", save="skymodel"
)
SKY_MASK = ProductSpec(
    "SKY_MASK", "dateobs", "INTERMEDIATE", "IMAGE", "mask of the sky regions", _MASK_QC, save="skymodel"
)
SKY_SPECTRUM = ProductSpec(
    "SKY_SPECTRUM", "dateobs", "INTERMEDIATE", "TABLE", "spectrum of the sky regions", save="skymodel"
)
SKY_LINES = ProductSpec(
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
    save="skymodel",
)
SKY_CONTINUUM = ProductSpec(
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
            "erg/(s cm2 arcsec2 Angstrom)",
            "Maximum (absolute value) of the derivative of the continuum spectrum",
        ),
    ),
    save="skymodel",
)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Parameters that several recipes have, each declared once; a recipe takes them with `declare.use`.

Those that are used together are a group: a frozen dataclass, whose instance a recipe hands to a stage.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from muse_core.errors import ParameterError
from muse_core.model.declare import ParameterSpec, parameter
from muse_core.model.record import record
from muse_core.model.resampling import METHODS

if TYPE_CHECKING:
    from muse_core.model.compat import Compat
    from muse_core.steps.resample import ResampleOptions


@record(kw_only=True)
class WavelengthRange:
    """Which rows are loaded.

    Raises
    ------
    ParameterError
        It is empty.
    """

    lambdamin: float = parameter(4000.0, unit="Angstrom", help="Pixels below this wavelength are not loaded.")
    lambdamax: float = parameter(10000.0, unit="Angstrom", help="Pixels above this wavelength are not loaded.")

    def __post_init__(self) -> None:
        if self.lambdamin >= self.lambdamax:
            found = f"{self.lambdamin:g} and {self.lambdamax:g}"
            raise ParameterError(f"parameters lambdamin, lambdamax: found {found}, expected a range")


@record(kw_only=True)
class Resampling:
    """How rows are resampled into a cube."""

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

    def options(self, compat: "Compat") -> "ResampleOptions":
        """Return what the resampling step takes.

        Raises
        ------
        ParameterError
            `pixfrac` cannot be used.
        """
        from muse_core.steps.resample import ResampleOptions, parse_pixfrac

        return ResampleOptions(
            method=self.resample,
            crtype=self.crtype,
            crsigma=self.crsigma,
            ld=self.ld,
            rc=self.rc,
            pixfrac=parse_pixfrac(self.pixfrac, compat),
            step=(self.dx, self.dy, self.dlambda),
        )


@record(kw_only=True)
class SkyRegion:
    """Which part of the field is sky."""

    fraction: float = parameter(
        0.75, above=0, at_most=1, help="Fraction of the field, without the ignored part, that is used as sky."
    )
    ignore: float = parameter(0.05, at_least=0, at_most=1, help="Fraction of the field, the darkest, that is ignored.")


@record(kw_only=True)
class SkyModel(SkyRegion):
    """How the sky is modelled."""

    sampling: float = parameter(0.3125, above=0, unit="Angstrom", hidden=True, help="Sampling of the sky spectrum.")
    csampling: float = parameter(0.3125, above=0, unit="Angstrom", hidden=True, help="Sampling of the sky continuum.")
    crsigma: str = parameter(
        "15.,15.",
        unit="sigma",
        hidden=True,
        help="Thresholds of the cosmic-ray rejections for the sky: in the cube of the white-light image, in "
        "the spectrum.",
    )

    def thresholds(self, compat: "Compat") -> tuple[float, float]:
        """Return the thresholds in the cube and in the spectrum; see `muse_core.steps.sky.options.parse_crsigma`."""
        from muse_core.steps.sky.options import parse_crsigma

        return parse_crsigma(self.crsigma, compat)


FORMAT = ParameterSpec(
    name="format",
    default="Cube",
    choices=("Cube", "Euro3D", "xCube", "xEuro3D", "sdpCube"),
    help="Format of the cube: FITS cube, Euro3D table, either with the field-of-view images inside (x), or a cube "
    "with the keywords of ESO's science data products (sdpCube).",
)
WEIGHT = ParameterSpec(
    name="weight",
    default="exptime",
    choices=("exptime", "fwhm", "none"),
    help="Weights of several exposures: exposure time, exposure time and seeing (from header keywords), or none.",
)
FILTER = ParameterSpec(
    name="filter",
    default="white",
    help="Filters of the field-of-view images, separated by commas: white, or names of extensions of FILTER_LIST; "
    "none for no image.",
)
AUTOCALIB = ParameterSpec(
    name="autocalib",
    default="none",
    choices=("none", "deepfield", "user"),
    help="Slice autocalibration: none, computed from the sky background (deepfield), or taken from "
    "AUTOCAL_FACTORS (user).",
)
RAMAN_WIDTH = ParameterSpec(
    name="raman_width",
    default=20.0,
    above=0,
    unit="Angstrom",
    hidden=True,
    help="Full width of the wavelength windows in which Raman lines are fitted.",
)
SKYMETHOD = ParameterSpec(
    name="skymethod",
    default="model",
    choices=("none", "subtract-model", "model", "simple"),
    help="Sky subtraction: none, with the given lines and continuum (subtract-model), with lines fitted to the "
    "darkest part of the field (model), or with the spectrum of that part itself (simple).",
)
LAMBDAREF = ParameterSpec(
    name="lambdaref",
    default=7000.0,
    unit="Angstrom",
    help="Reference wavelength of the correction for atmospheric refraction; below 3500 or above 22000 it "
    "is switched off.",
)
DARCHECK = ParameterSpec(
    name="darcheck",
    default="none",
    choices=("none", "check", "correct"),
    help="Measure the residual refraction from sources in the field (check), and remove it (correct).",
)
RVCORR = ParameterSpec(
    name="rvcorr",
    default="bary",
    choices=("bary", "helio", "geo", "none"),
    help="Rest frame of the wavelengths: barycentre, Sun, Earth, or none (topocentric).",
)
ASTROMETRY = ParameterSpec(
    name="astrometry",
    default=True,
    help="Use an astrometric calibration; without it the cube stays in pixels.",
)


def save(default: str, **tokens: str) -> ParameterSpec:
    """Declare the parameter `save` of a recipe whose products have these tokens, each with what it stands for."""
    listed = ", ".join(f"{token} ({meaning})" for token, meaning in tokens.items())
    return ParameterSpec(
        name="save", default=default, tokens=tuple(tokens), help=f"Products to write, separated by commas: {listed}."
    )


def parse_tokens(spec: ParameterSpec, text: str) -> frozenset[str]:
    """Return the tokens of a parameter that is a list of some.

    Raises
    ------
    ParameterError
        No token, or an unknown one.
    """
    found = [token for token in text.split(",") if token]
    unknown = [token for token in found if token not in spec.tokens]
    if unknown or not found:
        names = ", ".join(map(repr, unknown)) or "nothing"
        raise ParameterError(f"parameter {spec.name}: found {names}, expected some of {', '.join(spec.tokens)}")
    return frozenset(found)


#: Names of the parameters of the sky model in muse_scipost.
SKYMODEL_NAMES: Mapping[str, str] = {
    "fraction": "skymodel_fraction",
    "ignore": "skymodel_ignore",
    "sampling": "skymodel_sampling",
    "csampling": "skymodel_csampling",
    "crsigma": "sky_crsigma",
}

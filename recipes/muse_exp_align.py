# SPDX-License-Identifier: GPL-2.0-or-later
"""The recipe muse_exp_align: field-of-view images of exposures to the offsets between them."""

from typing import TYPE_CHECKING

from muse_core import stages
from muse_core.model.declare import UNLIMITED, InputSpec, ProductSpec, QcSpec, parameter
from muse_core.model.record import record
from muse_core.recipe import base

if TYPE_CHECKING:
    from muse_core.recipe.run import Run
    from muse_core.steps.align.match import MatchOptions
    from muse_core.steps.align.stars import DetectionOptions


@record(kw_only=True)
class ExpAlignParameters:
    """The parameters of muse_exp_align, in the order of the reference."""

    rsearch: str = parameter(
        "30.,4.,2.,0.8",
        unit="arcsec",
        help="Search radii of the rounds in which the offsets are found, separated by commas.",
    )
    nbins: int = parameter(
        60, at_least=2, help="Bins along each axis of the two-dimensional histogram of the first round."
    )
    weight: bool = parameter(True, help="Weight pairs of images by number and scatter of their common sources.")
    fwhm: float = parameter(5.0, above=0.5, unit="pixel", help="Full width at half maximum of a point source.")
    threshold: float = parameter(
        15.0,
        help="Height above which point sources are detected, at first. If it is 0 or less, its absolute value is taken "
        "as a multiple of the median absolute deviation, above the median of the background.",
    )
    bkgignore: float = parameter(0.05, at_least=0, at_most=1, help="Fraction of the image, the darkest, to ignore.")
    bkgfraction: float = parameter(
        0.1, above=0, at_most=1, help="Fraction of the image, without the ignored part, that is background."
    )
    step: float = parameter(0.5, above=0, help="By how much the threshold is changed if too many or too few are found.")
    iterations: int = parameter(100000, help="How often the threshold is changed at most.")
    srcmin: int = parameter(5, help="Number of sources that an image must have at least.")
    srcmax: int = parameter(80, help="Number of sources that an image may have at most.")
    roundmin: float = parameter(-1.0, help="Lower limit of the roundness of a point source.")
    roundmax: float = parameter(1.0, help="Upper limit of the roundness of a point source.")
    sharpmin: float = parameter(0.2, help="Lower limit of the sharpness of a point source.")
    sharpmax: float = parameter(1.0, help="Upper limit of the sharpness of a point source.")
    expmap: bool = parameter(False, hidden=True, help="Make a map of the exposure time of the combined field.")
    bpixdistance: float = parameter(
        5.0,
        at_least=0,
        unit="pixel",
        help="Detected sources that are nearer to a pixel without data are not used; without effect on given sources.",
    )
    override_detection: bool = parameter(
        False, hidden=True, help="Take the sources of each image from its SOURCE_LIST instead of detecting them."
    )

    def detection(self) -> "DetectionOptions":
        """Return what the detection takes."""
        from muse_core.steps.align.stars import DetectionOptions

        return DetectionOptions(
            fwhm=self.fwhm,
            threshold=self.threshold,
            step=self.step,
            iterations=self.iterations,
            srcmin=self.srcmin,
            srcmax=self.srcmax,
            roundness=(self.roundmin, self.roundmax),
            sharpness=(self.sharpmin, self.sharpmax),
            ignore=self.bkgignore,
            fraction=self.bkgfraction,
            bad_pixel_distance=self.bpixdistance,
        )

    def matching(self) -> "MatchOptions":
        """Return what the matching takes."""
        from muse_core.steps.align.match import MatchOptions, parse_radii

        return MatchOptions(radii=parse_radii(self.rsearch), nbins=self.nbins, weighted=self.weight)


_ARCSEC = ("float", "arcsec")
_OFFSET_QC = (
    QcSpec("NDETi", "int", "", "Number of detected sources for input image i"),
    QcSpec("NMATCHi", "int", "", "Median number of matches of input image i with other images"),
    QcSpec("NMATCH MIN", "int", "", "Minimum of the median number of matches for all input images"),
    QcSpec("NOMATCH", "int", "", "Number of input images that do not have any matches with other images"),
    *(
        QcSpec(f"OFFSET {axis} {name}", *_ARCSEC, text.format(axis))
        for axis in ("RA", "DEC")
        for name, text in (
            ("MIN", "{} minimum offset."),
            ("MAX", "{} maximum offset."),
            ("MEAN", "{} mean offset."),
            ("STDEV", "Standard deviation of {} offsets."),
        )
    ),
)
_SOURCE_QC = (
    QcSpec("SRC POSITIONS", "string", "", "Origin of the source positions, detection or catalog"),
    QcSpec("NDET", "int", "", "Number of detected sources."),
    QcSpec("BKG MEDIAN", "float", "", "Median value of background pixels."),
    QcSpec("BKG MAD", "float", "", "Median absolute deviation of the background pixels."),
    QcSpec("THRESHOLD", "float", "", "Detection threshold used for detecting sources."),
)
_EXPTIME_QC = tuple(
    QcSpec(f"EXPTIME {name}", "float", "s", f"{word} exposure time of the combined field-of-view")
    for name, word in (("MIN", "Minimum"), ("MAX", "Maximum"), ("AVG", "Average"), ("MED", "Median"))
)


def _product(tag: str, mode: str, frame_type: str, text: str, qc: tuple[QcSpec, ...] = ()) -> ProductSpec:
    return ProductSpec(tag, mode, "FINAL", frame_type, text, qc, science=False)


class MuseExpAlign(base.Recipe):
    """Field-of-view images of exposures to the offsets between them."""

    NAME = "muse_exp_align"
    SYNOPSIS = "Offsets between exposures, from the point sources of their field-of-view images."
    ALGORITHM = (
        "Find the point sources of each image (DAOPHOT's FIND): convolve it with the profile of a point source, take "
        "the maxima above a threshold (--threshold), which is changed until there are enough and not too many "
        "(--srcmin, --srcmax), and leave out those that are not round or sharp, or near pixels without data. Match "
        "the sources of each pair of images, first by the most frequent offset within the first search radius "
        "(--rsearch), then by the median offset within the next ones; from all pairs follow the offsets of the "
        "images, by least squares. The OFFSET_LIST has them relative to the first image, for muse_scipost and "
        "muse_exp_combine. With --override_detection=true, the sources are those of SOURCE_LIST, one an image."
    )
    QC = "ESO QC EXPALIGN "
    Parameters = ExpAlignParameters
    INPUTS = (
        InputSpec("IMAGE_FOV", "RAW", 2, UNLIMITED, "field-of-view images of exposures"),
        InputSpec("SOURCE_LIST", "CALIB", 0, UNLIMITED, "sources of an image (--override_detection)"),
    )
    PRODUCTS = (
        _product("EXPOSURE_MAP", "master", "IMAGE", "exposure time of the field (--expmap)", _EXPTIME_QC),
        _product("PREVIEW_FOV", "master", "IMAGE", "sum of the aligned images"),
        _product("SOURCE_LIST", "dateobs", "TABLE", "sources of an image", _SOURCE_QC),
        _product("OFFSET_LIST", "master", "TABLE", "offsets of the exposures", _OFFSET_QC),
    )

    def process(self, run: "Run", p: ExpAlignParameters) -> None:
        """Find the sources of the images, then the offsets between them."""
        detection, matching = p.detection(), p.matching()
        images = stages.align.load_images(run, "IMAGE_FOV")
        given = stages.align.load_sources(run, "SOURCE_LIST", images) if p.override_detection else None
        with stages.plan.begin(run, stages.plan.Work(images=[image.data.size for image in images])):
            sources = given or stages.align.detect_sources(run, images, detection)
            alignment = stages.align.align(run, images, sources, matching)
            layout = stages.align.Mosaic.of(run, images, alignment)
            stages.align.save_offsets(run, "OFFSET_LIST", images, sources, alignment)
            stages.align.save_sources(run, "SOURCE_LIST", images, sources, alignment)
            stages.align.save_preview(run, "PREVIEW_FOV", layout)
            if p.expmap:
                stages.align.save_exposure_map(run, "EXPOSURE_MAP", layout)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Sources, offsets and mosaics of made-up fields, step by step, against what ESO's muse_exp_align makes of them."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from harness import run
from harness.fields import DITHERED, FIELDS, TARGET, Field, View

from muse_core.io.fov import read_fov_image
from muse_core.model.compat import OURS, Compat
from muse_core.steps.align import match, mosaic, stars

pytestmark = pytest.mark.reference

COS_DEC = np.cos(np.radians(TARGET[1]))
THEIRS = Compat.reference()


@dataclasses.dataclass
class Products:
    """What the reference makes of some images."""

    folder: Path
    images: list[Path]

    @classmethod
    def of(cls, images: list[Path], folder: Path, *parameters: str, status: int = 0) -> "Products":
        folder.mkdir(parents=True, exist_ok=True)
        sof = folder / "images.sof"
        sof.write_text("".join(f"{path} IMAGE_FOV\n" for path in images))
        outcome = run.reference(sof, folder, *parameters, recipe="muse_exp_align")
        assert outcome.status == status, outcome.output
        return cls(folder, images)

    def sources(self, number: int) -> np.ndarray:
        return fits.getdata(self.folder / f"SOURCE_LIST_{number:04d}.fits", 1)

    def offsets(self) -> np.ndarray:
        table = fits.getdata(self.folder / "OFFSET_LIST.fits", 1)
        return np.column_stack([table["RA_OFFSET"], table["DEC_OFFSET"]])


@dataclasses.dataclass
class Aligned:
    """The same by our steps."""

    images: list
    detections: list[stars.Detection]
    result: match.Alignment

    @classmethod
    def of(cls, paths, compat=THEIRS, options=None, matching=None) -> "Aligned":
        images = [read_fov_image(path) for path in paths]
        options = options or stars.DetectionOptions()
        detections = [stars.detect(image.data, options, image.where, compat) for image in images]
        positions = [
            image.grid.sky(found.stars["x"], found.stars["y"]) for image, found in zip(images, detections, strict=True)
        ]
        return cls(images, detections, match.align(positions, matching or match.MatchOptions(), compat))

    def mosaic(self, compat=THEIRS):
        grids = [i.grid.moved(*o) for i, o in zip(self.images, self.result.offsets, strict=True)]
        grid, shape = mosaic.mosaic_grid(grids, [image.data.shape for image in self.images], compat)
        return grid, mosaic.overlay(grids, [image.data for image in self.images], grid, shape)


def same_sources(found: stars.Detection, expected: np.ndarray) -> None:
    assert len(found.stars) == len(expected)
    for name, column in zip(stars.STAR.names, ("X", "Y", "Flux", "Sharpness", "Roundness"), strict=True):
        np.testing.assert_allclose(found.stars[name], expected[column], rtol=1e-10, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("name", FIELDS)
def test_fields(name, tmp_path):
    field = FIELDS[name]
    images = field.write(tmp_path / "images")
    theirs, ours = Products.of(images, tmp_path / "reference"), Aligned.of(images)
    for number, detection in enumerate(ours.detections, 1):
        same_sources(detection, theirs.sources(number))
    expected = theirs.offsets()
    np.testing.assert_allclose(ours.result.offsets, expected, atol=1e-12)
    with fits.open(tmp_path / "reference" / "PREVIEW_FOV.fits") as hdus:
        grid, preview = ours.mosaic()
        np.testing.assert_array_equal(preview, hdus[1].data)
        for key, value in grid.cards():
            assert hdus[1].header[key] == (value if isinstance(value, str) else pytest.approx(value, abs=1e-6))
    # without the defects of the reference; an exposure that is elsewhere has no source in common
    seen = [any(row) for row in ours.result.matches]
    default = Aligned.of(images, OURS).result.offsets
    arcsec = 3600 * np.array([COS_DEC, 1.0])
    assert np.abs((default - expected) * arcsec).max() < 1e-4
    assert np.abs((default - field.true_offsets()) * arcsec)[seen].max() < 0.005


def test_orientations_of_images(tmp_path):
    """Positions in the reference are off by a pixel: offsets between images of different orientation are wrong."""
    field = Field(30, (View(), View(error=(0.5, 0.2), orientation=90.0), View(error=(-0.5, 0.0), orientation=215.0)))
    images = field.write(tmp_path / "images")
    theirs, ours = Products.of(images, tmp_path / "reference"), Aligned.of(images)
    expected = theirs.offsets()
    np.testing.assert_allclose(ours.result.offsets, expected, atol=1e-12)
    arcsec, truth = 3600 * np.array([COS_DEC, 1.0]), field.true_offsets()
    assert np.abs((expected - truth) * arcsec).max() > 0.2
    assert np.abs((Aligned.of(images, OURS).result.offsets - truth) * arcsec).max() < 0.005


OPTIONS = {
    "fwhm": ({"fwhm": 3.3}, ["--fwhm=3.3"]),
    "wide": ({"fwhm": 12.0, "sharpness": (0.5, 4.0)}, ["--fwhm=12", "--sharpmin=0.5", "--sharpmax=4"]),
    "narrow": ({"fwhm": 1.0, "threshold": 6.0, "srcmax": 1000}, ["--fwhm=1", "--threshold=6", "--srcmax=1000"]),
    "all maxima": ({"threshold": 0.5, "srcmax": 9999}, ["--threshold=0.5", "--srcmax=9999"]),
    "relative threshold": ({"threshold": -90.0}, ["--threshold=-90"]),
    "background": (
        {"threshold": -9.0, "ignore": 0.3, "fraction": 0.6, "srcmax": 999},
        ["--threshold=-9", "--bkgignore=0.3", "--bkgfraction=0.6", "--srcmax=999"],
    ),
    "step down": ({"threshold": 900.0, "step": 7.7, "srcmin": 9}, ["--threshold=900", "--step=7.7", "--srcmin=9"]),
    "step up": ({"threshold": 1.0, "step": 4.4, "srcmax": 20}, ["--threshold=1", "--step=4.4", "--srcmax=20"]),
    "shapes": (
        {"roundness": (-0.06, 0.08), "sharpness": (0.5, 0.62)},
        ["--roundmin=-0.06", "--roundmax=0.08", "--sharpmin=0.5", "--sharpmax=0.62"],
    ),
    "bad pixels": ({"bad_pixel_distance": 30.3}, ["--bpixdistance=30.3"]),
}


@pytest.fixture(scope="module")
def bad_edge(tmp_path_factory):
    return FIELDS["bad-edge"].write(tmp_path_factory.mktemp("bad-edge"))[:2]


@pytest.mark.parametrize("name", OPTIONS)
def test_options_of_the_detection(name, bad_edge, tmp_path):
    options, parameters = OPTIONS[name]
    theirs = Products.of(bad_edge, tmp_path, *parameters)
    ours = Aligned.of(bad_edge, options=stars.DetectionOptions(**options))
    for number, detection in enumerate(ours.detections, 1):
        same_sources(detection, theirs.sources(number))
    np.testing.assert_allclose(ours.result.offsets, theirs.offsets(), atol=1e-11)


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        ({"radii": (30.0,)}, ["--rsearch=30"]),
        ({"radii": (12.5, 3.0), "nbins": 37}, ["--rsearch=12.5,3,", "--nbins=37"]),
        ({"weighted": False}, ["--weight=false"]),
        ({"radii": (0.1, 0.05)}, ["--rsearch=0.1,0.05"]),  # nothing overlaps
    ],
)
def test_options_of_the_matching(options, parameters, tmp_path):
    images = dataclasses.replace(FIELDS["few"], views=DITHERED).write(tmp_path / "images")
    theirs = Products.of(images, tmp_path / "reference", *parameters)
    ours = Aligned.of(images, matching=match.MatchOptions(**options))
    np.testing.assert_allclose(ours.result.offsets, theirs.offsets(), atol=1e-12)

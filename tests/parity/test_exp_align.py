# SPDX-License-Identifier: GPL-2.0-or-later
"""The recipe muse_exp_align against ESO's on made-up fields: all products, and the offsets against the truth."""

import dataclasses
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from harness import compare, run
from harness.fields import DITHERED, FIELDS, TARGET, Field, View

from muse_core.io.calibration import read_offsets

pytestmark = pytest.mark.reference

RECIPE = "muse_exp_align"
ARCSEC = 3600 * np.array([np.cos(np.radians(TARGET[1])), 1.0])
FEW = dataclasses.replace(FIELDS["few"], views=DITHERED[:2])
BAD_EDGE = dataclasses.replace(FIELDS["bad-edge"], views=DITHERED[:2])
ROTATED = Field(
    30, (View(), View(error=(0.5, 0.2), orientation=90.0), View(error=(-0.5, 0.0), orientation=215.0, exptime=60.0))
)

#: Field and parameters of a run.
CASES = {
    **{name: (field, "--expmap=true") for name, field in FIELDS.items()},
    "orientations": (ROTATED, "--expmap=true"),
    "narrow field mode": (dataclasses.replace(FEW, mode="NFM-AO-N"), ""),
    "fwhm": (BAD_EDGE, "--fwhm=3.3"),
    "wide": (BAD_EDGE, "--fwhm=12 --sharpmin=0.5 --sharpmax=4"),
    "narrow": (BAD_EDGE, "--fwhm=1 --threshold=6 --srcmax=1000"),
    "all maxima": (BAD_EDGE, "--threshold=0.5 --srcmax=9999"),
    "relative threshold": (BAD_EDGE, "--threshold=-90"),
    "background": (BAD_EDGE, "--threshold=-9 --bkgignore=0.3 --bkgfraction=0.6 --srcmax=999"),
    "step down": (BAD_EDGE, "--threshold=900 --step=7.7 --srcmin=9"),
    "step up": (BAD_EDGE, "--threshold=1 --step=4.4 --srcmax=20 --iterations=500"),
    "shapes": (BAD_EDGE, "--roundmin=-0.06 --roundmax=0.08 --sharpmin=0.5 --sharpmax=0.62"),
    "bad pixels": (BAD_EDGE, "--bpixdistance=30.3"),
    "one radius": (FEW, "--rsearch=30"),
    "radii and bins": (FEW, "--rsearch=12.5,3, --nbins=37"),
    "no weights": (FIELDS["few"], "--weight=false"),
    "nothing in common": (FEW, "--rsearch=0.1,0.05"),
    "as drivers call it": (FIELDS["few"], "--srcmin=3 --srcmax=80 --threshold=10"),
}


def run_both(images: list[Path], folder: Path, *parameters: str, lists: list[Path] = ()) -> list[run.Outcome]:
    """Run the reference and ours at the same time."""
    folder.mkdir(exist_ok=True)
    sof = folder / "images.sof"
    lines = [f"{path} IMAGE_FOV" for path in images] + [f"{path} SOURCE_LIST" for path in lists]
    sof.write_text("\n".join(lines) + "\n")
    with ThreadPoolExecutor() as pool:
        commands = (("reference", run.reference), ("ours", run.ours))
        runs = [pool.submit(command, sof, folder / name, *parameters, recipe=RECIPE) for name, command in commands]
    return [pending.result() for pending in runs]


def differences(expected: run.Outcome, found: run.Outcome) -> list[str]:
    """Return what is wrong with our products."""
    assert expected.status == 0, expected.output
    assert found.status == 0, found.output
    assert any(expected.folder.glob("*.fits"))
    return compare.products(expected.folder, found.folder)


def offsets(folder: Path) -> np.ndarray:
    """Return the offsets in degrees, shape (n, 2)."""
    table = read_offsets(folder / "OFFSET_LIST.fits")
    return np.column_stack([table.ra_offset, table.dec_offset])


@pytest.mark.parametrize("name", CASES)
def test_products(name, tmp_path):
    field, parameters = CASES[name]
    images = field.write(tmp_path / "images")
    assert differences(*run_both(images, tmp_path, *parameters.split())) == []


@pytest.mark.parametrize("name", FIELDS)
def test_offsets_are_those_of_the_reference_and_of_the_truth(name, tmp_path):
    field = FIELDS[name]
    images = field.write(tmp_path / "images")
    expected, found = run_both(images, tmp_path)
    ours = run.ours(tmp_path / "images.sof", tmp_path / "default", compat=False, recipe=RECIPE)
    assert ours.status == 0, ours.output
    header = fits.getheader(found.folder / "OFFSET_LIST.fits")
    matched = [i for i in range(len(images)) if header[f"ESO QC EXPALIGN NMATCH{i + 1}"]]
    assert len(matched) == len(images) - (name == "elsewhere")
    result = offsets(ours.folder)
    assert np.abs((result - offsets(expected.folder)) * ARCSEC).max() < 1e-4
    assert np.abs((result - field.true_offsets()) * ARCSEC)[matched].max() < 0.005
    assert ("no sources in common" in ours.output) == (name == "elsewhere")


def test_orientations_against_the_truth(tmp_path):
    """Positions in the reference are off by a pixel: offsets between images of different orientation are wrong."""
    images = ROTATED.write(tmp_path / "images")
    expected, _ = run_both(images, tmp_path)
    ours = run.ours(tmp_path / "images.sof", tmp_path / "default", compat=False, recipe=RECIPE)
    truth = ROTATED.true_offsets()
    assert np.abs((offsets(expected.folder) - truth) * ARCSEC).max() > 0.2
    assert np.abs((offsets(ours.folder) - truth) * ARCSEC).max() < 0.005


def test_given_sources(tmp_path):
    field = dataclasses.replace(FIELDS["few"], bad_edge=True)  # the reference needs a bad pixel for it
    images = field.write(tmp_path / "images")
    first, _ = run_both(images, tmp_path / "first", "--srcmin=3")
    lists = []
    for number in (3, 1, 2):
        lists.append(tmp_path / f"list_{number}.fits")
        with fits.open(first.folder / f"SOURCE_LIST_{number:04d}.fits") as hdus:
            hdus[1].data["X"] += 0.3 * number
            hdus[1].data["Id"] += 10
            hdus[1].data["RA"] = 0
            hdus.writeto(lists[-1])
    assert differences(*run_both(images, tmp_path / "given", "--override_detection=true", lists=lists)) == []
    assert not np.allclose(offsets(tmp_path / "given" / "ours"), offsets(first.folder), atol=1e-6)
    # not asked for: they are not used
    assert differences(*run_both(images, tmp_path / "not used", "--srcmin=3", lists=lists)) == []
    assert differences(*run_both(images, tmp_path / "none", "--srcmin=3", "--override_detection=true")) == []


def test_right_ascension_zero(tmp_path):
    views = (View((1.0, 0.0)), View((-1.0, 0.0), (0.7, -0.4)))
    field = dataclasses.replace(FEW, target=(0.0, -20.0), views=views)
    images = field.write(tmp_path / "images")
    expected, found = run_both(images, tmp_path)
    for outcome in (expected, found):
        (outcome.folder / "PREVIEW_FOV.fits").unlink()  # of right ascension 180
    assert differences(expected, found) == []
    np.testing.assert_array_equal(offsets(expected.folder), 0)
    ours = run.ours(tmp_path / "images.sof", tmp_path / "default", compat=False, recipe=RECIPE)
    assert np.abs((offsets(ours.folder) - field.true_offsets()) * 3600).max() < 0.005
    for number in (1, 2):
        ra = fits.getdata(ours.folder / f"SOURCE_LIST_{number:04d}.fits", 1)["RA"]
        assert np.all((ra >= 0) & (ra < 360))
    with fits.open(ours.folder / "PREVIEW_FOV.fits") as hdus:
        assert np.isfinite(hdus[1].data).mean() > 0.9


ONE_MJD = {"MJD-OBS": 56982.5}


@pytest.mark.parametrize(
    ("edit", "parameters", "status", "says"),
    [
        ({}, "--srcmin=30 --iterations=20", 255, r"IMAGE_0.fits: found \d+ point sources"),
        ({"MJD-OBS": None}, "", 255, "IMAGE_0.fits: keyword MJD-OBS: found nothing, expected a number"),
        ({"DATE-OBS": None}, "", 255, "IMAGE_0.fits: keyword DATE-OBS: found nothing, expected a date"),
        ({"EXPTIME": None}, "--expmap=true", 255, "IMAGE_0.fits: keyword EXPTIME: found nothing, expected a number"),
        ({"EXPTIME": None}, "", 0, ""),
        (ONE_MJD, "", 0, "found the same MJD-OBS, 56982.50000000"),
        ({}, "--rsearch=", 255, "parameter rsearch: found '', expected positive numbers"),
        ({}, "--nbins=1", 255, "parameter nbins: found 1, expected a number at least 2"),
        ({}, "--fwhm=0.5", 255, "parameter fwhm: found 0.5, expected a number above 0.5"),
        ({}, "--srcmin=9 --srcmax=8", 255, "parameters srcmin, srcmax: found 9, 8"),
        ({}, "--roundmin=2", 255, "parameters roundmin, roundmax: found 2, 1"),
        ({}, "--bkgfraction=0", 255, "parameter bkgfraction: found 0, expected a number above 0"),
    ],
)
def test_where_the_reference_ends_so_do_we(edit, parameters, status, says, tmp_path):
    images = FEW.write(tmp_path / "images")
    for path in images:
        with fits.open(path, mode="update") as hdus:
            for key, value in edit.items():
                if value is None:
                    del hdus[0].header[key]
                else:
                    hdus[0].header[key] = value
    expected, found = run_both(images, tmp_path, *parameters.split())
    assert (expected.status, found.status) == (status, status), found.output
    assert re.search(says, found.output), found.output
    if status:
        assert not list(found.folder.glob("*.fits"))
    else:
        assert compare.products(expected.folder, found.folder) == []


def test_one_image(tmp_path):
    images = FEW.write(tmp_path / "images")[:1]
    expected, found = run_both(images, tmp_path)
    assert (expected.status, found.status) == (255, 255)
    assert "found 1 frame with tag IMAGE_FOV, expected at least 2" in found.output

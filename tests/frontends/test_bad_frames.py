# SPDX-License-Identifier: GPL-2.0-or-later
"""Sets of frames, and files that are no FITS files or only a part of one.

What each run has to do then is in `harness.bench`.
"""

import os
import re
from pathlib import Path

import pytest
from astropy.io import fits
from harness.bench import CANNOT_OPEN, PIXTABLE, SOFS

from muse_core.frontends.esorex import main


def test_the_frames_are_usable_before_they_are_spoiled(bench):
    status, output = bench.run(bench.frames("model"))
    assert status == 0, output
    assert fits.getheader("DATACUBE_FINAL.fits")["ESO PRO CATG"] == "DATACUBE_FINAL"
    assert sorted(os.listdir()) == sorted(
        ["DATACUBE_FINAL.fits", "IMAGE_FOV_0001.fits"]
        + [f"SKY_{name}_0001.fits" for name in ("CONTINUUM", "IMAGE", "LINES", "MASK", "SPECTRUM")]
    )


def test_no_set_of_frames(bench):
    frames = bench.frames()
    arguments = [*bench.arguments(frames, ())[:-1], "nosuch.sof"]
    bench._monkeypatch.chdir(bench.products)
    status = main.main(arguments, "muse-esorex")
    bench.check(status, "".join(bench._capfd.readouterr()), "Unable to open SOF file 'nosuch.sof'", CANNOT_OPEN)


def test_missing_file(bench):
    frames = bench.frames()
    frames.add(bench.inputs / "nosuch.fits", PIXTABLE)
    bench.fails(frames, says=r"nosuch.fits' with tag 'PIXTABLE_OBJECT'.* line 7 of", status=CANNOT_OPEN)


def test_set_of_frames_that_is_no_text(bench):
    frames = bench.frames()
    path = Path(bench.arguments(frames, ())[-1])
    path.write_bytes(path.read_bytes() + b"a\0b PIXTABLE_OBJECT\n")
    bench._monkeypatch.chdir(bench.products)
    status = main.main([f"--log-dir={bench.inputs}", "muse_scipost", str(path)], "muse-esorex")
    line = len(frames.entries) + 1
    says = rf"{path.name}: line {line}: found a character of code 0, expected text"
    bench.check(status, "".join(bench._capfd.readouterr()), says, CANNOT_OPEN)


@pytest.mark.parametrize("made", ["nothing", "folder"])
def test_missing_file_that_the_recipe_finds(bench, made):
    frames = bench.frames()
    path = bench.inputs / "nosuch.fits"
    if made == "folder":
        path.mkdir()
    frames.add(path, PIXTABLE)
    arguments = ["--check-sof-exist=false", *bench.arguments(frames, ())]
    bench._monkeypatch.chdir(bench.products)
    status = main.main(arguments, "muse-esorex")
    what = {"nothing": "no such file", "folder": "not a file"}[made]
    says = f"nosuch.fits: {what}, expected a FITS file with tag PIXTABLE_OBJECT"
    bench.check(status, "".join(bench._capfd.readouterr()), says)


def test_empty_set_of_frames(bench):
    frames = bench.frames()
    frames.entries.clear()
    bench.fails(frames, says="set of frames: found no frames, expected at least one frame with tag PIXTABLE_OBJECT")


def test_wrong_tag(bench):
    frames = bench.frames()
    frames.entries = [(path, tag.replace("OBJECT", "OBJET")) for path, tag in frames.entries]
    bench.fails(frames, says="set of frames: found ASTRO.*PIXTABLE_OBJET, .*expected .* PIXTABLE_OBJECT")


@pytest.mark.parametrize("tag", ["STD_RESPONSE", "EXTINCT_TABLE", "ASTROMETRY_WCS"])
def test_two_frames_where_one_is_expected(bench, tag):
    frames = bench.frames()
    frames.add(frames.path(tag), tag)
    bench.fails(frames, says=f"2 frames with tag {tag}: found .*{tag}.fits, .*, expected at most one")


@pytest.mark.parametrize(
    ("method", "sof", "without", "missing"),
    [
        ("model", "model", "LSF_PROFILE", "LSF_PROFILE"),
        ("model", "model", "SKY_LINES", "SKY_LINES"),
        ("model", "none", "", "LSF_PROFILE, SKY_LINES"),
        ("subtract-model", "subtract", "SKY_LINES", "SKY_LINES"),
        ("subtract-model", "subtract", "SKY_CONTINUUM", "SKY_CONTINUUM"),
        ("subtract-model", "none", "", "LSF_PROFILE, SKY_LINES, SKY_CONTINUUM"),
    ],
)
def test_frames_that_the_sky_method_needs(bench, method, sof, without, missing):
    frames = bench.frames(sof)
    frames.remove(without)
    bench.fails(
        frames, f"--skymethod={method}", says=f"skymethod={method}: found no frame with tag {missing}, expected"
    )


def test_autocalibration_without_factors(bench):
    bench.fails(bench.frames(), "--autocalib=user", says="autocalib=user: found no frame with tag AUTOCAL_FACTORS")


def test_no_line_spread_function_for_an_ifu(bench):
    frames = bench.frames("model")
    index = max(i for i, (_, tag) in enumerate(frames.entries) if tag == "LSF_PROFILE")
    del frames.entries[index]
    bench.fails(frames, says="LSF_PROFILE: nothing for IFU 13, of which there are pixel tables")


@pytest.mark.parametrize("tag", SOFS)
@pytest.mark.parametrize("content", [b"", b"some text\n" * 1000])
def test_no_fits_file(bench, tag, content):
    sof, parameters = SOFS[tag]
    frames = bench.frames(sof)
    path = frames.copy(tag)
    path.write_bytes(content)
    bench.fails(frames, *parameters, says=f"{re.escape(str(path))}: found no FITS file .*, expected one")


@pytest.mark.parametrize("part", [0.05, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("tag", [PIXTABLE, "STD_RESPONSE", "SKY_LINES", "LSF_PROFILE", "SKY_MASK", "AUTOCAL_FACTORS"])
def test_truncated_file(bench, tag, part):
    sof, parameters = SOFS[tag]
    frames = bench.frames(sof)
    path = frames.copy(tag)
    os.truncate(path, int(path.stat().st_size * part))
    bench.fails(frames, *parameters, says=rf"{re.escape(str(path))}.*(truncated\?|found no )")


@pytest.mark.parametrize("part", [0.1, 0.5, 0.97])
def test_truncated_binary_table(bench, part):
    frames = bench.frames(data="smalltable")
    path = frames.copy(PIXTABLE, 1)
    os.truncate(path, int(path.stat().st_size * part))
    bench.fails(
        frames, says=rf"{re.escape(str(path))}\[.*found \d+ bytes in the file, expected at least \d+; file trunc"
    )


@pytest.mark.parametrize("tag", ["EXTINCT_TABLE", "OFFSET_LIST", "SKY_CONTINUUM", "OUTPUT_WCS", "FILTER_LIST"])
def test_file_that_ends_after_its_first_header(bench, tag):
    sof, parameters = SOFS[tag]
    frames = bench.frames(sof)
    path = frames.copy(tag)
    os.truncate(path, 2880)
    if tag == "FILTER_LIST":  # a filter that is not there is worth a warning, as in ESO's recipe
        status, output = bench.run(frames, *parameters)
        assert status == 0
        assert re.search(rf"WARNING.*filter: 'sim_7030' not found \(none in {re.escape(str(path))}\)", output)
        return
    bench.fails(frames, *parameters, says=rf"{re.escape(str(path))}.*found no .*(expected|CRVAL)")


def test_file_with_another_tag(bench):
    frames = bench.frames()
    frames.add(frames.path("STD_RESPONSE"), PIXTABLE)
    bench.fails(
        frames, says=r"STD_RESPONSE.fits: keyword ESO DRS MUSE PIXTABLE TYPE: found nothing, expected 'GEOFULL'"
    )
    frames = bench.frames()
    frames.add(frames.path(PIXTABLE), "STD_TELLURIC")
    bench.fails(frames, says=r"-12.fits: extension 1: found no binary table, expected one")

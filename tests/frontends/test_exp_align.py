# SPDX-License-Identifier: GPL-2.0-or-later
"""muse_exp_align from each front-end: the same offsets, plan, resume, errors."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
from astropy.io import fits
from harness import run
from harness.fields import DITHERED, FIELDS

import muse_core

RECIPE = "muse_exp_align"
ADDRESS = "muse_core.recipes.muse_exp_align:MuseExpAlign"
FIELD = dataclasses.replace(FIELDS["few"], views=DITHERED[:2])


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return FIELD.write(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def sof(images):
    path = images[0].parent / "align.sof"
    path.write_text("".join(f"{image} IMAGE_FOV\n" for image in images))
    return path


@pytest.fixture(scope="module")
def expected(sof, tmp_path_factory):
    """Offsets by the command."""
    outcome = run.ours(sof, tmp_path_factory.mktemp("command"), recipe=RECIPE, compat=False)
    assert outcome.status == 0, outcome.output
    found = offsets(outcome.folder / "OFFSET_LIST.fits")
    np.testing.assert_allclose(found, FIELD.true_offsets(), atol=0.005 / 3600)
    return found


def offsets(path):
    table = fits.getdata(path, 1)
    return np.column_stack([table["RA_OFFSET"], table["DEC_OFFSET"]])


def test_plan(sof, tmp_path):
    command = [sys.executable, "-m", "muse_core.frontends.esorex.main", "--plan", RECIPE, str(sof)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=True)
    assert "2 exposures, 0 rows; no cube" in done.stdout
    assert not list(tmp_path.glob("*.fits"))


def test_resume(sof, tmp_path, expected):
    (tmp_path / "unfinished").mkdir(mode=0o700)
    env = {"MUSE_RESUME": str(tmp_path / "unfinished")}
    outcome = run.ours(sof, tmp_path / "run", recipe=RECIPE, compat=False, env=env)
    assert outcome.status == 0, outcome.output
    np.testing.assert_array_equal(offsets(outcome.folder / "OFFSET_LIST.fits"), expected)
    assert not list((tmp_path / "unfinished").glob("muse_exp_align-*"))


def test_python(images, tmp_path, expected, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = muse_core.Recipe(RECIPE)
    assert recipe.tags == ["IMAGE_FOV"]
    recipe.param.srcmin = 3
    result = recipe([str(image) for image in images], output_dir="out")
    np.testing.assert_array_equal(offsets(os.path.join("out", "OFFSET_LIST.fits")), expected)
    assert len(result.SOURCE_LIST) == 2


@pytest.mark.reference
def test_plugin(build_plugin, esorex, clean_environment, sof, tmp_path, expected):
    folder = build_plugin(ADDRESS)

    def start(name, *arguments):
        (tmp_path / name).mkdir()
        command = [str(word) for word in (esorex, f"--recipe-dir={folder}", RECIPE, *arguments)]
        return subprocess.run(
            command,
            cwd=tmp_path / name,
            env=clean_environment,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    done = start("good", "--srcmin=3", "--srcmax=80", "--threshold=10", "--expmap=true", sof)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"muse-scipost {muse_core.__version__}" in done.stdout
    np.testing.assert_array_equal(offsets(tmp_path / "good" / "OFFSET_LIST.fits"), expected)
    assert sorted(path.name for path in (tmp_path / "good").glob("*.fits")) == [
        "EXPOSURE_MAP.fits",
        "OFFSET_LIST.fits",
        "PREVIEW_FOV.fits",
        "SOURCE_LIST_0001.fits",
        "SOURCE_LIST_0002.fits",
    ]
    one = tmp_path / "one.sof"
    one.write_text(sof.read_text().splitlines()[0] + "\n")
    done = start("one", one)
    assert done.returncode != 0
    assert "found 1 frame with tag IMAGE_FOV, expected at least 2" in done.stdout + done.stderr
    assert not list((tmp_path / "one").glob("*.fits"))

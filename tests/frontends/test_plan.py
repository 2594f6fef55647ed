# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run will need is known before, on the command line and in Python, and close to what it then needs."""

import os
import re
from pathlib import Path

import pytest
from astropy.io import fits
from harness.recipes import RECIPES

import muse_core
from muse_core.frontends.esorex import main
from muse_core.frontends.pythoncpl.result import RecipeError

SAVE = "--save=cube,individual,combined,stacked"


@pytest.fixture
def command(tmp_path, monkeypatch, capfd):
    """Return a function that runs the command and returns status and output."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("MUSE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def run(*arguments) -> tuple[int, str]:
        capfd.readouterr()
        status = main.main([*map(str, arguments)], "muse-esorex")
        return status, "".join(capfd.readouterr())

    return run


@pytest.fixture
def recipe():
    return muse_core.Recipe("muse_scipost")


def arguments(sof: Path) -> dict:
    """Return raw frames and calibrations of a set of frames, as `muse_core.Recipe` takes them."""
    frames = {}
    for line in sof.read_text().splitlines():
        path, tag = line.split()
        frames.setdefault(tag, []).append(path)
    return {"raw": frames.pop("PIXTABLE_OBJECT"), "calib": frames}


@pytest.mark.parametrize(
    ("data", "sof", "parameters"),
    [
        ("smalltwo", "offsets", []),
        ("small", "none", ["--dx=0.4", "--dlambda=2.5"]),
        ("small", "output_wcs", []),
        ("small", "none", ["--astrometry=false"]),
        ("smalltable", "none", ["--lambdamin=7272", "--lambdamax=7276"]),
        ("nfm", "none", []),
    ],
)
def test_as_planned(command, datasets, data, sof, parameters):
    frames = datasets[data].sofs[sof]
    status, output = command("--plan", "muse_scipost", "--skymethod=none", SAVE, *parameters, frames)
    assert status == 0, output
    assert os.listdir() == ["esorex.log"]
    line = next(line for line in output.splitlines() if "cube of about" in line)
    grid = [int(n) for n in re.search(r"about (\d+) x (\d+) x (\d+) voxels", line).groups()]
    planned = float(re.search(r"products ([\d.]+) MB", line)[1])
    status, output = command("muse_scipost", "--skymethod=none", SAVE, *parameters, frames)
    assert status == 0, output
    assert f"Plan: {line.split(';')[0]}" in output
    header = fits.getheader("DATACUBE_FINAL.fits", "DATA")
    assert [header[f"NAXIS{i}"] for i in (1, 2, 3)] == pytest.approx(grid, rel=0.03, abs=2)
    made = sum(path.stat().st_size for path in Path().glob("*.fits")) / 1e6
    assert made == pytest.approx(planned, rel=0.1, abs=0.5)  # headers are not planned


def test_from_python(recipe, datasets, tmp_path):
    sof = datasets["smalltwo"].sofs["none"]
    recipe.temp_dir = str(tmp_path)
    plan = recipe.plan(**arguments(sof), param={"skymethod": "none"}, env={"MUSE_MAX_MEMORY": "1G"})
    assert (plan.n_exposures, plan.memory_limit, plan.problems()) == (2, 2**30, [])
    assert plan.grid == pytest.approx((293, 292, 9), abs=3)
    assert str(plan).startswith(f"2 exposures, {plan.n_rows} rows; cube of about ")
    assert not os.listdir(tmp_path)
    with pytest.raises(RecipeError, match="needs .* GB for a single plane"):
        recipe.plan(
            **arguments(sof), param={"skymethod": "none", "dx": 0.02, "dy": 0.02}, env={"MUSE_MAX_MEMORY": "200M"}
        )
    demo = muse_core.Recipe("demo", filename=f"{Path(__file__).parent}/recipes/demo.py")
    with pytest.raises(RecipeError, match="'Demo' object has no attribute 'plan'"):
        demo.plan("raw.fits")


def test_mistakes(command, datasets):
    sof = datasets["smalltwo"].sofs["none"]
    status, output = command("--plan", "muse_scipost", "--skymethod=none", "--lambdamin=8000", sof)
    assert status == 255
    assert "found no rows with wavelengths" in output
    folder = RECIPES
    status, output = command("--plan", f"--recipe-dir={folder}", "demo", sof)
    assert status == 255
    assert "The recipe 'demo' makes no plan." in output


def test_exposure_that_points_elsewhere_is_named_before_anything_is_done(command, datasets, tmp_path):
    lines = datasets["smalltwo"].frames("none")
    sof = tmp_path / "far.sof"
    for number, line in enumerate(lines):
        path, tag = line.split()
        if "OBJECT_0002" in path:
            with fits.open(path) as hdus:
                hdus[0].header["RA"] += 3.0
                hdus.writeto(tmp_path / Path(path).name)
            lines[number] = f"{tmp_path / Path(path).name} {tag}"
    sof.write_text("\n".join(lines))
    status, output = command("muse_scipost", "--skymethod=none", sof)
    assert status == 255
    assert re.search(
        r"output grid: .* voxels; are positions .* right\? Farthest .*2014-11-21T06:51:10.456 at 56\.", output
    )
    assert "Plan" not in output

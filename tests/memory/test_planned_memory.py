# SPDX-License-Identifier: GPL-2.0-or-later
"""What a plan says of memory and of the cube is what the run then needs, for every kind of input and product."""

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from muse_core.simulate.dataset import dithered, make_dataset, sky_exposure
from muse_core.simulate.exposure import ExposureSpec

WFM = ExposureSpec(ifus=(11, 12, 13), lbda_min=7200, lbda_max=7330, posang=20.0)
NFM = dataclasses.replace(WFM, mode="NFM-AO-N", exptime=1200.0, date_obs="2019-11-21T06:32:33.123", lbda_max=7290)
#: Runs the command in a process that has nothing else, and says how much memory it had at most.
MEASURE = """
import sys
from muse_core.engine.progress import peak_memory
from muse_core.frontends.esorex import main
status = main.main(sys.argv[1:], "muse-esorex")
print("PEAK", peak_memory())
sys.exit(status)
"""
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="resident memory is read from /proc")


def run(folder: Path, *arguments: str, recipe: str = "muse_scipost", **environment: str) -> str:
    """Run a recipe in a folder and return what it said."""
    folder.mkdir(parents=True, exist_ok=True)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MUSE_", "COVERAGE_"))}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, recipe, *arguments],
        cwd=folder,
        env={**env, "OMP_NUM_THREADS": "2", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def check(output: str) -> None:
    """Compare planned and measured memory of a run."""
    planned = float(re.search(r"Plan: .*memory ([\d.]+) MB", output)[1])
    measured = int(re.search(r"PEAK (\d+)", output)[1]) / 1e6
    print(f"planned {planned:.0f} MB, measured {measured:.0f} MB")
    assert 0.9 * measured <= planned <= 1.25 * measured, output


class Inputs:
    """Pixel tables of all kinds, made from one data set: sets of frames by name."""

    def __init__(self, folder: Path, specs: list[ExposureSpec]):
        self.folder, self.sofs = folder, make_dataset(folder / "data", specs)
        lines = self.sofs["none"].read_text().splitlines()
        self._calibrations = [line for line in lines if "PIXTABLE_OBJECT" not in line]
        arguments = "--skymethod=none", str(self.sofs["none"])
        run(folder / "sky", "--save=individual,positioned,combined", *arguments)
        run(folder / "field", "--save=individual", "--astrometry=false", *arguments)
        for name, pattern in {
            "merged": "field/PIXTABLE_REDUCED_0001*",
            "reduced": "sky/PIXTABLE_REDUCED_0001*",
            "all reduced": "sky/PIXTABLE_REDUCED*",
            "positioned": "sky/PIXTABLE_POSITIONED_0001*",
            "combined": "sky/PIXTABLE_COMBINED*",
        }.items():
            self._write(name, [f"{path} PIXTABLE_OBJECT" for path in sorted(folder.glob(pattern))])

    def _write(self, name: str, tables: list[str]) -> None:
        self.sofs[name] = self.folder / f"{name}.sof"
        self.sofs[name].write_text("\n".join([*tables, *self._calibrations]))


@pytest.fixture(scope="module")
def wfm(tmp_path_factory) -> Inputs:
    return Inputs(tmp_path_factory.mktemp("wfm"), dithered(WFM, 2))


@pytest.fixture(scope="module")
def nfm(tmp_path_factory) -> Inputs:
    return Inputs(tmp_path_factory.mktemp("nfm"), [NFM])


NONE = "--skymethod=none"
ALL = "--save=cube,autocal,skymodel,individual,positioned,combined,stacked"
#: Data set, set of frames, parameters, and what the log says of the first exposure.
KINDS = {
    "object tables": ("wfm", "none", [NONE, "--save=cube"], "3 IFUs"),
    "object tables in pix": ("wfm", "merged", [NONE, "--save=cube", "--astrometry=false"], "merged table of 3 IFUs"),
    "merged": ("wfm", "merged", [NONE, "--save=cube"], "merged table of 3 IFUs"),
    "reduced": ("wfm", "reduced", [NONE, "--save=cube"], "merged table of 3 IFUs"),
    "several reduced": ("wfm", "all reduced", [NONE, "--save=cube"], "merged table of 3 IFUs"),
    "positioned": ("wfm", "positioned", [NONE, "--save=cube"], "merged table of 3 IFUs"),
    "combined": ("wfm", "combined", [NONE, "--save=cube"], "combined table of 2 exposures, 3 IFUs"),
    "combined, cut": (
        "wfm",
        "combined",
        [NONE, "--save=cube", "--lambdamin=7250", "--lambdamax=7300"],
        "combined table of 2 exposures, 3 IFUs",
    ),
    "OUTPUT_WCS": ("wfm", "output_wcs", [NONE, "--save=cube"], "3 IFUs"),
    "sky model and all products": ("wfm", "model", [ALL, "--autocalib=deepfield"], "3 IFUs"),
    "tables alone": ("wfm", "none", [NONE, "--save=individual,positioned,combined"], "3 IFUs"),
    "stacked": ("wfm", "none", [NONE, "--save=stacked"], "3 IFUs"),
    "Euro3D": ("wfm", "merged", [NONE, "--save=cube", "--format=Euro3D"], "merged table of 3 IFUs"),
    "Raman lines": ("raman", "raman", [NONE, "--save=cube,raman"], "2 IFUs"),
    "mask on the sky": ("wfm", "mask_deg", ["--save=cube", "--autocalib=deepfield"], "3 IFUs"),
    "NFM": ("nfm", "none", [NONE, "--save=cube"], "3 IFUs"),
    "NFM, reduced": ("nfm", "reduced", [NONE, "--save=cube"], "merged table of 3 IFUs"),
    "NFM, combined": ("nfm", "combined", [NONE, "--save=cube"], "merged table of 3 IFUs"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_as_planned(request, datasets, tmp_path, kind):
    data, sof, parameters, content = KINDS[kind]
    inputs = request.getfixturevalue(data) if data in ("wfm", "nfm") else datasets[data]
    output = run(tmp_path, *parameters, str(inputs.sofs[sof]))
    assert re.search(rf"Exposure 1 of \d \(DATE-OBS [^)]*\): {content}\n", output), output
    (plan,) = re.findall(r"Plan: (.*)", output)
    grid = [int(size) for size in re.findall(r"(\d+) (?=x|voxels)", plan)]
    made = sorted(tmp_path.glob("*.fits"))
    if "cube" in parameters[0 if parameters[0] != NONE else 1]:
        with fits.open(tmp_path / "DATACUBE_FINAL.fits") as hdus:
            if "Euro3D" in kind:
                assert len(hdus[1].data) < np.prod(grid[:2])
            else:
                assert grid == pytest.approx([hdus[1].header[f"NAXIS{i}"] for i in (1, 2, 3)], abs=3)
    else:
        assert "; no cube; " in plan
    size = float(re.search(r"products ([\d.]+) MB", plan)[1])
    if "Euro3D" not in kind:  # spaxels without data are not written
        assert sum(path.stat().st_size for path in made) / 1e6 == pytest.approx(size, rel=0.1, abs=2)
    check(output)


@pytest.mark.parametrize("limit", ["250M", "4G"])
def test_with_a_limit(wfm, tmp_path, limit):
    """In a scratch file and thin slabs, and in memory."""
    output = run(tmp_path, NONE, "--save=cube", str(wfm.sofs["none"]), MUSE_MAX_MEMORY=limit)
    check(output)


@pytest.fixture(scope="module")
def several(tmp_path_factory, wfm) -> dict[str, Path]:
    """Sets of frames for the recipes that take products, and for others: by name."""
    folder = tmp_path_factory.mktemp("several")
    sofs = make_dataset(folder / "data", [*dithered(WFM, 2), sky_exposure(dithered(WFM, 2)[-1])])
    for number in (1, 2):
        name = f"exposure_{number}"
        run(folder / name, "--save=cube,individual", "--skymethod=simple", str(sofs[name]))
    for name in ("align", "combine"):
        text = sofs[name].read_text().replace("exposure_", f"{folder}/exposure_")
        text = re.sub(r".*OFFSET_LIST\n?", "", text)
        sofs[name].write_text(text)
    return {**wfm.sofs, **sofs}


#: Recipe, set of frames, parameters.
OTHERS = [
    ("muse_exp_align", "align", ""),
    ("muse_exp_combine", "combine", "--save=cube,combined --resample=renka"),
    ("muse_create_sky", "create_sky", ""),
    ("muse_scipost_make_cube", "combined", "--stacked=true"),
    ("muse_scipost_combine_pixtables", "all reduced", ""),
    ("muse_scipost_correct_dar", "correct_dar", ""),
    ("muse_scipost_correct_rv", "correct_rv", ""),
    ("muse_scipost_apply_astrometry", "apply_astrometry", ""),
]


@pytest.mark.parametrize(("recipe", "sof", "parameters"), OTHERS)
def test_other_recipes_as_planned(several, tmp_path, recipe, sof, parameters):
    check(run(tmp_path, *parameters.split(), str(several[sof]), recipe=recipe))


def test_many_exposures_of_a_part_of_the_field(tmp_path):
    """Slabs are made in bands, which are narrow where all rows are: with even bands most of them would be in one."""
    spec = dataclasses.replace(WFM, ifus=(11, 12), lbda_min=7000, lbda_max=7030, posang=0.0, exptime=60.0)
    exposures = [
        dataclasses.replace(exposure, date_obs=f"2014-11-21T06:{10 + number}:33.123")
        for number, exposure in enumerate(dithered(spec, 14))
    ]
    sof = make_dataset(tmp_path / "data", exposures)["none"]
    check(run(tmp_path / "run", NONE, "--save=cube", str(sof), MUSE_MAX_MEMORY="230M"))

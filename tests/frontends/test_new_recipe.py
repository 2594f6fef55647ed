# SPDX-License-Identifier: GPL-2.0-or-later
"""A recipe is one short file: command, help, plan, resume and headers follow from it."""

import os
import re
import signal
from pathlib import Path

import pytest
from astropy.io import fits
from harness import child

FOLDER = Path(__file__).parent / "recipes"
NAME = "flux_to_cube"


@pytest.fixture
def command(tmp_path):
    """Return a function that runs the command in a folder of its own; returns folder, and what it said."""

    def run(name: str, *arguments, status: int = 0, environment=None, **how) -> tuple[Path, str]:
        folder = tmp_path / name
        process = child.start(
            folder,
            [f"--recipe-dir={FOLDER}", *map(str, arguments)],
            {"OMP_NUM_THREADS": "1", **(environment or {})},
            **how,
        )
        process.join()
        output = (folder / child.OUTPUT).read_text()
        assert process.exitcode == status, output
        return folder, output

    return run


def test_short():
    assert len((FOLDER / f"{NAME}.py").read_text().splitlines()) < 60


def test_help(command):
    _, output = command("help", "--man-page", NAME)
    assert re.search(rf"{NAME} -- Pixel tables to a cube in pixels", output)
    assert re.search(r"--resample +: .*lanczos>\s+\[nearest\]", output, re.S)
    assert re.search(r"--lambdamin .*\[4\.6e\+03\]", output, re.S)
    assert re.search(r"STD_RESPONSE +calib +Y", output)


def test_runs(command, datasets):
    sof = datasets["small"].sofs["none"]
    folder, output = command("run", NAME, "--crsigma=5", sof)
    assert "Plan: 1 exposure, " in output
    with fits.open(folder / "DATACUBE_FINAL.fits") as cube:
        header = cube[0].header
        assert (header["ESO PRO REC2 ID"], header["ESO PRO CATG"]) == (NAME, "DATACUBE_FINAL")
        values = {header[f"ESO PRO REC2 PARAM{i} NAME"]: header[f"ESO PRO REC2 PARAM{i} VALUE"] for i in range(1, 13)}
        assert (values["crsigma"], values["resample"], values["lambdamin"]) == ("5", "nearest", "4600")
        assert [header[f"ESO PRO REC2 CAL{i} CATG"] for i in (1, 2)] == ["EXTINCT_TABLE", "STD_RESPONSE"]
        assert header["ESO QC FLUXCUBE NDET"] > 0
        assert cube["DATA"].header["BUNIT"] == "10**(-20)*erg/s/cm**2/Angstrom"
        assert cube["DATA"].header["CTYPE1"] == "PIXEL"
        shape = cube["DATA"].shape
    assert (folder / "IMAGE_FOV_0001.fits").exists()
    planned, output = command("plan", "--plan", NAME, sof)
    about = re.search(r"cube of about (\d+) x (\d+) x (\d+) voxels", output).groups()
    assert [int(n) for n in about] == pytest.approx(shape[::-1], abs=2)
    assert not list(planned.glob("*.fits"))


def test_resumes(command, datasets, tmp_path):
    sof = datasets["small"].sofs["none"]
    resume = tmp_path / "resume"
    resume.mkdir()
    environment = {"MUSE_RESUME": str(resume)}
    command("killed", NAME, sof, status=-signal.SIGKILL, environment=environment, planes=2, records=2)
    folder, output = command("again", NAME, sof, environment=environment, planes=2)
    assert output.count("taken over from the interrupted run") == 2
    assert not os.listdir(resume)
    whole, _ = command("whole", NAME, sof)
    for name in ("DATACUBE_FINAL.fits", "IMAGE_FOV_0001.fits"):
        sums = []
        for made in (folder, whole):
            with fits.open(made / name) as hdus:
                sums.append([hdu.header["DATASUM"] for hdu in hdus])
        assert sums[0] == sums[1]

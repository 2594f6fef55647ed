# SPDX-License-Identifier: GPL-2.0-or-later
"""Output formats against ESO's recipe: cubes with images inside, Euro3D tables row by row, science data products."""

import pytest
from astropy.io import fits
from harness import compare, run

pytestmark = pytest.mark.reference

CASES = {
    "xCube": ("wfm", ["--format=xCube"]),
    "sdpCube": ("wfm", ["--format=sdpCube"]),
    "sdpCube of two exposures": ("two", ["--format=sdpCube"]),
    "sdpCube of two exposures, narrow field": ("nfmtwo", ["--format=sdpCube"]),
    "Euro3D": ("wfm", ["--format=Euro3D"]),
    "xEuro3D": ("wfm", ["--format=xEuro3D"]),
}


@pytest.mark.parametrize("name", CASES)
def test_format(datasets, tmp_path, name):
    data, parameters = CASES[name]
    sof = tmp_path / "case.sof"
    sof.write_text("\n".join(datasets[data].frames("none", "")) + "\n")
    parameters = [*parameters, "--skymethod=none", "--save=cube", "--filter=white,sim_7030"]
    expected = run.reference(sof, tmp_path / "reference", *parameters)
    found = run.ours(sof, tmp_path / "ours", *parameters)
    assert expected.status == 0, expected.output
    assert found.status == 0, found.output
    (expected.folder / "fov_clean.fits").unlink(missing_ok=True)  # left behind by the reference
    assert compare.products(expected.folder, found.folder) == []
    for path in found.folder.glob("*.fits"):
        with fits.open(path, checksum=True) as hdus:  # a wrong sum is a warning, and warnings are errors here
            hdus.verify("exception")

# SPDX-License-Identifier: GPL-2.0-or-later
"""Output formats against ESO's recipe: cubes with images inside, Euro3D tables row by row, science data products."""

import pytest
from harness.case import Case, compare_runs

pytestmark = pytest.mark.reference

CASES = {
    "xCube": Case("--format=xCube --save=cube --filter=white,sim_I"),
    "sdpCube": Case("--format=sdpCube --save=cube --filter=white,sim_I"),
    "sdpCube, two exposures": Case("--format=sdpCube --save=cube", data="two"),
    "sdpCube, two exposures, narrow field": Case("--format=sdpCube --save=cube", data="nfmtwo"),
    "sdpCube, adaptive optics": Case("--format=sdpCube --save=cube", data="ao"),
    "Euro3D": Case("--format=Euro3D --save=cube --filter=white,sim_I"),
    "Euro3D, rotated": Case("--format=Euro3D --save=cube", data="pa137"),
    "xEuro3D": Case("--format=xEuro3D --save=cube --filter=white,sim_I"),
}


@pytest.mark.parametrize("name", CASES)
def test_format(datasets, tmp_path, name):
    assert compare_runs(datasets, tmp_path, CASES[name]) == []

# SPDX-License-Identifier: GPL-2.0-or-later
"""Output formats against ESO's recipe: cubes with images inside, Euro3D tables row by row, science data products."""

import pytest
from harness.case import Case, compare_runs

pytestmark = pytest.mark.reference

#: Spaxels of 0.35 arcsec, rotated by 30 degrees.
ROTATED = {"CD1_1": -8.42e-5, "CD1_2": 4.86e-5, "CD2_1": 4.86e-5, "CD2_2": 8.42e-5}

CASES = {
    "xCube": Case("--format=xCube --save=cube --filter=white,sim_I"),
    "sdpCube": Case("--format=sdpCube --save=cube --filter=white,sim_I"),
    "sdpCube, two exposures": Case("--format=sdpCube --save=cube", data="two"),
    "sdpCube, two exposures, narrow field": Case("--format=sdpCube --save=cube", data="nfmtwo"),
    "sdpCube, adaptive optics": Case("--format=sdpCube --save=cube", data="ao"),
    "Euro3D": Case("--format=Euro3D --save=cube --filter=white,sim_I"),
    "Euro3D, rotated": Case("--format=Euro3D --save=cube", data="pa137"),
    "Euro3D, coordinates given": Case("--format=Euro3D --save=cube --filter=white --dx=0.3", sof="output_wcs"),
    "xEuro3D, rotated coordinates given": Case(
        "--format=xEuro3D --save=cube --filter=white",
        sof="output_wcs",
        edits=tuple(("OUTPUT_WCS", key, value, 1) for key, value in ROTATED.items()),
    ),
    "Euro3D, spaxels": Case("--format=Euro3D --save=cube --filter=white --astrometry=false --dx=1.5 --dy=0.8"),
    "xEuro3D": Case("--format=xEuro3D --save=cube --filter=white,sim_I"),
}


@pytest.mark.parametrize("name", CASES)
def test_format(datasets, tmp_path, name):
    assert compare_runs(datasets, tmp_path, CASES[name]) == []

# SPDX-License-Identifier: GPL-2.0-or-later
"""muse_scipost_make_cube against ESO's recipe, on pixel tables in all states."""

import pytest
from harness.case import Case, compare_runs, run_both

pytestmark = pytest.mark.reference


def cube(parameters: str = "", data: str = "smalltwo", sof: str = "none", **more) -> Case:
    """Return a case with the first exposure of a data set."""
    return Case(
        parameters, data, sof, recipe="muse_scipost_make_cube", **{"products": ("PIXTABLE_REDUCED_0001",), **more}
    )


CASES = {
    "defaults": cube(),
    "first of several": cube("--stacked=true", products=("PIXTABLE_REDUCED_0002", "PIXTABLE_REDUCED_0001")),
    "on the sky": cube("--stacked=true", products=("PIXTABLE_POSITIONED_0002",)),
    "combined": cube("--stacked=true", products=("PIXTABLE_COMBINED",)),
    "combined, range cut, nearest": cube(
        "--lambdamin=7273 --lambdamax=7278 --resample=nearest", products=("PIXTABLE_COMBINED",)
    ),
    "one IFU in pixels": cube("--stacked=true", products=()),
    "one IFU in pixels, range cut, steps": cube("--dx=1.5 --dy=2 --dlambda=2 --lambdamax=7278", products=()),
    "table of one IFU in pixels": cube(data="smalltable", products=()),
    "output WCS": cube(sof="output_wcs", products=("PIXTABLE_REDUCED_0002",)),
    "output WCS, combined": cube(sof="output_wcs", products=("PIXTABLE_COMBINED",)),
    "adaptive optics": cube("--stacked=true", data="smallao"),
    "narrow field": cube("--stacked=true", data="nfmtwo"),
    "narrow field, combined": cube(data="nfmtwo", products=("PIXTABLE_COMBINED",)),
    "stacked, step": cube("--stacked=true --dx=0.3 --dlambda=2"),
    "cosmic rays iraf": cube("--crtype=iraf --crsigma=5"),
    "cosmic rays mean": cube("--crtype=mean --crsigma=3"),
    "pixfrac": cube("--pixfrac=0.5,0.7,1.0"),
    "steps": cube("--dx=0.3 --dy=0.25 --dlambda=2.5"),
    "ld": cube("--ld=2"),
    "nearest": cube("--resample=nearest"),
    "linear": cube("--resample=linear"),
    "quadratic": cube("--resample=quadratic"),
    "renka": cube("--resample=renka --rc=1.5"),
    "lanczos": cube("--resample=lanczos"),
    "xCube, filters": cube("--format=xCube --filter=white,sim_I,none,Nonsense"),
    "Euro3D, rotated": cube("--format=Euro3D --filter=white,sim_I", products=("PIXTABLE_REDUCED_0002",)),
    "xEuro3D": cube("--format=xEuro3D"),
}


@pytest.mark.parametrize("name", CASES)
def test_products(datasets, tmp_path, name):
    assert compare_runs(datasets, tmp_path, CASES[name]) == []


def test_no_science_data_product(datasets, tmp_path):
    _, found = run_both(datasets, tmp_path, cube("--format=sdpCube"), status=None)
    assert found.status != 0
    assert not list(tmp_path.glob("*/*.fits"))

# SPDX-License-Identifier: GPL-2.0-or-later
"""muse_exp_combine against ESO's recipe, on reduced pixel tables; and the command lines of programs that call it."""

import pytest
from harness import run
from harness.case import Case, compare_runs, run_both, sky

pytestmark = pytest.mark.reference

RECIPE = "muse_exp_combine"
#: Adds the list of offsets of other exposures.
OTHER_OFFSETS = (("nfmtwo", "calib/OFFSET_LIST.fits", "OFFSET_LIST"),)
WEIGHT = "HIERARCH ESO DRS MUSE WEIGHT"


def combine(parameters: str = "", data: str = "smalltwo", sof: str = "none", **more) -> Case:
    """Return a case with the exposures of a data set."""
    return Case(parameters, data, sof, recipe=RECIPE, **{"products": ("PIXTABLE_REDUCED",), **more})


CASES = {
    "defaults": combine(),
    "offsets and flux scales": combine(sof="offsets"),
    "offsets of other exposures": combine(others=OTHER_OFFSETS),
    "output WCS": combine(sof="output_wcs"),
    "adaptive optics": combine(data="smallao", sof="offsets"),
    "narrow field": combine(data="nfmtwo"),
    "narrow field, output WCS": combine(data="nfmtwo", sof="output_wcs"),
    "three exposures": combine(data="eight", without="REDUCED_000[4-8]"),
    "eight exposures, weights fwhm, offsets": combine("--weight=fwhm", data="eight", sof="offsets"),
    "weights fwhm": combine("--weight=fwhm"),
    "weights from the headers": combine(
        "--weight=header",
        edits=(("PIXTABLE_REDUCED_0001.fits", WEIGHT, 2.5, 0), ("PIXTABLE_REDUCED_0002.fits", WEIGHT, 0.7, 0)),
    ),
    "weights from the headers, one missing": combine(
        "--weight=header", edits=(("PIXTABLE_REDUCED_0002.fits", WEIGHT, 2.5, 0),)
    ),
    "no weights": combine("--weight=none"),
    "combined table alone": combine("--save=combined", sof="offsets"),
    "cube alone": combine("--save=cube"),
    "written as table": combine(env={"MUSE_PIXTABLE_SAVE_AS_TABLE": "1"}),
    "range cut": combine("--lambdamin=7272 --lambdamax=7278.5"),
    "cosmic rays iraf": combine("--crtype=iraf --crsigma=5"),
    "cosmic rays mean": combine("--crtype=mean --crsigma=3"),
    "pixfrac": combine("--pixfrac=0.5,0.7,1.0"),
    "steps": combine("--dx=0.3 --dy=0.25 --dlambda=2.5"),
    "ld": combine("--ld=2"),
    "nearest": combine("--resample=nearest"),
    "linear": combine("--resample=linear"),
    "quadratic": combine("--resample=quadratic"),
    "renka": combine("--resample=renka --rc=1.5"),
    "lanczos": combine("--resample=lanczos"),
    "xCube": combine("--format=xCube --filter=white,sim_I"),
    # large grids take ESO's recipe minutes in this format
    "Euro3D": combine("--format=Euro3D --filter=white,sim_I", sof="output_wcs"),
    "xEuro3D, narrow field": combine("--format=xEuro3D", data="nfmtwo"),
    "sdpCube": combine("--format=sdpCube --filter=white,sim_I", sof="offsets"),
    "sdpCube, adaptive optics": combine("--format=sdpCube", data="smallao"),
    "sdpCube, narrow field": combine("--format=sdpCube", data="nfmtwo"),
}
#: What public programs that reduce MUSE data call.
DRIVERS = {
    "driver, quick": combine(
        "--save=cube --pixfrac=0.60 --format=Cube --filter=white --lambdamin=7272 --lambdamax=7278", sof="offsets"
    ),
    "driver, weights": combine("--filter=white --save=cube --crsigma=5. --weight=exptime", sof="offsets"),
    "driver, filters": combine("--pixfrac=0.8 --filter=white,Johnson_V,Cousins_R,Cousins_I", sof="offsets"),
    "driver, science data product": combine("--format=sdpCube"),
    "driver, exposure": sky("--save=cube,individual --format=sdpCube --skymodel_fraction=0.4", data="small"),
    "driver, reduced table": Case(
        "--skymethod=none --astrometry=FALSE --crsigma=10 --rc=1.25 --save=cube",
        "smalltwo",
        products=("PIXTABLE_REDUCED_0002",),
    ),
    "driver, reduced tables": Case(
        "--skymethod=none --astrometry=FALSE --crsigma=10 --rc=1.25 --save=cube", "smalltwo", products=("PIXTABLE_R",)
    ),
}


@pytest.mark.parametrize("name", [*CASES, *DRIVERS])
def test_products(datasets, tmp_path, name):
    assert compare_runs(datasets, tmp_path, (CASES | DRIVERS)[name]) == []


REFUSED = {
    "one exposure": (combine(products=("PIXTABLE_REDUCED_0001",)), "of 2014-11-21T06:32:33.123 alone, expected sever"),
    "combined table": (combine(products=("PIXTABLE_COMBINED",)), "alone, expected several"),
    "on the sky already": (combine(products=("PIXTABLE_POSITIONED",)), "found positions in deg, expected all in rad"),
    "in pixels": (combine(products=()), "found positions in pix, expected all in rad"),
    "unknown product": (combine("--save=stacked"), "parameter save: found 'stacked', expected some of cube, combined"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_both(datasets, tmp_path, name):
    case, says = REFUSED[name]
    expected, found = run_both(datasets, tmp_path, case, status=255)
    assert not list(expected.folder.glob("*.fits"))
    assert not list(found.folder.glob("*.fits"))
    assert says in found.output


def test_right_by_default(datasets, tmp_path):
    """Without MUSE_COMPAT: what the reference combines all the same is refused, and says what is wrong."""
    sof = tmp_path / "case.sof"
    for name, says in {
        "offsets of other exposures": r"found 2019-11-21T01:32:33.123, 2019-11-21T02:10:33.123, expected at least one",
    }.items():
        sof.write_text("\n".join(CASES[name].frames(datasets)))
        found = run.ours(sof, tmp_path / "ours", compat=False, recipe=RECIPE)
        assert found.status == 255
        assert says in found.output
    reduced = datasets.reduced("smalltwo")
    stems = ("REDUCED_0001", "POSITIONED_0002")
    sof.write_text("\n".join(f"{reduced}/PIXTABLE_{stem}.fits PIXTABLE_REDUCED" for stem in stems))
    found = run.ours(sof, tmp_path / "mixed", recipe=RECIPE)
    assert found.status == 255
    assert "found positions in deg, rad, expected all in rad" in found.output


def test_what_is_applied_is_logged(datasets, tmp_path):
    sof = tmp_path / "case.sof"
    sof.write_text("\n".join(combine(sof="offsets").frames(datasets)))
    found = run.ours(sof, tmp_path / "ours", "--save=combined", recipe=RECIPE)
    lines = [line.partition("Exposure of ")[2] for line in found.output.splitlines() if "Exposure of" in line]
    assert lines == [
        "2014-11-21T06:32:33.123: offset 0.0000, 0.0000 arcsec (RA, DEC), flux scale 1, weight 1",
        "2014-11-21T06:51:10.456: offset -0.6782, -0.4000 arcsec (RA, DEC), flux scale 1.11111, weight 0.666667",
    ]

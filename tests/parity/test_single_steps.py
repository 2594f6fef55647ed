# SPDX-License-Identifier: GPL-2.0-or-later
"""The recipes that do one step of the reduction, each pixel table by itself, against ESO's recipes."""

import shutil

import numpy as np
import pytest
from astropy.io import fits
from harness import run
from harness import tolerances as tol
from harness.case import Case, compare_runs, run_both

pytestmark = pytest.mark.reference
#: Size of a spaxel in arcsec.
SPAXEL = 0.2
REDUCED = ("PIXTABLE_REDUCED",)


def dar(parameters: str = "", data: str = "wfm", **more) -> Case:
    """Return a case of muse_scipost_correct_dar."""
    return Case(parameters, data, recipe="muse_scipost_correct_dar", **more)


def rv(parameters: str = "", data: str = "small", **more) -> Case:
    """Return a case of muse_scipost_correct_rv."""
    return Case(parameters, data, recipe="muse_scipost_correct_rv", **more)


def astrometry(parameters: str = "", data: str = "small", **more) -> Case:
    """Return a case of muse_scipost_apply_astrometry."""
    return Case(parameters, data, recipe="muse_scipost_apply_astrometry", **more)


def flux(parameters: str = "", data: str = "noflat", **more) -> Case:
    """Return a case of muse_scipost_calibrate_flux, by default with tables and curves without flat-field spectrum."""
    return Case(parameters, data, recipe="muse_scipost_calibrate_flux", **more)


def sky(parameters: str = "", data: str = "wfm", sof: str = "subtract", **more) -> Case:
    """Return a case of muse_scipost_subtract_sky."""
    return Case(parameters, data, sof, recipe="muse_scipost_subtract_sky", products=REDUCED, **more)


def simple(parameters: str = "", data: str = "wfm", **more) -> Case:
    """Return a case of muse_scipost_subtract_sky_simple."""
    others = ((data, "SKY_SPECTRUM.fits", "SKY_SPECTRUM"),)
    return Case(parameters, data, recipe="muse_scipost_subtract_sky_simple", products=REDUCED, others=others, **more)


CASES = {
    "refraction": dar(),
    "refraction, other reference wavelength": dar("--lambdaref=6000", data="small"),
    "refraction, switched off": dar("--lambdaref=0", data="small"),
    "refraction, checked": dar("--darcheck=check"),
    "refraction, range cut": dar("--lambdamin=7272 --lambdamax=7278.5", data="small"),
    "refraction, adaptive optics": dar(data="smallao"),
    "refraction, narrow field": dar(data="nfmtwo"),
    "refraction, written as table": dar(data="small", env={"MUSE_PIXTABLE_SAVE_AS_TABLE": "1"}),
    "barycentre": rv(),
    "Sun": rv("--rvcorr=helio"),
    "Earth": rv("--rvcorr=geo"),
    "topocentric": rv("--rvcorr=none"),
    "barycentre, range cut": rv("--lambdamin=7272 --lambdamax=7278.5"),
    "barycentre, two exposures": rv(data="smalltwo"),
    "astrometry": astrometry(),
    "astrometry, rotated, range cut": astrometry("--lambdamin=7272 --lambdamax=7278.5", data="smalltwo"),
    "astrometry, narrow field": astrometry(data="nfmtwo"),
    "flux": flux(),
    "flux, range cut": flux("--lambdamin=7275 --lambdamax=7302.5"),
    "flux, telluric": flux(data="telluricnoflat"),
    "given sky": sky(),
    "given sky, level of the sky flat": sky("--flux_sky=900."),
    "given sky, level of the lamp flat": sky("--flux_lamp=30000. --orig=before"),
    "given sky, range cut": sky("--lambdamin=7275 --lambdamax=7302.5"),
    "given sky, merged line spread functions": sky(
        sof="subtract", without="LSF_PROFILE-1", others=(("wfm", "calib/LSF_PROFILE_merged.fits", "LSF_PROFILE"),)
    ),
    "given spectrum": simple(),
    "given spectrum, range cut": simple("--lambdamin=7275 --lambdamax=7302.5"),
}


#: Positions that are corrected by fits to sources.
CORRECTED = {"refraction, what is left corrected": dar("--darcheck=correct")}


@pytest.fixture(scope="module")
def with_spectrum(datasets):
    """Data sets with a SKY_SPECTRUM in the folder of wfm."""
    data = datasets["wfm"]
    target = data.folder / "SKY_SPECTRUM.fits"
    if not target.exists():
        outcome = run.ours(data.sofs["model"], data.folder / "simple", "--skymethod=simple", "--save=skymodel")
        assert outcome.status == 0, outcome.output
        shutil.copy(data.folder / "simple" / "SKY_SPECTRUM_0001.fits", target)
    return datasets


@pytest.mark.parametrize("name", CASES)
def test_products(with_spectrum, tmp_path, name):
    assert compare_runs(with_spectrum, tmp_path, CASES[name]) == []


def test_corrected_positions(datasets, tmp_path):
    expected, found = run_both(datasets, tmp_path, *CORRECTED.values())
    products = sorted(path.name for path in expected.folder.glob("*.fits"))
    assert products == sorted(path.name for path in found.folder.glob("*.fits"))
    for product in products:
        with fits.open(expected.folder / product) as one, fits.open(found.folder / product) as other:
            for name in ("xpos", "ypos"):
                assert np.abs(one[name].data - other[name].data).max() * SPAXEL < tol.DAR_CORRECTED


_KEY = "HIERARCH ESO DRS MUSE PIXTABLE "
ENDS = {
    "no solution": (astrometry(without="ASTROMETRY_WCS"), "ASTROMETRY_WCS"),
    "projected already": (astrometry(products=REDUCED, data="smalltwo"), "found positions in rad"),
    "calibrated already": (flux(products=REDUCED, data="smalltwo"), "done already"),
    "another flat-field state": (flux(data="small"), "flat-field"),
    "no sky left": (sky(edits=((*REDUCED, _KEY + "SKYSUB", True, 0),)), "sky-subtracted"),
    "no counts": (sky(edits=((*REDUCED, _KEY + "FLUXCAL", None, 0),)), "flux calibrated"),
    "lines without profiles": (sky(without="LSF_PROFILE"), "LSF_PROFILE"),
}


@pytest.mark.parametrize("name", ENDS)
def test_both_end_with_an_error(datasets, tmp_path, name):
    """With some the reference has exit status 0, but tells of an error, and makes no product."""
    case, message = ENDS[name]
    reference, ours = run_both(datasets, tmp_path, case, status=None)
    assert not list(reference.folder.glob("*.fits"))
    assert ours.status != 0
    assert message in ours.output
    assert not list(ours.folder.glob("*.fits"))

# SPDX-License-Identifier: GPL-2.0-or-later
"""muse_create_sky and muse_scipost_raman against ESO's recipes."""

import pytest
from harness.case import Case, compare_runs, run_both

pytestmark = pytest.mark.reference


def create(parameters: str = "", data: str = "wfm", sof: str = "model", **more) -> Case:
    """Return a case of muse_create_sky."""
    return Case(parameters, data, sof, recipe="muse_create_sky", **more)


def raman(parameters: str = "", data: str = "raman", **more) -> Case:
    """Return a case of muse_scipost_raman."""
    return Case(parameters, data, "raman", recipe="muse_scipost_raman", **more)


CURVES = tuple(("raman", f"calib/{tag}.fits", tag) for tag in ("STD_RESPONSE", "EXTINCT_TABLE", "STD_TELLURIC"))
CASES = {
    "defaults": create(),
    "part of the field": create("--fraction=0.3 --ignore=0.2"),
    "samplings": create("--sampling=0.4 --csampling=0.6"),
    "thresholds": create("--crsigma=10.,4."),
    "one threshold": create("--crsigma=8."),
    "range cut, other reference wavelength": create("--lambdamin=7275 --lambdamax=7302.5 --lambdaref=5500"),
    "mask in pixels": create("--fraction=0.5", sof="mask_pix"),
    "mask on the sky": create("--fraction=0.5", sof="mask_deg"),
    "given continuum": create(sof="subtract"),
    "old line spread functions": create(sof="lsf_table"),
    "merged line spread functions": create(sof="lsf_merged"),
    "telluric": create(data="telluric"),
    "adaptive optics": create(data="ao"),
    "narrow field": create(data="nfm"),
    "Raman lines": raman(),
    "Raman lines, width": raman("--width=16 --lambdaref=6000"),
    "Raman lines, part of the field": raman("--fraction=0.5 --ignore=0.1 --crsigma=8"),
    "Raman lines, mask": raman(others=(("raman", "calib/SKY_MASK_pix.fits", "SKY_MASK"),)),
    "Raman lines, range cut": raman("--lambdamin=6472 --lambdamax=6505"),
    "Raman lines, flux calibrated": raman(others=CURVES),
}


@pytest.mark.parametrize("name", CASES)
def test_products(datasets, tmp_path, name):
    assert compare_runs(datasets, tmp_path, CASES[name]) == []


def test_exposures_that_are_calibrated_already(datasets, tmp_path):
    case = create(data="small", products=("PIXTABLE_REDUCED",))
    reference, ours = run_both(datasets, tmp_path, case, status=None)
    assert (reference.status == 0) == (ours.status == 0)

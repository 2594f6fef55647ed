# SPDX-License-Identifier: GPL-2.0-or-later
"""muse_scipost_combine_pixtables against ESO's recipe, on pixel tables in all states."""

import pytest
from harness.case import Case, compare_runs, run_both

pytestmark = pytest.mark.reference


def combine(parameters: str = "", data: str = "smalltwo", sof: str = "none", **more) -> Case:
    """Return a case with the exposures of a data set."""
    return Case(
        parameters, data, sof, recipe="muse_scipost_combine_pixtables", **{"products": ("PIXTABLE_REDUCED",), **more}
    )


CASES = {
    "two exposures": combine(),
    "two exposures, offsets and flux scales": combine(sof="offsets"),
    "two exposures, weights fwhm": combine("--weight=fwhm"),
    "two exposures, no weights": combine("--weight=none"),
    "two exposures, range cut": combine("--lambdamin=7272 --lambdamax=7278.5"),
    "two exposures, written as table": combine(env={"MUSE_PIXTABLE_SAVE_AS_TABLE": "1"}),
    "eight exposures, weights fwhm, offsets": combine("--weight=fwhm", data="eight", sof="offsets"),
    "adaptive optics": combine(data="smallao", sof="offsets"),
    "narrow field": combine(data="nfmtwo", sof="offsets"),
    "one exposure": combine(sof="offsets", products=("PIXTABLE_REDUCED_0002",)),
    "one exposure, range cut": combine("--lambdamin=7272", products=("PIXTABLE_REDUCED_0002",)),
    "one exposure on the sky": combine(products=("PIXTABLE_POSITIONED_0002",)),
    "one combined table": combine(products=("PIXTABLE_COMBINED",)),
    "one combined table, range cut": combine("--lambdamax=7276", products=("PIXTABLE_COMBINED",)),
    "IFUs of one exposure": combine(products=(), data="small"),
    "IFUs of one exposure, range cut": combine("--lambdamin=7272 --lambdamax=7278.5", products=(), data="small"),
    "one IFU": combine(products=(), data="small", without="-13.fits"),
}


@pytest.mark.parametrize("name", CASES)
def test_products(datasets, tmp_path, name):
    assert compare_runs(datasets, tmp_path, CASES[name]) == []


def test_exposures_in_pixels_are_refused_by_both(datasets, tmp_path):
    _, found = run_both(datasets, tmp_path, combine(products=()), status=255)
    assert not list(tmp_path.glob("*/*.fits"))
    assert "found positions in pix, expected all in rad" in found.output

# SPDX-License-Identifier: GPL-2.0-or-later
"""Pixel tables that are products of the recipe as its inputs, in whatever state, as ESO's recipe takes them."""

import pytest
from astropy.io import fits
from harness import compare, run

pytestmark = pytest.mark.reference

SAVE = "--save=cube,individual,positioned,combined"
INPUTS = {
    "reduced, two exposures": (["PIXTABLE_REDUCED_0001", "PIXTABLE_REDUCED_0002"], ()),
    "positioned": (["PIXTABLE_POSITIONED_0001"], ()),
    "combined": (["PIXTABLE_COMBINED"], ()),
    "combined, range cut": (["PIXTABLE_COMBINED"], ("--lambdamin=7273", "--lambdamax=7278", "--resample=nearest")),
}


@pytest.fixture(scope="module")
def first_run(datasets, tmp_path_factory):
    """Folder with the pixel tables that the reference makes of two exposures with different weights."""
    outcome = run.reference(
        datasets["smalltwo"].sofs["none"], tmp_path_factory.mktemp("first"), "--skymethod=none", SAVE
    )
    assert outcome.status == 0, outcome.output
    return outcome.folder


@pytest.mark.parametrize("name", INPUTS)
def test_products_as_inputs(datasets, first_run, tmp_path, name):
    products, parameters = INPUTS[name]
    lines = datasets["smalltwo"].frames("none", "PIXTABLE_OBJECT")
    lines += [f"{first_run / product}.fits PIXTABLE_OBJECT" for product in products]
    sof = tmp_path / "case.sof"
    sof.write_text("\n".join(lines) + "\n")
    expected = run.reference(sof, tmp_path / "reference", "--skymethod=none", SAVE, *parameters)
    found = run.ours(sof, tmp_path / "ours", "--skymethod=none", SAVE, *parameters)
    assert expected.status == 0, expected.output
    assert found.status == 0, found.output
    assert compare.products(expected.folder, found.folder) == []


def test_combined_table_with_unknown_exposures(datasets, first_run, tmp_path):
    """Weights are kept a exposure, not a row: the header must say where the exposures are."""
    with fits.open(first_run / "PIXTABLE_COMBINED.fits") as hdus:
        del hdus[0].header["ESO DRS MUSE PIXTABLE EXP2 LAST"]
        hdus.writeto(tmp_path / "combined.fits")
    sof = tmp_path / "case.sof"
    lines = datasets["smalltwo"].frames("none", "PIXTABLE_OBJECT")
    sof.write_text("\n".join([*lines, f"{tmp_path / 'combined.fits'} PIXTABLE_OBJECT"]) + "\n")
    found = run.ours(sof, tmp_path / "ours", "--skymethod=none", SAVE)
    assert found.status != 0
    assert "column weight: found 0.666667 to 1 in rows 0 to" in found.output


def test_combined_table_beside_another_one(datasets, first_run, tmp_path):
    """It cannot be combined again."""
    lines = datasets["smalltwo"].frames("none", "PIXTABLE_OBJECT_0002")
    sof = tmp_path / "case.sof"
    sof.write_text("\n".join([*lines, f"{first_run / 'PIXTABLE_COMBINED.fits'} PIXTABLE_OBJECT"]) + "\n")
    found = run.ours(sof, tmp_path / "ours", "--skymethod=none", SAVE)
    assert found.status != 0
    assert "a combined table can only be used alone" in found.output

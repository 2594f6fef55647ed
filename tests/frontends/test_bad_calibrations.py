# SPDX-License-Identifier: GPL-2.0-or-later
"""Calibrations that cannot be used.

What each run has to do then is in `harness.bench`.
"""

import re

import numpy as np
import pytest
from astropy.io import fits
from harness.bench import SOFS, column, edit, set_key, table_column


def whole(values):
    """Return values as integers."""
    return np.zeros(len(values), np.int32)


def one_row(hdus):
    """Leave one row of a table."""
    hdus[1].data = hdus[1].data[:1]


CALIBRATIONS = {
    "response without column": (
        "STD_RESPONSE",
        table_column("resperr", lambda x: None),
        "column resperr: not found amo",
    ),
    "response of integers": ("STD_RESPONSE", table_column("response", whole), "column response: found format J, expec"),
    "response not ascending": ("STD_RESPONSE", table_column("lambda", lambda x: x[::-1].copy()), "ascend"),
    "response of other mode": (
        "STD_RESPONSE",
        set_key("ESO INS MODE", "NFM-AO-N"),
        "for mode NFM-AO-N, exposure is WFM",
    ),
    "extinction without column": (
        "EXTINCT_TABLE",
        table_column("extinction", lambda x: None),
        "column extinction: not",
    ),
    "extinction not ascending": ("EXTINCT_TABLE", table_column("lambda", lambda x: x[::-1].copy()), "ascend"),
    "offsets without column": ("OFFSET_LIST", table_column("RA_OFFSET", lambda x: None), "column RA_OFFSET: not found"),
    "offsets of integers": (
        "OFFSET_LIST",
        table_column("DEC_OFFSET", whole),
        "column DEC_OFFSET: found format J, expe",
    ),
    "offsets of other exposures": (
        "OFFSET_LIST",
        table_column("DATE_OBS", lambda x: np.char.replace(x, "2014", "2004")),
        r"column DATE_OBS: found 2004-11-21T.*, expected at least one of the exposures, 2014-11-21T",
    ),
    "dates of numbers": ("OFFSET_LIST", table_column("DATE_OBS", whole), "column DATE_OBS: found format J, expected A"),
    "filter without column": (
        "FILTER_LIST",
        table_column("throughput", lambda x: None),
        "column throughput: not found",
    ),
    "output axes": (
        "OUTPUT_WCS",
        set_key("CTYPE1", "GLON-TAN", 1),
        "found CTYPE1, 2 = 'GLON-TAN', 'DEC--TAN', expected",
    ),
    "output wavelengths": ("OUTPUT_WCS", set_key("CTYPE3", "FREQ", 1), "found CTYPE3 = 'FREQ', expected one of AWAV"),
    "output unit": ("OUTPUT_WCS", set_key("CUNIT3", "Hz", 1), "found CUNIT3 = 'Hz', expected a unit of length"),
    "lines without column": ("SKY_LINES", table_column("flux", lambda x: None), "flux"),
    "lines that are not finite": ("SKY_LINES", table_column("lambda", lambda x: x * np.nan), "column lambda"),
    "continuum without column": ("SKY_CONTINUUM", table_column("flux", lambda x: None), "column flux: not found among"),
    "continuum not ascending": (
        "SKY_CONTINUUM",
        table_column("lambda", lambda x: x[::-1].copy()),
        "expected ascending",
    ),
    "mask with values": (
        "SKY_MASK",
        lambda hdus: setattr(hdus[0], "data", hdus[0].data * 1000.0),
        "expected 0 .* or 1",
    ),
    "mask without inverse": ("SKY_MASK", set_key("CD1_1", 0.0), "has no inverse"),
    "LSF without coordinates": ("LSF_PROFILE", set_key("CRVAL1", None, 1), "keyword CRVAL1: found nothing, expected"),
    "astrometry without reference pixel": (
        "ASTROMETRY_WCS",
        set_key("CRPIX2", None),
        "keyword CRPIX2: found nothing",
    ),
    "text in astrometry": (
        "ASTROMETRY_WCS",
        set_key("CRPIX2", "abc"),
        "keyword CRPIX2: found 'abc', expected a number",
    ),
    "text in matrix": ("ASTROMETRY_WCS", set_key("CD2_2", "abc"), "keyword CD2_2: found 'abc', expected a number"),
    "reference pixel far away": (
        "ASTROMETRY_WCS",
        set_key("CRPIX1", 1e30),
        r"keyword CRPIX1: found 1e\+30, expected a",
    ),
    "text in mask": ("SKY_MASK", set_key("CRPIX1", "abc"), "keyword CRPIX1: found 'abc', expected a number"),
    "text in output": ("OUTPUT_WCS", set_key("CD3_3", "abc", 1), "keyword CD3_3: found 'abc', expected a number"),
    "bin below 0": (
        "AUTOCAL_FACTORS",
        set_key("HIERARCH ESO DRS MUSE LAMBDA1 MIN", (-5.0, "")),
        "keyword ESO DRS MUSE LAMBDA1 MIN: found -5.0, expected a number from 0",
    ),
    "response without errors": (
        "STD_RESPONSE",
        table_column("resperr", lambda x: x * np.nan),
        "column resperr, row 1: found nan, expected numbers from 0 to",
    ),
    "extinction of one row": ("EXTINCT_TABLE", one_row, "found 1 rows, expected a curve of at least 2"),
    "response of one row": ("STD_RESPONSE", one_row, "found 1 rows, expected a curve of at least 2"),
    "response that is text": (
        "STD_RESPONSE",
        set_key("HIERARCH ESO DRS MUSE FLUX FFCORR", "F"),
        "keyword ESO DRS MUSE FLUX FFCORR: found 'F', expected T or F",
    ),
    "LSF without profile": ("LSF_PROFILE", column("LSF_PROFILE", lambda x: x * 0), "keyword|profile of slice 1"),
}


@pytest.mark.parametrize("name", CALIBRATIONS)
def test_unusable_calibration(bench, name):
    tag, change, says = CALIBRATIONS[name]
    sof, parameters = SOFS[tag]
    if tag == "FILTER_LIST":
        parameters = ("--filter=sim_V",)
    frames = bench.frames(sof)
    path = frames.copy(tag)
    edit(path, change)
    bench.fails(frames, *parameters, says=rf"{path.name}.*{says}")


def stretched(low: float, high: float):
    """Return a change that gives a curve another range of wavelengths, in Angstrom."""

    def change(hdus):
        values = hdus[1].data["lambda"]
        hdus[1].data["lambda"] = np.linspace(low, high, len(values))

    return change


CURVES = {
    "STD_RESPONSE": "data outside of it are flagged, and not in the cube",
    "EXTINCT_TABLE": "data outside of it are not corrected for extinction",
    "STD_TELLURIC": "data outside of it are not corrected for telluric lines",
}


def with_curve(bench, tag: str, low: float, high: float):
    """Return frames with a curve of another range, and its path."""
    frames = bench.frames()
    if tag == "STD_TELLURIC":
        nodes = np.linspace(7000, 7300, 50)
        columns = [("lambda", nodes), ("ftelluric", nodes * 0 + 0.9), ("ftellerr", nodes * 0)]
        table = fits.BinTableHDU.from_columns([fits.Column(name, "D", array=values) for name, values in columns])
        fits.HDUList([fits.PrimaryHDU(), table]).writeto(bench.inputs / f"{tag}.fits")
        frames.add(bench.inputs / f"{tag}.fits", tag)
    path = frames.copy(tag)
    edit(path, stretched(low, high))
    return frames, path


@pytest.mark.parametrize("tag", CURVES)
def test_curve_for_other_wavelengths(bench, tag):
    frames, path = with_curve(bench, tag, 9000, 9500)
    both = r"found wavelengths from 9000.00 to 9500.00 Angstrom, expected 7270.00 to 7280.00"
    bench.fails(frames, says=rf"{path.name}.*{both} Angstrom as in the data \(exposure of 20")
    bench.fails(frames, "--skymethod=none", "--darcheck=check", says=both)


@pytest.mark.parametrize("tag", CURVES)
def test_curve_for_a_part_of_the_wavelengths(bench, tag):
    frames, path = with_curve(bench, tag, 5000, 7275)
    status, output = bench.run(frames)
    assert status == 0, output
    assert re.search(rf"WARNING.*{path.name}.*from 5000.00 to 7275.00 .*; {CURVES[tag]}", output), output
    assert np.isfinite(fits.getdata("DATACUBE_FINAL.fits", 1)).any()


def test_curves_for_all_wavelengths_are_not_worth_a_word(bench):
    frames, _ = with_curve(bench, "STD_TELLURIC", 4000, 9500)
    assert "found wavelengths from" not in bench.run(frames)[1]


@pytest.mark.parametrize("tag", CURVES)
def test_curve_for_other_wavelengths_in_the_reference(bench, monkeypatch, tag):
    """It goes on: without correction, and with an STD_RESPONSE as if there were none, values some 1e17 too large."""
    monkeypatch.setenv("MUSE_COMPAT", "2.8.7")
    frames, _ = with_curve(bench, tag, 9000, 9500)
    status, output = bench.run(frames)
    assert status == 0, output
    median = np.nanmedian(fits.getdata("DATACUBE_FINAL.fits", 1))
    assert (median > 1e15) == (tag == "STD_RESPONSE")


@pytest.mark.parametrize(
    ("key", "value", "before"),
    [("CRVAL2", 5.0, True), ("CRVAL2", -75.0, True), ("CRVAL3", 9000.0, True), ("CRPIX1", -230.0, False)],
)
def test_output_grid_that_is_elsewhere(bench, key, value, before):
    """What is far away is known before a row is read, what is near when all positions are known."""
    frames = bench.frames("output_wcs")
    path = frames.copy("OUTPUT_WCS")
    edit(path, set_key(key, value, 1))
    status, output = bench.run(frames)
    bench.check(status, output, rf"{path.name}: found a grid of .* but no data in it: they are at .* Angstrom")
    assert bool(re.search(r"Exposure 1: \d+ rows", output)) is not before, output

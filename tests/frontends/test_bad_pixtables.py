# SPDX-License-Identifier: GPL-2.0-or-later
"""Columns and keywords of pixel tables that cannot be used.

What each run has to do then is in `harness.bench`.
"""

import re

import numpy as np
import pytest
from astropy.io import fits
from harness.bench import PIXTABLE, column, edit, put, set_key

COLUMNS = {
    "too short": (column("data", lambda x: x[:-7]), r"\d+ rows in \[data\], but \d+ in \[xpos\]"),
    "too long": (column("origin", lambda x: np.vstack([x, x[:2]])), r"\d+ rows in \[origin\], but \d+ in \[xpos\]"),
    "missing": (
        column("stat", lambda x: None),
        "found no column stat, expected xpos, ypos, lambda, data, dq, stat, or",
    ),
    "double precision": (column("lambda", lambda x: x.astype("f8")), r"\[lambda\]: found BITPIX -64, expected -32"),
    "integer data": (column("data", lambda x: x.astype("i4")), r"\[data\]: found BITPIX 32, expected -32"),
    "float flags": (column("dq", lambda x: x.astype("f4")), r"\[dq\]: found BITPIX -32, expected 32"),
    "two-dimensional": (
        column("xpos", lambda x: np.hstack([x, x])),
        r"\[xpos\]: found an image of 2x\d+ pixels, expect",
    ),
    "infinite wavelength": (column("lambda", put(np.inf)), "column lambda: found inf, expected finite numbers"),
    "infinite position": (column("ypos", put(-np.inf)), "column ypos: found -inf, expected finite numbers"),
    "absurd wavelength": (column("lambda", put(1e30)), r"column lambda: found 1e\+30, expected finite numbers below"),
    "absurd position": (column("xpos", put(1e7)), "output grid: .* are positions and wavelengths right"),
    "position in two units": (set_key("BUNIT", "deg", 1), "xpos, ypos: found units 'deg' and 'pix', expected both"),
    "other unit of data": (
        set_key("BUNIT", "Jy", 4),
        "found positions in pix, data in Jy, expected pix and count as in",
    ),
    "no type": (set_key("ESO DRS MUSE PIXTABLE TYPE", None), "PIXTABLE TYPE: found nothing, expected 'GEOFULL'"),
    "wrong type": (
        set_key("ESO DRS MUSE PIXTABLE TYPE", "FULL"),
        "PIXTABLE TYPE: found 'FULL', expected 'GEOFULL'",
    ),
    "no flat field in one": (lambda hdus: hdus.pop(), "flat-field spectrum in 1 of 2 pixel tables, expected it in all"),
    "no extensions": (lambda hdus: [hdus.pop() for _ in hdus[1:]], "found no extensions, expected the columns"),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_column_of_pixel_table(bench, name):
    change, says = COLUMNS[name]
    frames = bench.frames()
    path = frames.copy(PIXTABLE, 1)
    edit(path, change)
    of_all_files = "output grid" in says or "finite" in says
    bench.fails(frames, says=says if of_all_files else f"{path.name}.*{says}|{says}.*{path.name}")


def test_pixel_table_without_rows(bench):
    def empty(hdus):
        for hdu in hdus[1:8]:
            hdu.data = hdu.data[:0].reshape(0, 1)

    frames = bench.frames()
    path = frames.copy(PIXTABLE, 1)
    edit(path, empty)
    bench.fails(frames, says=f"{path.name}: found no rows, expected some")


TABLE_COLUMNS = {
    "missing": (lambda name, form: None if name == "ypos" else form, "found no column ypos, expected xpos, ypos"),
    "double precision": (
        lambda name, form: "D" if name == "data" else form,
        "column data: found format D, expected 1E",
    ),
    "array": (lambda name, form: "2E" if name == "stat" else form, "column stat: found format 2E, expected 1E"),
    "float flags": (lambda name, form: "E" if name == "dq" else form, "column dq: found format E, expected 1J"),
}


@pytest.mark.parametrize("name", TABLE_COLUMNS)
def test_column_of_binary_table(bench, name):
    form_of, says = TABLE_COLUMNS[name]

    def change(hdus):
        old = hdus[1].data
        forms = {c.name: form_of(c.name, c.format) for c in hdus[1].columns}
        columns = [
            fits.Column(c.name, forms[c.name], c.unit, array=np.stack([old[c.name]] * 2, 1) if "2" in forms[c.name]
                        else old[c.name])
            for c in hdus[1].columns
            if forms[c.name]
        ]  # fmt: skip
        hdus[1] = fits.BinTableHDU.from_columns(columns)

    frames = bench.frames(data="smalltable")
    path = frames.copy(PIXTABLE, 1)
    edit(path, change)
    bench.fails(frames, says=f"{path.name}.*{says}")


KEYWORDS = {
    "DATE-OBS": "keyword DATE-OBS",
    "RA": "velocity correction: keyword RA",
    "DEC": "velocity correction: keyword DEC",
    "EQUINOX": "velocity correction: keyword EQUINOX",
    "MJD-OBS": "velocity correction: keyword MJD-OBS",
    "EXPTIME": "flux calibration: keyword EXPTIME: found '?nothing'?, expected more than 0 seconds",
    "ESO TEL PARANG START": "DAR correction: keyword ESO TEL PARANG START",
    "ESO TEL PARANG END": "DAR correction: keyword .*END is missing",
    "ESO INS DROT POSANG": "DAR correction: keyword ESO INS DROT POSANG",
    "ESO INS DROT MODE": "DAR correction: keyword ESO INS DROT .*MODE",
}


@pytest.mark.parametrize("key", KEYWORDS)
def test_missing_keyword(bench, key):
    frames = bench.frames()
    for number in range(2):
        edit(frames.copy(PIXTABLE, number), set_key(key, None))
    bench.fails(frames, says=rf"bad_PIXTABLE_OBJECT_0001-12.fits.*{KEYWORDS[key]}")


def test_keyword_that_only_the_position_needs(bench):
    frames = bench.frames()
    for number in range(2):
        edit(frames.copy(PIXTABLE, number), set_key("RA", None))
    bench.fails(frames, "--rvcorr=none", says="bad_PIXTABLE_OBJECT_0001-12.fits.*keyword RA: found nothing, expected")


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("RA", "north", "keyword RA: found 'north', expected a number from 0 to 360 deg"),
        ("EXPTIME", 0.0, "keyword EXPTIME: found 0.0, expected more than 0 seconds"),
        ("EXPTIME", "long", "keyword EXPTIME: found 'long', expected a number from 0 to"),
        ("DATE-OBS", 5, "keyword DATE-OBS"),
        (
            "ESO INS DROT POSANG",
            -1e30,
            "keyword ESO INS DROT POSANG: found -1e\\+30, expected a number from",
        ),
        ("ESO DRS MUSE FLAT FLUX SKY", 1e30, "keyword ESO DRS MUSE FLAT FLUX SKY: found 1e\\+30, expected a number"),
        ("EXTNAME", "CHAN77", "keyword EXTNAME: found 'CHAN77', expected CHAN01 to CHAN24"),
        ("ESO INS MODE", "NFM-AO-N", "STD_RESPONSE.* is for mode WFM-NOAO-N, exposure is NFM-AO-N"),
    ],
)
def test_unusable_keyword(bench, key, value, says):
    frames = bench.frames()
    for number in range(2):
        edit(frames.copy(PIXTABLE, number), set_key(key, value))
    bench.fails(frames, says=rf"bad_PIXTABLE_OBJECT_0001-12.fits.*{says}")


def test_weather_without_sense(bench):
    """A default is used, with a warning, as for missing keywords."""
    frames = bench.frames()
    for number in range(2):
        edit(frames.copy(PIXTABLE, number), set_key("HIERARCH ESO TEL AMBI PRES START", 0.0))
    status, output = bench.run(frames)
    assert status == 0, output
    assert re.search(r"WARNING.*keyword ESO TEL AMBI PRES START: found 0.0, expected a number from 300", output)
    assert re.search(r"WARNING.*ESO TEL AMBI PRES START or END is missing, using 743 hPa", output)


def test_levels_of_ifus_without_sense(bench):
    frames = bench.frames()
    edit(frames.copy(PIXTABLE, 1), set_key("HIERARCH ESO DRS MUSE FLAT FLUX SKY", 1e-3))
    bench.fails(frames, says="bad_PIXTABLE_OBJECT_0001-13.fits: keywords .*expected less than a factor of 100")


def test_ifu_of_one_empty_row(bench):
    def empty(hdus):
        for hdu in hdus[1:8]:
            hdu.data = hdu.data[:1] * 0

    frames = bench.frames()
    edit(frames.copy(PIXTABLE, 1), empty)
    bench.fails(frames, says="column origin: found IFU 0, expected 1 to 24")


def test_wavelengths_that_are_all_missing(bench):
    frames = bench.frames()
    for number in range(2):
        edit(frames.copy(PIXTABLE, number), column("lambda", lambda x: x * np.nan))
    bench.fails(frames, says="column lambda: found NaN only, expected finite numbers")

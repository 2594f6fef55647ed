# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames, parameters and machines with which muse_scipost cannot work: what the user is told, and what is left behind.

Each run has to end with a non-zero status and a message that says where, what was found and what was expected. It may
leave nothing in the folder of the products, where an older product lies that must stay as it is.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from harness.case import Frames

from muse_core.engine import plan, resources
from muse_core.frontends.esorex import main

PIXTABLE = "PIXTABLE_OBJECT"
OLD_PRODUCT = b"a product of the day before"
FAILED, CANNOT_OPEN = 255, 9
#: What a message of an exception that nobody foresaw looks like.
UNFORESEEN = re.compile(r"Traceback|\b[A-Z]\w*(Error|Exception|Interrupt)\b")


class Bench:
    """A folder to run the command in, with an old product, and a folder for spoiled frames."""

    def __init__(self, folder, datasets, monkeypatch, capfd):
        self.products, self.inputs = folder / "products", folder / "inputs"
        self.products.mkdir()
        self.inputs.mkdir()
        (self.products / "DATACUBE_FINAL.fits").write_bytes(OLD_PRODUCT)
        self._datasets, self._monkeypatch, self._capfd = datasets, monkeypatch, capfd

    def frames(self, sof: str = "none", data: str = "small") -> Frames:
        """Return a set of frames."""
        return Frames(self._datasets[data].frames(sof), self.inputs)

    def arguments(self, frames: Frames, parameters) -> list[str]:
        """Return the command line."""
        parameters = list(parameters)
        if not any(p.startswith("--skymethod") for p in parameters):
            lines = any(tag == "LSF_PROFILE" for _, tag in frames.entries)
            parameters.insert(0, f"--skymethod={'model' if lines else 'none'}")
        return [f"--log-dir={self.inputs}", "muse_scipost", *parameters, str(frames.write())]

    def run(self, frames: Frames, *parameters: str) -> tuple[int, str]:
        """Run the command in this process; return its status and what it said."""
        self._monkeypatch.chdir(self.products)
        self._capfd.readouterr()
        status = main.main(self.arguments(frames, parameters), "muse-esorex")
        return status, "".join(self._capfd.readouterr())

    def fails(self, frames: Frames, *parameters: str, says: str, status: int = FAILED) -> None:
        """Run the command and check that it fails as it should, with a message that `says` (a pattern) finds."""
        found, output = self.run(frames, *parameters)
        self.check(found, output, says, status)

    def check(self, found: int, output: str, says: str, status: int = FAILED) -> None:
        """Check status, messages and what was left."""
        assert found == status, output
        errors = [line for line in output.splitlines() if "ERROR" in line]
        assert any(re.search(says, line) for line in errors), output
        assert not UNFORESEEN.search("\n".join(errors)), output
        self.is_untouched()

    def is_untouched(self) -> None:
        """Check that nothing was left and that the old product is what it was."""
        assert os.listdir(self.products) == ["DATACUBE_FINAL.fits"]
        assert (self.products / "DATACUBE_FINAL.fits").read_bytes() == OLD_PRODUCT


@pytest.fixture
def bench(tmp_path, datasets, monkeypatch, capfd):
    """A place to run the command."""
    for name in [name for name in os.environ if name.startswith("MUSE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return Bench(tmp_path, datasets, monkeypatch, capfd)


def edit(path: Path, change) -> None:
    """Apply `change` to the HDUs of a file."""
    with fits.open(path, memmap=False) as hdus:
        copy = fits.HDUList([hdu.copy() for hdu in hdus])
    change(copy)
    copy.writeto(path, overwrite=True)


def set_key(key: str, value, hdu: int = 0):
    """Return a change that sets a keyword, or removes it if `value` is None."""

    def change(hdus):
        if value is None:
            del hdus[hdu].header[key]
        else:
            hdus[hdu].header[key] = value

    return change


def test_the_frames_are_usable_before_they_are_spoiled(bench):
    status, output = bench.run(bench.frames("model"))
    assert status == 0, output
    assert fits.getheader("DATACUBE_FINAL.fits")["ESO PRO CATG"] == "DATACUBE_FINAL"
    assert sorted(os.listdir()) == sorted(
        ["DATACUBE_FINAL.fits", "IMAGE_FOV_0001.fits"]
        + [f"SKY_{name}_0001.fits" for name in ("CONTINUUM", "IMAGE", "LINES", "MASK", "SPECTRUM")]
    )


# Sets of frames


def test_no_set_of_frames(bench):
    frames = bench.frames()
    arguments = [*bench.arguments(frames, ())[:-1], "nosuch.sof"]
    bench._monkeypatch.chdir(bench.products)
    status = main.main(arguments, "muse-esorex")
    bench.check(status, "".join(bench._capfd.readouterr()), "Unable to open SOF file 'nosuch.sof'", CANNOT_OPEN)


def test_missing_file(bench):
    frames = bench.frames()
    frames.add(bench.inputs / "nosuch.fits", PIXTABLE)
    bench.fails(frames, says=r"nosuch.fits' with tag 'PIXTABLE_OBJECT'.* line 7 of", status=CANNOT_OPEN)


@pytest.mark.parametrize("made", ["nothing", "folder"])
def test_missing_file_that_the_recipe_finds(bench, made):
    frames = bench.frames()
    path = bench.inputs / "nosuch.fits"
    if made == "folder":
        path.mkdir()
    frames.add(path, PIXTABLE)
    arguments = ["--check-sof-exist=false", *bench.arguments(frames, ())]
    bench._monkeypatch.chdir(bench.products)
    status = main.main(arguments, "muse-esorex")
    what = {"nothing": "no such file", "folder": "not a file"}[made]
    says = f"nosuch.fits: {what}, expected a FITS file with tag PIXTABLE_OBJECT"
    bench.check(status, "".join(bench._capfd.readouterr()), says)


def test_empty_set_of_frames(bench):
    frames = bench.frames()
    frames.entries.clear()
    bench.fails(frames, says="set of frames: found no frames, expected at least one frame with tag PIXTABLE_OBJECT")


def test_wrong_tag(bench):
    frames = bench.frames()
    frames.entries = [(path, tag.replace("OBJECT", "OBJET")) for path, tag in frames.entries]
    bench.fails(frames, says="set of frames: found ASTRO.*PIXTABLE_OBJET, .*expected .* PIXTABLE_OBJECT")


@pytest.mark.parametrize("tag", ["STD_RESPONSE", "EXTINCT_TABLE", "ASTROMETRY_WCS"])
def test_two_frames_where_one_is_expected(bench, tag):
    frames = bench.frames()
    frames.add(frames.path(tag), tag)
    bench.fails(frames, says=f"2 frames with tag {tag}: found .*{tag}.fits, .*, expected at most one")


@pytest.mark.parametrize(
    ("method", "sof", "without", "missing"),
    [
        ("model", "model", "LSF_PROFILE", "LSF_PROFILE"),
        ("model", "model", "SKY_LINES", "SKY_LINES"),
        ("model", "none", "", "LSF_PROFILE, SKY_LINES"),
        ("subtract-model", "subtract", "SKY_LINES", "SKY_LINES"),
        ("subtract-model", "subtract", "SKY_CONTINUUM", "SKY_CONTINUUM"),
        ("subtract-model", "none", "", "LSF_PROFILE, SKY_LINES, SKY_CONTINUUM"),
    ],
)
def test_frames_that_the_sky_method_needs(bench, method, sof, without, missing):
    frames = bench.frames(sof)
    frames.remove(without)
    bench.fails(
        frames, f"--skymethod={method}", says=f"skymethod={method}: found no frame with tag {missing}, expected"
    )


def test_autocalibration_without_factors(bench):
    bench.fails(bench.frames(), "--autocalib=user", says="autocalib=user: found no frame with tag AUTOCAL_FACTORS")


def test_no_line_spread_function_for_an_ifu(bench):
    frames = bench.frames("model")
    index = max(i for i, (_, tag) in enumerate(frames.entries) if tag == "LSF_PROFILE")
    del frames.entries[index]
    bench.fails(frames, says="LSF_PROFILE: nothing for IFU 13, of which there are pixel tables")


# Files that are no FITS files, or only a part of one


SOFS = {
    PIXTABLE: ("none", ()),
    "STD_RESPONSE": ("none", ()),
    "EXTINCT_TABLE": ("none", ()),
    "ASTROMETRY_WCS": ("none", ()),
    "FILTER_LIST": ("none", ("--filter=white,sim_7030",)),
    "OFFSET_LIST": ("offsets", ()),
    "OUTPUT_WCS": ("output_wcs", ()),
    "SKY_LINES": ("model", ()),
    "LSF_PROFILE": ("model", ()),
    "SKY_MASK": ("mask_pix", ()),
    "SKY_CONTINUUM": ("subtract", ("--skymethod=subtract-model",)),
    "AUTOCAL_FACTORS": ("autocal", ("--autocalib=user", "--skymethod=none")),
}


@pytest.mark.parametrize("tag", SOFS)
@pytest.mark.parametrize("content", [b"", b"some text\n" * 1000])
def test_no_fits_file(bench, tag, content):
    sof, parameters = SOFS[tag]
    frames = bench.frames(sof)
    path = frames.copy(tag)
    path.write_bytes(content)
    bench.fails(frames, *parameters, says=f"{re.escape(str(path))}: found no FITS file .*, expected one")


@pytest.mark.parametrize("part", [0.05, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("tag", [PIXTABLE, "STD_RESPONSE", "SKY_LINES", "LSF_PROFILE", "SKY_MASK", "AUTOCAL_FACTORS"])
def test_truncated_file(bench, tag, part):
    sof, parameters = SOFS[tag]
    frames = bench.frames(sof)
    path = frames.copy(tag)
    os.truncate(path, int(path.stat().st_size * part))
    bench.fails(frames, *parameters, says=rf"{re.escape(str(path))}.*(truncated\?|found no )")


@pytest.mark.parametrize("part", [0.1, 0.5, 0.97])
def test_truncated_binary_table(bench, part):
    frames = bench.frames(data="smalltable")
    path = frames.copy(PIXTABLE, 1)
    os.truncate(path, int(path.stat().st_size * part))
    bench.fails(
        frames, says=rf"{re.escape(str(path))}\[.*found \d+ bytes in the file, expected at least \d+; file trunc"
    )


@pytest.mark.parametrize("tag", ["EXTINCT_TABLE", "OFFSET_LIST", "SKY_CONTINUUM", "OUTPUT_WCS", "FILTER_LIST"])
def test_file_that_ends_after_its_first_header(bench, tag):
    sof, parameters = SOFS[tag]
    frames = bench.frames(sof)
    path = frames.copy(tag)
    os.truncate(path, 2880)
    if tag == "FILTER_LIST":  # a filter that is not there is worth a warning, as in ESO's recipe
        status, output = bench.run(frames, *parameters)
        assert status == 0
        assert re.search(rf"WARNING.*filter: 'sim_7030' not found \(none in {re.escape(str(path))}\)", output)
        return
    bench.fails(frames, *parameters, says=rf"{re.escape(str(path))}.*found no .*(expected|CRVAL)")


def test_file_with_another_tag(bench):
    frames = bench.frames()
    frames.add(frames.path("STD_RESPONSE"), PIXTABLE)
    bench.fails(
        frames, says=r"STD_RESPONSE.fits: keyword ESO DRS MUSE PIXTABLE TYPE: found nothing, expected 'GEOFULL'"
    )
    frames = bench.frames()
    frames.add(frames.path(PIXTABLE), "STD_TELLURIC")
    bench.fails(frames, says=r"-12.fits: extension 1: found no binary table, expected one")


# Columns of pixel tables


def column(name: str, make):
    """Return a change that replaces the data of an extension, or removes it if `make` returns None."""

    def change(hdus):
        index = next(i for i, hdu in enumerate(hdus) if hdu.header.get("EXTNAME") == name)
        data = make(hdus[index].data)
        if data is None:
            del hdus[index]
            return
        new = fits.ImageHDU(data)
        for key in ("EXTNAME", "BUNIT"):
            if key in hdus[index].header:
                new.header[key] = hdus[index].header[key]
        hdus[index] = new

    return change


def put(value, rows=slice(0, 3)):
    """Return a function that sets some values of a column."""

    def change(data):
        data[rows] = value
        return data

    return change


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


# Keywords of pixel tables


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


# Calibrations


def table_column(name: str, make):
    """Return a change of a column of the first table: new values (of any type), or none to remove it."""

    def change(hdus):
        index = next(i for i, hdu in enumerate(hdus) if isinstance(hdu, fits.BinTableHDU))
        old = hdus[index]
        values = {c.name: np.asarray(old.data[c.name]) for c in old.columns}
        values[name] = make(values[name])
        forms = {"f": "D", "i": "J", "U": f"{values[name].dtype.itemsize // 4}A"} if values[name] is not None else {}
        columns = [
            fits.Column(
                c.name, c.format if c.name != name else forms[values[name].dtype.kind], c.unit, array=values[c.name]
            )
            for c in old.columns
            if values[c.name] is not None
        ]
        hdus[index] = fits.BinTableHDU.from_columns(columns)
        if "EXTNAME" in old.header:
            hdus[index].header["EXTNAME"] = old.header["EXTNAME"]

    return change


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


# Parameters


PARAMETERS = {
    "--nosuch=1": "Command line parameter '--nosuch=1' not recognized",
    "--skymethod=foo": "--skymethod: found 'foo', expected one of none, subtract-model, ",
    "--astrometry=maybe": "--astrometry: found 'maybe', expected TRUE or FALSE",
    "--dx=wide": "--dx: found 'wide', expected a number",
    "--dx=-1": "parameter dx: found -1, expected a number at least 0",
    "--dy=nan": "parameter dy: found nan, expected a finite number",
    "--dx=1e-7": "output grid: .* are positions and wavelengths right",
    "--dlambda=inf": "parameter dlambda: found inf, expected a finite number",
    "--rc=0": "parameter rc: found 0, expected a number above 0",
    "--pixfrac=wide": "parameter pixfrac: found 'wide', expected one to three numbers above 0",
    "--pixfrac=0.8,0": "parameter pixfrac: found '0.8,0', expected one to three numbers above 0",
    "--save=cube,foo": "parameter save: found 'foo', expected some of cube, autocal, raman",
    "--save=": "parameter save: found nothing, expected some of cube",
    "--lambdamin=8000": r"-12.fits: found no rows with wavelengths from 8000 to 10000 Angstrom",
    "--lambdamin=7300 --lambdamax=7200": "lambdamin, lambdamax: found 7300 and 7200, expected a range",
    "--skymodel_fraction=2": "parameter skymodel_fraction: found 2, expected a number above 0, at most 1",
    "--skymodel_fraction=0": "parameter skymodel_fraction: found 0, expected a number above 0, at most 1",
    "--skymodel_ignore=-0.1": "parameter skymodel_ignore: found -0.1, expected a number at least 0, at most 1",
    "--skymodel_ignore=1": "sky spectrum: no pixel left",
    "--skymodel_sampling=0": "parameter skymodel_sampling: found 0, expected a number above 0",
    "--skymodel_sampling=1e-9": "out of memory",
    "--skymodel_sampling=1000": "parameter skymodel_sampling: 1000.0 Angstrom is wider than the LSF_PROFILE",
    "--skymodel_csampling=-1": "parameter skymodel_csampling: found -1, expected a number above 0",
    "--sky_crsigma=a,b": "parameter sky_crsigma: found 'a,b', expected two numbers",
}


@pytest.mark.parametrize("parameters", PARAMETERS)
def test_unusable_parameter(bench, parameters):
    sof = "model" if "sky" in parameters else "none"
    bench.fails(bench.frames(sof), *parameters.split(), says=PARAMETERS[parameters])


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("MUSE_COMPAT", "9.9", "MUSE_COMPAT: found '9.9', expected '2.8.7' or nothing"),
        ("MUSE_MAX_MEMORY", "much", "MUSE_MAX_MEMORY: found 'much', expected a size such as 4G"),
        ("MUSE_MAX_MEMORY", "10M", "MUSE_MAX_MEMORY: 10 MiB are too little: .* expected at least"),
        ("MUSE_SCRATCH", "/nosuch", "MUSE_SCRATCH: /nosuch: found no folder of this name"),
        ("MUSE_RESUME", "/nosuch", "MUSE_RESUME: /nosuch: found no folder of this name"),
        ("OMP_NUM_THREADS", "all", "OMP_NUM_THREADS: found 'all', expected a number from 1 to 1024"),
        ("OMP_NUM_THREADS", "0", "OMP_NUM_THREADS: found '0', expected a number from 1 to 1024"),
    ],
)
def test_unusable_environment(bench, monkeypatch, name, value, says):
    monkeypatch.setenv(name, value)
    bench.fails(bench.frames(), says=says)


# The machine


@pytest.fixture
def small_disk(tmp_path):
    """Return a function that mounts a file system of some bytes on the folder of the products."""
    mounted = []

    def mount(folder: Path, size: str) -> None:
        folder.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"cannot mount a small file system ({done.stderr.strip()}); needs root")
        mounted.append(folder)

    yield mount
    os.chdir(tmp_path)
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("size", ["4k", "100k", "3m"])
@pytest.mark.parametrize(
    ("planned", "says"),
    [
        (True, r"products: found \d+\.\d MB free, expected at least \d+\.\d MB for products"),
        (False, r"\.fits: no space left on the device \(\d+\.\d MB free, \d+\.\d MB needed\)"),
    ],
)
def test_full_disk(bench, small_disk, monkeypatch, size, planned, says):
    if not planned:  # whatever fills the disk does it after the start
        monkeypatch.setattr(plan, "SURELY_NEEDED", 0)
    small_disk(bench.products, size)
    (bench.products / "DATACUBE_FINAL.fits").write_bytes(OLD_PRODUCT)
    bench.fails(bench.frames(), "--save=individual,positioned,cube,combined", says=says)


def test_disk_is_full_of_earlier_products(bench, small_disk, monkeypatch):
    monkeypatch.setattr(plan, "SURELY_NEEDED", 0)
    small_disk(bench.products, "4600k")
    (bench.products / "DATACUBE_FINAL.fits").write_bytes(OLD_PRODUCT)
    bench.fails(bench.frames(), "--save=individual,positioned,cube,combined", says=r"COMBINED.fits: no space left")


@pytest.mark.parametrize(
    ("planned", "says"),
    [
        (True, r"scratch: found 1\.0 MB free, expected at least 1\.6 MB for rows; see MUSE_SCRATCH or MUSE_RESUME"),
        (False, r"scratch: no space left on the device .* 1\.6 MB needed\); see MUSE_SCRATCH"),
    ],
)
def test_full_scratch_folder(bench, small_disk, monkeypatch, planned, says):
    if not planned:
        monkeypatch.setattr(plan, "SURELY_NEEDED", 0)
    scratch = bench.inputs / "scratch"
    small_disk(scratch, "1m")
    monkeypatch.setenv("MUSE_SCRATCH", str(scratch))
    monkeypatch.setattr(resources, "IN_MEMORY_BYTES", 0)
    bench.fails(bench.frames(), says=says)
    assert not os.listdir(scratch)


@pytest.mark.parametrize(
    ("planned", "says"),
    [
        (True, r"resume: found 2\.3 MB free, expected at least \d\.\d MB for rows; see MUSE_SCRATCH or MUSE_RESUME"),
        (False, r"resume/.*no space left on the device"),
    ],
)
def test_full_folder_of_unfinished_runs(bench, small_disk, monkeypatch, planned, says):
    if not planned:
        monkeypatch.setattr(plan, "SURELY_NEEDED", 0)
    folder = bench.inputs / "resume"
    small_disk(folder, "2200k")
    monkeypatch.setenv("MUSE_RESUME", str(folder))
    frames = bench.frames()
    bench.fails(frames, says=says)
    subprocess.run(["mount", "-o", "remount,size=9m", str(folder)], check=True)
    status, output = bench.run(frames)
    assert status == 0, output
    assert ("taken over from the interrupted run" in output) is not planned
    assert not os.listdir(folder)


def test_read_only_disk(bench, small_disk):
    small_disk(bench.products, "8m")
    (bench.products / "DATACUBE_FINAL.fits").write_bytes(OLD_PRODUCT)
    subprocess.run(["mount", "-o", "remount,ro", str(bench.products)], check=True)
    bench.fails(bench.frames(), says=rf"{bench.products}.*: folder is not writable \(Read-only file system\)")


def test_folder_without_permission(datasets, monkeypatch, capfd):
    """As an ordinary user: root may write everywhere, so its rights are put down for the run."""
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench = Bench(folder, datasets, monkeypatch, capfd)
        frames = bench.frames()
        for tag in {tag for _, tag in frames.entries}:
            for number in range(2 if tag == PIXTABLE else 1):
                frames.copy(tag, number).chmod(0o644)
        for path in (folder, bench.inputs):
            path.chmod(0o777)
        bench.products.chmod(0o555)
        if root:
            os.seteuid(65534)
        try:
            status, output = bench.run(frames)
        finally:
            if root:
                os.seteuid(0)
            bench.products.chmod(0o755)
            monkeypatch.chdir("/")
        bench.check(status, output, rf"{bench.products}.*: folder is not writable \(Permission denied\)")


@pytest.mark.parametrize("option", ["output-dir", "log-dir", "link-dir"])
@pytest.mark.parametrize("folder", ["nosuch", "DATACUBE_FINAL.fits/below"])
def test_folder_of_the_command(bench, option, folder):
    bench._monkeypatch.chdir(bench.products)
    arguments = [f"--{option}={folder}", "--suppress-link=false", *bench.arguments(bench.frames(), ())[1:]]
    status = main.main(arguments, "muse-esorex")
    says = f"{option}.*'?{re.escape(folder)}.* is not a valid directory"
    bench.check(status, "".join(bench._capfd.readouterr()), says)


def test_stopped_by_a_signal(bench):
    """A run that is stopped in the middle of its products leaves none of them."""
    frames = bench.frames(data="two")
    command = [sys.executable, "-m", "muse_core.frontends.esorex.main"]
    command += bench.arguments(frames, ["--save=individual,positioned,cube,combined"])
    with subprocess.Popen(
        command, cwd=bench.products, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as run:
        deadline = time.monotonic() + 60
        while not list(bench.products.glob(".muse-run-*/*.fits")) and time.monotonic() < deadline:
            time.sleep(0.01)
        run.send_signal(signal.SIGTERM)
        output, _ = run.communicate(timeout=60)
    assert run.returncode == -signal.SIGTERM, output
    assert "Stopped by SIGTERM; no product has been kept." in output
    bench.is_untouched()


def test_real_command(bench):
    """What the others do in this process, as a user does it."""
    frames = bench.frames()
    path = frames.copy(PIXTABLE)
    os.truncate(path, path.stat().st_size // 2)
    command = [sys.executable, "-m", "muse_core.frontends.esorex.main", *bench.arguments(frames, ())]
    done = subprocess.run(command, cwd=bench.products, capture_output=True, text=True, timeout=60)
    bench.check(
        done.returncode,
        done.stdout + done.stderr,
        rf"{path.name}\[data\]: found \d+ bytes in the file, expected at least \d+",
    )


# Values that the reference has defaults for


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

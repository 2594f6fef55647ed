# SPDX-License-Identifier: GPL-2.0-or-later
"""Each stage of the sky subtraction against ESO's recipe, from the products of the stage before.

The pixel table before the sky step is what the recipe saves with ``skymethod=none`` and neither velocity correction nor
astrometry. Where the input of a stage is the same, everything must be the same to the last bit, which is more than the
tolerances of issue and documentation ask for: the end point of the line fit hangs on the last bits.
"""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from harness.stages import IN_PIXELS, Stage, pixel_table, same_rows

from muse_core.io.fitswriter import primary_header, write_hdus
from muse_core.io.lsf import read_lsf
from muse_core.io.pixtable import PixelTableFile
from muse_core.io.sky import (
    CONTINUUM,
    LINES,
    continuum_columns,
    lines_columns,
    read_sky_continuum,
    read_sky_lines,
    read_sky_mask,
    spectrum_columns,
)
from muse_core.io.tables import table_hdu
from muse_core.model import units
from muse_core.model.compat import Compat
from muse_core.model.skylines import SkyLines
from muse_core.model.spectrum import Continuum, Spectrum
from muse_core.simulate.exposure import ExposureSpec
from muse_core.steps.sky import qc
from muse_core.steps.sky.continuum import continuum_of_spectrum
from muse_core.steps.sky.lsf import count_slices, empty_counts
from muse_core.steps.sky.mask import create_sky_mask, mask_in_spaxels, select_rows
from muse_core.steps.sky.model import fit_sky, lineless_samples
from muse_core.steps.sky.spectrum import SpectrumAccumulator, usable_samples
from muse_core.steps.sky.subtract import continuum_cut, cut_rows, subtract_continuum, subtract_lines

pytestmark = pytest.mark.reference

REFERENCE = Compat.reference()
SPECS = {
    "wfm": ExposureSpec(ifus=(12, 13), lbda_min=7270, lbda_max=7330),
    "ao": ExposureSpec(
        mode="WFM-AO-N", ifus=(12, 13), lbda_min=6490, lbda_max=6550, date_obs="2018-11-21T06:32:33.123"
    ),
    "nfm": ExposureSpec(
        mode="NFM-AO-N", ifus=(3,), lbda_min=7270, lbda_max=7350, exptime=1200.0, date_obs="2019-11-21T06:32:33.123"
    ),
}


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    made = {}

    def stage(name: str) -> Stage:
        if name not in made:
            made[name] = Stage.make(tmp_path_factory.mktemp(name), SPECS[name])
        return made[name]

    return stage


def limits_of(rows: np.ndarray, column: str) -> tuple[float, float]:
    return float(rows[column].min()), float(rows[column].max())


def table(folder: Path, product: str) -> np.ndarray:
    return fits.getdata(folder / f"{product}_0001.fits", 1)


def same_columns(columns: list, folder: Path, product: str, extname: str | None = None) -> None:
    """Compare the structure of a table with that of the product."""
    expected = fits.getheader(folder / f"{product}_0001.fits", 1)
    header, _ = table_hdu(columns, extname)
    for key in (key for key in {*expected, *header} if key[:5] in ("TTYPE", "TFORM", "TUNIT", "EXTNA", "TFIEL")):
        assert header.get(key) == expected.get(key), key


def sky_selection(rows: np.ndarray, folder: Path, fraction: float, ignore: float) -> np.ndarray:
    """Selection by our mask from the reference's image, which is checked against its mask."""
    with fits.open(folder / "SKY_IMAGE_0001.fits") as hdus:
        image, bad = hdus["DATA"].data.astype(np.float32), hdus["DQ"].data != 0
    mask, low_limit, threshold = create_sky_mask(image, bad, fraction, ignore)
    expected, header = fits.getdata(folder / "SKY_MASK_0001.fits", header=True)
    np.testing.assert_array_equal(mask, expected)
    for key, value in qc.mask_qc(low_limit, threshold):
        assert header[f"ESO QC SCIPOST {key}"] == pytest.approx(value, rel=1e-14)
    selected = np.ones(len(rows), np.uint8)
    select_rows(rows, mask_in_spaxels(mask, rows["xpos"].min(), rows["ypos"].min()), selected)
    return selected


def binned(rows, samples, width, sigma=0.0) -> Spectrum:
    spectrum = None
    for _ in range(2 if sigma > 0 else 1):
        accumulator = SpectrumAccumulator(*limits_of(rows, "lbda"), width, spectrum, sigma)
        for part in np.array_split(samples, 3):
            accumulator.add(part)
        spectrum = accumulator.spectrum()
    return spectrum


def same_spectrum(found: Spectrum, folder: Path) -> None:
    expected = table(folder, "SKY_SPECTRUM")
    np.testing.assert_array_equal(found.lbda, expected["lambda"])
    np.testing.assert_array_equal(found.data, expected["data"])
    np.testing.assert_array_equal(found.stat, expected["stat"])
    same_columns(spectrum_columns(found, units.FLUX, units.FLUX_VARIANCE), folder, "SKY_SPECTRUM")


def same_lines(found: SkyLines, folder: Path) -> None:
    expected = table(folder, "SKY_LINES")
    assert found.name.tolist() == [str(name).rstrip() for name in expected["name"]]
    np.testing.assert_array_equal(found.group, expected["group"])
    np.testing.assert_array_equal(found.lbda, expected["lambda"])
    np.testing.assert_array_equal(found.flux, expected["flux"])
    same_columns(lines_columns(found), folder, "SKY_LINES", LINES)
    header = fits.getheader(folder / "SKY_LINES_0001.fits")
    keywords = dict(qc.line_qc(found))
    assert len(header["ESO QC SCIPOST LINE*"]) == len(keywords)
    for key, value in keywords.items():
        expected = value if isinstance(value, str) else pytest.approx(value, rel=1e-14)
        assert header[f"ESO QC SCIPOST {key}"] == expected


def same_continuum(found: Continuum, folder: Path, unit: str = units.LINE_FLUX_PLAIN) -> None:
    expected = table(folder, "SKY_CONTINUUM")
    np.testing.assert_array_equal(found.lbda, expected["lambda"])
    np.testing.assert_array_equal(found.flux, expected["flux"])
    same_columns(continuum_columns(found, unit), folder, "SKY_CONTINUUM", CONTINUUM)
    header = fits.getheader(folder / "SKY_CONTINUUM_0001.fits")
    for key, value in qc.continuum_qc(found):
        assert header[f"ESO QC SCIPOST {key}"] == pytest.approx(value, rel=1e-13)


def subtracted(rows, continuum, lines=None, lsf=None, compat=REFERENCE) -> np.ndarray:
    if continuum is not None:
        rows = cut_rows(rows, continuum_cut(continuum, *limits_of(rows, "lbda"))).copy()
        subtract_continuum(rows, continuum)
    if lines is not None:
        subtract_lines(rows, lines, lsf, compat)
    return rows


def counts_of(rows) -> np.ndarray:
    counts = empty_counts()
    count_slices(rows, counts)
    return counts


@pytest.mark.parametrize(
    ("dataset", "fraction", "ignore", "sigma", "sampling", "csampling"),
    [
        ("wfm", 0.1, 0.05, 15.0, 0.3125, 0.3125),
        ("wfm", 0.6, 0.2, 4.0, 0.4, 0.55),
        ("ao", 0.3, 0.0, 3.0, 0.25, 0.3125),
        ("nfm", 0.5, 0.1, 0.0, 0.3125, 1.0),
    ],
)
def test_model(stages, dataset, fraction, ignore, sigma, sampling, csampling):
    """Mask, spectrum, lines, continuum and pixel table; no cosmic-ray flags from the cube."""
    stage = stages(dataset)
    folder = stage.run(
        f"model-{fraction}",
        "model",
        *IN_PIXELS,
        f"--skymodel_fraction={fraction}",
        f"--skymodel_ignore={ignore}",
        f"--sky_crsigma=0,{sigma}",
        f"--skymodel_sampling={sampling}",
        f"--skymodel_csampling={csampling}",
    )
    rows = stage.rows()
    selected = sky_selection(rows, folder, fraction, ignore)
    spectrum = binned(rows, usable_samples(rows, selected), sampling, sigma)
    same_spectrum(spectrum, folder)
    files = stage.calibrations("model")
    lines = read_sky_lines(files["SKY_LINES"][0])
    lsf, used = read_lsf(files["LSF_PROFILE"])
    assert used == files["LSF_PROFILE"]
    model = fit_sky(spectrum, lines, lsf, counts_of(rows), sampling, csampling)
    same_lines(model.lines, folder)
    same_continuum(model.continuum, folder)
    same_rows(subtracted(rows, model.continuum, model.lines, lsf), pixel_table(folder))


def test_model_with_given_continuum(stages):
    stage = stages("wfm")
    folder = stage.run("given", "subtract", *IN_PIXELS, "--skymethod=model", "--sky_crsigma=0,15")
    assert not (folder / "SKY_CONTINUUM_0001.fits").exists()
    rows = stage.rows()
    expected = table(folder, "SKY_SPECTRUM")
    spectrum = Spectrum(*(expected[name].astype(np.float64) for name in ("lambda", "data", "stat")))
    files = stage.calibrations("subtract")
    lsf, _ = read_lsf(files["LSF_PROFILE"])
    model = fit_sky(spectrum, read_sky_lines(files["SKY_LINES"][0]), lsf, counts_of(rows), 0.3125, 0.3125)
    same_lines(model.lines, folder)
    continuum = read_sky_continuum(files["SKY_CONTINUUM"][0])
    same_rows(subtracted(rows, continuum, model.lines, lsf), pixel_table(folder))


def test_subtract_model(stages):
    stage = stages("wfm")
    folder = stage.run("subtract", "subtract", *IN_PIXELS, "--skymethod=subtract-model")
    files = stage.calibrations("subtract")
    lsf, _ = read_lsf(files["LSF_PROFILE"])
    lines, continuum = read_sky_lines(files["SKY_LINES"][0]), read_sky_continuum(files["SKY_CONTINUUM"][0])
    same_rows(subtracted(stage.rows(), continuum, lines, lsf), pixel_table(folder))


def test_simple(stages):
    stage = stages("wfm")
    folder = stage.run("simple", "none", *IN_PIXELS, "--skymethod=simple", "--sky_crsigma=0,5")
    rows = stage.rows()
    selected = sky_selection(rows, folder, 0.1, 0.05)
    spectrum = binned(rows, usable_samples(rows, selected), 0.3125, 5.0)
    same_spectrum(spectrum, folder)
    same_rows(subtracted(rows, continuum_of_spectrum(spectrum)), pixel_table(folder))


@pytest.mark.parametrize("sof", ["lsf_table", "lsf_merged"])
def test_other_formats_of_lsf_profile(stages, sof):
    stage = stages("wfm")
    folder = stage.run(sof, sof, *IN_PIXELS, "--skymethod=model", "--sky_crsigma=0,15")
    rows = stage.rows()
    selected = sky_selection(rows, folder, 0.1, 0.05)
    spectrum = binned(rows, usable_samples(rows, selected), 0.3125)
    files = stage.calibrations(sof)
    lsf, used = read_lsf(files["LSF_PROFILE"])
    assert used == files["LSF_PROFILE"]
    model = fit_sky(spectrum, read_sky_lines(files["SKY_LINES"][0]), lsf, counts_of(rows), 0.3125, 0.3125)
    lines, continuum = model.lines, model.continuum
    same_lines(lines, folder)
    if sof == "lsf_table":
        continuum = continuum_of_spectrum(binned(rows, lineless_samples(rows, selected, lines, lsf), 0.3125))
    same_continuum(continuum, folder, units.FLUX if sof == "lsf_table" else units.LINE_FLUX_PLAIN)
    same_rows(subtracted(rows, continuum, lines, lsf), pixel_table(folder))


def changed_sof(stage: Stage, name: str, sof: str, keep) -> Path:
    path = stage.folder / f"{name}.sof"
    path.write_text("".join(line + "\n" for line in stage.sofs[sof].read_text().splitlines() if keep(line)))
    return path


def test_slices_without_lsf_keep_their_lines(stages):
    """The average, the fit, the subtraction do with the IFUs that there are."""
    stage = stages("wfm")
    sof = changed_sof(stage, "one-lsf", "model", lambda line: "LSF_PROFILE" not in line or "-13" in line)
    folder = stage.run("one-lsf", sof, *IN_PIXELS, "--skymethod=model", "--sky_crsigma=0,15")
    rows = stage.rows()
    expected = table(folder, "SKY_SPECTRUM")
    spectrum = Spectrum(*(expected[name].astype(np.float64) for name in ("lambda", "data", "stat")))
    files = stage.calibrations("model")
    lsf, _ = read_lsf([path for path in files["LSF_PROFILE"] if "-13" in path.name])
    assert list(lsf) == [13]
    lines = read_sky_lines(files["SKY_LINES"][0])
    model = fit_sky(spectrum, lines, lsf, counts_of(rows), 0.3125, 0.3125, REFERENCE)
    same_lines(model.lines, folder)
    same_continuum(model.continuum, folder)
    same_rows(subtracted(rows, model.continuum, model.lines, lsf), pixel_table(folder))


ODD_LISTS = {
    "none": [("x", 0, 5577.3, 100.0)],
    "outside": [("x", 0, 7266.0, 100.0)],
    "zero": [("x", 0, 7276.4, 0.0), ("y", 1, 7316.3, 0.0)],
    "negative": [("x", 0, 7276.4, -100.0), ("y", 1, 7316.3, 100.0)],
    "wrong": [("x", 0, 7305.0, 100.0)],
    "half": [("x", 0, 7276.4, 100.0), ("y", 1, 7305.0, 100.0), ("z", 1, 7306.0, 50.0)],
    "many": [(f"l{i}", i % 40, 7270 + i * 0.5, 10.0 + i) for i in range(110)],
}


@pytest.mark.parametrize("name", ODD_LISTS)
def test_line_lists_that_do_not_fit(stages, name):
    """Fits that fail, or end far away, or need the whole of the minimiser."""
    stage = stages("wfm")
    lines = SkyLines.from_columns(*zip(*ODD_LISTS[name], strict=True))
    lines_path = write_hdus(
        stage.folder / f"odd_{name}.fits", [(primary_header(), None), table_hdu(lines_columns(lines), "LINES")]
    )
    sof = changed_sof(stage, f"odd-{name}", "model", lambda line: "SKY_LINES" not in line)
    sof.write_text(sof.read_text() + f"{lines_path} SKY_LINES\n")
    folder = stage.run(f"odd-{name}", sof, *IN_PIXELS, "--skymethod=model", "--sky_crsigma=0,15", save="skymodel")
    expected = table(folder, "SKY_SPECTRUM")
    spectrum = Spectrum(*(expected[name].astype(np.float64) for name in ("lambda", "data", "stat")))
    lsf, _ = read_lsf(stage.calibrations("model")["LSF_PROFILE"])
    model = fit_sky(spectrum, read_sky_lines(lines_path), lsf, counts_of(stage.rows()), 0.3125, 0.3125)
    same_lines(model.lines, folder)
    same_continuum(model.continuum, folder)


@pytest.mark.parametrize(
    ("column", "unit", "kept"),
    [("flux", "erg/(s cm^2 arcsec^2)", True), ("flux", None, False), ("lambda", "nm", False)],
)
def test_units_of_the_lines(stages, column, unit, kept):
    """A LINES table of other units is dropped; the OH transitions stay."""
    stage = stages("wfm")
    files = stage.calibrations("model")
    name = f"units-{column}-{kept}"
    lines_path = stage.folder / f"{name}.fits"
    with fits.open(files["SKY_LINES"][0]) as hdus:
        lines = hdus["LINES"].copy()
        lines.data["flux"] *= 1e-20 if kept else 1.0
        lines.columns[column].unit = unit
        if unit is None:
            lines.header.remove(f"TUNIT{lines.columns.names.index(column) + 1}", ignore_missing=True)
        fits.HDUList([fits.PrimaryHDU(), lines, hdus["OH_TRANSITIONS"].copy()]).writeto(lines_path)
    sof = changed_sof(stage, name, "model", lambda line: "SKY_LINES" not in line)
    sof.write_text(sof.read_text() + f"{lines_path} SKY_LINES\n")
    folder = stage.run(name, sof, *IN_PIXELS, "--skymethod=model", "--sky_crsigma=0,15", save="skymodel")
    spectrum = Spectrum(*(table(folder, "SKY_SPECTRUM")[n].astype(np.float64) for n in ("lambda", "data", "stat")))
    read = read_sky_lines(lines_path, REFERENCE)
    with fits.open(lines_path) as hdus:
        assert (len(read) > len(hdus["OH_TRANSITIONS"].data)) == kept
    lsf, _ = read_lsf(files["LSF_PROFILE"])
    model = fit_sky(spectrum, read, lsf, counts_of(stage.rows()), 0.3125, 0.3125)
    same_lines(model.lines, folder)


@pytest.mark.parametrize("kind", ["pix", "deg"])
def test_rows_selected_by_an_input_mask(stages, kind):
    """The pixels of the sky image that have data are those that selected rows reach, by a drop of 0.6 spaxels."""
    stage = stages("wfm")
    folder = stage.run(f"mask-{kind}", f"mask_{kind}", *IN_PIXELS, "--skymethod=simple", "--sky_crsigma=0,0")
    positions = rows = stage.rows()
    mask = read_sky_mask(stage.calibrations(f"mask_{kind}")["SKY_MASK"][0])
    selected = np.ones(len(rows), np.uint8)
    if kind == "deg":
        assert mask.celestial
        sky = stage.run("sky", "none", "--rvcorr=none", "--skymethod=none", save="positioned")
        with PixelTableFile(sky / "PIXTABLE_POSITIONED_0001.fits") as file:
            positions = file.read()
        header = fits.getheader(sky / "PIXTABLE_POSITIONED_0001.fits")
        select_rows(positions, mask, selected, header["CRVAL1"], header["CRVAL2"])
    else:
        select_rows(positions, mask, selected)
    assert 0.2 < selected.mean() < 0.99
    bad = fits.getdata(folder / "SKY_IMAGE_0001.fits", "DQ") != 0
    good_rows = (selected != 0) & (rows["dq"] == 0)
    x, y = rows["xpos"] - rows["xpos"].min(), rows["ypos"] - rows["ypos"].min()
    reached = np.zeros_like(bad)
    for dx in (-0.8, 0, 0.8):
        for dy in (-0.8, 0, 0.8):
            ix = np.clip(np.rint(x + dx).astype(int), 0, bad.shape[1] - 1)
            iy = np.clip(np.rint(y + dy).astype(int), 0, bad.shape[0] - 1)
            reached[iy[good_rows], ix[good_rows]] = True
    inside = np.zeros_like(bad)
    inside[np.rint(y).astype(int)[good_rows], np.rint(x).astype(int)[good_rows]] = True
    assert not (inside & bad).any()
    assert not (~reached & ~bad).any()

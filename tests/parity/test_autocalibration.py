# SPDX-License-Identifier: GPL-2.0-or-later
"""Slice autocalibration against ESO's recipe: mask, factors and rows have to be the same to the last bit."""

import numpy as np
import pytest
from astropy.io import fits
from harness.stages import IN_PIXELS, Stage, pixel_table, same_rows

from muse_core.io.autocal import factors_columns, read_autocal_factors
from muse_core.io.sky import read_sky_mask
from muse_core.model.compat import Compat
from muse_core.model.dq import DQ
from muse_core.model.header import is_ao
from muse_core.model.rows import ROW
from muse_core.simulate.exposure import ExposureSpec
from muse_core.steps import autocalibration as autocal
from muse_core.steps.sky.mask import mask_in_spaxels, select_rows

pytestmark = pytest.mark.reference

SPECS = {
    # one whole bin and parts of its neighbours; slices with few rows on sky, and factors that are despiked
    "wfm": ExposureSpec(ifus=(6, 7), lbda_min=7190, lbda_max=7465, slice_gain_rms=0.05),
    "ao": ExposureSpec(
        mode="WFM-AO-N", ifus=(6,), lbda_min=5640, lbda_max=5930, slice_gain_rms=0.03,
        date_obs="2018-11-21T06:32:33.123",
    ),
}  # fmt: skip
DEEPFIELD = ("--skymethod=none", "--autocalib=deepfield", *IN_PIXELS)


@pytest.fixture(scope="module", params=SPECS)
def stage(request, tmp_path_factory) -> Stage:
    return Stage.make(tmp_path_factory.mktemp(request.param), SPECS[request.param])


@pytest.fixture(scope="module")
def deepfield(stage):
    return stage.run("deepfield", "none", *DEEPFIELD, save="individual,autocal,skymodel")


def factors_of(stage, rows, mask):
    ao = is_ao(fits.getheader(stage.folder / "none" / "PIXTABLE_REDUCED_0001.fits"))
    selected = np.ones(len(rows), np.uint8)
    select_rows(rows, mask, selected)
    assert 0 < selected.sum() < len(rows)
    statistics = autocal.SliceStatistics(ao)
    statistics.add(rows, selected)
    return statistics.factors()


def same_factors(factors, file):
    with fits.open(file) as hdus:
        for name, _, _, values in factors_columns(factors):
            np.testing.assert_array_equal(values, hdus[1].data[name], err_msg=name)
        edges = [hdus[0].header[f"ESO DRS MUSE LAMBDA{b + 1} MIN"] for b in range(len(factors.edges) - 1)]
        np.testing.assert_array_equal(np.float32(edges), factors.edges[:-1])


def test_mask_of_the_deep_field(deepfield):
    with fits.open(deepfield / "SKY_IMAGE_0001.fits") as hdus:
        mask, low, high = autocal.deepfield_mask(hdus["DATA"].data.astype(np.float32), hdus["DQ"].data)
    expected, header = fits.getdata(deepfield / "AUTOCAL_MASK_0001.fits", header=True)
    np.testing.assert_array_equal(mask, expected)
    assert low == pytest.approx(header["ESO QC SCIPOST LOWLIMIT"], rel=1e-14)
    assert high == pytest.approx(header["ESO QC SCIPOST THRESHOLD"], rel=1e-14)


def test_deep_field(stage, deepfield):
    rows, expected = stage.rows(), pixel_table(deepfield)
    # coordinates as they are in memory: the header has fewer digits
    mask = mask_in_spaxels(fits.getdata(deepfield / "AUTOCAL_MASK_0001.fits"), rows["xpos"].min(), rows["ypos"].min())
    factors = factors_of(stage, rows, mask)
    same_factors(factors, deepfield / "AUTOCAL_FACTORS_0001.fits")
    autocal.apply_factors(rows, factors)
    same_rows(rows, expected, [name for name in ROW.names if name != "dq"])
    # the cosmic rays found while the white-light image was made stay in the pixel table
    changed = expected["dq"] != rows["dq"]
    assert changed.any()
    np.testing.assert_array_equal(expected["dq"][changed], rows["dq"][changed] | DQ.COSMIC_RAY)
    header = fits.getheader(deepfield / "PIXTABLE_REDUCED_0001.fits")
    key, value, comment = autocal.autocalibrated_card(autocal.DEEPFIELD)
    assert header[key] == value
    assert comment.startswith(header.comments[key])


def test_with_a_mask(stage):
    folder = stage.run("mask", "mask_pix", *DEEPFIELD, save="individual,autocal")
    (mask_file,) = stage.calibrations("mask_pix")["SKY_MASK"]
    rows = stage.rows()
    factors = factors_of(stage, rows, read_sky_mask(mask_file))
    same_factors(factors, folder / "AUTOCAL_FACTORS_0001.fits")
    autocal.apply_factors(rows, factors)
    same_rows(rows, pixel_table(folder))
    assert not (folder / "AUTOCAL_MASK_0001.fits").exists()


def test_spikes_and_empty_bins_are_covered(deepfield):
    table = fits.getdata(deepfield / "AUTOCAL_FACTORS_0001.fits", 1)
    assert np.isfinite(table["corr_orig"]).any()
    assert (table["npts"] == 0).any()


def shuffled_factors(stage):
    (file,) = stage.calibrations("autocal")["AUTOCAL_FACTORS"]
    shuffled = stage.folder / "shuffled.fits"
    if not shuffled.exists():
        with fits.open(file) as hdus:
            hdus[1].data = hdus[1].data[np.random.default_rng(4).permutation(len(hdus[1].data))]
            hdus.writeto(shuffled)
    return file, shuffled


@pytest.mark.parametrize("stage", ["ao"], indirect=True)
@pytest.mark.parametrize("order", ["sorted", "shuffled"])
def test_factors_of_the_user(stage, order):
    file, shuffled = shuffled_factors(stage)
    used = {"sorted": file, "shuffled": shuffled}[order]
    sof = stage.folder / f"{order}.sof"
    sof.write_text(stage.sofs["autocal"].read_text().replace(str(file), str(used)))
    options = ("--skymethod=none", "--autocalib=user", *IN_PIXELS)
    folder = stage.run(f"user_{order}", sof, *options, save="individual,autocal")
    rows, expected = stage.rows(), pixel_table(folder)
    autocal.apply_factors(rows, read_autocal_factors(used, Compat(autocal_by_row_position=True)))
    same_rows(rows, expected)
    assert fits.getheader(folder / "PIXTABLE_REDUCED_0001.fits")[autocal.KEYWORD] == autocal.USER
    assert not list(folder.glob("AUTOCAL*"))


@pytest.mark.parametrize("stage", ["ao"], indirect=True)
def test_factors_in_another_order_are_placed_right(stage):
    file, shuffled = shuffled_factors(stage)
    np.testing.assert_array_equal(read_autocal_factors(file).corr, read_autocal_factors(shuffled).corr)

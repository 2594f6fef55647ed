# SPDX-License-Identifier: GPL-2.0-or-later
import logging

import numpy as np
import pytest
from astropy.io import fits

from muse_core.errors import DataError
from muse_core.model.autocal import AutocalFactors, wavelength_edges
from muse_core.model.origin import encode
from muse_core.model.rows import make_rows
from muse_core.steps import autocalibration as autocal

EDGES = wavelength_edges(ao=False)
CENTRES = (EDGES[1:] + EDGES[:-1]) / 2
CENTRES[0] = 4900


def exposure(errors, ifus=(1, 2), columns=30, per_column=51, noise=0.0, bins=range(20)):
    """Rows of a flat sky of 100 over `errors`, shape (n_bin, n_ifu, 48), and the IFU of each row."""
    bins = list(bins)
    b, i, s, x, k = np.meshgrid(
        bins, range(len(ifus)), range(48), range(columns), range(per_column), indexing="ij", sparse=False
    )
    rng = np.random.default_rng(2)
    data = 100.0 / errors[b, i, s] + noise * rng.normal(size=b.shape)
    ifu = np.asarray(ifus)[i]
    lbda = CENTRES[b] + k / per_column
    rows = make_rows(0.0, 0.0, lbda, data, 0, 1.0, encode(x + 20, 100 + k, ifu, s + 1, 20)).ravel()
    return rows, ifu.ravel()


def factors_of(rows, selected=None, **kwargs):
    statistics = autocal.SliceStatistics(**{"ao": False, **kwargs})
    statistics.add(rows, selected)
    return statistics.factors()


@pytest.fixture(scope="module")
def errors():
    """Slice errors of some percent that change smoothly with wavelength; mean 1 in each bin."""
    rng = np.random.default_rng(7)
    slope = np.linspace(-0.5, 0.5, 20)[:, None, None]
    e = 1.0 + rng.uniform(-0.04, 0.04, (1, 2, 48)) + slope * rng.uniform(-0.02, 0.02, (1, 2, 48))
    return e / (1 / e).mean(axis=(1, 2), keepdims=True) ** -1


def test_injected_slice_errors_are_recovered(errors):
    rows, _ = exposure(errors, columns=75, noise=1.0, bins=range(4))
    factors = factors_of(rows)
    found = factors.corr[:4, :2] / errors[:4]
    scale = found.mean(axis=(1, 2), keepdims=True)
    # 75 columns x 51 rows with 1 % noise: 0.016 % for a slice, somewhat more as columns are clipped
    assert (found / scale).std() < 0.00025
    assert scale == pytest.approx(1.0, abs=1e-3)
    autocal.apply_factors(rows, factors)
    assert factors_of(rows).corr[:4] == pytest.approx(1.0, abs=5e-4)


def test_order_of_ifus_does_not_matter(errors):
    rows, ifu = exposure(errors, noise=1.0, bins=range(3))
    expected = factors_of(rows)
    statistics = autocal.SliceStatistics(ao=False)
    for i in (2, 1):
        statistics.add(np.ascontiguousarray(rows[ifu == i]))
    np.testing.assert_array_equal(statistics.factors().corr, expected.corr)


def test_unselected_rows_do_not_count_and_missing_slices_take_the_flux_of_their_half(errors):
    rows, ifu = exposure(errors, bins=range(3))
    slice_number = rows["origin"] & 0x3F
    selected = np.ones(len(rows), np.uint8)
    selected[(ifu == 1) & (slice_number == 5)] = 0
    rows["data"][selected == 0] = 1e6
    factors = factors_of(rows, selected)
    assert (factors.npts[:3, 0, 4] == 0).all()
    assert (factors.npts[:3, 0, 5] == 30 * 51).all()
    others = np.delete(np.arange(24), 4)
    half = (100 / errors[1, 0, others]).mean()
    reference = (100 / np.delete(errors[1].ravel(), 4)).mean()
    assert factors.corr[1, 0, 4] == pytest.approx(reference / half, rel=1e-5)
    assert (factors.corr[:, 2:] == 1).all()


def test_half_with_few_slices_borrows_the_flux_of_the_other():
    flux = np.full(48, np.nan, np.float32)
    flux[:15], flux[24:41] = 10.0, 20.0
    half_flux = np.zeros(2, np.float32)
    autocal._fill_from_half(flux, half_flux)
    np.testing.assert_array_equal(half_flux, [20.0, 20.0])
    assert flux[0] == 10.0
    assert flux[20] == 20.0
    flux[:16], flux[16:24], flux[24:41], flux[41:] = 10.0, np.nan, 20.0, np.nan
    autocal._fill_from_half(flux, half_flux)
    np.testing.assert_array_equal(half_flux, [10.0, 20.0])


def test_outlier_of_a_half_takes_its_factor():
    rng = np.random.default_rng(3)
    e = 1 + rng.normal(0, 0.001, (20, 2, 48))
    e[:, 1, 30] = 0.5
    factors = factors_of(exposure(e, bins=range(3))[0])
    assert factors.corr[:3, 1, 30] == pytest.approx(1.0, abs=0.02)


def test_slice_without_positive_flux_keeps_one():
    e = np.ones((20, 1, 48))
    e[:, 0, 3] = -1.0
    factors = factors_of(exposure(e, ifus=(9,), bins=range(3))[0])
    assert (factors.corr[:3, 8, 3] == 1).all()


def test_no_sky_at_all_gives_factors_of_one(caplog):
    rows, _ = exposure(np.ones((20, 1, 48)), ifus=(1,), bins=[4])
    with caplog.at_level(logging.WARNING):
        factors = factors_of(rows, np.zeros(len(rows), np.uint8))
    assert (factors.corr == 1).all()
    assert np.isnan(factors.corr_orig).all()
    assert "no slice with enough sky at 0...5000, 5000...5265, " in caplog.text


@pytest.mark.parametrize(("last", "warned"), [(7200.0, False), (7300.0, True)])
def test_bins_beyond_the_data_are_no_warning(last, warned, caplog):
    """Rows of one bin only; the header says how far they reach."""
    statistics = autocal.SliceStatistics(ao=False, limits=(7000.0, last))
    statistics.add(exposure(np.ones((20, 1, 48)), ifus=(1,), bins=[9])[0])
    with caplog.at_level(logging.INFO):
        statistics.factors()
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert lines == ["Autocalibration: no slice with enough sky at 7211...7450 Angstrom, factors of 1"] * warned
    assert f"in 1 of 20 bins of wavelength; the data are in {1 + warned}" in caplog.text


def test_one_filled_bin_is_compared_to_empty_ones():
    e = np.ones((20, 1, 48))
    e[:, 0, :24], e[:, 0, 24:] = 1.1, 0.9
    factors = factors_of(exposure(e, ifus=(1,), bins=[10])[0])
    assert (factors.corr[10, 0] == 1).all()
    assert factors.corr_orig[10, 0, 0] == pytest.approx(1.1, rel=0.02)


def test_despiking_uses_corrected_lower_neighbours():
    corr = np.float32([1.0, 1.5, 1.5, 1.0, 1.0, 1.2])[:, None]
    before = autocal._despike(corr)
    # bin 1: mean 1.25, limit 1.5: stays; bin 2: mean 1.25, limit 1.5; bin 5: mean of 4 and 3
    np.testing.assert_array_equal(corr[:, 0], np.float32([1.5, 1.5, 1.5, 1.0, 1.0, 1.0]))
    np.testing.assert_array_equal(before[:, 0], np.float32([1.0, np.nan, np.nan, np.nan, np.nan, 1.2]))


def test_despiking_at_the_limits():
    corr = np.float32([1.0, 1.0, 1.029, 1.0, 1.0, 1.031, 1.0, 1.0])[:, None]
    autocal._despike(corr)
    np.testing.assert_array_equal(corr[:, 0], np.float32([1, 1, 1.029, 1, 1, 1, 1, 1]))


def test_bins_with_lasers():
    assert len(wavelength_edges(ao=True)) == len(EDGES) - 1 == 20
    assert 5850 in EDGES
    assert 5850 not in wavelength_edges(ao=True)


def test_raman_exclusion_only_with_lasers():
    rows, _ = exposure(np.ones((20, 1, 48)), ifus=(1,), bins=[7])
    rows["lbda"] = 6480.0
    assert factors_of(rows, ao=True, exclude_raman=10.0).npts.sum() == 0
    assert factors_of(rows, ao=False, exclude_raman=10.0).npts.sum() == len(rows)


def morphology_twin(objects):
    """Opening and two dilations, pixel by pixel; every operation leaves the rim."""
    for operation in (np.all, np.any, np.any, np.any):
        before = objects.copy()
        for y in range(1, objects.shape[0] - 1):
            for x in range(1, objects.shape[1] - 1):
                objects[y, x] = operation(before[y - 1 : y + 2, x - 1 : x + 2])
    return objects


def test_mask_of_the_deep_field():
    image = (np.indices((30, 30)).sum(axis=0) % 3).astype(np.float32)  # median 1, deviation 1
    dq = np.zeros(image.shape, np.int32)
    image[10:13, 10:13] = 100.0  # survives the opening, grows by two
    image[20, 12:17] = 100.0  # is opened away
    image[0, 0] = np.nan  # stays on the rim, and grows from there
    dq[25:, 25:] = 1 << 30
    objects = np.zeros(image.shape, bool)
    objects[10:13, 10:13] = objects[20, 12:17] = objects[0, 0] = objects[25:, 25:] = True
    mask, low, high = autocal.deepfield_mask(image, dq)
    assert (low, high) == (-4.0, 6.0)
    np.testing.assert_array_equal(mask, ~morphology_twin(objects))
    assert not mask[8:15, 8:15].any()
    assert mask[20, 12:17].all()


def test_limits_of_the_sky_are_not_sky():
    image = np.tile(np.float32([0, 1, 2, 3, 4, 9]), (6, 1))  # median 2.5, deviation 1.5
    image[image == 9] = 10.0
    assert autocal.deepfield_mask(image, np.zeros(image.shape, np.int32))[0][:, 5].sum() == 0


def test_mask_without_any_data():
    with pytest.raises(DataError, match="found no pixel with data"):
        autocal.deepfield_mask(np.zeros((5, 5), np.float32), np.ones((5, 5), np.int32))


def test_header_tells_whether_factors_were_applied():
    header = fits.Header()
    assert not autocal.is_autocalibrated(header)
    key, value, comment = autocal.autocalibrated_card(autocal.DEEPFIELD)
    header["HIERARCH " + key] = "something else"
    assert not autocal.is_autocalibrated(header)
    header[key] = value
    assert autocal.is_autocalibrated(header)
    assert comment == "15.000 (autocalibration clipping limit)"


def test_factors_need_three_dimensions():
    with pytest.raises(ValueError, match="corr: found shape"):
        AutocalFactors(EDGES, np.ones((19, 24, 48), np.float32))

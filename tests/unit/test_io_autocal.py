# SPDX-License-Identifier: GPL-2.0-or-later
import logging

import numpy as np
import pytest
from astropy.io import fits

from muse_core.errors import InputError, MissingFileError
from muse_core.io.autocal import edge_cards, factors_columns, read_autocal_factors
from muse_core.model.autocal import AutocalFactors
from muse_core.model.cards import card as make_card
from muse_core.model.compat import Compat

N_BIN = 3


@pytest.fixture
def factors():
    rng = np.random.default_rng(0)
    shape = (N_BIN, 24, 48)
    corr = rng.normal(1, 0.1, shape).astype(np.float32)
    before = np.where(rng.random(shape) < 0.1, corr + 1, np.nan).astype(np.float32)
    return AutocalFactors(np.float32([0, 5000, 7210.5, 10000]), corr, rng.integers(0, 9, shape, np.int32), before)


def write(path, factors, rows=slice(None), drop=(), cards=True):
    columns = [(n, f, u, v[rows]) for n, f, u, v in factors_columns(factors) if n not in drop]
    table = fits.BinTableHDU.from_columns([fits.Column(name=n, format=f, array=v) for n, f, _, v in columns])
    primary = fits.PrimaryHDU()
    for card in edge_cards(factors) if cards else ():
        primary.header.append(fits.Card.fromstring(str(make_card(*card))), end=True)
    fits.HDUList([primary, table]).writeto(path, overwrite=True)
    return path


def test_round_trip(tmp_path, factors):
    found = read_autocal_factors(write(tmp_path / "f.fits", factors))
    np.testing.assert_array_equal(found.corr, factors.corr)
    np.testing.assert_array_equal(found.edges, factors.edges)


def test_product_is_sorted_by_bin_ifu_slice(factors):
    columns = {name: values for name, _, _, values in factors_columns(factors)}
    k = 1152 * 2 + 48 * 6 + 11
    assert (columns["quad"][k], columns["ifu"][k], columns["sli"][k]) == (3, 7, 12)
    assert columns["corr"][k] == factors.corr[2, 6, 11]
    assert columns["corr"].dtype == columns["corr_orig"].dtype == np.float64


def test_upper_limits_are_the_lower_ones_of_the_next_bin(tmp_path, factors):
    path = write(tmp_path / "f.fits", factors)
    with fits.open(path, mode="update") as hdus:
        hdus[0].header["ESO DRS MUSE LAMBDA1 MAX"] = (4711.0, "wrong")
    np.testing.assert_array_equal(read_autocal_factors(path).edges, factors.edges)


def test_rows_are_placed_by_their_numbers(tmp_path, factors):
    shuffled = np.random.default_rng(1).permutation(N_BIN * 1152)
    path = write(tmp_path / "f.fits", factors, shuffled)
    np.testing.assert_array_equal(read_autocal_factors(path).corr, factors.corr)
    by_position = read_autocal_factors(path, Compat(autocal_by_row_position=True))
    np.testing.assert_array_equal(by_position.corr.ravel(), factors.corr.ravel()[shuffled])


def test_without_numbers_the_position_counts(tmp_path, factors):
    path = write(tmp_path / "f.fits", factors, drop=("quad",))
    np.testing.assert_array_equal(read_autocal_factors(path).corr, factors.corr)


def test_further_rows_only_give_a_warning(tmp_path, factors, caplog):
    path = write(tmp_path / "f.fits", factors)
    with fits.open(path, mode="update") as hdus:
        del hdus[0].header["ESO DRS MUSE LAMBDA3 MIN"]
    with caplog.at_level(logging.WARNING):
        found = read_autocal_factors(path)
    assert "found 3456 rows, expected 2304 (2 wavelength bins)" in caplog.text
    np.testing.assert_array_equal(found.corr, factors.corr[:2])
    np.testing.assert_array_equal(found.edges, factors.edges[:3])


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"drop": ("corr",)}, r"\[1\]: column corr: not found among ifu, sli"),
        ({"cards": False}, "LAMBDA1 MIN: found nothing"),
        ({"rows": slice(5, None)}, "no number for 5 of 3456 slices, the first one bin 1, IFU 1, slice 1"),
    ],
)
def test_unusable_tables(tmp_path, factors, how, message):
    with pytest.raises(InputError, match=message):
        read_autocal_factors(write(tmp_path / "f.fits", factors, **how))


def test_numbers_of_no_slice(tmp_path, factors):
    path = write(tmp_path / "f.fits", factors)
    with fits.open(path, mode="update") as hdus:
        hdus[1].data["sli"][7] = 49
    with pytest.raises(InputError, match="found numbers of no bin, IFU or slice"):
        read_autocal_factors(path)


def test_missing_file(tmp_path):
    with pytest.raises(MissingFileError):
        read_autocal_factors(tmp_path / "none.fits")

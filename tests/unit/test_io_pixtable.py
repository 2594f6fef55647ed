# SPDX-License-Identifier: GPL-2.0-or-later
"""Pixel tables on disk: both formats, ranges of rows, damaged files."""

import numpy as np
import pytest
from astropy.io import fits

from muse_core.errors import InputError, MissingFileError
from muse_core.io.fitswriter import primary_header
from muse_core.io.pixtable import PixelTableFile, PixelTableWriter, write_pixel_table
from muse_core.model import units
from muse_core.model.cards import set_card
from muse_core.model.pixtable import FlatFieldSpectrum, PixelTable
from muse_core.model.rows import make_rows

N = 70_000  # more than two blocks


@pytest.fixture
def table():
    rng = np.random.default_rng(3)
    rows = make_rows(
        *rng.normal(size=(4, N)), rng.integers(-(2**31), 2**31, N), rng.random(N), rng.integers(0, 2**31, N)
    )
    header = primary_header()
    set_card(header, "ESO DRS MUSE PIXTABLE TYPE", "GEOFULL")
    flat = FlatFieldSpectrum(np.array([4800.0, 4801.25, 4802.5]), np.array([0.9, 1.0, 1.1]))
    return PixelTable(rows, header, flat_field=flat)


@pytest.mark.parametrize("as_table", [False, True])
def test_round_trip(tmp_path, table, as_table):
    path = write_pixel_table(tmp_path / "t.fits", table, table.header.copy(), as_table=as_table)
    with fits.open(path, checksum=True) as hdus:
        hdus.verify("exception")
        assert isinstance(hdus[1], fits.BinTableHDU) == as_table
    with PixelTableFile(path) as file:
        assert file.n_rows == N
        assert file.position_unit == units.PIX
        assert file.units["stat"] == units.COUNT_VARIANCE
        assert np.array_equal(file.read(), table.rows)
        assert np.array_equal(file.read(40_000, 66_000), table.rows[40_000:66_000])
        assert np.array_equal(file.column("lambda", 5, 33_000), table.rows["lbda"][5:33_000])
        assert np.array_equal(file.flat_field.data, table.flat_field.data)
        assert not file.has_weight


def test_ranges_in_any_order_and_weights(tmp_path, table):
    options = {"position_unit": units.DEG, "data_unit": units.FLUX, "stat_unit": units.FLUX_VARIANCE}
    weight = np.linspace(0, 1, N, dtype=np.float32)
    with PixelTableWriter(tmp_path / "t.fits", table.header.copy(), N, further={"weight": ""}, **options) as writer:
        writer.write(50_000, table.rows[50_000:], {"weight": weight[50_000:]})
        writer.write(0, table.rows[:50_000], {"weight": weight[:50_000]})
        path = writer.finish()
    with PixelTableFile(path) as file:
        loaded = file.load()
    assert np.array_equal(loaded.rows, table.rows)
    assert np.array_equal(loaded.weight, weight)
    assert loaded.position_unit == units.DEG


def test_compressed_file(tmp_path, table):
    path = write_pixel_table(tmp_path / "t.fits", table, table.header.copy())
    packed = tmp_path / "t.fits.gz"
    with fits.open(path) as hdus:
        hdus.writeto(packed)
    with PixelTableFile(packed) as file:
        assert np.array_equal(file.read(10, 50_000), table.rows[10:50_000])


def _damage(path, table, change):
    write_pixel_table(path, table, table.header.copy())
    with fits.open(path) as hdus:
        copy = fits.HDUList([hdu.copy() for hdu in hdus])
    change(copy)
    copy.writeto(path, overwrite=True)
    return path


def test_column_of_wrong_length(tmp_path, table):
    def cut(hdus):
        hdus["stat"].data = hdus["stat"].data[:-1]

    path = _damage(tmp_path / "t.fits", table, cut)
    with pytest.raises(InputError, match=rf"t.fits: {N - 1} rows in \[stat\], but {N} in \[xpos\]"):
        PixelTableFile(path)


def test_missing_column(tmp_path, table):
    path = _damage(tmp_path / "t.fits", table, lambda hdus: hdus.pop(4))
    with pytest.raises(InputError, match=r"t.fits: found no column data, expected xpos"):
        PixelTableFile(path)


def test_wrong_type_of_column(tmp_path, table):
    def change(hdus):
        hdus["data"].data = hdus["data"].data.astype(np.float64)

    path = _damage(tmp_path / "t.fits", table, change)
    with pytest.raises(InputError, match=r"\[data\]: found BITPIX -64, expected -32"):
        PixelTableFile(path)


def test_unknown_type_of_table(tmp_path, table):
    set_card(table.header, "ESO DRS MUSE PIXTABLE TYPE", "NONSENSE")
    path = write_pixel_table(tmp_path / "t.fits", table, table.header.copy())
    with pytest.raises(InputError, match="PIXTABLE TYPE: found 'NONSENSE', expected 'GEOFULL'"):
        PixelTableFile(path)


def test_truncated_file(tmp_path, table):
    path = write_pixel_table(tmp_path / "t.fits", table, table.header.copy())
    content = path.read_bytes()
    for size in (len(content) // 2, 5000, 100):
        path.write_bytes(content[:size])
        with pytest.raises(InputError, match=r"t.fits.*(truncated|no extensions|found no FITS file)"):
            PixelTableFile(path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(MissingFileError, match="nothing.fits: file does not exist"):
        PixelTableFile(tmp_path / "nothing.fits")
    with pytest.raises(MissingFileError, match="expected a FITS file"):
        PixelTableFile(tmp_path)

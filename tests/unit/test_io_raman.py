# SPDX-License-Identifier: GPL-2.0-or-later
import logging

import numpy as np
import pytest
from astropy.io import fits

from muse_core.errors import InputError
from muse_core.io.raman import read_raman_lines
from muse_core.model.raman import BANDS

UNIT = "erg/(s cm^2 arcsec^2)"


def write(path, unit=UNIT, extname="LINES", drop=(), flux=(1e-18, 5e-20, 2e-18), flux_format="D"):
    columns = [
        fits.Column("name", "8A", array=["O2", "O2 S", "N2"]),
        fits.Column("group", "J", array=[0, 0, 1]),
        fits.Column("lambda", "D", array=[6484.4, 6492.3, 6826.8], unit="Angstrom"),
        fits.Column("flux", flux_format, array=flux, unit=unit),
        fits.Column("dq", "J", array=[0, 1, 0]),
    ]
    table = fits.BinTableHDU.from_columns([c for c in columns if c.name not in drop], name=extname)
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path)
    return path


def test_fluxes_are_converted(tmp_path):
    lines = read_raman_lines(write(tmp_path / "r.fits"))
    lbda, flux = lines.band(BANDS[0])
    np.testing.assert_allclose(lbda, [6484.4, 6492.3])
    np.testing.assert_allclose(flux, [100.0, 5.0])
    np.testing.assert_allclose(lines.band(BANDS[1])[1], [200.0])
    assert lines.unit == 1e-20


def test_converted_fluxes_stay(tmp_path):
    lines = read_raman_lines(write(tmp_path / "r.fits", unit="10**(-20)*" + UNIT, flux=[100.0, 5.0, 200.0]))
    np.testing.assert_array_equal(lines.flux, [100.0, 5.0, 200.0])
    assert lines.unit == 1e-20


@pytest.mark.parametrize("unit", [None, "Jy"])
def test_other_units_are_taken_as_they_are(tmp_path, caplog, unit):
    with caplog.at_level(logging.WARNING):
        lines = read_raman_lines(write(tmp_path / "r.fits", unit=unit, flux=[1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(lines.flux, [1.0, 2.0, 3.0])
    assert lines.unit == 1.0
    assert f"column flux: found unit {unit!r}" in caplog.text


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"extname": "OTHER"}, "no binary table with EXTNAME LINES"),
        ({"drop": ("dq",)}, r"\[LINES\]: column dq: not found among name, group, lambda, flux"),
        ({"flux_format": "E"}, "column flux: found format E, expected D"),
        ({"flux": [1.0, np.nan, 2.0]}, "column flux, row 2: found nan, expected a number"),
    ],
)
def test_unusable_tables(tmp_path, how, message):
    with pytest.raises(InputError, match=message):
        read_raman_lines(write(tmp_path / "r.fits", **how))

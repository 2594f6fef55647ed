# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows whose float32 values depend on the last bits of a float64 product, against ESO's recipe.

The fit of the sky lines ends elsewhere if one row in 1e7 is rounded the other way.
"""

import numpy as np
import pytest
from astropy.io import fits
from harness import run
from harness.edges import flux_and_variance, values_near_edge

from muse_core.io.calibration import read_extinction, read_response, read_telluric
from muse_core.model.pixtable import FlatFieldSpectrum
from muse_core.simulate.dataset import make_dataset
from muse_core.simulate.exposure import ExposureSpec
from muse_core.steps import flatfield
from muse_core.steps.airmass import airmass

pytestmark = pytest.mark.reference

OPTIONS = ("--skymethod=none", "--save=individual")
N_ROWS = 1500  # that are tried; there are values at the edge for one in ten of them


def put_at_edge(path, factors):
    """Set data and stat of rows of a pixel table to values whose calibrated ones are at the edge of two float32.

    factors: from wavelengths to the factors of data and stat. Returns how many were found.
    """
    with fits.open(path, mode="update") as table:
        lbda = table["lambda"].data.ravel()
        rows = np.random.default_rng(1).permutation(len(lbda))[:N_ROWS]
        columns, found = (table["data"].data, table["stat"].data), 0
        for row, *pair in zip(rows, *factors(lbda[rows].astype(float)), strict=True):
            for column, other, factor in zip(columns, columns[::-1], pair, strict=True):
                for value in values_near_edge(factor)[:1]:
                    column[row], other[row] = value, 0
                    found += 1
    return found


def assert_same_bits(sof, folder, *more):
    commands = (run.reference, run.ours)
    expected, found = (command(sof, folder / command.__name__, *OPTIONS, *more) for command in commands)
    assert expected.status == found.status == 0, found.output
    name = "PIXTABLE_REDUCED_0001.fits"
    with fits.open(expected.folder / name) as a, fits.open(found.folder / name) as b:
        for x, y in zip(a[1:], b[1:], strict=True):
            np.testing.assert_array_equal(x.data, y.data, err_msg=x.name)


def make(folder, without=(), **spec):
    sof = make_dataset(folder, [ExposureSpec(lbda_min=7200, lbda_max=7230, **spec)])["none"]
    lines = [line for line in sof.read_text().splitlines() if line.split()[1] not in without]
    sof.write_text("\n".join(lines) + "\n")
    return sof, sorted(folder.glob("PIXTABLE_OBJECT*.fits"))


def test_flux(tmp_path):
    sof, (table,) = make(tmp_path, ifus=(12,), flat_field=False, telluric=True)
    calib = tmp_path / "calib"
    curves = (
        read_response(calib / "STD_RESPONSE.fits"),
        read_extinction(calib / "EXTINCT_TABLE.fits"),
        read_telluric(calib / "STD_TELLURIC.fits"),
    )
    header = fits.getheader(table)
    exposure = (airmass(header).value, header["EXPTIME"])

    def factors(x):
        flux, _ = flux_and_variance(x, np.ones_like(x), np.zeros_like(x), *exposure, *curves)
        _, variance = flux_and_variance(x, np.zeros_like(x), np.ones_like(x), *exposure, *curves)
        return flux, variance

    assert put_at_edge(table, factors) > 100
    assert_same_bits(sof, tmp_path)


@pytest.mark.parametrize("start", [4000, 7204])
def test_flat_field(tmp_path, start):
    sof, tables = make(tmp_path, without=("STD_RESPONSE",), ifus=(11, 12, 13), slices=tuple(range(1, 49, 3)))
    spectra = []
    for table in tables:
        columns = fits.getdata(table, "PIXTABLE_FLAT_FIELD")
        spectrum = FlatFieldSpectrum(*(np.array(columns[name], float) for name in ("lambda", "data")))
        spectra.append(flatfield.trim(spectrum, start, 10000))
    factor = flatfield.FlatFieldFactor.of(flatfield.average(spectra, "WFM-NOAO-N"))

    def factors(x):
        interval = np.searchsorted(factor.starts, x, side="right") - 1
        data = factor.factors["intercept"][interval] + factor.factors["gradient"][interval] * x
        return data, data * data

    assert put_at_edge(tables[0], factors) > 100
    assert_same_bits(sof, tmp_path, f"--lambdamin={start}")

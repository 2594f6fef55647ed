# SPDX-License-Identifier: GPL-2.0-or-later
import numpy as np
import pytest

from muse_core.cython_ext import raman as raman_kernels
from muse_core.errors import DataError, ParameterError
from muse_core.model.compat import OURS, Compat
from muse_core.model.lsf import LsfCube, LsfGrid
from muse_core.model.origin import encode
from muse_core.model.raman import BANDS, RamanLines
from muse_core.model.rows import make_rows
from muse_core.model.skymask import SkyMask
from muse_core.steps import raman

LINES = RamanLines(
    lbda=np.array([6484.39, 6492.3, 6826.8, 7000.0]),
    flux=np.array([1.0, 0.05, 1.6, 99.0]),
    group=np.array([0, 0, 1, 2], np.int32),
)
SHAPE = np.array([3e-6, -2e-6, 4e-6, 8e-4, -5e-4])
FLUX = np.array([300.0, 200.0])
AS_REFERENCE = Compat(raman_float32_fit=True)


def gaussian_lsf(ifus=(1, 2)):
    offsets = np.linspace(-7.5, 7.5, 151)
    profile = np.exp(-0.5 * (offsets / 1.1) ** 2)
    grid = LsfGrid(1.0, -7.5, 0.1, 1.0, 6000.0, 1000.0)
    return {ifu: LsfCube(np.tile(profile, (48, 2, 1)), grid) for ifu in ifus}


LSF = gaussian_lsf()


def table(band=None, ifus=(1, 2), slices=range(1, 25), noise=3.0, shape=SHAPE, flux=FLUX):
    """Rows around one band (or from 6400 to 6900 Angstrom) on a sky of 50, sorted, with Raman lines of `shape`."""
    rng = np.random.default_rng(11)
    wanted = np.arange(6400, 6900, 1.25) if band is None else np.arange(band.centre - 10, band.centre + 10, 1.25)
    ifu, number, k, x = (i.ravel() for i in np.meshgrid(ifus, slices, range(len(wanted)), range(30), indexing="ij"))
    xpos = (number % 4 - 1.5) * 75 + x * 2.4
    ypos = (ifu - 1.5) * 12 + number // 4 - 6.0
    lbda = wanted[k] + rng.uniform(0, 0.5, len(k))
    rows = make_rows(xpos, ypos, lbda, 0.0, 0, noise**2, encode(x + 20, 1000 + k, ifu, number, 20))
    rows = raman.sort_by_slice(rows)
    fit = raman.RamanFit(shape, flux, 0.0)
    rows["data"] = 50 + noise * rng.normal(size=len(rows))
    clean = rows["data"].copy()
    raman.subtract_raman(rows, fit, LINES, LSF)
    rows["data"] = 2 * clean - rows["data"]
    return rows, clean


@pytest.fixture(scope="module")
def tables():
    return [table(band)[0] for band in BANDS]


def cost(fit, tables):
    total = 0.0
    for rows, band, flux in zip(tables, BANDS, fit.flux, strict=True):
        out = np.empty(len(rows))
        spectrum = raman._line_spectra(rows, [(band, 1.0)], LINES, LSF, OURS)
        raman_kernels.residuals(rows, spectrum, fit.shape, flux, False, out)
        total += (out**2).sum()
    return total


def test_injected_lines_are_recovered_and_removed(tables):
    fit = raman.fit_raman(tables, LINES, LSF)
    assert fit.flux == pytest.approx(FLUX, rel=0.02)
    rows, clean = table()
    before = np.abs(rows["data"] - clean).max()
    raman.subtract_raman(rows, fit, LINES, LSF)
    assert before > 50
    # what is left is the error of the fit: far below the noise of a row, 3
    assert np.abs(rows["data"] - clean).max() < 0.5


def test_truth_without_noise():
    fit = raman.fit_raman([table(band, noise=0.0)[0] for band in BANDS], LINES, LSF)
    np.testing.assert_allclose(fit.flux, FLUX, rtol=1e-6)
    np.testing.assert_allclose(fit.shape, SHAPE, rtol=1e-3, atol=1e-9)


def test_fit_is_the_minimum(tables):
    fit = raman.fit_raman(tables, LINES, LSF)
    assert fit.cost == pytest.approx(cost(fit, tables), rel=1e-9)
    for k in range(5):
        for sign in (-1, 1):
            shape = fit.shape.copy()
            shape[k] *= 1 + sign * 1e-2
            assert cost(raman.RamanFit(shape, fit.flux, 0.0), tables) > fit.cost
    for sign in (-1, 1):
        assert cost(raman.RamanFit(fit.shape, fit.flux * (1 + sign * 1e-4), 0.0), tables) > fit.cost


def test_reference_stops_before_the_minimum(tables):
    ours, reference = (raman.fit_raman(tables, LINES, LSF, compat) for compat in (OURS, AS_REFERENCE))
    assert reference.rounded
    assert ours.cost < cost(reference, tables) == pytest.approx(reference.cost, rel=1e-3)


def test_order_of_rows_hardly_matters(tables):
    shuffled = [rows[np.random.default_rng(0).permutation(len(rows))] for rows in tables]
    a, b = (raman.fit_raman(t, LINES, LSF) for t in (tables, shuffled))
    np.testing.assert_allclose(a.flux, b.flux, rtol=1e-9)
    np.testing.assert_allclose(a.shape, b.shape, rtol=1e-4)


@pytest.mark.parametrize("compat", [OURS, AS_REFERENCE])
def test_band_without_rows(tables, compat):
    fit = raman.fit_raman([tables[0], tables[1][:0]], LINES, LSF, compat)
    assert fit.flux[0] > 0
    assert fit.flux[1] == 0
    assert fit.total_flux(LINES)[1] == 0


@pytest.mark.parametrize("compat", [OURS, AS_REFERENCE])
def test_no_rows_at_all(tables, compat):
    fit = raman.fit_raman([t[:0] for t in tables], LINES, LSF, compat)
    assert not fit.flux.any()
    assert not fit.shape.any()


def test_no_lines_in_the_data_give_a_finite_result():
    sky = [table(band, flux=np.zeros(2))[0] for band in BANDS]
    fit = raman.fit_raman(sky, LINES, LSF)
    assert np.isfinite(fit.shape).all()
    rows, clean = table(flux=np.zeros(2))
    raman.subtract_raman(rows, fit, LINES, LSF)
    assert np.abs(rows["data"] - clean).max() < 1.5


def test_slice_without_lsf(tables, caplog):
    one = gaussian_lsf(ifus=(1,))
    with pytest.raises(DataError, match="IFU 2, slice 1: no LSF_PROFILE"):
        raman.fit_raman(tables, LINES, one)
    rows = tables[0].copy()
    fit = raman.RamanFit(SHAPE, FLUX, 0.0)
    raman.subtract_raman(rows, fit, LINES, one, Compat(slice_without_lsf_ignored=True))
    second = (rows["origin"] >> 6 & 31) == 2
    np.testing.assert_array_equal(rows["data"][second], tables[0]["data"][second])
    assert (rows["data"][~second] != tables[0]["data"][~second]).any()
    assert "no LSF_PROFILE" in caplog.text


def test_windows_include_their_ends():
    lbda = np.float32([6473.99, 6474.0, 6484.0, 6494.0, 6494.01])
    np.testing.assert_array_equal(raman.in_band(lbda, BANDS[0], 20.0), [False, True, True, True, False])


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(4750, 9300, True), (6827, 9300, True), (6828, 9300, False), (4750, 6483, False)]
)
def test_wavelengths_that_can_hold_lines(low, high, expected):
    assert raman.is_covered(low, high) == expected


def test_width_below_that_of_a_line():
    raman.check_width(2.61)
    with pytest.raises(ParameterError, match=r"raman_width: found 2.6 Angstrom, expected at least 2.61"):
        raman.check_width(2.6)


def test_images_and_qc():
    fit = raman.RamanFit(SHAPE, FLUX, 0.0)
    mask = SkyMask(np.ones((24, 30), np.uint8), crval=(-150.5, -11.5))
    image = raman.BandImage(np.ones((24, 30), np.float32), np.zeros((24, 30), np.int32), mask)
    image.dq[3, 4] = 1 << 30
    both = raman.raman_images(fit, LINES, dict.fromkeys(BANDS, image))
    assert [e.name for e in both] == [
        "DATA", "RAMAN_IMAGE_O2", "SKY_MASK_O2", "RAMAN_IMAGE_N2", "SKY_MASK_N2", "RAMAN_FIT_O2", "RAMAN_FIT_N2"
    ]  # fmt: skip
    assert [e.data.dtype.str[1:] for e in both] == ["f4", "f4", "i4", "f4", "i4", "f4", "f4"]
    assert both[0].data.shape == (1, 24, 30)
    x, y = -150.5 + 7, -11.5 + 2
    s = SHAPE @ [x * x, x * y, y * y, x, y] + 1
    assert both[0].data[0, 2, 7] == pytest.approx(s, rel=1e-6)
    assert both[6].data[2, 7] == pytest.approx(s * 200.0 * 1.6e-20, rel=1e-6)
    assert np.isnan(both[1].data[3, 4])
    assert np.isnan(both[1].data).sum() == 1
    only = raman.raman_images(fit, LINES, {BANDS[1]: image})
    assert [e.name for e in only] == ["DATA", "RAMAN_IMAGE_N2", "SKY_MASK_N2", "RAMAN_FIT_N2"]
    cards = dict((key, value) for key, value in fit.qc_cards(LINES))
    assert cards["RAMAN SPATIAL XY"] == SHAPE[1]
    assert cards["RAMAN FLUX O2"] == np.float32(300 * 1.05e-20)
    assert isinstance(cards["RAMAN FLUX N2"], np.float32)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Flat-field spectra: interpolation on the grid, averaging, smoothing against a slow twin, reverting."""

import numpy as np
import pytest
from astropy.io.fits import Header
from numpy.polynomial import Legendre

from muse_core.errors import DataError
from muse_core.model.cards import set_card
from muse_core.model.pixtable import FlatFieldSpectrum
from muse_core.steps import flatfield


def slow_smooth(lbda, values, ranges):
    """The specification, one point at a time."""
    selected = np.zeros(len(lbda), bool)
    out = values.copy()
    for low, high in ranges:
        part = np.flatnonzero((lbda >= low) & (lbda <= high) & np.isfinite(values))
        selected[part] = True
        for i in part:
            x = part[np.abs(lbda[part] - lbda[i]) <= 150]
            while True:
                fit = Legendre.fit(lbda[x], values[x], 3)
                residual = np.abs(values[x] - fit(lbda[x]))
                kept = x[residual < 3 * np.sqrt(np.mean(residual**2))]
                if len(kept) == len(x):
                    break
                x = kept
            out[i] = fit(lbda[i])
    fitted, symmetric = out.copy(), not selected.all()
    for i in np.flatnonzero(selected):
        low = high = i
        while low > 1 and selected[low - 1] and lbda[i] - lbda[low - 1] <= 15:
            low -= 1
        while high + 1 < len(lbda) and selected[high + 1] and lbda[high + 1] - lbda[i] <= 15:
            high += 1
        if symmetric:
            half = min(i - low, high - i)
            low, high = i - half, i + half
        out[i] = fitted[low : high + 1].mean()
    return out


@pytest.mark.parametrize(
    ("mode", "ranges", "first", "last"),
    [
        ("WFM-NOAO-N", [(4775, 9800)], 4600, 5300),
        ("WFM-AO-N", [(4700, 5805), (5966, 9800)], 5500, 6200),
        ("WFM-AO-E", [(4150, 5755), (6008, 9800)], 4150, 4500),
        ("NFM-AO-N", [(4770, 9800)], 7000, 7040),
    ],
)
def test_smoothing(mode, ranges, first, last):
    rng = np.random.default_rng(2)
    lbda = flatfield.grid()
    values = np.sin(lbda / 300) + rng.normal(0, 0.02, len(lbda))
    values[rng.integers(0, len(lbda), 100)] += 0.5
    values[(lbda < first) | (lbda > last)] = np.nan
    expected = slow_smooth(lbda, values, ranges)
    # the reference's way to evaluate polynomials, which is ours, loses digits
    np.testing.assert_allclose(flatfield.smooth(values, mode), expected, rtol=1e-9, atol=0)
    assert np.nanmax(np.abs(expected - values)) > 0.1


def test_smoothing_of_the_whole_grid():
    """Without any gap the mean is over all neighbours, not only as many as on the other side."""
    lbda = flatfield.grid()
    values = np.sin(lbda / 300) + np.random.default_rng(3).normal(0, 0.02, len(lbda))
    ends = np.r_[0:30, len(lbda) - 30 : len(lbda)]
    smooth = flatfield.smooth(values, "WFM-NOAO-E")
    fitted = flatfield._local_polynomials(lbda, values, 1)
    mean = [fitted[max(min(i, 1), i - 12) : i + 13].mean() for i in ends]
    np.testing.assert_allclose(smooth[ends], mean, rtol=1e-13)


def test_on_grid():
    lbda = np.array([4151.0, 4160.0, 4200.0])
    spectrum = FlatFieldSpectrum(lbda, np.array([1.0, 10.0, 50.0]))
    found, grid = flatfield.on_grid(spectrum), flatfield.grid()
    inside = (grid > 4151) & (grid <= 4200)
    assert (np.isfinite(found) == inside).all()
    np.testing.assert_allclose(found[inside], np.interp(grid[inside], lbda, spectrum.data))


@pytest.mark.parametrize(("start", "inside"), [(4150.0, True), (4149.0, True), (4151.25, False)])
def test_on_grid_first_point(start, inside):
    """A first node on the grid does not count, except at the first point of the grid."""
    spectrum = FlatFieldSpectrum(np.array([start, 9900.0]), np.array([1.0, 2.0]))
    assert np.isfinite(flatfield.on_grid(spectrum)[1 if start > 4150 else 0]) == inside


def test_average_is_over_common_wavelengths():
    a = FlatFieldSpectrum(np.array([4900.0, 9000.0]), np.array([1.0, 1.0]))
    b = FlatFieldSpectrum(np.array([5000.1, 9100.0]), np.array([3.0, 3.0]))
    found = flatfield.average([a, b], "WFM-NOAO-N")
    assert (found.lbda[0], found.lbda[-1]) == (5001.25, 9000.0)
    np.testing.assert_allclose(found.unsmoothed, 2)
    np.testing.assert_allclose(found.data, 2)


def test_nothing_in_common():
    spectra = [FlatFieldSpectrum(np.array([low, low + 100.0]), np.ones(2)) for low in (5000.0, 6000.0)]
    with pytest.raises(DataError, match="no wavelength in common"):
        flatfield.average(spectra, "WFM-NOAO-N")
    with pytest.raises(DataError, match="no wavelength in common"):
        flatfield.average([FlatFieldSpectrum(np.empty(0), np.empty(0))], "WFM-NOAO-N")


def test_trim():
    lbda = np.arange(5000.0, 5100.0)
    found = flatfield.trim(FlatFieldSpectrum(lbda, lbda, lbda), 5020.5, 5030.0)
    assert (found.lbda[0], found.lbda[-1]) == (5018.0, 5032.0)
    np.testing.assert_array_equal(found.unsmoothed, found.lbda)


def test_reverting():
    header = Header()
    assert not flatfield.must_revert(header, False)
    set_card(header, flatfield.CARD_CORRECTED, 24)
    assert flatfield.must_revert(header, False)
    assert not flatfield.must_revert(header, True)
    flatfield.write_reverted(header)
    assert flatfield.CARD_CORRECTED not in header

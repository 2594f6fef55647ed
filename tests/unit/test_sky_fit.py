# SPDX-License-Identifier: GPL-2.0-or-later
"""LSF, line fit and continuum against the test vectors of the reference library."""

import dataclasses

import numpy as np
import pytest

from muse_core.errors import DataError, ParameterError
from muse_core.model.compat import Compat
from muse_core.model.lsf import HermiteProfile, LsfCube, LsfGrid, LsfImage
from muse_core.model.skylines import SkyLines
from muse_core.model.spectrum import Spectrum
from muse_core.steps import leastsquares
from muse_core.steps.sky import qc
from muse_core.steps.sky.continuum import create_continuum
from muse_core.steps.sky.fit import difference_noise, fit_lines, judge_shift
from muse_core.steps.sky.lsf import (
    average_lsf,
    empty_counts,
    fold_with_bin,
    hermite_spectrum,
    line_spectrum,
    lsf_nodes,
)

GRID = LsfGrid(1.0, -7.5, 15 / 149, 1.0, 4650.0, 4650 / 29)


@pytest.fixture(scope="module")
def lsf():
    i, j = np.arange(150), np.arange(30)[:, None]
    x = GRID.offset_value + i * GRID.offset_step
    sigma = 1.05 + 0.3 * j / 29
    data = np.exp(-0.5 * ((x - 0.03) / sigma) ** 2) * (1 + 0.1 * np.tanh(x))
    return LsfImage(data.astype(np.float32).astype(np.float64), GRID)


def value_at(image, line, offsets):
    return np.interp(offsets, *lsf_nodes(image, line))


OFFSETS = [-7.5, -3, -1.25, -0.5, 0, 0.5, 1.25, 3, 7.5]
UNFOLDED = {
    4000.0: "4.4575687383373e-12 0.00691112929848383 0.18412748356497 0.334400902311834 0.381684993031557 "
    "0.34538190633916 0.188353716054371 0.00592821685676916 2.53442427046656e-13",
    5577.338: "6.05816588459695e-11 0.00995548148313392 0.187206539656017 0.319997860302778 0.361320876178278 "
    "0.33112442466316 0.19242278949724 0.00865573657776106 5.10709940232572e-13",
    7000.0: "1.57856484074132e-09 0.0155584072329989 0.189155646466727 0.299800788943995 0.334026635434861 "
    "0.311058717935961 0.195802043602314 0.0137790182328504 0",
    9400.0: "7.73658943556353e-08 0.0260714340322449 0.187479354839991 0.271479321533742 0.29775538260947 "
    "0.282772126384956 0.196085382255364 0.0236892457380687 0",
}


@pytest.mark.parametrize("line", UNFOLDED)
def test_lsf_values_of_the_reference(lsf, line):
    expected = np.array(UNFOLDED[line].split(), float)
    np.testing.assert_allclose(value_at(lsf, line, OFFSETS), expected, rtol=2e-14, atol=2e-16)


def test_lsf_is_clamped_at_the_last_wavelength(lsf):
    np.testing.assert_array_equal(lsf_nodes(lsf, 9300.0), lsf_nodes(lsf, 9400.0))


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (0.3125, (0.989630191518156, 4.87735068351e-10, 0.499166794671308)),
        (1.25, (0.946237052247028, 2.91565610441e-09, 0.508680655152206)),
    ],
)
def test_folding_of_the_reference(lsf, width, expected):
    folded = fold_with_bin(lsf, width).data[9, [74, 0, 89]]
    np.testing.assert_allclose(folded, expected, rtol=1e-11)


def test_folded_lsf_values_of_the_reference(lsf):
    folded = fold_with_bin(lsf, 0.3125)
    offsets = [-3, -1.25, 0, 0.5, 3]
    for line, expected in {
        5577.338: (0.0101458046177733, 0.18737781178261, 0.360131567633797, 0.330172335022512, 0.00883967741869073),
        7000.0: (0.0157673406269218, 0.189218364480991, 0.333081207840614, 0.31025463412122, 0.0139875171855549),
    }.items():
        np.testing.assert_allclose(value_at(folded, line, offsets), expected, rtol=2e-14)


def test_bin_wider_than_the_lsf(lsf):
    with pytest.raises(ParameterError, match="skymodel_sampling.*16.0 Angstrom is wider than the LSF_PROFILE"):
        fold_with_bin(lsf, 16.0)
    assert fold_with_bin(lsf, 16.0, Compat.reference()) is lsf


def test_average_weights_slices_by_rows(lsf):
    cubes = {
        3: LsfCube(np.stack([lsf.data, 2 * lsf.data]), GRID),
        5: LsfCube(np.stack([4 * lsf.data, 1e9 * lsf.data]), GRID),
    }
    counts = empty_counts()
    counts[3 << 6 | 1] = 1
    counts[3 << 6 | 2] = 2
    counts[5 << 6 | 1] = 5
    np.testing.assert_allclose(average_lsf(cubes, counts).data, lsf.data * 25 / 8, rtol=1e-15)
    assert average_lsf(cubes, empty_counts()) is None
    cubes[5] = LsfCube(cubes[5].data[:, :, :-1], GRID)
    with pytest.raises(DataError, match=r"IFU 5 have shape \(30, 149\), others \(30, 150\)"):
        average_lsf(cubes, counts)
    averaged = average_lsf(cubes, counts, Compat.reference())
    np.testing.assert_allclose(averaged.data, lsf.data * 5 / 3, rtol=1e-15)


TRUTH = ([1.7, 0.6, 1.2], 2e-5, 0.04)
LINES = SkyLines.from_columns(
    ["a", "b", "c", "d", "e", "f", "g", "h"],
    [0, 1, 0, 0, 2, 1, 0, 1],
    [7240.5, 7276.4, 7316.3, 7340.9, 7401.7, 7438.2, 7524.1, 7571.7],
    [120.0, 300, 900, 700, 250, 60, 420, 310],
)
FITTED = {
    "c": (7316.34665547, 1529.96714872),
    "d": (7340.94720652, 1189.97444901),
    "g": (7524.15131022, 713.984669403),
    "e": (7401.74856844, 300.213615495),
    "a": (7240.54495754, 203.995619830),
    "h": (7571.75237647, 186.088584748),
    "b": (7276.44576171, 180.085727175),
    "f": (7438.24938605, 36.017145435),
}


def synthetic_spectrum(image, noise=1.0):
    factors, slope, offset = TRUTH
    i = np.arange(1600)
    lbda = 7200 + 0.3125 * i
    line_lbda = LINES.lbda * (1 + slope) + (offset - 7000 * slope)
    data = line_spectrum(lbda, line_lbda, LINES.flux * np.array(factors)[LINES.group], image)
    # in this order: another rounding of the input moves the end point of the fit by 1e-6 Angstrom
    data = data + 50 + 0.02 * (lbda - 7200) + noise * np.sin(1000.0 * i)
    return Spectrum(lbda, data, 1 + 0.01 * data)


def test_line_fit_of_the_reference(lsf):
    folded = fold_with_bin(lsf, 0.3125)
    spectrum = synthetic_spectrum(folded)
    assert spectrum.data[1] == pytest.approx(50.833129540532, rel=1e-13)
    assert spectrum.data[372] == pytest.approx(549.144656968535, rel=1e-13)
    fit = fit_lines(spectrum, LINES, folded)
    assert fit.minimum.code == 1
    assert list(fit.lines.name) == list(FITTED)
    expected = np.array(list(FITTED.values()))
    np.testing.assert_allclose(fit.lines.lbda, expected[:, 0], rtol=0, atol=6e-9)
    np.testing.assert_allclose(fit.lines.flux, expected[:, 1], rtol=4e-12)


def test_continuum_of_the_reference(lsf):
    folded = fold_with_bin(lsf, 0.3125)
    spectrum = synthetic_spectrum(folded)
    continuum = create_continuum(spectrum, fit_lines(spectrum, LINES, folded).lines, folded, 0.5)
    assert len(continuum) == 999
    np.testing.assert_array_equal(continuum.lbda, 7200 + 0.5 * np.arange(999))
    values = continuum.flux[[0, 1, 300, 998]]
    np.testing.assert_allclose(values, [50, 50.8987755188623, 53.7173207884898, 60.4491305709525], rtol=1e-9)
    numbers = dict(qc.continuum_qc(continuum))
    assert numbers["CONT FLUX"] == pytest.approx(54935.4631039358, rel=1e-10)
    assert numbers["CONT MAXDEV"] == pytest.approx(2.68904033259605, rel=1e-8)


def test_continuum_needs_one_step(lsf):
    spectrum = Spectrum(np.array([5000.0, 5000.3]), np.ones(2), np.ones(2))
    with pytest.raises(DataError, match="skymodel_csampling = 0.5"):
        create_continuum(spectrum, LINES.take([]), lsf, 0.5)


def test_failed_fit_keeps_wavelengths_and_takes_the_fluxes(lsf, caplog):
    """A vanishing gradient counts as a failure, as in the reference."""
    folded = fold_with_bin(lsf, 0.3125)
    spectrum = synthetic_spectrum(folded)
    flat = Spectrum(spectrum.lbda, np.full(1600, 7.0), spectrum.stat)
    fit = fit_lines(flat, LINES, folded)
    assert not fit.success
    np.testing.assert_array_equal(np.sort(fit.lines.lbda), LINES.lbda)
    np.testing.assert_array_equal(fit.lines.flux, 0)
    assert "uncorrected wavelengths" in caplog.text


def test_no_line_in_range(lsf, caplog):
    spectrum = Spectrum(np.array([5000.0, 5001.0]), np.ones(2), np.ones(2))
    fit = fit_lines(spectrum, LINES, lsf)
    assert not fit.success
    assert len(fit.lines) == 0
    assert "no line between 5000.0 and 5001.0 Angstrom" in caplog.text
    assert qc.line_qc(fit.lines) == []


def test_noise_where_the_variance_is_not_positive():
    stat = np.array([1.0, 3.0, -3.0, np.nan, 1.0])
    np.testing.assert_array_equal(difference_noise(stat), [2, 1, 1, 1])


def test_minimiser_finds_the_minimum_of_rosenbrock():
    result = leastsquares.minimise(
        lambda p: np.array([10 * (p[1] - p[0] ** 2), 1 - p[0], 1e-3]), np.array([-1.2, 1.0]), 3
    )
    assert result.code == 4  # the gradient vanishes there
    np.testing.assert_allclose(result.x, [1, 1], rtol=1e-6)
    assert result.norm == pytest.approx(1e-3)


def test_minimiser_wants_as_many_residuals_as_parameters():
    result = leastsquares.minimise(lambda p: p[:1], np.ones(2), 1)
    assert result.code == 0
    assert not result.success


def test_hermite_profile_of_the_reference():
    slope = np.array([1.0, 1e-4])
    profile = HermiteProfile(
        np.array([0.9, 1e-5, 2e-9]), (0.01 * slope, -0.02 * slope, 0.015 * slope, -0.005 * slope), 2.61, 1.25
    )
    offsets = np.array([-3, -1.25, 0, 0.5, 2])
    for line, expected in {
        5577.338: (0.0146935057337, 0.198921985841, 0.316217126974, 0.294192885718, 0.0901819998033),
        7000.0: (0.0152360394346, 0.198733365461, 0.314582504188, 0.292779156531, 0.0910190313278),
        9000.0: (0.0167932005976, 0.198175813359, 0.310089843075, 0.288953559528, 0.0932260590186),
    }.items():
        values = hermite_spectrum(line + offsets, np.array([line]), np.ones(1), profile)
        np.testing.assert_allclose(values, expected, rtol=1e-11)


def test_strongest_line_of_each_group_goes_into_the_header():
    lines = SkyLines.from_columns(["x", "y", "z"], [0, 1, 0], [5000.0, 6000, 7000], [1.0, np.inf, 1.0])
    assert qc.line_qc(lines) == [
        ("LINE1 NAME", "x"),
        ("LINE1 AWAV", 5000.0),
        ("LINE1 FLUX", 1.0),
        ("LINE2 NAME", "y"),
        ("LINE2 AWAV", 6000.0),
        ("LINE2 FLUX", -9999.999),
    ]


@pytest.mark.parametrize(
    ("shift", "outcome"), [(0.3, "nothing"), (-0.7, "warning"), (2.9, "warning"), (3.5, "error"), (-15.0, "error")]
)
def test_distance_that_a_fit_moves_lines(caplog, shift, outcome):
    """15 Angstrom is to where other lines are: no fit, but the reference takes it."""
    shifts = np.linspace(0, shift, len(LINES))
    if outcome == "error":
        with pytest.raises(
            DataError, match=rf"at 7571.70 Angstrom was moved by \{shift:+.2f} Angstrom, expected at most"
        ):
            judge_shift(shifts, LINES, Compat())
    judge_shift(shifts, LINES, Compat.reference() if outcome == "error" else Compat())
    assert ("moved by" in caplog.text) == (outcome != "nothing")


def test_fit_of_lines_that_are_elsewhere(lsf, caplog):
    folded = fold_with_bin(lsf, 0.3125)
    lines = dataclasses.replace(LINES, lbda=LINES.lbda - 0.8)
    fit = fit_lines(synthetic_spectrum(folded), lines, folded)
    assert fit.success
    assert "was moved by +0.8" in caplog.text

# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels of the sky subtraction against slow twins in numpy."""

import math

import numpy as np
import pytest

from muse_core.errors import DataError
from muse_core.model.compat import Compat
from muse_core.model.dq import DQ
from muse_core.model.lsf import HermiteProfile, LsfCube, LsfGrid, LsfImage
from muse_core.model.origin import encode
from muse_core.model.rows import make_rows
from muse_core.model.skylines import SkyLines
from muse_core.model.spectrum import Continuum, Spectrum
from muse_core.steps.sky.lsf import count_slices, empty_counts, hermite_spectrum, line_spectrum, require_ifus
from muse_core.steps.sky.model import lineless_samples
from muse_core.steps.sky.spectrum import SpectrumAccumulator, usable_samples
from muse_core.steps.sky.subtract import continuum_cut, cut_rows, slice_ranges, subtract_continuum, subtract_lines

GRID = LsfGrid(1.0, -7.5, 15 / 149, 1.0, 4650.0, 4650 / 29)


def last_le(a, v):
    return max(int(np.searchsorted(a, v, side="right")) - 1, 0)


def twin_interpolate(x, y, d):
    """Linear interpolation with the segment rule and the rounding of the reference."""
    i = int(np.searchsorted(x, d, side="left"))
    if i == 0:
        return y[0]
    g = (y[i] - y[i - 1]) / (x[i] - x[i - 1])
    return (y[i - 1] - g * x[i - 1]) + g * d


def twin_line_spectrum(lbda, lines, fluxes, image, grid, lone=False):
    ny, nx = image.shape
    lo = grid.offset_value + grid.offset_step * (1 - grid.offset_pixel)
    hi = grid.offset_value + grid.offset_step * (nx - grid.offset_pixel)
    out = np.zeros(len(lbda))
    for line, flux in zip(lines, fluxes, strict=True):
        a, b = last_le(lbda, line + lo), last_le(lbda, line + hi)
        if b < a + (not lone):
            continue
        p = min(max((line - grid.line_value) / grid.line_step + grid.line_pixel, 1), ny)
        j = math.floor(p)
        f = p - j
        z = image[j - 1] if f == 0 else image[j - 1] * (1 - f) + image[j] * f
        z = np.concatenate([[0, 0], z, [0, 0]])
        x = grid.offset_value + (np.arange(nx + 2) - grid.offset_pixel) * grid.offset_step
        x = np.concatenate([[-10000], x, [10000]])
        n = nx + 4
        x = x - (np.cumsum(z * x)[-1] / n) / (np.cumsum(z)[-1] / n)
        z = z * (1 / (np.cumsum(z)[-1] / n * n * grid.offset_step))
        for r in range(a, b + 1):
            out[r] += twin_interpolate(x, z, lbda[r] - line) * flux
    return out


@pytest.fixture(scope="module")
def rng():
    return np.random.default_rng(42)


@pytest.fixture
def image(rng):
    x = GRID.offset_value + np.arange(150) * GRID.offset_step
    sigma = np.linspace(1.0, 1.4, 30)[:, None]
    return LsfImage(np.exp(-0.5 * ((x - 0.1) / sigma) ** 2) * rng.uniform(0.9, 1.1, (30, 150)), GRID)


def random_lines(rng, n, lo, hi):
    return SkyLines.from_columns(["x"] * n, np.zeros(n), rng.uniform(lo, hi, n), rng.uniform(0, 1000, n))


def test_line_spectrum_equals_its_twin(rng, image):
    lbda = np.sort(rng.uniform(4900, 5100, 400))
    lbda[7:12] = lbda[7]
    lines = random_lines(rng, 40, 4880, 5120)
    lines.lbda[0] = 4000.0
    lines.lbda[1] = lbda[50] + 7.5
    out = line_spectrum(lbda, lines.lbda, lines.flux, image)
    np.testing.assert_array_equal(out, twin_line_spectrum(lbda, lines.lbda, lines.flux, image.data, GRID))


@pytest.mark.parametrize("lone", [False, True])
def test_line_that_reaches_one_wavelength(image, lone):
    lbda = np.array([4980.0, 5001.0, 5025.0])
    for line in (4974.0, 5002.0, 5019.0, 5032.55):
        out = line_spectrum(lbda[1:], np.array([line]), np.ones(1), image, lone=lone)
        np.testing.assert_array_equal(out, twin_line_spectrum(lbda[1:], [line], [1.0], image.data, GRID, lone))
    alone = line_spectrum(lbda[1:2], np.array([5002.0]), np.ones(1), image, lone=lone)
    assert (alone > 0.1) == lone


def test_line_spectrum_on_rows_of_the_image_and_beyond(image):
    lbda = np.linspace(4600, 9400, 5000)
    for line in (4650.0, 9300.0, 4620.0, 9390.0, 4650 + 4 * GRID.line_step):
        out = line_spectrum(lbda, np.array([line]), np.ones(1), image)
        np.testing.assert_array_equal(out, twin_line_spectrum(lbda, [line], [1.0], image.data, GRID))


def test_line_spectrum_of_nothing(image):
    assert line_spectrum(np.empty(0), np.array([5000.0]), np.ones(1), image).shape == (0,)
    assert not line_spectrum(np.array([5000.0]), np.empty(0), np.empty(0), image).any()


def slice_rows(rng, ifu, slice_number, n, lo=4900, hi=5100):
    lbda = np.sort(rng.uniform(lo, hi, n).astype(np.float32))
    origin = encode(10, 100, ifu, slice_number, 0)
    return make_rows(0, 0, lbda, rng.normal(50, 5, n).astype(np.float32), 0, 1, origin)


@pytest.fixture
def ifu_rows(rng):
    return np.concatenate([slice_rows(rng, 3, s, n) for s, n in ((1, 200), (2, 1), (5, 300))])


def test_lines_are_subtracted_with_the_lsf_of_each_slice(rng, image, ifu_rows):
    cube = LsfCube(np.stack([image.data * (1 + 0.1 * np.roll(image.data, k, axis=1)) for k in range(5)]), GRID)
    lines = random_lines(rng, 30, 4880, 5120)
    before = ifu_rows.copy()
    subtract_lines(ifu_rows, lines, {3: cube})
    for (key, a, b), slice_number in zip(slice_ranges(before), (1, 2, 5), strict=True):
        assert key == 3 << 6 | slice_number
        lbda = before["lbda"][a:b].astype(np.float64)
        sky = twin_line_spectrum(lbda, lines.lbda, lines.flux, cube.data[slice_number - 1], GRID)
        expected = (before["data"][a:b].astype(np.float64) - sky).astype(np.float32)
        np.testing.assert_array_equal(ifu_rows["data"][a:b], expected)
    for column in ("xpos", "lbda", "dq", "stat", "origin"):
        np.testing.assert_array_equal(ifu_rows[column], before[column])


def test_slice_without_lsf(image, ifu_rows, caplog):
    cube = LsfCube(image.data[None].repeat(2, axis=0), GRID)
    lines = SkyLines.from_columns(["x"], [0], [5000.0], [100.0])
    require_ifus({3: cube}, [3])
    with pytest.raises(DataError, match="LSF_PROFILE: nothing for IFU 1, 4,"):
        require_ifus({3: cube}, [4, 3, 1])
    with pytest.raises(DataError, match="IFU 3, slice 5: no LSF_PROFILE"):
        subtract_lines(ifu_rows.copy(), lines, {3: cube})
    rows = ifu_rows.copy()
    subtract_lines(rows, lines, {3: cube}, Compat.reference())
    assert (rows["data"][:200] != ifu_rows["data"][:200]).any()
    np.testing.assert_array_equal(rows["data"][201:], ifu_rows["data"][201:])
    assert "IFU 3: slices without LSF_PROFILE" in caplog.text


def test_parametrised_lines(rng, ifu_rows):
    terms = tuple(np.array([h]) for h in (0.01, -0.02, 0.015, -0.005))
    profile = HermiteProfile(np.array([0.9, 1e-5]), terms, 2.61, 1.25)
    profiles = {(3, s): profile for s in (1, 2, 5)}
    lines = random_lines(rng, 5, 4950, 5050)
    rows = ifu_rows.copy()
    subtract_lines(rows, lines, profiles)
    a, b = 201, 501
    sky = hermite_spectrum(rows["lbda"][a:b].astype(np.float64), lines.lbda, lines.flux, profile)
    assert sky.max() > 1
    expected = (ifu_rows["data"][a:b].astype(np.float64) - sky).astype(np.float32)
    np.testing.assert_array_equal(rows["data"][a:b], expected)


def test_continuum_with_parametrised_lines_comes_from_the_rows_on_sky(rng, ifu_rows):
    profile = HermiteProfile(np.array([0.9]), (np.zeros(1),) * 4, 2.61, 1.25)
    profiles = {(3, s): profile for s in (1, 2, 5)}
    lines = random_lines(rng, 5, 4950, 5050)
    selected = rng.integers(0, 2, len(ifu_rows), np.uint8)
    flagged = np.flatnonzero(rng.random(len(ifu_rows)) < 0.1)
    expected = lineless_samples(ifu_rows, selected, lines, profiles, flagged)
    without_lines = ifu_rows.copy()
    subtract_lines(without_lines, lines, profiles)
    np.testing.assert_array_equal(expected, usable_samples(without_lines, selected, flagged))
    shuffled = rng.permutation(len(ifu_rows))
    rows, on_sky = ifu_rows[shuffled], selected[shuffled]
    flagged = np.flatnonzero(np.isin(shuffled, flagged))
    np.testing.assert_array_equal(lineless_samples(rows, on_sky, lines, profiles, flagged), expected)
    found = lineless_samples(rows, on_sky, lines, profiles, flagged, Compat.reference())
    np.testing.assert_array_equal(found, usable_samples(without_lines, on_sky, shuffled[flagged]))


def test_parametrised_profile_has_unit_integral():
    profile = HermiteProfile(np.array([0.9]), (np.array([0.02]),) + (np.zeros(1),) * 3, 2.61, 1.25)
    lbda = np.arange(4990, 5010, 0.01)
    assert hermite_spectrum(lbda, np.array([5000.0]), np.ones(1), profile).sum() * 0.01 == pytest.approx(1, abs=2e-4)


def test_continuum_equals_its_twin(rng, ifu_rows):
    lbda = np.sort(np.unique(np.concatenate([rng.uniform(4905, 5090, 300), ifu_rows["lbda"][20:30].astype(float)])))
    continuum = Continuum(lbda, rng.normal(20, 5, len(lbda)))
    rows = ifu_rows.copy()
    rows["lbda"][50] = np.float32(np.nan)
    expected = rows["data"].copy()
    for i, row in enumerate(rows):
        d = float(row["lbda"])
        if lbda[0] <= d <= lbda[-1]:
            expected[i] = np.float32(float(row["data"]) - twin_interpolate(lbda, continuum.flux, d))
    shuffled = rng.permutation(len(rows))
    mixed = rows[shuffled]
    subtract_continuum(rows, continuum)
    np.testing.assert_array_equal(rows["data"], expected)
    subtract_continuum(mixed, continuum)
    np.testing.assert_array_equal(mixed["data"], expected[shuffled])


def test_continuum_of_one_point(ifu_rows):
    rows = ifu_rows.copy()
    subtract_continuum(rows, Continuum(np.array([float(rows["lbda"][3])]), np.array([7.0])))
    changed = np.flatnonzero(rows["data"] != ifu_rows["data"])
    assert changed.tolist() == [3]


@pytest.mark.parametrize(
    ("llo", "lhi", "expected"),
    [(4900.0, 5100.0, (4950, 5050)), (4950.0, 5000.0, (4950, 5050)), (4951.0, 5050.0, (4950, 5050)),
     (4951.0, 5049.0, None)],
)  # fmt: skip
def test_rows_are_cut_to_the_continuum(ifu_rows, llo, lhi, expected):
    limits = continuum_cut(Continuum(np.array([4950.0, 5000, 5050]), np.zeros(3)), llo, lhi)
    assert limits == expected
    rows = ifu_rows.copy()
    rows["lbda"][:4] = [4949.9, 4950, 5050, 5050.1]
    rows["lbda"][10] = np.nan
    inside = np.ones(len(rows), bool) if expected is None else ~((rows["lbda"] < 4950) | (rows["lbda"] > 5050))
    assert (expected is None) == inside.all()
    kept = cut_rows(rows.copy(), limits)
    assert kept.tobytes() == rows[inside].tobytes()


def twin_spectrum(lbda, data, stat, llo, lhi, width):
    n = math.floor((lhi - llo) / width) + 2
    sums = np.zeros((3, n))
    for x, d, s in zip(lbda.astype(float), data.astype(float), stat.astype(float), strict=True):
        position = max((x - llo) / width, 0)
        k = math.floor(position)
        w1 = position - k
        w0 = 1 - w1
        for bin_number, w in ((k, w0), (k + 1, w1)):
            sums[:, bin_number] += w * d, w * s, w
    used = sums[2] > 0
    grid = np.arange(n) * width + llo
    return grid[used], sums[0][used] / sums[2][used], sums[1][used] / sums[2][used]


def accumulated(rows, selected, width, llo, lhi, n_chunks=1, **options):
    accumulator = SpectrumAccumulator(llo, lhi, width, **options)
    for chunk, chosen in zip(np.array_split(rows, n_chunks), np.array_split(selected, n_chunks), strict=True):
        accumulator.add(usable_samples(chunk, chosen))
    return accumulator.spectrum()


def test_spectrum_of_the_worked_example():
    rows = make_rows(0, 0, [5000, 5000.25, 5001.5, 5003], [10, 20, 30, 40], 0, [1, 2, 3, 4], 0)
    spectrum = accumulated(rows, np.ones(4, np.uint8), 1.0, 5000.0, 5003.0)
    assert spectrum.lbda.tolist() == [5000, 5001, 5002, 5003]
    np.testing.assert_allclose(spectrum.data, [14.285714, 26.666667, 30, 40], rtol=1e-7)
    np.testing.assert_allclose(spectrum.stat, [1.4285714, 2.6666667, 3, 4], rtol=1e-7)


@pytest.fixture
def sky_rows(rng):
    n = 3000
    lbda = rng.uniform(5000, 5030, n).astype(np.float32)
    lbda[(lbda > 5010) & (lbda < 5012)] = 5012  # a gap: empty bins
    lbda[:40] = np.float32(5000 + 0.3125 * np.arange(40))
    data = rng.normal(100, 3, n).astype(np.float32)
    data[::50] += 40
    data[7] = np.nan
    data[8] = np.inf
    rows = make_rows(0, 0, lbda, data, 0, rng.uniform(4, 9, n).astype(np.float32), 0)
    rows["dq"][::13] = DQ.COSMIC_RAY
    return rows


def test_spectrum_equals_its_twin_for_any_chunks(rng, sky_rows):
    selected = (rng.uniform(size=len(sky_rows)) < 0.7).astype(np.uint8)
    used = sky_rows[(selected != 0) & (sky_rows["dq"] == 0) & np.isfinite(sky_rows["data"])]
    llo, lhi = float(sky_rows["lbda"].min()), float(sky_rows["lbda"].max())
    expected = twin_spectrum(used["lbda"], used["data"], used["stat"], llo, lhi, 0.3125)
    for n_chunks in (1, 7):
        spectrum = accumulated(sky_rows, selected, 0.3125, llo, lhi, n_chunks)
        for found, wanted in zip((spectrum.lbda, spectrum.data, spectrum.stat), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_clipping_equals_its_twin(sky_rows):
    selected = np.ones(len(sky_rows), np.uint8)
    llo, lhi = 5000.0, float(sky_rows["lbda"].max())
    first = accumulated(sky_rows, selected, 0.3125, llo, lhi)
    keep = (sky_rows["dq"] == 0) & np.isfinite(sky_rows["data"])
    for i in np.flatnonzero(keep):
        b = last_le(first.lbda, float(sky_rows["lbda"][i]))
        if b < len(first) - 1 and first.data[b] < first.data[b + 1]:
            b += 1
        keep[i] = not float(sky_rows["data"][i]) > first.data[b] + float(np.float32(4.2)) * math.sqrt(first.stat[b])
    used = sky_rows[keep]
    expected = twin_spectrum(used["lbda"], used["data"], used["stat"], llo, lhi, 0.3125)
    second = accumulated(sky_rows, selected, 0.3125, llo, lhi, previous=first, sigma=4.2)
    assert second.data.sum() < first.data.sum()
    for found, wanted in zip((second.lbda, second.data, second.stat), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    unclipped = accumulated(sky_rows, selected, 0.3125, llo, lhi, previous=first, sigma=0.0)
    np.testing.assert_array_equal(unclipped.data, first.data)


def test_negative_variance_of_a_bin_clips_nothing():
    previous = Spectrum(np.array([5000.0, 5001]), np.zeros(2), np.array([-1.0, np.nan]))
    rows = make_rows(0, 0, [5000, 5000.5], [10, 20], 0, 1, 0)
    spectrum = accumulated(rows, np.ones(2, np.uint8), 1.0, 5000.0, 5000.5, previous=previous, sigma=3.0)
    assert spectrum.data[1] == 20


def test_flagged_rows_are_left_out():
    rows = make_rows(0, 0, [5000, 5000, 5000], [1, 2, 4], 0, 1, 0)
    samples = usable_samples(rows, np.array([1, 1, 1], np.uint8), np.array([1]))
    assert samples[:, 1].tolist() == [1, 4]


def test_spectrum_without_rows():
    with pytest.raises(DataError, match="sky spectrum: no pixel left; is the sky mask empty"):
        SpectrumAccumulator(5000.0, 5001.0, 0.5).spectrum()
    with pytest.raises(DataError, match="limits nan to 5001.0 Angstrom"):
        SpectrumAccumulator(math.nan, 5001.0, 0.5)


def test_counts_include_bad_rows(ifu_rows):
    ifu_rows["dq"][:] = DQ.HOT
    counts = empty_counts()
    for _ in range(2):
        count_slices(ifu_rows, counts)
    assert counts[[3 << 6 | 1, 3 << 6 | 2, 3 << 6 | 5]].tolist() == [400, 2, 600]
    assert counts.sum() == 2 * len(ifu_rows)

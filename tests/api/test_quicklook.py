# SPDX-License-Identifier: GPL-2.0-or-later
"""Quick look: it shows what the full reduction shows; parts of cubes have the bits of the whole."""

import dataclasses

import numpy as np
import pytest
from astropy.io import fits
from harness import run
from harness.datasets import WFM

import muse_core.api as muse
from muse_core.cython_ext import columns as columns_kernels
from muse_core.engine.rowblocks import BlockedRows
from muse_core.errors import MuseError, ParameterError
from muse_core.frontends import muse_quicklook
from muse_core.io.pixtable import PixelTableFile
from muse_core.simulate.dataset import make_dataset
from muse_core.steps import quickimage


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """Set of frames of an exposure of four IFUs, turned on the sky, and its cube without sky subtraction."""
    folder = tmp_path_factory.mktemp("field")
    spec = dataclasses.replace(WFM, ifus=(11, 12, 13, 14), lbda_min=7250, lbda_max=7400, posang=25.0, seed=4)
    sof = make_dataset(folder, [spec])["none"]
    table = muse.PixelTable.read(sof)
    muse.steps.calibrate_flux(muse.steps.correct_refraction(table))
    muse.steps.project(muse.steps.correct_velocity(table))
    with muse.make_cube(table) as cube:
        cube.write(folder / "cube.fits")
    return sof, folder / "cube.fits"


def measure(image, ra, dec):
    """Return position and flux of a source near a position, in an image without sky."""
    data = np.where(np.isfinite(image.data), image.data, 0)
    y, x = np.mgrid[: data.shape[0], : data.shape[1]]
    scale = np.sqrt(abs(np.linalg.det(image.wcs.celestial.pixel_scale_matrix))) * 3600
    px, py = map(float, image.wcs.celestial.wcs_world2pix(ra, dec, 0))
    for _ in range(30):  # centre under a Gaussian weight
        weight = data * np.exp(-((x - px) ** 2 + (y - py) ** 2) * (scale / 0.4) ** 2 / 2)
        px, py = (p + 1.5 * (np.sum(v * weight) / weight.sum() - p) for v, p in ((x, px), (y, py)))
    near = np.hypot(y - py, x - px) * scale < 1.2
    return *map(float, image.wcs.celestial.wcs_pix2world(px, py, 0)), data[near].sum()


def sources(image, n):
    """Return positions of the brightest sources that are not at the edge of an image."""
    y, x = np.mgrid[: image.data.shape[0], : image.data.shape[1]]
    left, found = np.where(np.isfinite(image.data), image.data, 0), []
    while len(found) < n:
        cy, cx = np.unravel_index(np.argmax(left), left.shape)
        left[np.hypot(y - cy, x - cx) < 12] = 0
        if np.isfinite(image.data[np.hypot(y - cy, x - cx) < 6]).all():
            found.append(tuple(map(float, image.wcs.celestial.wcs_pix2world(cx, cy, 0))))
    return found


def test_image_is_that_of_the_reduction(field):
    sof, path = field
    quick, white = muse.quick_look(sof), muse.Cube.open(path).image()
    level = np.nanmedian(white.data[white.data < np.nanpercentile(white.data, 40)])
    white.data = white.data - level
    pairs = [(measure(quick, *position), measure(white, *position)) for position in sources(white, 1)]
    for (ra, dec, flux), (ra0, dec0, flux0) in pairs:
        distance = np.hypot((ra - ra0) * np.cos(np.radians(dec)), dec - dec0) * 3600
        assert distance < 0.1 * 0.2
        assert flux == pytest.approx(flux0, rel=0.05)
    assert abs(np.nanmedian(quick.data)) < 0.1 * np.nanstd(quick.data)
    assert "img" in quick._repr_html_()


@pytest.mark.parametrize("spoiled", [False, True])
def test_fluxes_and_positions_are_those_of_the_reduction(tmp_path, spoiled):
    """Several sources, without and with noise, cosmic rays and bad pixels."""
    spec = dataclasses.replace(WFM, ifus=(11, 12, 13, 14), lbda_min=7250, lbda_max=7290, seed=4)
    spec = dataclasses.replace(spec, noise=spoiled, cosmic_rays=spoiled, bad_pixels=spoiled)
    sof = make_dataset(tmp_path, [spec])["none"]
    table = muse.steps.calibrate_flux(muse.steps.correct_refraction(muse.PixelTable.read(sof)))
    with muse.make_cube(muse.steps.project(muse.steps.correct_velocity(table))) as cube:
        white = cube.image()
    white.data -= np.nanmedian(white.data)
    quick = muse.quick_look(sof)
    pairs = [(measure(quick, *position), measure(white, *position)) for position in sources(white, 4)]
    (ra, dec, flux), (ra0, dec0, flux0) = (np.array([pair[k] for pair in pairs]).T for k in (0, 1))
    distance = np.hypot((ra - ra0) * np.cos(np.radians(dec)), dec - dec0) * 3600 / 0.2
    assert np.corrcoef(flux, flux0)[0, 1] >= 0.999
    assert flux.min() > 0.02 * flux.max()
    assert distance.max() < 0.1


def test_band_filter_and_region(field):
    sof, path = field
    band = muse.quick_look(sof, lambdamin=7330, lambdamax=7345, sky=False)
    whole = muse.quick_look(sof, sky=False)
    assert band.data.shape == whole.data.shape
    table = muse.steps.calibrate_flux(muse.steps.correct_refraction(muse.PixelTable.read(sof)))
    for image, rows in (
        (band, table.select(lambdamin=7330, lambdamax=7345, good=True)),
        (whole, table.select(good=True)),
    ):
        ra, dec = rows.sky()
        x, y = (np.rint(v).astype(int) for v in image.wcs.wcs_world2pix(ra, dec, 0))
        total, number = (np.zeros(image.data.shape) for _ in range(2))
        np.add.at(total, (y, x), rows.data)
        np.add.at(number, (y, x), 1)
        good = number > 20
        ratio = image.data[good] / (total[good] / number[good])
        assert np.median(ratio) == pytest.approx(1, abs=0.02)
        assert np.median(np.abs(ratio - 1)) < 0.05  # spaxels share rows
    centre = muse.Cube.open(path).centre
    part = muse.quick_look(sof, region=(*centre, 2.0), sky=False)
    assert max(part.data.shape) < 30
    x, y = part.wcs.wcs_world2pix(*centre, 0)
    u, v = whole.wcs.wcs_world2pix(*centre, 0)
    np.testing.assert_array_equal(
        part.data[round(float(y)), round(float(x))], whole.data[round(float(v)), round(float(u))]
    )
    with pytest.raises(MuseError, match="Nonsense"):
        muse.quick_look(sof, filter="Nonsense")
    with pytest.raises(MuseError, match="expected some from"):
        muse.quick_look(sof, lambdamin=5000, lambdamax=5010)
    with pytest.raises(MuseError, match="not in the field"):
        muse.quick_look(sof, region=(10.0, 10.0, 1.0))


def test_spectrum_of_a_source(field):
    sof, path = field
    cube = muse.Cube.open(path)
    ((ra, dec),) = sources(cube.image(), 1)
    quick = muse.quick_spectrum(sof, ra, dec, 1.0)
    inner, ring = cube.spectrum(ra, dec, 1.0), cube.spectrum(ra, dec, 4.0)
    hole = cube.spectrum(ra, dec, 2.0)
    n = [int(s.title.split()[0]) for s in (inner, ring, hole)]
    expected = inner.data - n[0] * (ring.data - hole.data) / (n[1] - n[2])
    found = np.interp(inner.wave, quick.wave, quick.data)
    assert np.nansum(found) == pytest.approx(np.nansum(expected), rel=0.1)
    for half in (slice(2, len(found) // 2), slice(len(found) // 2, -2)):
        assert found[half].sum() == pytest.approx(expected[half].sum(), rel=0.15)


def test_spectrum_is_a_sum_over_spaxels_of_the_mode(datasets, tmp_path, monkeypatch):
    """In the narrow field they are 64 times smaller."""
    sof = datasets["nfm"].sofs["none"]
    outcome = run.ours(sof, tmp_path / "products", "--skymethod=none", compat=False)
    assert outcome.status == 0, outcome.output
    monkeypatch.chdir(tmp_path)
    with muse.Cube.open(tmp_path / "products" / "DATACUBE_FINAL.fits") as cube:
        expected = cube.spectrum(*cube.centre, 0.12)
        found = muse.quick_spectrum(sof, *cube.centre, 0.12, sky=False)
    assert np.nanmedian(found.data) == pytest.approx(np.nanmedian(expected.data), rel=0.15)


@pytest.mark.parametrize("options", [{}, {"resample": "linear", "crsigma": 5.0, "dx": 0.3, "ld": 2}, {"grid": "own"}])
def test_part_has_the_bits_of_the_whole(field, tmp_path, options):
    sof, path = field
    centre = muse.Cube.open(path).centre
    if "grid" in options:
        grid = muse.make_output_wcs(tmp_path / "g.fits", *centre, 24.0, angle=10.0, lambdamin=7240, lambdamax=7410)
        options = {"grid": grid}
    if options:
        table = muse.steps.calibrate_flux(muse.steps.correct_refraction(muse.PixelTable.read(sof)))
        whole = muse.make_cube(muse.steps.project(muse.steps.correct_velocity(table)), **options)
    else:
        whole = muse.Cube.open(path)
    for box, low, high in ((muse.Region.box(*centre, 6.0, 3.0), 7300, 7320), ((*centre, 1.0), 4000, 7262)):
        part = muse.partial_cube(sof, box, low, high, **options)
        a, b = (cube._hdus["DATA"].header for cube in (part, whole))
        x, y, z = (round(b[f"CRPIX{i}"] - a[f"CRPIX{i}"]) for i in (1, 2, 3))
        nz, ny, nx = part.shape
        assert min(part.shape) >= 3
        for name in ("data", "stat"):
            cut = getattr(whole, name)[z : z + nz, y : y + ny, x : x + nx]
            assert np.isfinite(cut).mean() > 0.5
            np.testing.assert_array_equal(getattr(part, name), cut)
        np.testing.assert_allclose(part.wave, whole.wave[z : z + nz], rtol=1e-12)
    with pytest.raises(ParameterError, match="not in the cube"):
        muse.partial_cube(sof, (10.0, 10.0, 1.0), 7300, 7310, **options)
    with pytest.raises(ParameterError, match="expected some from"):
        muse.partial_cube(sof, (*centre, 1.0), 8300, 8310, **options)


def test_part_less_a_given_sky_has_the_bits_of_the_cube_of_the_recipe(datasets, tmp_path):
    sof = datasets["wfm"].sofs["subtract"]
    outcome = run.ours(sof, tmp_path, "--skymethod=subtract-model", compat=False)
    assert outcome.status == 0, outcome.output
    with muse.Cube.open(tmp_path / "DATACUBE_FINAL.fits") as whole:
        low, high = (float(whole.wave[k]) for k in (1, -2))
        part = muse.partial_cube(sof, muse.Region.box(*whole.centre, 4.0, 1.0), low, high, sky="subtract-model")
        bare = muse.partial_cube(sof, muse.Region.box(*whole.centre, 4.0, 1.0), low, high)
        x, y, z = (
            round(whole._hdus["DATA"].header[f"CRPIX{i}"] - part._hdus["DATA"].header[f"CRPIX{i}"]) for i in (1, 2, 3)
        )
        nz, ny, nx = part.shape
        for name in ("data", "stat"):
            cut = getattr(whole, name)[z : z + nz, y : y + ny, x : x + nx]
            np.testing.assert_array_equal(getattr(part, name), cut)
        assert np.nanmedian(bare.data) > 3 * abs(np.nanmedian(part.data))


def test_blocks_of_rows(field):
    sof, _ = field
    paths = [line.split()[0] for line in sof.read_text().splitlines() if "PIXTABLE" in line]
    files = [PixelTableFile(path) for path in paths]
    rows = BlockedRows(files, (7260.0, 10000.0), [True] * len(files), 2)
    blocks = rows.blocks
    for number in (0, len(blocks.part) // 2, len(blocks.part) - 1):
        file = files[blocks.part[number]]
        for k, name in enumerate(("xpos", "ypos", "lambda")):
            values = file.column(name, blocks.start[number], blocks.stop[number])
            assert (blocks.low[number, k], blocks.high[number, k]) == (values.min(), values.max())
    extent = rows.limits().extent
    whole = [np.concatenate([file.column(name) for file in files]) for name in ("xpos", "ypos", "lambda")]
    inside = whole[2] >= np.float32(7260)
    np.testing.assert_array_equal(extent, [f(v[inside]) for v in whole for f in (np.min, np.max)])
    rows.take(rows.within(7300.0, 7310.0))
    found = np.concatenate([rows.load(chunk)["lbda"] for chunk in rows.chunks])
    assert len(found) == rows.n_rows < inside.sum()
    both = (whole[2] >= 7300) & (whole[2] <= 7310)
    assert np.count_nonzero((found >= 7300) & (found <= 7310)) == both.sum()


@pytest.mark.parametrize("stride", [4, 28])
@pytest.mark.parametrize("n", [1, 31, 1000, 4096])
def test_kernel_of_the_ranges(stride, n):
    """Against numpy, of values side by side and of a column of a table; NaN are no values, one block has no other."""
    rng = np.random.default_rng(n)
    table = np.zeros((n, stride // 4), ">f4")
    table[:, 0] = rng.normal(size=n)
    table[rng.random(n) < 0.3, 0] = np.nan
    table[64:128, 0] = np.nan
    table[n // 2, 0] = -np.inf
    raw = memoryview(table.tobytes())[: (n - 1) * stride + 4]
    low, high = (np.zeros(-(-n // 64), np.float32) for _ in range(2))
    columns_kernels.block_ranges(raw, stride, 64, low, high)
    for b in range(len(low)):
        values = table[64 * b : 64 * (b + 1), 0]
        found = values[~np.isnan(values)]
        assert low[b] == min(found, default=np.inf)
        assert high[b] == max(found, default=-np.inf)


def test_kernel_of_the_image():
    """Against numpy, with columns of a table: their values are not side by side."""
    rng = np.random.default_rng(1)
    n, first = 5000, 7000.0
    columns = [rng.uniform(-5, 5, n), rng.uniform(-4, 4, n), rng.uniform(6990, 7110, n), rng.normal(size=n)]
    table = np.zeros(n, [("a", ">f4"), ("b", ">f4"), ("c", ">f4"), ("d", ">f4"), ("e", ">i4")])
    for name, values in zip("abcd", columns, strict=True):
        table[name] = values
    table["e"] = rng.random(n) < 0.1
    table["d"][:7] = np.nan
    curves = rng.uniform(0.5, 1, (101, 6))
    total, norm, bright = np.zeros((8, 9)), np.zeros((8, 9)), np.zeros((n, 5))
    raw = table.tobytes()
    parts = [memoryview(raw)[i * 4 :] for i in range(5)]
    sums = (curves, -4.0, -3.0, total, norm, bright, 0.0)
    n_bright = columns_kernels.add_image(*parts, np.full(5, 20, np.intp), n, first, 1.0, *sums)
    k = np.floor(table["c"].astype(float) - first + 0.5).astype(int)
    good = (table["e"] == 0) & np.isfinite(table["d"]) & (k >= 0) & (k < 101)
    k = k.clip(0, 100)
    u = table["a"].astype(float) + curves[k, 0] + 4
    v = table["b"].astype(float) + curves[k, 1] + 3
    good &= (u >= 0) & (u < 8) & (v >= 0) & (v < 7)
    u, v, k, value = u[good], v[good], k[good], table["d"].astype(float)[good]
    x, y = u.astype(int), v.astype(int)
    lbda = table["c"].astype(float)[good]
    left = curves[k, 2] * value - np.interp(lbda, first + np.arange(101), curves[:, 4])
    expected, weights = np.zeros((8, 9)), np.zeros((8, 9))
    for dx in (0, 1):
        for dy in (0, 1):
            share = curves[k, 3] * (1 - np.abs(u - x - dx)) * (1 - np.abs(v - y - dy))
            np.add.at(expected, (y + dy, x + dx), share * left)
            np.add.at(weights, (y + dy, x + dx), share)
    np.testing.assert_allclose(total, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(norm, weights, rtol=1e-9)
    over = np.flatnonzero(left > curves[k, 5])
    told = np.column_stack([u, v, lbda, left, curves[k, 3]])[over]
    assert 30 < n_bright == len(over)
    np.testing.assert_allclose(bright[:n_bright], told, rtol=1e-9, atol=1e-9)
    few = np.zeros((7, 5))  # more than there is room for
    assert columns_kernels.add_image(*parts, np.full(5, 20, np.intp), n, first, 1.0, *sums[:-2], few, 0.0) == 7
    with pytest.raises(ValueError, match="n values each"):
        columns_kernels.add_image(*parts, np.full(5, 20, np.intp), n + 1, first, 1.0, *sums)


def test_sky_is_the_median_whatever_sources_there_are():
    rng = np.random.default_rng(3)
    index = np.repeat(np.arange(6), [500, 3, 500, 500, 0, 500])
    values = 10.0 * index + rng.normal(0, 2.0, len(index))
    values[index == 2] += np.where(rng.random(500) < 0.05, 1e4, 0)
    median, limit = quickimage.sky_spectrum(index, values, 6)
    np.testing.assert_allclose(median, [0, 10, 20, 30, 40, 50], atol=0.5)  # those of few are between the others
    assert np.isinf(limit[[1, 4]]).all()
    np.testing.assert_allclose(limit[[0, 2, 3, 5]], 20.0, rtol=0.2)
    assert np.isinf(quickimage.sky_spectrum(index[:0], values[:0], 6)[1]).all()


def test_cosmic_rays_are_in_one_slice_and_lines_of_sources_are_not():
    """Sums of rows of a field of even brightness, in which there are both."""
    y, x, plane = (v.ravel() for v in np.mgrid[2:12, 2:12, 0:30])
    rows = np.column_stack([x + 0.3, y - 0.4, 7000 + 1.25 * plane, np.ones(len(x)), np.ones(len(x))])
    hit = (y == 5) & (x >= 6) & (x < 9) & (plane == 11)  # along a slice
    line = (abs(y - 8) < 2) & (abs(x - 5) < 2) & (abs(plane - 20.5) < 1)  # as wide as a line is
    rows[hit | line, 3] = 500.0

    def sums(chosen):
        total, norm = np.zeros((15, 15)), np.zeros((15, 15))
        u, v, value = rows[chosen, 0], rows[chosen, 1], rows[chosen, 3]
        i, j = u.astype(int), v.astype(int)
        for dj, b in ((0, 1 - v + j), (1, v - j)):
            for di, a in ((0, 1 - u + i), (1, u - i)):
                np.add.at(total, (j + dj, i + di), a * b * value)
                np.add.at(norm, (j + dj, i + di), a * b)
        return total, norm

    total, norm = sums(np.ones(len(rows), bool))
    assert quickimage.take_away_cosmic_rays(rows[rows[:, 3] > 5], total, norm) == hit.sum()
    for found, expected in zip((total, norm), sums(~hit), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-9)
    assert quickimage.take_away_cosmic_rays(np.empty((0, 5)), total, norm) == 0


def test_command(field, tmp_path, monkeypatch, capsys):
    sof, path = field
    monkeypatch.chdir(tmp_path)
    ra, dec = muse.Cube.open(path).centre
    arguments = [str(sof), "--lambda", "7300", "7350", "--spectrum", f"{ra}", f"{dec}", "1"]
    assert muse_quicklook.main(arguments) == 0
    names = ["quicklook.fits", "quicklook.png", "quicklook_spectrum.fits", "quicklook_spectrum.png"]
    assert capsys.readouterr().out.split() == names
    assert fits.getheader("quicklook.fits", 1)["CTYPE1"] == "RA---TAN"
    assert len(fits.getdata("quicklook_spectrum.fits", 1)) > 30
    assert muse_quicklook.main(arguments) == 1
    assert "quicklook.fits: found a file of this name" in capsys.readouterr().err
    cube = ["--cube", "--lambda", "7300", "7310", "--region", f'circle({ra},{dec},1")', "-o", "part"]
    assert muse_quicklook.main([str(sof), *cube]) == 0
    assert muse.Cube.open("part_cube.fits").shape[0] == 8
    assert muse_quicklook.main(["nothing.fits"]) == 1
    assert "nothing.fits" in capsys.readouterr().err

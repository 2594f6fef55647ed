# SPDX-License-Identifier: GPL-2.0-or-later
"""Alignment of exposures: sources, offsets, mosaics, and the files they come from and go to."""

import dataclasses
import logging

import numpy as np
import pytest
from astropy.io import fits

from muse_core.errors import DataError, InputError, ParameterError
from muse_core.io.calibration import offset_columns, read_offsets
from muse_core.io.fitswriter import primary_header, write_hdus
from muse_core.io.fov import read_fov_image, read_source_positions, source_columns
from muse_core.io.tables import table_hdu
from muse_core.model.cards import set_card
from muse_core.model.compat import OURS, Compat
from muse_core.model.curves import OffsetList
from muse_core.model.fov import CelestialGrid, FovImage
from muse_core.steps.align.match import MatchOptions, align, parse_radii
from muse_core.steps.align.mosaic import mosaic_grid, near_first, overlay
from muse_core.steps.align.stars import STAR, DetectionOptions, choose_threshold, detect, find_stars, near_bad_pixels

THEIRS = Compat.reference()
STEP = 0.2 / 3600
X = np.array([20.3, 44.8, 70.0, 25.5, 88.1])  # pixels from 1
Y = np.array([18.2, 60.6, 30.0, 66.5, 47.9])
HEIGHT = np.array([300.0, 40.0, 900.0, 120.0, 60.0])


def picture(x=X, y=Y, height=HEIGHT, shape=(80, 100), fwhm=3.5, noise=0.3, seed=1):
    grid_y, grid_x = np.mgrid[1 : shape[0] + 1, 1 : shape[1] + 1]
    image = 2 + noise * np.random.default_rng(seed).standard_normal(shape)
    for star in zip(x, y, height, strict=True):
        image += star[2] * np.exp(-4 * np.log(2) * ((grid_x - star[0]) ** 2 + (grid_y - star[1]) ** 2) / fwhm**2)
    return image.astype(np.float32)


def found(image, fwhm=5.0, sharpness=(0.2, 1.0), roundness=(-1.0, 1.0), threshold=15.0):
    stars = find_stars(image, fwhm, sharpness, roundness)
    return stars[stars["flux"] >= threshold]


def test_stars_are_found_where_they_are():
    stars = found(picture())
    order = np.argsort(Y)
    np.testing.assert_allclose(stars["x"], X[order], atol=0.03)
    np.testing.assert_allclose(stars["y"], Y[order], atol=0.03)
    np.testing.assert_allclose(stars["flux"], 1.2 * HEIGHT[order], rtol=0.12)  # higher: narrower than the kernel
    assert np.all(np.abs(stars["roundness"]) < 0.15)


def test_height_and_sharpness_of_a_star_like_the_kernel():
    (star,) = found(picture([50.0], [40.0], [100.0], fwhm=5.0, noise=0.0))
    assert star["flux"] == pytest.approx(100, rel=1e-5)
    assert star["roundness"] == pytest.approx(0, abs=1e-6)
    assert 0.4 < star["sharpness"] < 0.6


def test_what_is_not_sharp_or_not_round_is_no_star():
    image = picture([30.0], [40.0], [500.0])
    image[60, 20] += 800  # a single pixel
    image[20, 60:90] += 300  # a row
    assert len(found(image)) == 1
    wide = found(image, sharpness=(0.0, 9.0), roundness=(-1.0, 1.0))
    assert [(round(s["x"]), round(s["y"])) for s in wide] == [(30, 40), (21, 61)]
    assert len(found(image, sharpness=(0.0, 9.0), roundness=(-2.0, 2.0))) > 2
    (star,) = wide[:1]
    assert len(found(image, sharpness=(star["sharpness"] + 1e-9, 1.0))) == 0
    assert len(found(image, sharpness=(star["sharpness"], star["sharpness"]))) == 1


def test_rim_is_left_out():
    def visible(x, y):
        return len(found(picture([x], [y], [500.0])))

    assert visible(5.0, 40.0)
    assert visible(50.0, 5.0)
    assert visible(97.0, 77.0)
    assert not visible(2.0, 40.0)
    assert not visible(50.0, 79.0)
    assert not len(find_stars(np.ones((7, 300)), 5.0, (0, 1), (-1, 1)))


OPTIONS = DetectionOptions(srcmin=3, srcmax=4, threshold=10.0)


@pytest.mark.parametrize(
    ("start", "step", "expected", "n"),
    [
        (15.0, 0.5, 15.0, 4),
        (1.0, 0.5, 6.5, 4),  # too many
        (90.0, 20.0, 50.0, 3),  # too few
        (90.0, 90.0, 90.0, 1),  # would go below 0
        (7.0, 50.0, 7.0, 4),
        (1.0, 60.0, 61.0, 2),  # too many, too few, and so on
    ],
)
def test_threshold(start, step, expected, n):
    flux = np.array([20.0, 100.0, 6.0, 50.0, 70.0])
    assert choose_threshold(flux, start, dataclasses.replace(OPTIONS, step=step)) == (expected, n)


def test_threshold_after_few_steps():
    flux = np.arange(1.0, 100.0)
    for iterations, tried in ((-1, 3.0), (0, 3.0), (1, 3.0), (2, 3.5), (5, 5.0)):
        options = dataclasses.replace(OPTIONS, step=0.5, iterations=iterations)
        assert choose_threshold(flux, 3.0, options)[0] == tried


def test_detection_is_relative_to_the_background_with_a_negative_threshold():
    image = picture()
    image[:3] = np.nan
    detection = detect(image, DetectionOptions(threshold=-1500.0, srcmin=1))
    assert detection.background == pytest.approx(2 - 1.28 * 0.3, abs=0.03)
    assert detection.threshold == pytest.approx(detection.background + 1500 * detection.deviation)
    assert len(detection.stars) < 5
    assert np.all(detection.stars["flux"] >= detection.threshold)


def test_sources_near_bad_pixels_are_dropped():
    image = picture()
    image[29, 74] = np.inf  # 5 pixels beside the one at 70, 30
    assert len(detect(image, DetectionOptions(srcmin=1, threshold=20.0)).stars) == 5
    assert len(detect(image, DetectionOptions(srcmin=1, threshold=20.0, bad_pixel_distance=5.1)).stars) == 4
    bad = np.zeros((20, 20), bool)
    bad[9, 12] = True
    stars = np.zeros(2, STAR)
    stars["x"], stars["y"] = [10.9, 9.0], [10.9, 6.0]  # 3 and 5 pixels away
    assert near_bad_pixels(stars, bad, 3.2).tolist() == [True, False]
    assert near_bad_pixels(stars, bad, 3.0).tolist() == [False, False]
    assert near_bad_pixels(stars, bad, 0.0).tolist() == [False, False]


def test_positions_of_the_reference_are_one_pixel_off():
    ours, theirs = (detect(picture(), DetectionOptions(), compat=compat).stars for compat in (OURS, THEIRS))
    for axis in ("x", "y"):
        np.testing.assert_allclose(ours[axis] - theirs[axis], 1)


def test_errors_of_the_detection():
    image = picture()
    with pytest.raises(
        DataError, match=r"night.fits: found \d+ point sources at the last threshold, .*expected 90 to 92"
    ):
        detect(image, DetectionOptions(srcmin=90, srcmax=92), "night.fits")
    with pytest.raises(DataError, match="image: found 0 point sources"):
        detect(np.ones((50, 50), np.float32), DetectionOptions(srcmin=0))
    image[40, 50] = np.nan
    with pytest.raises(DataError, match="all 5 point sources are nearer than 60 pixels"):
        detect(image, DetectionOptions(bad_pixel_distance=60.0))
    with pytest.raises(DataError, match="expected the background there"):
        detect(np.ones((50, 50), np.float32), DetectionOptions(threshold=-3.0))
    with pytest.raises(ParameterError, match="srcmin, srcmax: found 9, 8"):
        DetectionOptions(srcmin=9, srcmax=8)
    with pytest.raises(ParameterError, match="sharpmin, sharpmax: found 1, 0.5"):
        DetectionOptions(sharpness=(1.0, 0.5))


def test_background_that_is_not_known_matters_only_if_the_threshold_needs_it(caplog):
    image = np.rint(picture(noise=0.0))
    detection = detect(image, DetectionOptions(srcmin=1))
    assert (detection.background, detection.deviation, len(detection.stars)) == (0.0, 0.0, 5)
    assert "background not known" in caplog.text


# offsets

TRUE = np.column_stack([53.16 + X * STEP / np.cos(np.radians(-27.8)), -27.8 + Y * STEP])
SHIFTS = np.array([[0.0, 0.0], [3.1, -1.2], [-0.7, 2.6]]) / 3600


def test_offsets_are_found():
    result = align([TRUE + shift for shift in SHIFTS], MatchOptions())
    np.testing.assert_allclose(result.offsets, SHIFTS, atol=1e-9)
    assert result.median_matches() == [5, 5, 5]
    assert result.groups() == [[0, 1, 2]]


def test_offsets_at_right_ascension_zero(caplog):
    positions = [(TRUE + shift - [53.163, 0]) % [360, -90] for shift in SHIFTS]
    np.testing.assert_allclose(align(positions, MatchOptions()).offsets, SHIFTS, atol=1e-9)
    reference = align([TRUE % [360, -90], positions[1] + [0.1, 0]], MatchOptions(), THEIRS)
    assert np.all(reference.offsets == 0)
    assert "no images have sources in common within 30 arcsec" in caplog.text


def test_scattered_pairs_count_less():
    rng = np.random.default_rng(2)
    scatter = [0.0, 0.001, 0.3]
    positions = [TRUE + s * rng.standard_normal(TRUE.shape) / 3600 for s in scatter]
    positions[0] = positions[0][:3]
    weighted = np.abs(align(positions, MatchOptions()).offsets[1])
    plain = np.abs(align(positions, MatchOptions(weighted=False)).offsets[1])
    assert weighted.max() < 0.2 * plain.max()


def test_first_round_gives_the_middle_of_the_fullest_bin():
    options = MatchOptions(radii=(10.0,), nbins=20)
    here = np.array([[10.0, 0.0]])

    def offset(*separations):
        other = here - np.array(separations) / 3600
        return -3600 * align([here, other], options).offsets[1]

    np.testing.assert_allclose(offset((3.3, -4.4)), [3.5, -4.5], atol=1e-7)
    # equally full: the least in declination, then in right ascension
    np.testing.assert_allclose(offset((-8.2, 2.3), (5.2, 1.1), (1.2, 1.4)), [1.5, 1.5], atol=1e-7)
    np.testing.assert_allclose(offset((5.2, 2.1), (5.3, 2.4), (1.2, 1.4)), [5.5, 2.5], atol=1e-7)


def test_histogram_in_right_ascension_ends_where_that_of_the_reference_does():
    options = MatchOptions(radii=(10.0,), nbins=20)
    for separation, expected in ((-10.9, -9.5), (-11.1, 0.0), (10.1, 0.0)):  # coordinates; 0.866 of it on the sky
        other = np.array([[10.0 - separation / 3600, -30.0]])
        found = -3600 * align([np.array([[10.0, -30.0]]), other], options).offsets[1, 0]
        assert found == pytest.approx(expected, abs=1e-7)


def test_images_without_common_sources():
    far = TRUE + [1.0, 0.0]
    result = align([TRUE, TRUE + SHIFTS[1], far], MatchOptions())
    np.testing.assert_allclose(result.offsets[1], SHIFTS[1], atol=1e-9)
    np.testing.assert_allclose(result.offsets[2], SHIFTS[1] / 2, atol=1e-9)  # where the others are in the mean
    assert result.median_matches() == [5, 5, 0]
    assert result.groups() == [[0, 1], [2]]


@pytest.mark.parametrize(("text", "radii"), [("30.,4.,2.,0.8", (30.0, 4.0, 2.0, 0.8)), ("5", (5.0,)), ("5,", (5.0,))])
def test_radii(text, radii):
    assert parse_radii(text) == radii


@pytest.mark.parametrize("text", ["", ",", "30,x", "4,-1", "0", "4 2"])
def test_radii_that_are_none(text):
    with pytest.raises(ParameterError, match="parameter rsearch: found"):
        parse_radii(text)


# mosaics


def grid_of(ra=53.0, dec=-27.0, angle=0.0, crpix=(20.5, 15.5)):
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return CelestialGrid(crpix, (ra, dec), tuple(np.array([-c, s, s, c]) * STEP))


def image_of(grid, shape=(30, 40), mode="WFM-NOAO-N", where="a.fits"):
    header = fits.Header()
    set_card(header, "ESO INS MODE", mode)
    return FovImage(np.ones(shape, np.float32), grid, header, 56000.0, "count", where)


@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0, 200.0])
def test_mosaic_holds_all_pixels(angle):
    grids = [grid_of(angle=angle), grid_of(ra=53.001, dec=-26.9995, angle=angle + 10)]
    grid, shape = mosaic_grid(grids, [(30, 40)] * 2)
    layer = np.ones((30, 40), np.float32)
    total = overlay(grids, [layer, 10 * layer], grid, shape)
    assert set(np.unique(total[np.isfinite(total)])) <= {1.0, 10.0, 11.0}
    assert np.sum(total % 10 == 1) == pytest.approx(1200, rel=0.03)
    assert np.sum(total >= 10) == pytest.approx(1200, rel=0.03)
    for line in (total[0], total[-1], total[:, 0], total[:, -1]):
        assert np.isfinite(line).any()


def test_mosaic_of_one_image_is_the_image():
    grid, shape = mosaic_grid([grid_of()], [(30, 40)])
    assert shape == (30, 40)
    layer = np.arange(1200, dtype=np.float32).reshape(shape)
    layer[3, 4] = np.nan
    np.testing.assert_array_equal(overlay([grid_of()], [layer], grid, shape), layer)
    cut, shape = mosaic_grid([grid_of()], [(30, 40)], THEIRS)
    assert np.isnan(overlay([grid_of()], [layer], cut, shape)).sum() + 30 * 40 - np.prod(shape) > 2


def test_positions_at_right_ascension_zero_are_continuous():
    for ra in (0.0001, 359.9999):
        positions = grid_of(ra=ra).sky(np.arange(1.0, 41.0), np.full(40, 15.0))
        assert np.all(np.diff(positions[:, 0]) < 0)
        assert np.ptp(positions[:, 0]) < 0.01


def test_mosaic_at_right_ascension_zero():
    grids = [grid_of(ra=0.0003), grid_of(ra=359.9997)]
    assert mosaic_grid(grids, [(30, 40)] * 2)[1][1] == pytest.approx(40 + 0.0006 * np.cos(np.radians(27)) / STEP, abs=1)


def test_far_exposures_are_left_out_of_the_mosaic(caplog):
    grids = [grid_of(), grid_of(ra=53.9), grid_of(dec=-25.9), grid_of(ra=54.2)]
    images = [image_of(grid, where=f"{i}.fits") for i, grid in enumerate(grids)]
    assert near_first(images, grids) == [0, 1]
    assert "2.fits: more than 1 degrees from the first exposure" in caplog.text
    images[0] = image_of(grids[0], mode="NFM-AO-N")
    assert near_first(images, grids) == [0]


# files


def write_image(path, *, edit=None, extra=()):
    primary = fits.PrimaryHDU()
    primary.header["MJD-OBS"], primary.header["DATE-OBS"] = 56982.25, "2014-11-21T06:00:00.000"
    data = fits.ImageHDU(np.arange(12.0, dtype=np.float32).reshape(3, 4), name="DATA")
    data.header.update(dict(grid_of().cards()))
    data.header["BUNIT"] = "count"
    hdus = fits.HDUList([primary, data, *extra])
    if edit is not None:
        hdus = edit(hdus) or hdus
    hdus.writeto(path)
    return path


def test_image_is_read(tmp_path):
    flags = fits.ImageHDU(np.eye(3, 4, dtype=np.int32), name="DQ")
    stat = fits.ImageHDU(np.ones((3, 4), np.float32), name="STAT")
    image = read_fov_image(write_image(tmp_path / "a.fits", extra=[stat, flags]))
    np.testing.assert_allclose(image.grid.cd, grid_of().cd)
    assert (image.grid.crpix, image.grid.crval) == (grid_of().crpix, grid_of().crval)
    assert np.isnan(image.data).sum() == 3
    assert image.data[0, 1] == 1
    assert (image.mjd_obs, image.unit) == (56982.25, "count")
    (position,) = image.grid.sky([20.5], [15.5])
    np.testing.assert_allclose(position, [53.0, -27.0], atol=1e-12)
    np.testing.assert_allclose(image.grid.moved(0.5, -0.5).crval, [52.5, -26.5])


def set_key(number, key, value):
    def edit(hdus):
        if value is None:
            del hdus[number].header[key]
        else:
            hdus[number].header[key] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (set_key(1, "CTYPE1", "RA---SIN"), r"a.fits\[DATA\]: keywords CTYPE1, CTYPE2: found 'RA---SIN', 'DEC--TAN'"),
        (set_key(1, "CRVAL2", None), r"a.fits\[DATA\]: keyword CRVAL2: found nothing, expected a number"),
        (set_key(1, "CD1_1", 0.0), "expected a regular matrix"),
        (set_key(0, "MJD-OBS", None), "keyword MJD-OBS: found nothing, expected a number"),
        (set_key(0, "DATE-OBS", None), "keyword DATE-OBS: found nothing, expected a date"),
        (lambda hdus: fits.HDUList(hdus[:1]), "found no image of two dimensions"),
        (
            lambda hdus: fits.HDUList([*hdus, fits.ImageHDU(np.zeros((2, 4), np.int32), name="DQ")]),
            r"a.fits\[DQ\]: found shape \(2, 4\), expected \(3, 4\)",
        ),
    ],
)
def test_image_that_cannot_be_used(tmp_path, edit, message):
    with pytest.raises(InputError, match=message):
        read_fov_image(write_image(tmp_path / "a.fits", edit=edit))


def write_table(path, columns, **keywords):
    primary = primary_header(16)
    primary.update(keywords)
    header, data = table_hdu(columns)
    write_hdus(path, [(primary, None), (header, data)])
    return path


def test_source_list_comes_back(tmp_path):
    stars = np.zeros(2, STAR)
    stars["x"], stars["y"] = [3.5, 7.25], [1.0, 9.0]
    columns = source_columns(np.array([4, 9], np.int32), stars, np.zeros((2, 2)), np.ones((2, 2)))
    path = write_table(tmp_path / "s.fits", columns, **{"MJD-OBS": 56982.5})
    mjd, pixels = read_source_positions(path)
    assert mjd == 56982.5
    assert pixels.tolist() == [[3.5, 1.0], [7.25, 9.0]]
    for change, message in (
        ([c for c in columns if c[0] != "Y"], r"s2.fits\[1\]: column Y: not found among Id, X"),
        ([(*c[:3], c[3][:0]) for c in columns], "found no row"),
        (
            [(*c[:3], c[3] * np.nan) if c[0] == "X" else c for c in columns],
            "column X, row 1: found nan, expected",
        ),
    ):
        with pytest.raises(InputError, match=message):
            read_source_positions(write_table(tmp_path / "s2.fits", change, **{"MJD-OBS": 56982.5}))
        (tmp_path / "s2.fits").unlink()


def test_offset_list_comes_back(tmp_path, caplog):
    dates = ("2014-11-21T06:00:00.000", "2014-11-21T07:00:00.000")
    offsets = OffsetList(dates, SHIFTS[:2, 0], SHIFTS[:2, 1])
    columns = offset_columns(offsets, np.array([56982.25, 56982.3]))
    assert [c[1] for c in columns] == ["23A", "1D", "1D", "1D", "1D"]
    with caplog.at_level(logging.WARNING):
        again = read_offsets(write_table(tmp_path / "o.fits", columns))
    assert again.date_obs == dates
    np.testing.assert_array_equal(again.ra_offset, SHIFTS[:2, 0])
    assert np.isnan(again.flux_scale).all()

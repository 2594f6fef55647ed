# SPDX-License-Identifier: GPL-2.0-or-later
"""The synthetic instrument: geometry, sky, sources, pointing."""

import dataclasses

import numpy as np
import pytest
from astropy.io import fits
from scipy.integrate import trapezoid

from muse_core.errors import ParameterError
from muse_core.io.autocal import read_autocal_factors
from muse_core.simulate import calibrations, instrument, pointing, sky
from muse_core.simulate.dataset import dithered, make_dataset, mosaic, sky_exposure
from muse_core.simulate.exposure import ExposureSpec
from muse_core.simulate.source import Seeing, Source
from muse_core.simulate.truth import Truth

WFM = instrument.mode_of("WFM-NOAO-N")
SMALL = ExposureSpec(ifus=(12, 13), lbda_min=7300.0, lbda_max=7306.0)


def test_unknown_mode():
    with pytest.raises(ParameterError, match="found 'WFM', expected one of WFM-NOAO-N"):
        instrument.mode_of("WFM")


def test_slices_cover_the_field_once_and_do_not_overlap_on_the_ccd():
    spans = []
    for ifu in (1, 24):
        slices = [instrument.slice_geometry(ifu, n) for n in range(1, 49)]
        y = np.arange(1, instrument.CCD_ROWS + 1)
        for left, right in zip(slices[:-1], slices[1:], strict=True):
            assert np.all(right.centre(y) - right.half_width > left.centre(y) + left.half_width)
            assert left.columns(y)[0] - left.offset >= 0
            assert left.columns(y)[-1] - left.offset <= 127
        assert slices[0].columns(y)[0] >= 1
        assert slices[-1].columns(y)[-1] <= 4096
        rows = np.array([s.ypos for s in slices]).reshape(4, 12)
        assert np.all(np.diff(np.sort(rows, axis=1), axis=1) > 0.9)  # each stack has twelve rows of its own
        assert not np.all(np.diff(rows, axis=1) > 0)  # in another order on the CCD
        spans.append([s.xpos for s in slices])
    assert np.ptp(spans) == pytest.approx(3 * 75.5, abs=3)
    first, last = (instrument.slice_geometry(i, 3).ypos for i in (1, 24))
    assert last - first == pytest.approx(23 * 12.35, abs=1)


def test_wavelengths_differ_along_a_row():
    geometry = instrument.slice_geometry(12, 20)
    y = geometry.rows(7000, 7010)
    along = geometry.columns(y) - geometry.centre(y)[:, None]
    lbda = geometry.wavelength(along, y)
    assert np.all(np.diff(lbda, axis=0) > 1.2)
    assert np.ptp(lbda[0]) > 0.3
    assert lbda.min() < 7000
    assert lbda.max() > 7010


def test_lsf_has_unit_integral_and_no_centroid():
    d = np.linspace(-7.5, 7.5, 3001)
    for number in (1, 48):
        profile = instrument.slice_lsf(7, number).profile(d, 8000.0)
        assert trapezoid(profile, d) == pytest.approx(1, abs=1e-6)
        assert trapezoid(profile * d, d) == pytest.approx(0, abs=1e-6)
    assert instrument.slice_lsf(7, 1) != instrument.slice_lsf(7, 2)


def test_notch_blocks_only_in_ao():
    lbda = np.array([5700.0, 5880.0, 6100.0])
    assert instrument.notch_transmission(instrument.mode_of("WFM-AO-N"), lbda) == pytest.approx([1, 0, 1], abs=1e-6)
    assert np.all(instrument.notch_transmission(WFM, lbda) == 1)


def test_bad_pixels_belong_to_the_ccd():
    geometry = instrument.slice_geometry(3, 5)
    y = np.arange(1, instrument.CCD_ROWS + 1)
    columns = geometry.columns(y)
    whole = instrument.bad_pixels(geometry, y, columns)
    part = instrument.bad_pixels(geometry, y[1000:1100], columns[3:])
    assert np.count_nonzero(whole)
    np.testing.assert_array_equal(part, whole[1000:1100, 3:])


def test_oh_lines_lie_where_the_real_ones_do():
    transitions = sky.oh_transitions()
    by_name = dict(zip(transitions["name"], transitions["lbda"], strict=True))
    # wavelengths of Osterbrock et al. 1996, PASP 108, 277
    for name, lbda in (
        ("8-3P1(2.5)", 7316.28),
        ("8-3P1(3.5)", 7340.88),
        ("6-2Q1(1.5)", 8344.60),
        ("7-3P1(2.5)", 8885.85),
    ):
        assert by_name[name] == pytest.approx(lbda, abs=6)


def test_added_line_keeps_flux_and_position():
    lines = np.array([("a", 0, 7000.3, 50.0), ("out of reach", 0, 7100.0, 1e6)], sky.LINE)
    lbda = 6980 + 0.03125 * np.arange(1300)
    spectrum = np.zeros(len(lbda))
    sky.add_lines(spectrum, lbda[0], 0.03125, lines, instrument.slice_lsf(1, 1))
    assert spectrum.sum() * 0.03125 == pytest.approx(50, rel=1e-5)
    assert (spectrum * lbda).sum() / spectrum.sum() == pytest.approx(7000.3, abs=1e-4)


def test_populations_scale_their_bands_alone():
    both, one = sky.oh_lines({7: 2.0, 8: 1.0}), sky.oh_lines({7: 1.0})
    seven = both["group"] == 7
    np.testing.assert_allclose(both["flux"][seven], 2 * one["flux"][seven])
    assert np.all(one["flux"][~seven] == 0)
    assert np.all(both["flux"][both["group"] == 8] > 0)


def test_moffat_flux_is_that_of_the_source():
    x, y = np.meshgrid(np.arange(-60, 60) * 0.1, np.arange(-60, 60) * 0.1)
    for source in (
        Source(name="star", east_arcsec=0, north_arcsec=0, flux=1),
        Source(name="galaxy", east_arcsec=0, north_arcsec=0, flux=1, fwhm_arcsec=0.5, axis_ratio=0.5, angle_deg=30),
    ):
        image = Seeing.of_mode(WFM, 0.6).image(source, x, y, np.float64(7000.0))
        assert image.sum() * 0.01 == pytest.approx(1, abs=0.01)


def test_airmass_and_parallactic_angle_at_the_meridian():
    mjd = pointing.mjd_of("2014-11-21T04:00:00.000")
    lst = pointing.sidereal_time_deg(mjd)
    zenith, parallactic = pointing.zenith_of(lst, -60.0, mjd)
    assert zenith == pytest.approx(60 + pointing.LATITUDE_DEG, abs=1e-6)
    assert abs(parallactic) == pytest.approx(0, abs=1e-6) or abs(parallactic) == pytest.approx(180, abs=1e-6)
    # a target in the west has its zenith in the east: positive angles, from north over east
    _, west = pointing.zenith_of(lst - 30, pointing.LATITUDE_DEG, mjd)
    assert 0 < west < 180


def test_sidereal_time():
    greenwich = 15 * (13 + 10 / 60 + 46.3668 / 3600)  # 1987 April 10, 0h UT (Meeus, example 12.a)
    assert pointing.sidereal_time_deg(46895.0) == pytest.approx((greenwich + pointing.LONGITUDE_DEG) % 360, abs=1e-5)


def test_gnomonic_inverts_offsets():
    ra, dec = pointing.offset_position(359.999, -60.0, 30.0, -20.0)
    east, north = pointing.gnomonic(ra, dec, 359.999, -60.0)
    assert 3600 * east == pytest.approx(30, abs=1e-9)
    assert 3600 * north == pytest.approx(-20, abs=1e-9)


@pytest.mark.parametrize(("posang", "drot_mode"), [(0.0, "SKY"), (40.0, "SKY"), (40.0, "STAT")])
def test_refraction_is_what_the_reduction_takes_out(posang, drot_mode):
    """The formula of the reduction (Filippenko 1982, position angle in its convention) against ours."""
    spec = ExposureSpec(ifus=(12, 13), posang=posang, drot_mode=drot_mode)
    lbda = np.array([4750.0, 6000.0, 7000.0, 9300.0])
    x, y = spec.pointing().pixel(*spec.header_position, lbda)

    def index(l_micron):
        s = 1 / l_micron**2
        n = (64.328 + 29498.1 / (146 - s) + 255.4 / (41 - s)) * 557.2958 / 720.883
        n *= (1 + (1.049 - 0.0157 * 11.5) * 1e-6 * 557.2958) / (1 + 0.003661 * 11.5)
        return 1 + 1e-6 * (n - (0.0624 - 0.000680 * s) / (1 + 0.003661 * 11.5) * 1.5548)

    zenith, parallactic = spec.zenith_and_parallactic
    shift = 206264.8 * np.tan(np.radians(zenith)) * (index(0.7) - index(lbda * 1e-4))
    angle = np.radians(parallactic + (-posang if drot_mode == "SKY" else posang))
    corrected_x, corrected_y = x - np.sin(angle) * shift / 0.2, y + np.cos(angle) * shift / 0.2
    assert np.ptp(x) + np.ptp(y) > 1
    assert np.ptp(corrected_x) < 0.02
    assert np.ptp(corrected_y) < 0.02


def test_no_refraction_in_the_narrow_field():
    spec = ExposureSpec(mode="NFM-AO-N", ifus=(12,))
    x, _ = spec.pointing().pixel(spec.ra_deg, spec.dec_deg, np.array([4800.0, 9000.0]))
    assert x[0] == x[1]


def test_exposure_specs_are_checked():
    for change, message in (
        ({"ifus": (0,)}, "ifus"),
        ({"ifus": ()}, "ifus"),
        ({"ifus": (3, 3)}, "each once"),
        ({"drot_mode": "ELEV"}, "drot_mode"),
        ({"file_format": "csv"}, "file_format"),
        ({"lbda_min": 9400.0, "lbda_max": 9500.0}, "wavelength range"),
        ({"date_obs": "yesterday"}, "date_obs"),
        ({"date_obs": "2014-11-21T16:00:00.000"}, "from the zenith"),
        ({"mode": "IFS"}, "instrument mode"),
    ):
        with pytest.raises(ParameterError, match=message):
            ExposureSpec(**change)


def test_dithered_exposures_differ_in_time_place_angle_and_noise():
    spec = ExposureSpec(ifus=(1,), exptime=600.0)
    first, second, third = dithered(spec, 3, error_arcsec=0.5)
    assert first.pointing_error_arcsec == (0, 0)
    assert np.hypot(*third.pointing_error_arcsec) == pytest.approx(0.5)
    assert (first.posang, second.posang) == (0, 90)
    assert len({s.seed for s in (first, second, third)}) == 3
    assert second.date_obs == "2014-11-21T06:43:48.123"
    assert dithered(spec, 1) == [spec]


def test_truth_image_is_the_same_in_both_coordinates():
    spec = ExposureSpec(ifus=(12, 13), posang=25.0, sources=None)
    truth = Truth(spec)
    source = spec.all_sources[0]
    ra, dec = truth.source_position(source)
    x, y = spec.pointing().pixel(ra, dec, 7000.0)
    peak = truth.image(ra, dec)
    assert truth.image_in_pixels(x, y) == pytest.approx(peak, rel=1e-6)
    assert truth.image_in_pixels(x + 1.0, y) < peak < source.flux


def test_truth_of_the_flux_scale():
    spec = ExposureSpec(ifus=(5, 9), transparency=0.8)
    assert Truth(spec).level == pytest.approx(0.8 * instrument.ifu_level(5))
    assert Truth(dataclasses.replace(spec, ifus=(9, 1))).level == pytest.approx(0.8)


def test_truth_spectra():
    spec = ExposureSpec(ifus=(12,), sky_lines=False)
    lbda = np.linspace(7000, 7050, 100)
    truth = Truth(spec)
    np.testing.assert_allclose(truth.sky_spectrum(lbda, 12, 3), truth.sky_continuum(lbda))
    star = spec.all_sources[0]
    np.testing.assert_allclose(truth.source_spectrum(star, lbda), star.flux * (lbda / 7000) ** star.slope, rtol=1e-9)


def test_autocalibration_edges_follow_the_mode(tmp_path):
    for mode, n_bin in (("WFM-NOAO-N", 20), ("WFM-AO-N", 19)):
        path = calibrations.write_autocal_factors(tmp_path / "f.fits", instrument.mode_of(mode))
        factors = read_autocal_factors(path)
        assert len(factors.corr) == n_bin
        assert np.std(factors.corr) == pytest.approx(0.01, rel=0.05)


def test_errors_of_dithered_exposures():
    first, second, third = dithered(SMALL, 3, error_arcsec=2.0, flux_error=0.1)
    assert (first.pointing_error_arcsec, first.transparency) == ((0.0, 0.0), 1.0)
    assert np.hypot(*second.pointing_error_arcsec) == pytest.approx(2)
    assert np.sum([second.pointing_error_arcsec, third.pointing_error_arcsec]) == pytest.approx(0)
    assert (second.transparency, third.transparency) == pytest.approx((0.9, 1.1))


@pytest.mark.parametrize(("n_fields", "n_seams"), [(2, 3), (4, 12)])
def test_mosaic(n_fields, n_seams):
    exposures = mosaic(SMALL, n_fields, 2, error_arcsec=1.0)
    assert len({spec.date_obs for spec in exposures}) == len(exposures) == 2 * n_fields
    centres = np.array([spec.dither_arcsec for spec in exposures]).reshape(n_fields, 2, 2).mean(axis=1)
    distances = np.hypot(*(centres[:, None] - centres).transpose(2, 0, 1))
    assert sorted(set(distances.round(6).ravel()))[:2] == pytest.approx([0, 50])
    assert all(spec.sources == exposures[0].sources for spec in exposures)
    stars = np.array([(s.east_arcsec, s.north_arcsec) for s in exposures[0].sources])
    seen = np.abs(stars - centres[:, None]).max(axis=2) < 30
    assert seen.any(axis=0).all()
    assert np.sum(seen[:, -n_seams:].sum(axis=0) >= 2) == n_seams
    assert exposures[0].pointing_error_arcsec == (0.0, 0.0)
    assert all(np.hypot(*spec.pointing_error_arcsec) == pytest.approx(1) for spec in exposures[1:])
    with pytest.raises(ParameterError, match="found 3, expected 2 or 4"):
        mosaic(SMALL, 3, 1)


def test_sets_of_frames_of_sibling_recipes(tmp_path):
    spec = dataclasses.replace(SMALL, ifus=(12,), slices=(5, 6), lbda_max=SMALL.lbda_min + 3)
    exposures = dithered(spec, 2)
    exposures.append(sky_exposure(exposures[-1]))
    sets = make_dataset(tmp_path, exposures)
    assert exposures[-1].all_sources == ()

    def tags(name):
        return [line.split()[1] for line in sets[name].read_text().splitlines()]

    assert tags("create_sky") == ["PIXTABLE_SKY", "STD_RESPONSE", "EXTINCT_TABLE", "LSF_PROFILE", "SKY_LINES"]
    assert tags("exposure_2").count("PIXTABLE_OBJECT") == 1
    assert tags("model").count("PIXTABLE_OBJECT") == 2
    assert tags("align") == ["IMAGE_FOV"] * 2
    assert tags("combine") == ["PIXTABLE_REDUCED"] * 2 + ["OFFSET_LIST", "FILTER_LIST"]
    assert tags("calibrate_flux") == ["PIXTABLE_OBJECT"] * 2 + ["STD_RESPONSE", "EXTINCT_TABLE"]
    assert tags("correct_dar") == ["PIXTABLE_OBJECT"] * 2
    assert "raman_cleaning" not in sets
    sky = fits.getheader(sets["create_sky"].read_text().split()[0])
    assert (sky["ESO PRO CATG"], sky["ESO DPR TYPE"]) == ("PIXTABLE_SKY", "SKY")
    with pytest.raises(ParameterError, match="found none with tag PIXTABLE_OBJECT"):
        make_dataset(tmp_path, exposures[-1:])
    with pytest.raises(ParameterError, match="found 'PIXTABLE_STD', expected PIXTABLE_OBJECT or PIXTABLE_SKY"):
        dataclasses.replace(spec, tag="PIXTABLE_STD")

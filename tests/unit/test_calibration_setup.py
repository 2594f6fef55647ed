# SPDX-License-Identifier: GPL-2.0-or-later
"""When refraction, flux and astrometry can be calibrated, what they leave in headers, and what curves must be like."""

import numpy as np
import pytest
from astropy.io.fits import Header

from muse_core.errors import DataError, InputError
from muse_core.model import units
from muse_core.model.cards import set_card
from muse_core.model.curves import ExtinctionCurve, ResponseCurve, TelluricCurve
from muse_core.model.wcs import AstrometricSolution
from muse_core.steps import dar, flux
from muse_core.steps.astrometry import Positioning, Projection, rotate
from muse_core.steps.dar import DarCorrection
from muse_core.steps.flux import FluxCalibration
from muse_core.steps.limits import write_limits

PIXTABLE = "ESO DRS MUSE PIXTABLE "
SKY = {
    "RA": 150.12,
    "DEC": 2.2,
    "EXPTIME": 1200.0,
    "LST": 40000.0,
    "ESO INS MODE": "WFM-NOAO-N",
    "ESO TEL GEOLAT": -24.627,
    "ESO TEL PARANG START": -150.0,
    "ESO TEL PARANG END": -160.5,
    "ESO INS DROT POSANG": 30.0,
    "ESO INS DROT MODE": "SKY",
}
CURVE = {"lbda": [5000.0, 9000.0], "response": [30.0, 31.0], "error": [0.0, 0.0]}


def header_of(cards):
    header = Header()
    for key, value in cards.items():
        set_card(header, key, value)
    return header


@pytest.fixture
def header():
    made = header_of(SKY)
    write_limits(made, (-150.25, 151.125, -140.5, 149.75, 4750.0, 9300.0), (1, 24), (1, 48))
    return made


def test_limits(header):
    assert header[PIXTABLE + "LIMITS Y LOW"] == -140.5
    assert header[PIXTABLE + "LIMITS IFU HIGH"] == 24
    assert header[PIXTABLE + "LIMITS SLICE LOW"] == 1
    assert header[PIXTABLE + "LIMITS LAMBDA HIGH"] == 9300.0


def test_absolute_limits_are_single_precision(header):
    extent = (-0.003221104, 0.003848118, -0.01112142, 0.01116809, 4750.188, 9300.368)
    write_limits(header, extent, (1, 1), (1, 48), units.DEG, (150.12, 2.2))
    found = [header[f"{PIXTABLE}LIMITS {axis} {end}"] for axis in "XY" for end in ("LOW", "HIGH")]
    np.testing.assert_array_equal(found, np.float32([150.116776, 150.123856, 2.18887854, 2.21116805]))
    assert len([key for key in header if " LIMITS " in key]) == 10


def test_refraction_is_wanted(header):
    assert dar.is_wanted(header)
    for key, value in (("ESO INS MODE", "NFM-AO-N"), (dar.CARD_CORRECT, 7000.0)):
        other = header.copy()
        set_card(other, key, value)
        assert not dar.is_wanted(other)
    header.remove("ESO TEL GEOLAT")
    assert not dar.is_wanted(header)


@pytest.mark.parametrize(("lambda_ref", "off"), [(7000, False), (3499, True), (22001, True), (-1, True)])
def test_refraction_switched_off(header, lambda_ref, off):
    assert dar.is_switched_off(lambda_ref) == off
    dar.write_switched_off(header)
    assert header[dar.CARD_CORRECT] == -1.0
    assert dar.is_wanted(header)


def test_refraction_cards(header):
    DarCorrection.from_header(header, 6500.0).write_cards(header)
    assert header[dar.CARD_CORRECT] == 6500.0
    found = [header[f"{PIXTABLE}PREDAR LIMITS {axis}{end}"] for axis in "XY" for end in ("LO", "HI")]
    assert found == [-150.25, 151.125, -140.5, 149.75]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("ESO TEL PARANG END", "PARANG"),
        ("ESO INS DROT POSANG", "DROT"),
        ("ESO INS DROT MODE", "DROT"),
        ("LST", "airmass"),
    ],
)
def test_refraction_needs(header, key, message):
    header.remove(key)
    with pytest.raises(DataError, match=message):
        DarCorrection.from_header(header, 7000.0)


def test_refraction_needs_pixels(header):
    with pytest.raises(DataError, match="'rad', expected 'pix'"):
        DarCorrection.from_header(header, 7000.0, position_unit=units.RAD)


def test_flux_is_calibrated_once(header):
    for unit in (units.FLUX, ""):
        assert FluxCalibration.from_header(header, ResponseCurve(**CURVE), data_unit=unit) is None
    flux.write_cards(header)
    assert header[PIXTABLE + "FLUXCAL"] is True


@pytest.mark.parametrize(
    ("curve", "cards", "unit", "message"),
    [
        ({}, {}, "Jy", "'Jy', expected 'count'"),
        ({"flat_field_corrected": True}, {}, "count", "with flat-field spectrum correction, the pixel table without"),
        ({}, {PIXTABLE + "FFCORR": 24}, "count", "without flat-field spectrum correction, the pixel table with"),
        ({"mode": "WFM-AO-N"}, {}, "count", "for mode WFM-AO-N, exposure is WFM-NOAO-N"),
        ({}, {"EXPTIME": 0.0}, "count", "EXPTIME"),
    ],
)
def test_flux_needs(header, curve, cards, unit, message):
    for key, value in cards.items():
        set_card(header, key, value)
    with pytest.raises(DataError, match=message):
        FluxCalibration.from_header(header, ResponseCurve(**CURVE, **curve), data_unit=unit)


def test_flux_without_mode(header):
    header.remove("ESO INS MODE")
    assert FluxCalibration.from_header(header, ResponseCurve(**CURVE, mode="WFM-AO-N")) is not None


def test_no_airmass_no_extinction(header, caplog):
    response, extinction = ResponseCurve(**CURVE), ExtinctionCurve([4000.0, 9900.0], [0.2, 0.1])
    header.remove("LST")
    found = FluxCalibration.from_header(header, response, extinction)
    expected = FluxCalibration.from_curves(0.0, 1200.0, response, extinction)
    np.testing.assert_array_equal(found.intervals["gain"], expected.intervals["gain"])
    assert "no airmass" in caplog.text


def test_telluric_of_the_other_kind_only_warns(header, caplog):
    telluric = TelluricCurve([6000.0, 9000.0], [1.0, 1.0], [0.0, 0.0], flat_field_corrected=True)
    assert FluxCalibration.from_header(header, ResponseCurve(**CURVE), None, telluric) is not None
    assert "STD_TELLURIC" in caplog.text


@pytest.mark.parametrize(
    ("lbda", "message"),
    [
        ([5000.0, 4000.0], "found 4000 after 5000 in row 2"),
        ([5000.0, 5000.0], "ascending"),
        ([5000.0, np.nan], "1 values not finite"),
        ([5000.0], "column response: found shape"),
        ([], "at least 1 rows"),
    ],
)
def test_curves_ascend(lbda, message):
    with pytest.raises(InputError, match=f"file.fits.*{message}"):
        ResponseCurve(lbda, [1.0, 1.0], [1.0, 1.0], where="file.fits")


SOLUTION = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CD1_1": -5.5e-5, "CD2_2": 5.5e-5, "CRPIX1": 0.5}


def test_projection_cards(header):
    more = {
        "CRPIX2": 0.0,
        "CRVAL1": 9.0,
        "LONPOLE": 180.0,
        "CSYER1": 1e-5,
        "CUNIT1": "deg",
        "WCSAXES": 2,
        "OBJECT": "x",
    }
    for key in ("CRPIX3", "CRVAL1", "CD3_3"):
        set_card(header, key, 1.0)
    projection = Projection.from_header(header, AstrometricSolution.from_header(header_of(SOLUTION | more)))
    assert projection.crpix == (0.9375, 4.625)
    projection.write_cards(header)
    cards = {key: header[key] for key in header if key.startswith(("C", "L")) and " " not in key}
    assert cards.keys() == {"CTYPE1", "CTYPE2", "CD1_1", "CD1_2", "CD2_1", "CD2_2"} | {
        "CRPIX1", "CRPIX2", "CSYER1", "CUNIT1", "LST",
    }  # fmt: skip
    assert (cards["CRPIX1"], cards["CD1_2"]) == (0.9375, projection.cd[0, 1])
    assert header[PIXTABLE + "WCS"] == "projected (intermediate)"
    Positioning.check(header, units.RAD)
    Positioning.at(150.2, 2.3, Positioning.at(150.1, 2.2)).write_cards(header)
    assert (header["CRVAL1"], header["CRVAL2"]) == (150.1, 2.2)
    assert header[PIXTABLE + "WCS"] == "positioned (final)"


def test_projection_is_about_the_centre_before_refraction(header):
    DarCorrection.from_header(header, 7000.0).write_cards(header)
    write_limits(header, (-100.0, 101.0, -100.0, 103.0, 4750.0, 9300.0), (1, 24), (1, 48))
    solution = AstrometricSolution.default(header)
    assert Projection.from_header(header, solution).crpix == (0.4375, 4.625)
    assert Projection.from_header(header, solution, (0.0, 1.0, 2.0, 4.0)).crpix == (0.5, 3.0)
    header.remove(PIXTABLE + "PREDAR LIMITS YHI")
    assert Projection.from_header(header, solution).crpix == (0.5, 1.5)


def test_limits_from_a_file_count_in_single_precision(header):
    header[PIXTABLE + "LIMITS X LOW"], header[PIXTABLE + "LIMITS X HIGH"] = -151.8506, 151.1849
    found = Projection.from_header(header, AstrometricSolution.default(header)).crpix[0]
    assert found == (float(np.float32(-151.8506)) + float(np.float32(151.1849))) / 2
    assert found != (-151.8506 + 151.1849) / 2


def test_default_solution(header):
    assert np.diag(AstrometricSolution.default(header).cd) == pytest.approx([-0.2 / 3600, 0.2 / 3600])
    set_card(header, "ESO INS MODE", "NFM-AO-N")
    assert np.diag(AstrometricSolution.default(header).cd) == pytest.approx([-0.02519 / 3600, 0.02542 / 3600])


@pytest.mark.parametrize("change", [{"CTYPE1": "RA---SIN"}, {"CD1_1": 0.0}])
def test_unusable_solution(change):
    with pytest.raises(InputError, match=f"astro.fits: keywords {next(iter(change))[:2]}"):
        AstrometricSolution.from_header(header_of(SOLUTION | change), "astro.fits")


def test_states(header):
    with pytest.raises(DataError, match="table: found positions in 'deg', expected 'pix'"):
        Projection.from_header(header, AstrometricSolution.default(header), position_unit=units.DEG, where="table")
    with pytest.raises(DataError, match="expected 'rad'"):
        Positioning.check(header, units.PIX)
    with pytest.raises(DataError, match="RA---TAN"):
        Positioning.check(header, units.RAD)


def test_rotation():
    cd = np.array([[-5e-5, 0.0], [0.0, 5e-5]])
    np.testing.assert_array_equal(rotate(cd, 0.0), cd)
    np.testing.assert_allclose(rotate(cd, 90.0), [[0, -5e-5], [-5e-5, 0]], atol=1e-20)


def test_singular_rotation(caplog):
    np.testing.assert_allclose(rotate(np.full((2, 2), 5e-5), 0.0), np.eye(2) * 5e-5 * np.sqrt(2))
    assert "singular" in caplog.text

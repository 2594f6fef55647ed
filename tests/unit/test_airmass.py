# SPDX-License-Identifier: GPL-2.0-or-later
"""Airmass and angles: values of the reference implementation, and what happens without keywords."""

import pytest
from astropy.io.fits import Header

from muse_core.errors import DataError
from muse_core.model.cards import set_card
from muse_core.model.compat import Compat
from muse_core.steps.airmass import (
    HeaderValue,
    airmass,
    compute_airmass,
    is_lab_data,
    parallactic_angle,
    position_angle,
    site_value,
)


def header_of(**cards):
    header = Header()
    for key, value in cards.items():
        set_card(header, key.replace("__", " "), value)
    return header


SKY = {"RA": 150.12, "DEC": 2.2, "LST": 40000.0, "EXPTIME": 1200.0, "ESO__TEL__GEOLAT": -24.627}


@pytest.mark.parametrize(
    ("ra", "dec", "lst", "exptime", "latitude", "expected"),
    [
        (150, -30, 36000, 0, -24.625278, 1.00440795001002),
        (150, -30, 36000, 900, -24.625278, 1.00497441591476),
        (150.12, 2.2, 40000, 1200, -24.627, 1.18677335446821),
        (10, -60, 80000, 600, -24.627, 1.36642222037724),
        (350, 10, 3600, 1440, -24.627, 1.39252920805272),
        (150, 30, 50000, 300, -24.627, 4.95403889040598),
    ],
)
def test_airmass_against_reference(ra, dec, lst, exptime, latitude, expected):
    assert compute_airmass(ra, dec, lst, exptime, latitude) == pytest.approx(expected, abs=2e-14)


@pytest.mark.parametrize(
    "arguments", [(360, 0, 0, 0, 0), (0, 91, 0, 0, 0), (0, 0, 86400, 0, 0), (0, 0, 0, -1, 0), (0, 0, 43200, 0, 0)]
)
def test_airmass_out_of_range(arguments):
    with pytest.raises(DataError, match="airmass"):
        compute_airmass(*arguments)


def test_airmass_of_header():
    assert airmass(header_of(**SKY)) == HeaderValue(pytest.approx(1.18677335446821), True)
    without_site = {key: value for key, value in SKY.items() if "GEOLAT" not in key}
    value, complete = airmass(header_of(**without_site))
    assert value == pytest.approx(1.1868, abs=1e-3)
    assert not complete


def test_airmass_falls_back_to_the_mean_of_the_header():
    header = header_of(ESO__TEL__AIRM__START=1.2, ESO__TEL__AIRM__END=1.3)
    assert airmass(header) == HeaderValue(1.25, False)
    assert airmass(Header()) == HeaderValue(-1.0, False)


def test_airmass_warns_if_header_disagrees(caplog):
    airmass(header_of(**SKY, ESO__TEL__AIRM__START=1.5, ESO__TEL__AIRM__END=1.6))
    assert "header says" in caplog.text


def test_integer_keywords():
    header = header_of(**{**SKY, "EXPTIME": 1200})
    assert airmass(header).complete
    assert not airmass(header, Compat.reference()).complete


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (10.0, 20.0, 15),
        (-170.0, 170.0, 180),
        (179.0, -178.0, -179.5),
        (-179.5, 175.0, 177.75),
        (100.0, -100.0, -180),
        (-45.0, 45.0, 180),
        (44.0, -46.5, 178.75),
    ],
)
def test_parallactic_angle_against_reference(start, end, expected):
    header = header_of(ESO__TEL__PARANG__START=start, ESO__TEL__PARANG__END=end)
    assert parallactic_angle(header) == HeaderValue(expected, True)


def test_parallactic_angle_missing():
    assert not parallactic_angle(header_of(ESO__TEL__PARANG__START=3.0)).complete


def test_position_angle():
    assert position_angle(header_of(ESO__INS__DROT__POSANG=30.0, ESO__INS__DROT__MODE="SKY")) == (-30.0, True)
    assert position_angle(header_of(ESO__INS__DROT__POSANG=30.0, ESO__INS__DROT__MODE="STAT")) == (30.0, True)
    assert position_angle(header_of(ESO__INS__DROT__POSANG=30.0)) == (30.0, False)
    assert position_angle(header_of(ESO__INS__DROT__MODE="SKY")) == (0.0, False)


def test_lab_data():
    assert not is_lab_data(header_of(**SKY))
    for key in SKY:
        assert is_lab_data(header_of(**{k: v for k, v in SKY.items() if k != key})), key


def test_site_defaults():
    assert site_value(Header(), "ESO TEL GEOELEV") == (2648.0, False)
    assert site_value(header_of(ESO__TEL__GEOLON=0.0), "ESO TEL GEOLON") == (70.402222, False)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Weights of exposures, combined headers, offsets."""

import numpy as np
import pytest
from astropy.io.fits import Header

from muse_core.errors import DataError, InputError
from muse_core.model.cards import set_card
from muse_core.model.compat import Compat
from muse_core.model.curves import OffsetList
from muse_core.steps.combine import combine_headers, exposure_weights
from muse_core.steps.offsets import Offset, find_offset, require_match

PIXTABLE = "ESO DRS MUSE PIXTABLE "


def header_of(cards):
    header = Header()
    for key, value in cards.items():
        set_card(header, key, value)
    return header


def test_weights_by_exposure_time():
    headers = [header_of({"EXPTIME": time}) for time in (600.0, 300.0)] + [Header()]
    assert exposure_weights(headers, "exptime") == [1.0, 0.5, 0.0]
    assert exposure_weights(headers, "none") is None


def test_weights_need_the_first_exposure_time():
    with pytest.raises(DataError, match="EXPTIME"):
        exposure_weights([Header(), header_of({"EXPTIME": 1.0})], "exptime")


GUIDER = {"ESO OCS SGS AG FWHMX AVG": 0.8, "ESO OCS SGS AG FWHMY AVG": 1.2}
OPTICS = {"ESO TEL IA FWHM": 0.5}
DIMM = {"ESO TEL AMBI FWHM START": 1.0, "ESO TEL AMBI FWHM END": 3.0}


@pytest.mark.parametrize(
    ("first", "second", "weight"),
    [
        (GUIDER | OPTICS | DIMM, {"ESO OCS SGS AG FWHMX AVG": 2.0, "ESO OCS SGS AG FWHMY AVG": 2.0}, 0.5),
        (GUIDER | OPTICS | DIMM, {"ESO TEL IA FWHM": 2.0}, 0.25),
        (GUIDER | DIMM, DIMM | OPTICS, 1.0),
        (GUIDER, OPTICS, 1.0),
        (DIMM, {"ESO TEL AMBI FWHM START": 1.0, "ESO TEL AMBI FWHM END": -1.0}, 1.0),
    ],
)
def test_weights_by_seeing(first, second, weight):
    headers = [header_of({"EXPTIME": 10.0} | cards) for cards in (first, second)]
    assert exposure_weights(headers, "fwhm") == [1.0, weight]


def exposure(value, **more):
    cards = {"RA": value, PIXTABLE + "EXP0 IFU01 SLICE01 XOFFSET": int(value)} | more
    return header_of({key: card for key, card in cards.items() if card is not None})


def test_combined_header():
    offset = Offset("2014-11-21T06:32:33.123", 1e-4, -2e-4, 0.9)
    combined = combine_headers([exposure(10), exposure(20)], [100, 50], [None, offset], weighted=True)
    expected = {
        "RA": 10,
        PIXTABLE + "WEIGHTED": True,
        PIXTABLE + "EXP1 IFU01 SLICE01 XOFFSET": 10,
        PIXTABLE + "EXP2 IFU01 SLICE01 XOFFSET": 20,
        PIXTABLE + "EXP1 FIRST": 0,
        PIXTABLE + "EXP1 LAST": 99,
        PIXTABLE + "EXP2 FIRST": 100,
        PIXTABLE + "EXP2 LAST": 149,
        PIXTABLE + "COMBINED": 2,
        "ESO DRS MUSE OFFSET2 DRA": 1e-4,
        "ESO DRS MUSE OFFSET2 DDEC": -2e-4,
        "ESO DRS MUSE OFFSET2 DATE-OBS": "2014-11-21T06:32:33.123",
        "ESO DRS MUSE FLUX SCALE2": 0.9,
    }
    assert dict(combined) == expected
    assert combined.comments["ESO DRS MUSE OFFSET2 DRA"].startswith("[deg] (= 0.360000 arcsec)")


def test_strehl():
    def strehl(ratio, error):
        cards = {"ESO INS MODE": "NFM-AO-N", "ESO DRS MUSE RTC STREHL": ratio, "ESO DRS MUSE RTC STREHERR": error}
        return exposure(1, **cards)

    combined = combine_headers([strehl(10.0, 1.0), strehl(20.0, 2.0), strehl(99.0, None)], [1, 1, 1], [None] * 3)
    assert combined["ESO DRS MUSE RTC STREHL"] == pytest.approx(12.0)
    assert combined["ESO DRS MUSE RTC STREHERR"] == pytest.approx(1 / np.sqrt(1.25))
    without = combine_headers([strehl(10.0, None), strehl(None, None)], [1, 1], [None] * 2)
    assert not [key for key in without if "STREHL" in key]


DATES = ("2014-11-21T06:32:33.123", "2014-11-21T06:32:33", "2014-11-21T06:32:33.123", "2015-01-01T00:00:00.000")


def offsets_of(**columns):
    made = {"ra_offset": [1.0, 2.0, 3.0, np.nan], "dec_offset": [-1.0, -2.0, -3.0, 0.0]} | columns
    return OffsetList(DATES, **made)


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        (DATES[0], (1.0, -1.0)),
        (DATES[0] + "4567", (1.0, -1.0)),
        (DATES[1], (2.0, -2.0)),
        (DATES[3], (None, None)),
        ("2014-11-21T06:32:33.124", None),
        ("2014-11-21", None),
        (None, None),
    ],
)
def test_find_offset(date, expected):
    header = header_of({} if date is None else {"DATE-OBS": date})
    found = find_offset(offsets_of(), header)
    assert (found and (found.ra_deg, found.dec_deg)) == expected
    assert find_offset(None, header) is None


@pytest.mark.parametrize(
    ("scale", "expected"), [(1.25, 1.25), (-2.0, -2.0), (0.0, 1.0), (np.nan, 1.0), (np.inf, 1.0), (1e-310, 1.0)]
)
def test_flux_scale(scale, expected):
    header = header_of({"DATE-OBS": DATES[0]})
    assert find_offset(offsets_of(flux_scale=[scale, 1, 1, 1]), header).scale == expected


def test_pointing_is_shifted_in_coordinates():
    assert Offset("", 0.5, -0.25).pointing(10.0, 60.0) == (9.5, 60.25)
    assert Offset("", flux_scale=2.0).pointing(10.0, 60.0) == (10.0, 60.0)


def test_offset_says_what_it_does():
    assert str(Offset("", 0.5 / 3600, -0.25 / 3600, 1.25)) == "offset 0.5000, -0.2500 arcsec (RA, DEC), flux scale 1.25"
    assert str(Offset("", flux_scale=2.0)) == "flux scale 2"
    assert str(Offset("")) == ""


def test_offset_without_shift_writes_no_shift():
    header = Header()
    Offset("2014-11-21T06:32:33").write_cards(header)
    assert list(header) == ["ESO DRS MUSE OFFSET1 DATE-OBS"]


def test_list_of_other_exposures(caplog):
    headers = [header_of({"DATE-OBS": date}) for date in ("2020-02-02T02:02:02.020", "2020-02-02T03:03:03.030")]
    with pytest.raises(DataError) as error:
        require_match(offsets_of(), headers)
    for date in (*DATES, *(header["DATE-OBS"] for header in headers)):
        assert date in str(error.value)
    require_match(offsets_of(), headers, Compat.reference())
    require_match(None, headers)
    assert not caplog.text
    require_match(offsets_of(), [*headers[:1], header_of({"DATE-OBS": DATES[0]})])
    assert "no row for the exposure of 2020-02-02T02:02:02.020" in caplog.text
    assert DATES[0] not in caplog.text


def test_columns_of_different_length():
    with pytest.raises(InputError, match="OFFSET_LIST: column DEC_OFFSET"):
        offsets_of(dec_offset=[1.0])

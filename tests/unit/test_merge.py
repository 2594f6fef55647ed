# SPDX-License-Identifier: GPL-2.0-or-later
"""Grouping of files into exposures, scales of IFUs, merged headers."""

import logging

import pytest
from astropy.io.fits import Header

from muse_core.errors import DataError, InputError
from muse_core.model.cards import set_card
from muse_core.model.compat import Compat
from muse_core.steps import merge

REFERENCE = Compat.reference()
DATE = "2014-11-21T06:32:33.123"


def header_of(cards):
    header = Header()
    for key, value in cards.items():
        set_card(header, key, value)
    return header


def file_of(ifu, date=DATE):
    return header_of({"DATE-OBS": date} | ({"EXTNAME": f"CHAN{ifu:02d}"} if ifu else {}))


def group(headers, compat=REFERENCE):
    return merge.group_exposures(headers, [f"{i}.fits" for i in range(len(headers))], compat)


@pytest.mark.parametrize(
    ("extname", "ifu"), [("CHAN05", 5), ("CHAN24 x", 24), ("CHAN5", 0), ("CHANxx", 0), ("DATA", 0), (None, 0)]
)
def test_ifu_number(extname, ifu):
    assert merge.ifu_number(header_of({} if extname is None else {"EXTNAME": extname})) == ifu


def test_exposures_ascend_in_time():
    later, earlier = "2014-11-22T00:00:00.000", DATE
    found = group([file_of(7, later), file_of(12, earlier), file_of(3, later), file_of(11, earlier)])
    assert [(e.date_obs, e.ifus, e.files) for e in found] == [(earlier, (11, 12), (3, 1)), (later, (3, 7), (2, 0))]


def test_second_file_of_an_ifu_is_ignored(caplog):
    assert group([file_of(7), file_of(7)])[0].files == (0,)
    assert "1.fits" in caplog.text


def test_merged_file_stands_alone(caplog):
    assert group([file_of(7), file_of(0)])[0] == merge.ExposureFiles(DATE, (1,), (merge.MERGED_FILE,))
    assert "1.fits" in caplog.text


@pytest.mark.parametrize("bad", [{"EXTNAME": "CHAN03"}, {"EXTNAME": "CHAN25", "DATE-OBS": DATE}])
def test_unusable_file(bad, caplog):
    with pytest.raises(InputError, match=r"1\.fits: keyword (DATE-OBS|EXTNAME)"):
        group([file_of(7), header_of(bad)], Compat())
    assert group([file_of(7), header_of(bad)])[0].files == (0,)
    assert "1.fits" in caplog.text


@pytest.mark.parametrize(
    ("low", "high", "needed"), [(4650, 9300, False), (4700, 9300, True), (4650, 9200, True), (4800, 9300, True)]
)
def test_cut(low, high, needed):
    header = header_of({f"{merge.PIXTABLE}LIMITS LAMBDA {k}": v for k, v in (("LOW", 4700.0), ("HIGH", 9200.0))})
    assert merge.is_cut_needed(header, low, high) == needed
    assert merge.is_cut_needed(Header(), low, high)


def levels(sky=None, lamp=None):
    cards = {merge.CARD_FLAT_SKY: sky, merge.CARD_FLAT_LAMP: lamp}
    return header_of({key: value for key, value in cards.items() if value is not None})


def scales(*headers, compat=REFERENCE):
    return merge.ifu_scales(headers, [f"{i}.fits" for i in range(len(headers))], compat)


def test_scales():
    found = scales(levels(2.0, 10.0), levels(3.0, 99.0), levels(None, 5.0), levels(), levels(-1.0))
    assert found == [1.0, pytest.approx(2 / 3), 2.0, 1.0, 1.0]


def test_scales_from_lamp_only():
    assert scales(levels(None, 10.0), levels(3.0, 5.0)) == [1.0, 2.0]


def test_no_levels_in_the_first_file(caplog):
    with pytest.raises(DataError, match=r"0\.fits: keywords ESO DRS MUSE FLAT"):
        scales(levels(), levels(1.0), compat=Compat())
    with caplog.at_level(logging.WARNING):
        assert scales(levels(), levels(1.0)) == [1.0]
    assert "left out" in caplog.text
    assert scales(levels(), compat=Compat()) == [1.0]


def test_merged_header():
    def offsets(ifu):
        return {f"{merge.PIXTABLE}EXP0 IFU{ifu:02d} SLICE01 XOFFSET": 30 + ifu}

    first = header_of(
        {"EXTNAME": "CHAN01", "RA": 1.5, "ESO DET CHIP NAME": "x", "ESO DET OUT X": 1, "ESO DET OUT1 X": 2}
        | {f"{merge.PIXTABLE}ILLUM1": 1.0, "ESO DET2 NAME": "y", "ESO QC A": 1.0, "ESO DET DIT": 2.0}
        | {merge.CARD_FLAT_SKY: 1.0, merge.CARD_FLAT_LAMP: 2.0}
        | offsets(1)
    )
    before = first.copy()
    merged = merge.merge_headers([first, header_of({"RA": 99.0, "OTHER": 1} | offsets(2))], 2)
    merge.remove_quality_cards(merged)
    assert dict(merged) == (
        {"RA": 1.5, "ESO DET OUT1 X": 2, "ESO DET DIT": 2.0, merge.CARD_CORRECTED: 2, merge.CARD_MERGED: 2}
        | offsets(1)
        | offsets(2)
    )
    assert first == before

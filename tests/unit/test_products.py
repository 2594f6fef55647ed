# SPDX-License-Identifier: GPL-2.0-or-later
"""Products of exposures that are reduced apart, maybe on other machines: their names and numbers."""

import copy
import pickle

import numpy as np
import pytest
from astropy.io import fits

from muse_core.io.delivery import Destination
from muse_core.io.fitswriter import primary_header, write_hdus
from muse_core.io.products import ProductFactory, RawFrame
from muse_core.io.signature import check_signature
from muse_core.model.declare import ProductSpec

DATES = ("2014-11-21T06:32:33.123", "2014-11-21T06:48:48.123", "2014-11-21T07:05:03.123")


@pytest.fixture
def factory(tmp_path):
    """A factory of a run with three exposures."""
    made = ProductFactory(
        recipe="muse_test",
        pipeline="muse/2.9.0",
        system="muse-scipost-2.9.0",
        parameters=[],
        products=[
            ProductSpec("EACH", "dateobs", "FINAL", "IMAGE", ""),
            ProductSpec("SOME", "dateobs", "FINAL", "IMAGE", ""),
        ],
        qc_prefix="ESO QC ",
        destination=Destination(tmp_path),
    )
    made.use_raw(
        RawFrame(tmp_path / f"raw{n}.fits", "RAW", fits.Header({"DATE-OBS": date})) for n, date in enumerate(DATES)
    )
    return made


def write(factory: ProductFactory, tag: str, date: str) -> None:
    path = factory.next_path(tag)
    header = factory.header(tag, fits.Header({"DATE-OBS": date}).cards, path, primary_header(-32, (2, 3)))
    write_hdus(path, [(header, np.ones((2, 3), np.float32))])
    factory.register(path, tag)


def test_numbers_are_those_of_the_exposures_without_gaps(factory, tmp_path):
    """The second exposure makes no SOME; each is made by a factory that has travelled, in any order."""
    with factory.all_or_none():
        made = {}
        for number in (3, 1, 2):
            header = fits.Header({"DATE-OBS": DATES[number - 1]})
            part = pickle.loads(pickle.dumps(factory.of_exposure(number, header)))
            for tag in ("EACH", "SOME") if number != 2 else ("EACH",):
                write(part, tag, DATES[number - 1])
            made[number] = copy.copy(part.checkpoint())
        for number in (1, 2, 3):
            factory.adopt(made[number])
    names = [product.path.name for product in factory.products]
    assert names == ["EACH_0001.fits", "EACH_0002.fits", "EACH_0003.fits", "SOME_0001.fits", "SOME_0002.fits"]
    for name, number in zip(names, (1, 2, 3, 1, 3), strict=True):
        header = fits.getheader(tmp_path / name)
        assert header["PIPEFILE"] == name
        assert header["DATE-OBS"] == DATES[number - 1]
        assert header["ESO PRO REC1 RAW1 NAME"] == f"raw{number - 1}.fits"
        assert "ESO PRO REC1 RAW2 NAME" not in header
        check_signature(tmp_path / name, (tmp_path / name).stat().st_size)

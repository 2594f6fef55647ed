# SPDX-License-Identifier: GPL-2.0-or-later
"""Coordinates and flux of pixel tables against ESO's recipe: every variation of their parameters and frames.

All rows and headers of PIXTABLE_REDUCED, POSITIONED and COMBINED within the tolerances of the harness.
"""

import dataclasses

import numpy as np
import pytest
from astropy.io import fits
from harness import compare, run

from muse_core.simulate.dataset import make_dataset
from muse_core.simulate.exposure import ExposureSpec

pytestmark = pytest.mark.reference

OPTIONS = ("--skymethod=none", "--save=individual,positioned,combined")
WFM = ExposureSpec(ifus=(12, 13), lbda_min=7000, lbda_max=7030, posang=20.0)
SPECS = {
    "wfm": [WFM],
    "noflat": [dataclasses.replace(WFM, flat_field=False)],
    "telluric": [dataclasses.replace(WFM, lbda_min=6865, lbda_max=6895, telluric=True)],
    "ao": [dataclasses.replace(WFM, mode="WFM-AO-N", date_obs="2018-11-21T06:32:33.123")],
    "nfm": [dataclasses.replace(WFM, mode="NFM-AO-N", drot_mode="STAT", date_obs="2019-11-21T06:32:33.123")],
    "two": [
        WFM,
        dataclasses.replace(
            WFM,
            posang=110.0,
            exptime=600.0,
            dither_arcsec=(1.5, -0.8),
            pointing_error_arcsec=(0.6, 0.4),
            transparency=0.9,
            date_obs="2014-11-21T06:51:10.456",
        ),
    ],
}


@dataclasses.dataclass(frozen=True)
class Variation:
    """What to change: data set, set of frames, options, environment, frames left out or taken from elsewhere."""

    data: str = "wfm"
    sof: str = "none"
    options: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    without: tuple[str, ...] = ()
    made: tuple[str, ...] = ()


VARIATIONS = {
    "default": Variation(),
    "flux-scaled-telluric": Variation("telluric"),
    "no-flat-field": Variation("noflat"),
    "adaptive-optics": Variation("ao"),
    "narrow-field": Variation("nfm"),
    "two-exposures": Variation("two", "offsets", ("--weight=fwhm",)),
    "default-astrometry": Variation(without=("ASTROMETRY_WCS",)),
    "no-astrometry": Variation(options=("--astrometry=false",)),
    "no-response": Variation(without=("STD_RESPONSE",)),
    "no-extinction-helio": Variation(without=("EXTINCT_TABLE",), options=("--rvcorr=helio",)),
    "old-response-geo": Variation(made=("STD_RESPONSE",), options=("--rvcorr=geo",)),
    "outside-response": Variation("noflat", made=("STD_RESPONSE",)),
    "cut": Variation(options=("--lambdamin=7005.5", "--lambdamax=7020.25", "--lambdaref=5500", "--rvcorr=none")),
    "no-refraction": Variation(options=("--lambdaref=-1",)),
    "owens": Variation(env=(("MUSE_DAR_CORRECT_METHOD", "Owens"),)),
}
PARTIAL_RESPONSE = (7005.0, 7025.0)  # Angstrom


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    made = {}

    def sofs(name):
        if name not in made:
            made[name] = make_dataset(tmp_path_factory.mktemp(name), SPECS[name])
        return made[name]

    return sofs


def write_response(path):
    """A response without flat-field spectrum correction, with few nodes, for a part of the range."""
    lbda = np.array([PARTIAL_RESPONSE[0], 7011.3, 7016.0, PARTIAL_RESPONSE[1]])
    columns = {"lambda": lbda, "response": 30 + np.sin(lbda), "resperr": 0.02 + 0.01 * np.cos(lbda)}
    table = fits.BinTableHDU.from_columns([fits.Column(name, "D", array=array) for name, array in columns.items()])
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path)


def undefined(columns):
    """Rows outside of the response, whose variance the reference leaves undefined; its velocity shift is below 1 A."""
    lbda = columns["lambda"]
    return (lbda < PARTIAL_RESPONSE[0] + 1) | (lbda > PARTIAL_RESPONSE[1] - 1)


@pytest.mark.parametrize("name", VARIATIONS)
def test_pixel_tables(name, data, tmp_path):
    variation = VARIATIONS[name]
    frames = [line.split() for line in data(variation.data)[variation.sof].read_text().splitlines()]
    frames = [(path, tag) for path, tag in frames if tag not in variation.without + variation.made]
    if variation.made:
        write_response(tmp_path / "response.fits")
        frames.append((tmp_path / "response.fits", "STD_RESPONSE"))
    assert_same(frames, tmp_path, variation)


def test_merged_file(data, tmp_path):
    """A file that says that it was merged and flat-field corrected before; the response was not: taken back."""
    frames = [line.split() for line in data("wfm")["none"].read_text().splitlines()]
    (path, tag), *_ = frames
    with fits.open(path) as hdus:
        hdus[0].header.remove("EXTNAME")
        hdus[0].header["HIERARCH ESO DRS MUSE PIXTABLE FFCORR"] = 24
        hdus.writeto(tmp_path / "merged.fits")
    write_response(tmp_path / "response.fits")
    frames = [frame for frame in frames if frame[1] not in (tag, "STD_RESPONSE")]
    frames += [(tmp_path / "merged.fits", tag), (tmp_path / "response.fits", "STD_RESPONSE")]
    assert_same(frames, tmp_path, Variation(made=("STD_RESPONSE",)))


def assert_same(frames, folder, variation):
    """Run both recipes and compare all products."""
    sof = folder / "in.sof"
    sof.write_text("".join(f"{path} {tag}\n" for path, tag in frames))
    options, env = (*OPTIONS, *variation.options), dict(variation.env)
    expected = run.reference(sof, folder / "reference", *options, env=env)
    assert expected.status == 0, expected.output
    found = run.ours(sof, folder / "ours", *options, env=env)
    assert found.status == 0, found.output
    assert list(expected.folder.glob("PIXTABLE_*.fits"))
    problems = compare.products(expected.folder, found.folder, undefined if variation.made else None)
    assert not problems, "\n".join(problems)

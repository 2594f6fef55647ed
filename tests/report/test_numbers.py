# SPDX-License-Identifier: GPL-2.0-or-later
"""The numbers of the report against those that are computed in another way, and against what was simulated."""

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from report.conftest import Field, measured, reduce

from muse_core.frontends.muse_report import main
from muse_core.report import checks
from muse_core.simulate.truth import Truth


@pytest.fixture(scope="module")
def numbers(three: Field) -> dict:
    assert main([str(three.products)]) == 0
    made = json.loads((three.products / "MUSE_REPORT_DATA.json").read_text())
    jsonschema.validate(made, json.loads((Path(checks.__file__).parent / "schema.json").read_text()))
    (run,) = made["runs"]
    return run


@pytest.fixture(scope="module")
def cube(three: Field):
    with fits.open(three.products / "DATACUBE_FINAL.fits") as hdus:
        return hdus["DATA"].data.astype(float), hdus["STAT"].data.astype(float), WCS(hdus["DATA"].header).celestial


@pytest.fixture(scope="module")
def empty(cube, three: Field):
    """Spaxels that the simulation left without source."""
    ny, nx = cube[0].shape[1:]
    y, x = np.mgrid[:ny, :nx]
    ra, dec = cube[2].pixel_to_world_values(x, y)
    truth = Truth(three.exposures[0]).image(ra, dec)
    return (truth < 1.0) & np.isfinite(cube[0]).all(axis=0) & (np.abs(x - nx / 2) < 135) & (np.abs(y - ny / 2) < 135)


def test_head(numbers, three: Field):
    assert (numbers["recipe"], numbers["target"]) == ("muse_scipost", "SIMULATED FIELD")
    assert (numbers["n_exposures"], numbers["total_time"]) == (3, 2700)
    assert [e["date_obs"] for e in numbers["exposures"]] == [spec.date_obs for spec in three.exposures]
    assert "--save=cube,skymodel,individual" in numbers["command"]
    assert {p["name"] for p in numbers["parameters"] if p["changed"]} <= {"save"}
    frames = (line.split() for line in (three.data / "model.sof").read_text().splitlines())
    expected = {(Path(name).name, tag) for name, tag in frames if tag != "FILTER_LIST"}
    assert {(frame["name"], frame["tag"]) for frame in numbers["inputs"]} == expected


def test_field(numbers, cube, three: Field):
    field = numbers["field"]
    nz, ny, nx = cube[0].shape
    assert field["shape"] == [nx, ny, nz]
    assert field["spaxel"] == pytest.approx(0.2, rel=1e-6)
    seen = np.isfinite(cube[0])
    covered = seen.sum(axis=0) >= nz / 2
    assert field["filled"] == pytest.approx(seen.sum() / (nz * covered.sum()), rel=1e-6)
    assert field["area"] == pytest.approx(covered.sum() * 0.04 / 3600, rel=1e-6)
    # the stars of the simulation, where they are and how wide
    assert field["fwhm"] == pytest.approx(three.exposures[0].seeing, rel=0.1)
    found = SkyCoord([s["ra"] for s in field["sources"]], [s["dec"] for s in field["sources"]], unit="deg")
    stars = [s for s in three.exposures[0].all_sources if s.name.startswith("star")]
    for star in stars:
        place = SkyCoord(*star.position(three.exposures[0].ra_deg, three.exposures[0].dec_deg), unit="deg")
        assert place.separation(found).arcsec.min() < 0.1


def test_exposure_time(numbers, three: Field):
    """In the middle there are all exposures; each covers about a square arcminute."""
    time = numbers["field"]["exposure_time"]
    assert (time["median"], time["max"]) == (2700, 2700)
    assert 1.0 < time["area"] < 1.2
    m = measured(three.products)
    exposure_time, ny, nx = m.field.exposure_time, *m.field.white.shape
    assert set(np.unique(exposure_time)) <= {0, 900, 1800, 2700}
    # the dithers are 1 arcsec, so that the rim of that width has less
    assert (exposure_time[ny // 2, 12 : nx - 12] == 2700).mean() > 0.99
    assert exposure_time[ny // 2, :4].max() < 2700


def test_sky_residual_and_noise(numbers, cube, empty, three: Field):
    data, stat, _ = cube
    ratio = data[:, empty] / np.sqrt(stat[:, empty])
    percentiles = np.percentile(ratio, (15.865, 84.135), axis=1)
    expected = np.median((percentiles[1] - percentiles[0]) / 2)
    assert numbers["noise"]["scatter_over_stat"] == pytest.approx(expected, rel=0.03)
    (group,) = numbers["sky"]["groups"]
    lines = fits.getdata(three.products / "SKY_LINES_0001.fits")
    strong = lines["lambda"][lines["flux"] > 0.1 * lines["flux"].max()]
    header = fits.getheader(three.products / "DATACUBE_FINAL.fits", "DATA")
    lbda = header["CRVAL3"] + header["CD3_3"] * np.arange(len(data))
    # lines whose surroundings are all in the cube
    strong = [line for line in strong if lbda[0] + 2.5 < line < lbda[-1] - 2.5]
    residual = np.median(data[:, empty], axis=1)[np.min(np.abs(lbda[:, None] - strong), axis=1) < 2.5]
    assert group["residual"] == pytest.approx(np.sqrt(np.mean(residual**2)), rel=0.1)
    assert group["relative"] == pytest.approx(group["residual"] / group["height"], rel=1e-6)


def test_depth(numbers, cube, empty):
    """Five times the scatter of sums in apertures of 1 arcsec, here on other places and with round pixels."""
    data, _, _ = cube
    y, x = np.mgrid[-3:4, -3:4]
    kernel = np.clip(2.5 + 0.5 - np.hypot(x, y), 0, 1)
    kernel *= np.pi * 2.5**2 / kernel.sum()
    rows, columns = np.nonzero(empty)
    rng = np.random.default_rng(3)
    chosen = rng.permutation(len(rows))[:3000]
    depths = []
    for plane in data:
        sums = []
        for row, column in zip(rows[chosen], columns[chosen], strict=True):
            box = empty[row - 3 : row + 4, column - 3 : column + 4]
            if box.all():
                sums.append((kernel * plane[row - 3 : row + 4, column - 3 : column + 4]).sum())
        low, high = np.percentile(sums, (15.865, 84.135))
        depths.append(5 * (high - low) / 2)
    assert numbers["noise"]["depth"] == pytest.approx(np.median(depths), rel=0.12)


def test_exposures_that_are_offset(three: Field, tmp_path):
    """What was applied is in the table, and nothing is left: also with errors of pointing and of flux."""
    import dataclasses

    from muse_core.simulate.dataset import make_dataset

    spec = dataclasses.replace(three.exposures[0], dither_arcsec=(0.0, 0.0))
    second = dataclasses.replace(
        spec, pointing_error_arcsec=(0.9, -0.6), transparency=0.8, date_obs=three.exposures[1].date_obs, seed=8
    )
    sets = make_dataset(tmp_path / "data", [spec, second])
    sof = sets["model"]
    sof.write_text(f"{sof.read_text()}{tmp_path / 'data' / 'calib' / 'OFFSET_LIST.fits'} OFFSET_LIST\n")
    made = measured(reduce(sof, tmp_path / "products", "--save=cube,skymodel")).numbers
    first, last = made["exposures"]
    cosine = np.cos(np.radians(spec.dec_deg))
    assert last["offset_ra"] * cosine == pytest.approx(-0.9, abs=0.01)
    assert last["offset_dec"] == pytest.approx(0.6, abs=0.01)
    assert last["flux_scale"] == pytest.approx(1 / 0.8, rel=1e-5)
    assert max(first["misaligned"], last["misaligned"]) < 0.05
    assert last["transmission"] / first["transmission"] == pytest.approx(1.0, rel=0.03)
    assert made["verdict"] == "ok"


@pytest.mark.reference
def test_products_of_the_reference_give_the_same(single: Field, tmp_path):
    from harness.run import reference

    done = reference(single.data / "model.sof", tmp_path / "eso", "--save=cube,skymodel,individual", "--filter=white")
    assert done.status == 0, done.output
    ours, theirs = measured(single.products).numbers, measured(tmp_path / "eso").numbers

    def compare(a, b, where):
        if isinstance(a, dict):
            assert set(a) == set(b), where
            for key in a:
                compare(a[key], b[key], f"{where} {key}")
        elif isinstance(a, list):
            assert len(a) == len(b), where
            for i, (one, other) in enumerate(zip(a, b, strict=True)):
                compare(one, other, f"{where} {i}")
        elif isinstance(a, float):
            assert a == pytest.approx(b, rel=0.02, abs=2e-3), where
        else:
            assert a == b, where

    for part in ("verdict", "field", "sky", "noise", "slices", "exposures", "outliers"):
        compare(ours[part], theirs[part], part)

# SPDX-License-Identifier: GPL-2.0-or-later
"""What is wrong with a reduction shows up where it belongs, and nothing else does."""

import dataclasses
import json
import re

import numpy as np
import pytest
from astropy.io import fits
from report.conftest import SAVE, Field, measured, reduce

from muse_core.frontends.muse_report import main
from muse_core.io.pixtable import PixelTableFile, write_pixel_table
from muse_core.model.origin import slice_of
from muse_core.report.checks import LIMITS
from muse_core.report.measure import against_others
from muse_core.report.rows import statistics_of_file
from muse_core.simulate import calibrations
from muse_core.simulate.dataset import dithered, make_dataset
from muse_core.simulate.exposure import ExposureSpec, simulate_exposure


def beyond(numbers: dict) -> list[dict]:
    """Return the checks that are not ok."""
    return [check for check in numbers["checks"] if check["status"] != "ok"]


@pytest.mark.parametrize("name", ["single", "three"])
def test_clean_run_has_nothing_beyond_its_limits(name, request):
    numbers = measured(request.getfixturevalue(name).products).numbers
    assert beyond(numbers) == []
    assert numbers["verdict"] == "ok"
    assert numbers["outliers"] == []
    names = {check["name"] for check in numbers["checks"]}
    expected = {
        "filled",
        "line_residual",
        "line_scatter",
        "line_profile",
        "continuum_residual",
        "mask_on_sources",
        "stat",
        "slice_level",
    }
    assert names >= expected
    if name == "three":
        assert names >= {"misaligned", "transmission", "sky_residual", "image_quality", "sky_brightness"}


def test_exposures_of_nothing_but_noise_are_not_beyond_the_others():
    limit, rng = LIMITS["sky_residual"], np.random.default_rng(1)
    noise = np.abs(rng.normal(1.0, 0.4, 50))
    steady = rng.normal(1.0, 0.05, 50)
    assert max(noise) > limit.look * np.median(noise)  # what would be marked without regard to the scatter
    for values in noise, steady:
        found = [against_others(v, np.delete(values, i), 0.0) for i, v in enumerate(values)]
        assert {limit.status(ratio) for ratio in found} == {"ok"}
    assert limit.status(against_others(2.0, steady, 0.0)) == "look"
    assert limit.status(against_others(2.0, [1.0, 1.1], 0.0)) == "look"  # three exposures
    assert against_others(2.0, [], 0.0) is None


def change_tables(folder, pattern, change):
    """Change the rows of pixel tables."""
    for path in folder.glob(pattern):
        with PixelTableFile(path) as file:
            table = file.load()
        change(table.rows)
        write_pixel_table(path, table, table.header)


def test_slice_with_wrong_flux(single: Field, tmp_path):
    folder = single.copy(tmp_path / "data")

    def brighter(rows):
        wrong = slice_of(rows["origin"]) == 20
        assert wrong.any()
        rows["data"][wrong] *= 1.25
        rows["stat"][wrong] *= 1.25**2

    change_tables(folder, "PIXTABLE_OBJECT_0001-12.fits", brighter)
    numbers = measured(reduce(folder / "model.sof", tmp_path / "products", SAVE)).numbers
    (found,) = beyond(numbers)
    assert (found["name"], found["where"]) == ("slice_level", "IFU 12, slice 20")
    assert numbers["slices"][0]["worst_ifu"] == 12


def exposure_replaced(three: Field, folder, number: int, **changes):
    """Copy a data set with one exposure simulated anew."""
    folder = three.copy(folder)
    simulate_exposure(dataclasses.replace(three.exposures[number - 1], **changes), folder, number)
    return folder


@pytest.mark.parametrize(
    ("fault", "name"),
    [({"pointing_error_arcsec": (1.2, 0.9)}, "misaligned"), ({"transparency": 0.5}, "transmission")],
)
def test_exposure_that_differs(fault, name, three: Field, tmp_path):
    folder = exposure_replaced(three, tmp_path / "data", 2, **fault)
    m = measured(reduce(folder / "model.sof", tmp_path / "products", "--save=cube,skymodel"))
    found = beyond(m.numbers)
    date = three.exposures[1].date_obs
    assert {(check["name"], check["exposure"]) for check in found} == {(name, date)}
    assert found[0]["status"] == "bad"
    (outlier,) = m.numbers["outliers"]
    assert (outlier["exposure"], outlier["status"]) == (date, "bad")
    numbers = m.numbers["exposures"][1]
    if name == "misaligned":
        assert numbers["misaligned"] == pytest.approx(1.5, abs=0.05)
    else:
        assert numbers["transmission"] == pytest.approx(0.5, rel=0.05)


def test_exposure_with_more_sky_residual(three: Field, tmp_path):
    """The residual of one exposure is twice what it is."""
    folder = tmp_path / "products"
    folder.mkdir()
    for path in three.products.glob("*.fits"):
        (folder / path.name).write_bytes(path.read_bytes())
    spoiled = folder / "PIXTABLE_REDUCED_0002.fits"
    statistics = statistics_of_file(spoiled)
    residual = np.nan_to_num(statistics.residual)

    def worse(rows):
        rows["data"] += np.interp(rows["lbda"], statistics.lbda, residual).astype(np.float32)

    change_tables(folder, spoiled.name, worse)
    found = beyond(measured(folder).numbers)
    assert [(check["name"], check["exposure"]) for check in found] == [("sky_residual", three.exposures[1].date_obs)]


def test_line_spread_function_of_wrong_width(single: Field, tmp_path):
    folder = single.copy(tmp_path / "data")
    distance = np.linspace(-1, 1, 150)
    for path in (folder / "calib").glob("LSF_PROFILE-*.fits"):
        with fits.open(path, mode="update") as hdus:
            wider = np.apply_along_axis(lambda row: np.interp(distance / 1.2, distance, row) / 1.2, -1, hdus[1].data)
            hdus[1].data = wider.astype(np.float32)
    found = beyond(measured(reduce(folder / "model.sof", tmp_path / "products", "--save=cube,skymodel")).numbers)
    assert found
    assert {check["name"] for check in found} == {"line_profile"}
    assert {check["section"] for check in found} == {"sky"}


def test_sky_mask_on_a_source(single: Field, tmp_path):
    folder = single.copy(tmp_path / "data")
    y, x = np.mgrid[-165:166, -165:166]
    star = np.hypot(x + 7, y + 3) < 10  # the bright one, near the centre
    calibrations.write_sky_mask(folder / "wrong.fits", star, calibrations.linear_wcs(-165, -165))
    sof = folder / "model.sof"
    sof.write_text(f"{sof.read_text()}{folder / 'wrong.fits'} SKY_MASK\n")
    found = beyond(measured(reduce(sof, tmp_path / "products", "--save=cube,skymodel")).numbers)
    assert "mask_on_sources" in {check["name"] for check in found}
    assert {check["section"] for check in found} == {"sky"}


def test_variance_too_small(single: Field, tmp_path):
    folder = single.copy(tmp_path / "data")

    def halved(rows):
        rows["stat"] /= 2

    change_tables(folder, "PIXTABLE_OBJECT_*.fits", halved)
    (found,) = beyond(measured(reduce(folder / "model.sof", tmp_path / "products", "--save=cube,skymodel")).numbers)
    assert (found["name"], found["status"]) == ("stat", "bad")
    assert found["value"] == pytest.approx(2**0.5, rel=0.05)


def test_three_of_fifty(tmp_path):
    """Of fifty exposures three are spoiled, each in another way; these three are named."""
    spec = ExposureSpec(
        ifus=tuple(range(9, 15)),
        lbda_min=7270.0,
        lbda_max=7280.0,
        exptime=150.0,
        date_obs="2014-11-21T04:00:00.000",
        seed=7,
    )
    exposures = [dataclasses.replace(one, posang=0.0) for one in dithered(spec, 50)]
    exposures[6] = dataclasses.replace(exposures[6], pointing_error_arcsec=(1.0, -1.1))
    exposures[20] = dataclasses.replace(exposures[20], transparency=0.5)
    exposures[41] = dataclasses.replace(exposures[41], seeing=1.8)
    sets = make_dataset(tmp_path / "data", exposures)
    products = reduce(sets["model"], tmp_path / "products", "--save=cube,skymodel")
    assert main([str(products)]) == 0
    page = products / "MUSE_REPORT.html"
    assert page.stat().st_size < 15e6
    head = page.read_text().partition("<h3>Checks</h3>")[0]
    assert re.findall(r"\(no\. (\d+)\)", head) == ["7", "21", "42"]
    numbers = json.loads((products / "MUSE_REPORT_DATA.json").read_text())["runs"][0]
    assert len(numbers["exposures"]) == 50
    spoiled = {exposures[i].date_obs for i in (6, 20, 41)}
    assert {one["exposure"] for one in numbers["outliers"]} == spoiled
    why = {one["exposure"]: " ".join(one["why"]) for one in numbers["outliers"]}
    for i, word in ((6, "Offset"), (20, "Flux"), (41, "FWHM")):
        assert word in why[exposures[i].date_obs]

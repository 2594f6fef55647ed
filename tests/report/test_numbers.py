# SPDX-License-Identifier: GPL-2.0-or-later
"""What the report says of runs: schema, what was done, simulated errors, ESO's products; see test_every_number."""

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from report.conftest import SAVE, Field, measured, reduce

from muse_core.report import checks


@pytest.fixture(scope="module")
def numbers(reported: Field) -> dict:
    made = json.loads((reported.products / "MUSE_REPORT_DATA.json").read_text())
    jsonschema.validate(made, json.loads((Path(checks.__file__).parent / "schema.json").read_text()))
    (run,) = made["runs"]
    return run


def test_head(numbers, three: Field):
    assert (numbers["recipe"], numbers["target"]) == ("muse_scipost", "SIMULATED FIELD")
    assert (numbers["n_exposures"], numbers["total_time"]) == (3, 2700)
    assert [e["date_obs"] for e in numbers["exposures"]] == [spec.date_obs for spec in three.exposures]
    assert "--save=cube,skymodel,individual" in numbers["command"]
    assert {"sky: model", "velocities barycentric", "weights: exposure time"} < set(numbers["done"])
    assert {p["name"] for p in numbers["parameters"] if p["changed"]} <= {"save"}
    frames = (line.split() for line in (three.data / "model.sof").read_text().splitlines())
    expected = {(Path(name).name, tag) for name, tag in frames if tag != "FILTER_LIST"}
    assert {(frame["name"], frame["tag"]) for frame in numbers["inputs"]} == expected


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

    sof, parameters = single.data / "model.sof", (SAVE, "--filter=white")
    done = reference(sof, tmp_path / "eso", *parameters)
    assert done.status == 0, done.output
    reduce(sof, tmp_path / "ours", *parameters, env={"MUSE_COMPAT": "2.8.7"})
    ours, theirs = (measured(tmp_path / name).numbers for name in ("ours", "eso"))

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
            assert a == pytest.approx(b, rel=1e-5), where  # an epsilon of single precision, in the worst case more
        else:
            assert a == b, where

    for part in ("verdict", "field", "sky", "noise", "slices", "exposures", "outliers", "checks", "done"):
        compare(ours[part], theirs[part], part)

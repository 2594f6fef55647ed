# SPDX-License-Identifier: GPL-2.0-or-later
"""The command muse-report, its limits, and what it says when something is missing."""

import importlib.util
import json

import pytest
from report.conftest import Field, measured, reduce

from muse_core.errors import ParameterError
from muse_core.frontends.muse_report import main
from muse_core.report.checks import LIMITS, read_limits
from muse_core.simulate.dataset import dithered, make_dataset
from muse_core.simulate.exposure import ExposureSpec


def numbers(path):
    return json.loads(path.read_text())["runs"]


def test_files_and_output(single: Field, tmp_path, capsys):
    page = tmp_path / "some.html"
    assert main([str(single.products / "DATACUBE_FINAL.fits"), "-o", str(page)]) == 0
    assert "some.html" in capsys.readouterr().out
    (run,) = numbers(tmp_path / "some_DATA.json")
    assert [p["tag"] for p in run["products"]] == ["DATACUBE_FINAL"]
    assert run["verdict"] == "ok"


def test_comparison(single: Field, three: Field, tmp_path):
    page = tmp_path / "both.html"
    assert main(["--compare", str(single.products), str(three.products), "-o", str(page)]) == 0
    assert [run["n_exposures"] for run in numbers(tmp_path / "both_DATA.json")] == [1, 3]
    text = page.read_text()
    assert 'id="compare-depth"' in text
    assert 'id="r2-white"' in text


def test_other_limits(single: Field, tmp_path):
    limits = tmp_path / "limits.toml"
    limits.write_text("[stat]\nlook = 1.001\nbad = 1.002\n")
    assert (
        main([str(single.products / "DATACUBE_FINAL.fits"), "--limits", str(limits), "-o", str(tmp_path / "a.html")])
        == 0
    )
    (run,) = numbers(tmp_path / "a_DATA.json")
    assert run["verdict"] == "bad"
    assert run["checks"][0]["name"] == "stat"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[stats]\nlook = 1", r"found \[stats\], expected one of filled"),
        ("[stat]\nlow = 1", "expected look and bad"),
        ("[stat]\nlook = 'a'", "expected numbers"),
        ("stat", "file of limits"),
    ],
)
def test_limits_that_are_wrong(text, said, tmp_path):
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(ParameterError, match=said):
        read_limits(tmp_path / "x.toml")


def test_nothing_there(tmp_path, capsys):
    assert main([str(tmp_path / "nowhere")]) == 1
    assert "nowhere: found nothing" in capsys.readouterr().err
    assert main([str(tmp_path)]) == 1
    assert "found no products" in capsys.readouterr().err


def test_packages_that_are_missing(single: Field, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "jinja2" else find(name))
    assert main([str(single.products)]) == 1
    assert "found no package jinja2, expected it: pip install 'muse-scipost[report]'" in capsys.readouterr().err


def test_limits_are_documented():
    from pathlib import Path

    page = Path(__file__).parents[2] / "docs" / "report.md"
    text = page.read_text()
    for name, limit in LIMITS.items():
        assert f"| `{name}` | {limit.label} | {limit.unit} |" in text


def test_other_recipes(tmp_path):
    """Sky of an empty field; alignment; combination of tables."""
    spec = ExposureSpec(lbda_min=7265.0, lbda_max=7285.0, seed=3)
    from muse_core.simulate.dataset import sky_exposure

    exposures = dithered(spec, 2)
    sets = make_dataset(tmp_path / "data", [*exposures, sky_exposure(exposures[-1])])
    sky = measured(reduce(sets["create_sky"], tmp_path / "sky", recipe="muse_create_sky")).numbers
    assert (sky["recipe"], sky["verdict"]) == ("muse_create_sky", "ok")
    for i in (1, 2):
        folder = tmp_path / "data" / f"exposure_{i}"
        reduce(sets[f"exposure_{i}"], folder, "--save=cube,individual", "--filter=white", "--skymethod=none")
    for name in ("align", "combine"):
        sof = sets[name]
        lines = [line if line.startswith("/") else f"{tmp_path}/data/{line}" for line in sof.read_text().splitlines()]
        sof.write_text("\n".join(lines) + "\n")
    aligned = reduce(
        sets["align"], tmp_path / "align", "--threshold=10", "--srcmin=2", "--expmap=true", recipe="muse_exp_align"
    )
    made = measured(aligned).numbers
    assert made["recipe"] == "muse_exp_align"
    assert all(image["residual"] < 0.1 and image["matches"] >= 3 for image in made["alignment"]["images"])
    (tmp_path / "data" / "OFFSET_LIST.fits").write_bytes((aligned / "OFFSET_LIST.fits").read_bytes())
    combined = reduce(sets["combine"], tmp_path / "combined", recipe="muse_exp_combine")
    assert measured(combined).numbers["field"]["shape"][2] > 10
    for folder in (tmp_path / "sky", aligned, combined):
        assert main([str(folder)]) == 0
        assert (folder / "MUSE_REPORT.html").stat().st_size > 20000

# SPDX-License-Identifier: GPL-2.0-or-later
"""The report as an extra of a run: it has what only the run knows, and changes nothing else."""

import json

import numpy as np
import pytest
from astropy.io import fits
from harness.run import ours
from report.conftest import Field

from muse_core.io.pixtable import PixelTableFile
from muse_core.report.rows import statistics_of_file


@pytest.fixture(scope="module")
def made(reported: Field):
    """Products, numbers of the report and log of a run with it."""
    folder = reported.products
    numbers = json.loads((folder / "MUSE_REPORT_DATA.json").read_text())["runs"][0]
    return folder, numbers, (folder / "ours.log").read_text()


def test_products_are_the_same(three: Field, made):
    names = {path.name for path in three.products.glob("*.fits")}
    assert names == {path.name for path in made[0].glob("*.fits")} - {"NOISE_CORRELATION.fits"}
    for name in ("DATACUBE_FINAL.fits", "SKY_LINES_0002.fits", "PIXTABLE_REDUCED_0003.fits"):
        with fits.open(three.products / name) as one, fits.open(made[0] / name) as other:
            assert all(
                a.data is b.data or np.array_equal(a.data, b.data, equal_nan=True)
                for a, b in zip(one[1:3], other[1:3], strict=True)
                if a.is_image
            )


def test_rows_as_in_the_tables(three: Field, made):
    for number, exposure in enumerate(made[1]["exposures"], 1):
        table = three.products / f"PIXTABLE_REDUCED_000{number}.fits"
        with PixelTableFile(table) as file:
            flags = file.column("dq")
        statistics = statistics_of_file(table)
        assert exposure["rows"] == len(flags)
        assert exposure["flagged"] == np.count_nonzero(flags)
        assert exposure["flags"] == statistics.flags
        assert exposure["sky_residual"] == pytest.approx(statistics.residual_in_noise, rel=0.05)
        assert exposure["weight"] == pytest.approx(1.0)


def test_what_the_run_said(made):
    folder, numbers, log = made
    flagged = sum(exposure["cosmic_rays"] for exposure in numbers["exposures"])
    assert f"Flagged {flagged} rows as cosmic rays" in log
    machine = numbers["machine"]
    steps = {step["name"]: step["seconds"] for step in machine["steps"]}
    assert set(steps) == {"Calibration", "Sky model", "Sky subtraction, position", "Cube"}
    assert sum(steps.values()) <= machine["seconds"]
    assert machine["products_bytes"] == sum(path.stat().st_size for path in folder.glob("*.fits"))
    assert machine["plan"]["threads"] == 2
    assert machine["warnings"] == []
    for exposure in numbers["exposures"]:
        assert exposure["line_fit_converged"] is True
        assert abs(exposure["line_shift_max"] - 0.02) < 0.02  # what the simulation put in, as well as lines are fitted
        assert f" rows of {exposure['date_obs']}, 900 s, airmass {exposure['airmass']:.3f}" in log
    assert numbers["verdict"] == "ok"


def test_missing_response_is_told_once(three: Field, tmp_path):
    frames = (three.data / "none.sof").read_text().splitlines()
    sof = tmp_path / "counts.sof"
    sof.write_text("\n".join(line for line in frames if not line.endswith("STD_RESPONSE")) + "\n")
    options = ("--skymethod=none", "--lambdamin=7270", "--lambdamax=7275", "--filter=white")
    done = ours(sof, tmp_path / "products", *options, env={"MUSE_EXTRAS": "report"}, compat=False)
    assert done.status == 0, done.output
    said = "No STD_RESPONSE: the flux of 3 of 3 exposures is not calibrated, products are in count"
    assert done.output.count(said) == 1
    (run,) = json.loads((tmp_path / "products" / "MUSE_REPORT_DATA.json").read_text())["runs"]
    (warning,) = run["machine"]["warnings"]
    assert warning["count"] == 1
    assert "warnings" in [check["name"] for check in run["checks"] if check["status"] != "ok"]

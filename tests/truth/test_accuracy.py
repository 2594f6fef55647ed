# SPDX-License-Identifier: GPL-2.0-or-later
"""Not parity but truth: how much of an effect that was put into a simulated exposure the recipe takes out.

The figures of docs/accuracy.md; each is asserted here.
"""

import dataclasses

import numpy as np
import pytest
from harness import run
from harness.stages import IN_PIXELS, pixel_table

from muse_core.model import origin
from muse_core.model.raman import BANDS
from muse_core.simulate.dataset import make_dataset
from muse_core.simulate.exposure import ExposureSpec, slice_gain
from muse_core.simulate.truth import Truth

SPAXEL_ARCSEC = 0.2


def reduced(folder, sof, *parameters, compat=False):
    """Return the rows of PIXTABLE_REDUCED after a run, positions in pixels."""
    outcome = run.ours(sof, folder, "--save=individual", *IN_PIXELS, *parameters, compat=compat)
    assert outcome.status == 0, outcome.output
    return pixel_table(folder)


def test_sky_lines(tmp_path):
    """At the centres of strong lines an empty field is left with noise alone."""
    spec = ExposureSpec(ifus=(12, 13), lbda_min=7270, lbda_max=7350, sources=())
    rows = reduced(tmp_path / "run", make_dataset(tmp_path, [spec])["model"], "--skymethod=model")
    rows = rows[rows["dq"] == 0]
    lines = Truth(spec).sky_lines
    lines = lines[(lines["lbda"] > 7273) & (lines["lbda"] < 7347)]
    brightest = np.sort(lines[np.argsort(lines["flux"])[-6:]]["lbda"])
    distance = np.abs(rows["lbda"][:, None] - brightest - spec.wavelength_shift).min(axis=1)
    signal = rows["data"] / np.sqrt(rows["stat"])

    def deviation(values):  # from zero, without cosmic rays
        return np.percentile(np.abs(values), 68.27)

    centre, elsewhere = distance < 0.5, distance > 6
    assert centre.sum() > 10000
    ratio = deviation(signal[centre]) / deviation(signal[elsewhere])
    assert abs(ratio - 1) < 0.05


def test_slices(tmp_path):
    """Errors of the level of the slices."""
    spec = ExposureSpec(ifus=(6,), lbda_min=6700, lbda_max=7500, slice_gain_rms=0.03, sources=())
    sofs = make_dataset(tmp_path, [spec])
    before = reduced(tmp_path / "before", sofs["none"], "--skymethod=none")
    after = reduced(tmp_path / "after", sofs["none"], "--skymethod=none", "--autocalib=deepfield")
    np.testing.assert_array_equal(before["origin"], after["origin"])
    number = origin.slice_of(before["origin"])
    inside = (before["lbda"] > 6900) & (before["lbda"] < 7300) & (before["data"] > 10)
    errors = []
    for n in range(1, origin.N_SLICE + 1):
        mine = inside & (number == n)
        gain = np.mean(slice_gain(spec, spec.ifus[0], n, before["lbda"][mine].astype(np.float64)))
        errors.append((gain, gain * np.median(after["data"][mine] / before["data"][mine])))
    left = np.std(np.array(errors) / np.mean(errors, axis=0), axis=0)
    assert left[0] == pytest.approx(0.03, abs=0.003)
    assert left[1] < 0.01


@pytest.fixture(scope="module")
def lasers(tmp_path_factory):
    """A function from options to the share of the injected Raman lines that is removed, by band."""
    folder = tmp_path_factory.mktemp("lasers")
    spec = ExposureSpec(
        mode="WFM-AO-N", ifus=(13,), lbda_min=6474, lbda_max=6838, raman_flux=300.0, date_obs="2018-11-21T06:32:33.123"
    )
    clean = dataclasses.replace(spec, noise=False, cosmic_rays=False)
    specs = {"data": spec, "with": clean, "without": dataclasses.replace(clean, raman_flux=0.0)}
    sofs = {name: make_dataset(folder / name, [value]) for name, value in specs.items()}
    rows = {name: reduced(folder / name / "run", sof["none"], "--skymethod=none") for name, sof in sofs.items()}
    before = rows["data"]
    np.testing.assert_array_equal(before["origin"], rows["without"]["origin"])
    injected = rows["with"]["data"].astype(np.float64) - rows["without"]["data"]

    def removed(fraction, compat):
        options = ("--skymethod=none", f"--skymodel_fraction={fraction}")
        after = reduced(folder / f"{fraction}-{compat}", sofs["data"]["raman"], *options, compat=compat)
        found = before["data"].astype(np.float64) - after["data"]  # noise and sky cancel
        bands = [np.abs(before["lbda"] - band.centre) < 10 for band in BANDS]
        return [found[mine] @ injected[mine] / (injected[mine] @ injected[mine]) for mine in bands]

    return removed


def test_raman_lines(lasers):
    """Our fit finds the minimum; the reference's stops far from it where the sky is a small part of the field."""
    oxygen, nitrogen = lasers(0.1, compat=False)
    reference = lasers(0.1, compat=True)
    assert oxygen == pytest.approx(0.96, abs=0.02)
    assert nitrogen == pytest.approx(0.81, abs=0.02)
    assert reference == pytest.approx([0.56, 0.47], abs=0.05)
    assert lasers(0.5, compat=False) == pytest.approx(lasers(0.5, compat=True), abs=0.005)


def test_refraction(tmp_path):
    """Refraction twice as large as the atmosphere in the header says; drift from 4800 to 5200 Angstrom."""
    error = 1.0
    spec = ExposureSpec(ifus=(12, 13), lbda_min=4800, lbda_max=5200, refraction_error=error)
    sofs = make_dataset(tmp_path, [spec])
    variants = {"predicted": (), "none": ("--lambdaref=-1",), "corrected": ("--darcheck=correct",)}
    rows = {
        name: reduced(tmp_path / name, sofs["none"], "--skymethod=none", *options) for name, options in variants.items()
    }
    x, y = ({n: r[axis].astype(np.float64) for n, r in rows.items()} for axis in ("xpos", "ypos"))
    missing = np.array([error * (p["predicted"] - p["none"]) for p in (x, y)])
    done = np.array([p["corrected"] - p["predicted"] for p in (x, y)])
    before, after = (SPAXEL_ARCSEC * np.hypot(*np.ptp(drift, axis=1)) for drift in (missing, missing - done))
    assert before == pytest.approx(0.105, abs=0.005)
    assert after < 0.015

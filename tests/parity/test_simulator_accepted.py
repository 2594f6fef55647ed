# SPDX-License-Identifier: GPL-2.0-or-later
"""ESO's recipe reduces simulated data without complaint, and finds the truth."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from harness import run

from muse_core.simulate import cli
from muse_core.simulate.dataset import make_dataset
from muse_core.simulate.exposure import ExposureSpec
from muse_core.simulate.truth import Truth

pytestmark = pytest.mark.reference

WFM = ExposureSpec(ifus=(12, 13), lbda_min=7300.0, lbda_max=7350.0)
SPECS = {
    "wfm": [WFM],
    "wfm table": [dataclasses.replace(WFM, file_format="table", drot_mode="STAT", posang=35.0)],
    "wfm no flat": [dataclasses.replace(WFM, flat_field=False, telluric=True, posang=-20.0)],
    "ao": [dataclasses.replace(WFM, mode="WFM-AO-N", lbda_min=6465.0, lbda_max=6505.0, raman_flux=300.0)],
    "nfm": [dataclasses.replace(WFM, mode="NFM-AO-N")],
    "two": [
        WFM,
        dataclasses.replace(
            WFM,
            date_obs="2014-11-21T06:52:00.000",
            seed=2,
            posang=90.0,
            dither_arcsec=(0.6, -0.4),
            pointing_error_arcsec=(0.5, 0.7),
            transparency=0.8,
        ),
    ],
}


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Set-of-frames files of each name, made when first asked for."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = make_dataset(tmp_path_factory.mktemp("data"), SPECS[name])
        return made[name]

    return get


def reduce(sof: Path, folder: Path, *parameters: str) -> fits.HDUList:
    """Run ESO's recipe, check that it is content, return its cube."""
    outcome = run.reference(sof, folder, *parameters)
    assert outcome.status == 0, outcome.output
    assert "ERROR" not in outcome.output
    with fits.open(outcome.folder / "DATACUBE_FINAL.fits", memmap=False) as hdus:
        return fits.HDUList([hdu.copy() for hdu in hdus])


def check_star(cube: fits.HDUList, spec: ExposureSpec, tolerance: float) -> None:
    """The first source is where the truth says, and as bright, over a circle that lies within the field."""
    truth, star = Truth(spec), spec.all_sources[0]
    data, wcs = cube["DATA"].data, WCS(cube["DATA"].header)
    image = np.nanmean(data, axis=0)
    finite = np.isfinite(image)
    y, x = np.indices(image.shape)
    ra, dec = wcs.celestial.pixel_to_world_values(x, y)
    x0, y0 = wcs.celestial.world_to_pixel_values(*truth.source_position(star))
    aperture = finite & (np.hypot(x - x0, y - y0) < 6)
    lbda = float(np.mean(spec.lbda_range))
    expected = truth.image(ra, dec, lbda) * truth.level
    sky = np.nanmedian(image[finite & (expected < 3 * spec.instrument_mode.area_ratio)])
    found = image - sky
    assert aperture.sum() > 100
    assert found[aperture].sum() == pytest.approx(expected[aperture].sum(), rel=0.06)
    for axis in (x, y):
        centroids = [np.average(axis[aperture], weights=w[aperture]) for w in (found, expected)]
        assert centroids[0] == pytest.approx(centroids[1], abs=tolerance)


@pytest.mark.parametrize("name", ["wfm", "wfm table", "wfm no flat", "ao", "nfm"])
def test_source_is_found_in_every_mode(sets, tmp_path, name):
    spec = SPECS[name][0]
    cube = reduce(sets(name)["none"], tmp_path, "--skymethod=none")
    check_star(cube, spec, 0.15)
    sky = Truth(spec).sky_continuum(np.mean(spec.lbda_range)) * Truth(spec).level
    darkest = np.nanpercentile(cube["DATA"].data, 30)
    assert darkest == pytest.approx(sky, rel=0.25)


@pytest.mark.parametrize("name", ["wfm", "ao", "nfm"])
@pytest.mark.parametrize(("sof", "method"), [("model", "model"), ("subtract", "subtract-model"), ("none", "simple")])
def test_sky_is_subtracted(sets, tmp_path, name, sof, method):
    spec = SPECS[name][0]
    cube = reduce(sets(name)[sof], tmp_path, f"--skymethod={method}")
    check_star(cube, spec, 0.15)
    spectrum = np.nanmedian(cube["DATA"].data, axis=(1, 2))
    truth = Truth(spec).sky_spectrum(np.arange(*spec.lbda_range, 1.25), 12, 24)
    limit = 0.35 if name == "ao" else 0.08  # the Raman lines stay in
    assert np.abs(spectrum).max() < limit * truth.max()


def test_lines_of_the_sky_are_fitted_to_their_true_wavelengths(sets, tmp_path):
    reduce(sets("wfm")["model"], tmp_path, "--skymethod=model")
    with fits.open(tmp_path / "SKY_LINES_0001.fits") as hdus:
        found = hdus["LINES"].data
        strongest = found[np.argmax(found["flux"])]
    truth = Truth(SPECS["wfm"][0])
    true = truth.sky_lines[truth.sky_lines["name"] == strongest["name"].strip()][0]
    assert strongest["lambda"] == pytest.approx(true["lbda"], abs=0.01)
    assert strongest["flux"] == pytest.approx(true["flux"] * truth.level, rel=0.03)


@pytest.mark.parametrize(
    ("name", "sof", "parameters"),
    [
        ("wfm", "mask_pix", ["--skymethod=model"]),
        ("wfm", "mask_deg", ["--skymethod=model"]),
        ("wfm", "lsf_merged", ["--skymethod=model"]),
        ("wfm", "lsf_table", ["--skymethod=model"]),
        ("wfm", "autocal", ["--skymethod=none", "--autocalib=user"]),
        ("wfm", "output_wcs", ["--skymethod=none", "--filter=white,sim_R,sim_I"]),
        ("ao", "raman", ["--skymethod=none", "--skymodel_fraction=0.6"]),
    ],
)
def test_further_calibrations_are_accepted(sets, tmp_path, name, sof, parameters):
    check_star(reduce(sets(name)[sof], tmp_path, *parameters), SPECS[name][0], 0.2)


def test_raman_lines_are_removed(sets, tmp_path):
    cubes = [
        reduce(sets("ao")[sof], tmp_path / sof, "--skymethod=none", "--skymodel_fraction=0.6")
        for sof in ("none", "raman")
    ]
    peaks = [np.ptp(np.nanmedian(cube["DATA"].data, axis=(1, 2))) for cube in cubes]
    assert peaks[1] < 0.1 * peaks[0]


def test_offsets_bring_exposures_together(sets, tmp_path):
    cube = reduce(sets("two")["offsets"], tmp_path, "--skymethod=none")
    check_star(cube, SPECS["two"][0], 0.15)


EXAMPLES = sorted((Path(__file__).parents[2] / "sof_examples").glob("*.sof"))


@pytest.mark.parametrize("example", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_examples_run(tmp_path, example):
    """The comments of an example say how to make its data and how to reduce them; do that."""
    commands = [line[2:].split() for line in example.read_text().splitlines() if line.startswith("# muse")]
    (simulate,) = [c[1:] for c in commands if c[0] == "muse-simulate"]
    (scipost,) = [c[1:] for c in commands if c[0] == "muse-esorex"]
    assert simulate[0] == "demo"
    assert cli.main([str(tmp_path / "demo"), *simulate[1:]]) == 0
    assert scipost[0] == "muse_scipost"
    assert scipost[-1] == f"sof_examples/{example.name}"
    reduce(example, tmp_path, *scipost[1:-1])

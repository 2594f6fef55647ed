# SPDX-License-Identifier: GPL-2.0-or-later
"""ESO's recipe reduces simulated data without complaint, and finds the truth."""

import dataclasses
import runpy
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
SHORT = dataclasses.replace(WFM, lbda_min=7325.0)
SPECS = {
    "wfm": [WFM],
    "wfm table": [dataclasses.replace(WFM, file_format="table", drot_mode="STAT", posang=35.0)],
    "wfm no flat": [dataclasses.replace(WFM, flat_field=False, telluric=True, posang=-20.0)],
    "ao": [dataclasses.replace(WFM, mode="WFM-AO-N")],
    "raman": [
        dataclasses.replace(
            WFM, mode="WFM-AO-N", lbda_min=6465.0, lbda_max=6505.0, sky_lines=False, raman_flux=300.0, exptime=1800.0
        )
    ],
    "nfm": [dataclasses.replace(WFM, mode="NFM-AO-N")],
    "two": [
        SHORT,
        dataclasses.replace(
            SHORT,
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


def mean_image(cube: fits.HDUList) -> np.ndarray:
    """Mean over wavelength of what is finite."""
    data = cube["DATA"].data
    n = np.isfinite(data).sum(axis=0)
    return np.where(n > 0, np.nansum(data, axis=0) / np.maximum(n, 1), np.nan)


def median_spectrum(cube: fits.HDUList, without: ExposureSpec | None = None) -> np.ndarray:
    """Median over the field of each plane that has data, true sources of an exposure subtracted before."""
    data = cube["DATA"].data
    data = data[np.isfinite(data).any(axis=(1, 2))]
    if without is not None:
        y, x = np.indices(data.shape[1:])
        ra, dec = WCS(cube["DATA"].header).celestial.pixel_to_world_values(x, y)
        data = data - Truth(without).level * Truth(without).image(ra, dec, float(np.mean(without.lbda_range)))
    return np.nanmedian(data, axis=(1, 2))


def noise_spectrum(cube: fits.HDUList) -> np.ndarray:
    """Typical noise of a voxel in each plane that has data."""
    data, stat = cube["DATA"].data, cube["STAT"].data
    return np.sqrt(np.nanmedian(stat[np.isfinite(data).any(axis=(1, 2))], axis=(1, 2)).astype(float))


def check_star(cube: fits.HDUList, spec: ExposureSpec, tolerance: float) -> None:
    """The first source is where the truth says, and as bright, over a circle that lies within the field."""
    truth, star = Truth(spec), spec.all_sources[0]
    wcs, image = WCS(cube["DATA"].header), mean_image(cube)
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
    residual, noise = median_spectrum(cube, without=spec), noise_spectrum(cube)
    truth = Truth(spec)
    lbda = np.linspace(*spec.lbda_range, 200)
    sky = truth.sky_spectrum(lbda, 12, 24) * truth.level
    assert np.median(residual) == pytest.approx(np.median(sky), abs=0.1 * noise.min())
    assert residual.max() == pytest.approx(sky.max(), abs=0.1 * sky.max() + 0.3 * noise.max())


@pytest.mark.parametrize("name", ["wfm", "ao", "nfm"])
@pytest.mark.parametrize(("sof", "method"), [("model", "model"), ("subtract", "subtract-model"), ("none", "simple")])
def test_sky_is_subtracted(sets, tmp_path, name, sof, method):
    spec = SPECS[name][0]
    cube = reduce(sets(name)[sof], tmp_path, f"--skymethod={method}")
    check_star(cube, spec, 0.15)
    # The darkest part of the field is darker than its sky by chance, about 1.5 sigma of the white-light image; and one
    # spectrum for all slices does not know their line widths.
    limit = {"model": 0.5, "subtract-model": 0.4, "simple": 0.8}[method]
    assert np.all(np.abs(median_spectrum(cube, without=spec)) < limit * noise_spectrum(cube))


def test_lines_of_the_sky_are_fitted_to_their_true_wavelengths(sets, tmp_path):
    everything = ("--skymodel_fraction=1", "--skymodel_ignore=0")  # of what the mask allows: no choice by noise
    reduce(sets("wfm")["mask_pix"], tmp_path, *everything)
    with fits.open(tmp_path / "SKY_LINES_0001.fits") as hdus:
        found = hdus["LINES"].data
        strongest = found[np.argmax(found["flux"])]
    truth = Truth(SPECS["wfm"][0])
    true = truth.sky_lines[truth.sky_lines["name"] == strongest["name"].strip()][0]
    assert strongest["lambda"] == pytest.approx(true["lbda"], abs=0.01)
    assert strongest["flux"] == pytest.approx(true["flux"] * truth.level, rel=0.01)


@pytest.mark.parametrize(
    ("name", "sof", "parameters"),
    [
        ("wfm", "mask_deg", ["--skymethod=model"]),
        ("wfm", "lsf_merged", ["--skymethod=model"]),
        ("wfm", "lsf_table", ["--skymethod=model"]),
        ("wfm", "autocal", ["--skymethod=none", "--autocalib=user"]),
        ("wfm", "output_wcs", ["--skymethod=none", "--filter=white,sim_R,sim_I"]),
    ],
)
def test_further_calibrations_are_accepted(sets, tmp_path, name, sof, parameters):
    check_star(reduce(sets(name)[sof], tmp_path, *parameters), SPECS[name][0], 0.2)


def test_raman_lines_are_removed(sets, tmp_path):
    cubes = [
        reduce(sets("raman")[sof], tmp_path / sof, "--skymethod=none", "--skymodel_fraction=0.6")
        for sof in ("none", "raman")
    ]
    peaks = [np.ptp(median_spectrum(cube)) for cube in cubes]
    assert peaks[1] < 0.1 * peaks[0]


def test_offsets_bring_exposures_together(sets, tmp_path):
    cube = reduce(sets("two")["offsets"], tmp_path, "--skymethod=none")
    check_star(cube, SPECS["two"][0], 0.15)


def test_refraction_beyond_the_header_is_found(tmp_path):
    """The check of the refraction measures what the true atmosphere has more than that of the header."""
    spec = dataclasses.replace(WFM, lbda_min=4750.0, lbda_max=4900.0, refraction_error=2.0, cosmic_rays=False)
    sets = make_dataset(tmp_path, [spec])
    reduce(sets["none"], tmp_path / "out", "--skymethod=none", "--darcheck=check", "--save=cube,individual")
    found = fits.getval(tmp_path / "out" / "PIXTABLE_REDUCED_0001.fits", "ESO DRS MUSE PIXTABLE DAR CHECK")
    blue, red = spec.pointing().shift_arcsec(np.array(spec.lbda_range)) * 2 / 3
    direction = np.radians(spec.pointing().parallactic_deg)
    expected = (blue - red) * max(abs(np.sin(direction)), abs(np.cos(direction)))
    assert expected > 0.05
    assert found == pytest.approx(expected, rel=0.2)


ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "sof_examples").glob("*/README.md"))


@pytest.mark.parametrize("example", EXAMPLES, ids=[path.parent.name for path in EXAMPLES])
def test_examples_run(tmp_path, example):
    """The page of an example says how to make its data, how to reduce them, and what comes out; do that."""
    text = example.read_text()
    commands = [line.split() for line in text.splitlines() if line.startswith("muse-")]
    (simulate,) = [c[1:] for c in commands if c[0] == "muse-simulate"]
    (scipost,) = [c[1:] for c in commands if c[0] == "muse-esorex"]
    assert simulate[0] == "demo"
    assert cli.main([str(tmp_path / "demo"), *simulate[1:]]) == 0
    assert scipost[0] == "muse_scipost"
    assert scipost[-1] == f"sof_examples/{example.parent.name}/scipost.sof"
    reduce(example.parent / "scipost.sof", tmp_path, *scipost[1:-1])
    outcome = runpy.run_path(str(ROOT / "docs" / "generate.py"))["outcome"]
    assert text.endswith(f"What comes out:\n\n{outcome(tmp_path)}")

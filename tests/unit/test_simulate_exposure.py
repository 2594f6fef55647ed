# SPDX-License-Identifier: GPL-2.0-or-later
"""Simulated exposures, read back from their files."""

import dataclasses

import numpy as np
import pytest
from astropy.io import fits

from muse_core.errors import ParameterError
from muse_core.io.pixtable import PixelTableFile
from muse_core.model import origin
from muse_core.model.dq import DQ
from muse_core.simulate import cli, dataset, instrument, sky
from muse_core.simulate.exposure import ExposureSpec, simulate_exposure
from muse_core.simulate.truth import Truth

NOISY = ExposureSpec(ifus=(12,), lbda_min=7010.0, lbda_max=7025.0)
CLEAN = dataclasses.replace(NOISY, noise=False, cosmic_rays=False, bad_pixels=False, sources=(), flat_field=False)


def load(folder, spec, number=0):
    """Make an exposure and read one of its files."""
    with PixelTableFile(simulate_exposure(spec, folder)[number]) as file:
        return file.load()


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    return load(tmp_path_factory.mktemp("noisy"), NOISY)


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return load(tmp_path_factory.mktemp("clean"), CLEAN)


def test_rows_are_ordered_by_slice_row_column(noisy):
    code = noisy.rows["origin"]
    assert np.all(origin.ifu_of(code) == 12)
    key = origin.slice_of(code).astype(np.int64) << 20 | origin.y_of(code).astype(np.int64) << 7 | (code >> 24)
    assert np.all(np.diff(key) > 0)
    assert np.unique(origin.slice_of(code)).tolist() == list(range(1, 49))


def test_header_describes_the_rows(noisy):
    header, rows = noisy.header, noisy.rows
    for axis, field in (("X", "xpos"), ("Y", "ypos"), ("LAMBDA", "lbda")):
        for end, value in (("LOW", rows[field].min()), ("HIGH", rows[field].max())):
            assert header[f"ESO DRS MUSE PIXTABLE LIMITS {axis} {end}"] == pytest.approx(value, rel=1e-6)
    assert header["EXTNAME"] == "CHAN12"
    assert rows["lbda"].min() >= NOISY.lbda_min
    assert rows["lbda"].max() <= NOISY.lbda_max
    assert 48 * 75 * 11 < len(rows) < 48 * 79 * 13


def test_origin_and_offsets_give_the_ccd_position(noisy):
    rows = noisy.rows[origin.slice_of(noisy.rows["origin"]) == 31]
    x = origin.x_of(rows["origin"], noisy.header["ESO DRS MUSE PIXTABLE EXP0 IFU12 SLICE31 XOFFSET"])
    y = origin.y_of(rows["origin"])
    geometry = instrument.slice_geometry(12, 31)
    along = x - geometry.centre(y)
    assert np.abs(along).max() <= geometry.half_width
    np.testing.assert_allclose(rows["xpos"], geometry.position(along)[0], atol=1e-4)
    np.testing.assert_allclose(rows["lbda"], geometry.wavelength(along[:, None], y)[:, 0], atol=1e-3)


def test_same_seed_same_bytes(tmp_path):
    texts = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        (path,) = simulate_exposure(dataclasses.replace(NOISY, seed=seed), tmp_path / name)
        with fits.open(path) as hdus:
            texts.append([hdu.data.tobytes() for hdu in hdus[1:]])
    assert texts[0] == texts[1]
    assert texts[0][:3] == texts[2][:3]  # positions and wavelengths
    assert texts[0][3] != texts[2][3]


def test_rows_do_not_depend_on_the_other_ifus(tmp_path, clean):
    other = load(tmp_path, dataclasses.replace(CLEAN, ifus=(11, 12)), number=1)
    np.testing.assert_array_equal(other.rows, clean.rows)


def electrons_per_flux(spec, lbda):
    """Electrons a pixel for 1e-20 erg/s/cm2/Angstrom, before the level of the IFU."""
    airmass = 1 / np.cos(np.radians(spec.zenith_and_parallactic[0]))
    magnitude = instrument.response_magnitude(lbda) - airmass * sky.extinction(lbda)
    return spec.exptime * 1.25 * 1e-20 * 10 ** (0.4 * magnitude)


def test_data_without_noise_are_the_true_sky(clean):
    rows = clean.rows[origin.slice_of(clean.rows["origin"]) == 17]
    lbda = rows["lbda"].astype(float)
    order = np.argsort(lbda)
    expected = Truth(CLEAN).sky_spectrum(lbda[order], 12, 17) * Truth(CLEAN).level
    found = rows["data"][order] / electrons_per_flux(CLEAN, lbda[order])
    assert np.ptp(expected) > 0.3 * np.median(expected)  # there is a line
    np.testing.assert_allclose(found, expected, rtol=2e-4)
    np.testing.assert_allclose(clean.rows["stat"], clean.rows["data"] * flat(clean) + 2.8**2, rtol=0.03)


def flat(table):
    return instrument.ifu_colour(12, table.rows["lbda"])


def test_variance_is_that_of_the_noise(tmp_path, clean):
    rows = load(tmp_path, dataclasses.replace(CLEAN, noise=True)).rows
    chi = (rows["data"] - clean.rows["data"]) / np.sqrt(rows["stat"])
    assert np.mean(chi**2) == pytest.approx(1, abs=0.2)  # the variance is estimated from few electrons
    sigma = np.sqrt(clean.rows["stat"])
    assert np.std((rows["data"] - clean.rows["data"]) / sigma) == pytest.approx(1, abs=0.02)


def test_bad_pixels_are_flagged_and_cosmic_rays_are_not(tmp_path, clean):
    rows = load(tmp_path / ".", dataclasses.replace(CLEAN, bad_pixels=True)).rows
    bad = rows["dq"] != 0
    assert 0 < bad.mean() < 0.01
    np.testing.assert_array_equal(rows["data"][~bad], clean.rows["data"][~bad])
    hot = rows["dq"] & DQ.HOT != 0
    assert np.all(rows["data"][hot] > 500)
    rows = load(tmp_path, dataclasses.replace(CLEAN, cosmic_rays=True)).rows
    assert np.all(rows["dq"] == 0)
    assert 5 < np.count_nonzero(rows["data"] > clean.rows["data"] + 50) < 1000


def test_flat_field_divides_and_is_attached(tmp_path, clean):
    table = load(tmp_path, dataclasses.replace(CLEAN, flat_field=True))
    spectrum = np.interp(table.rows["lbda"], table.flat_field.lbda, table.flat_field.data)
    colour = instrument.ifu_colour(12, table.rows["lbda"])
    np.testing.assert_allclose(table.rows["data"] * spectrum, clean.rows["data"] * colour, rtol=2e-3)
    assert clean.flat_field is None
    assert "ESO DRS MUSE FLAT FLUX LAMP" in table.header


@pytest.mark.parametrize(
    ("change", "low", "high"),
    [
        ({"transparency": 0.5}, 0.5, 0.5),
        ({"exptime": 1800.0}, 1.9, 2.05),  # at a higher airmass in the mean
        ({"continuum_level": 2.0}, 1.0, 2.0),
        ({"slice_gain_rms": 0.02}, 0.9, 1.1),
        ({"sky_lines": False}, 0.1, 1.0),
    ],
)
def test_switches(tmp_path, clean, change, low, high):
    rows = load(tmp_path, dataclasses.replace(CLEAN, **change)).rows
    ratio = rows["data"] / clean.rows["data"]
    assert low - 1e-5 <= ratio.min()
    assert ratio.max() <= high + 1e-5
    assert np.abs(ratio - 1).max() > 0.005


def test_slice_gains_are_per_slice(tmp_path, clean):
    rows = load(tmp_path, dataclasses.replace(CLEAN, slice_gain_rms=0.02)).rows
    ratio = rows["data"] / clean.rows["data"]
    number = origin.slice_of(rows["origin"])
    means = np.array([ratio[number == n].mean() for n in range(1, 49)])
    assert np.std(means) == pytest.approx(0.02, rel=0.3)
    assert max(np.ptp(ratio[number == n]) for n in range(1, 49)) < 1e-3


def test_telluric_absorption(tmp_path):
    spec = dataclasses.replace(CLEAN, lbda_min=7595.0, lbda_max=7610.0)
    without = load(tmp_path, spec).rows
    rows = load(tmp_path, dataclasses.replace(spec, telluric=True)).rows
    airmass = 1 / np.cos(np.radians(spec.zenith_and_parallactic[0]))
    expected = sky.telluric_transmission(rows["lbda"]) ** airmass
    assert expected.min() < 0.6
    np.testing.assert_allclose(rows["data"] / without["data"], expected, rtol=1e-3)


def test_notch_is_flagged_and_dark(tmp_path):
    spec = dataclasses.replace(CLEAN, mode="WFM-AO-N", lbda_min=5950.0, lbda_max=5985.0)
    rows = load(tmp_path, spec).rows
    inside = rows["lbda"] < 5966
    np.testing.assert_array_equal(rows["dq"], np.where(inside, int(DQ.NOTCH_NAD), 0))
    assert rows["data"][rows["lbda"] < 5954].max() < 0.05 * np.median(rows["data"][~inside])


def test_raman_light_is_only_added_with_the_lasers_on(tmp_path):
    spec = dataclasses.replace(CLEAN, lbda_min=6477.0, lbda_max=6492.0)
    for mode, brighter in (("WFM-NOAO-N", False), ("WFM-AO-N", True)):
        rows = [
            load(tmp_path, dataclasses.replace(spec, mode=mode, raman_flux=flux)).rows["data"] for flux in (0.0, 500.0)
        ]
        assert bool(np.max(rows[1] / rows[0]) > 1.5) is brighter


def test_sources_show_up_where_the_truth_says(tmp_path, clean):
    spec = dataclasses.replace(CLEAN, sources=None)
    rows = load(tmp_path, spec).rows
    excess = (rows["data"] - clean.rows["data"]) / electrons_per_flux(CLEAN, rows["lbda"])
    star = spec.all_sources[0]
    x, y = spec.pointing().pixel(*Truth(spec).source_position(star), 7017.0)
    near = np.hypot(rows["xpos"] - x, rows["ypos"] - y) < 8
    weight = excess[near]
    assert np.average(rows["xpos"][near], weights=weight) == pytest.approx(x, abs=0.3)
    expected = Truth(spec).image_in_pixels(rows["xpos"][near], rows["ypos"][near], 7017.0) * Truth(spec).level
    np.testing.assert_allclose(weight, expected, rtol=0.03, atol=0.5)


def test_table_format_has_the_same_rows(tmp_path, noisy):
    table = load(tmp_path, dataclasses.replace(NOISY, file_format="table"))
    np.testing.assert_array_equal(table.rows, noisy.rows)
    np.testing.assert_array_equal(table.flat_field.data, noisy.flat_field.data)


def test_files_are_valid_fits(tmp_path):
    sets = dataset.make_dataset(tmp_path, [dataclasses.replace(NOISY, mode="WFM-AO-N")])
    assert "raman" in sets
    for path in sorted(tmp_path.rglob("*.fits")):
        with fits.open(path, checksum=True) as hdus:
            hdus.verify("exception")
            assert len(hdus[0].header["DATAMD5"]) == 32
    for sof in sets.values():
        for line in sof.read_text().splitlines():
            name, tag = line.split()
            with fits.open(name) as hdus:
                assert hdus[0].header["ESO PRO CATG"] == tag


def test_exposures_of_a_set_belong_together(tmp_path):
    with pytest.raises(ParameterError, match="found equal date_obs"):
        dataset.make_dataset(tmp_path, [NOISY, NOISY])
    with pytest.raises(ParameterError, match="found flat_field"):
        dataset.make_dataset(tmp_path, [NOISY, CLEAN])


def test_command(tmp_path, capsys):
    folder = tmp_path / "demo"
    arguments = [str(folder), "--ifus", "3,5-6", "--lambda", "7010", "7016", "--exposures", "2", "--format", "table"]
    assert cli.main([*arguments, "--no-flat-field", "--no-noise", "--pointing-error", "0.3"]) == 0
    assert len(list(folder.glob("PIXTABLE_OBJECT_*.fits"))) == 6
    assert (folder / "model.sof").read_text().count("PIXTABLE_OBJECT\n") == 6
    with fits.open(folder / "PIXTABLE_OBJECT_0002-05.fits") as hdus:
        assert len(hdus) == 2
        assert hdus[0].header["ESO INS DROT POSANG"] == 90
    assert cli.main([str(folder), "--ifus", "25"]) == 1
    assert "expected numbers from 1 to 24" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main([str(folder), "--ifus", "1-x"])

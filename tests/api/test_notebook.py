# SPDX-License-Identifier: GPL-2.0-or-later
"""Pixel tables, steps and cubes in a notebook: the same bits as the recipe's, in few lines."""

import re
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from harness import run

import muse_core.api as muse
from muse_core.errors import DataError, InputError, MuseError, ParameterError, ProductError
from muse_core.frontends.pythoncpl.logger import LogList
from muse_core.frontends.pythoncpl.result import Result, Stat
from muse_core.model.compat import OURS
from muse_core.recipe.parameters import Resampling
from muse_core.steps.resample import ResampleOptions

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
LINES, IMPORTS = 15, 1


def notebook_of_the_page() -> str:
    """Return the first example with pixel tables of the page."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return next(block for block in blocks if "PixelTable.read" in block)


def bits(path):
    with fits.open(path) as hdus:
        return {hdu.name: (hdu.data.shape, hdu.data.tobytes()) for hdu in hdus if hdu.name in ("DATA", "STAT")}


def test_few_lines_to_the_cube_of_the_recipe(notebook):
    """From pixel tables to the spectrum of a source with pictures in 15 lines, with one import, and the same bits."""
    code = notebook_of_the_page()
    lines = [line for line in code.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= 120
    assert ";" not in code
    assert len([line for line in lines if re.match(r"\s*(import|from) ", line)]) == IMPORTS
    assert code.count(".plot(") >= 3
    assert "spectrum(" in code
    names = {}
    exec(code, names)
    assert bits(names["cube"].path) == bits("DATACUBE_FINAL.fits")


def test_defaults_are_those_of_the_recipe():
    assert Resampling().options(OURS) == ResampleOptions()


def table(sof="none.sof", **selection):
    return muse.PixelTable.read(sof, **selection)


def test_columns_and_units(notebook, datasets):
    found = table()
    assert len(found) == found.n_rows == len(found.data) > 10000
    files = [fits.getdata(line.split()[0], "lambda").ravel() for line in datasets["small"].frames("none")[:2]]
    np.testing.assert_array_equal(np.sort(found.lbda), np.sort(np.concatenate(files)))
    assert set(np.unique(found.ifu)) == {12, 13}
    assert set(np.unique(found.slice)) <= set(range(1, 49))
    assert found.quantity("lbda").unit == u.AA
    assert found.quantity("stat").unit == u.count**2
    muse.steps.calibrate_flux(found)
    assert found.quantity("data").unit.is_equivalent("erg / (s cm2 Angstrom)")
    made = found.to_table()
    assert len(made) == len(found)
    assert made["stat"].unit == made["data"].unit ** 2
    assert "rows" in repr(found)
    assert "<table>" in found._repr_html_()
    with pytest.raises(ParameterError, match="expected one of xpos"):
        found.quantity("dq")


def test_selections_are_the_same_on_reading_and_after(notebook):
    whole = table()
    muse.steps.correct_refraction(whole)
    ra, dec = whole.sky()
    bright = np.argmax(np.where(whole.dq == 0, whole.data, 0))
    region = (float(ra[bright]), float(dec[bright]), 1.5)
    for selection in (
        {"ifu": 13},
        {"ifu": [12], "slice": range(4, 20)},
        {"good": True, "slice": 7},
        {"lambdamin": 7272.0, "lambdamax": 7275.0},
    ):
        later, early = whole.select(**selection), muse.steps.correct_refraction(table(**selection))
        assert 0 < len(later) == len(early) < len(whole)
        for name in ("xpos", "ypos", "lbda", "dq", "origin", "data", "stat"):
            if name == "data" and "lambdamin" in selection:
                break  # on reading the flat-field spectrum is cut, too, before it is smoothed
            np.testing.assert_array_equal(getattr(later, name), getattr(early, name), err_msg=f"{selection} {name}")
        if (
            "lambdamin" not in selection
        ):  # there the centre of the field is that of the rows that are read, as in the recipe
            np.testing.assert_array_equal(later.sky(), early.sky())
    part = whole.select(region=region)
    assert 0 < len(part) < len(whole) / 20
    inside = muse.Region.circle(*region).contains(ra, dec)
    assert len(part) == np.count_nonzero(inside)
    np.testing.assert_array_equal(part.sky()[0], ra[inside])  # where they are does not change
    assert len(whole.select(where=lambda rows: rows["data"] > 500)) == np.count_nonzero(whole.data > 500)
    with pytest.raises(DataError, match="no rows"):
        whole.select(ifu=3)
    with pytest.raises(DataError, match="no rows"):
        table(ifu=3)


def test_steps_of_two_exposures(datasets, tmp_path, monkeypatch):
    """Two exposures, combined with offsets and weights, on a given grid."""
    data = datasets["smalltwo"]
    outcome = run.ours(data.sofs["offsets"], tmp_path / "recipe", "--skymethod=none", "--save=cube", compat=False)
    assert outcome.status == 0, outcome.output
    monkeypatch.chdir(tmp_path)
    tables = muse.PixelTable.read_all(data.sofs["offsets"])
    assert len(tables) == 2
    for one in tables:
        muse.steps.calibrate_flux(muse.steps.correct_refraction(one))
        muse.steps.project(muse.steps.correct_velocity(one))
    before = [one.data for one in tables]
    both = muse.steps.combine(tables)
    cube = muse.make_cube(both)
    assert bits(cube.path) == bits(tmp_path / "recipe" / "DATACUBE_FINAL.fits")
    for one, old in zip(tables, before, strict=True):  # they stay as they are
        assert one.position_unit == "rad"
        np.testing.assert_array_equal(one.data, old)
    with fits.open(cube.path) as made, fits.open(tmp_path / "recipe" / "DATACUBE_FINAL.fits") as other:
        assert made[0].header["ESO PRO REC1 ID" if "ESO PRO REC2 ID" not in made[0].header else "ESO PRO REC2 ID"]
        names = [k for k in other[0].header if re.search(r"REC\d+ (RAW|CAL)\d+ NAME", k)]
        assert {made[0].header[k] for k in names} == {other[0].header[k] for k in names}
    part = both.select(lambdamin=7272.0)
    assert part._table.weights.first_rows[1] == np.count_nonzero(tables[0].lbda >= np.float32(7272.0))
    with pytest.raises(InputError, match="2 exposures"):
        muse.PixelTable.read(data.sofs["offsets"])
    with pytest.raises(DataError, match="expected all in rad"):
        muse.steps.combine([both])


def test_response_without_flat_field(datasets, tmp_path, monkeypatch):
    """The correction by the flat-field spectrum is taken back for a response that was made without."""
    data = datasets["small"]
    lines = [re.sub(r"\S*/STD_RESPONSE.fits", "response.fits", line) for line in data.frames("none")]
    monkeypatch.chdir(tmp_path)
    Path("mixed.sof").write_text("\n".join(lines) + "\n")
    response = next(line.split()[0] for line in data.frames("none") if "STD_RESPONSE" in line)
    with fits.open(response) as hdus:
        del hdus[0].header["ESO DRS MUSE FLUX FFCORR"]
        hdus.writeto("response.fits")
    sof = tmp_path / "mixed.sof"
    outcome = run.ours(sof, tmp_path, "--skymethod=none", "--save=cube", compat=False)
    assert outcome.status == 0, outcome.output
    assert "taken back" in outcome.output
    one = muse.steps.calibrate_flux(muse.steps.correct_refraction(table(sof)))
    cube = muse.make_cube(muse.steps.project(muse.steps.correct_velocity(one)))
    assert bits(cube.path) == bits("DATACUBE_FINAL.fits")


def test_tables_are_written_and_read(notebook):
    one = muse.steps.project(muse.steps.calibrate_flux(table()))
    one.write("projected.fits")
    again = muse.PixelTable.read("projected.fits")
    assert again.position_unit == "rad"
    for name in ("xpos", "lbda", "data", "stat", "origin"):
        np.testing.assert_array_equal(getattr(one, name), getattr(again, name))
    assert bits(muse.make_cube(again).path) == bits(muse.make_cube(one).path)
    with pytest.raises(ProductError, match="projected.fits"):
        one.write("projected.fits")
    assert sorted(path.name for path in notebook.iterdir() if path.name.startswith(".")) == []


def test_cube(notebook):
    cube = muse.Cube.open("DATACUBE_FINAL.fits")
    nz, ny, nx = cube.shape
    assert cube.data.shape == cube.stat.shape == cube.dq.shape == (nz, ny, nx)
    np.testing.assert_array_equal(cube.dq == 0, np.isfinite(cube.data))
    white = cube.image()
    y, x = np.nonzero(np.isfinite(cube.data).any(axis=0))
    np.testing.assert_allclose(white.data[y, x], np.nanmean(cube.data.astype(float)[:, y, x], axis=0), rtol=1e-5)
    spectral = cube.wcs.spectral.wcs_pix2world(np.arange(nz), 0)[0] * 1e10
    np.testing.assert_allclose(cube.wave, spectral, rtol=1e-12)
    y, x = np.unravel_index(np.nanargmax(white.data), white.data.shape)
    ra, dec = cube.wcs.celestial.wcs_pix2world(x, y, 0)
    spectrum = cube.spectrum(float(ra), float(dec), 0.11)
    np.testing.assert_allclose(spectrum.data, cube.data[:, y, x], rtol=1e-6)
    assert cube.to_nddata().unit == 1e-20 * u.erg / u.s / u.cm**2 / u.AA
    assert "<img" in cube._repr_html_()
    with pytest.raises(ParameterError, match="no spaxel"):
        cube.spectrum(0.0, 0.0, 1.0)
    with pytest.raises(ParameterError, match="Nonsense"):
        cube.image("Nonsense")
    with pytest.raises(InputError, match="none.sof"):
        muse.Cube.open("none.sof")


@pytest.mark.filterwarnings("ignore:Error parsing the BUNIT")  # MPDAF with astropy 8
def test_products_are_opened(notebook, reduced):
    """As what they are, in one call: from a folder, and from memory."""
    paths = [("DATACUBE_FINAL", "DATACUBE_FINAL.fits"), ("IMAGE_FOV", str(reduced / "IMAGE_FOV_0001.fits"))]
    paths.append(("SKY_LINES", str(reduced / "SKY_LINES_0001.fits")))
    with fits.open(paths[0][1]) as hdus, fits.open(paths[1][1]) as image:
        kept, read = (
            Result(items, Stat(0, 0.0, 0.0), LogList(), always_lists=False)
            for items in (paths, [("DATACUBE_FINAL", hdus), ("IMAGE_FOV", image)])
        )
        for result in (kept, read):
            with result.open("DATACUBE_FINAL") as cube:
                assert bits(cube.path) == bits("DATACUBE_FINAL.fits")
                shape = cube.to_mpdaf().shape
                assert shape == cube.shape == cube.to_nddata().shape
            white = result.open("IMAGE_FOV")
            found = white.to_mpdaf()
            np.testing.assert_array_equal(np.ma.filled(found.data, np.nan), white.data)
            np.testing.assert_allclose(found.get_start(), white.wcs.wcs_pix2world(0, 0, 0)[::-1], rtol=1e-9)
            assert white.to_nddata().unit == 1e-20 * u.erg / u.s / u.cm**2 / u.AA
            text = result._repr_html_()
            assert " x ".join(map(str, shape[::-1])) in text
            assert text.count("<img") == 2
        assert len(kept.open("SKY_LINES")) == len(fits.getdata(paths[2][1], 1))
        assert "MB" in repr(kept)


def test_sky_is_written_as_by_the_recipe(notebook, reduced, datasets):
    one = muse.steps.calibrate_flux(muse.steps.correct_refraction(table("model.sof")))
    sky = muse.steps.sky.fit(one)
    written = sky.write()
    assert {path.name for path in written} == {path.name for path in reduced.glob("SKY_*.fits")}
    for path in written:
        with fits.open(path) as own, fits.open(reduced / path.name) as other:
            assert [hdu.name for hdu in own] == [hdu.name for hdu in other]
            for a, b in zip(own, other, strict=True):
                assert (a.data is None) == (b.data is None)
                assert a.data is None or a.data.tobytes() == b.data.tobytes()
    with pytest.raises(ProductError, match="SKY_"):
        sky.write()
    with pytest.raises(ProductError, match="nothing"):
        muse.steps.sky.fit(table(datasets["small"].sofs["subtract"]), method="subtract-model").write()
    assert not [path for path in notebook.iterdir() if path.name.startswith(".")]


def test_filters_of_a_cube(notebook, reduced):
    one = muse.steps.calibrate_flux(muse.steps.correct_refraction(table("model.sof")))
    muse.steps.subtract_sky(one, muse.steps.sky.fit(one))
    muse.steps.project(muse.steps.correct_velocity(one))
    cube = muse.make_cube(one, filter="white,sim_7030")
    with fits.open(reduced / "IMAGE_FOV_0001.fits") as hdus:
        np.testing.assert_array_equal(cube.image("white").data, hdus["DATA"].data)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda t: muse.steps.correct_velocity(t, "moon"), "expected one of bary"),
        (lambda t: muse.steps.autocalibrate(t, "magic"), "expected deepfield or user"),
        (lambda t: muse.steps.sky.fit(t, method="magic"), "expected one of model"),
        (lambda t: muse.make_cube(t, resample="magic"), "expected one of nearest"),
        (lambda t: muse.make_cube(t, pixfrac=(1, 2, 3, 4)), "pixfrac"),
        (lambda t: muse.steps.calibrate_flux(t, response="nothing.fits"), "nothing.fits"),
        (lambda t: muse.steps.clean_raman(t), "RAMAN_LINES"),
        (lambda t: muse.steps.project(muse.steps.project(t)), "expected them in pix"),
        (lambda t: t.plot("magic"), "expected field"),
        (lambda t: t.select(region="triangle(1,2,3)"), "expected one as circle"),
        (lambda t: muse.PixelTable.read({"SKY_LINES": "a.fits"}), "no pixel table"),
    ],
)
def test_messages(notebook, call, says):
    with pytest.raises(MuseError, match=says):
        call(table())


def test_pictures(notebook):
    one = table()
    for axes in (one.plot(), one.plot("detector", ifu=12), one.plot("spectrum")):
        axes.figure.savefig("picture.png")
        assert Path("picture.png").stat().st_size > 5000
    image = one.plot("detector", ifu=13).images[0].get_array()
    assert np.count_nonzero(np.isfinite(image.filled(np.nan))) == np.count_nonzero((one.ifu == 13) & (one.dq == 0))

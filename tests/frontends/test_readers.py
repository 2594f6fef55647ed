# SPDX-License-Identifier: GPL-2.0-or-later
"""Other programs read the products, and see in them what we put there: astropy, fitsverify, MPDAF."""

import shutil
import subprocess
import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning
from mpdaf import drs, obj

import muse_core

SAVE = "cube,autocal,raman,skymodel,individual,positioned,combined,stacked"
CUBES = ("Cube", "xCube", "sdpCube")
FORMATS = (*CUBES, "Euro3D", "xEuro3D")
FILTERS = ("white", "NARROW")
STEP_ARCSEC = 0.2
#: MPDAF leaves files open; units with several slashes, as ESO writes them, are against the advice of the standard.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::astropy.units.UnitsWarning"),
]


@pytest.fixture(scope="module")
def filters(tmp_path_factory):
    """A filter within the wavelengths of the data."""
    lbda = np.linspace(6470, 6505, 71)
    curve = np.sin(np.pi * (lbda - lbda[0]) / (lbda[-1] - lbda[0])) ** 2
    columns = [fits.Column("lambda", "D", unit="Angstrom", array=lbda), fits.Column("throughput", "D", array=curve)]
    path = tmp_path_factory.mktemp("filters") / "filters.fits"
    primary = fits.PrimaryHDU()
    primary.header["HIERARCH ESO PRO CATG"] = "FILTER_LIST"
    fits.HDUList([primary, fits.BinTableHDU.from_columns(columns, name="NARROW")]).writeto(path)
    return path


@pytest.fixture(scope="module")
def products(datasets, filters, tmp_path_factory):
    """Return a function from a format to the folder with all products there are, of an exposure with sky and lasers."""
    made = {}

    def folder(form):
        if form not in made:
            made[form] = tmp_path_factory.mktemp(form)
            frames = {}
            for line in datasets["raman"].frames("raman", "FILTER_LIST") + [f"{filters} FILTER_LIST"]:
                path, tag = line.split()
                frames.setdefault(tag, []).append(path)
            settings = {"format": form, "filter": ",".join(FILTERS), "autocalib": "deepfield"}
            settings["save"] = SAVE if form == "Cube" else "cube"
            recipe = muse_core.Recipe("muse_scipost")
            recipe.output_dir = str(made[form])
            recipe(frames.pop("PIXTABLE_OBJECT"), param=settings, calib=frames)
        return made[form]

    return folder


def data_and_stat(path):
    with fits.open(path) as hdus:
        return hdus["DATA"].data, hdus["STAT"].data


def test_all_products_are_there(products):
    tags = {fits.getheader(path)["ESO PRO CATG"] for path in products("Cube").glob("*.fits")}
    assert tags == set(muse_core.Recipe("muse_scipost").output["PIXTABLE_OBJECT"])


@pytest.mark.parametrize("form", FORMATS)
def test_astropy_finds_nothing_wrong(products, form):
    """Neither with the standard nor with the checksums: a wrong one is a warning, and warnings are errors here."""
    for path in products(form).glob("*.fits"):
        with fits.open(path, checksum=True) as hdus:
            hdus.verify("exception")
            for hdu in hdus:
                assert {"CHECKSUM", "DATASUM"} <= set(hdu.header), path.name
                assert hdu.data is None or hdu.data.size


@pytest.mark.parametrize("form", FORMATS)
def test_fitsverify_finds_no_error(products, form):
    """It warns of the coordinates of the columns in headers without data, which the reference writes there, too."""
    program = shutil.which("fitsverify")
    if program is None:
        pytest.skip("fitsverify is not installed")
    for path in products(form).glob("*.fits"):
        done = subprocess.run([program, str(path)], capture_output=True, text=True, timeout=100, check=False)
        problems = [line for line in done.stdout.splitlines() if line.startswith("***")]
        assert problems[-1].endswith("0 error(s). ****") or "no errors" in done.stdout, done.stdout
        assert all("not in range 1-0 (NAXIS)" in line for line in problems if line.startswith("*** ")), done.stdout


@pytest.mark.parametrize("form", CUBES)
def test_cubes_in_mpdaf(products, form):
    path = products(form) / "DATACUBE_FINAL.fits"
    data, stat = data_and_stat(path)
    cube = obj.Cube(str(path))
    assert str(cube.unit) == "1e-20 erg / (Angstrom s cm2)"
    np.testing.assert_array_equal(cube.mask, np.isnan(data))
    np.testing.assert_array_equal(cube.data.filled(np.nan), data)
    np.testing.assert_array_equal(np.where(cube.mask, np.nan, cube.var), stat)
    header = fits.getheader(path, "DATA")
    planes = np.arange(len(data))
    lbda = header["CRVAL3"] + (planes + 1 - header["CRPIX3"]) * header["CD3_3"]
    assert str(cube.wave.unit) == "Angstrom"
    np.testing.assert_allclose(cube.wave.coord(planes), lbda, rtol=1e-12)
    assert cube.wave.get_step() == header["CD3_3"] == 1.25
    pixels = np.array([(0.0, 0.0), (3.0, 100.0), (20.0, 7.5)])  # y, x
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        ra, dec = WCS(header).celestial.wcs_pix2world(pixels[:, 1], pixels[:, 0], 0)
    np.testing.assert_allclose(cube.wcs.pix2sky(pixels), np.transpose([dec, ra]), rtol=0, atol=1e-10)
    np.testing.assert_allclose(cube.get_step()[1:] * 3600, STEP_ARCSEC, rtol=1e-6)


@pytest.mark.parametrize("n", [1, 2])
def test_images_of_filters_in_mpdaf(products, filters, n):
    """The image of a filter is what MPDAF makes of the cube, which takes the mean of the curve in each plane."""
    image = obj.Image(str(products("Cube") / f"IMAGE_FOV_{n:04d}.fits"))
    cube = obj.Cube(str(products("Cube") / "DATACUBE_FINAL.fits"))
    assert image.wcs.isEqual(cube.wcs)
    assert image.unit == cube.unit
    name = image.primary_header["ESO DRS MUSE FILTER NAME"]
    assert name == FILTERS[n - 1]
    if name == "white":
        expected, rtol = cube.mean(axis=0), 1e-5
    else:
        curve = fits.getdata(filters, name)
        expected, rtol = cube.bandpass_image(curve["lambda"], curve["throughput"]), 1e-3
    np.testing.assert_array_equal(image.mask, expected.mask)
    noise = np.median(np.sqrt(expected.var.data[~expected.mask]))
    np.testing.assert_allclose(image.data.compressed(), expected.data.compressed(), rtol=rtol, atol=0.05 * noise)


@pytest.mark.parametrize(
    ("product", "unit", "projection"),
    [
        ("PIXTABLE_REDUCED_0001", "rad", "projected"),
        ("PIXTABLE_POSITIONED_0001", "deg", "positioned"),
        ("PIXTABLE_COMBINED", "deg", "positioned"),
    ],
)
def test_pixel_tables_in_mpdaf(products, product, unit, projection):
    path = products("Cube") / f"{product}.fits"
    table = drs.PixTable(str(path))
    with fits.open(path) as hdus:
        columns = {hdu.name.lower(): hdu.data.ravel() for hdu in hdus[1:] if hdu.is_image}
        primary = hdus[0].header
    assert table.nrows == len(columns["data"])
    for name in ("xpos", "ypos", "lambda", "data", "stat", "dq", "origin"):
        np.testing.assert_array_equal(getattr(table, f"get_{name}")(), columns[name], err_msg=name)
    assert (table.wcs, table.wave, table.projection) == (unit, "Angstrom", projection)
    assert table.fluxcal
    assert set(table.origin2ifu(columns["origin"])) == {12, 13}
    assert set(table.origin2slice(columns["origin"])) == set(range(1, 49))
    if projection == "positioned":
        for found, name, key in zip(table.get_pos_sky(), ("xpos", "ypos"), ("CRVAL1", "CRVAL2"), strict=True):
            np.testing.assert_allclose(found, columns[name] + primary[key], rtol=0, atol=1e-5)

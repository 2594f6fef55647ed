# SPDX-License-Identifier: GPL-2.0-or-later
"""The extra noise: the product of a run, and what users do with it."""

import os
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from harness import child

from muse_core.errors import DataError, InputError
from muse_core.frontends.esorex import main
from muse_core.io.noise import read_noise
from muse_core.noise import Noise
from muse_core.steps.noise.correlation import decode

NAME = "NOISE_CORRELATION.fits"


@pytest.fixture(scope="module")
def reduce(datasets, tmp_path_factory):
    """Return a function that runs a recipe in a folder of its own; returns this."""

    def run(label: str, *arguments: str, recipe: str = "muse_scipost", data: str = "small", sof="none"):
        folder = tmp_path_factory.mktemp(label)
        here, before = os.getcwd(), os.environ.pop("MUSE_EXTRAS", None)
        os.chdir(folder)
        try:
            options = [item for item in arguments if item.startswith("--extras")]
            rest = [item for item in arguments if item not in options]
            path = sof if isinstance(sof, Path) else datasets[data].sofs[sof]
            status = main.main([*options, recipe, *rest, str(path)], "muse-esorex")
        finally:
            os.chdir(here)
            os.environ.pop("MUSE_EXTRAS", None)  # the option sets it
            if before is not None:
                os.environ["MUSE_EXTRAS"] = before
        assert status == 0
        return folder

    return run


@pytest.fixture(scope="module")
def made(reduce):
    """Folder of a cube of one exposure, of which the sky was subtracted, with its noise."""
    return reduce("made", "--skymethod=simple", "--extras=noise")


def _sums(folder) -> dict:
    """Return DATASUM by product and extension."""
    found = {}
    for path in sorted(folder.glob("*.fits")):
        with fits.open(path) as hdus:
            found |= {(path.name, number): hdu.header["DATASUM"] for number, hdu in enumerate(hdus)}
    return found


def test_product(made):
    with fits.open(made / NAME) as hdus, fits.open(made / "DATACUBE_FINAL.fits") as cube:
        hdus.verify("exception")
        assert [hdu.name for hdu in hdus[1:]] == [
            *("PATTERN", "SPECTRAL", "OFFSETS", "PATTERN_PLANES", "SPECTRAL_PLANES", "NOISE")
        ]
        nz, ny, nx = cube["DATA"].shape
        primary = hdus[0].header
        assert (primary["ESO PRO CATG"], primary["ESO DRS MUSE EXTRA"]) == ("NOISE_CORRELATION", "noise")
        assert primary["ESO PRO REC2 RAW1 CATG"] == "PIXTABLE_OBJECT"
        for key in ("CRPIX1", "CRPIX2", "CRPIX3", "CRVAL1", "CRVAL2", "CRVAL3", "CD1_1", "CD2_2", "CD3_3", "CTYPE3"):
            assert primary[key] == cube["DATA"].header[key]
        assert hdus["PATTERN"].shape == (len(hdus["PATTERN_PLANES"].data), len(hdus["OFFSETS"].data), ny, nx)
        assert hdus["SPECTRAL"].shape == (len(hdus["SPECTRAL_PLANES"].data), 1, ny, nx)
        table = hdus["NOISE"].data
        np.testing.assert_allclose(table["WAVELENGTH"], WCS(cube["DATA"].header).spectral.pixel_to_world(range(nz)).AA)
        inner = slice(1, nz - 1)
        np.testing.assert_allclose(np.median(table["RATIO1"][inner]), 1, atol=0.1)
        np.testing.assert_allclose(np.median(table["RATIO3"][inner] / table["PREDICTED3"][inner]), 1, atol=0.1)
        assert np.all(table["PREDICTED5"] > 1.2)
        assert all(np.all(table[name][inner] > 1000) for name in ("N1", "N3", "N5"))
        sky = table["SKY_VARIANCE"][inner]
        typical = np.nanmedian(cube["STAT"].data)
        assert np.all((sky > 0) & (sky < typical / 50))


def test_file_as_others_read_it(made):
    """Coefficients by the scaling of the header are those that we decode."""
    file = read_noise(made / NAME)
    with fits.open(made / NAME) as hdus, warnings.catch_warnings():
        warnings.simplefilter("ignore", fits.verify.VerifyWarning)  # astropy forgets that BLANK is for the integers
        found = {name: hdus[name].data for name in ("PATTERN", "SPECTRAL")}
    np.testing.assert_allclose(found["PATTERN"], decode(file.pattern), rtol=0, atol=1e-6)
    np.testing.assert_allclose(found["SPECTRAL"], decode(file.spectral), rtol=0, atol=1e-6)
    assert np.isnan(found["SPECTRAL"]).any()
    assert np.isnan(found["PATTERN"]).any()


def test_others_are_the_same(reduce, made):
    plain = reduce("plain", "--skymethod=simple")
    expected = _sums(plain)
    assert {key: value for key, value in _sums(made).items() if key[0] != NAME} == expected
    assert len(expected) > 6


@pytest.mark.reference
def test_with_esorex_and_the_plugin(datasets, made, tmp_path):
    plugins = subprocess.run(
        [sys.executable, "-m", "muse_core.frontends.esorex.main", "--plugin-dir"],
        cwd=tmp_path,  # not the sources, which have no kernels
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    ).stdout.strip()
    command = [shutil.which("esorex"), "--output-dir=products", f"--recipe-dir={plugins}", "muse_scipost"]
    (tmp_path / "products").mkdir()
    environment = {**os.environ, "MUSE_EXTRAS": "noise"}
    sof = str(datasets["small"].sofs["none"])
    done = subprocess.run(
        [*command, "--skymethod=simple", sof],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert _sums(tmp_path / "products") == _sums(made)


def test_from_an_interrupted_run(datasets, tmp_path):
    """What was seen of exposure and planes is taken over with them."""
    sof = str(datasets["small"].sofs["none"])
    (tmp_path / "resume").mkdir()
    sums = {}
    for label, how, status in (("killed", {"records": 3}, -signal.SIGKILL), ("again", {}, 0), ("whole", {}, 0)):
        resume = {"MUSE_RESUME": str(tmp_path / "resume")} if label != "whole" else {}
        environment = {"OMP_NUM_THREADS": "1", "MUSE_EXTRAS": "noise", **resume}
        arguments = ["muse_scipost", "--skymethod=simple", "--resample=linear", sof]
        process = child.start(tmp_path / label, arguments, environment, planes=2, **how)
        process.join()
        output = (tmp_path / label / child.OUTPUT).read_text()
        assert process.exitcode == status, output
        sums[label] = _sums(tmp_path / label)
        if label == "again":
            assert "planes: taken over" in output
            assert np.all(read_noise(tmp_path / label / NAME).noise["SKY_VARIANCE"][1:-1] > 0)
    assert sums["killed"] == {}
    assert sums["again"] == sums["whole"]
    assert (NAME, 1) in sums["whole"]


def test_two_exposures(reduce):
    """The share of an exposure is that of its weight; without weights all are equal."""
    common = "--skymethod=simple", "--extras=noise"
    folder = reduce("two", *common, data="two", sof="offsets")
    equal = reduce("equal", *common, "--weight=none", data="two", sof="offsets")
    found = [read_noise(path / NAME).noise["SKY_VARIANCE"][2:-2] for path in (folder, equal)]
    assert np.all(found[1] > 0)
    np.testing.assert_allclose(found[0], found[1], rtol=0.3)  # exposure times are alike


@pytest.mark.parametrize(
    ("arguments", "measured"),
    [
        (("--format=xCube", "--skymethod=none"), True),
        (("--format=Euro3D", "--skymethod=none"), False),
        (("--resample=nearest", "--skymethod=none"), True),
        (("--resample=lanczos", "--skymethod=none", "--dlambda=2.5"), True),
    ],
    ids=lambda item: item[0] if isinstance(item, tuple) else "",
)
def test_formats_and_methods(reduce, arguments, measured):
    folder = reduce("other", "--extras=noise", *arguments)
    file = read_noise(folder / NAME)
    assert np.isfinite(file.noise["RATIO1"]).any() == measured
    assert (len(file.offsets) == 0) == ("--resample=nearest" in arguments)
    assert np.isnan(file.noise["SKY_VARIANCE"]).all()
    if "--resample=nearest" in arguments:
        noise = Noise(folder / "DATACUBE_FINAL.fits")
        with fits.open(folder / "DATACUBE_FINAL.fits") as hdus:
            stat = np.nan_to_num(hdus["STAT"].data.astype(float))
        np.testing.assert_allclose(noise.variance(np.ones(stat.shape[1:])), stat.sum(axis=(1, 2)))
        assert noise.aperture_factor(0.6, 7005) == 1


def test_no_cube_no_noise(reduce, caplog):
    folder = reduce("none", "--extras=noise", "--skymethod=none", "--save=individual")
    assert not (folder / NAME).exists()
    assert "there is no noise of it" in caplog.text


def test_make_cube_and_combine_offer_it(reduce):
    """Also of a cube that is not on the sky."""
    folder = reduce("make", "--extras=noise", recipe="muse_scipost_make_cube")
    noise = Noise(folder / "DATACUBE_FINAL.fits")
    assert noise.aperture(20, 6, 2.0).sum() == 13  # spaxels
    assert np.all(noise.variance(noise.aperture(150, 8, 2.0))[1:-1] > 0)


def test_exp_combine(reduce, tmp_path):
    """The same cube of the same rows has the same correlations; how well the sky is known is not told by its tables."""
    arguments = "--skymethod=simple", "--extras=noise", "--weight=none"
    folder = reduce("rows", *arguments, "--save=cube,individual", data="two")
    tables = sorted(folder.glob("PIXTABLE_REDUCED_*.fits"))
    assert len(tables) == 2
    (tmp_path / "two.sof").write_text("".join(f"{path} PIXTABLE_REDUCED\n" for path in tables))
    combined = reduce("combined", *arguments[1:], recipe="muse_exp_combine", sof=tmp_path / "two.sof")
    noises = [Noise(path / "DATACUBE_FINAL.fits") for path in (folder, combined)]
    assert noises[0].shape == noises[1].shape
    aperture = noises[0].aperture(150, 6, 0.8)
    found, expected = (noise.variance(aperture)[1:-1] for noise in (noises[1], noises[0]))
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    assert np.isnan(noises[1].table["SKY_VARIANCE"]).all()
    assert np.isfinite(noises[1].table["RATIO3"]).any()


def test_uses_agree(made):
    """A spectrum, its covariance matrix, single numbers, images and Covariance tell the same."""
    noise = Noise(made / "DATACUBE_FINAL.fits")
    nz, ny, nx = noise.shape
    aperture = noise.aperture(60, 5, 0.6)
    assert 20 < aperture.sum() < 40
    spectrum = noise.variance(aperture)
    matrix = noise.spectrum_covariance(aperture).toarray()
    assert np.array_equal(np.diag(matrix), spectrum)
    assert np.array_equal(matrix, matrix.T)
    assert np.linalg.eigvalsh(matrix).min() > 0
    planes = np.linspace(0, 1, nz)
    number = noise.variance(aperture, planes)
    np.testing.assert_allclose(number, planes @ matrix @ planes)
    np.testing.assert_allclose(noise.variance(planes[:, None, None] * aperture), number)
    np.testing.assert_allclose(noise.spectrum_covariance(aperture, (2, 5)).toarray(), matrix[2:5, 2:5])
    single = np.zeros((ny, nx))
    single[5, 150] = 1
    np.testing.assert_allclose(noise.variance(planes=planes)[5, 150], noise.variance(single, planes))
    with fits.open(made / "DATACUBE_FINAL.fits") as hdus:
        stat = np.nan_to_num(hdus["STAT"].data.astype(float))
    np.testing.assert_allclose(noise.variance(single), stat[:, 5, 150])
    assert np.all(spectrum[1:-1] > 1.2 * (stat * aperture).sum(axis=(1, 2))[1:-1])
    factor = noise.aperture_factor(0.6, noise.wavelength[4])
    np.testing.assert_allclose(factor**2, spectrum[4] / (stat * aperture)[4].sum(), rtol=0.2)
    sky = noise.table["SKY_VARIANCE"]
    np.testing.assert_allclose(noise.variance(aperture, sky=True) - spectrum, aperture.sum() ** 2 * sky)
    assert noise.variance(np.zeros((ny, nx)), planes) == 0
    assert noise.variance(aperture, np.zeros(nz)) == 0


def test_covariance_of_astropy(made):
    covariance = pytest.importorskip("astropy.nddata").Covariance
    noise = Noise(made / "DATACUBE_FINAL.fits")
    found = noise.covariance(4, y=(2, 8), x=(100, 112))
    assert isinstance(found, covariance)
    assert found.data_shape == (6, 12)
    dense = found.to_dense()
    weights = np.zeros(noise.shape[1:])
    weights[2:8, 100:112] = np.random.default_rng(1).normal(size=(6, 12))
    w = weights[2:8, 100:112].ravel()
    np.testing.assert_allclose(w @ dense @ w, noise.variance(weights)[4])
    again = covariance.from_table(found.to_table())
    np.testing.assert_allclose(again.to_dense(), dense)
    with fits.open(made / "DATACUBE_FINAL.fits") as hdus:
        image = np.nan_to_num(hdus["STAT"].data[4, 2:8, 100:112].astype(float))
    np.testing.assert_allclose(found.variance.reshape(6, 12), image, rtol=1e-6)


def test_part_of_a_cube(made, tmp_path):
    whole = Noise(made / "DATACUBE_FINAL.fits")
    aperture = whole.aperture(150, 5, 0.4)
    with fits.open(made / "DATACUBE_FINAL.fits") as hdus:
        stat, wcs = hdus["STAT"].data[2:7, 1:11, 120:180], WCS(hdus["STAT"].header)[2:7, 1:11, 120:180]
        hdu = fits.ImageHDU(4 * stat, wcs.to_header(), name="STAT")
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / "part.fits")
    shutil.copy(made / NAME, tmp_path)
    for cube in (tmp_path / "part.fits", (4 * stat, wcs), fits.HDUList([fits.PrimaryHDU(), hdu])):
        part = Noise(cube, made / NAME)
        assert part.shape == (5, 10, 60)
        np.testing.assert_allclose(part.wavelength, whole.wavelength[2:7])
        found = part.variance(aperture[1:11, 120:180])
        # of planes beyond the part, in which coefficients are kept, the variances are not known
        np.testing.assert_allclose(found, 4 * whole.variance(aperture)[2:7], rtol=0.01)
    assert Noise(tmp_path / "part.fits").shape == (5, 10, 60)
    with fits.open(made / "DATACUBE_FINAL.fits") as hdus:  # all planes: the same
        stat, wcs = hdus["STAT"].data[:, :11, 120:180], WCS(hdus["STAT"].header)[:, :11, 120:180]
        found = Noise((stat, wcs), made / NAME).variance(aperture[:11, 120:180])
    np.testing.assert_allclose(found, whole.variance(aperture), rtol=1e-5)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::astropy.units.UnitsWarning")
def test_mpdaf(made):
    """MPDAF opens the cube as before; a part of it as MPDAF cuts it out is a part for us."""
    mpdaf = pytest.importorskip("mpdaf.obj")
    cube = mpdaf.Cube(str(made / "DATACUBE_FINAL.fits"))
    part = cube[2:7, 1:11, 120:180]
    header = part.get_wcs_header()
    noise = Noise((part.var, header), made / NAME)
    whole = Noise(made / "DATACUBE_FINAL.fits")
    weights = np.ones((10, 60))
    full = np.zeros(whole.shape[1:])
    full[1:11, 120:180] = 1
    np.testing.assert_allclose(noise.variance(weights), whole.variance(full)[2:7], rtol=0.01)


def test_what_cannot_be(made, tmp_path):
    noise = Noise(made / "DATACUBE_FINAL.fits")
    with pytest.raises(DataError, match=r"weights: found shape \(3, 3\), expected"):
        noise.variance(np.ones((3, 3)))
    with pytest.raises(DataError, match="planes: found shape"):
        noise.variance(planes=np.ones(3))
    with pytest.raises(DataError, match="found no weights"):
        noise.variance()
    with fits.open(made / "DATACUBE_FINAL.fits") as hdus:
        header = hdus["STAT"].header.copy()
        stat = hdus["STAT"].data.copy()
    header["CRPIX1"] += 0.3
    with pytest.raises(DataError, match="no part of the one that it was made with"):
        Noise((stat, header), made / NAME)
    header["CRPIX1"] += 99.7
    with pytest.raises(DataError, match="no part of the one"):
        Noise((stat, header), made / NAME)
    with pytest.raises(InputError, match="expected its file name"):
        Noise((stat, header))
    with pytest.raises(InputError, match=r"found no extension PATTERN, .*, expected a NOISE_CORRELATION"):
        Noise(made / "DATACUBE_FINAL.fits", made / "DATACUBE_FINAL.fits")
    with pytest.raises(InputError, match="No such file"):
        Noise(tmp_path / "nothing.fits")
    with pytest.raises(InputError, match="expected 3"):
        Noise((stat[0], header), made / NAME)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Products made again from their own headers: same bits, or a refusal that names what is missing or has changed."""

import re
import shutil

import pytest
from astropy.io import fits
from harness import compare, run

import muse_core
from muse_core.errors import InputError
from muse_core.frontends.esorex import main
from muse_core.io import verify

OPTIONS = ("--skymethod=simple", "--dlambda=2.5", "--resample=linear", "--save=cube,skymodel")
CUBE = "DATACUBE_FINAL.fits"


@pytest.fixture(scope="module")
def made(datasets, tmp_path_factory):
    """Folder of the files of a data set of our own, with a folder of what was made of them."""
    folder = tmp_path_factory.mktemp("redo")
    shutil.copytree(datasets["small"].folder, folder / "data")
    sof = folder / "mine.sof"
    sof.write_text(
        datasets["small"].sofs["none"].read_text().replace(str(datasets["small"].folder), str(folder / "data"))
    )
    outcome = run.ours(sof, folder / "reduced", *OPTIONS, compat=False)
    assert outcome.status == 0, outcome.output
    return folder


def command(capfd, *arguments):
    """Run the command in this process; return status and output."""
    capfd.readouterr()
    status = main.main(["--log-level=off", *map(str, arguments)], "muse-esorex")
    return status, "".join(capfd.readouterr())


@pytest.fixture
def again(tmp_path, monkeypatch):
    """Be in an empty folder, with another environment than that of the product."""
    monkeypatch.chdir(tmp_path)
    for name, value in (("MUSE_COMPAT", "2.8.7"), ("MUSE_EXTRAS", ""), ("OMP_NUM_THREADS", "2")):
        monkeypatch.setenv(name, value)
    return tmp_path


def data_of(path):
    with fits.open(path) as hdus:
        return hdus[0].header["DATAMD5"], [hdu.header.get("DATASUM") for hdu in hdus[1:]]


def test_same_bits(made, again, capfd):
    search = f"--search-path={made / 'data'}"
    status, output = command(capfd, search, "--redo", made / "reduced" / CUBE)
    assert status == 0, output
    assert data_of(again / CUBE) == data_of(made / "reduced" / CUBE)
    assert {path.name for path in again.iterdir()} == {path.name for path in (made / "reduced").glob("*.fits")}
    header = fits.getheader(again / CUBE)
    assert header["ESO DRS MUSE SCIPOST COMPAT"] == "none"


def test_other_parameters(made, again, capfd):
    search = f"--search-path={made / 'data'}"
    status, output = command(capfd, search, "--redo", made / "reduced" / CUBE, "--dlambda=5", "--save=cube")
    assert status == 0, output
    with fits.open(again / CUBE) as cube, fits.open(made / "reduced" / CUBE) as old:
        assert cube["DATA"].header["CD3_3"] == 5 == 2 * old["DATA"].header["CD3_3"]
    assert not (again / "SKY_SPECTRUM_0001.fits").exists()


def test_dry_run_says_what_is_missing(made, again, capfd):
    status, output = command(capfd, "--redo", made / "reduced" / CUBE, "--dry-run", "--dx=0.3")
    assert status != 0
    assert "# missing: STD_RESPONSE.fits STD_RESPONSE" in output
    assert "# --dx=0.3" in output
    assert "# --resample=linear" in output
    assert "# --skymethod=simple" in output
    assert "PIXTABLE_OBJECT PIXTABLE_OBJECT_0001-12.fits: found in none of" in output
    assert not list(again.iterdir())
    status, output = command(capfd, f"--search-path={made}", "--dry-run", "--redo", made / "reduced" / CUBE)
    assert status == 0, output
    assert f"{made / 'data' / 'PIXTABLE_OBJECT_0001-12.fits'} PIXTABLE_OBJECT\n" in output
    assert not list(again.iterdir())


@pytest.mark.parametrize("name", ["PIXTABLE_OBJECT_0001-13.fits", "calib/STD_RESPONSE.fits"])
@pytest.mark.parametrize("place", [-4000, 1000])
def test_one_byte(made, again, capfd, name, place):
    shutil.copytree(made / "data", again / "data")
    path = again / "data" / name
    content = bytearray(path.read_bytes())
    if place > 0:  # in a comment
        place = content.find(b" / ") + 3
    content[place] ^= 1
    path.write_bytes(content)
    status, output = command(capfd, "--search-path=data", "--redo", made / "reduced" / CUBE)
    assert status != 0
    assert re.search(rf"ERROR .*{path.name}.*(DATASUM|CHECKSUM)", output), output
    assert not list(again.glob("*.fits"))
    with pytest.raises(InputError, match=path.name):
        muse_core.Recipe.from_product(made / "reduced" / CUBE, "data")


def test_refusals(made, again, capfd, monkeypatch):
    cube = made / "reduced" / CUBE
    monkeypatch.chdir(made / "reduced")
    before = cube.stat()
    status, output = command(capfd, f"--search-path={made / 'data'}", "--redo", cube)
    assert status != 0
    assert "would take its place" in output
    assert cube.stat() == before
    monkeypatch.chdir(again)
    for arguments, says in (
        ([made / "data" / "calib" / "STD_RESPONSE.fits"], "expected|made it"),
        ([again / "nothing.fits"], "nothing.fits"),
        ([cube, "other.sof"], "other.sof"),
        ([cube, "--nonsense=1"], "nonsense"),
    ):
        status, output = command(capfd, f"--search-path={made / 'data'}", "--redo", *arguments)
        assert status != 0
        assert any(word in output for word in says.split("|")), output
    assert not list(again.iterdir())


def test_from_python(made, again):
    recipe = muse_core.Recipe.from_product(made / "reduced" / CUBE, made / "data")
    assert recipe.param.resample.value == "linear"
    assert recipe.param.skymethod.value == "simple"
    assert recipe.raw.keys() == {"PIXTABLE_OBJECT"}
    recipe.param.save = "cube"
    recipe(output_dir="new")
    assert data_of(again / "new" / CUBE) == data_of(made / "reduced" / CUBE)
    with pytest.raises(InputError, match="STD_RESPONSE"):
        muse_core.Recipe.from_product(made / "reduced" / CUBE, verify=False)


@pytest.mark.reference
def test_product_of_eso(datasets, again, capfd, monkeypatch):
    monkeypatch.delenv("MUSE_COMPAT")
    sof = datasets["small"].sofs["none"]
    outcome = run.reference(sof, again / "eso", "--skymethod=none", "--save=cube", "--crsigma=5.5")
    assert outcome.status == 0, outcome.output
    (again / "new").mkdir()
    status, output = command(
        capfd, "--output-dir=new", f"--search-path={datasets['small'].folder}", "--redo", again / "eso" / CUBE
    )
    assert status == 0, output
    assert compare.images(again / "eso" / CUBE, again / "new" / CUBE) == []


def test_signatures_of_a_file(made, tmp_path):
    path = made / "data" / "calib" / "STD_RESPONSE.fits"
    own = fits.getheader(path)["DATAMD5"]
    assert verify.changes(path) == []
    assert verify.changes(path, own) == []
    (problem,) = verify.changes(path, "0" * 32)
    assert f"expected {'0' * 32}" in problem
    unsigned = tmp_path / "unsigned.fits"
    fits.PrimaryHDU([1, 2, 3]).writeto(unsigned)
    assert verify.changes(unsigned) == []

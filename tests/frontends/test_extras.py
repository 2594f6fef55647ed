# SPDX-License-Identifier: GPL-2.0-or-later
"""Products beyond the reference's: asked for by name, beside the others, which stay as they are."""

import logging
import os
import sys
import types
from pathlib import Path

import pytest
from astropy.io import fits

import muse_core
from muse_core.errors import DataError, ParameterError
from muse_core.frontends.esorex import main
from muse_core.frontends.pythoncpl.recipe import _in_memory
from muse_core.io.fitswriter import primary_header, write_hdus
from muse_core.io.signature import ensure_signed
from muse_core.model.declare import ProductSpec
from muse_core.recipe import extras
from muse_core.recipe.extras import Collector, Extra

HEARD: list = []


class Probe(Collector):
    """Notes what it hears; writes a FITS file and a text."""

    fails = False

    def begin_cube(self, header, source, options):
        HEARD.append(("begin", options.method))

    def add_planes(self, first, result):
        HEARD.append(("planes", first, len(result.data)))

    def end_cube(self):
        HEARD.append("end")

    def write(self, products):
        HEARD.append([(p.tag, p.path.name, p.header()["ESO PRO CATG"]) for p in products])
        factory = self.run.factory
        path = factory.next_path("A_PROBE")
        header = factory.header("A_PROBE", self.cards(), path, primary_header())
        write_hdus(path, [(header, None)])
        factory.register(path, "A_PROBE")
        if self.fails:
            raise DataError("as asked")
        path = factory.next_path("A_TEXT")
        path.write_text("text")
        factory.register(path, "A_TEXT")


@pytest.fixture
def probe(monkeypatch):
    """Declare an extra."""
    module = types.ModuleType("probe_of_a_test")
    module.Probe = Probe
    monkeypatch.setitem(sys.modules, module.__name__, module)
    specs = (
        ProductSpec("A_PROBE", "master", "FINAL", "IMAGE", "probe"),
        ProductSpec("A_TEXT", "master", "FINAL", "ANY", "text", suffix=".txt"),
    )
    extra = Extra(
        name="probe", help="", recipes=("muse_scipost",), products=specs, collector=f"{module.__name__}:Probe"
    )
    monkeypatch.setitem(extras.EXTRAS, "probe", extra)
    monkeypatch.setattr(Probe, "fails", False)
    HEARD.clear()


@pytest.fixture
def reduce(datasets, tmp_path, monkeypatch, capfd):
    """Return a function that runs muse_scipost in a folder; returns status, output and that folder."""
    for variable in [name for name in os.environ if name.startswith("MUSE_")]:
        monkeypatch.delenv(variable)

    def run(label: str, *options: str, text: str = "", recipe: str = "muse_scipost") -> tuple[int, str, Path]:
        folder = tmp_path / label
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        monkeypatch.setenv("MUSE_EXTRAS", text)
        parameters = ["--skymethod=none"] if recipe == "muse_scipost" else []
        status = main.main([*options, recipe, *parameters, str(datasets["small"].sofs["none"])], "muse-esorex")
        return status, "".join(capfd.readouterr()), folder

    return run


def _contents(folder: Path) -> dict:
    """Return all that is the same in two runs: headers without their dates, and sums of the data."""
    found = {}
    for path in sorted(folder.glob("*.fits")):
        with fits.open(path) as hdus:
            for number, hdu in enumerate(hdus):
                cards = [c.image for c in hdu.header.cards if c.keyword not in ("DATE", "CHECKSUM", "DATASUM")]
                found[path.name, number] = cards, hdu.header["DATASUM"]
    return found


def test_beside_the_others(reduce, probe):
    """They come out with the products of the reference, which are the same and have the same places in lists."""
    status, output, folder = reduce("with", text=" probe ,")
    assert status == 0, output
    assert HEARD[0] == ("begin", "drizzle")
    assert sum(n for event, *rest in HEARD[1:-2] for n in rest[1:] if event == "planes") > 5
    assert HEARD[-2] == "end"
    names = {"DATACUBE_FINAL": "DATACUBE_FINAL.fits", "IMAGE_FOV": "IMAGE_FOV_0001.fits"}
    assert HEARD[-1] == [(tag, name, tag) for tag, name in names.items()]
    places = [line.split()[-1] for line in output.splitlines() if "Created product" in line]
    assert places == ["place)"] * 4
    listed = [line.split("product ")[1].split()[0] for line in output.splitlines() if "Created product" in line]
    assert listed == [*names.values(), "A_PROBE.fits", "A_TEXT.txt"]
    header = fits.getheader(folder / "A_PROBE.fits")
    assert (header["ESO DRS MUSE EXTRA"], header["ESO PRO CATG"]) == ("probe", "A_PROBE")
    assert header["ESO PRO REC2 RAW1 CATG"] == "PIXTABLE_OBJECT"
    assert (folder / "A_TEXT.txt").read_text() == "text"
    (folder / "A_PROBE.fits").unlink()
    plain = reduce("without")[2]
    assert _contents(plain) == _contents(folder)
    assert len(_contents(plain)) == 5


def test_option_and_its_effect_on_names(reduce, probe):
    """The option wins over the variable; numbered names of the other products do not change."""
    status, output, folder = reduce(
        "named", "--extras=probe", "--suppress-prefix=false", "--no-checksum=true", text="no"
    )
    assert status == 0, output
    tags = {}
    for path in folder.glob("out_*.fits"):
        tags[path.name] = fits.getheader(path)["ESO PRO CATG"]
        assert "CHECKSUM" not in fits.getheader(path)
    assert tags == {"out_0000.fits": "DATACUBE_FINAL", "out_0001.fits": "IMAGE_FOV", "out_0002.fits": "A_PROBE"}
    assert (folder / "out_0003.txt").exists()


def test_all_or_none(reduce, probe, monkeypatch):
    """An extra that fails ends the run, and older products stay."""
    folder = reduce("failed")[2]
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.fits")}
    assert len(before) == 2
    monkeypatch.setattr(Probe, "fails", True)
    status, output, _ = reduce("failed", text="probe")
    assert status == 255
    assert "as asked" in output
    assert {path.name: path.stat().st_mtime_ns for path in folder.glob("*.*") if path.suffix != ".log"} == before


def test_names(reduce, probe):
    status, output, folder = reduce("wrong", text="prob")
    assert status == 255
    assert "MUSE_EXTRAS: found 'prob', expected names separated by commas, of: " in output
    assert "probe" in output.split("of: ")[1]
    assert not list(folder.glob("*.fits"))
    assert extras.parse("probe,probe") == ["probe"]
    assert extras.parse("") == []
    with pytest.raises(ParameterError):
        extras.parse("PROBE")


def test_recipe_that_does_not_offer_it(probe, caplog):
    with caplog.at_level(logging.WARNING):
        assert extras.wanted({"MUSE_EXTRAS": "probe"}, "muse_exp_align") == []
    assert "muse_exp_align makes no probe; muse_scipost do" in caplog.text


def test_every_extra_can_be_made():
    """What is declared exists."""
    import importlib

    from muse_core.frontends import registry

    for extra in extras.EXTRAS.values():
        module, _, name = extra.collector.partition(":")
        assert issubclass(getattr(importlib.import_module(module), name), Collector)
        assert set(extra.recipes) <= set(registry.built_in())
        assert extra.help


def test_from_python(monkeypatch):
    """As attribute and as argument of a call, which wins."""
    monkeypatch.setenv("MUSE_EXTRAS", "from the environment")
    recipe = muse_core.Recipe("muse_scipost")

    def of(**keywords):
        return recipe._prepared("x.fits", None, 0, None, None, None, None, None, **keywords).environment

    assert of(extras=None) == {}
    recipe.extras = ["noise", "report"]
    assert of(extras=None) == {"MUSE_EXTRAS": "noise,report"}
    assert of(extras="noise") == {"MUSE_EXTRAS": "noise"}
    assert of(extras=()) == {"MUSE_EXTRAS": ""}


def test_a_file_that_is_not_fits(tmp_path):
    path = tmp_path / "report.html"
    path.write_bytes(b"<html>")
    ensure_signed(path, md5=True, checksum=True)
    assert path.read_bytes() == _in_memory(path) == b"<html>"

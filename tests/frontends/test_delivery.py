# SPDX-License-Identifier: GPL-2.0-or-later
"""Where products go: every option that moves, links or renames them, against what may be there already."""

import itertools
import os
import re
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from astropy.io import fits

import muse_core
from muse_core.frontends.esorex import main
from muse_core.frontends.pythoncpl.result import RecipeError
from muse_core.io.delivery import Delivery, Destination
from muse_core.simulate.dataset import make_dataset
from muse_core.simulate.exposure import ExposureSpec

RECIPES = Path(__file__).parent / "recipes"
OK, CANNOT_MOVE, CANNOT_LINK, FAILED = 0, 61, 62, 255
UNFORESEEN = re.compile(r"Traceback|\b[A-Z]\w*(Error|Exception)\b")
NAMES = ("DATACUBE_FINAL.fits", "IMAGE_FOV_0001.fits")


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """Set of frames of the smallest exposure."""
    spec = ExposureSpec(ifus=(12,), lbda_min=7270, lbda_max=7274, slices=(10, 11, 20))
    return make_dataset(tmp_path_factory.mktemp("smallest"), [spec])["none"]


@pytest.fixture(scope="module")
def elsewhere():
    """A folder on another file system."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as name:
        yield Path(name)


class Bench:
    """A folder to run the command in, with all that may be in the way."""

    def __init__(self, folder: Path, frames: Path, capfd):
        self.folder, self.frames, self._capfd = folder, frames, capfd
        for name in ("out", "links"):
            (folder / name).mkdir()
        (folder / "precious").write_text("mine")
        (folder / "in.fits").write_bytes(bytes(2880))
        (folder / "in.sof").write_text("in.fits PIXTABLE_OBJECT\n")

    def run(self, recipe: str, *options: str) -> tuple[int, str]:
        """Run a recipe in this process; return status and what was said."""
        parameters = ["--skymethod=none", str(self.frames)] if recipe == "muse_scipost" else ["in.sof"]
        status = main.main([f"--recipe-dir={RECIPES}", "--time=false", *options, recipe, *parameters], "muse-esorex")
        said = "".join(self._capfd.readouterr())
        assert not UNFORESEEN.search(said), said
        return status, said


@pytest.fixture
def bench(tmp_path, monkeypatch, capfd, frames):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in [name for name in os.environ if name.startswith(("MUSE_", "ESOREX_"))]:
        monkeypatch.delenv(name)
    return Bench(tmp_path, frames, capfd)


def lay(path: Path, what: str) -> None:
    """Put something where a product or a link is going to be."""
    if what == "file":
        path.write_text("old")
    elif what == "read-only file":
        path.write_text("old")
        path.chmod(0o444)
    elif what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "link":
        path.symlink_to(os.path.abspath("precious"))
    elif what == "link to nothing":
        path.symlink_to("/nowhere")
    elif what == "older link":
        path.symlink_to(f"/nowhere/{path.name}")


def state(*folders: Path) -> dict:
    """Return all that is in some folders: kind, target of a link, content of a short file."""
    found = {}
    for path in itertools.chain(*(folder.iterdir() for folder in folders)):
        mode = path.lstat().st_mode
        text = os.readlink(path) if path.is_symlink() else path.read_text() if stat.S_ISREG(mode) else ""
        found[path] = (stat.S_IFMT(mode), text)
    return found


PLACES = ("nothing", "file", "read-only file", "link", "link to nothing", "folder", "pipe")
REPLACED = PLACES[:5]


@pytest.mark.parametrize("recipe", ["demo", "muse_scipost"])
def test_places(bench, elsewhere, recipe):
    """All products are there or none is; what a link leads to is what it was; what is no product stays."""
    folders = {"out": bench.folder / "out", str(elsewhere): elsewhere}
    cases = list(itertools.product(folders, (False, True), PLACES))
    for directory, renamed, what in cases if recipe == "demo" else cases[::3]:
        case = f"{directory}, renamed: {renamed}, {what}"
        folder, options = folders[directory], [f"--output-dir={directory}"]
        names = NAMES
        if renamed:
            options += ["--suppress-prefix=false", "--output-prefix=new"]
            names = ("new_0000.fits", "new_0001.fits")
        (folder / names[0]).write_text("old")
        lay(folder / names[1], what)
        before = state(folder)
        status, said = bench.run(recipe, *options)
        assert (bench.folder / "precious").read_text() == "mine"
        if what in REPLACED:
            assert status == OK, f"{case}\n{said}"
            assert sorted(os.listdir(folder)) == sorted(names), case
            for name in names:
                assert not (folder / name).is_symlink()
                with fits.open(folder / name, checksum=True) as hdus:  # a wrong sum is a warning, and so an error
                    assert len(hdus[0].header["DATAMD5"]) == 32
            warned = f"will be overwritten ({os.path.join(directory, names[1])})" in said
            assert warned == (what not in ("nothing", "link to nothing")), f"{case}\n{said}"
        else:
            assert status == CANNOT_MOVE, f"{case}\n{said}"
            assert f"Unable to move product file to final output path ({os.path.join(directory, names[1])})" in said
            assert state(folder) == before, case
            assert (recipe == "demo") == ("A message" in said)  # ours does not even begin
        for path in (*folder.iterdir(), *(bench.folder / name for name in NAMES)):
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink(missing_ok=True)


LINKS = ("nothing", "older link", "link", "link to nothing", "file", "read-only file", "folder", "pipe")


@pytest.mark.parametrize("recipe", ["demo", "muse_scipost"])
def test_links(bench, elsewhere, recipe):
    cases = list(itertools.product(("links", str(elsewhere)), ("out", "."), LINKS))
    for links, directory, what in cases if recipe == "demo" else cases[::5]:
        case = f"{links}, {directory}, {what}"
        folder = Path(links)
        lay(folder / NAMES[1], what)
        (Path(directory) / NAMES[0]).write_text("old")
        watched = (folder, Path(directory)) if recipe == "muse_scipost" else (folder,)
        before = state(*watched)
        status, said = bench.run(recipe, "--suppress-link=false", f"--link-dir={links}", f"--output-dir={directory}")
        assert (bench.folder / "precious").read_text() == "mine"
        if what in ("nothing", "older link"):
            assert status == OK, f"{case}\n{said}"
            target = "" if directory == "." else f"{directory}/"
            assert [os.readlink(folder / name) for name in NAMES] == [target + name for name in NAMES]
        else:
            assert status == CANNOT_LINK, f"{case}\n{said}"
            assert "Unable to create symbolic link for" in said
            after = state(*watched)
            after.pop(Path("esorex.log"), None)
            before.pop(Path("esorex.log"), None)
            assert after == before, case
        for path in (*folder.iterdir(), *(place / name for name in NAMES for place in (Path("out"), bench.folder))):
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink(missing_ok=True)


@pytest.mark.parametrize("directory", [".", "out"])
def test_links_in_the_place_of_the_products(bench, directory):
    """As ESO's esorex, which says that it is no symbolic link: the product is never replaced by a link to itself."""
    for links in (directory, os.path.abspath(directory)):
        options = ("--suppress-link=false", f"--link-dir={links}", f"--output-dir={directory}")
        status, said = bench.run("muse_scipost", *options)
        assert status == CANNOT_LINK
        assert "it would be in the place of the product itself" in said
        assert not (bench.folder / directory / NAMES[0]).exists()


@pytest.mark.parametrize(
    "option", ["--output-dir=out", "--link-dir=links --suppress-link=false", "--suppress-prefix=false"]
)
def test_inputs_are_never_replaced(bench, option):
    place = {"--o": "out/DATACUBE_FINAL.fits", "--l": "links/IMAGE_FOV_0001.fits", "--s": "out_0001.fits"}[option[:3]]
    raw = Path(bench.frames.read_text().split()[0])
    (bench.folder / place).write_bytes(raw.read_bytes())
    bench.frames = bench.folder / "own.sof"
    bench.frames.write_text(f"{place} PIXTABLE_OBJECT\n")
    status, said = bench.run("muse_scipost", *option.split())
    assert status in (CANNOT_MOVE, CANNOT_LINK)
    assert re.search(r"is an input, |Not a symbolic link", said), said
    assert "Calibration" not in said  # before the work
    assert (bench.folder / place).read_bytes() == raw.read_bytes()


def test_list_of_products_is_no_product_and_no_input(bench):
    for path in ("out/DATACUBE_FINAL.fits", "in.fits"):
        content = Path(path).read_bytes() if Path(path).exists() else None
        status, said = bench.run("demo", "--output-dir=out", f"--products-sof={path}")
        assert status == 8
        assert "Cannot create output sof file" in said
        assert Path(path).read_bytes()[:6] == (b"SIMPLE" if content is None else content[:6])


def test_prefix_with_a_folder_that_is_not_there(bench):
    """ESO's esorex says so after the work."""
    options = ("--output-dir=out", "--suppress-prefix=false", "--output-prefix=a/b")
    status, said = bench.run("demo", *options)
    assert status == CANNOT_MOVE
    assert "A message" not in said
    (bench.folder / "out" / "a").mkdir()
    assert bench.run("demo", *options)[0] == OK
    assert sorted(os.listdir("out/a")) == ["b_0000.fits", "b_0001.fits"]


@pytest.mark.parametrize("name", ["ü ñ 日本.fits", 'a\'b "c" \\ #.fits', "\udcff\udc80.fits", "x" * 250 + ".fits"])
def test_names_of_any_kind(bench, name):
    """Of inputs, in values of parameters, and of folders."""
    raw = Path(bench.frames.read_text().split()[0])
    Path(name).write_bytes(raw.read_bytes())
    folder = os.fsdecode(os.fsencode(name)[:200]).strip(".fits")
    os.mkdir(folder)
    recipe = muse_core.Recipe("muse_scipost")
    recipe.output_dir = folder
    recipe.param.skymethod = "none"
    recipe.param.filter = f"white,{name}"
    for _ in range(2):
        recipe(os.path.abspath(name))
    header = fits.getheader(f"{folder}/DATACUBE_FINAL.fits")
    number = next(n for n in range(1, 9) if header.get(f"ESO PRO REC{n} ID") == "muse_scipost")
    printable = bytes(b if 32 <= b < 127 else 32 for b in os.fsencode(name)).decode()
    found = header[f"ESO PRO REC{number} RAW1 NAME"]
    assert found
    assert printable.startswith(found)
    assert sorted(os.listdir(folder)) == sorted(NAMES)


@pytest.mark.reference
@pytest.mark.parametrize("name", ["Tüble_ñ_日本.fits", "T\udcff\udc80 b'c\x01\x7f~.fits"])
def test_header_values_as_the_reference_writes_them(bench, esorex, name):
    raw = Path(bench.frames.read_text().split()[0])
    Path(name).write_bytes(raw.read_bytes())
    rest = bench.frames.read_text().partition("\n")[2]
    sof = b"%s\n%s" % (os.fsencode(os.path.abspath(name).replace(" ", "") + " PIXTABLE_OBJECT"), rest.encode())
    os.rename(name, name.replace(" ", ""))
    Path("own.sof").write_bytes(sof)
    cards = []
    for folder, command in (("real", [esorex]), ("ours", [sys.executable, "-m", "muse_core.frontends.esorex.main"])):
        os.mkdir(folder)
        parameters = ["muse_scipost", "--skymethod=none", b"--filter=white," + os.fsencode(name), "../own.sof"]
        environment = os.environ | {"MUSE_COMPAT": "2.8.7"}
        done = subprocess.run([*command, *parameters], cwd=folder, env=environment, capture_output=True, timeout=120)
        assert done.returncode == 0, done.stdout
        header = fits.getheader(f"{folder}/DATACUBE_FINAL.fits")
        kinds = re.compile(r"ESO PRO REC\d+ ((RAW|CAL)\d+ NAME|PARAM\d+ VALUE)")
        cards.append([(card.keyword, card.value) for card in header.cards if kinds.fullmatch(card.keyword)])
    assert cards[0] == cards[1]
    assert any("white," in str(value) for _, value in cards[0])


def test_one_run_in_a_folder_at_a_time(bench):
    """For the command and in Python, whatever recipe the other one runs."""
    with Delivery(Destination(bench.folder / "out"), "muse_other"):
        before = state(bench.folder / "out")
        for recipe in ("muse_scipost", "demo"):
            status, said = bench.run(recipe, "--output-dir=out")
            assert status == FAILED
            assert re.search(rf"out: muse_other, process {os.getpid()} on \S+, since 20\S+ \S+, is at work there", said)
        recipe = muse_core.Recipe("muse_scipost")
        with pytest.raises(RecipeError, match=f"muse_other, process {os.getpid()} on"):
            recipe(bench.frames.read_text().split()[0], output_dir="out", param={"skymethod": "none"})
        assert state(bench.folder / "out") == before
    assert os.listdir("out") == []
    assert bench.run("muse_scipost", "--output-dir=out")[0] == OK


@pytest.mark.reference
def test_one_run_in_a_folder_with_esorex(bench, esorex, build_plugin):
    plugin = build_plugin("muse_core.recipes.muse_scipost:MuseScipost")
    command = [esorex, f"--recipe-dir={plugin}", "muse_scipost", "--skymethod=none", str(bench.frames)]
    with Delivery(Destination(bench.folder), "muse_other"):
        done = subprocess.run(command, cwd=bench.folder, capture_output=True, text=True, timeout=120)
    assert done.returncode != OK
    assert f"muse_other, process {os.getpid()} on" in done.stdout + done.stderr
    assert not list(bench.folder.glob("*_*.fits"))
    assert subprocess.run(command, cwd=bench.folder, capture_output=True, timeout=120).returncode == OK
    assert not list(bench.folder.glob(".muse*"))


def test_scratch_and_unfinished_products_lie_where_the_products_go(bench, monkeypatch):
    from muse_core.engine import resources
    from muse_core.io.fitswriter import FitsStreamWriter

    monkeypatch.setattr(resources, "IN_MEMORY_BYTES", 0)
    places = []
    monkeypatch.setattr(
        tempfile, "TemporaryFile", lambda *a, _real=tempfile.TemporaryFile, **k: places.append(k) or _real(*a, **k)
    )
    finish = FitsStreamWriter.finish
    monkeypatch.setattr(
        FitsStreamWriter, "finish", lambda self: places.append({"dir": self.path.parent}) or finish(self)
    )
    assert bench.run("muse_scipost", "--output-dir=out")[0] == OK
    folders = {Path(place["dir"]) for place in places if place.get("dir")}
    assert len(folders) == 2
    assert all(folder.is_relative_to(bench.folder / "out") for folder in folders)

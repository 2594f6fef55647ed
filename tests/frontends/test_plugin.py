# SPDX-License-Identifier: GPL-2.0-or-later
"""The native plugin in ESO's esorex: description, execution, failures."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from astropy.io import fits

from muse_core.frontends import registry
from muse_core.simulate.dataset import make_dataset
from muse_core.simulate.exposure import ExposureSpec

pytestmark = pytest.mark.reference

ADDRESS = "muse_core.recipes.muse_scipost:MuseScipost"


@pytest.fixture(scope="session")
def plugin(build_plugin):
    """Folder with the native plugin of muse_scipost."""
    return build_plugin(ADDRESS)


def run(command, folder, environment, **more):
    """Run a program in a new folder."""
    folder.mkdir(exist_ok=True)
    return subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
        **more,
    )


def test_one_plugin_a_recipe(esorex, clean_environment, tmp_path):
    """The folder of plugins holds the recipes that our command lists, and nothing else."""
    folder = registry.plugin_directory()
    if folder is None:
        pytest.skip("built without the native plugin")
    assert sorted(path.stem for path in folder.glob("*.so")) == registry.built_in()
    listed = run([esorex, f"--recipe-dir={folder}", "--recipes"], tmp_path, clean_environment).stdout
    command = [sys.executable, "-m", "muse_core.frontends.esorex.main", "--recipes"]
    ours = run(command, tmp_path, clean_environment).stdout
    start = "List of Available Recipes"
    assert sorted(listed.partition(start)[2].split()) == sorted(ours.partition(start)[2].split())
    assert sorted(re.findall(r"^  (\w+) *: ", listed, re.MULTILINE)) == registry.built_in()


def test_recipes_are_found_from_the_folder(tmp_path):
    """A new file in the folder of recipes is a new plugin, with nothing else changed."""
    root = Path(__file__).parents[2]
    (tmp_path / "muse_core").symlink_to(root / "muse_core")
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    for path in (root / "recipes").glob("*.py"):
        (recipes / path.name).symlink_to(path)
    demo = (root / "tests" / "frontends" / "recipes" / "demo.py").read_text()
    (recipes / "muse_demo.py").write_text(demo.replace('"demo"', '"muse_demo"'))
    command = [sys.executable, root / "cython_ext" / "plugin" / "describe.py", tmp_path]
    lines = run(command, tmp_path, dict(os.environ)).stdout.splitlines()
    assert "muse_demo muse_core.recipes.muse_demo:Demo" in lines
    assert [line.split()[0] for line in lines] == sorted([*registry.built_in(), "muse_demo"])
    table, makefile = tmp_path / "table.h", tmp_path / "table.d"
    done = run([*command, "muse_core.recipes.muse_demo:Demo", table, makefile], tmp_path, dict(os.environ))
    assert (done.returncode, done.stderr) == (0, "")
    assert '#define RECIPE_NAME "muse_demo"\n' in table.read_text()
    assert str(recipes / "muse_demo.py") in makefile.read_text()


def test_same_parameters_as_the_reference(esorex, plugin, clean_environment, tmp_path):
    """Names, types, defaults, choices, order, and which ones are hidden."""
    found = []
    for name, options in (("ours", [f"--recipe-dir={plugin}"]), ("eso", [])):
        done = run([esorex, *options, "--create-config=x.json", "muse_scipost"], tmp_path / name, clean_environment)
        assert done.returncode == 0
        entries = json.loads((tmp_path / name / "x.json").read_text())
        entries = [{key: value for key, value in entry.items() if key != "description"} for entry in entries]
        help_text = run([esorex, *options, "--help", "muse_scipost"], tmp_path / name, clean_environment).stdout
        shown = re.findall(r"^  --(\w+)", help_text, re.MULTILINE)
        listing = run([esorex, *options, "--params", "muse_scipost"], tmp_path / name, clean_environment).stdout
        found.append((entries, shown, listing.partition("Recipe Parameters")[2]))
    assert found[0] == found[1]
    assert len(found[0][0]) == 27


@pytest.mark.parametrize("option", ["--help", "--man-page", "--show-hidden --help", "--create-config=x.rc"])
def test_texts_are_those_of_our_command(option, esorex, plugin, clean_environment, tmp_path):
    code = "import sys; from muse_core.frontends.esorex.main import main; sys.exit(main(program='esorex'))"
    texts = []
    for name, command in (("real", [esorex, f"--recipe-dir={plugin}"]), ("ours", [sys.executable, "-c", code])):
        path = os.environ["PATH"] if name == "ours" else clean_environment["PATH"]
        environment = clean_environment | {"PATH": path}
        done = run([*command, *option.split(), "muse_scipost"], tmp_path / name, environment)
        config = tmp_path / name / "x.rc"
        written = config.read_text().partition("# --save")[2] if config.exists() else ""
        texts.append((done.returncode, done.stdout.split("\n", 3)[3].replace(name, "")[9:], done.stderr, written))
    assert texts[0] == texts[1]
    assert len(texts[0][1] + texts[0][3]) > 3000


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A small exposure with calibrations."""
    folder = tmp_path_factory.mktemp("data")
    spec = ExposureSpec(ifus=(12,), lbda_min=7000, lbda_max=7012)
    make_dataset(folder, [spec])
    return folder / "none.sof"


OPTIONS = ("muse_scipost", "--skymethod=none", "--save=cube,individual", "--dlambda=2.5")


def test_same_bits_as_our_command(esorex, plugin, clean_environment, data, tmp_path):
    real = run([esorex, f"--recipe-dir={plugin}", *OPTIONS, data], tmp_path / "real", clean_environment)
    command = [sys.executable, "-m", "muse_core.frontends.esorex.main"]
    ours = run([*command, *OPTIONS, data], tmp_path / "ours", clean_environment | {"PATH": os.environ["PATH"]})
    assert (real.returncode, real.stderr) == (0, "")
    assert (ours.returncode, ours.stderr) == (0, "")
    names = sorted(path.name for path in (tmp_path / "real").glob("*.fits"))
    assert names == ["DATACUBE_FINAL.fits", "IMAGE_FOV_0001.fits", "PIXTABLE_REDUCED_0001.fits"]
    for name in names:
        with fits.open(tmp_path / "real" / name, checksum=True) as a, fits.open(tmp_path / "ours" / name) as b:
            assert a[0].header["DATAMD5"] == b[0].header["DATAMD5"]
            assert len(a) == len(b)
            for x, y in zip(a, b, strict=True):
                where, span = x.fileinfo()["datLoc"], x.fileinfo()["datSpan"]
                bits = (tmp_path / "real" / name).read_bytes()[where : where + span]
                where = y.fileinfo()["datLoc"]
                assert bits == (tmp_path / "ours" / name).read_bytes()[where : where + span]
                keys = [k for k in x.header if k not in ("CHECKSUM", "DATASUM", "DATE")]
                assert {k: x.header[k] for k in keys} == {k: y.header[k] for k in keys}
                assert int(x.header["DATASUM"]) == int(y.header["DATASUM"])
    lines = [re.sub(r"^[\d:]{8} ", "", line) for line in real.stdout.splitlines()]
    assert lines[-9:-5] == [
        "[ INFO  ] esorex: [tid=000] Created product DATACUBE_FINAL.fits (in place)",
        "[ INFO  ] esorex: [tid=000] Created product IMAGE_FOV_0001.fits (in place)",
        "[ INFO  ] esorex: [tid=000] Created product PIXTABLE_REDUCED_0001.fits (in place)",
        "[ INFO  ] esorex: [tid=000] 3 products created",
    ]
    messages = [line for line in lines if line.startswith("[ INFO  ] muse_scipost:")]
    mine = [re.sub(r"^[\d:]{8} ", "", line) for line in ours.stdout.splitlines()]
    assert len(messages) > 3
    assert len([line for line in mine if line.startswith("[ INFO  ] muse_scipost:")]) == len(messages)


SCRIPT = """
set -e
for exposure in 1 2; do
    export RAW=$DATA/exposure$exposure
    mkdir -p reduced$exposure
    esorex --output-dir=reduced$exposure --log-file=run$exposure.log --log-dir=. --recipe-config=scipost.rc \\
        --products-sof=reduced$exposure/products.json muse_scipost --dlambda=2.5 exposure.sof
done
"""


def test_script_of_a_user(esorex, plugin, clean_environment, data, tmp_path):
    """A shell script written for ESO's recipe runs unchanged, with esorex and with our command linked as esorex."""
    frames = [line.split() for line in data.read_text().splitlines() if line.strip() and not line.startswith("#")]
    for number in (1, 2):
        folder = tmp_path / f"exposure{number}"
        folder.mkdir()
        for path, tag in frames:
            if tag == "PIXTABLE_OBJECT":
                (folder / Path(path).name).symlink_to(path)
    links = tmp_path / "links"
    links.mkdir()
    (links / "esorex").symlink_to(Path(sys.executable).with_name("muse-esorex"))
    outcomes = []
    for name, path in (("real", clean_environment["PATH"]), ("ours", f"{links}:{os.environ['PATH']}")):
        work = tmp_path / name
        work.mkdir()
        lines = [
            f"$RAW/{Path(path).name} {tag}" if tag == "PIXTABLE_OBJECT" else f"{path} {tag}" for path, tag in frames
        ]
        (work / "exposure.sof").write_text("# one exposure\n" + "\n".join(lines) + "\n")
        (work / "scipost.rc").write_text("muse.muse_scipost.skymethod=none\nmuse.muse_scipost.filter=white\n")
        environment = clean_environment | {"PATH": path, "DATA": str(tmp_path), "ESOREX_PLUGIN_DIR": str(plugin)}
        done = run(["sh", "-c", SCRIPT], work, environment)
        assert (done.returncode, done.stderr) == (0, "")
        made = sorted(str(path.relative_to(work)) for path in work.rglob("*") if path.is_file())
        listing = (work / "reduced2" / "products.json").read_text()
        created = re.findall(r"esorex: \[tid=000\] Created product .*", done.stdout)
        sums = [fits.getval(work / f"reduced{n}" / "DATACUBE_FINAL.fits", "DATAMD5") for n in (1, 2)]
        outcomes.append((made, listing, created, sums))
    assert outcomes[0] == outcomes[1]
    assert len(outcomes[0][2]) == 4


def test_set_of_frames_with_carriage_returns(esorex, demo_plugin, clean_environment, tmp_path):
    (tmp_path / "in.fits").write_bytes(bytes(3_000_000))
    (tmp_path / "in.sof").write_bytes(b"in.fits PIXTABLE_OBJECT\r\n")
    done = run([esorex, f"--recipe-dir={demo_plugin}", "demo", "in.sof"], tmp_path, clean_environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Size of single raw input frame" in done.stdout  # the recipe knew its tag


def test_empty_environment(esorex, demo_plugin, tmp_path):
    (tmp_path / "in.fits").touch()
    (tmp_path / "in.sof").write_text("in.fits PIXTABLE_OBJECT\n")
    done = run([esorex, f"--recipe-dir={demo_plugin}", "demo", "in.sof"], tmp_path, {})
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "DATACUBE_FINAL.fits").exists()


def test_foreign_python_variables(esorex, demo_plugin, clean_environment, tmp_path):
    """Reflex sets PYTHONPATH for its own Python; the folder may have any module."""
    (tmp_path / "numpy.py").write_text("raise SystemExit('wrong module')\n")
    foreign = {"PYTHONPATH": str(tmp_path), "PYTHONHOME": "/nowhere"}
    done = run([esorex, f"--recipe-dir={demo_plugin}", "demo"], tmp_path, clean_environment | foreign)
    assert (done.returncode, done.stderr) == (0, "")


def test_failure(esorex, demo_plugin, clean_environment, tmp_path):
    command = [esorex, f"--recipe-dir={demo_plugin}", "--msg-level=debug", "demo", "--fail=DataError"]
    done = run(command, tmp_path, clean_environment)
    assert done.returncode == 255
    errors = [line.partition("] ")[2] for line in done.stderr.splitlines()]
    assert "demo: demo: [tid=000] as asked" in errors[0]
    assert "Execution of recipe 'demo' failed, status = -1" in done.stderr
    assert "CPL-error 'Input data do not match: as asked' was set in 'run:demo.py:" in done.stderr
    assert not list(tmp_path.glob("*.fits"))


def test_bad_parameter_of_the_recipe(esorex, plugin, clean_environment, data, tmp_path):
    done = run([esorex, f"--recipe-dir={plugin}", "muse_scipost", "--save=nope", data], tmp_path, clean_environment)
    assert done.returncode == 255
    assert "save" in done.stderr
    assert "nope" in done.stderr
    assert not list(tmp_path.glob("*.fits"))


@pytest.mark.parametrize(
    ("how", "message"),
    [("abort", "the process of the recipe was killed by signal 6"), ("exit", "SystemExit: 3")],
)
def test_worker_that_dies(how, message, esorex, demo_plugin, clean_environment, tmp_path):
    command = [esorex, f"--recipe-dir={demo_plugin}", "demo", f"--fail={how}"]
    done = run(command, tmp_path, clean_environment)
    assert done.returncode == 255
    assert message in done.stderr
    assert not list(tmp_path.glob("*.fits"))


def test_python_that_is_not_there(esorex, demo_plugin, clean_environment, tmp_path):
    for python in ("/nowhere/python", "/bin/false", shutil.which("sleep")):
        environment = clean_environment | {"MUSE_SCIPOST_PYTHON": python}
        done = run([esorex, f"--recipe-dir={demo_plugin}", "demo"], tmp_path, environment)
        assert done.returncode == 255
        assert python in done.stderr


def _wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "took too long"
        time.sleep(0.02)


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("number", "whom"),
    [(signal.SIGINT, "group"), (signal.SIGTERM, "host"), (signal.SIGKILL, "host"), (signal.SIGKILL, "worker")],
)
def test_signals(number, whom, esorex, demo_plugin, clean_environment, tmp_path):
    """Whoever dies, the other one does not stay, and no product does."""
    command = [esorex, f"--recipe-dir={demo_plugin}", "demo", "--fail=sleep"]
    host = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=clean_environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # a job in the background has it ignored, and so would the host
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    _wait_for((tmp_path / "running").exists)
    worker = int(Path(f"/proc/{host.pid}/task/{host.pid}/children").read_text())
    if whom == "group":
        os.killpg(host.pid, number)
    else:
        os.kill(host.pid if whom == "host" else worker, number)
    _, errors = host.communicate(timeout=30)
    if whom == "worker":
        assert host.returncode == 255
        assert b"killed by signal 9" in errors
    else:
        assert host.returncode == -number
    _wait_for(lambda: not _alive(worker))
    assert not list(tmp_path.glob("*.fits"))

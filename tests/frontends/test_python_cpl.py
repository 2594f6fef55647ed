# SPDX-License-Identifier: GPL-2.0-or-later
"""The native plugin in python-cpl, in whichever interpreters have it: ours, Debian's."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.reference

SCRIPT = Path(__file__).with_name("python_cpl_script.py")
ESO_PLUGINS = Path("/usr/lib/x86_64-linux-gnu/cpl/plugins")


def _has_python_cpl(python):
    try:
        return subprocess.run([python, "-c", "import cpl; cpl.Recipe"], capture_output=True, timeout=60).returncode == 0
    except OSError:
        return False


@pytest.fixture(scope="module", params=["ours", "Debian's"])
def python(request):
    """An interpreter with python-cpl."""
    path = sys.executable if request.param == "ours" else "/usr/bin/python3"
    if not _has_python_cpl(path):
        pytest.skip(f"{path} has no python-cpl")
    return path


@pytest.fixture
def ask(python, clean_environment, tmp_path):
    """Run one function of the script in an empty folder; return what it found."""

    def call(what, folder):
        work = tmp_path / f"{what}{len(list(tmp_path.iterdir()))}"
        work.mkdir()
        command = [python, SCRIPT, what, str(folder)]
        done = subprocess.run(command, cwd=work, env=clean_environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.rpartition("JSON ")[2])

    return call


@pytest.fixture(scope="module")
def scipost_plugin(build_plugin):
    return build_plugin("muse_core.recipes.muse_scipost:MuseScipost")


def test_same_description_as_the_reference(ask, scipost_plugin):
    ours, eso = ask("scipost", scipost_plugin), ask("scipost", ESO_PLUGINS)
    assert ours.pop("version") == [20900, "2.9.0"]
    assert eso.pop("version") == [20807, "2.8.7"]
    assert ours == eso
    assert len(ours["param"]) == 27


def test_our_plugin_wins_over_the_reference(ask, scipost_plugin):
    assert ask("scipost", f"{ESO_PLUGINS}:{scipost_plugin}")["version"] == [20900, "2.9.0"]
    assert ask("scipost", f"{scipost_plugin}:{ESO_PLUGINS}")["version"] == [20900, "2.9.0"]


def test_run_from_files(ask, demo_plugin):
    assert ask("from_files", demo_plugin) == {
        "file": "DATACUBE_FINAL.fits",
        "tags": ["DATACUBE_FINAL", "IMAGE_FOV"],
        "header": [2.0, "x", 32, True],
        "info": ["demo: A message", "demo: A warning"],
        "warning": ["demo: A warning"],
        "error": None,
        "status": 0,
    }


def test_run_from_memory(ask, demo_plugin):
    assert ask("from_memory", demo_plugin) == {"data": [[1.0, 2.0], [3.0, 4.0]], "left": []}


def test_four_threads(ask, demo_plugin):
    assert ask("threads", demo_plugin) == [0.0, 1.0, 2.0, 3.0]


def test_failures(ask, demo_plugin):
    found = ask("failures", demo_plugin)
    assert found.pop("left") == ["raw.fits"]
    assert found["DataError"][:4] == [13, "Input data do not match: as asked", "run", "demo.py"]
    assert found["DataError"][4] == ["demo: as asked"]
    assert found["MissingFileError"][0] == 9
    assert found["abort"][:2] == [1, "An unspecified error: the process of the recipe was killed by signal 6"]

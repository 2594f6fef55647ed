# SPDX-License-Identifier: GPL-2.0-or-later
"""The native plugin in python-cpl, in whichever interpreters have it: ours, Debian's."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from harness.recipes import RECIPES

import muse_core

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


INSTEAD = f"""
import sys, runpy, muse_core
sys.modules["cpl"] = muse_core
sys.argv = {[str(SCRIPT)]!r} + sys.argv[1:]
runpy.run_path({str(SCRIPT)!r}, run_name="__main__")
"""


@pytest.mark.parametrize("what", ["from_files", "from_memory", "threads", "failures"])
def test_same_script_with_our_package_instead(what, demo_plugin, clean_environment, tmp_path):
    """What a script for python-cpl finds with the plugin it finds with ``import muse_core as cpl`` too."""
    pytest.importorskip("cpl")
    found = []
    for name, start, folder in (("cpl", [SCRIPT], demo_plugin), ("ours", ["-c", INSTEAD], RECIPES)):
        (tmp_path / name).mkdir()
        command = [sys.executable, *start, what, folder]
        done = subprocess.run(
            [str(word) for word in command],
            cwd=tmp_path / name,
            env=clean_environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout.rpartition("JSON ")[2])
        if what == "failures":
            for how in ("DataError", "MissingFileError", "abort"):  # CPL puts the text of its code before ours
                result[how][1] = result[how][1].rpartition(": ")[2]
            result.pop("abort")
        found.append(result)
    assert found[0] == found[1]


def _public(thing):
    return {name for name in dir(thing) if not name.startswith("_")}


def test_all_names_of_python_cpl():
    """Each public name of python-cpl is there, or docs/python.md says that it is not."""
    cpl = pytest.importorskip("cpl")
    missing = _public(cpl) - _public(muse_core)
    recipe = muse_core.Recipe("muse_scipost")
    ours = {"Recipe": recipe, "Parameter": recipe.param.dx, "FrameConfig": recipe.calib.SKY_LINES}
    for name in ("Recipe", "Parameter", "FrameConfig", "RecipeCrash", "CplError"):
        names = _public(getattr(cpl, name)) - _public(ours.get(name, getattr(muse_core, name)))
        missing |= {f"{name}.{attribute}" for attribute in names}
    for name, ignored in (("esorex", "logger logging os"), ("dfs", "cpl fits sys")):
        names = _public(getattr(cpl, name)) - _public(getattr(muse_core, name)) - set(ignored.split())
        missing |= {f"{name}.{attribute}" for attribute in names}
    missing |= {f"ProcessingInfo.{n}" for n in _public(cpl.dfs.ProcessingInfo) - _public(muse_core.dfs.ProcessingInfo)}
    missing |= {f"LogList.{n}" for n in _public(cpl.logger.LogList) - _public(muse_core.logger.LogList)}
    for name in ("msg", "log"):
        theirs, ours = getattr(cpl.esorex, name), getattr(muse_core.esorex, name)
        missing |= {f"esorex.{name}.{attribute}" for attribute in _public(theirs) - _public(ours)}
    wanted = ("env", "memory_dump", "mtrace", "output_dir", "temp_dir", "threaded", "__name__", "__doc__")
    missing |= {f"Recipe.{name}" for name in wanted if not hasattr(recipe, name)}
    page = (Path(__file__).parents[2] / "docs" / "python.md").read_text()
    documented = set(re.findall(r"`cpl\.([\w.]+)`", page.partition("Not there are ")[2].partition("\n\n")[0]))
    assert missing <= documented, "not there, and docs/python.md does not say so"
    assert documented <= missing, "there, but docs/python.md says that it is not"

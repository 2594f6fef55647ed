# SPDX-License-Identifier: GPL-2.0-or-later
"""How far runs are: on terminals, in a notebook, for a function, nowhere else; and no message is garbled by it."""

import json
import os
import re
import subprocess
import sys

import pytest
from harness import terminal
from harness.run import ours

import muse_core
from muse_core.cplapi import ui
from muse_core.recipes.muse_scipost import MuseScipost

COMMAND = [sys.executable, "-m", "muse_core.frontends.esorex.main"]
LEFT = re.compile(r"^[\w ,]+: \d+%, \d+:\d\d left$")
#: A script that reduces the frames of a set, for whichever module `cpl` is.
SCRIPT = """
import sys
{importing}
frames = cpl.esorex.load_sof(sys.argv[1])
scipost = cpl.Recipe("muse_scipost")
raw = frames.pop("PIXTABLE_OBJECT")
scipost.calib = frames
"""
OURS = "import muse_core as cpl"


@pytest.fixture
def sof(datasets):
    """A set of frames of two small exposures."""
    return datasets["smalltwo"].sofs["model"]


def lines_of(seen):
    """Return the different lines that a terminal has shown."""
    return {line.rstrip() for lines in seen for line in lines}


def is_clean(screen, log):
    """Check that each message is whole on the screen, as it is in the log, and that nothing of the progress is left."""
    shown = [line.rstrip() for line in screen.lines]
    assert not screen.unknown
    assert not [line for line in shown if " left" in line or "planes, " in line or "rows, " in line]
    told = [line.partition("[tid=000] ")[2] for line in shown if "[tid=000] " in line]
    assert any(text.startswith("Cube: ") for text in told)
    assert set(told) <= {line.partition("[tid=000] ")[2].rstrip() for line in log.splitlines()}


def test_line_of_the_command(sof, tmp_path):
    command = [*COMMAND, "--log-file=x.log", "muse_scipost", "--save=cube", str(sof)]
    status, screen, seen = terminal.run(command, tmp_path, columns=400)
    assert status == 0, screen.lines
    lines = lines_of(seen)
    assert [line for line in lines if LEFT.match(line)], lines
    assert any(line.startswith(("Sky model, exposure 2 of 2: ", "Calibration, exposure 1 of 2: ")) for line in lines)
    assert any(re.match(r"  [\w ]+(rows|planes|tables), \d+ of \d+$", line) for line in lines)
    is_clean(screen, (tmp_path / "x.log").read_text())


def test_narrow_and_simple_terminals(sof, tmp_path):
    options = ["--msg-level=error", "--log-level=off", "muse_scipost", "--skymethod=none", "--save=cube"]
    status, screen, seen = terminal.run([*COMMAND, *options, str(sof)], tmp_path, columns=20)
    assert status == 0, screen.lines
    assert any(line.startswith("Calibration, sky su") for line in lines_of(seen)), seen
    assert all(len(line) < 20 for line in lines_of(seen) if "Calibration" in line or "Cube" in line)
    status, screen, seen = terminal.run([*COMMAND, *options, str(sof)], tmp_path, {"TERM": "dumb"})
    assert status == 0
    assert not screen.unknown
    assert not [line for line in lines_of(seen) if "reading rows" in line or "planes" in line]  # no second line
    assert not [line for line in screen.lines if "left" in line]


def test_nothing_where_there_is_no_terminal(sof, tmp_path):
    done = ours(sof, tmp_path, "--skymethod=none", "--save=cube", compat=False)
    assert done.status == 0
    assert "\x1b" not in done.output
    assert "\r" not in done.output
    assert " left" not in done.output
    command = [*COMMAND, "--msg-level=off", "muse_scipost", "--skymethod=none", "--save=cube", str(sof)]
    status, screen, _ = terminal.run(command, tmp_path)
    assert status == 0
    assert not screen.unknown
    assert [line for line in screen.lines if line.strip()][1:] == []  # the banner is all


def test_two_runs_of_a_script_share_the_line(sof, tmp_path):
    (tmp_path / "script.py").write_text(
        SCRIPT.format(importing=OURS)
        + "runs = [scipost(raw, threaded=True, param={'skymethod': m, 'save': 'cube'}) for m in ('none', 'simple')]\n"
        "print([run.DATACUBE_FINAL[1].shape[0] for run in runs])\n"
    )
    status, screen, seen = terminal.run([sys.executable, "script.py", str(sof)], tmp_path)
    assert status == 0, screen.lines
    assert any(line.startswith("2 runs: ") and "%" in line for line in lines_of(seen))
    assert any(LEFT.match(line) for line in lines_of(seen))  # the last one alone
    assert screen.lines[-2].startswith("[")
    assert screen.lines[-1] == ""


def _recipe(sof):
    frames = muse_core.esorex.load_sof(str(sof))
    scipost = muse_core.Recipe("muse_scipost")
    raw = frames.pop("PIXTABLE_OBJECT")
    scipost.calib = frames
    scipost.param = {"skymethod": "none", "save": "cube"}
    return scipost, raw


@pytest.mark.parametrize("threaded", [False, True])
def test_function(sof, tmp_path, threaded):
    scipost, raw = _recipe(sof)
    heard = []
    scipost.progress = heard.append if threaded else None
    result = scipost(raw, output_dir=tmp_path, threaded=threaded, progress=None if threaded else heard.append)
    assert result.DATACUBE_FINAL
    steps = list(dict.fromkeys(told.step for told in heard))
    assert steps[0] == "Starting"
    assert steps[-1] == "Reading products"
    assert set(steps) & {"Calibration, sky subtraction, position", "Cube"}
    parts = [told.part for told in heard]
    assert parts == sorted(parts)
    assert any(told.left is not None and told.left > 0 for told in heard)


def test_function_that_ends_the_run(sof, tmp_path):
    scipost, raw = _recipe(sof)

    def stop(progress):
        if progress.left is not None:
            raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        scipost(raw, output_dir=tmp_path / "out", progress=stop)
    assert list((tmp_path / "out").iterdir()) == []


def test_function_of_a_recipe_of_pycpl(sof, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe, heard = MuseScipost(), []
    recipe.progress = heard.append
    recipe.run(ui.FrameSet(str(sof)), {"skymethod": "none", "save": "cube"})
    assert {"Calibration, sky subtraction, position", "Cube"} & {told.step for told in heard}
    assert {told.n_exposures for told in heard} <= {0, 2}


NOTEBOOK = """
import json, sys, nbclient
from nbformat import v4
cell = v4.new_code_cell(open("script.py").read())
book = nbclient.execute(v4.new_notebook(cells=[cell]), timeout=600, kernel_name="python3")
found = book.cells[0].outputs, book.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]
print("JSON", json.dumps(found))
"""


def test_bar_in_a_notebook(sof, tmp_path):
    """Nothing is set up but the recipe."""
    lines = SCRIPT.format(importing=OURS).replace("sys.argv[1]", repr(str(sof)))
    (tmp_path / "script.py").write_text(
        f"{lines}\nscipost(raw, param={{'skymethod': 'none', 'save': 'cube'}})\n"
        "try:\n    scipost(raw, param={'lambdamin': 9000, 'lambdamax': 9100})\n"
        "except cpl.CplError:\n    print('failed')\n"
    )
    places = ("HOME", "IPYTHONDIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR")
    environment = os.environ | {name: str(tmp_path / name.lower()) for name in places} | {"OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", NOTEBOOK], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    outputs, widgets = json.loads(done.stdout.partition("JSON ")[2])
    assert len([one for one in outputs if "application/vnd.jupyter.widget-view+json" in one.get("data", {})]) == 2
    assert [one["text"] for one in outputs if one["output_type"] == "stream"] == ["failed\n"]
    bars = [one["state"] for one in widgets.values() if one["model_name"] == "FloatProgressModel"]
    assert sorted((bar["value"], bar["bar_style"]) for bar in bars)[-1] == (100.0, "success")
    assert "danger" in [bar["bar_style"] for bar in bars]
    texts = [one["state"]["value"] for one in widgets.values() if one["model_name"] == "HTMLModel"]
    assert [text for text in texts if text.startswith("muse_scipost")], texts
    assert [text for text in texts if "done" in text], texts


@pytest.mark.reference
def test_line_of_esorex(esorex, scipost_plugin, clean_environment, sof, tmp_path):
    command = [esorex, f"--recipe-dir={scipost_plugin}", "muse_scipost", "--skymethod=none", "--save=cube", str(sof)]
    status, screen, seen = terminal.run(command, tmp_path, clean_environment, columns=400)
    assert status == 0, screen.lines
    assert any(LEFT.match(line) for line in lines_of(seen)), lines_of(seen)
    is_clean(screen, (tmp_path / "esorex.log").read_text())
    command[1:1] = ["--msg-level=off"]
    _, screen, _ = terminal.run(command, tmp_path, clean_environment)
    assert not [line for line in screen.lines if "Cube" in line]


@pytest.mark.reference
def test_line_of_python_cpl_in_the_background(scipost_plugin, clean_environment, sof, tmp_path):
    pytest.importorskip("cpl")
    importing = f"import cpl\ncpl.Recipe.path = {str(scipost_plugin)!r}"
    (tmp_path / "script.py").write_text(
        SCRIPT.format(importing=importing)
        + "run = scipost(raw, threaded=True, param={'skymethod': 'none', 'save': 'cube'})\n"
        "print(len(run.DATACUBE_FINAL))\n"
    )
    status, screen, seen = terminal.run([sys.executable, "script.py", str(sof)], tmp_path, clean_environment)
    assert status == 0, screen.lines
    assert any(LEFT.match(line) for line in lines_of(seen)), lines_of(seen)
    assert not [line for line in screen.lines if " left" in line]

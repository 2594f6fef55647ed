# SPDX-License-Identifier: GPL-2.0-or-later
"""A log that cannot be written is one warning and costs nothing else; its records name the steps."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from harness.recipes import RECIPES

import muse_core.recipes
from muse_core.cplapi.messages import step_of
from muse_core.simulate.dataset import make_dataset
from muse_core.simulate.exposure import ExposureSpec

ROOT = Path(muse_core.__file__).parent
PRODUCTS = {"DATACUBE_FINAL.fits", "IMAGE_FOV_0001.fits"}
COMMAND = f"{sys.executable} -m muse_core.frontends.esorex.main --recipe-dir={RECIPES}"


def shell(command, folder, environment=None):
    """Run a line of a shell in a folder with one frame."""
    (folder / "in.fits").touch()
    (folder / "in.sof").write_text("in.fits PIXTABLE_OBJECT\n")
    environment = environment or os.environ | {"HOME": str(folder / "home")}
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )


def products(folder):
    return {path.name for path in folder.glob("*.fits")} - {"in.fits"}


@pytest.mark.parametrize(
    ("options", "where", "reason"),
    [
        ("--log-dir=/dev --log-file=full", "", "No space left on device"),
        ("--log-file=nowhere/x.log", "", "No such file or directory"),
        ("--log-dir=/proc --log-file=x.log", "", "No such file or directory"),  # where nothing can be made
        ("--log-file=.", "", "Is a directory"),
        ("", ">/dev/full", "No space left on device"),
        ("", ">&-", "Bad file descriptor"),
        ("", "<&- >&-", "Bad file descriptor"),
        ("", "| true", "Broken pipe"),
        ("--log-dir=/dev --log-file=full", "2>&-", "No space left on device"),
    ],
)
def test_log_of_the_command(options, where, reason, tmp_path):
    done = shell(f"set -o pipefail; {COMMAND} {options} demo in.sof {where}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert products(tmp_path) == PRODUCTS
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    assert "Exception" not in said
    assert said.count(reason) == 1
    assert said.count("the run goes on without") == 1
    assert "[ ERROR ]" not in said
    if not options:  # the log file has what the terminal lacks
        log = (tmp_path / "esorex.log").read_text()
        assert "2 products created" in log
        assert log.count("the run goes on without") == 1


@pytest.mark.parametrize("what", ["pipe", "link of another user"])
def test_log_file_that_is_something_else(what, tmp_path):
    log, foreign = tmp_path / "x.log", tmp_path / "foreign"
    foreign.write_text("mine")
    if what == "pipe":  # nobody reads it
        os.mkfifo(log)
    else:
        if os.geteuid() != 0:
            pytest.skip("only root can give links away")
        log.symlink_to(foreign)
        os.lchown(log, 65534, -1)
    done = shell(f"{COMMAND} --log-file=x.log demo in.sof", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert products(tmp_path) == PRODUCTS
    assert done.stdout.count("Unable to write the log file './x.log'") == 1
    assert foreign.read_text() == "mine"


def test_nothing_can_be_written(tmp_path):
    done = shell(f"{COMMAND} --log-dir=/dev --log-file=full demo in.sof >&- 2>/dev/full", tmp_path)
    assert done.returncode == 0
    assert products(tmp_path) == PRODUCTS


def test_log_file_that_stops_in_the_middle(tmp_path):
    """A limit on the size of files is a disk that fills up."""
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); from muse_core.cplapi import core;"
    code = (
        f"{limit} core.Msg.start_file(1, 'x.log'); resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300));"
        "[core.Msg.info('step', f'line {n}') for n in range(20)]; core.Msg.stop_file()"
    )
    alone = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}  # limited as well
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=alone, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("Unable to write the log file 'x.log' (File too large)") == 1
    assert "line 19" in done.stdout


@pytest.mark.parametrize("text", ["--help", "--recipes", "--params demo", "--man-page demo"])
def test_texts_that_cannot_be_written(text, tmp_path):
    done = shell(f"{COMMAND} {text} > /dev/full", tmp_path)
    assert done.returncode == 255
    assert done.stderr.count("\n") == done.stderr.count("[ ERROR ]") == 1
    assert "Unable to write to standard output: No space left on device\n" in done.stderr
    done = shell(f"set -o pipefail; {COMMAND} {text} | true", tmp_path)
    assert (done.returncode, done.stderr) in ((141, ""), (0, ""))  # 0: it was faster than its reader ended


@pytest.mark.reference
@pytest.mark.parametrize("where", ["", ">/dev/full", ">&-", "<&- >&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("log", ["esorex.log", "full disk", "no folder"])
def test_log_of_esorex(where, log, esorex, demo_plugin, clean_environment, tmp_path):
    if log == "full disk":  # esorex writes here, and then moves what it wrote (on a device it would be the device)
        (tmp_path / ".logfile").symlink_to("/dev/full")
    elif log == "no folder":
        (tmp_path / ".logfile").symlink_to("/nowhere/log")
    done = shell(f"{esorex} --recipe-dir={demo_plugin} demo in.sof {where}", tmp_path, clean_environment)
    assert done.returncode == 0, done.stderr
    assert products(tmp_path) == PRODUCTS
    assert "Traceback" not in done.stderr


@pytest.mark.reference
@pytest.mark.parametrize("where", [">/dev/full", ">&-", "<&- >&-", ">&- 2>&-"])
def test_streams_of_python_cpl(where, demo_plugin, clean_environment, tmp_path):
    pytest.importorskip("cpl")
    (tmp_path / "script.py").write_text(
        "import cpl, sys\ncpl.Recipe.path = sys.argv[1]\ncpl.Recipe('demo')('in.fits', output_dir='out')\n"
    )
    (tmp_path / "out").mkdir()
    done = shell(f"{sys.executable} script.py {demo_plugin} {where}", tmp_path, clean_environment)
    assert done.returncode == 0, done.stderr
    assert products(tmp_path / "out") == PRODUCTS
    assert done.stderr == ""


RECIPE = """
import logging, sys
import muse_core
if len(sys.argv) > 2:
    logging.basicConfig(filename=sys.argv[2], level=logging.DEBUG)
else:
    logging.basicConfig(stream=sys.stdout, level=logging.DEBUG)
muse_core.Recipe.path = sys.argv[1]
print(len(muse_core.Recipe('demo')('in.fits', output_dir='out').log.info), file=open('messages', 'w'))
"""


@pytest.mark.parametrize(("where", "log"), [(">/dev/full", ""), (">&-", "log"), ("<&- >&-", "log"), ("", "/dev/full")])
def test_log_of_recipe(where, log, tmp_path):
    (tmp_path / "script.py").write_text(RECIPE)
    done = shell(f"{sys.executable} script.py {RECIPES} {log} {where}", tmp_path)
    assert products(tmp_path / "out") == PRODUCTS, done.stderr
    assert (tmp_path / "messages").read_text() == "2\n"
    assert "Traceback" not in done.stderr
    assert done.stderr.count("the run goes on without") == (log != "log")
    assert ("No space left on device" in done.stderr) == (log != "log")


def test_steps():
    assert step_of("muse_core.steps.sky.fit") == "sky"
    assert step_of("muse_core.steps.flux") == "flux"
    assert step_of("muse_core.recipes.muse_scipost") == "muse_scipost"
    assert step_of("muse_core.demo") == "demo"
    assert step_of("muse_core") == "muse_core"


def test_records_of_a_run_name_the_steps(tmp_path):
    """All of a run's log: its components are names of modules, never those of functions."""
    make_dataset(tmp_path / "data", [ExposureSpec(ifus=(12,), lbda_min=7000, lbda_max=7012)])
    command = f"{COMMAND} --log-level=debug muse_scipost --save=cube,skymodel,individual,autocal --autocalib=deepfield"
    done = shell(f"{command} data/model.sof", tmp_path)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "esorex.log").read_text().splitlines()
    found = {match[1] for line in lines if (match := re.match(r"[\d:]{8} \[[\w ]+\] (.*?): \[tid=000\] ", line))}
    modules = {path.stem for path in ROOT.glob("*/*") if not path.stem.startswith("_")}
    modules |= {path.stem for path in Path(muse_core.recipes.__file__).parent.glob("*.py")}
    assert found - modules == {""}  # the command's own
    assert {"muse_scipost", "sky", "autocalibration", "products"} <= found
    shell(f"{command} --lambdamin=9000 data/model.sof", tmp_path)
    assert not re.search(r"\] _", (tmp_path / "esorex.log").read_text())


def test_levels_of_recipe_are_those_of_logging(caplog, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in.fits").touch()
    monkeypatch.setattr(muse_core.Recipe, "path", [str(RECIPES)])
    with caplog.at_level(logging.WARNING, logger="cpl"):
        result = muse_core.Recipe("demo")("in.fits")
    assert [record.message for record in caplog.records] == ["A warning"]
    assert result.log.info == ["demo: A message", "demo: A warning"]

# SPDX-License-Identifier: GPL-2.0-or-later
"""Whoever is asked to end, or killed, ends within a second: without a traceback, files or processes that stay."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness.recipes import RECIPES

SCRIPT = """
import sys
{module}
{module_name}.Recipe.path = sys.argv[1]
{module_name}.Recipe("demo")("in.fits", param={{"fail": sys.argv[2]}}, output_dir={output_dir})
"""
RECIPE = SCRIPT.format(module="import muse_core", module_name="muse_core", output_dir=None)
PYTHON_CPL = SCRIPT.format(module="import cpl", module_name="cpl", output_dir="'.'")


def _command(front_end, request, how):
    """Return the command line that runs the demo recipe, and what it needs in its environment."""
    if front_end == "muse-esorex":
        command = [sys.executable, "-m", "muse_core.frontends.esorex.main"]
        return [*command, f"--recipe-dir={RECIPES}", "demo", f"--fail={how}", "in.sof"]
    if front_end == "muse_core.Recipe":
        return [sys.executable, "-c", RECIPE, RECIPES, how]
    plugin = request.getfixturevalue("demo_plugin")
    if front_end == "python-cpl":
        pytest.importorskip("cpl")
        return [sys.executable, "-c", PYTHON_CPL, plugin, how]
    return [request.getfixturevalue("esorex"), f"--recipe-dir={plugin}", "demo", f"--fail={how}", "in.sof"]


def _processes(folder):
    """Return the processes that work in a folder."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            state = (link.parent / "stat").read_text().rpartition(")")[2].split()[0]
            if Path(os.readlink(link)).is_relative_to(folder) and state != "Z":
                found.append(int(link.parent.name))
        except OSError:
            continue
    return found


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
FROM_TERMINAL = (signal.SIGINT, signal.SIGHUP)  # to all processes in it
#: A second where nothing else runs; the kernel would take half a minute.
AT_ONCE = 3


def _wait(condition, seconds, message):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, message
        time.sleep(0.01)


@pytest.mark.parametrize("how", ["sleep", "busy"])
@pytest.mark.parametrize("front_end", ["muse-esorex", "muse_core.Recipe", "esorex", "python-cpl"])
def test_ends_at_once(front_end, how, request, tmp_path, clean_environment):
    command = _command(front_end, request, how)
    hosts = {}
    for number in SIGNALS:
        work = tmp_path / number.name
        work.mkdir()
        (work / "in.fits").touch()
        (work / "in.sof").write_text("in.fits PIXTABLE_OBJECT\n")
        hosts[number] = subprocess.Popen(
            [str(word) for word in command],
            cwd=work,
            env=clean_environment,
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # a job in the background has it ignored, and so would the host
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    said = {}
    for number, host in hosts.items():
        work = tmp_path / number.name
        _wait(lambda work=work: list(work.rglob("running")), 60, "does not run")
        (os.killpg if number in FROM_TERMINAL else os.kill)(host.pid, number)
        _wait(lambda work=work: not _processes(work), AT_ONCE, f"{number.name}: somebody stays")
        said[number] = host.communicate()[0].decode()
        left = {path.name for path in work.iterdir()} - {"in.fits", "in.sof", "running", "esorex.log", ".logfile"}
        if front_end == "muse-esorex" and number == signal.SIGKILL:
            left -= {name for name in left if name.startswith((".demo-", ".muse-run-"))}  # the next run removes it
            assert left == set()
        else:
            assert left == set(), number.name
    for number, text in said.items():
        assert not re.search("worker.py|messages.py|ending.py", text)  # python-cpl has a traceback of its own
        if "esorex" in front_end:
            assert hosts[number].returncode == -number
            assert "Traceback" not in text
            assert ("Stopped by" in text) == (front_end == "muse-esorex" and number != signal.SIGKILL)


def test_ignored_signals_stay_so(tmp_path, clean_environment):
    """As under nohup."""
    (tmp_path / "in.fits").touch()
    (tmp_path / "in.sof").write_text("in.fits PIXTABLE_OBJECT\n")

    def ignore():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    command = _command("muse-esorex", None, "sleep")
    host = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=clean_environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=ignore,
    )
    _wait((tmp_path / "running").exists, 60, "does not run")
    host.send_signal(signal.SIGHUP)
    host.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert host.poll() is None
    host.terminate()
    assert b"Stopped by SIGTERM" in host.communicate(timeout=30)[1]


def test_interrupted_while_it_starts(clean_environment):
    code = """
import os, signal, sys
from muse_core.frontends.command import main

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "muse_core.frontends.esorex.main":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=clean_environment,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")

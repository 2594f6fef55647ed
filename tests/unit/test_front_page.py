# SPDX-License-Identifier: GPL-2.0-or-later
"""What those meet who come from a forge or an index: addresses, links, references, the command that needs only git."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from harness.run import reference_problem

ROOT = Path(__file__).parents[2]
URLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
#: Files beside the pages of the manual that say where the project is, or whom to cite.
FRONT = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CITATION.cff",
    "codemeta.json",
    "conda/meta.yaml",
    "pyproject.toml",
]
FRONT += [".github/ISSUE_TEMPLATE/config.yml", "docs/citation.md", "docs/installation.md", "docs/contributing.md"]


def test_links_of_the_front_page():
    """They work where there is no repository around (PyPI), and what they name is there."""
    text, home = (ROOT / "README.md").read_text(), URLS["Homepage"]
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert all(target.startswith("https://") for target in targets)
    in_sources = rf"{home}/blob/main/(\S+)|{home.replace('github', 'raw.githubusercontent')}/main/(\S+)"
    files = ["".join(found.groups("")) for found in map(re.compile(in_sources).fullmatch, targets) if found]
    files += [f".github/workflows/{name}" for name in re.findall(rf"{home}/actions/workflows/([\w.]+)\)", text)]
    pages = [re.fullmatch(rf"{URLS['Documentation']}/en/latest/(\S+)\.html", target) for target in targets]
    pages = [f"docs/{page[1]}.md" for page in pages if page]
    assert len(files) >= 4
    assert len(pages) >= 15
    assert not [path for path in files + pages if not (ROOT / path).exists()]


def test_one_address_of_the_project():
    """Whoever moves the project changes the address everywhere."""
    for path in FRONT:
        owners = set(re.findall(r"github(?:usercontent)?\.com/([\w-]+)/muse-scipost", (ROOT / path).read_text()))
        assert owners <= {URLS["Homepage"].split("/")[-2]}, path


def test_one_paper():
    """The paper to cite is the same everywhere."""
    for path in ("CITATION.cff", "codemeta.json", "docs/citation.md"):
        assert set(re.findall(r"10\.1051/[\w/-]+", (ROOT / path).read_text())) == {"10.1051/0004-6361/202037855"}, path


def test_oldest_packages_are_those_that_are_declared():
    """What `make oldest` installs is what the metadata promise, and the recipe of conda-forge."""
    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = metadata["project"]["optional-dependencies"]
    declared = [*metadata["build-system"]["requires"], *metadata["project"]["dependencies"]]
    declared = dict(d.split(">=") for d in [*declared, *extras["report"], *extras["cluster"]] if ">=" in d)
    pinned = dict(re.findall(r"^([\w-]+)==([\d.]+?)(?:\.\*)?$", (ROOT / "tools/oldest.txt").read_text(), re.MULTILINE))
    assert pinned == declared
    conda = dict(re.findall(r"^    - ([\w-]+) >=([\d.]+)$", (ROOT / "conda/meta.yaml").read_text(), re.MULTILINE))
    assert "numpy" in conda
    assert conda.items() <= declared.items()


@pytest.fixture
def machine(tmp_path):
    """Run the command for bare machines among programs that say how they were called; Debian has one package here."""
    programs = {
        "make": 'echo make "$@"',
        "apt-get": 'echo apt-get "$@"',
        "apt-cache": '[ "$2" = esorex ] && echo "Package: $2"',
        "dpkg-query": '[ "$4" = gcc ] && printf installed',
        "id": "echo $USER_ID",
    }

    def run(*targets, user=0):
        for name, line in programs.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
            (tmp_path / name).chmod(0o755)
        copy = tmp_path / "sources" / "tools" / "run"
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text((ROOT / "tools" / "run").read_text())
        environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "USER_ID": str(user)}
        return subprocess.run(["bash", copy, *targets], env=environment, capture_output=True, text=True, timeout=300)

    run.programs = programs
    return run


def test_bare_machine_of_root(machine):
    machine.programs["apt-get"] = 'echo apt-get "$@" >&2'
    done = machine("test", "A=1")
    assert done.stdout == "make --no-print-directory test A=1\n"
    install = done.stderr.splitlines()[-1].split()
    assert install[:2] == ["apt-get", "install"]
    assert {"python3-venv", "make", "esorex"} <= set(install)
    assert not {"gcc", "chromium"} & set(install)  # is there already; is not to be had
    assert "esorex" not in machine("demo").stderr


def test_bare_machine_of_a_user(machine):
    done = machine("demo", user=1000)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"missing: python3 .*; as root: apt-get install python3 [^\n]*\n", done.stderr)
    machine.programs["dpkg-query"] = '[ "$4" != esorex ] && printf installed'
    done = machine("demo", user=1000)
    assert (done.returncode, done.stdout, done.stderr) == (0, "make --no-print-directory demo\n", "")
    assert "left out without: esorex" in machine("test", user=1000).stderr


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        ("muse_scipost -- version 2.8.7", None),
        ("muse_scipost -- version 2.10.1", "found version 2.10.1, the tests compare with 2.8.7"),
        ("unknown recipe", "cpl-plugin-muse"),
    ],
)
def test_version_of_the_reference(page, problem, tmp_path, monkeypatch):
    """Tests compare with one version of ESO's recipes; with another one they are left out."""
    (tmp_path / "esorex").write_text(f"#!/bin/sh\necho '{page}'\n")
    (tmp_path / "esorex").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    found = reference_problem()
    assert found is None if problem is None else problem in found

# SPDX-License-Identifier: GPL-2.0-or-later
"""Every block of code of every page of the manual runs: here, or (cells of notebooks) where the manual is built."""

import ast
import importlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import muse_core
from muse_core.frontends import registry

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```(\w+)( \w+)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: Blocks that are not run here, and why.
NOT_RUN = {
    ("sh", " install"): "makes the environment in which the tests run; needs a network",
    ("sh", " sources"): "for the sources: these are the tests themselves",
    ("sh", " elsewhere"): "needs several machines",
    ("python", " elsewhere"): "needs several machines",
    ("text", ""): "shows what comes out",
}
#: What begins a line that somebody would type.
COMMAND = re.compile(
    r"^\s*(muse-|esorex |python|pip |make |dask |ssh |cat |cd |export |import |from |#!)", re.MULTILINE
)
DIRECTIVE = re.compile(r"^(`{3,}|:{3,})\{[\w-]+\}.*?^\1$", re.MULTILINE | re.DOTALL)
#: Code that is indented, which nobody can tell from text that is.
INDENTED = re.compile(r"\n\n(?: {4}|\t)[^\n]*")
CELL = "```{code-cell}"
#: What begins a page whose cells are run.
NOTEBOOK = "---\njupytext:\n  text_representation:\n    format_name: myst\nkernelspec:\n  name: python3\n"
MANUAL = sorted(p for p in DOCS.rglob("*.md") if not {"_build", "generated"} & set(p.relative_to(DOCS).parts))
PAGES = [
    page
    for page in (ROOT / "README.md", *MANUAL)
    if any((language, mark) not in NOT_RUN for language, mark, _ in BLOCK.findall(page.read_text()))
]
#: Command lines in the text that are complete.
INLINE = re.compile(r"`((?:esorex --recipe-dir=|muse-esorex --plan )[^`]* scipost\.sof)`")
#: What stands in for the programs of a batch system: the job runs at once, an array one after the other.
SBATCH = """#!/bin/sh
for script; do :; done
last=$(sed -n 's/^#SBATCH --array=1-//p' "$script")
export SLURM_CPUS_PER_TASK=2 SLURM_ARRAY_TASK_ID
for SLURM_ARRAY_TASK_ID in $(seq ${last:-1}); do sh "$script" >"$script.$SLURM_ARRAY_TASK_ID.out" 2>&1 || exit; done
echo 1
"""


def name_of(page):
    """Return the name of a page in those of tests."""
    return page.relative_to(ROOT).with_suffix("").as_posix()


pages = pytest.mark.parametrize("page", PAGES, ids=name_of)


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory):
    """A folder of programs, and beside it a virtual environment to activate."""
    folder = tmp_path_factory.mktemp("stand_ins")
    (folder / "sbatch").write_text(SBATCH)
    (folder / "sbatch").chmod(0o755)
    return folder


def run(language, code, folder, *programs):
    """Run the blocks of one language of a page, one after the other."""
    path = os.pathsep.join(map(str, [Path(sys.executable).parent, *programs, os.environ["PATH"]]))
    environment = os.environ | {"HOME": str(folder), "PATH": path}
    for name in [name for name in environment if name.startswith("ESOREX_")]:
        del environment[name]
    command = ["sh", "-e", "-c", code] if language == "sh" else [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    if language == "sh" and re.search(r"muse_scipost .*scipost\.sof", code.replace("\\\n", "")):
        assert f"muse-scipost {muse_core.__version__}" in done.stdout  # and not ESO's recipe of the same name


def blocks(page, language, eso):
    """Return the blocks of a page in a language, for those who have ESO's programs or for all, as one text."""
    return "\n".join(code for lang, mark, code in BLOCK.findall(page.read_text()) if (lang, mark) == (language, eso))


@pages
def test_examples(page, tmp_path, stand_ins):
    """Each page is complete: in an empty folder its commands run one after the other, then its lines of Python."""
    commands, python = blocks(page, "sh", ""), blocks(page, "python", "")
    assert "muse-simulate" in commands
    activate = tmp_path / "muse" / "bin" / "activate"  # the environment of batch jobs
    activate.parent.mkdir(parents=True)
    activate.touch()
    run("sh", commands, tmp_path, stand_ins)
    if python:
        run("python", python, tmp_path)


def with_programs_of_eso(page):
    """Return the commands of a page for those who have ESO's programs, those in its text too, and its Python."""
    commands, python = blocks(page, "sh", " eso"), blocks(page, "python", " eso")
    return "\n".join([commands, *INLINE.findall(page.read_text())]).strip(), python


@pytest.mark.reference
@pytest.mark.parametrize("page", [page for page in PAGES if any(with_programs_of_eso(page))], ids=name_of)
def test_examples_with_programs_of_eso(page, tmp_path, esorex):
    plugins = registry.plugin_directory()
    if plugins is None:
        pytest.skip("built without the native plugin")
    commands, python = with_programs_of_eso(page)
    making = re.search(r"muse-simulate .*\n(?:cp .*\n)?", page.read_text())[0]
    run("sh", f"{making}\n{commands}", tmp_path)
    if python:
        pytest.importorskip("cpl")
        run("python", f"muse_scipost_plugins = {str(plugins)!r}\n{python}", tmp_path)


@pytest.mark.parametrize("page", MANUAL, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_every_block_is_run_or_text(page):
    text = page.read_text()
    blocks = BLOCK.findall(DIRECTIVE.sub("", text))
    found = {(language, mark) for language, mark, _ in blocks}
    if CELL in text:
        assert text.startswith(NOTEBOOK)
        assert found <= set(NOT_RUN), "in a notebook only cells are run"
    else:
        assert found <= {(c, mark) for c in ("sh", "python") for mark in ("", " eso")} | set(NOT_RUN)
    assert not [code for language, _, code in blocks if language == "text" and COMMAND.search(code)]
    assert not INDENTED.search(DIRECTIVE.sub("", BLOCK.sub("", text))), "code that nothing runs"


def not_run(language, mark):
    """Return the blocks of all pages with a mark, as pairs of name of the page and code."""
    return [(p.name, c) for p in MANUAL for lang, m, c in BLOCK.findall(p.read_text()) if (lang, m) == (language, mark)]


def test_blocks_for_several_machines_are_sound(tmp_path):
    """Their syntax, the options of our commands in them, and the names that they import from us."""
    command = [sys.executable, "-m", "muse_core.frontends.esorex.main", "--help"]
    known = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    shells, scripts = not_run("sh", " elsewhere"), not_run("python", " elsewhere")
    assert shells
    assert scripts
    for name, code in shells:
        subprocess.run(["sh", "-n", "-c", code], check=True)
        lines = code.replace("\\\n", "").splitlines()
        ours = [line.partition("muse-esorex")[2] for line in lines if "muse-esorex" in line]
        for option in re.findall(r"--([\w-]+)", " ".join(ours)):
            assert f"--{option}" in known, f"{name}: --{option}"
    for name, code in scripts:
        tree = ast.parse(code, name)
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        for node in imports:
            if node.module.startswith("muse_core"):
                assert all(hasattr(importlib.import_module(node.module), alias.name) for alias in node.names)


def test_blocks_for_the_sources_name_what_is_there():
    """Targets of the Makefile, folders of the tests."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for name, code in not_run("sh", " sources"):
        assert set(re.findall(r"make ([a-z-]+)", code)) <= targets, name
        assert all((ROOT / path).exists() for path in re.findall(r"\btests/\w+", code)), name


def test_parameters_that_pages_name():
    """Parameters in the text and the code of all pages are ones of a recipe, or options of a command."""
    recipes = [registry.class_of(name) for name in registry.built_in()]
    full = {f"muse.{recipe.NAME}.{spec.name}" for recipe in recipes for spec in recipe.PARAMETERS}
    for page in (ROOT / "README.md", *MANUAL):
        found = set(re.findall(r"\bmuse\.muse_\w+\.\w+", page.read_text()))
        assert found <= full, page.name


def test_complete_lines_of_the_page_for_esorex():
    assert len(INLINE.findall((DOCS / "esorex.md").read_text()) + INLINE.findall((ROOT / "README.md").read_text())) >= 2


def test_parts_of_the_installation():
    """What the page of the installation tells to install is there."""
    text, project = (DOCS / "installation.md").read_text(), tomllib.loads((ROOT / "pyproject.toml").read_text())
    parts = {part for listed in re.findall(r"pip install '\.\[([\w,]+)\]'", text) for part in listed.split(",")}
    parts |= set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    assert parts
    assert parts <= set(project["project"]["optional-dependencies"])


def test_demo_of_the_makefile(tmp_path):
    """The commands of ``make demo``, with two IFUs."""
    lines = (ROOT / "Makefile").read_text().split("\ndemo:")[1].split("\n\n")[0].splitlines()[1:]
    code = "\n".join(line.strip().removeprefix("@") for line in lines).replace("--ifus 1-24", "--ifus 12,13")
    code = re.sub(r"(\.\./)?\$\(BIN\)", str(Path(sys.executable).parent), code)
    code = re.sub(r"^cd demo && (.*)$", r"(cd demo && \1)", code, flags=re.MULTILINE)
    run("sh", code.replace("../sof_examples", str(ROOT / "sof_examples")), tmp_path)
    assert (tmp_path / "demo" / "demo.png").stat().st_size > 10_000

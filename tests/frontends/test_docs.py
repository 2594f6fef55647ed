# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands of the pages for users of each front-end run as they stand."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import muse_core
from muse_core.frontends import registry

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("esorex", "python", "reflex", "edps", "combining", "noise")),
]
BLOCK = re.compile(r"^```(\w+)( eso)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: Command lines in the text that are complete.
INLINE = re.compile(r"`((?:esorex --recipe-dir=|muse-esorex --plan )[^`]* scipost\.sof)`")
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def run(language, code, folder):
    """Run the blocks of one language of a page, one after the other."""
    environment = os.environ | {"HOME": str(folder), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
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
def test_examples(page, tmp_path):
    """Each page is complete: in an empty folder its commands run one after the other, then its lines of Python."""
    commands, python = blocks(page, "sh", ""), blocks(page, "python", "")
    assert "muse-simulate" in commands
    run("sh", commands, tmp_path)
    if python:
        run("python", python, tmp_path)


@pytest.mark.reference
@pages
def test_examples_with_programs_of_eso(page, tmp_path, esorex):
    plugins = registry.plugin_directory()
    if plugins is None:
        pytest.skip("built without the native plugin")
    commands, python = blocks(page, "sh", " eso"), blocks(page, "python", " eso")
    commands = "\n".join([commands, *INLINE.findall(page.read_text())]).strip()
    if commands or python:
        making = re.search(r"muse-simulate .*\ncp .*\n", page.read_text())[0]
        run("sh", f"{making}\n{commands}", tmp_path)
    if python:
        pytest.importorskip("cpl")
        run("python", f"muse_scipost_plugins = {str(plugins)!r}\n{python}", tmp_path)


def test_every_block_is_run_or_text():
    for page in PAGES:
        languages = {language for language, _, _ in BLOCK.findall(page.read_text())}
        assert languages <= {"sh", "python", "text"}
    assert len(INLINE.findall(PAGES[0].read_text())) == 2


def test_demo_of_the_makefile(tmp_path):
    """The commands of ``make demo``, with two IFUs."""
    lines = (ROOT / "Makefile").read_text().split("\ndemo:")[1].split("\n\n")[0].splitlines()[1:]
    code = "\n".join(line.strip().removeprefix("@") for line in lines).replace("--ifus 1-24", "--ifus 12,13")
    code = re.sub(r"(\.\./)?\$\(BIN\)", str(Path(sys.executable).parent), code)
    code = re.sub(r"^cd demo && (.*)$", r"(cd demo && \1)", code, flags=re.MULTILINE)
    run("sh", code.replace("../sof_examples", str(ROOT / "sof_examples")), tmp_path)
    assert (tmp_path / "demo" / "demo.png").stat().st_size > 10_000

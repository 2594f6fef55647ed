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
from muse_core.simulate.dataset import make_dataset
from muse_core.simulate.exposure import ExposureSpec

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("esorex", "python", "reflex", "edps")
BLOCK = re.compile(r"^```(\w+)( eso)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a small exposure, its calibrations and scipost.sof."""
    folder = tmp_path_factory.mktemp("docs")
    make_dataset(folder, [ExposureSpec(ifus=(12,), lbda_min=7000, lbda_max=7012)])
    (folder / "scipost.sof").write_text((folder / "model.sof").read_text())
    return folder


def run(language, code, folder):
    """Run the blocks of one language of a page, one after the other."""
    environment = os.environ | {"HOME": str(folder), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for name in [name for name in environment if name.startswith("ESOREX_")]:
        del environment[name]
    command = ["sh", "-e", "-c", code] if language == "sh" else [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    if language == "sh" and "muse_scipost" in code and "scipost.sof" in code:
        assert f"muse-scipost {muse_core.__version__}" in done.stdout  # and not ESO's recipe of the same name


@pytest.mark.parametrize("language", ["sh", "python"])
@pytest.mark.parametrize("page", PAGES)
def test_examples(page, language, folder):
    blocks = [
        code for found, eso, code in BLOCK.findall((DOCS / f"{page}.md").read_text()) if found == language and not eso
    ]
    if blocks:
        run(language, "\n".join(blocks), folder)


@pytest.mark.reference
@pytest.mark.parametrize("page", PAGES)
def test_examples_with_programs_of_eso(page, folder):
    plugins = registry.plugin_directory()
    if plugins is None:
        pytest.skip("built without the native plugin")
    for language, eso, code in BLOCK.findall((DOCS / f"{page}.md").read_text()):
        if eso and language == "sh":
            run(language, code, folder)
        elif eso:
            pytest.importorskip("cpl")
            run(language, f"muse_scipost_plugins = {str(plugins)!r}\n{code}", folder)


def test_every_block_is_run_or_text():
    for page in PAGES:
        languages = {language for language, _, _ in BLOCK.findall((DOCS / f"{page}.md").read_text())}
        assert languages <= {"sh", "python", "text"}


def test_demo_of_the_makefile(tmp_path):
    """The commands of ``make demo``, with two IFUs."""
    lines = (DOCS.parent / "Makefile").read_text().split("\ndemo:")[1].split("\n\n")[0].splitlines()[1:]
    code = "\n".join(line.strip().removeprefix("@") for line in lines).replace("--ifus 1-24", "--ifus 12,13")
    code = re.sub(r"(\.\./)?\$\(BIN\)", str(Path(sys.executable).parent), code)
    code = re.sub(r"^cd demo && (.*)$", r"(cd demo && \1)", code, flags=re.MULTILINE)
    run("sh", code.replace("../sof_examples", str(DOCS.parent / "sof_examples")), tmp_path)
    assert (tmp_path / "demo" / "demo.png").stat().st_size > 10_000

# SPDX-License-Identifier: GPL-2.0-or-later
"""No code and no settings are taken from places where others may have put them."""

import os
import shutil
import subprocess
import sys

import pytest
from harness.recipes import RECIPES
from harness.run import measured

import muse_core
from muse_core.errors import InputError
from muse_core.frontends.trust import distrust

NOBODY = 65534
CODE = "import sys; from muse_core.frontends.esorex.main import main; sys.exit(main(program='muse-esorex'))"


def run(folder, *arguments, **variables):
    """Run the command in a folder, in the environment of a container or of cron: without a home."""
    environment = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ} | measured() | variables
    return subprocess.run(
        [sys.executable, "-P", "-c", CODE, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def folder(tmp_path):
    """A folder with a recipe in which code says that it ran."""
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    text = (RECIPES / "demo.py").read_text() + f"\nPath({str(tmp_path / 'code ran')!r}).touch()\n"
    (recipes / "demo.py").write_text(text)
    return tmp_path


@pytest.mark.parametrize("home", [{}, {"HOME": ""}, {"HOME": "."}])
def test_nothing_of_the_current_folder_without_a_home(home, folder):
    (folder / ".esorex").mkdir()
    (folder / ".esorex" / "esorex.rc").write_text(
        f"esorex.caller.recipe-dir={folder}/recipes\nesorex.caller.output-prefix=planted\n"
    )
    (folder / ".esorex" / "muse_scipost.rc").write_text("muse.muse_scipost.dx=0.4321\n")
    done = run(folder, "--params", "muse_scipost", **home)
    assert done.returncode == 0
    assert "planted" not in done.stdout
    assert "0.4321" not in done.stdout
    assert "demo" not in run(folder, "--recipes", **home).stdout
    assert not (folder / "code ran").exists()
    done = run(folder, "--create-config", "muse_scipost", **home)
    assert "There is no $HOME" in done.stderr
    assert sorted(path.name for path in (folder / ".esorex").iterdir()) == ["esorex.rc", "muse_scipost.rc"]


def _make_others_write(path):
    path.chmod(path.stat().st_mode | 0o002)


def _make_a_group_write(path):
    os.chown(path, -1, NOBODY)
    path.chmod(path.stat().st_mode | 0o020)


def _give_away(path):
    os.chown(path, NOBODY, -1)


def _make_folder_above_write(path):
    path.parent.chmod(0o777)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
FAULTS = [
    _make_others_write,
    _make_folder_above_write,
    pytest.param(_make_a_group_write, marks=needs_root),
    pytest.param(_give_away, marks=needs_root),
]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("what", ["recipes", "recipes/demo.py", "recipes/below"])
def test_recipes_that_others_may_write(what, fault, folder):
    if what == "recipes/below":
        (folder / what).mkdir()
        (folder / "recipes" / "demo.py").rename(folder / what / "demo.py")
    assert "demo" in run(folder, f"--recipe-dir={folder}/recipes", "--recipes").stdout
    (folder / "code ran").unlink()
    fault(folder / what)
    done = run(folder, f"--recipe-dir={folder}/recipes", "--recipes", HOME=str(folder))
    assert done.returncode == 0
    assert done.stdout.count("[WARNING]") == done.stdout.count("recipes in it are not used") == 1
    assert "demo  " not in done.stdout
    assert not (folder / "code ran").exists()


@pytest.mark.parametrize("fault", FAULTS)
def test_configuration_files_that_others_may_write(fault, folder):
    for name in ("esorex", "demo"):
        (folder / ".esorex").mkdir(exist_ok=True)
        file = folder / ".esorex" / f"{name}.rc"
        file.write_text("esorex.caller.output-prefix=planted\n" if name == "esorex" else "muse.demo.dx=0.4321\n")
    arguments = (f"--recipe-dir={folder}/recipes", "--params", "demo")
    found = run(folder, *arguments, HOME=str(folder)).stdout
    assert "planted" in found
    assert "0.4321" in found
    for name in ("esorex", "demo"):
        fault(folder / ".esorex" / f"{name}.rc")
    done = run(folder, *arguments, HOME=str(folder))
    assert done.returncode == 0
    assert "planted" not in done.stdout
    assert "0.4321" not in done.stdout
    assert done.stdout.count("is not read: ") == 2


def test_named_configuration_file_that_everybody_may_write(folder):
    (folder / "x.rc").write_text("esorex.caller.output-prefix=planted\n")
    (folder / "x.rc").chmod(0o666)
    for arguments, variables in ((("--config=x.rc", "--params"), {}), (("--params",), {"ESOREX_CONFIG": "x.rc"})):
        done = run(folder, *arguments, **variables)
        assert done.returncode == 255
        assert "'x.rc' can be written by everybody" in done.stderr


def test_file_of_a_recipe_in_python(folder, monkeypatch, caplog):
    file = folder / "recipes" / "demo.py"
    monkeypatch.setattr(muse_core.Recipe, "path", [str(folder / "recipes")])
    assert muse_core.Recipe("demo", filename=file).tags
    (folder / "code ran").unlink()
    file.chmod(0o666)
    with pytest.raises(InputError, match="others may write to .* its code would be run"):
        muse_core.Recipe("demo", filename=file)
    with pytest.raises(InputError, match="'demo' not found"):
        muse_core.Recipe("demo")
    assert "recipes in it are not used: others may write" in caplog.text
    assert not (folder / "code ran").exists()


def test_links_and_sticky_folders(tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "a").touch()
    (tmp_path / "link").symlink_to(own)
    assert distrust(tmp_path / "link" / "a") == ""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    shutil.move(own, shared / "own")
    assert distrust(shared / "own" / "a") == ""
    shared.chmod(0o777)
    assert "others may write to" in distrust(shared / "own" / "a")
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to(shared / "own")
    assert "others may write to" in distrust(tmp_path / "link" / "a")


def test_worker_imports_nothing_of_its_folder(folder, monkeypatch):
    """Also with an empty entry in PYTHONPATH, which stands for the current folder."""
    (folder / "numpy.py").write_text("raise SystemExit('wrong module')\n")
    monkeypatch.setattr(muse_core.Recipe, "path", [str(RECIPES)])
    for path in ("", ":", f":{folder.parent}"):
        monkeypatch.setenv("PYTHONPATH", path)
        (folder / "in.fits").touch()
        assert muse_core.Recipe("demo")(str(folder / "in.fits"), output_dir=folder).tags

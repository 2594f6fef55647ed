# SPDX-License-Identifier: GPL-2.0-or-later
"""The recipe is a class of PyCPL where PyCPL is installed, and PyEsoRex finds it in the folder of recipes."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import muse_core.recipes

HERE = Path(__file__).parent


def in_process(code, tmp_path, path=()):
    """Run code in a fresh interpreter in an empty folder; return what it prints as JSON."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_class_of_pycpl(tmp_path):
    code = """
        import json, logging, sys, types
        from muse_core.recipes.muse_scipost import MuseScipost
        import cpl
        recipe = MuseScipost()
        Product = types.SimpleNamespace
        def process(run, parameters):
            logging.getLogger("muse_core.steps").info("working")
            open("B.fits", "w").close()
            open("A.fits", "w").close()
            run.factory.products += [
                Product(path=run.factory.directory / "B.fits", tag="B", level="FINAL", frame_type="IMAGE"),
                Product(path=run.factory.directory / "A.fits", tag="A", level="INTERMEDIATE", frame_type="TABLE")]
        recipe.process = process
        frames = cpl.ui.FrameSet()
        open("in.fits", "w").close()
        for tag in ("PIXTABLE_OBJECT", "SKY_LINES", "OTHER"):
            frames.append(cpl.ui.Frame("in.fits", tag=tag))
        products = recipe.run(frames, {"muse.muse_scipost.dx": 1.0, "dy": 2})
        print(json.dumps({
            "subclass": issubclass(MuseScipost, cpl.ui.PyRecipe),
            "parameters": [isinstance(recipe.parameters, cpl.ui.ParameterList), len(recipe.parameters)],
            "enum": isinstance(recipe.parameters["muse.muse_scipost.resample"], cpl.ui.ParameterEnum),
            "groups": [int(frame.group) for frame in frames],
            "products": sorted([p.file, p.tag, int(p.group), int(p.level), int(p.type)] for p in products),
            "frameset": isinstance(products, cpl.ui.FrameSet),
            "messages": [m for m in cpl.core.Msg.collected if m[2] == "working"],
        }))
    """
    assert in_process(code, tmp_path, [HERE / "fake_pycpl"]) == {
        "subclass": True,
        "parameters": [True, 27],
        "enum": True,
        "groups": [1, 2, 0],
        "products": [["A.fits", "A", 3, 2, 8], ["B.fits", "B", 3, 3, 2]],
        "frameset": True,
        "messages": [["info", "steps", "working"]],
    }


@pytest.mark.parametrize("with_pycpl", [True, False])
def test_found_in_the_folder_of_recipes(with_pycpl, tmp_path):
    """PyEsoRex imports every file of the folder and instantiates all recipe classes that it sees in them."""
    code = """
        import importlib.util, json, os
        from pathlib import Path
        from muse_core.cplapi import ui
        import muse_core.recipes
        found = []
        for path in sorted(Path(muse_core.recipes.__file__).parent.rglob("*.py")):
            spec = importlib.util.spec_from_file_location(path.stem, path)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            found += [cls().name for cls in vars(module).values()
                      if isinstance(cls, type) and issubclass(cls, ui.PyRecipe) and cls is not ui.PyRecipe]
        print(json.dumps(found))
    """
    path = [HERE / "fake_pycpl"] if with_pycpl else []
    files = Path(muse_core.recipes.__file__).parent.glob("muse_*.py")
    assert in_process(code, tmp_path, path) == sorted(file.stem for file in files)


def test_our_command_does_not_need_pycpl(tmp_path):
    code = """
        import contextlib, io, json, sys
        from muse_core.frontends.esorex.main import main
        with contextlib.redirect_stdout(io.StringIO()):
            main(["--params", "muse_scipost"], "x")
        print(json.dumps("cpl" in sys.modules))
    """
    assert in_process(code, tmp_path, [HERE / "fake_pycpl"]) is False

# SPDX-License-Identifier: GPL-2.0-or-later
"""The same products through ESO's esorex with our plugin, python-cpl, and Python with a Dask client."""

import os
import subprocess
import sys

import pytest
from cluster.conftest import LONG
from harness.products import products

from muse_core.frontends import registry
from muse_core.io.sof import read_sof

PARAMETERS = {"skymethod": "simple", "save": "cube,skymodel,individual"}
PYTHON = """
import contextlib, json, os, sys

def main():
    package, wanted = sys.argv[1], json.load(open("request.json"))
    module = __import__(package)
    if package == "cpl":
        module.Recipe.path = os.environ["ESOREX_PLUGIN_DIR"]
    recipe = module.Recipe("muse_scipost")
    recipe.output_dir = os.getcwd()
    for name, value in wanted["parameters"].items():
        recipe.param[name] = value
    client = contextlib.nullcontext()
    if len(sys.argv) > 2:
        from distributed import Client
        client = Client(scheduler_file=sys.argv[2])
    with client:
        recipe(wanted["raw"], calib=wanted["calib"])

if __name__ == "__main__":
    main()
"""


@pytest.fixture(scope="module")
def sof(datasets):
    """Set of frames of two exposures."""
    return datasets["smalltwo"].sofs["model"]


@pytest.fixture
def cluster(new_cluster):
    """A cluster of two workers."""
    made = new_cluster()
    for _ in range(2):
        made.worker(preload="muse_core.frontends.preload")
    made.wait_for_workers(2)
    return made


def _run(command, folder, **environment):
    folder.mkdir()
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MUSE_")}
    with open(folder / "output.txt", "w") as output:
        done = subprocess.run(
            [str(word) for word in command],
            cwd=folder,
            env={**clean, "OMP_NUM_THREADS": "2", **environment},
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            timeout=LONG,
            check=False,
        )
    text = (folder / "output.txt").read_text(errors="replace")
    assert done.returncode == 0, text
    return products(folder), text


def _plugins() -> str:
    folder = registry.plugin_directory()
    if folder is None:
        pytest.skip("this installation was built without CPL: it has no native plugin")
    return str(folder)


@pytest.mark.reference
def test_esorex(cluster, sof, tmp_path):
    options = [f"--{name}={value}" for name, value in PARAMETERS.items()]
    command = ["/usr/bin/esorex", "muse_scipost", *options, sof]
    alone, _ = _run(command, tmp_path / "alone", ESOREX_PLUGIN_DIR=_plugins())
    found, text = _run(
        command, tmp_path / "shared", ESOREX_PLUGIN_DIR=_plugins(), MUSE_CLUSTER=str(cluster.file), MUSE_SCRATCH="."
    )
    assert found == alone
    assert "2 workers with 2 threads" in text


def _request(folder, sof) -> None:
    import json

    frames = read_sof(sof)
    calib: dict[str, list[str]] = {}
    for frame in frames:
        if frame.tag != "PIXTABLE_OBJECT":
            calib.setdefault(frame.tag, []).append(str(frame.path))
    raw = [str(frame.path) for frame in frames if frame.tag == "PIXTABLE_OBJECT"]
    folder.write_text(json.dumps({"raw": raw, "calib": calib, "parameters": PARAMETERS}))


def _python(tmp_path, sof, name, package, *arguments, **environment):
    folder = tmp_path / name
    script = tmp_path / "script.py"
    script.write_text(PYTHON)
    _request(tmp_path / "request.json", sof)
    return _run(
        ["sh", "-c", f"cp ../request.json . && exec {sys.executable} {script} {package} {' '.join(arguments)}"],
        folder,
        **environment,
    )


@pytest.mark.reference
def test_python_cpl(cluster, sof, tmp_path):
    environment = {"ESOREX_PLUGIN_DIR": _plugins()}
    alone, _ = _python(tmp_path, sof, "alone", "cpl", **environment)
    found, _ = _python(tmp_path, sof, "shared", "cpl", **environment, MUSE_CLUSTER=str(cluster.file))
    assert found == alone
    assert any(name == "DATACUBE_FINAL.fits" for name, _ in found)
    assert cluster.tasks()


def test_current_client(cluster, sof, tmp_path):
    alone, _ = _python(tmp_path, sof, "alone", "muse_core")
    assert not cluster.tasks()
    found, _ = _python(tmp_path, sof, "shared", "muse_core", str(cluster.file))
    assert found == alone
    assert any(name == "DATACUBE_FINAL.fits" for name, _ in found)
    assert cluster.tasks()

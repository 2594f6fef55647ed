# SPDX-License-Identifier: GPL-2.0-or-later
"""A folder in which notebooks are: sets of frames, and the cube that the recipe makes of them."""

import shutil

import pytest
from harness import run


@pytest.fixture(scope="session")
def reduced(datasets, tmp_path_factory):
    """Folder with what muse_scipost makes of an exposure with default parameters, and the noise of the cube."""
    folder = tmp_path_factory.mktemp("api")
    arguments = (datasets["small"].sofs["model"], folder, "--filter=white,sim_7030")
    outcome = run.ours(*arguments, env={"MUSE_EXTRAS": "noise"}, compat=False)
    assert outcome.status == 0, outcome.output
    return folder


@pytest.fixture
def notebook(datasets, reduced, tmp_path, monkeypatch):
    """Be in a folder with none.sof, model.sof, raman.sof, DATACUBE_FINAL.fits and NOISE_CORRELATION.fits."""
    for name in ("MUSE_COMPAT", "MUSE_EXTRAS", "MUSE_RESUME", "MUSE_CLUSTER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.chdir(tmp_path)
    for name in ("none", "model"):
        shutil.copy(datasets["small"].sofs[name], f"{name}.sof")
    shutil.copy(datasets["raman"].sofs["raman"], "raman.sof")
    for name in ("DATACUBE_FINAL", "NOISE_CORRELATION"):
        shutil.copy(reduced / f"{name}.fits", ".")
    return tmp_path

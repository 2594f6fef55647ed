# SPDX-License-Identifier: GPL-2.0-or-later
"""A folder in which notebooks are: sets of frames, and the cube that the recipe makes of them."""

import shutil

import pytest
from harness import run


@pytest.fixture(scope="session")
def reduced(datasets, tmp_path_factory):
    """Folder with what muse_scipost makes of an exposure with default parameters."""
    folder = tmp_path_factory.mktemp("api")
    outcome = run.ours(datasets["small"].sofs["model"], folder, "--filter=white,sim_7030", compat=False)
    assert outcome.status == 0, outcome.output
    return folder


@pytest.fixture
def notebook(datasets, reduced, tmp_path, monkeypatch):
    """Be in a folder with none.sof, model.sof and DATACUBE_FINAL.fits."""
    for name in ("MUSE_COMPAT", "MUSE_EXTRAS", "MUSE_RESUME", "MUSE_CLUSTER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.chdir(tmp_path)
    for name in ("none", "model"):
        shutil.copy(datasets["small"].sofs[name], f"{name}.sof")
    shutil.copy(reduced / "DATACUBE_FINAL.fits", ".")
    return tmp_path

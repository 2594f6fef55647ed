# SPDX-License-Identifier: GPL-2.0-or-later
"""Threads and memory change nothing: all products are the same to the last bit."""

import os
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from muse_core.engine import resources, slabplan
from muse_core.frontends.esorex import main

RUNS = {
    "model": ("wfm", "model", "--save=cube,skymodel,individual,positioned,combined,stacked"),
    "two exposures": ("two", "offsets", "--skymethod=simple", "--save=cube,skymodel,individual,positioned,combined"),
    "renka": ("wfm", "none", "--skymethod=none", "--resample=renka", "--filter=white,sim_I"),
    "Euro3D": ("small", "none", "--skymethod=none", "--format=xEuro3D"),
    "noise": ("two", "offsets", "--skymethod=simple"),
    "noise of lanczos": ("small", "none", "--skymethod=none", "--resample=lanczos"),
    "autocalibration": ("wfm", "none", "--skymethod=none", "--autocalib=deepfield", "--save=cube,autocal"),
}


@pytest.fixture
def signatures(datasets, tmp_path, monkeypatch, capfd):
    """Return a function that makes the products of a run; returns DATASUM by product and extension."""

    def reduce(name: str, label: str) -> dict[tuple[str, int], str]:
        data, sof, *parameters = RUNS[name]
        folder = tmp_path / label
        folder.mkdir()
        monkeypatch.chdir(folder)
        if name.startswith("noise"):
            monkeypatch.setenv("MUSE_EXTRAS", "noise")
        arguments = ["muse_scipost", *parameters, str(datasets[data].sofs[sof])]
        assert main.main(arguments, "muse-esorex") == 0, "".join(capfd.readouterr())
        found = {}
        for path in sorted(folder.glob("*.fits")):
            with fits.open(path) as hdus:
                found |= {(path.name, i): hdu.header["DATASUM"] for i, hdu in enumerate(hdus)}
        assert found
        return found

    for variable in [name for name in os.environ if name.startswith("MUSE_")]:
        monkeypatch.delenv(variable)
    return reduce


@pytest.mark.parametrize("method", ["none", "subtract-model"])
def test_one_pass_or_two(signatures, monkeypatch, tmp_path, method):
    """Rows that go from the file to the sky in one pass are the same as those that are stored between."""
    sof = {"none": "none", "subtract-model": "subtract"}[method]
    found = {}
    for save in ("cube,combined", "cube,combined,individual"):
        monkeypatch.setitem(RUNS, save, ("wfm", sof, f"--skymethod={method}", f"--save={save}"))
        found[save] = signatures(save, save)
    once, stored = found.values()
    assert len(once) > 10
    assert {key: stored[key] for key in once} == once


def test_order_of_rows_and_files(signatures, monkeypatch, datasets, tmp_path):
    """Rows are sorted by slice and wavelength after they are merged."""
    rng = np.random.default_rng(5)
    lines = []
    for line in datasets["small"].frames("none"):
        path, tag = line.split()
        if tag == "PIXTABLE_OBJECT":
            with fits.open(path) as hdus:
                columns = [hdu for hdu in hdus[1:] if hdu.is_image]
                order = rng.permutation(len(columns[0].data))
                for hdu in columns:
                    hdu.data = hdu.data[order]
                path = tmp_path / Path(path).name
                hdus.writeto(path)
        lines.append(f"{path} {tag}")
    (tmp_path / "permuted.sof").write_text("\n".join(reversed(lines)) + "\n")
    parameters = ("--skymethod=none", "--save=cube,individual,combined")
    monkeypatch.setitem(RUNS, "as they are", ("small", "none", *parameters))
    monkeypatch.setitem(RUNS, "permuted", ("small", "permuted", *parameters))
    monkeypatch.setitem(datasets["small"].sofs, "permuted", tmp_path / "permuted.sof")
    assert signatures("permuted", "permuted") == signatures("as they are", "as they are")


@pytest.mark.parametrize("name", RUNS)
def test_same_bits(signatures, monkeypatch, name):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    expected = signatures(name, "one thread")
    for n_threads in ("2", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", n_threads)
        assert signatures(name, f"{n_threads} threads") == expected
    for n_planes, n_bands in ((3, 1), (5, 4)):

        def size(budget, grid, options, *others, n_planes=n_planes, n_bands=n_bands):
            return slabplan.RowSpread.even(grid.ny).cut(n_planes, n_bands, options.halo)

        monkeypatch.setattr(slabplan, "slab_size", size)
        assert signatures(name, f"slabs of {n_planes} planes in {n_bands} bands") == expected
    monkeypatch.setattr(resources, "IN_MEMORY_BYTES", 0)
    monkeypatch.setenv("MUSE_MAX_MEMORY", "1G")
    assert signatures(name, "rows in a scratch file") == expected

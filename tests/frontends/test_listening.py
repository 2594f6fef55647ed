# SPDX-License-Identifier: GPL-2.0-or-later
"""No pass is deaf to signals for a second, in processor time: the load of the machine does not matter."""

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from harness.slowslab import slow_slab

from muse_core.engine import exposure
from muse_core.engine.threads import run_stoppable
from muse_core.errors import Stopped
from muse_core.frontends.esorex import main
from muse_core.simulate.dataset import make_dataset
from muse_core.simulate.exposure import ExposureSpec
from muse_core.steps.resample import CosmicRayDirection, ResampleOptions, SlabResampler

TESTS = Path(__file__).parents[1]
SOON = 1.0  # processor seconds
SPEC = ExposureSpec(mode="WFM-AO-N", ifus=(12,), lbda_min=6300, lbda_max=7000)


def mixed(path: Path, made: Path) -> None:
    """Write a pixel table in the order of wavelength, as no instrument does."""
    with fits.open(path, memmap=False) as hdus:
        order = np.argsort(hdus["lambda"].data[:, 0], kind="stable")
        for hdu in hdus[1:8]:
            hdu.data = np.ascontiguousarray(hdu.data[order])
        hdus.writeto(made)


def with_mixed(sofs: dict[str, Path], folder: Path) -> None:
    """Add sets of frames with tables in the order of wavelength, "mixed NAME"."""
    tables = sorted(folder.glob("PIXTABLE_OBJECT*.fits"))
    for table in tables:
        mixed(table, table.with_name(f"mixed_{table.name}"))
    for name, sof in list(sofs.items()):
        sofs[f"mixed {name}"] = sof.with_name(f"mixed_{sof.name}")
        sofs[f"mixed {name}"].write_text(sof.read_text().replace("/PIXTABLE_OBJECT", "/mixed_PIXTABLE_OBJECT"))


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> dict[str, Path]:
    """An exposure of 2 million rows in one table."""
    folder = tmp_path_factory.mktemp("large")
    sofs = make_dataset(folder, [SPEC])
    with_mixed(sofs, folder)
    return sofs


ALL = (
    "--autocalib=deepfield --darcheck=correct --save=cube,autocal,skymodel,raman,individual,positioned,combined,stacked"
)
#: Recipe, parameters and set of frames.
RUNS = [
    ("muse_scipost", ALL, "raman"),
    ("muse_scipost", ALL, "mixed raman"),
    ("muse_scipost", "--skymethod=none --resample=renka --format=Euro3D", "mixed none"),
    ("muse_scipost", "--skymethod=simple --save=cube --weight=fwhm --format=sdpCube", "mixed offsets"),
    ("muse_scipost_raman", "", "mixed raman_cleaning"),
    ("muse_scipost_correct_dar", "", "mixed correct_dar"),
    ("muse_scipost_correct_rv", "", "mixed correct_rv"),
]


@pytest.mark.parametrize(("recipe", "parameters", "sof"), RUNS, ids=lambda text: text.replace(" ", "_")[:30])
def test_longest_span_without_a_look_at_signals(large, tmp_path, recipe, parameters, sof):
    command = [sys.executable, "-m", "harness.listening", recipe, *parameters.split(), str(large[sof])]
    env = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": str(TESTS)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    spans = {what: float(seconds) for seconds, what in re.findall(r"SPAN ([\d.]+) (.*)", done.stdout)}
    assert any("chunk" in what for what in spans)
    assert max(spans.values()) < SOON, spans
    print(max(spans.items(), key=lambda item: item[1]))


@pytest.fixture(scope="module")
def slab():
    """Rows and grid of which a slab takes seconds with some methods, and milliseconds with others."""
    return slow_slab()


@pytest.mark.parametrize("method", ["nearest", "linear", "quadratic", "renka", "drizzle", "lanczos"])
@pytest.mark.parametrize("seed", range(4))
def test_slab_ends_soon_after_it_is_told_to(slab, method, seed):
    rows, grid = slab
    resampler = SlabResampler(grid, ResampleOptions(method=method, ld=8), CosmicRayDirection.X, 2)
    told = []

    def tell(stop: np.ndarray) -> None:
        told.append(time.process_time())
        stop[0] = 1

    def work(stop: np.ndarray):
        timer = threading.Timer(np.random.default_rng(seed).uniform(0.001, 0.5), tell, [stop])
        timer.start()
        try:
            while True:  # a slab after the other
                resampler.slab(rows, None, 0, grid.nz, stop=stop)
        finally:
            timer.cancel()

    with pytest.raises(Stopped):
        run_stoppable(work)
    assert time.process_time() - told[0] < 2 * SOON  # of two threads


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("small")
    sofs = make_dataset(folder, [ExposureSpec(mode="WFM-AO-N", ifus=(11, 12), lbda_min=6470, lbda_max=6500)])
    with_mixed(sofs, folder)
    return sofs


PARAMETERS = "--autocalib=deepfield", "--save=cube,autocal,skymodel,individual,stacked"


def test_order_of_rows_does_not_matter(small, tmp_path, monkeypatch):
    """In chunks that hold parts of slices, with any number of threads."""
    monkeypatch.setattr(exposure, "CHUNK_ROWS", 5000)
    monkeypatch.setattr(exposure, "LONGEST_CHUNK", 10000)
    for name, frames, n_threads in (("one", "mixed model", 1), ("three", "mixed model", 3), ("grouped", "model", 2)):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        monkeypatch.setenv("OMP_NUM_THREADS", str(n_threads))
        assert main.main(["muse_scipost", *PARAMETERS, str(small[frames])], "muse-esorex") == 0
    made = sorted(path.name for path in (tmp_path / "one").glob("*.fits"))
    assert len(made) > 6
    for name in made:
        with fits.open(tmp_path / "one" / name) as one, fits.open(tmp_path / "three" / name) as three:
            for a, b in zip(one, three, strict=True):
                assert a.data is None or a.data.tobytes() == b.data.tobytes(), name
    with (
        fits.open(tmp_path / "one" / "DATACUBE_FINAL.fits") as one,
        fits.open(tmp_path / "grouped" / "DATACUBE_FINAL.fits") as grouped,
    ):
        for extension in ("DATA", "STAT"):
            np.testing.assert_allclose(one[extension].data, grouped[extension].data, rtol=1e-4, atol=1e-3)

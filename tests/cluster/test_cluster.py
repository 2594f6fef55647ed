# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs on a Dask cluster: same bits as one process, whatever happens to the workers."""

import os
import random
import signal
import sys
from pathlib import Path

import pytest
from cluster.conftest import LIFETIME, Cluster, wait_for
from harness import child
from harness.products import products

KINDS = "--save=cube,skymodel,autocal,individual,positioned,combined,stacked"
SKY = "--skymethod=simple"
PLANES = 2
TAKEN_OVER = "taken over from the interrupted run"


class Bench:
    """Runs the same reduction in one process or on a cluster."""

    def __init__(self, folder: Path, sof: Path, *arguments: str):
        self.folder, self._number = folder, 0
        self._arguments = [*(arguments or ("muse_scipost", KINDS, SKY)), str(sof)]
        self.last = folder
        self.scratch, self.resume = folder / "scratch", folder / "resume"
        for made in (self.scratch, self.resume):
            made.mkdir(parents=True)

    def start(
        self,
        cluster: Cluster | None = None,
        *,
        resume: bool = False,
        scratch: str | None = None,
        address: str | None = None,
        extras: str = "",
        **how,
    ):
        """Start a run; return its process and its folder."""
        self._number += 1
        self.last = folder = self.folder / f"run{self._number}"
        environment = {"OMP_NUM_THREADS": "2", "MUSE_SCRATCH": scratch or str(self.scratch), "MUSE_EXTRAS": extras}
        if cluster is not None:
            environment["MUSE_CLUSTER"] = str(cluster.file)
        if address is not None:
            environment["MUSE_CLUSTER"] = address
        if resume:
            environment["MUSE_RESUME"] = str(self.resume)
        return child.start(folder, self._arguments, environment, **{"planes": PLANES, **how}), folder

    def run(self, cluster: Cluster | None = None, *, status: int = 0, **how) -> tuple[dict, str]:
        """Run to the end; return the products and what was said."""
        process, folder = self.start(cluster, **how)
        process.join()
        output = (folder / child.OUTPUT).read_text()
        assert process.exitcode == status, output
        assert [name for name in os.listdir(folder) if name.startswith(".")] == []
        assert os.listdir(self.scratch) == []
        return products(folder), output


def _process(happened: str) -> int:
    """Return the number of the process to which something has happened."""
    return int(happened.split("-")[-1])


@pytest.fixture(scope="module")
def sof(datasets):
    """Set of frames of four exposures."""
    return datasets["smallfour"].sofs["offsets"]


@pytest.fixture
def bench(tmp_path, sof):
    """A place for runs."""
    return Bench(tmp_path / "runs", sof)


@pytest.fixture(scope="module")
def expected(tmp_path_factory, sof):
    """Products of one process."""
    found, _ = Bench(tmp_path_factory.mktemp("whole"), sof).run()
    assert {name for name, _ in found} >= {"DATACUBE_FINAL.fits", "PIXTABLE_COMBINED.fits", "SKY_SPECTRUM_0004.fits"}
    return found


def test_workers_come_and_go(bench, new_cluster, expected):
    """One, two and three workers, of one and two threads, one after the other and during a run; what the log says."""
    cluster = new_cluster()
    first = cluster.worker(2)
    found, output = bench.run(cluster)
    assert found == expected
    lines = output.splitlines()
    told = [next(i for i, line in enumerate(lines) if f"Exposure {n}: Calibration" in line) for n in range(1, 5)]
    assert told == sorted(told)
    assert output.count(": Calibration: ") == 4
    second = cluster.worker(1, nanny=True)
    cluster.plan("hang-exposure-9")
    process, folder = bench.start(cluster)
    wait_for(cluster.happened, "a worker that hangs")
    cluster.worker(1)
    wait_for(lambda: "has come; there are 3" in (folder / child.OUTPUT).read_text(), "the third worker")
    hung = _process(cluster.happened()[0])
    for worker in (first, second):
        if worker.pid == hung or worker is second:
            worker.terminate()
    os.kill(hung, signal.SIGTERM)
    process.join()
    output = (folder / child.OUTPUT).read_text()
    assert process.exitcode == 0, output
    assert products(folder) == expected
    assert "is gone" in output


def test_killed_in_each_phase(bench, new_cluster, expected):
    """Ten moments of the exposures and ten of the planes; a run has some of each, fewer than end it."""
    cluster = new_cluster()
    for _ in range(2):
        cluster.worker(nanny=True)
    assert bench.run(cluster)[0] == expected
    chance, counts = random.Random(14), cluster.counts()
    shortest = {phase: min(number for kind, number in counts if kind == phase) for phase in ("exposure", "slab")}
    for n_moments in (4, 3, 3):
        for phase, last in shortest.items():
            cluster.plan(*(f"kill-{phase}-{moment}" for moment in chance.sample(range(1, last + 1), n_moments)))
        found, output = bench.run(cluster)
        assert found == expected
        assert "done again by another one" in output
    assert len(cluster.happened()) == 20


def test_worker_that_is_frozen(bench, new_cluster, expected):
    """It wakes up when its work has been done by another one."""
    cluster = new_cluster(lifetime=LIFETIME)
    for _ in range(2):
        cluster.worker()
    cluster.plan("stop-exposure-15", "hang-slab-1")
    process, folder = bench.start(cluster)
    hung, stopped = wait_for(lambda: len(cluster.happened()) == 2 and cluster.happened(), "the first planes")
    assert "done again by another one" in (folder / child.OUTPUT).read_text()
    os.kill(_process(stopped), signal.SIGCONT)
    cluster.worker()
    os.kill(_process(hung), signal.SIGKILL)
    process.join()
    output = (folder / child.OUTPUT).read_text()
    assert process.exitcode == 0, output
    assert products(folder) == expected
    assert os.listdir(bench.scratch) == []


def test_worker_without_the_scratch_folder(bench, new_cluster):
    """What is the current folder of one process is not that of another."""
    cluster = new_cluster()
    worker = cluster.worker(cwd=bench.folder)
    _, output = bench.run(cluster, scratch="/proc/self/cwd", status=255)
    assert "worker tcp://127.0.0.1:" in output
    assert "folder /proc/self/cwd/.muse-cluster-" in output
    assert "cannot be used there (No such file or directory)" in output
    assert worker.poll() is None


def test_full_disk(bench, new_cluster, expected):
    cluster = new_cluster()
    for _ in range(2):
        cluster.worker()
    for phase, moment in (("exposure", 12), ("slab", 3)):
        cluster.plan(f"full-{phase}-{moment}")
        found, output = bench.run(cluster, resume=True, status=255)
        assert found == {}
        assert "no space left on the device" in output
    found, output = bench.run(cluster, resume=True)
    assert found == expected
    assert output.count(TAKEN_OVER) >= 4


@pytest.mark.parametrize("phase", ["exposure-20", "slab-3"])
def test_scheduler_that_dies(bench, new_cluster, expected, phase):
    """The run ends with an error; the next one goes on in one process, or on another cluster."""
    cluster = new_cluster()
    for _ in range(2):
        cluster.worker()
    (cluster.moments / "scheduler.pid").write_text(str(cluster.scheduler.pid))
    cluster.plan(f"scheduler-{phase}")
    found, output = bench.run(cluster, resume=True, status=255)
    assert found == {}
    assert "the scheduler does not answer any more" in output
    assert "with MUSE_RESUME the same command goes on" in output
    if phase.startswith("slab"):
        again = new_cluster()
        again.worker()
        found, output = bench.run(again, resume=True)
    else:
        found, output = bench.run(resume=True)
    assert found == expected
    assert TAKEN_OVER in output or phase.startswith("exposure")
    assert os.listdir(bench.resume) == []


def test_one_process_then_cluster(bench, new_cluster, expected):
    bench.start(resume=True, records=2)[0].join()
    cluster = new_cluster()
    cluster.worker()
    found, output = bench.run(cluster, resume=True)
    assert found == expected
    assert output.count(TAKEN_OVER) == 2


def test_interrupted(bench, new_cluster, expected):
    """Ctrl-C calls off what is at work, and leaves nothing; the workers are free for others."""
    cluster = new_cluster()
    cluster.worker(2)
    cluster.plan("stop-exposure-9")
    process, folder = bench.start(cluster)
    (happened,) = wait_for(cluster.happened, "a worker at work")
    os.kill(process.pid, signal.SIGINT)
    process.join()
    assert process.exitcode == -signal.SIGINT
    assert sorted(os.listdir(folder)) == ["esorex.log", child.OUTPUT]
    assert os.listdir(bench.scratch) == []
    os.kill(_process(happened), signal.SIGCONT)
    assert bench.run(cluster)[0] == expected


def test_lost_with_all_its_workers(bench, new_cluster):
    """A task that costs one worker after the other ends the run, with its name."""
    cluster = new_cluster()
    cluster.worker(nanny=True)
    cluster.plan(*(f"kill-exposure-{n}" for n in range(1, 6)))
    _, output = bench.run(cluster, status=255)
    assert "Exposure 1: 5 workers were lost" in output


@pytest.mark.parametrize("name", ["numpy", "muse_core"])
def test_other_versions(bench, new_cluster, name, tmp_path):
    cluster = new_cluster()
    preload = tmp_path / "other.py"
    preload.write_text(f"import muse_core.engine.cluster.worker, {name}\n{name}.__version__ = '0.1'\n")
    cluster.worker(preload=preload)
    _, output = bench.run(cluster, status=255)
    package = {"muse_core": "muse-scipost"}.get(name, name)
    version = sys.modules[name].__version__
    assert f"found {package} 0.1, expected {version} as here" in output
    assert "worker tcp://127.0.0.1:" in output


def test_nobody_there(bench, tmp_path, monkeypatch):
    process, folder = bench.start(address="no-such-file.json")
    process.join()
    assert process.exitcode == 255
    output = (folder / child.OUTPUT).read_text()
    assert "MUSE_CLUSTER: found 'no-such-file.json', expected the address of a scheduler" in output
    process, folder = bench.start(address="tcp://127.0.0.1:9")
    process.join()
    assert "MUSE_CLUSTER: tcp://127.0.0.1:9: no scheduler answers there" in (folder / child.OUTPUT).read_text()

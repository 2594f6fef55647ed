# SPDX-License-Identifier: GPL-2.0-or-later
"""Real schedulers and workers, each a process of its own, as a user starts them."""

import collections
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from harness.run import measured

DASK = str(Path(sys.executable).with_name("dask"))
#: Seconds after which something is taken for never to happen; nothing waits for it in vain on a slow machine.
LONG = 600
MOMENTS = Path(__file__).with_name("moments.py")
#: Seconds without a sign of a worker after which the scheduler gives it up, where that is what a test waits for: no
#: worker that is well is silent for so long.
LIFETIME = 30


def wait_for(condition: Callable[[], object], what: str) -> object:
    """Wait until something is so, and return it."""
    end = time.monotonic() + LONG
    while not (found := condition()):
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.05)
    return found


class Cluster:
    """A scheduler and workers.

    Parameters
    ----------
    folder : Path
        For their files.
    prefix : sequence of str
        What the command of the scheduler begins with.
    host : str
        Its address.
    lifetime : int
        Seconds without a sign of a worker after which the scheduler gives it up.
    """

    def __init__(self, folder: Path, prefix: Sequence[str] = (), host: str = "127.0.0.1", lifetime: int = LONG):
        self.folder, self._processes, self._lifetime = folder, [], lifetime
        folder.mkdir(parents=True, exist_ok=True)
        self.file, self.moments = folder / "scheduler.json", folder / "moments"
        self.moments.mkdir()
        address = ["--host", host, "--port", "0", "--dashboard-address", f"{host}:0"]
        self.scheduler = self._start(
            "scheduler", [*prefix, DASK, "scheduler", "--scheduler-file", str(self.file), *address]
        )
        wait_for(lambda: self.file.exists() and self.file.stat().st_size, "the scheduler")

    def _start(self, name: str, command: Sequence[str], cwd: Path | None = None, **environment) -> subprocess.Popen:
        settings = {
            "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": f"{self._lifetime}s",
            "PYTHONSAFEPATH": "1",
            "MUSE_TEST_MOMENTS": str(self.moments),
        }
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("MUSE_", "OMP_"))}
        with open(self.folder / f"{name}.log", "w") as log:
            process = subprocess.Popen(
                command,
                cwd=cwd or self.folder,
                env=clean | settings | environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def worker(
        self,
        n_threads: int = 1,
        *,
        nanny: bool = False,
        memory: str = "1GB",
        preload: Path | str | None = MOMENTS,
        prefix: Sequence[str] = (),
        host: str = "127.0.0.1",
        cwd: Path | None = None,
        environment: Mapping[str, str] = {},
    ) -> subprocess.Popen:
        """Start a worker; with a nanny another one is started when it dies."""
        number = len(self._processes)
        command = [
            *(*prefix, DASK, "worker", "--scheduler-file", str(self.file), "--host", host),
            *("--nthreads", str(n_threads), "--memory-limit", memory, "--no-dashboard"),
            *("--local-directory", str(self.folder / f"local{number}")),
            *([] if nanny else ["--no-nanny"]),
            *([] if preload is None else ["--preload", str(preload)]),
        ]
        return self._start(f"worker{number}", command, cwd, **environment)

    def plan(self, *moments: str) -> None:
        """Have something happen, see `moments`."""
        for moment in moments:
            (self.moments / moment).touch()

    def happened(self) -> list[str]:
        """Return what has happened."""
        return sorted(name.removeprefix("happened-") for name in os.listdir(self.moments) if "happened" in name)

    def counts(self) -> list[tuple[str, int]]:
        """Return phase and number of moments of each task that was done."""
        lines = (self.moments / "counts").read_text().splitlines()
        return [(phase, int(number)) for phase, number in map(str.split, lines)]

    def _client(self):
        from distributed import Client

        return Client(scheduler_file=str(self.file), set_as_default=False)

    def wait_for_workers(self, number: int) -> None:
        """Wait until there are so many workers; a run that begins earlier begins with fewer."""
        with self._client() as client:
            client.wait_for_workers(number, timeout=LONG)

    def tasks(self) -> collections.Counter:
        """Return how many tasks of each kind the workers have been given."""
        with self._client() as client:
            states = client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.task_prefixes)
        kinds = [name for name in states if name in ("exposure", "slab")]
        return collections.Counter({name: sum(states[name].state_counts.values()) for name in kinds})

    def close(self) -> None:
        """End all processes."""
        if measured():  # what they did is only known of those that end by themselves
            for process in self._processes:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
            for process in self._processes:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(5)
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def new_cluster(tmp_path):
    """Make clusters; those that are running end with the test."""
    made = []

    def make(**how) -> Cluster:
        made.append(Cluster(tmp_path / f"cluster{len(made)}", **how))
        return made[-1]

    yield make
    for cluster in made:
        cluster.close()
        shutil.rmtree(cluster.folder, ignore_errors=True)

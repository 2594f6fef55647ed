#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""One process and workers of a Dask cluster in turn on the same simulated exposures: wall times and their ratios.

cluster.py [--data DIR] [--exposures 4] [--lambda 7000 7100] [--pairs 5] [--workers 2] [--threads 1] [--alone 2]
           [-- --save=cube ...]

Each pair is the one process, then the first and a second run of fresh workers. What follows ``--`` are parameters of
muse_scipost (default: none, its defaults). Times of shared machines vary by factors: quote the median ratio.
"""

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from side_by_side import measure

BIN = Path(sys.executable).parent
KINDS = ("alone", "first", "second")


@contextlib.contextmanager
def cluster(folder: Path, n_workers: int, n_threads: int) -> Iterator[Path]:
    """Yield the scheduler file of workers, as the documentation starts them, that are ready."""
    folder.mkdir(parents=True)
    file = folder / "scheduler.json"
    preload = ["--scheduler-file", str(file), "--preload", "muse_core.frontends.preload"]
    commands = [
        [str(BIN / "dask"), "scheduler", "--port=0", "--dashboard-address=:0", *preload],
        [str(BIN / "dask"), "worker", f"--nworkers={n_workers}", f"--nthreads={n_threads}", "--memory-limit=4GB"],
    ]
    commands[1] += ["--local-directory", str(folder), *preload]
    processes = []
    try:
        for command in commands:
            with open(folder / "log.txt", "ab") as log:
                processes.append(subprocess.Popen(command, cwd=folder, stdout=log, stderr=log))
            while not file.exists() or not file.stat().st_size:
                time.sleep(0.1)
        from distributed import Client

        with Client(scheduler_file=str(file), set_as_default=False) as client:
            client.wait_for_workers(n_workers)
        time.sleep(1)
        yield file
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()


def main() -> None:
    """Simulate, run all in turn, print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with data of muse-simulate; default: simulate")
    parser.add_argument("--exposures", type=int, default=4)
    parser.add_argument("--lambda", dest="lbda", nargs=2, default=("7000", "7100"), metavar="ANGSTROM")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of each worker")
    parser.add_argument("--alone", type=int, default=2, help="threads of the one process")
    parser.add_argument("parameters", nargs="*")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work, data = Path(temporary), arguments.data
        if data is None:
            data = work / "data"
            simulate = [str(BIN / "muse-simulate"), str(data), "--exposures", str(arguments.exposures)]
            measure([*simulate, "--lambda", *arguments.lbda], work / "simulate", {})
        offsets = [line for line in (data / "offsets.sof").read_text().splitlines() if line.endswith(" OFFSET_LIST")]
        sof = str(work / "scipost.sof")
        Path(sof).write_text("\n".join([(data / "model.sof").read_text(), *offsets, ""]))
        command = [str(BIN / "muse-esorex"), "muse_scipost", *arguments.parameters, sof]
        environment = {"OMP_NUM_THREADS": str(arguments.alone)}
        found: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for pair in range(arguments.pairs):
            found["alone"].append(measure(command, work / "run", environment)[0])
            with cluster(work / f"cluster{pair}", arguments.workers, arguments.threads) as file:
                for kind in KINDS[1:]:
                    shared = {**environment, "MUSE_CLUSTER": str(file)}
                    found[kind].append(measure(command, work / "run", shared)[0])
            print(f"pair {pair + 1}: " + ", ".join(f"{kind} {found[kind][-1]:.2f} s" for kind in KINDS), flush=True)
        alone = found["alone"]
        print(f"\n{arguments.workers} workers x {arguments.threads}, one process x {arguments.alone}")
        for kind in KINDS:
            ratios = [shared / own for shared, own in zip(found[kind], alone, strict=True)]
            print(
                f"{kind:8s} {statistics.median(found[kind]):6.2f} s ({min(found[kind]):.2f} to {max(found[kind]):.2f}),"
                f" ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
            )


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Our recipe and ESO's in turn on the same simulated exposure: wall time, processor time, peak memory, and ratios.

side_by_side.py [--lambda 7000 7400] [--posang 0] [--runs 3] [--threads 2] [--data DIR] [-- --skymethod=none ...]

What follows ``--`` are recipe parameters (default: --skymethod=none --save=cube). Times of shared machines vary by
factors: quote the median ratio.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path


def measure(command: list[str], folder: Path, env: dict[str, str]) -> tuple[float, float, float]:
    """Run a command; return wall seconds, processor seconds, and peak resident memory in MiB."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    start = time.perf_counter()
    with open(folder / "output.txt", "wb") as output:
        process = os.posix_spawnp(
            "env",
            ["env", "-C", str(folder), *command],
            {**os.environ, **env},
            file_actions=[(os.POSIX_SPAWN_DUP2, output.fileno(), 1), (os.POSIX_SPAWN_DUP2, output.fileno(), 2)],
        )
        _, status, usage = os.wait4(process, 0)
    wall = time.perf_counter() - start
    if status:
        sys.exit(f"{' '.join(command)}: exit status {os.waitstatus_to_exitcode(status)}, see {folder}/output.txt")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    """Simulate, run both in turn, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lambda", dest="lbda", type=float, nargs=2, default=(7000, 7400), metavar="ANGSTROM")
    parser.add_argument("--posang", type=float, default=0.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--data", type=Path, help="folder with data of muse-simulate; default: simulate")
    parser.add_argument("--sof", default="model", help="which set of frames of the data (default: model)")
    parser.add_argument("parameters", nargs="*", default=["--skymethod=none", "--save=cube"])
    arguments = parser.parse_args()
    bin_folder = Path(sys.executable).parent
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        data = arguments.data
        if data is None:
            data = work / "data"
            low, high = arguments.lbda
            print(f"simulating 24 IFUs, {low:g} to {high:g} Angstrom, position angle {arguments.posang:g}", flush=True)
            simulate = [str(bin_folder / "muse-simulate"), str(data), "--lambda", str(low), str(high)]
            measure([*simulate, "--posang", str(arguments.posang)], work / "simulate", {})
        sof = str((data / f"{arguments.sof}.sof").resolve())
        ours = [str(bin_folder / "muse-esorex"), "muse_scipost", *arguments.parameters, sof]
        theirs = ["esorex", "muse_scipost", *arguments.parameters, sof]
        env = {"OMP_NUM_THREADS": str(arguments.threads)}
        results: dict[str, list] = {"ours": [], "reference": []}
        for run in range(arguments.runs):
            for name, command in (("ours", ours), ("reference", theirs)):
                found = measure(command, work / name, env)
                results[name].append(found)
                print(
                    f"run {run + 1}: {name:10s} {found[0]:7.1f} s wall {found[1]:7.1f} s cpu {found[2]:7.0f} MiB",
                    flush=True,
                )
        print(f"\nparameters: {' '.join(arguments.parameters)}; {arguments.threads} threads, {arguments.runs} runs")
        print(f"{'':12s}{'ours':>10s}{'reference':>12s}{'ratio':>8s}   (medians; ratio of each pair)")
        for i, what in enumerate(("wall [s]", "cpu [s]", "memory [MiB]")):
            a, b = ([found[i] for found in results[name]] for name in ("ours", "reference"))
            ratio = statistics.median(y / x for x, y in zip(a, b, strict=True))
            print(f"{what:12s}{statistics.median(a):10.1f}{statistics.median(b):12.1f}{ratio:8.2f}")


if __name__ == "__main__":
    main()

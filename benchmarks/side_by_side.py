#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Our recipe and ESO's in turn on the same simulated exposure: wall time, processor time, peak memory, and ratios.

side_by_side.py [--recipe muse_scipost] [--lambda 7000 7400] [--exposures 1] [--runs 3] [--threads 2] [--data DIR]
                [-- --skymethod=none ...]

What follows ``--`` are recipe parameters (default: --save=cube, for muse_scipost --skymethod=none, too). Recipes that
take reduced pixel tables get them from our muse_scipost, sky not subtracted. Times of shared machines vary by factors:
quote the median ratio.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from muse_core.frontends.registry import class_of

SCIPOST = "muse_scipost"


def _defaults(recipe) -> list[tuple[str, str]]:
    """Return the parameters that are set if none is given."""
    known = {spec.name for spec in recipe.PARAMETERS}
    return [(name, value) for name, value in (("skymethod", "none"), ("save", "cube")) if name in known]


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
    parser.add_argument("--recipe", default=SCIPOST)
    parser.add_argument("--exposures", type=int, default=1)
    parser.add_argument("--lambda", dest="lbda", type=float, nargs=2, default=(7000, 7400), metavar="ANGSTROM")
    parser.add_argument("--posang", type=float, default=0.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--data", type=Path, help="folder with data of muse-simulate; default: simulate")
    parser.add_argument("--sof", default="model", help="which set of frames of the data (default: model)")
    parser.add_argument("parameters", nargs="*")
    arguments = parser.parse_args()
    recipe = class_of(arguments.recipe)
    parameters = arguments.parameters or [f"--{name}={value}" for name, value in _defaults(recipe)]
    bin_folder = Path(sys.executable).parent
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        data = arguments.data
        if data is None:
            data = work / "data"
            low, high = arguments.lbda
            print(
                f"simulating {arguments.exposures} exposures, 24 IFUs, {low:g} to {high:g} Angstrom, position angle "
                f"{arguments.posang:g}",
                flush=True,
            )
            simulate = [str(bin_folder / "muse-simulate"), str(data), "--lambda", str(low), str(high)]
            simulate += ["--exposures", str(arguments.exposures)]
            measure([*simulate, "--posang", str(arguments.posang)], work / "simulate", {})
        sof = str((data / f"{arguments.sof}.sof").resolve())
        if recipe.raw_tag() == "PIXTABLE_REDUCED":
            print("reducing", flush=True)
            reduce = [str(bin_folder / "muse-esorex"), SCIPOST, "--skymethod=none", "--save=individual", sof]
            measure(reduce, work / "reduced", {})
            lines = [f"{path} {recipe.raw_tag()}\n" for path in sorted((work / "reduced").glob("*.fits"))]
            sof = str(work / "reduced.sof")
            Path(sof).write_text("".join(lines))
        ours = [str(bin_folder / "muse-esorex"), recipe.NAME, *parameters, sof]
        theirs = ["esorex", recipe.NAME, *parameters, sof]
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
        print(f"\n{recipe.NAME} {' '.join(parameters)}; {arguments.threads} threads, {arguments.runs} runs")
        print(f"{'':12s}{'ours':>10s}{'reference':>12s}{'ratio':>8s}   (medians; ratio of each pair)")
        for i, what in enumerate(("wall [s]", "cpu [s]", "memory [MiB]")):
            a, b = ([found[i] for found in results[name]] for name in ("ours", "reference"))
            ratio = statistics.median(y / x for x, y in zip(a, b, strict=True))
            print(f"{what:12s}{statistics.median(a):10.1f}{statistics.median(b):12.1f}{ratio:8.2f}")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Measure what steps cost, for the times of plans: the constants of muse_core/stages/schedule.py and engine/pace.py.

costs.py [--threads 1,2] [--runs 1] [--lambda 7000 7200] [--write]

Runs recipes on simulated data with several numbers of threads, on a machine that does nothing else, and finds the costs
that give the times of their steps best (relative errors, none negative). Prints the constants, and what plans with them
say beside what was measured; with ``--write`` puts them into the source. A minute or three. One sample of each case
says little of small parts: look at what was written before you keep it.
"""

import argparse
import re
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from side_by_side import SCIPOST, run_ours, simulate

import muse_core
from muse_core.engine import pace
from muse_core.stages import schedule

NAMES = ["BETWEEN", "LOAD", "LOCATE", "LOOK", "CUBE_ROW", "ITERATED_ROW", "WRITE", "STACK", "VOXEL", "PIXEL"]
#: Recipes and parameters: together they have all costs.
CASES = {
    "none": (SCIPOST, "none", ["--skymethod=none", "--save=cube"]),
    "model": (SCIPOST, "model", ["--save=cube,skymodel"]),
    "tables": (SCIPOST, "none", ["--skymethod=none", "--save=individual,positioned,combined,stacked"]),
    "iterations": (SCIPOST, "none", ["--skymethod=none", "--save=cube", "--crtype=iraf"]),
    "two": (SCIPOST, "two", ["--save=cube,skymodel"]),
    "eight": (SCIPOST, "eight", ["--skymethod=none", "--save=cube"]),
}
#: Notes how many rows and voxels each step has of each cost: the plan, with that cost alone, and 1 s of it.
COUNTS = """
import muse_core.stages.plan as plan
from muse_core.engine.pace import Cost, Pace
from muse_core.stages import schedule
def noting(work, grid, slabs, pace, crew, real=plan.schedule):
    names = %r
    kept, nothing = {name: getattr(schedule, name) for name in names}, Cost(0.0, 0.0)
    counts = {"": {"BETWEEN": sum(work.lengths), "EXPOSURES": len(work.exposures)}}
    for one in names:
        vars(schedule).update({name: Cost(1.0, 0.0) if name == one else nothing for name in names})
        for step in real(work, grid, slabs, Pace(1.0, 1.0), crew):
            of = counts.setdefault(step.name, {})
            of[one] = of.get(one, 0.0) + step.total
    vars(schedule).update(kept)
    Steps.told.append({"counts": counts})
    return real(work, grid, slabs, pace, crew)
plan.schedule = noting
"""
#: Shorter times say more of the start of a step than of its rows.
_SHORTEST = 0.05


def median_run(recipe: str, arguments: list[str], folder: Path, threads: int, n_runs: int) -> dict:
    """Run our recipe some times; return the medians."""
    runs = [run_ours(recipe, arguments, folder, threads, COUNTS % (NAMES,)) for _ in range(n_runs)]
    first = runs[0]
    for name, found in first["steps"].items():
        found[0] = statistics.median(run["steps"][name][0] for run in runs)
    return first | {key: statistics.median(run[key] for run in runs) for key in ("wall", "planned")}


def equations(runs: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Return what costs are multiplied with in each step, and what comes out; each divided by the latter."""
    left, right = [], []
    for run in runs:
        between = run["wall"] - sum(taken for taken, _ in run["steps"].values())
        for name, (taken, _) in [*run["steps"].items(), ("", (between, 0))]:
            counts = run["counts"].get(name, {})
            row = [counts.get(cost, 0.0) * run["pace"][k] for cost in NAMES for k in (0, 1)]
            row += [0.0 if name else run["pace"][1], counts.get("EXPOSURES", 0) * run["pace"][1]]
            if any(row):
                weight = 1 / max(taken, _SHORTEST)
                left.append(np.array(row) * weight)
                right.append(taken * weight)
    return np.array(left), np.array(right)


def write(costs: dict[str, tuple[float, float]], start: float, exposure: float, piece: float) -> None:
    """Put the constants into the source that is imported."""
    folder = Path(muse_core.__file__).parent
    path = folder / "stages" / "schedule.py"
    text = path.read_text()
    for name, (shared, alone) in costs.items():
        text, n = re.subn(rf"^{name} = Cost\(.*\)", f"{name} = Cost({shared:.2g}, {alone:.2g})", text, flags=re.M)
        if n != 1:
            sys.exit(f"{path}: found {n} lines {name} = Cost(...), expected one")
    for name, seconds in (("START", start), ("EXPOSURE", exposure)):
        text = re.sub(rf"^{name}_SECONDS = .*", f"{name}_SECONDS = {seconds:.2f}", text, flags=re.M)
    path.write_text(text)
    path = folder / "engine" / "pace.py"
    path.write_text(re.sub(r"^PIECE_SECONDS = .*", f"PIECE_SECONDS = {piece:.2e}", path.read_text(), flags=re.M))


def main() -> None:
    """Simulate, run, solve, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lambda", dest="lbda", type=float, nargs=2, default=(7000, 7200), metavar="ANGSTROM")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--data", type=Path, help="folder with data of an earlier run; made if it is not there")
    parser.add_argument("--write", action="store_true", help="put the constants into the source")
    arguments = parser.parse_args()
    from scipy.optimize import nnls

    threads = list(map(int, arguments.threads.split(",")))
    piece = statistics.median(pace.piece_seconds() for _ in range(5))
    pace.PIECE_SECONDS = piece  # paces are relative to this machine
    pace.pace_of.cache_clear()
    paces = {n: pace.pace_of(n) for n in threads}
    runs = []
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        data = arguments.data or work / "data"
        if not data.exists():
            print("simulating", flush=True)
            simulate(data / "one", work, *arguments.lbda)
            simulate(data / "two", work, *arguments.lbda, "--exposures", "2", "--ifus", "1-12")
            low, high = arguments.lbda
            simulate(data / "eight", work, low, low + (high - low) / 4, "--exposures", "8")
        for case, (recipe, kind, parameters) in CASES.items():
            sof = data / kind / "model.sof" if kind in ("two", "eight") else data / "one" / f"{kind}.sof"
            for n in threads:
                run = median_run(recipe, [*parameters, str(sof.resolve())], work / case, n, arguments.runs)
                runs.append(run | {"case": case, "pace": (paces[n].shared, paces[n].alone)})
                print(f"{case}, {n} threads: {run['wall']:.2f} s", flush=True)
    left, right = equations(runs)
    found, _ = nnls(left, right)
    costs = {name: (found[2 * i], found[2 * i + 1]) for i, name in enumerate(NAMES)}
    for name in [name for name, cost in costs.items() if not any(cost)]:  # none of the cases has it
        old = getattr(schedule, name)
        costs[name] = old.shared, old.alone
    start, exposure = found[-2:].tolist()
    print(f"\nPIECE_SECONDS = {piece:.2e}, START_SECONDS = {start:.2f}, EXPOSURE_SECONDS = {exposure:.2f}")
    for name, cost in costs.items():
        print(f"{name} = Cost({cost[0]:.2g}, {cost[1]:.2g})")
    print(f"\n{'case':12}{'threads':>8}{'wall [s]':>10}{'planned':>9}{'now':>9}{'ratio':>7}")
    for run in runs:
        shared, alone = run["pace"]
        totals = {name: sum(counts.get(name, 0.0) for counts in run["counts"].values()) for name in NAMES}
        new = (start + exposure * run["counts"][""]["EXPOSURES"]) * alone
        new += sum(totals[name] * (cost[0] * shared + cost[1] * alone) for name, cost in costs.items())
        print(
            f"{run['case']:12}{run['threads']:8d}{run['wall']:10.2f}{run['planned']:9.2f}{new:9.2f}"
            f"{new / run['wall']:7.2f}"
        )
    if arguments.write:
        write(costs, start, exposure, piece)


if __name__ == "__main__":
    main()

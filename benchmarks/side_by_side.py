#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Our recipe and ESO's in turn on the same simulated exposure: wall time, processor time, peak memory, and ratios.

side_by_side.py [--recipe muse_scipost] [--lambda 7000 7400] [--ifus 1-24] [--exposures 1] [--runs 3]
                [--threads 1,2,...] [--data DIR] [--ours] [--json FILE] [--plot FILE] [-- --skymethod=none ...]

What follows ``--`` are recipe parameters (default: --save=cube, for muse_scipost --skymethod=none, too). Recipes that
take reduced pixel tables get them from our muse_scipost, sky not subtracted. Times of shared machines vary by factors:
quote the median ratio. With several numbers of threads this is the scaling of both recipes: each pair of runs is with
the same number, and our steps are listed, too, with the time that the plan had expected for them. ``--ours`` leaves the
reference out. ``--json`` keeps all numbers, with machine and date; ``--plot`` draws them (needs matplotlib), also those
of an earlier run: ``side_by_side.py --json FILE --plot FILE`` of a FILE that is there only draws.
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from muse_core.frontends.registry import class_of

SCIPOST = "muse_scipost"
#: Runs the command in a process of its own and writes what its steps tell into a file, the first argument.
STEPS = """
import json, logging, sys
class Steps(logging.Handler):
    told = []
    def emit(self, record):
        facts = getattr(record, "facts", {})
        if "plan" in facts:
            plan = facts["plan"]
            self.told.append({"plan": [(s.name, s.total) for s in plan.steps], "seconds": plan.seconds,
                              "memory": plan.memory_bytes, "rows": plan.n_rows, "grid": plan.grid})
        elif "step" in facts:
            self.told.append(facts)
logging.getLogger("muse_core").addHandler(Steps())
name, sys.argv = sys.argv[1], ["muse-esorex", *sys.argv[2:]]
#BEFORE
from muse_core.frontends.command import main
status = main()
json.dump(Steps.told, open(name, "w"))
sys.exit(status)
"""


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


def run_ours(recipe: str, arguments: list[str], folder: Path, threads: int, before: str = "") -> dict:
    """Run our recipe; return wall, cpu, memory, what the plan expected, and steps: seconds, planned seconds of each.

    `before` is code that is run first, which may add to what the steps tell.
    """
    told = folder.with_suffix(".json")
    command = [sys.executable, "-c", STEPS.replace("#BEFORE", before), str(told), recipe, *arguments]
    wall, cpu, memory = measure(command, folder, {"OMP_NUM_THREADS": str(threads)})
    found = {"who": "ours", "threads": threads, "wall": wall, "cpu": cpu, "memory": memory}
    steps: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for facts in json.loads(told.read_text()):
        if "plan" in facts:
            found |= {"planned": facts["seconds"], "planned_memory": facts["memory"] / 2**20}
            found |= {"rows": facts["rows"], "grid": facts["grid"]}
            for name, seconds in facts["plan"]:
                steps[name][1] += seconds
        elif "counts" in facts:
            found |= facts
        else:
            steps[facts["step"]][0] += facts["seconds"]
    return found | {"steps": steps}


def run_theirs(recipe: str, arguments: list[str], folder: Path, threads: int) -> dict:
    """Run ESO's recipe; return wall, cpu, memory."""
    wall, cpu, memory = measure(["esorex", recipe, *arguments], folder, {"OMP_NUM_THREADS": str(threads)})
    return {"who": "reference", "threads": threads, "wall": wall, "cpu": cpu, "memory": memory}


def simulate(data: Path, work: Path, low: float, high: float, *further: str) -> None:
    """Simulate exposures between two wavelengths."""
    command = [str(Path(sys.executable).parent / "muse-simulate"), str(data), "--lambda", str(low), str(high), *further]
    measure(command, work / "simulate", {})


def machine() -> dict:
    """Say where and when."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    return {"processor": model or platform.machine(), "cores": len(os.sched_getaffinity(0)), "date": now}


def medians(runs: list[dict], who: str, what: str) -> dict[int, float]:
    """Return the median of a number by the number of threads."""
    found = defaultdict(list)
    for run in runs:
        if run["who"] == who:
            found[run["threads"]].append(run[what])
    return {threads: statistics.median(values) for threads, values in sorted(found.items())}


def show(result: dict) -> None:
    """Print the tables: both recipes, then our steps."""
    runs = result["runs"]
    where = result["machine"]
    print(f"\n{result['what']}; {where['processor']}, {where['cores']} cores, {where['date']}; medians")
    print(f"{'threads':>8}{'':14}{'ours':>10}{'reference':>12}{'ratio':>8}")
    for what, unit in (("wall", "s"), ("cpu", "s"), ("memory", "MiB")):
        ours, theirs = (medians(runs, who, what) for who in ("ours", "reference"))
        for threads, value in ours.items():
            text = f"{threads:8d}  {f'{what} [{unit}]':12}{value:10.1f}"
            if threads in theirs:
                pairs = [[r[what] for r in runs if (r["who"], r["threads"]) == (who, threads)]
                         for who in ("ours", "reference")]  # fmt: skip
                ratio = statistics.median(b / a for a, b in zip(*pairs, strict=True))
                text += f"{theirs[threads]:12.1f}{ratio:8.2f}"
            print(text)
    planned = {run["threads"]: (run["planned"], run["planned_memory"]) for run in runs if "planned" in run}
    print(f"\n{'threads':>8}  {'step':28}{'seconds':>9}{'planned':>9}")
    for threads, wall in medians(runs, "ours", "wall").items():
        steps = defaultdict(list)
        for run in runs:
            if (run["who"], run["threads"]) == ("ours", threads):
                for name, (taken, expected) in run["steps"].items():
                    steps[name].append((taken, expected))
        taken = {name: statistics.median(t for t, _ in values) for name, values in steps.items()}
        for name, values in steps.items():
            print(f"{threads:8d}  {name:28}{taken[name]:9.2f}{values[0][1]:9.2f}")
        if threads in planned:
            print(f"{threads:8d}  {'between, start, end':28}{wall - sum(taken.values()):9.2f}")
            print(f"{threads:8d}  {'all':28}{wall:9.2f}{planned[threads][0]:9.2f}  x {planned[threads][0] / wall:.2f}")


def plot(result: dict, path: Path) -> None:
    """Draw wall time by number of threads, and what each step takes of ours."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "scaling"
    from matplotlib import pyplot as plt

    runs, where = result["runs"], result["machine"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    for who in ("ours", "reference"):
        wall = medians(runs, who, "wall")
        if wall:
            (line,) = left.plot(list(wall), list(wall.values()), "o-", label=who)
            first = next(iter(wall))
            ideal = [wall[first] * first / threads for threads in wall]
            left.plot(list(wall), ideal, ":", color=line.get_color(), lw=1)
    left.set(xscale="log", yscale="log", xlabel="threads", ylabel="wall time [s]")
    ours = medians(runs, "ours", "wall")
    left.xaxis.set_major_locator(mpl.ticker.FixedLocator(list(ours)))
    left.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
    for axis in (left.xaxis, left.yaxis):
        axis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
        axis.set_minor_locator(mpl.ticker.NullLocator())
    left.legend(frameon=False, fontsize="small")
    bottom = [0.0] * len(ours)
    names = list(dict.fromkeys(name for run in runs for name in run.get("steps", {})))
    for name in [*names, "between, start, end"]:
        height = []
        for threads, wall in ours.items():
            of = [run["steps"] for run in runs if (run["who"], run["threads"]) == ("ours", threads)]
            step = {n: statistics.median(s[n][0] for s in of if n in s) for n in names if any(n in s for s in of)}
            height.append(step.get(name, 0.0) if name in names else wall - sum(step.values()))
        right.bar([str(threads) for threads in ours], height, bottom=bottom, width=0.6, label=name)
        bottom = [a + b for a, b in zip(bottom, height, strict=True)]
    right.set(xlabel="threads", ylabel="ours [s]")
    right.legend(frameon=False, fontsize="x-small", loc="center left", bbox_to_anchor=(1, 0.5), reverse=True)
    title = f"{result['what']}\n{where['processor']}, {where['cores']} cores, {where['date']}"
    figure.suptitle(title, fontsize="small")
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def arguments_of(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default=SCIPOST)
    parser.add_argument("--exposures", type=int, default=1)
    parser.add_argument("--lambda", dest="lbda", type=float, nargs=2, default=(7000, 7400), metavar="ANGSTROM")
    parser.add_argument("--ifus", default="1-24")
    parser.add_argument("--posang", type=float, default=0.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", default="2", help="numbers of threads, separated by commas")
    parser.add_argument("--data", type=Path, help="folder with data of muse-simulate; default: simulate")
    parser.add_argument("--sof", default="model", help="which set of frames of the data (default: model)")
    parser.add_argument("--ours", action="store_true", help="leave the reference out")
    parser.add_argument("--json", type=Path, help="file for all numbers")
    parser.add_argument("--plot", type=Path, help="file for a plot")
    parser.add_argument("parameters", nargs="*")
    return parser.parse_args(words)


def run_all(arguments: argparse.Namespace) -> dict:
    """Simulate, run both in turn; return all numbers."""
    recipe = class_of(arguments.recipe)
    parameters = arguments.parameters or [f"--{name}={value}" for name, value in _defaults(recipe)]
    low, high = arguments.lbda
    what = f"{arguments.recipe} {' '.join(parameters)}"
    runs: list[dict] = []
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        data = arguments.data
        if data is None:
            data, number = work / "data", f"{arguments.exposures} x " * (arguments.exposures > 1)
            what = f"{what}: {number}IFUs {arguments.ifus}, {low:g} to {high:g} Angstrom"
            print(f"simulating: {what}, position angle {arguments.posang:g}", flush=True)
            further = ["--exposures", str(arguments.exposures), "--posang", str(arguments.posang)]
            simulate(data, work, low, high, *further, *(["--ifus", arguments.ifus] if arguments.ifus != "1-24" else []))
        sof = str((data / f"{arguments.sof}.sof").resolve())
        if recipe.raw_tag() == "PIXTABLE_REDUCED":
            print("reducing", flush=True)
            command = [sys.executable, "-m", "muse_core.frontends.esorex.main", SCIPOST]
            measure([*command, "--skymethod=none", "--save=individual", sof], work / "reduced", {})
            lines = [f"{path} {recipe.raw_tag()}\n" for path in sorted((work / "reduced").glob("*.fits"))]
            sof = str(work / "reduced.sof")
            Path(sof).write_text("".join(lines))
        for run in range(arguments.runs):
            for threads in map(int, arguments.threads.split(",")):
                for go in (run_ours,) if arguments.ours else (run_ours, run_theirs):
                    runs.append(found := go(recipe.NAME, [*parameters, sof], work / go.__name__, threads))
                    print(
                        f"run {run + 1}, {threads} threads: {found['who']:10s} {found['wall']:7.1f} s wall "
                        f"{found['cpu']:7.1f} s cpu {found['memory']:7.0f} MiB",
                        flush=True,
                    )
    return {"what": what, "machine": machine(), "runs": runs}


def main() -> None:
    """Run, or take the numbers that are there; print tables, and draw."""
    arguments = arguments_of()
    if arguments.plot and arguments.json and arguments.json.exists():
        result = json.loads(arguments.json.read_text())
    else:
        result = run_all(arguments)
        if arguments.json:
            arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    show(result)
    if arguments.plot:
        plot(result, arguments.plot)


if __name__ == "__main__":
    main()

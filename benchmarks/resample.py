#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Grid, cosmic-ray rejection and resampling alone: our slabs against ESO's own log times, on the same rows.

resample.py SOF [--method drizzle linear ...] [--runs 1] [--threads 2]

SOF is a set of frames for --skymethod=none, for example of muse-simulate. ESO's times are those between the messages of
its log, whole seconds; ours include reading the rows from the row store in memory.
"""

import argparse
import re
import statistics
import subprocess
import tempfile
import time
from datetime import datetime
from pathlib import Path

import numpy as np

from muse_core.engine.resources import Resources
from muse_core.engine.slabs import SlabSource
from muse_core.engine.store import RowStore
from muse_core.io.pixtable import PixelTableFile
from muse_core.model.grid import TableLimits, make_grid
from muse_core.steps.resample import METHODS, ResampleOptions, SlabResampler, cosmic_ray_direction

BEGIN = "Output cube size"
LAST = "Starting resampling"


def reference(sof: Path, folder: Path, threads: int, *parameters: str) -> str:
    """Run ESO's recipe; return its log."""
    folder.mkdir(exist_ok=True)
    command = ["esorex", f"--output-dir={folder}", f"--log-dir={folder}", "muse_scipost", "--skymethod=none"]
    subprocess.run(
        ["env", f"OMP_NUM_THREADS={threads}", *command, *parameters, str(sof)],
        check=True,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return (folder / "esorex.log").read_text()


def seconds_in_log(log: str) -> float:
    """Time from the size of the cube to the first message after the start of the resampling."""
    lines = [line for line in log.splitlines() if re.match(r"\d\d:\d\d:\d\d ", line)]
    begin = next(i for i, line in enumerate(lines) if BEGIN in line)
    end = next(i for i, line in enumerate(lines) if LAST in line) + 1
    clock = [datetime.strptime(lines[i][:8], "%H:%M:%S") for i in (begin, end)]
    return (clock[1] - clock[0]).seconds


def load(path: Path):
    """Return store, header and state of the positions of a combined table."""
    with PixelTableFile(path) as file:
        store = RowStore(file.n_rows)
        for start in range(0, file.n_rows, 1 << 16):
            stop = min(start + (1 << 16), file.n_rows)
            store.write(start, file.read(start, stop))
        return store, file.header, file.position_unit


def our_seconds(store: RowStore, header, unit: str, method: str, threads: int) -> float:
    """Time to make all planes."""
    rows = store.read(0, store.n_rows)
    extremes = [find(rows[name]) for name in ("xpos", "ypos", "lbda") for find in (np.min, np.max)]
    del rows
    limits = TableLimits.from_extremes(extremes, (header["CRVAL1"], header["CRVAL2"]))
    options = ResampleOptions(method=method, pixfrac=(0.8, 0.8, 0.8))
    resources = Resources(memory_bytes=4 << 30, scratch=Path("."), n_threads=threads)
    start = time.perf_counter()
    grid = make_grid(header, limits, unit)
    direction = cosmic_ray_direction(header, unit)
    resampler = SlabResampler(grid, options, direction, threads, reuse_output=True)
    for _ in SlabSource(store, resampler, resources):
        pass
    return time.perf_counter() - start


def main() -> None:
    """Run both and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sof", type=Path)
    parser.add_argument("--method", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        reference(arguments.sof, work, arguments.threads, "--save=combined")
        table = load(work / "PIXTABLE_COMBINED.fits")
        print(f"{'method':10s} {'ESO [s]':>8s} {'ours [s]':>9s} {'ratio':>6s}")
        for method in arguments.method:
            pairs = []
            for _ in range(arguments.runs):
                log = reference(arguments.sof, work, arguments.threads, "--save=cube", f"--resample={method}")
                pairs.append((seconds_in_log(log), our_seconds(*table, method, arguments.threads)))
            theirs, ours = (statistics.median(times) for times in zip(*pairs, strict=True))
            ratio = statistics.median(a / b for a, b in pairs)
            print(f"{method:10s} {theirs:8.0f} {ours:9.2f} {ratio:6.1f}", flush=True)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of docs/accuracy.md on noise: predicted variances of sums of voxels against those of many simulated fields.

noise_truth.py [--realisations 600] [--method "drizzle 0.8" ...] [--all]

Each realisation is an empty field of independent noise of known variance (tests/harness/noisefields.py), resampled into
a cube. What is printed is predicted over empirical variance, the smallest and largest mean of a kind of sum (1, 3 x 3,
5 x 5, 9 x 9 spaxels, or a circle of 1 arcsec; centre of the field, edge of slices, gap), and beside it what the sum of
STAT alone gives. --all shows all kinds.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from harness.noisefields import METHODS, ONE, THREE, Field, compare

COLUMNS = (1, 3, 10, 8)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--realisations", type=int, default=600)
    parser.add_argument("--method", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--all", action="store_true")
    arguments = parser.parse_args()
    print(
        "| method | exposures | 1 plane | 3 planes | 10 planes | aperture, 8 planes | statistical error | STAT alone |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for method in arguments.method:
        for name, pointings in (("1", ONE), ("3, dithered, turned", THREE)):
            verdicts = compare(Field(pointings, METHODS[method]), arguments.realisations)
            cells = []
            for n in COLUMNS:
                found = [v.predicted for v in verdicts if v.sums.n_planes == n]
                cells.append(f"{min(found):.3f} ... {max(found):.3f}")
            error = max(v.error for v in verdicts)
            alone = [v.alone for v in verdicts if v.sums.kind != "1 x 1"]
            line = [method, name, *cells, f"{error:.3f}", f"{min(alone):.2f} ... {max(alone):.2f}"]
            print(f"| {' | '.join(line)} |", flush=True)
            for v in verdicts if arguments.all else ():
                print(
                    f"    {v.sums.place:12s} {v.sums.kind:18s} {v.sums.n_planes:3d} planes: "
                    f"{v.predicted:.3f} +- {v.error:.3f}, STAT alone {v.alone:.3f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()

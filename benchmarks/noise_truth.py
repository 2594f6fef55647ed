#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of docs/accuracy.md on noise: predicted variances of sums of voxels against those of many simulated fields.

noise_truth.py [--realisations 600] [--method "drizzle 0.8" ...] [--all]

Each realisation is an empty field of independent noise of known variance (tests/harness/noisefields.py), resampled into
a cube. Sums of a kind (1, 3 x 3, 5 x 5, 9 x 9 spaxels, or a circle of 1 arcsec; centre of the field, edge of slices,
gap; 1, 3, 10 or 8 planes) are made at all places there are. What is printed is the mean of predicted over empirical
variance, of the kinds with the smallest and the largest; the largest statistical error of these; by how many of its own
errors a kind is off by more than 3 per cent, at most; what the interpolation between planes makes of that, against
coefficients of all planes: largest mean of a kind, largest scatter from place to place; and what the sum of STAT alone
gives. --all shows all kinds.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from harness.noisefields import METHODS, ONE, THREE, Field, compare, deviations

COLUMNS = (1, 3, 10, 8)
HEADINGS = (
    *("method", "exposures", "1 plane", "3 planes", "10 planes", "aperture, 8 planes"),
    *("statistical error", "beyond 3 %, in errors", "interpolation: mean, scatter", "STAT alone"),
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--realisations", type=int, default=600)
    parser.add_argument("--method", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--all", action="store_true")
    arguments = parser.parse_args()
    print(f"| {' | '.join(HEADINGS)} |")
    print("|" + "---|" * len(HEADINGS))
    for method in arguments.method:
        for name, pointings in (("1", ONE), ("3", THREE)):
            field = Field(pointings, METHODS[method])
            verdicts = compare(field, arguments.realisations)
            cells = []
            for n in COLUMNS:
                found = [v.predicted for v in verdicts if v.sums.n_planes == n]
                cells.append(f"{min(found):.3f} ... {max(found):.3f}")
            error = max(v.error for v in verdicts)
            beyond = max(0.0, *((abs(v.predicted - 1) - 0.03) / v.error for v in verdicts))
            off = deviations(field, Field(pointings, METHODS[method], every_plane=True)).values()
            interpolation = f"{100 * max(abs(m) for m, _ in off):.1f} %, {100 * max(s for _, s in off):.1f} %"
            alone = [v.alone for v in verdicts if v.sums.kind != "1 x 1"]
            line = [method, name, *cells, f"{error:.3f}", f"{beyond:.1f}", interpolation]
            print(f"| {' | '.join(line)} | {min(alone):.2f} ... {max(alone):.2f} |", flush=True)
            for v in verdicts if arguments.all else ():
                print(
                    f"    {v.sums.place:12s} {v.sums.kind:18s} {v.sums.n_planes:3d} planes: "
                    f"{v.predicted:.3f} +- {v.error:.3f}, STAT alone {v.alone:.3f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()

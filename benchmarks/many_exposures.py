#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Peak memory and time of some planes of a cube from many full exposures, with a small and a large limit of memory.

many_exposures.py [--exposures 64] [--limits 2G 20G] [--planes 16] [--scratch DIR] [--threads N]

The store has the rows of full exposures (24 IFUs x 48 slices, 3681 planes), dithered, every other one turned by 90
degrees, and an index of all of them. Only the rows around the planes that are made are in its scratch files, which are
holes otherwise: 0.05 GB an exposure instead of 9. Fails if a limit is exceeded or the planes have other bits.
"""

import argparse
import hashlib
import sys
import time
from pathlib import Path

import numpy as np

from muse_core.engine.allocator import keep_memory, share_memory
from muse_core.engine.progress import peak_memory
from muse_core.engine.resources import Resources, parse_size
from muse_core.engine.scratch import ScratchRowStore
from muse_core.engine.slabs import SlabSource
from muse_core.engine.threads import map_in_order
from muse_core.model.grid import OutputGrid
from muse_core.model.rows import ROW, make_rows
from muse_core.steps.resample import CosmicRayDirection, ResampleOptions, SlabResampler

N_IFUS, N_SLICES, WIDTH, N_PLANES = 24, 48, 75, 3681
FIRST, STEP = 4750.0, 1.25
#: Room for the field, turned and dithered, in spaxels.
SIZE = 330
#: Planes beside those that are made for which there are rows.
BESIDE = 60


class HoledStore(ScratchRowStore):
    """A store of which only the rows between two wavelengths take space."""

    between = 0.0, 0.0
    _needs_space = False

    def _put(self, start: int, rows: np.ndarray) -> None:
        first, last = np.searchsorted(rows["lbda"], self.between)
        super()._put(start + int(first), rows[first:last])


def slice_rows(number: int) -> np.ndarray:
    """Return the rows of a slice in spaxels, by wavelength."""
    random = np.random.default_rng(number)
    ifu, place = divmod(number, N_SLICES)
    plane, column = np.divmod(np.arange(N_PLANES * WIDTH), WIDTH)
    x = column + WIDTH * (place // 12) + random.normal(0, 0.05, len(column))
    y = ifu * 12.0 + place % 12 + 0.002 * column
    lbda = FIRST + STEP * (plane + 0.01 * column)
    data = random.normal(100, 10, len(column)) + 1e4 * (random.random(len(column)) < 0.002)
    return make_rows(x, y, lbda, data, 0, 100.0, number)


def fill(store: HoledStore, n_exposures: int, n_threads: int) -> None:
    """Write all exposures."""
    each = N_PLANES * WIDTH
    places = np.random.default_rng(0).normal(0, 4, (n_exposures, 2))

    def write(number: int) -> None:
        rows = slice_rows(number)
        x, y = (rows[name] - 150.0 for name in ("xpos", "ypos"))
        for exposure in range(n_exposures):
            turned = (y, -x) if exposure % 2 else (x, y)
            for name, values, place in zip(("xpos", "ypos"), turned, places[exposure], strict=True):
                rows[name] = values + (SIZE / 2 + place)
            store.write((exposure * N_IFUS * N_SLICES + number) * each, rows)

    for number, _ in enumerate(map_in_order(write, range(N_IFUS * N_SLICES), n_threads)):
        if sys.stderr.isatty():
            print(f"\rslice {number + 1} of {N_IFUS * N_SLICES}", end="", file=sys.stderr)


def make_planes(store: HoledStore, grid: OutputGrid, first: int, n_planes: int, resources: Resources) -> str:
    """Make planes, tell what they took; return a digest of them."""
    options = ResampleOptions()
    resampler = SlabResampler(grid, options, CosmicRayDirection.X, resources.n_threads, reuse_output=True)
    begin = time.perf_counter()
    source = SlabSource(store, resampler, resources)
    digest, done, n_flagged = hashlib.sha256(), 0, 0
    for slab in source.from_plane(first):
        used = min(len(slab.result.data), n_planes - done)
        for values in (slab.result.data, slab.result.stat, slab.result.dq):
            digest.update(values[:used])
        done, n_flagged = done + used, n_flagged + len(slab.cosmic_rays)
        if done == n_planes:
            break
    seconds, peak = time.perf_counter() - begin, peak_memory()
    slabs = f"slabs of {source.thickness} planes in {len(source.parts(first, first + 1))} bands"
    made = f"{done} planes in {seconds:.1f} s, {n_flagged} rows flagged"
    print(f"{resources.memory_bytes / 2**30:g} GiB: {slabs}; {made}; peak {peak / 2**20:.0f} MiB", flush=True)
    if peak > resources.memory_bytes:
        sys.exit("the limit of memory was exceeded")
    return digest.hexdigest()


def main() -> None:
    """Fill the store, make the planes with each limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exposures", type=int, default=64)
    parser.add_argument("--limits", nargs="+", default=["2G", "20G"], help="ascending: the peak is that of the process")
    parser.add_argument("--planes", type=int, default=16)
    parser.add_argument("--scratch", type=Path, default=Path())
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    keep_memory()
    share_memory()
    first = N_PLANES // 2
    n_rows = given.exposures * N_IFUS * N_SLICES * N_PLANES * WIDTH
    with HoledStore(n_rows, given.scratch) as store:
        store.between = tuple(FIRST + STEP * (first + k) for k in (-BESIDE, given.planes + BESIDE))
        begin = time.perf_counter()
        fill(store, given.exposures, given.threads)
        print(f"{given.exposures} exposures, {n_rows:.3g} rows ({n_rows * ROW.itemsize / 1e9:.0f} GB), "
              f"indexed in {time.perf_counter() - begin:.0f} s", flush=True)  # fmt: skip
        grid = OutputGrid(
            nx=SIZE, ny=SIZE, nz=N_PLANES, celestial=False, ctype3="AWAV", crpix=(1.0, 1.0, 1.0),
            crval=(0.0, 0.0, FIRST), cd=(1.0, 0.0, 0.0, 1.0), cd33=STEP, origin=(0.0, 0.0), scale=(1.0, 1.0),
        )  # fmt: skip
        digests = {
            make_planes(store, grid, first, given.planes, Resources(
                memory_bytes=parse_size(limit, "--limits"), scratch=given.scratch, n_threads=given.threads
            ))
            for limit in given.limits
        }  # fmt: skip
    if len(digests) > 1:
        sys.exit("the planes have other bits")


if __name__ == "__main__":
    main()

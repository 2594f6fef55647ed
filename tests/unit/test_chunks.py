# SPDX-License-Identifier: GPL-2.0-or-later
"""Chunks are bounded, whatever the order of the rows: a signal waits for one of them at most."""

import numpy as np
import pytest

from muse_core.engine import exposure
from muse_core.model import origin

CHUNK = exposure.CHUNK_ROWS


class _File:
    """A pixel table of which only the slices are known."""

    def __init__(self, slices: np.ndarray):
        self._origin = slices.astype(np.int32) | (1 << origin.IFU_SHIFT)

    def raw_column(self, _name: str, start: int, stop: int) -> tuple[bytes, int]:
        return self._origin[start:stop].astype(">i4").tobytes(), 4


def _grouped(rng, n: int) -> np.ndarray:
    return np.sort(rng.integers(1, 49, n))


ORDERS = {
    "by slice": (_grouped, True),
    "by wavelength": (lambda rng, n: rng.integers(1, 49, n), False),
    "descending": (lambda rng, n: _grouped(rng, n)[::-1], False),
    "by slice but for the last row": (lambda rng, n: np.append(_grouped(rng, n - 1), 1), False),
    "all in one slice": (lambda rng, n: np.full(n, 7), False),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("n", [CHUNK + 1, 2 * CHUNK + 1, 17 * CHUNK + 3])
def test_no_chunk_is_longer_than_the_longest(order, n):
    make, grouped = ORDERS[order]
    slices = make(np.random.default_rng(1), n)
    edges, found = exposure._chunk_edges(_File(slices), 0, n)
    assert (edges[0], edges[-1]) == (0, n)
    assert (np.diff(edges) > 0).all()
    assert np.diff(edges).max() <= exposure.LONGEST_CHUNK
    if n > exposure.LONGEST_CHUNK or order != "all in one slice":
        assert found == grouped
    if found:
        assert (slices[edges[1:-1]] != slices[edges[1:-1] - 1]).all()  # no slice is cut

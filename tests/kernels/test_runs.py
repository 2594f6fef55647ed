# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs of rows of a range of wavelengths, and rows that are wanted, against the same in numpy."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from muse_core.cython_ext import rows as rows_kernels
from muse_core.model.rows import ROW, make_rows

PER_ENTRY, PER_GROUP = 4, 3


def expected(first_rows, n_rows, low, high, groups, begin, end):
    """Go through the stretches; join those that follow each other."""
    runs, stretch, group = [], 0, 0
    for first, n in zip(first_rows, n_rows, strict=True):
        n_stretches = -(-n // PER_ENTRY)
        for k in range(n_stretches):
            outside = high[stretch + k] < begin or low[stretch + k] > end
            if not outside and (not len(groups) or groups[group + k // PER_GROUP]):
                start, stop = first + k * PER_ENTRY, first + min((k + 1) * PER_ENTRY, n)
                if runs and runs[-1][1] == start:
                    runs[-1][1] = stop
                else:
                    runs.append([start, stop])
        stretch += n_stretches
        group += -(-n_stretches // PER_GROUP)
    return np.array(runs, np.int64).reshape(-1, 2).T


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 40), max_size=6), st.booleans(), st.floats(0, 1))
def test_runs(seed, lengths, all_groups, gaps):
    random = np.random.default_rng(seed)
    n_rows = np.array(lengths, np.int64)
    space = np.where(random.random(len(n_rows)) < gaps, random.integers(1, 9, len(n_rows)), 0)
    first_rows = np.cumsum(n_rows + space) - n_rows + 7
    n_stretches = -(-n_rows // PER_ENTRY)
    low = random.normal(size=n_stretches.sum()).astype(np.float32)
    high = low + np.float32(1)
    ascends = (random.random(len(n_rows)) < 0.5).astype(np.uint8)
    for at, n, in_order in zip(np.cumsum(n_stretches) - n_stretches, n_stretches, ascends, strict=True):
        if in_order:
            low[at : at + n].sort()
            high[at : at + n].sort()
    spoiled = (random.random(len(low)) < 0.1) & ~np.repeat(ascends, n_stretches).astype(bool)
    low[spoiled], high[spoiled] = np.nan, np.nan
    groups = np.empty(0, np.uint8)
    if not all_groups:
        groups = (random.random((-(-n_stretches // PER_GROUP)).sum()) < 0.6).astype(np.uint8)
    begin, end = -0.5, 0.3
    starts, stops = expected(first_rows, n_rows, low, high, groups, begin, end)
    for room in {len(starts), len(starts) + 2, len(starts) // 2, 0}:
        found = np.full((2, room), -1, np.int64)
        parts = first_rows, n_rows, ascends, low, high, PER_ENTRY, groups, PER_GROUP
        n_runs, total = rows_kernels.find_runs(*parts, begin, end, *found)
        assert (n_runs, total) == (len(starts), (stops - starts).sum())
        written = min(room, n_runs)
        assert np.array_equal(found[0, :written], starts[:written])
        assert np.array_equal(found[1, :written], stops[:written])
        assert (found[:, written:] == -1).all()


@settings(derandomize=True, max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 100), st.floats(0, 1))
def test_rows_that_are_wanted(seed, n, part):
    random = np.random.default_rng(seed)
    rows = make_rows(*random.normal(size=(4, n)), 0, 1, np.arange(n))
    wanted = random.random(n) < part
    out, numbers = np.empty(n, ROW), np.empty(n, np.uint32)
    n_found = rows_kernels.compress(rows, wanted.view(np.uint8), out, numbers)
    assert np.array_equal(numbers[:n_found], np.flatnonzero(wanted))
    assert out[:n_found].tobytes() == rows[wanted].tobytes()

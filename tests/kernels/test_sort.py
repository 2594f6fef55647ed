# SPDX-License-Identifier: GPL-2.0-or-later
"""Sorting of rows against numpy's stable lexsort."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muse_core.model import origin
from muse_core.model.rows import make_rows
from muse_core.steps.order import slice_order, sort_rows


def expected(rows):
    return rows[np.lexsort((rows["lbda"], origin.slice_key(rows["origin"])))]


def random_rows(rng, n, n_slice, grouped):
    keys = rng.integers(1, n_slice + 1, n)
    if grouped:
        keys.sort()
    lbda = np.round(rng.uniform(4650, 9350, n), 1)
    return make_rows(0, 0, lbda, np.arange(n), 0, 0, origin.encode(1, rng.integers(1, 4000, n), 3, keys, 0))


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 400), st.integers(1, 48), st.booleans())
def test_against_lexsort(seed, n, n_slice, grouped):
    rows = random_rows(np.random.default_rng(seed), n, n_slice, grouped)
    in_order = rows[slice_order(rows)]
    wanted, ascending = expected(rows), (np.diff(origin.slice_key(rows["origin"]).astype(int)) >= 0).all()
    assert sort_rows(rows) == ascending
    assert rows.tobytes() == wanted.tobytes() == in_order.tobytes()


@pytest.mark.parametrize("values", [[3.0, np.nan, -2.0, np.inf, -0.5, 1e-40, -np.inf, 0.0]])
def test_any_number(values):
    rows = make_rows(0, 0, np.array(values, np.float32), 0, 0, 0, 5)
    sort_rows(rows)
    np.testing.assert_array_equal(rows["lbda"], np.sort(np.array(values, np.float32)))


@pytest.mark.parametrize("low", [4750.0, 8191.0, -1e30, 0.0])
@pytest.mark.parametrize("width", [1e-3, 1.0, 4600.0, 1e30])
def test_any_range(low, width):
    """As many digits as the range needs, from none to all; more rows than buckets."""
    random = np.random.default_rng(3)
    lbda = (low + width * random.random(9000)).astype(np.float32)
    rows = make_rows(0, 0, lbda, np.arange(9000), 0, 0, origin.encode(1, 1, 3, 4, 0))
    wanted = expected(rows)
    sort_rows(rows)
    assert rows.tobytes() == wanted.tobytes()


def test_sorted_rows_stay():
    rows = expected(random_rows(np.random.default_rng(1), 1000, 5, True))
    copy = rows.copy()
    assert sort_rows(rows)
    assert rows.tobytes() == copy.tobytes()


def test_no_rows():
    """There is nothing to sort, and what lies around the piece stays."""
    rows = random_rows(np.random.default_rng(1), 50, 5, True)[::-1].copy()
    before = rows.copy()
    assert sort_rows(rows[10:10])
    assert rows.tobytes() == before.tobytes()

# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels between the columns of a file and rows: against numpy."""

import numpy as np
import pytest

from muse_core.cython_ext import columns as columns_kernels

#: Columns of a file: names in the order of the arguments of `add_image`.
NAMES = ("xpos", "ypos", "lbda", "data", "dq")
FILE_ROW = np.dtype([(name, ">i4" if name == "dq" else ">f4") for name in NAMES])
SHAPE = (5, 6)
FIRST, STEP = 5000.0, 10.0
#: At six wavelengths: shifts, factor, weight (0 where rows do not count), background, limit of what is bright.
CURVES = np.array(
    [
        [0.1, -0.2, 1.0, 1.0, 2.0, 60.0],
        [0.2, -0.1, 1.1, 2.0, 5.0, 60.0],
        [0.3, 0.0, 1.2, 0.0, 1.0, 60.0],
        [0.0, 0.1, 1.3, 0.5, 0.0, 60.0],
        [0.1, 0.2, 1.4, 1.5, 3.0, 60.0],
        [0.2, 0.3, 1.5, 1.0, 4.0, 60.0],
    ]
)


@pytest.fixture
def table():
    """Rows in the field and around it, of all wavelengths and beyond them; some are flagged, some are NaN."""
    random = np.random.default_rng(5)
    made = np.zeros(400, FILE_ROW)
    made["xpos"], made["ypos"] = random.uniform(-1, 7, (2, 400))
    made["lbda"] = random.uniform(4985, 5065, 400)
    made["data"] = random.uniform(0, 50, 400)
    made["data"][::7] = np.nan
    made["dq"][::5] = 32
    made["data"][3] = 1000.0
    made["xpos"][3], made["ypos"][3], made["lbda"][3] = 2.2, 3.4, 5031.0
    return made


def add(table, n_bright=0, steepest=0.0, total=None, norm=None):
    """Call the kernel; return sums of values, of weights, and what is bright."""
    total = np.zeros(SHAPE) if total is None else total
    norm = np.zeros(SHAPE) if norm is None else norm
    bright = np.full((n_bright, 5), np.nan)
    raw = table.view(np.uint8)
    buffers = [raw[table.dtype.fields[name][1] :] for name in NAMES]
    strides = np.full(len(NAMES), table.itemsize, np.intp)
    found = columns_kernels.add_image(
        *buffers, strides, len(table), FIRST, STEP, CURVES, 0.0, 0.0, total, norm, bright, steepest
    )
    return total, norm, bright[:found]


def expected(table):
    """Return sums of values and of weights, row by row."""
    total, norm = np.zeros(SHAPE), np.zeros(SHAPE)
    for row in table:
        at = (float(row["lbda"]) - FIRST) / STEP
        nearest = int(np.floor(at + 0.5))
        if row["dq"] or not 0 <= nearest < len(CURVES) or np.isnan(row["data"]):
            continue
        dx, dy, factor, weight, _, _ = CURVES[nearest]
        u, v = float(row["xpos"]) + dx, float(row["ypos"]) + dy
        if not (0 <= u < SHAPE[1] - 1 and 0 <= v < SHAPE[0] - 1):
            continue
        value = factor * float(row["data"]) - np.interp(at, np.arange(len(CURVES)), CURVES[:, 4])
        x, y = int(u), int(v)
        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
            share = weight * abs(1 - i - (v - y)) * abs(1 - j - (u - x))
            total[y + i, x + j] += share * value
            norm[y + i, x + j] += share
    return total, norm


def test_image(table):
    total, norm, _ = add(table)
    wanted = expected(table)
    assert (wanted[1] > 0).sum() > 20
    np.testing.assert_allclose((total, norm), wanted, rtol=1e-12)


def test_image_is_added_to(table):
    total, norm, _ = add(table)
    twice = add(table, total=total.copy(), norm=norm.copy())
    np.testing.assert_allclose(twice[:2], (2 * total, 2 * norm), rtol=1e-12)


def test_bright_value(table):
    """Where it is, its wavelength, value and weight."""
    _, _, bright = add(table, n_bright=5)
    dx, dy, factor, weight, _, limit = CURVES[3]
    above = bright[bright[:, 3] > 100]
    assert above == pytest.approx(np.array([[2.2 + dx, 3.4 + dy, 5031.0, factor * 1000 - 0.3, weight]]))
    assert (bright[:, 3] > limit).all()


def test_no_more_bright_values_than_there_is_room(table):
    table["data"] = 500.0
    assert len(add(table, n_bright=3)[2]) == 3


def test_bright_value_among_brighter_ones(table):
    """It is not steep where as much has been seen before."""
    before = {"total": np.full(SHAPE, 1e6), "norm": np.ones(SHAPE)}
    assert len(add(table, n_bright=5, steepest=1.0, **before)[2]) == 0


def test_block_ranges_beyond_the_vector(table):
    """Lanes and the rest of a block, NaN, an empty block."""
    values = table["data"][:131].copy()
    values[64:96] = np.nan
    low, high = np.empty((2, 5), np.float32)
    columns_kernels.block_ranges(values.view(np.uint8), 4, 32, low, high)
    for k in range(5):
        part = values[32 * k : 32 * k + 32]
        part = part[~np.isnan(part)]
        assert (low[k], high[k]) == ((part.min(), part.max()) if len(part) else (np.inf, -np.inf))


@pytest.mark.parametrize("stride", [4, 12])
def test_changes(stride):
    """Bits beyond the mask do not matter; the value before the first one does; a smaller value ends it."""
    keys = np.array([3, 3, 7, 7, 7, 8, 40, 40])
    raw = np.zeros((len(keys), stride // 4), ">i4")
    raw[:, 0] = keys | np.random.default_rng(1).integers(-(2**20), 2**20, len(keys)) << 11
    positions = np.empty(0x800, np.int64)

    def find(n, last):
        found, last = columns_kernels.find_changes(raw.tobytes(), stride, n, 0x7FF, last, positions)
        return (positions[:found].tolist() if found >= 0 else None), last

    assert find(8, -1) == ([2, 5, 6], 40)
    assert find(8, 3) == ([2, 5, 6], 40)
    assert find(8, 1) == ([0, 2, 5, 6], 40)
    assert find(0, 5) == ([], 5)
    assert find(8, 4)[0] is None
    raw[6, 0] = 7
    assert find(8, -1)[0] is None
    assert find(6, -1) == ([2, 5], 8)


def test_changes_of_too_few_bytes():
    with pytest.raises(ValueError, match="too few"):
        columns_kernels.find_changes(b"1234567", 4, 2, 1, -1, np.empty(2, np.int64))
    with pytest.raises(ValueError, match="more than mask"):
        columns_kernels.find_changes(b"12345678", 4, 2, 2, -1, np.empty(2, np.int64))


@pytest.mark.parametrize("n", [0, 1, 7, 4099])
def test_pack(n):
    values = np.random.default_rng(n).normal(size=n).astype(np.float32)
    out = np.zeros(n, np.uint32)
    total = columns_kernels.pack(values.view(np.uint32), out)
    assert out.tobytes() == values.astype(">f4").tobytes()
    assert total == sum(values.view(np.uint32).tolist())

# SPDX-License-Identifier: GPL-2.0-or-later
"""What waits in a scratch file: a cube, written by planes and read by columns; arrays, in their order."""

import errno
from contextlib import closing

import numpy as np
import pytest

from muse_core.engine import spool
from muse_core.errors import ResourceError

SHAPE = (5, 4, 7)


def cube():
    """Return data, variances and flags, all different."""
    values = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    return values.astype(np.float32), (1000 + values).astype(np.float32), (-values).astype(np.int32)


def found(made):
    """Return the cube as it is read."""
    arrays = [np.empty(SHAPE, kind) for kind in (np.float32, np.float32, np.int32)]
    for x, column in made.columns():
        for array, name in zip(arrays, ("data", "stat", "dq"), strict=True):
            array[:, :, x] = column[name]
    return arrays


@pytest.mark.parametrize("block_bytes", [1, 500, 1 << 20])
def test_planes_become_columns(tmp_path, block_bytes):
    """Blocks of one column, of several with a rest, of all; planes come in any order."""
    arrays = cube()
    with closing(spool.ColumnSpool(SHAPE, tmp_path, block_bytes)) as made:
        for first, last in ((3, 5), (0, 3)):
            made.write(first, *(array[first:last] for array in arrays))
        assert all(np.array_equal(*pair) for pair in zip(found(made), arrays, strict=True))
    assert list(tmp_path.iterdir()) == []


def test_folder_that_is_not_there(tmp_path):
    with pytest.raises(ResourceError, match="nowhere.*the cube needs 0.00 GB of scratch, see MUSE_SCRATCH"):
        spool.ColumnSpool(SHAPE, tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["write_all", "read_all"])
def test_full_or_broken_disk(tmp_path, monkeypatch, name):
    def fail(*_):
        raise OSError(errno.ENOSPC, "no space")

    with closing(spool.ColumnSpool(SHAPE, tmp_path)) as made:
        if name == "read_all":
            made.write(0, *cube())
        monkeypatch.setattr(spool, name, fail)
        with pytest.raises(ResourceError, match="no space left on the device.*see MUSE_SCRATCH"):
            made.write(0, *cube()) if name == "write_all" else found(made)


def arrays(n):
    return [np.full((k % 4, 3), k, np.float32) for k in range(n)]


@pytest.mark.parametrize("in_memory_bytes", [0, 100, 1 << 20])
def test_arrays_come_back_in_their_order(tmp_path, in_memory_bytes):
    """All from the file, some, none; more than once, also empty ones."""
    with spool.ArraySpool(tmp_path, in_memory_bytes) as made:
        for array in arrays(20):
            made.add(array)
        for _ in range(2):
            found = list(made)
            assert len(found) == 20
            for one, expected in zip(found, arrays(20), strict=True):
                np.testing.assert_array_equal(one, expected)
                assert one.dtype == expected.dtype
    assert list(tmp_path.iterdir()) == []
    assert list(made) == []


def test_no_file_for_few_arrays(tmp_path, monkeypatch):
    monkeypatch.setattr(spool.tempfile, "TemporaryFile", None)
    with spool.ArraySpool(tmp_path) as made:
        made.add(np.zeros(10))
        assert [len(array) for array in made] == [10]


def test_no_space_for_arrays(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(spool, "write_all", full)
    with (
        spool.ArraySpool(tmp_path, 0) as made,
        pytest.raises(ResourceError, match=r"scratch: no space left on the device .* see MUSE_SCRATCH"),
    ):
        made.add(np.zeros(10))


def test_arrays_that_cannot_be_read(tmp_path, monkeypatch):
    def broken(*_):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(spool, "read_all", broken)
    with spool.ArraySpool(tmp_path, 0) as made:
        made.add(np.zeros(10))
        with pytest.raises(ResourceError, match="scratch: broken; see MUSE_SCRATCH"):
            list(made)

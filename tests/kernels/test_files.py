# SPDX-License-Identifier: GPL-2.0-or-later
"""Pieces and columns of files into memory: against slices of the bytes; what cannot be read."""

import errno
import os

import numpy as np
import pytest

from muse_core.cython_ext import files as files_kernels


@pytest.fixture
def files(tmp_path):
    """Two files of other bytes, and their descriptors."""
    content = [np.random.default_rng(number).integers(0, 256, 5000).astype(np.uint8) for number in (1, 2)]
    paths = [tmp_path / name for name in ("a", "b")]
    for path, data in zip(paths, content, strict=True):
        path.write_bytes(data.tobytes())
    descriptors = np.array([os.open(path, os.O_RDONLY) for path in paths], np.intc)
    yield content, descriptors
    for descriptor in descriptors.tolist():
        os.close(descriptor)


def read(descriptors, positions, lengths, size=None, stop=0):
    out = np.zeros(sum(lengths) if size is None else size, np.uint8)
    places = (np.array(values, np.int64) for values in (positions, lengths))
    return files_kernels.read_pieces(descriptors, *places, out, np.array([stop], np.int32)), out


def test_pieces(files):
    content, descriptors = files
    which, positions, lengths = [0, 1, 0, 0, 1], [100, 0, 4990, 7, 4000], [1000, 5000, 10, 0, 1]
    status, out = read(descriptors[which], positions, lengths)
    assert status == 0
    pieces = [content[w][p : p + n] for w, p, n in zip(which, positions, lengths, strict=True)]
    np.testing.assert_array_equal(out, np.concatenate(pieces))
    assert read(descriptors[:0], [], [])[0] == 0


def test_what_cannot_be_read(files):
    content, descriptors = files
    status, out = read(descriptors, [0, 4999], [10, 2])
    assert status == files_kernels.TOO_SHORT
    np.testing.assert_array_equal(out[:10], content[0][:10])
    assert read(np.array([-1], np.intc), [0], [1])[0] == errno.EBADF
    assert read(descriptors, [0, 0], [10, 10], stop=1)[0] == files_kernels.STOPPED


@pytest.mark.parametrize(
    ("positions", "lengths", "size"), [([0], [1, 1], 2), ([0, -1], [1, 1], 2), ([0, 0], [1, -1], 0)]
)
def test_pieces_that_do_not_fit(files, positions, lengths, size):
    with pytest.raises(ValueError, match=r"expected (positions|out)"):
        read(files[1], positions, lengths, size)


@pytest.mark.parametrize("size", [1, 3])
def test_room_of_another_size(files, size):
    with pytest.raises(ValueError, match="out"):
        read(files[1], [0, 0], [1, 1], size)


#: First byte of three columns, and the distances of their values.
POSITIONS, STRIDES, FIELDS = np.array([3, 900, 2001]), np.array([4, 28, 9]), np.array([6, 0, 2], np.int32)


def read_columns(descriptor, n, buffer=64, positions=POSITIONS, strides=STRIDES, fields=FIELDS):
    words, buffer = np.full((n, 7), 5, np.uint32), np.empty(buffer, np.uint8)
    return files_kernels.read_columns(int(descriptor), positions, strides, fields, words, buffer), words


@pytest.mark.parametrize("n", [0, 1, 100])
@pytest.mark.parametrize("buffer", [4, 31, 32, 33, 4000])
def test_columns(files, n, buffer):
    content, descriptors = files
    (status, _), words = read_columns(descriptors[0], n, buffer)
    assert status == 0
    expected = np.full((n, 7), 5, np.uint32)
    for position, stride, field in zip(POSITIONS, STRIDES, FIELDS, strict=True):
        for i in range(n):
            raw = content[0][position + i * stride :][:4].tobytes()
            expected[i, field] = int.from_bytes(raw, "big")
    np.testing.assert_array_equal(words, expected)


def test_columns_that_cannot_be_read(files):
    _, descriptors = files
    (status, position), _ = read_columns(descriptors[0], 200)
    assert status == files_kernels.TOO_SHORT
    assert 900 + 28 * 100 < position < 900 + 28 * 200
    assert read_columns(-1, 1)[0] == (errno.EBADF, 3)


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("positions", {"positions": np.array([0, -1, 0])}),
        ("strides", {"strides": np.array([4, 3, 4])}),
        ("strides, fields", {"strides": np.array([4])}),
        ("fields", {"fields": np.array([0, 7, 1], np.int32)}),
        ("buffer", {"buffer": 3}),
    ],
)
def test_columns_that_do_not_fit(files, what, change):
    with pytest.raises(ValueError, match=f"expected {what}: "):
        read_columns(files[1][0], 5, **change)

# SPDX-License-Identifier: GPL-2.0-or-later
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Kernels between the columns of a file and rows in memory."""

from libc.stdint cimport uint32_t
from libc.string cimport memcpy
from bounded cimport require

cdef extern from *:
    """
    #if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    #define muse_from_big_endian(x) (x)
    #else
    #define muse_from_big_endian(x) __builtin_bswap32(x)
    #endif
    """
    uint32_t muse_from_big_endian(uint32_t) noexcept nogil


def unpack(const unsigned char[::1] raw, Py_ssize_t stride, uint32_t[:, ::1] words, Py_ssize_t field):
    """Put a column of big-endian 4-byte values into a field of rows.

    Parameters
    ----------
    raw : buffer of bytes
        Value i lies at ``i * stride``.
    stride : int
        Distance of values in bytes.
    words : ndarray of uint32, shape (n, 7)
        Rows, seen as words.
    field : int
        Number of the field.
    """
    cdef Py_ssize_t i, n = words.shape[0]
    cdef uint32_t word
    require(0 <= field < words.shape[1], f"field: 0...{words.shape[1] - 1}")
    if n and (stride < 0 or raw.shape[0] < 4 or (n > 1 and stride > (raw.shape[0] - 4) // (n - 1))):
        raise ValueError(f"{raw.shape[0]} bytes are too few for {n} values with a stride of {stride}")
    with nogil:
        for i in range(n):
            memcpy(&word, &raw[i * stride], 4)
            words[i, field] = muse_from_big_endian(word)

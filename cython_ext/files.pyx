# SPDX-License-Identifier: GPL-2.0-or-later
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Kernels: many pieces of files into memory, without a step of Python for each."""

from libc.errno cimport EINTR, errno
from libc.stdint cimport uint32_t
from posix.types cimport off_t
from posix.unistd cimport pread
from bounded cimport require
from stopping cimport is_set

cdef extern from "bigendian.h" nogil:
    void unpack_column "muse_unpack"(const unsigned char *raw, Py_ssize_t stride, Py_ssize_t n, uint32_t *words,
                                     Py_ssize_t n_fields)

cdef long long FARTHEST = <long long>1 << 62

cdef enum:
    HALTED = -1
    ENDED = -2

#: What is returned instead of a number of an error.
STOPPED = HALTED
TOO_SHORT = ENDED


cdef int read_piece(int descriptor, unsigned char *out, long long length, long long position) noexcept nogil:
    cdef Py_ssize_t done
    while length > 0:
        done = pread(descriptor, out, <size_t>length, <off_t>position)
        if done < 0:
            if errno == EINTR:
                continue
            return errno
        if done == 0:
            return ENDED
        out += done
        length -= done
        position += done
    return 0


def read_pieces(const int[::1] descriptors, const long long[::1] positions, const long long[::1] lengths,
                unsigned char[::1] out, const int[::1] stop):
    """Read pieces of files, one behind the other.

    Parameters
    ----------
    descriptors : ndarray of int32, shape (n,)
        Open files.
    positions, lengths : ndarray of int64, shape (n,)
        Bytes.
    out : ndarray of uint8
        Output: as long as all of them.
    stop : ndarray of int32, shape (1,)
        See stopping.pxd.

    Returns
    -------
    int
        0; the number of the error of the system; `STOPPED`; `TOO_SHORT` if a file ends before a piece does.
    """
    cdef Py_ssize_t n = descriptors.shape[0], i
    cdef long long left = out.shape[0], at = 0
    cdef int status = 0
    require(positions.shape[0] == n and lengths.shape[0] == n, "positions, lengths: one for each descriptor")
    for i in range(n):
        require(0 <= positions[i] <= FARTHEST and 0 <= lengths[i] <= left, "positions, lengths: not negative, within out")
        left -= lengths[i]
    require(left == 0, "out: as long as all pieces")
    require(stop.shape[0] == 1, "stop: one")
    with nogil:
        for i in range(n):
            if is_set(&stop[0]):
                status = HALTED
                break
            if lengths[i]:
                status = read_piece(descriptors[i], &out[at], lengths[i], positions[i])
                if status:
                    break
            at += lengths[i]
    return status


def read_columns(int descriptor, const long long[::1] positions, const long long[::1] strides, const int[::1] fields,
                 uint32_t[:, ::1] words, unsigned char[::1] buffer):
    """Read columns of big-endian 4-byte values of a file into fields of rows.

    Parameters
    ----------
    descriptor : int
        Open file.
    positions, strides : ndarray of int64, shape (n_columns,)
        Value i of a column lies at ``position + i * stride`` in the file.
    fields : ndarray of int32, shape (n_columns,)
        Number of the field of each column.
    words : ndarray of uint32, shape (n, n_fields)
        Output: rows, seen as words.
    buffer : ndarray of uint8
        Working space, for one value or more; what fits into it is read at once.

    Returns
    -------
    status : int
        0; the number of the error of the system; `TOO_SHORT` if the file ends before.
    position : int
        Where in the file that was.
    """
    cdef Py_ssize_t n = words.shape[0], n_fields = words.shape[1], n_columns = positions.shape[0]
    cdef Py_ssize_t start = 0, size, block = n, k
    cdef long long position = 0
    cdef int status = 0
    require(strides.shape[0] == n_columns and fields.shape[0] == n_columns, "strides, fields: one for each column")
    require(buffer.shape[0] >= sizeof(uint32_t), "buffer: 4 bytes or more")
    for k in range(n_columns):
        require(0 <= fields[k] < n_fields, "fields: those of the rows")
        require(sizeof(uint32_t) <= strides[k] <= FARTHEST // max(n, 1), "strides: 4 or more, within a file")
        require(0 <= positions[k] <= FARTHEST, "positions: not negative, within a file")
        block = min(block, <Py_ssize_t>((buffer.shape[0] - sizeof(uint32_t)) // strides[k]) + 1)
    with nogil:
        while start < n and status == 0:
            size = min(block, n - start)
            for k in range(n_columns):
                position = positions[k] + start * strides[k]
                status = read_piece(descriptor, &buffer[0], (size - 1) * strides[k] + sizeof(uint32_t), position)
                if status:
                    break
                unpack_column(&buffer[0], strides[k], size, &words[start, fields[k]], n_fields)
            start += size
    return status, position

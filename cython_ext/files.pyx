# SPDX-License-Identifier: GPL-2.0-or-later
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Kernel: many pieces of files into memory, without a step of Python for each."""

from libc.errno cimport EINTR, errno
from posix.types cimport off_t
from posix.unistd cimport pread
from bounded cimport require
from stopping cimport is_set

cdef long long FARTHEST = <long long>1 << 62

cdef enum:
    HALTED = -1
    ENDED = -2

#: What `read_pieces` returns instead of a number of an error.
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

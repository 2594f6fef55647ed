# SPDX-License-Identifier: GPL-2.0-or-later
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Kernel of the detection of sources: number the objects of a mask."""

from bounded cimport require

cdef Py_ssize_t LARGEST_INT = 0x7FFFFFFF


cdef inline int root_of(int *parents, int i) noexcept nogil:
    # Each pixel has the number of another one of its object, the first one its own; all from 1.
    while parents[i - 1] != i:
        parents[i - 1] = parents[parents[i - 1] - 1]
        i = parents[i - 1]
    return i


def label(const unsigned char[:, ::1] mask, int[:, ::1] labels):
    """Number the objects of a mask; pixels that share an edge are of one object.

    Parameters
    ----------
    mask : ndarray of uint8, shape (ny, nx)
        Not 0 in objects.
    labels : ndarray of int32, shape (ny, nx)
        Output: number of the object of each pixel, 0 for none. Numbered from 1 in the order of the first pixel, x
        fastest.

    Returns
    -------
    int
        Number of objects.
    """
    cdef Py_ssize_t ny = mask.shape[0], nx = mask.shape[1], x, y
    cdef int i, other, n = 0
    cdef int *parents
    require(labels.shape[0] == ny and labels.shape[1] == nx, "labels: one for each pixel")
    require(ny > 0 and nx > 0 and nx < LARGEST_INT // ny, "mask: one pixel or more, fewer than 2^31")
    parents = &labels[0, 0]
    with nogil:
        for y in range(ny):
            for x in range(nx):
                i = <int>(y * nx + x + 1)
                if not mask[y, x]:
                    parents[i - 1] = 0
                    continue
                parents[i - 1] = i
                if x > 0 and mask[y, x - 1]:
                    parents[i - 1] = root_of(parents, i - 1)
                if y > 0 and mask[y - 1, x]:
                    other, i = root_of(parents, i - <int>nx), root_of(parents, i)
                    parents[max(i, other) - 1] = min(i, other)
        for i in range(1, <int>(ny * nx) + 1):  # numbers are negative until there are no parents any more
            if parents[i - 1] == i:
                n += 1
                parents[i - 1] = -n
            elif parents[i - 1] > 0:
                parents[i - 1] = parents[parents[i - 1] - 1]
        for i in range(<int>(ny * nx)):
            parents[i] = -parents[i]
    return n

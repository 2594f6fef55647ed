# SPDX-License-Identifier: GPL-2.0-or-later
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Kernels on the planes of a cube: collapse into images, blanking of missing voxels."""

from cython.parallel cimport prange
from libc.math cimport NAN, isfinite
from libc.float cimport DBL_MAX, DBL_MIN
from bounded cimport index_below, require, require_threads, shaped


def add_planes(const float[:, :, ::1] data, const int[:, :, ::1] dq, const double[:, ::1] throughput,
               double[:, :, ::1] total, double[:, :, ::1] weight, int n_threads):
    """Add planes to the throughput-weighted sums of several filters.

    Parameters
    ----------
    data : ndarray of float32, shape (n_planes, ny, nx)
        Values; those that are not finite are left out.
    dq : ndarray of int32, shape (n_planes, ny, nx)
        Flags; flagged voxels are left out.
    throughput : ndarray of float64, shape (n_filters, n_planes)
        Throughput in each plane; planes with minus one are left out.
    total, weight : ndarray of float64, shape (n_filters, ny, nx)
        Sums of data times throughput, and of throughput; updated, plane by plane in ascending order.
    n_threads : int
        Number of threads.
    """
    cdef Py_ssize_t f, p, x, y, nx = data.shape[2], ny = data.shape[1]
    cdef double t
    require(shaped(dq.shape, data.shape[0], ny, nx), "dq: of the shape of data")
    require(throughput.shape[1] == data.shape[0], "throughput: a column for each plane")
    require(shaped(total.shape, throughput.shape[0], ny, nx), "total: an image for each filter")
    require(shaped(weight.shape, throughput.shape[0], ny, nx), "weight: an image for each filter")
    require_threads(n_threads)
    for y in prange(ny, nogil=True, num_threads=n_threads, schedule="static"):
        for p in range(data.shape[0]):
            for f in range(throughput.shape[0]):
                t = throughput[f, p]
                if t < 0:
                    continue
                for x in range(nx):
                    if dq[p, y, x] == 0 and isfinite(data[p, y, x]):
                        total[f, y, x] += data[p, y, x] * t
                        weight[f, y, x] += t


def divide(const double[:, ::1] total, const double[:, ::1] weight, float[:, ::1] image):
    """Write total / weight to `image` (float32), NaN where the weight is not a normal number."""
    cdef Py_ssize_t x, y
    cdef double w
    require(shaped(weight.shape, total.shape[0], total.shape[1]), "weight: of the shape of total")
    require(shaped(image.shape, total.shape[0], total.shape[1]), "image: of the shape of total")
    for y in range(total.shape[0]):
        for x in range(total.shape[1]):
            w = weight[y, x] if weight[y, x] > 0 else -weight[y, x]
            image[y, x] = <float>(total[y, x] / weight[y, x]) if DBL_MIN <= w <= DBL_MAX else NAN


def blank(float[:, :, ::1] data, float[:, :, ::1] stat, const int[:, :, ::1] dq, int n_threads):
    """Set `data` and `stat` to NaN where `dq` is not zero."""
    cdef Py_ssize_t p, x, y
    require(shaped(stat.shape, data.shape[0], data.shape[1], data.shape[2]), "stat: of the shape of data")
    require(shaped(dq.shape, data.shape[0], data.shape[1], data.shape[2]), "dq: of the shape of data")
    require_threads(n_threads)
    for p in prange(data.shape[0], nogil=True, num_threads=n_threads, schedule="static"):
        for y in range(data.shape[1]):
            for x in range(data.shape[2]):
                if dq[p, y, x] != 0:
                    data[p, y, x] = NAN
                    stat[p, y, x] = NAN


def add_histogram(const float[:, :, ::1] values, const int[:, :, ::1] dq, double width, long long[::1] counts):
    """Count the values of unflagged voxels.

    Parameters
    ----------
    values : ndarray of float32, shape (n_planes, ny, nx)
        Values.
    dq : ndarray of int32, shape (n_planes, ny, nx)
        Flags; flagged voxels are left out.
    width : float
        Width of a bin; the first one starts at 0.
    counts : ndarray of int64, shape (n,)
        Number in each bin; updated. Values outside 0...(n - 1) * width, and NaN, are left out.
    """
    cdef Py_ssize_t p, x, y
    cdef Py_ssize_t last = counts.shape[0] - 1
    cdef double limit = last * width
    require(last >= 0, "counts: one or more")
    require(shaped(dq.shape, values.shape[0], values.shape[1], values.shape[2]), "dq: of the shape of values")
    with nogil:
        for p in range(values.shape[0]):
            for y in range(values.shape[1]):
                for x in range(values.shape[2]):
                    if dq[p, y, x] == 0 and 0 <= values[p, y, x] <= limit:
                        counts[index_below(values[p, y, x] / width, last)] += 1

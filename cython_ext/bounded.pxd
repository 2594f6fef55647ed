# SPDX-License-Identifier: GPL-2.0-or-later
# What guards kernels against numbers and arrays that they are not made for.

cdef extern from "bounded.h" nogil:
    double bounded "muse_bounded"(double x, double last)
    Py_ssize_t index_below "muse_index_below"(double x, Py_ssize_t last)
    Py_ssize_t nearest_index "muse_nearest_index"(double x, Py_ssize_t last)


cdef inline int require(bint condition, str expected) except -1:
    # Once a call: arrays are of the shapes, and numbers in the range, that the loops rely on.
    if not condition:
        raise ValueError("expected " + expected)
    return 0


cdef enum:
    MOST_THREADS = 1024  # muse_core.engine.threads.MOST_THREADS; OpenMP ends the process if it cannot start so many


cdef inline int require_threads(int n_threads) except -1:
    return require(0 < n_threads <= MOST_THREADS, "n_threads: 1...1024")


cdef inline bint shaped(const Py_ssize_t *shape, Py_ssize_t a, Py_ssize_t b=-1, Py_ssize_t c=-1,
                        Py_ssize_t d=-1) noexcept nogil:
    # Is the shape of an array (a, b, c, d), as far as they are given?
    return shape[0] == a and (b < 0 or shape[1] == b) and (c < 0 or shape[2] == c) and (d < 0 or shape[3] == d)

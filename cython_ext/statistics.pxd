# SPDX-License-Identifier: GPL-2.0-or-later
# cython: cdivision=True
# Exact order statistics of small arrays.


cdef inline double kth_smallest(double *v, Py_ssize_t n, Py_ssize_t k) noexcept nogil:
    # Hoare's selection; rearranges v so that v[k] is in its sorted place and nothing before it is larger.
    cdef Py_ssize_t low = 0, high = n - 1, i, j
    cdef double pivot, t
    while low < high:
        pivot = v[k]
        i = low
        j = high
        while i <= j:
            while v[i] < pivot:
                i += 1
            while pivot < v[j]:
                j -= 1
            if i <= j:
                t = v[i]
                v[i] = v[j]
                v[j] = t
                i += 1
                j -= 1
        if j < k:
            low = i
        if k < i:
            high = j
    return v[k]


cdef inline double median(double *v, Py_ssize_t n) noexcept nogil:
    # Median of n > 0 numbers (no NaN), rearranged; for even n, of the two middle ones a <= b, a + (b - a) / 2.
    cdef Py_ssize_t i
    cdef double upper = kth_smallest(v, n, n // 2), lower
    if n % 2:
        return upper
    lower = v[0]
    for i in range(1, n // 2):
        if v[i] > lower:
            lower = v[i]
    return lower + (upper - lower) / 2

# SPDX-License-Identifier: GPL-2.0-or-later
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Kernel: smoothing of a spectrum by polynomials fitted to the neighbourhood of each point.

The arithmetic is the reference's, to the last bit where long double has 80 bits: powers about the mean wavelength, sums
in order, normal equations by Cholesky, coefficients moved to wavelength 0 in double, evaluation in long double. Moving
costs digits (values are good to 1e-10), which is why a better-conditioned fit would show in the float32 data.
"""

from cython.parallel cimport prange, threadid
from libc.math cimport fabs, sqrt
from bounded cimport require, require_threads

cdef enum:
    TERMS = 4  # of a cubic
    MOMENTS = 7

cdef double SMALLEST = 2.2250738585072014e-308


cdef void fit(
    const double* x, const double* y, const unsigned char* used, Py_ssize_t n, int terms, double* c
) noexcept nogil:
    """Write the coefficients of the polynomial with `terms` terms through the used points to `c`."""
    cdef double sums[MOMENTS]
    cdef double right[TERMS]
    cdef double root[TERMS][TERMS]
    cdef double mean = 0, d, power, s
    cdef Py_ssize_t m, count = 0
    cdef int i, j, k
    for m in range(n):
        if used[m]:
            count += 1
            mean += (x[m] - mean) / count
    for i in range(MOMENTS):
        sums[i] = 0
    for i in range(TERMS):
        right[i] = 0
        c[i] = 0
    for m in range(n):
        if used[m]:
            d = x[m] - mean
            power = 1
            for i in range(2 * terms - 1):
                sums[i] += power
                if i < terms:
                    right[i] += power * y[m]
                power *= d
    for i in range(terms):
        for j in range(i, terms):
            s = sums[i + j]
            for k in range(i - 1, -1, -1):
                s -= root[i][k] * root[j][k]
            root[j][i] = sqrt(s) if i == j else s / root[i][i]
    for i in range(terms):
        s = right[i]
        for k in range(i - 1, -1, -1):
            s -= root[i][k] * c[k]
        c[i] = s / root[i][i]
    for i in range(terms - 1, -1, -1):
        s = c[i]
        for k in range(i + 1, terms):
            s -= root[k][i] * c[k]
        c[i] = s / root[i][i]
    for j in range(terms - 1):
        for i in range(terms - 2, j - 1, -1):
            c[i] -= mean * c[i + 1]


cdef inline double evaluate(const double* c, double x) noexcept nogil:
    cdef long double value = c[TERMS - 1], wide = x
    cdef int i
    for i in range(TERMS - 2, -1, -1):
        value = value * wide + c[i]
    return <double>value


cdef double smoothed(const double* lbda, const double* values, Py_ssize_t n, Py_ssize_t i, Py_ssize_t half,
                     double rejection, unsigned char* used, double* residuals) noexcept nogil:
    cdef Py_ssize_t first = i - half if i > half else 0, m, count = 0
    cdef Py_ssize_t size = min(i + half + 1, n) - first, left = size
    cdef double c[TERMS]
    cdef double limit
    for m in range(size):
        used[m] = 1
    while left != count:
        count = left
        fit(&lbda[first], &values[first], used, size, min(TERMS, <int>count), c)
        limit = 0
        for m in range(size):
            if used[m]:
                residuals[m] = values[first + m] - evaluate(c, lbda[first + m])
                limit += residuals[m] * residuals[m]
        limit = rejection * max(sqrt(limit / count), SMALLEST)
        for m in range(size):
            if used[m] and fabs(residuals[m]) >= limit:
                used[m] = 0
                left -= 1
    return evaluate(c, lbda[i])


def smooth_locally(
    const double[::1] lbda,
    const double[::1] values,
    Py_ssize_t half,
    double rejection,
    unsigned char[:, ::1] used,
    double[:, ::1] residuals,
    double[::1] out,
    int n_threads,
):
    """Replace each value by a cubic polynomial through its neighbours, without outliers.

    Parameters
    ----------
    lbda, values : ndarray of float64, shape (n,)
        Wavelength in Angstrom, ascending, and values.
    half : int
        Number of neighbours to each side, fewer at the ends.
    rejection : float
        Points that are this many times the rms from the fit are dropped, and the rest is fitted again, until none is.
    used : ndarray of uint8, shape (n_threads, 2 * half + 1)
        Working space.
    residuals : ndarray of float64, shape (n_threads, 2 * half + 1)
        Working space.
    out : ndarray of float64, shape (n,)
        Smoothed values.
    n_threads : int
        Number of threads.
    """
    cdef Py_ssize_t n = values.shape[0], i
    cdef int thread
    require(lbda.shape[0] == n and out.shape[0] == n, "lbda, values, out: of the same length")
    require(0 <= half < used.shape[1] and used.shape[1] - half > half, "used: room for 2 half + 1 points")
    require_threads(n_threads)
    require(used.shape[0] == n_threads and residuals.shape[0] == n_threads and residuals.shape[1] == used.shape[1],
            "used, residuals: of the same shape, a row for each thread")
    for i in prange(n, nogil=True, num_threads=n_threads, schedule="dynamic", chunksize=16):
        thread = threadid()
        out[i] = smoothed(&lbda[0], &values[0], n, i, half, rejection, &used[thread, 0], &residuals[thread, 0])

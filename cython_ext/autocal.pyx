# SPDX-License-Identifier: GPL-2.0-or-later
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Kernels of the slice autocalibration: sums by detector column, clipped means, application of factors."""

from libc.math cimport NAN, fabs, sqrt
from libc.stdint cimport int32_t, uint8_t

from bounded cimport require, shaped
from rows_types cimport IFU_MASK, IFU_SHIFT, N_IFU, N_SLICE, SLICE_MASK, X_MASK, X_SHIFT, row_t

cdef enum:
    N_COLUMN = X_MASK + 1
    MIN_SLICE_ROWS = 100  # a slice needs more rows than this,
    MIN_COLUMN_ROWS = 50  # a column more than this,
    MIN_COLUMNS = 20  # at least this many columns, and more than this after clipping
    COLUMN_NSTOP = 15  # clipping of columns stops before fewer than this are left
    MAX_CLIPS = 15

cdef double CLIP_SIGMA = 3.0
cdef double MAD_TO_SIGMA = 1.4826
cdef double RAMAN_O2 = 6483.8, RAMAN_N2 = 6826.5


cdef inline Py_ssize_t find_bin(float lbda, const float[::1] edges, Py_ssize_t last) noexcept nogil:
    """Bin b with edges[b] <= lbda < edges[b + 1], -1 if there is none; `last` is tried first."""
    cdef Py_ssize_t b
    if edges[last] <= lbda and lbda < edges[last + 1]:
        return last
    for b in range(edges.shape[0] - 1):
        if edges[b] <= lbda and lbda < edges[b + 1]:
            return b
    return -1


cdef inline bint locate(unsigned int origin, Py_ssize_t *ifu, Py_ssize_t *islice) noexcept nogil:
    """Zero-based IFU and slice of `origin`; False if there are no such ones."""
    ifu[0] = <Py_ssize_t>((origin >> IFU_SHIFT) & IFU_MASK) - 1
    islice[0] = <Py_ssize_t>(origin & SLICE_MASK) - 1
    return 0 <= ifu[0] < N_IFU and 0 <= islice[0] < N_SLICE


cdef int require_bins(const double[:, :, :, ::1] sums, const int32_t[:, :, :, ::1] counts, Py_ssize_t n_bin) except -1:
    require(shaped(sums.shape, N_IFU, N_SLICE, n_bin, N_COLUMN), "sums: of shape (24, 48, n_bin, 128)")
    return require(shaped(counts.shape, N_IFU, N_SLICE, n_bin, N_COLUMN), "counts: of shape (24, 48, n_bin, 128)")


def add_columns(
    const row_t[::1] rows,
    const uint8_t[::1] selected,
    const float[::1] edges,
    double exclude_raman,
    double[:, :, :, ::1] sums,
    int32_t[:, :, :, ::1] counts,
):
    """Add the values of selected rows to the sums of their IFU, slice, wavelength bin and detector column.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n,)
        Rows in any order; the order is that of the summation.
    selected : ndarray of uint8, shape (n,), or None
        Rows to use (non-zero); None: all.
    edges : ndarray of float32, shape (n_bin + 1,)
        Limits of the wavelength bins in Angstrom; bin b holds edges[b] <= lbda < edges[b + 1].
    exclude_raman : float
        Rows nearer than this to the Raman lines of O2 and N2 are left out, in Angstrom; 0: none.
    sums : ndarray of float64, shape (24, 48, n_bin, 128)
        Updated. Calls with rows of different slices may run at the same time.
    counts : ndarray of int32, shape (24, 48, n_bin, 128)
        Updated likewise.
    """
    cdef Py_ssize_t i, b = 0, found, ifu = 0, islice = 0, column
    cdef bint every = selected is None
    cdef float lbda
    require(every or selected.shape[0] == rows.shape[0], "selected: one element for each row")
    require(edges.shape[0] > 1, "edges: two or more")
    require_bins(sums, counts, edges.shape[0] - 1)
    with nogil:
        for i in range(rows.shape[0]):
            if not every and not selected[i]:
                continue
            lbda = rows[i].lbda
            found = find_bin(lbda, edges, b)
            if found < 0 or not locate(rows[i].origin, &ifu, &islice):
                continue
            b = found
            if fabs(lbda - RAMAN_O2) < exclude_raman or fabs(lbda - RAMAN_N2) < exclude_raman:
                continue
            column = (rows[i].origin >> X_SHIFT) & X_MASK
            sums[ifu, islice, b, column] += rows[i].data
            counts[ifu, islice, b, column] += 1


cdef inline bint before(float a, float b) noexcept nogil:
    """a < b with NaN behind everything."""
    return a < b or (b != b and a == a)


cdef float select_nth(float *v, Py_ssize_t n, Py_ssize_t k) noexcept nogil:
    """The k-th smallest of `v`, which is partitioned around it."""
    cdef Py_ssize_t low = 0, high = n - 1, i, j
    cdef float pivot, swap
    while low < high:
        pivot = v[(low + high) // 2]
        i = low
        j = high
        while i <= j:
            while before(v[i], pivot):
                i += 1
            while before(pivot, v[j]):
                j -= 1
            if i <= j:
                swap = v[i]
                v[i] = v[j]
                v[j] = swap
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            break
    return v[k]


cdef double median(float *v, Py_ssize_t n) noexcept nogil:
    """Median of n > 0 values, which are permuted; the mean of the central two if n is even."""
    cdef Py_ssize_t i, half = n // 2
    cdef float high = select_nth(v, n, half), low
    if n % 2:
        return high
    low = v[0]
    for i in range(1, half):
        if before(low, v[i]):
            low = v[i]
    return 0.5 * (<double>low + <double>high)


cdef Py_ssize_t clip(
    float *v, float *scratch, Py_ssize_t n, Py_ssize_t nstop, bint by_mad, double *mean, double *spread
) noexcept nogil:
    """Clip `v` in place (see `clipped_mean`); returns the number of values behind `mean` and `spread`."""
    cdef Py_ssize_t i, kept, clips = 0
    cdef double total, middle, low, high
    while True:
        total = 0.0
        for i in range(n):
            total += v[i]
            scratch[i] = v[i]
        mean[0] = total / n
        middle = median(scratch, n)
        if by_mad:
            for i in range(n):
                scratch[i] = <float>fabs(v[i] - middle)
            spread[0] = MAD_TO_SIGMA * median(scratch, n)
        else:
            total = 0.0
            for i in range(n):
                total += (v[i] - mean[0]) * (v[i] - mean[0])
            spread[0] = sqrt(total / n)
        if clips == MAX_CLIPS:
            return n
        low = middle - CLIP_SIGMA * spread[0]
        high = middle + CLIP_SIGMA * spread[0]
        kept = 0
        for i in range(n):
            if low < v[i] and v[i] < high:
                v[kept] = v[i]
                kept += 1
        if kept < nstop or kept == n:
            return n
        n = kept
        clips += 1


def clipped_mean(float[::1] values, float[::1] scratch, Py_ssize_t nstop, bint by_mad):
    """Mean and spread of values after clipping at 3 times the spread around the median.

    The spread is 1.4826 times the median absolute deviation, or the standard deviation around the mean. Clipping ends
    when nothing is clipped, before fewer than `nstop` values would be left, or after 15 times.

    Parameters
    ----------
    values : ndarray of float32, shape (n,)
        At least one value; overwritten. NaN is clipped.
    scratch : ndarray of float32, shape (n,)
        Work space.
    nstop : int
        Smallest number of values to be left.
    by_mad : bool
        Whether the spread comes from the median absolute deviation.

    Returns
    -------
    mean, spread : float
        Of the remaining values.
    n : int
        Their number.
    """
    cdef double mean, spread
    cdef Py_ssize_t n
    require(values.shape[0] > 0, "values: one or more")
    require(scratch.shape[0] >= values.shape[0], "scratch: room for all values")
    n = clip(&values[0], &scratch[0], values.shape[0], max(nstop, 1), by_mad, &mean, &spread)
    return mean, spread, n


def slice_fluxes(
    const double[:, :, :, ::1] sums, const int32_t[:, :, :, ::1] counts, float[:, :, ::1] flux, int32_t[:, :, ::1] npts
):
    """Compute the flux of each slice in each wavelength bin: the clipped mean of the means of its detector columns.

    Parameters
    ----------
    sums : ndarray of float64, shape (24, 48, n_bin, 128)
        Sums of values by IFU, slice, bin and column, as made by `add_columns`.
    counts : ndarray of int32, shape (24, 48, n_bin, 128)
        Numbers of values.
    flux : ndarray of float32, shape (n_bin, 24, 48)
        Set; NaN without at least 101 rows, 20 columns of 51 rows, and 21 columns after clipping.
    npts : ndarray of int32, shape (n_bin, 24, 48)
        Set to the number of rows.
    """
    cdef Py_ssize_t b, ifu, islice, column, n
    cdef double mean, spread
    cdef float means[N_COLUMN]
    cdef float scratch[N_COLUMN]
    require_bins(sums, counts, flux.shape[0])
    require(shaped(flux.shape, flux.shape[0], N_IFU, N_SLICE), "flux: of shape (n_bin, 24, 48)")
    require(shaped(npts.shape, flux.shape[0], N_IFU, N_SLICE), "npts: of shape (n_bin, 24, 48)")
    with nogil:
        for ifu in range(sums.shape[0]):
            for islice in range(sums.shape[1]):
                for b in range(sums.shape[2]):
                    npts[b, ifu, islice] = 0
                    n = 0
                    for column in range(N_COLUMN):
                        npts[b, ifu, islice] += counts[ifu, islice, b, column]
                        if counts[ifu, islice, b, column] > MIN_COLUMN_ROWS:
                            means[n] = <float>(sums[ifu, islice, b, column] / counts[ifu, islice, b, column])
                            n += 1
                    flux[b, ifu, islice] = NAN
                    if npts[b, ifu, islice] > MIN_SLICE_ROWS and n >= MIN_COLUMNS:
                        if clip(means, scratch, n, COLUMN_NSTOP, True, &mean, &spread) > MIN_COLUMNS:
                            flux[b, ifu, islice] = <float>mean


def apply_factors(row_t[::1] rows, const float[::1] edges, const float[:, :, ::1] factors):
    """Multiply values by the factor of their wavelength bin, IFU and slice, variances by its square; in place.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n,)
        Rows in any order; those outside all bins stay as they are.
    edges : ndarray of float32, shape (n_bin + 1,)
        Limits of the bins in Angstrom.
    factors : ndarray of float32, shape (n_bin, 24, 48)
        Factors.
    """
    cdef Py_ssize_t i, b = 0, found, ifu = 0, islice = 0
    cdef float factor, square
    require(edges.shape[0] > 1, "edges: two or more")
    require(shaped(factors.shape, edges.shape[0] - 1, N_IFU, N_SLICE), "factors: of shape (n_bin, 24, 48)")
    with nogil:
        for i in range(rows.shape[0]):
            found = find_bin(rows[i].lbda, edges, b)
            if found < 0 or not locate(rows[i].origin, &ifu, &islice):
                continue
            b = found
            factor = factors[b, ifu, islice]
            square = factor * factor
            rows[i].data = rows[i].data * factor
            rows[i].stat = rows[i].stat * square

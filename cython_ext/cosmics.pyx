# SPDX-License-Identifier: GPL-2.0-or-later
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Cosmic-ray rejection in the cells of the output grid.

A row is a cosmic ray if its value exceeds a limit from the rows of the neighbouring cells. The limit depends on the
values only, not on flags set meanwhile, so the result does not depend on the order of work.
"""

from cython.parallel cimport prange, threadid
from libc.math cimport INFINITY, fabs, sqrt
from libc.string cimport memcpy
from grid_types cimport cell_row_t
from statistics cimport median

cdef enum:
    COSMIC_RAY = 32   # muse_core.model.dq.DQ.COSMIC_RAY
    SPAN = 8          # values copied at once, and the padding that this needs
    N_BINS = 32

# muse_core.steps.resample.options: the values of CrType and CrDirection
cpdef enum:
    IRAF = 0
    MEAN = 1
    MEDIAN = 2

cpdef enum:
    ALL = 0
    ALONG_X = 1
    ALONG_Y = 2


cdef struct neighbourhood_t:
    const int *offsets
    int nx
    int ny
    int n_planes
    int direction


def usable_values(const cell_row_t[::1] cells, Py_ssize_t n, bint variance, float[::1] out, int n_threads):
    """Copy the values that may enter the statistics.

    Parameters
    ----------
    cells : ndarray of CELL_ROW, shape (>= n,)
        Sorted rows.
    n : int
        Number of rows.
    variance : bool
        Copy `stat` instead of `data`.
    out : ndarray of float32, shape (>= n + 8,)
        Output; rows with flags other than the cosmic-ray flag become minus infinity.
    n_threads : int
        Number of threads.
    """
    cdef Py_ssize_t k
    for k in prange(n, nogil=True, num_threads=n_threads, schedule="static"):
        if cells[k].dq == 0 or cells[k].dq == COSMIC_RAY:
            out[k] = cells[k].stat if variance else cells[k].data
        else:
            out[k] = -INFINITY
    for k in range(n, n + SPAN):
        out[k] = 0


cdef inline Py_ssize_t append_span(const float *values, const int *offsets, Py_ssize_t first, Py_ssize_t last,
                                   float *out, Py_ssize_t n) noexcept nogil:
    # Append the values of the cells first...last - 1, which are neighbours in x.
    cdef Py_ssize_t start = offsets[first], count = offsets[last] - start
    if count <= SPAN:
        memcpy(out + n, values + start, SPAN * sizeof(float))
    else:
        memcpy(out + n, values + start, count * sizeof(float))
    return n + count


cdef inline Py_ssize_t gather(const neighbourhood_t *g, const float *values, Py_ssize_t i, Py_ssize_t j, Py_ssize_t plane,
                              float *out) noexcept nogil:
    # Values of the neighbourhood of a cell, usable or not; returns their number.
    cdef Py_ssize_t n = 0, p, q, at
    cdef Py_ssize_t x0 = max(i - 1, 0), x1 = min(i + 2, g.nx)
    for p in range(max(plane - 1, 0), min(plane + 2, g.n_planes)):
        for q in range(max(j - 1, 0), min(j + 2, g.ny)):
            at = (p * g.ny + q) * g.nx
            if g.direction == ALL or (g.direction == ALONG_X and q != j):
                n = append_span(values, g.offsets, at + x0, at + x1, out, n)
            elif g.direction == ALONG_X:
                if p == plane:
                    n = append_span(values, g.offsets, at + i, at + i + 1, out, n)
            else:
                if i > 0:
                    n = append_span(values, g.offsets, at + i - 1, at + i, out, n)
                if p == plane and q == j:
                    n = append_span(values, g.offsets, at + i, at + i + 1, out, n)
                if i + 1 < g.nx:
                    n = append_span(values, g.offsets, at + i + 1, at + i + 2, out, n)
    return n


cdef inline Py_ssize_t drop_unusable(float *v, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i, kept = 0
    for i in range(n):
        v[kept] = v[i]
        kept += v[i] != -INFINITY
    return kept


cdef inline bint surely_below_limit(const float *v, Py_ssize_t n, float x, double sigma) noexcept nogil:
    # True only if x is not above median + sigma * MAD of v. Two exact arguments:
    # (1) if more than half of the values are >= x, so is the median;
    # (2) a rejection needs half of the values closer to the median m than t = (x - m) / sigma, that is, in a window of
    #     width 2 t <= 2 (x - lowest) / sigma: three neighbouring bins of half that width must hold half of them.
    cdef Py_ssize_t i, above = 0, half = (n + 1) // 2
    cdef int bins[N_BINS + 2]
    cdef int b
    cdef float lowest = x, scale
    for i in range(n):
        above += v[i] >= x
        lowest = v[i] if v[i] < lowest else lowest
    if above > n // 2:
        return True
    if not sigma >= 1 or not x > lowest:
        return False
    # the margin keeps rounding from spreading a window over a fourth bin
    scale = <float>(min(sigma, <double>(N_BINS - 2)) * (1 - 1e-4) / (x - <double>lowest))
    for b in range(N_BINS + 2):
        bins[b] = 0
    for i in range(n):
        if v[i] < x:
            bins[<int>((v[i] - lowest) * scale)] += 1
    for b in range(N_BINS):
        if bins[b] + bins[b + 1] + bins[b + 2] >= half:
            return False
    return True


cdef inline double limit_median(const float *v, Py_ssize_t n, float x, double sigma, double *work) noexcept nogil:
    # The limit, or infinity where it is certainly not below x.
    cdef Py_ssize_t i, close = 0
    cdef double centre, reach
    for i in range(n):
        if v[i] != v[i]:
            return INFINITY  # as the other kinds, whose limit is NaN then
        work[i] = v[i]
    centre = median(work, n)
    if not x > centre:
        return INFINITY
    if sigma >= 1:
        reach = (x - centre) / sigma * (1 + 1e-9)
        for i in range(n):
            close += fabs(v[i] - centre) < reach
        if close < (n + 1) // 2:
            return INFINITY
    for i in range(n):
        work[i] = fabs(v[i] - centre)
    return centre + sigma * median(work, n)


cdef inline double limit_mean(const float *v, Py_ssize_t n, double sigma) noexcept nogil:
    cdef Py_ssize_t i
    cdef double mean = 0, spread = 0, delta
    for i in range(n):
        delta = v[i] - mean
        spread += i * delta * (delta / (i + 1))
        mean += delta / (i + 1)
    return mean + sigma * sqrt(spread / (n - 1))


cdef inline double limit_iraf(const float *v, const float *variance, Py_ssize_t n, double sigma) noexcept nogil:
    cdef Py_ssize_t i
    cdef double total = 0, total_variance = 0
    for i in range(n):
        total += v[i]
        total_variance += variance[i]
    return total / n + sigma * (sqrt(total_variance) / n)


cdef struct sample_t:
    const float *values      # of all rows of the slab
    const float *variances   # NULL unless needed
    float *neighbours        # scratch
    float *neighbour_variances
    double *work


cdef inline double limit_of(const neighbourhood_t *g, const sample_t *s, int kind, double sigma, float x, Py_ssize_t i,
                            Py_ssize_t j, Py_ssize_t plane) noexcept nogil:
    # The limit for a cell whose largest value is x; infinity where it is certainly not below x.
    cdef Py_ssize_t n = drop_unusable(s.neighbours, gather(g, s.values, i, j, plane, s.neighbours))
    if n < 3:
        return INFINITY
    if kind == MEDIAN:
        if surely_below_limit(s.neighbours, n, x, sigma):
            return INFINITY
        return limit_median(s.neighbours, n, x, sigma, s.work)
    if kind == MEAN:
        return limit_mean(s.neighbours, n, sigma)
    drop_unusable(s.neighbour_variances, gather(g, s.variances, i, j, plane, s.neighbour_variances))
    return limit_iraf(s.neighbours, s.neighbour_variances, n, sigma)


cdef Py_ssize_t reject_plane(const neighbourhood_t *g, const sample_t *s, int kind, double sigma, cell_row_t *cells,
                             Py_ssize_t plane, int *flagged) noexcept nogil:
    cdef Py_ssize_t i, j, k, n_flagged = 0
    cdef const int *offsets
    cdef float x
    cdef double limit
    for j in range(g.ny):
        offsets = g.offsets + (plane * g.ny + j) * g.nx
        for i in range(g.nx):
            if offsets[i] == offsets[i + 1]:
                continue
            x = -INFINITY
            for k in range(offsets[i], offsets[i + 1]):
                x = cells[k].data if cells[k].data > x else x
            limit = limit_of(g, s, kind, sigma, x, i, j, plane)
            if not x > limit:
                continue
            for k in range(offsets[i], offsets[i + 1]):
                if cells[k].data > limit:
                    if not cells[k].dq & COSMIC_RAY:
                        flagged[n_flagged] = cells[k].row
                        n_flagged += 1
                    cells[k].dq |= COSMIC_RAY
    return n_flagged


def reject(cell_row_t[::1] cells, const int[::1] offsets, const float[::1] values, const float[::1] variances, int nx, int ny,
           int first, int last, int kind, int direction, double sigma, const long long[::1] plane_starts,
           int[::1] flagged, long long[::1] n_flagged, float[:, ::1] neighbours, double[:, ::1] work, int n_threads):
    """Flag the cosmic rays of some planes of a slab.

    Parameters
    ----------
    cells : ndarray of CELL_ROW, shape (n,)
        Sorted rows; the cosmic-ray flag is added to `dq`.
    offsets : ndarray of int32, shape (n_planes * ny * nx + 1,)
        Where each cell starts.
    values, variances : ndarray of float32, shape (>= n + 8,)
        From `usable_values`; `variances` is used by kind IRAF only.
    nx, ny : int
        Size of a plane.
    first, last : int
        Planes to test (indices into the slab), `last` excluded; the others are neighbours only.
    kind : int
        IRAF, MEAN or MEDIAN.
    direction : int
        Neighbourhood: ALL 27 cells; ALONG_X or ALONG_Y without the other cells of the same row or column.
    sigma : float
        Rejection threshold.
    plane_starts : ndarray of int64, shape (n_planes + 1,)
        Where each plane starts in `cells`.
    flagged : ndarray of int32, shape (n,)
        Output: for each plane p, from ``plane_starts[p]`` on, the rows newly flagged (``cells[].row``).
    n_flagged : ndarray of int64, shape (n_planes,)
        Output: how many.
    neighbours, work : ndarray of float32 and float64, shape (2 * n_threads, m) and (n_threads, m)
        Scratch; `m` at least 8 plus the number of rows in any 27 neighbouring cells.
    n_threads : int
        Number of threads.
    """
    cdef int plane
    cdef neighbourhood_t g
    cdef sample_t sample
    g.offsets = &offsets[0]
    g.nx = nx
    g.ny = ny
    g.n_planes = (offsets.shape[0] - 1) // (nx * ny)
    g.direction = direction
    for plane in prange(first, last, nogil=True, num_threads=n_threads, schedule="static"):
        sample = make_sample(values, variances, neighbours, work, threadid())
        n_flagged[plane] = reject_plane(&g, &sample, kind, sigma, &cells[0], plane, &flagged[plane_starts[plane]])


cdef inline sample_t make_sample(const float[::1] values, const float[::1] variances, float[:, ::1] neighbours,
                                 double[:, ::1] work, int thread) noexcept nogil:
    cdef sample_t s
    s.values = &values[0]
    s.variances = &variances[0]
    s.neighbours = &neighbours[2 * thread, 0]
    s.neighbour_variances = &neighbours[2 * thread + 1, 0]
    s.work = &work[thread, 0]
    return s

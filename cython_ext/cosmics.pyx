# SPDX-License-Identifier: GPL-2.0-or-later
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Cosmic-ray rejection in the cells of the output grid.

A row is a cosmic ray if its value exceeds a limit from the rows of the neighbouring cells. The limit depends on the
values only, not on flags set meanwhile, so the result does not depend on the order of work.
"""

from cython.parallel cimport prange, threadid
from libc.math cimport INFINITY, fabs, sqrt
from libc.string cimport memcpy, memset
from grid_types cimport cell_row_t
from bounded cimport require, require_threads
from rows_types cimport COSMIC_RAY
from statistics cimport median
from stopping cimport is_set
from strips cimport first_cell, first_row, strips_of, strips_t

cdef extern from "quicktest.h" nogil:
    int SURELY_BELOW "MUSE_SURELY_BELOW"
    int UNUSABLE_INSIDE "MUSE_UNUSABLE_INSIDE"
    int quick_test "muse_quick_test"(float *v, Py_ssize_t n, float x, double sigma)
    int narrow_test "muse_narrow_test"(const float *v, Py_ssize_t n, float x, double sigma)

cdef extern from "rowtest.h" nogil:
    int ROW_BINS "MUSE_ROW_BINS"
    double ROW_WIDTH "MUSE_ROW_WIDTH"
    Py_ssize_t ROW_MOST "MUSE_ROW_MOST"
    ctypedef struct row_bins_t "muse_row_bins":
        float low
        float per_bin
    ctypedef struct row_cells_t "muse_row_cells":
        float *largest
        short *own
        short *below
    Py_ssize_t row_stride "muse_row_stride"(Py_ssize_t nx)
    void count_row "muse_count_row"(const int *offsets, const float *values, Py_ssize_t nx, Py_ssize_t n_spaxels,
                                    int n_planes, const row_bins_t *bins, short *counts)
    void look_at_row "muse_look_at_row"(const short *before, const short *own, const short *after, Py_ssize_t nx,
                                        int middle, double sigma, const row_bins_t *bins, const row_cells_t *cells)
    Py_ssize_t next_not_below "muse_next_not_below"(const short *below, Py_ssize_t x, Py_ssize_t nx)

cdef enum:
    PADDING = 16  # values that may be read or written beyond the last one
    LOOKED_AT = 127  # values from which the bins of a strip are laid out

# the kinds and neighbourhoods, as muse_core.steps.resample numbers them
cdef enum:
    IRAF = 0
    MEAN = 1
    MEDIAN = 2

cdef enum:
    ALL = 0
    ALONG_X = 1
    ALONG_Y = 2


cdef Py_ssize_t LARGEST_INT = 0x7FFFFFFF


cdef struct merged_t:
    # Values of a row of the grid in three neighbouring planes together: cell by cell.
    int *starts        # [nx + 1]
    float *values
    float *variances   # NULL unless needed
    short *counts      # of the values in bins


cdef struct neighbourhood_t:
    const int *offsets        # of the slab
    const float *values
    const float *variances    # NULL unless needed
    int nx
    int ny
    int n_planes
    int direction
    merged_t merged[3]        # row y is number y modulo 3
    float *sample             # values around a cell
    float *sample_variances
    double *work
    bint counts_only          # values of cells are in bins, not merged
    row_bins_t bins
    short *no_counts          # of a row without values
    row_cells_t row           # that is looked at


cdef inline void copy_some(float *target, const float *source, Py_ssize_t n, Py_ssize_t usual) noexcept nogil:
    # Copy n values; where n is not larger than usual (a constant) always that many, which is faster.
    if n <= usual:
        memcpy(target, source, usual * sizeof(float))
    else:
        memcpy(target, source, n * sizeof(float))


cdef inline Py_ssize_t collect(const neighbourhood_t *g, Py_ssize_t y, Py_ssize_t plane, Py_ssize_t x, float *values,
                               float *variances) noexcept nogil:
    # Copy the values of a cell and those of the planes around it.
    cdef Py_ssize_t p, start, count, n = 0, stride = <Py_ssize_t>g.nx * g.ny
    cdef const int *offsets = g.offsets + y * g.nx + x
    for p in range(max(plane - 1, 0), min(plane + 2, g.n_planes)):
        start = offsets[p * stride]
        count = offsets[p * stride + 1] - start
        copy_some(values + n, g.values + start, count, 4)
        if variances != NULL:
            copy_some(variances + n, g.variances + start, count, 4)
        n += count
    return n


cdef void merge_planes(const neighbourhood_t *g, merged_t *m, Py_ssize_t y, Py_ssize_t plane) noexcept nogil:
    # Collect row y of the planes around plane.
    cdef Py_ssize_t x, n = 0
    for x in range(g.nx):
        m.starts[x] = <int>n
        n += collect(g, y, plane, x, m.values + n, NULL if m.variances == NULL else m.variances + n)
    m.starts[g.nx] = <int>n


cdef inline Py_ssize_t append(const neighbourhood_t *g, const float *values, const float *variances, Py_ssize_t start,
                              Py_ssize_t end, Py_ssize_t n) noexcept nogil:
    copy_some(g.sample + n, values + start, end - start, 16)
    if g.variances != NULL:
        copy_some(g.sample_variances + n, variances + start, end - start, 16)
    return n + end - start


cdef inline Py_ssize_t append_cells(const neighbourhood_t *g, Py_ssize_t y, Py_ssize_t plane, Py_ssize_t first,
                                    Py_ssize_t last, Py_ssize_t n) noexcept nogil:
    # Append the values of cells of a row, and of the planes around.
    cdef const merged_t *m = &g.merged[y % 3]
    cdef Py_ssize_t x
    if not g.counts_only:
        return append(g, m.values, m.variances, m.starts[first], m.starts[last], n)
    for x in range(first, last):
        n += collect(g, y, plane, x, g.sample + n, NULL)
    return n


cdef inline Py_ssize_t gather(const neighbourhood_t *g, Py_ssize_t x, Py_ssize_t y, Py_ssize_t plane) noexcept nogil:
    # Put the values of the neighbourhood of a cell, usable or not, into g.sample; returns their number.
    cdef Py_ssize_t n = 0, q, own
    cdef Py_ssize_t first = max(x - 1, 0), last = min(x + 2, g.nx)
    for q in range(max(y - 1, 0), min(y + 2, g.ny)):
        if g.direction == ALL or (g.direction == ALONG_X and q != y):
            n = append_cells(g, q, plane, first, last, n)
        elif g.direction == ALONG_Y:
            n = append_cells(g, q, plane, first, x, n)
            n = append_cells(g, q, plane, x + 1, last, n)
    if g.direction != ALL:
        own = (plane * g.ny + y) * g.nx + x
        n = append(g, g.values, g.variances, g.offsets[own], g.offsets[own + 1], n)
    return n


cdef inline Py_ssize_t drop_unusable(float *v, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i, kept = 0
    for i in range(n):
        v[kept] = v[i]
        kept += v[i] != -INFINITY
    return kept


cdef double limit_median(const float *v, Py_ssize_t n, float x, double sigma, double *work) noexcept nogil:
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
        # x is above the limit only if half of the values are closer to the median than this
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


cdef inline double limit_of(const neighbourhood_t *g, int kind, double sigma, float x, Py_ssize_t i, Py_ssize_t j,
                            Py_ssize_t plane) noexcept nogil:
    # The limit for a cell whose largest value is x; infinity where it is certainly not below x.
    cdef Py_ssize_t n = gather(g, i, j, plane)
    cdef int outcome
    if kind == MEDIAN and sigma >= 1:
        outcome = quick_test(g.sample, n, x, sigma)
        if outcome == UNUSABLE_INSIDE:
            n = drop_unusable(g.sample, n)
            outcome = quick_test(g.sample, n, x, sigma)
        if outcome == SURELY_BELOW or narrow_test(g.sample, n, x, sigma) == SURELY_BELOW:
            return INFINITY
    if kind == IRAF:
        drop_unusable(g.sample_variances, n)
    n = drop_unusable(g.sample, n)
    if n < 3:
        return INFINITY
    if kind == MEDIAN:
        return limit_median(g.sample, n, x, sigma, g.work)
    if kind == MEAN:
        return limit_mean(g.sample, n, sigma)
    return limit_iraf(g.sample, g.sample_variances, n, sigma)


cdef inline Py_ssize_t look_at_cell(const float *values, const cell_row_t *cells, Py_ssize_t start, Py_ssize_t end,
                                    float *largest) noexcept nogil:
    # Find the largest value of a cell, with that of unusable rows; return how many are usable. NaN is, as nothing is
    # above the limit beside it.
    cdef Py_ssize_t k, n = end - start
    cdef float value
    largest[0] = -INFINITY
    for k in range(start, end):
        value = values[k]
        if value == -INFINITY:
            value = cells[k].data
            n -= 1
        if value > largest[0]:
            largest[0] = value
    return n


cdef bint lay_out_bins(neighbourhood_t *g, Py_ssize_t plane, Py_ssize_t bottom, Py_ssize_t top) noexcept nogil:
    # Lay bins around the values in and beside a strip, from some of them; False if their spread says nothing.
    cdef Py_ssize_t stride = <Py_ssize_t>g.nx * g.ny, before = max(plane - 1, 0), after = min(plane + 2, g.n_planes)
    cdef Py_ssize_t p, k, step, n = 0
    cdef const int *first = g.offsets + bottom * g.nx
    cdef const int *last = g.offsets + top * g.nx
    cdef double value, centre, width
    for p in range(before, after):
        n += last[p * stride] - first[p * stride]
    step = n // LOOKED_AT + 1
    n = 0
    for p in range(before, after):
        k = first[p * stride]
        while k < last[p * stride]:
            value = g.values[k]
            if fabs(value) < INFINITY:
                g.work[n] = value
                n += 1
            k += step
    if n == 0:
        return False
    centre = median(g.work, n)
    for k in range(n):
        g.work[k] = fabs(g.work[k] - centre)
    width = ROW_WIDTH * median(g.work, n)
    g.bins.low = <float>(centre - ROW_BINS // 2 * width)
    g.bins.per_bin = <float>(1 / width)
    return width > 0 and fabs(g.bins.low) < INFINITY and 0 < g.bins.per_bin < INFINITY


cdef inline void take_row(neighbourhood_t *g, Py_ssize_t y, Py_ssize_t plane) noexcept nogil:
    cdef Py_ssize_t first = max(plane - 1, 0), stride = <Py_ssize_t>g.nx * g.ny
    if g.counts_only:
        count_row(g.offsets + first * stride + y * g.nx, g.values, g.nx, stride, <int>(min(plane + 2, g.n_planes) - first),
                  &g.bins, g.merged[y % 3].counts)
    else:
        merge_planes(g, &g.merged[y % 3], y, plane)


cdef void look_at_cells(neighbourhood_t *g, double sigma, const cell_row_t *cells, Py_ssize_t y,
                        Py_ssize_t plane) noexcept nogil:
    # Find the largest value of each cell of a row, and the cells that need no closer look.
    cdef const short *before = g.merged[(y - 1) % 3].counts if y > 0 else g.no_counts
    cdef const short *after = g.merged[(y + 1) % 3].counts if y + 1 < g.ny else g.no_counts
    cdef const short *own = NULL if g.direction == ALONG_X else g.merged[y % 3].counts
    cdef const int *offsets = g.offsets + (plane * g.ny + y) * g.nx
    cdef Py_ssize_t x, usable
    for x in range(g.nx):
        usable = look_at_cell(g.values, cells, offsets[x], offsets[x + 1], &g.row.largest[x])
        g.row.own[x] = 0 if g.direction == ALL else <short>usable
    if not g.counts_only:
        return
    look_at_row(before, own, after, g.nx, g.direction != ALONG_Y, sigma, &g.bins, &g.row)


cdef Py_ssize_t reject_strip(neighbourhood_t *g, int kind, double sigma, cell_row_t *cells, Py_ssize_t plane,
                             Py_ssize_t bottom, Py_ssize_t top, int *flagged, const int *stop) noexcept nogil:
    # Flag the cosmic rays in the rows bottom...top - 1 of a plane; those beside them are neighbours only.
    cdef Py_ssize_t x, y, k, n_flagged = 0
    cdef const int *offsets = g.offsets + plane * g.ny * g.nx
    cdef float largest
    cdef double limit
    g.counts_only = g.counts_only and lay_out_bins(g, plane, bottom, top)
    for y in range(max(bottom - 1, 0), bottom + 1):
        take_row(g, y, plane)
    for y in range(bottom, top):
        if is_set(stop):
            break
        if y + 1 < g.ny:
            take_row(g, y + 1, plane)
        look_at_cells(g, sigma, cells, y, plane)
        offsets = g.offsets + (plane * g.ny + y) * g.nx
        x = -1
        while True:
            x = next_not_below(g.row.below, x + 1, g.nx)
            if x >= g.nx:
                break
            if offsets[x] == offsets[x + 1]:  # nothing in it
                continue
            largest = g.row.largest[x]
            limit = limit_of(g, kind, sigma, largest, x, y, plane)
            if not largest > limit:
                continue
            for k in range(offsets[x], offsets[x + 1]):
                if cells[k].data > limit:
                    if not cells[k].dq & COSMIC_RAY:
                        flagged[n_flagged] = cells[k].row
                        n_flagged += 1
                    cells[k].dq |= COSMIC_RAY
    return n_flagged


cdef inline Py_ssize_t ints_size(Py_ssize_t nx) noexcept nogil:
    # Starts of merged cells; largest values; as shorts: own values, outcomes, counts of three rows and of none.
    return 3 * (nx + 1) + row_stride(nx) * (1 + 1 + 2 * (ROW_BINS + 1))


cdef inline neighbourhood_t with_scratch(const neighbourhood_t *slab, float *floats, int *ints, double *work,
                                         Py_ssize_t row_size, Py_ssize_t sample_size) noexcept nogil:
    # Share out the scratch of a thread, in which the integers were 0 at first.
    cdef neighbourhood_t g = slab[0]
    cdef Py_ssize_t stride = row_stride(g.nx)
    cdef short *shorts = <short *>(ints + 3 * (g.nx + 1) + stride)
    cdef int k
    g.row = row_cells_t(<float *>(ints + 3 * (g.nx + 1)), shorts, shorts + stride)
    g.no_counts = shorts + 2 * stride
    for k in range(3):
        g.merged[k].starts = ints + k * (g.nx + 1)
        g.merged[k].counts = g.no_counts + (k + 1) * (ROW_BINS + 1) * stride
        g.merged[k].values = floats + k * row_size
        g.merged[k].variances = NULL
    g.sample = floats + 3 * row_size
    g.sample_variances = NULL
    if g.variances != NULL:
        floats = g.sample + sample_size
        for k in range(3):
            g.merged[k].variances = floats + k * row_size
        g.sample_variances = floats + 3 * row_size
    g.work = work
    return g


cdef int require_scratch(int nx, Py_ssize_t row_rows, Py_ssize_t cell_rows, bint variance, const float[:, ::1] floats,
                         const int[:, ::1] ints, const double[:, ::1] work) except -1:
    sizes = scratch_sizes(nx, row_rows, cell_rows, variance)
    require(ints.shape[0] == floats.shape[0] and work.shape[0] == floats.shape[0], "scratch: for each thread")
    return require(floats.shape[1] >= sizes[0] and ints.shape[1] >= sizes[1] and work.shape[1] >= sizes[2],
                   "scratch: of the size from scratch_sizes")


def scratch_sizes(int nx, Py_ssize_t row_rows, Py_ssize_t cell_rows, bint variance):
    """Return the scratch that `reject` needs for each thread.

    Parameters
    ----------
    nx : int
        Cells in a row of the grid.
    row_rows, cell_rows : int
        Largest number of rows in a row of the grid in three planes, and in 27 neighbouring cells.
    variance : bool
        Whether the kind is IRAF.

    Returns
    -------
    tuple of 3 int
        Numbers of float32, int32, float64.
    """
    require(nx >= 0 and 0 <= row_rows <= LARGEST_INT and 0 <= cell_rows <= LARGEST_INT, "sizes below 2^31")
    cdef Py_ssize_t floats = 3 * (row_rows + PADDING) + cell_rows + PADDING
    return (2 if variance else 1) * floats, ints_size(nx), max(cell_rows, LOOKED_AT + 3)  # one more of each plane


def reject(cell_row_t[::1] cells, const int[::1] offsets, const float[::1] values, variances, int nx, int ny,
           int strip_rows, int first, int last, int kind, int direction, double sigma, int[::1] flagged,
           long long[::1] n_flagged, Py_ssize_t row_rows, Py_ssize_t cell_rows, float[:, ::1] floats, int[:, ::1] ints,
           double[:, ::1] work, const int[::1] stop, int n_threads):
    """Flag the cosmic rays of some planes of a slab, strip by strip.

    Parameters
    ----------
    cells : ndarray of CELL_ROW, shape (n,)
        Sorted rows; the cosmic-ray flag is added to `dq`.
    offsets : ndarray of int32, shape (n_planes * ny * nx + 1,)
        Where each cell starts.
    values, variances : ndarray of float32, shape (>= n + 16,)
        Of the sorted rows, minus infinity where they are unusable; `variances` is None for other kinds than IRAF.
    nx, ny : int
        Size of a plane.
    strip_rows : int
        As for `grid.assign_cells`.
    first, last : int
        Planes to test (indices into the slab), `last` excluded; the others are neighbours only.
    kind : int
        IRAF, MEAN or MEDIAN.
    direction : int
        Neighbourhood: ALL 27 cells; ALONG_X or ALONG_Y without the other cells of the same row or column.
    sigma : float
        Rejection threshold.
    flagged : ndarray of int32, shape (n,)
        Output: for each strip, from where its first cell starts on, the rows newly flagged (``cells[].row``).
    n_flagged : ndarray of int64, shape (n_strips,)
        Output: how many.
    row_rows, cell_rows : int
        As for `scratch_sizes`.
    floats, ints, work : ndarray of float32, int32, float64, shape (n_threads, m)
        Scratch, `m` as `scratch_sizes` gives it.
    stop : ndarray of int32, shape (1,)
        See stopping.pxd.
    n_threads : int
        Number of threads.
    """
    cdef Py_ssize_t n = cells.shape[0], n_planes, n_rows, task, strip
    cdef strips_t strips
    cdef neighbourhood_t slab
    cdef const float[::1] variance_values
    require(n > 0 and nx > 0 and ny > 0 and strip_rows > 0, "cells, nx, ny, strip_rows: one or more")
    n_planes = (offsets.shape[0] - 1) // (<Py_ssize_t>nx * ny)
    require(0 <= first <= last <= n_planes, "planes of the slab")
    require(offsets.shape[0] - 1 == n_planes * nx * ny, "offsets: one for each cell, and one")
    require(IRAF <= kind <= MEDIAN and ALL <= direction <= ALONG_Y, "kind, direction: as numbered")
    require((variances is not None) == (kind == IRAF), "variances: for the kind IRAF")
    strips = strips_of(nx, ny, strip_rows)
    n_rows = offsets[offsets.shape[0] - 1]
    require(n_rows <= n and flagged.shape[0] >= n_rows, "flagged: one for each row")
    require(values.shape[0] >= n_rows + PADDING, "values: one for each row, and some")
    require(n_flagged.shape[0] == n_planes * strips.n, "n_flagged: one for each strip")
    require_scratch(nx, row_rows, cell_rows, kind == IRAF, floats, ints, work)
    require(stop.shape[0] == 1, "stop: one")
    require_threads(n_threads)
    require(n_threads <= floats.shape[0], "scratch: for each thread")
    slab.offsets = &offsets[0]
    slab.values = &values[0]
    slab.variances = NULL
    if variances is not None:
        variance_values = variances
        require(variance_values.shape[0] == values.shape[0], "variances: one for each value")
        slab.variances = &variance_values[0]
    slab.nx = nx
    slab.ny = ny
    slab.n_planes = n_planes
    slab.direction = direction
    if first == last:
        return
    memset(&ints[0, 0], 0, ints.shape[0] * ints.shape[1] * sizeof(int))  # some of it is read before, or never written
    for task in prange((last - first) * strips.n, nogil=True, num_threads=n_threads, schedule="dynamic"):
        # the same strip of one plane after the other: two of the three planes that it needs are in the cache
        strip = (first + task % (last - first)) * strips.n + task // (last - first)
        n_flagged[strip] = reject_strip_alone(
            &slab, &strips, &floats[threadid(), 0], &ints[threadid(), 0], &work[threadid(), 0], row_rows + PADDING,
            cell_rows + PADDING, kind, sigma, &cells[0], strip, &flagged[0], &stop[0])


cdef Py_ssize_t reject_strip_alone(const neighbourhood_t *slab, const strips_t *strips, float *floats, int *ints,
                                   double *work, Py_ssize_t row_size, Py_ssize_t sample_size, int kind, double sigma,
                                   cell_row_t *cells, Py_ssize_t strip, int *flagged,
                                   const int *stop) noexcept nogil:
    cdef neighbourhood_t g = with_scratch(slab, floats, ints, work, row_size, sample_size)
    cdef Py_ssize_t plane = strip // strips.n, number = strip % strips.n
    g.counts_only = kind == MEDIAN and sigma >= 1 and sample_size <= ROW_MOST
    return reject_strip(&g, kind, sigma, cells, plane, first_row(strips, number), first_row(strips, number + 1),
                        flagged + g.offsets[first_cell(strips, strip)], stop)

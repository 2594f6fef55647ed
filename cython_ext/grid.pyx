# SPDX-License-Identifier: GPL-2.0-or-later
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Kernels that sort the rows of a slab into the cells of the output grid.

The result is a compressed table: the rows of cell ``(plane, y, x)`` are
``cells[offsets[v]:offsets[v + 1]]`` with ``v = ((plane - first) * ny + y) * nx + x``, in ascending row order.
Rows outside the grid are in its border cells: none is dropped.
"""

from cython.parallel cimport prange
from libc.math cimport INFINITY, cos, fabs, log, sin, trunc
from libc.string cimport memcpy, memset
from gnomonic cimport DEG_PER_RAD, plane_to_sky, sky_to_plane
from grid_types cimport cell_row_t, grid_t, round_half_away, spaxel_t
from bounded cimport require, require_threads
from rows_types cimport COSMIC_RAY, row_t
from stopping cimport is_set
from strips cimport first_cell, strip_of, strips_of, strips_t

cdef extern from *:
    """
    #if defined(__GNUC__)
    #define MUSE_PREFETCH(address) __builtin_prefetch(address)
    #else
    #define MUSE_PREFETCH(address)
    #endif
    """
    void prefetch "MUSE_PREFETCH"(const void *address) nogil

cdef extern from "cells.h" nogil:
    ctypedef struct projector_t "muse_projector":
        double ra0, dec0, sin0, cos0, m11, m12, m21, m22, crpix1, crpix2, centre, limit
    void project "muse_project"(const projector_t *p, const double *ra, const double *dec, int count, double *px,
                                double *py, int *exact)
    void to_planes "muse_to_planes"(const float *lbda, Py_ssize_t stride, int count, double crval, double step,
                                    double crpix, double *plane)
    void to_rad "muse_to_rad"(const float *degrees, Py_ssize_t stride, int count, double origin, double per_degree,
                              double zero, double *rad)
    void nearest_cells "muse_nearest_cells"(const double *position, int count, int n, int *cell, double *to_edge)
    void away_from_edges "muse_away_from_edges"(const double *to_edge, int count, double edge, int *exact)
    void number_cells "muse_number_cells"(const int *column, const int *row, int count, int first, int n_planes,
                                          int bottom, int ny, int nx, int *plane, int *number)

cdef enum:
    BLOCK = 256      # rows whose cells are found at once
    CHUNK = 16384    # rows a task
    AHEAD = 32       # so many rows before it is needed, a cell is fetched into the cache; the row itself and its voxel earlier

# Largest offset in right ascension and declination, in rad, for which the series below reach 1e-16 relatively.
cdef double SERIES_LIMIT = 0.05
# A position this close to the edge of a cell (in cells) is projected again by the exact formula.
cdef double EDGE = 0.002
# Noise of the reference's projection, in rad, times the distance from the reference point, in rad: it takes the arcsine
# of a number close to one.
cdef double PROJECTION_NOISE = 1e-15
# Declination of the reference point, in rad, from which on ranges of positions say little.
cdef double NEAR_POLE = 1.55


cdef Py_ssize_t LARGEST_INT = 0x7FFFFFFF
# From a row to the next one, in float32.
cdef Py_ssize_t ROW_FLOATS = sizeof(row_t) // sizeof(float)


cdef int require_grid(const grid_t *grid) except -1:
    require(grid.nx > 0 and grid.ny > 0 and grid.nz > 0, "grid: one cell or more along each axis")
    return require(grid.nx <= LARGEST_INT // grid.ny, "grid: fewer than 2^31 spaxels")


def n_chunks(Py_ssize_t n_rows):
    """Return the number of tasks that `assign_cells` splits `n_rows` rows into."""
    require(0 <= n_rows <= LARGEST_INT, "n_rows: fewer than 2^31")
    return (n_rows + CHUNK - 1) // CHUNK


def tangent_plane(double ra, double dec, double ra0, double dec0):
    """Project a position on the sky, about a reference point; all in degrees. Returns two floats."""
    cdef double x, y
    sky_to_plane(ra / DEG_PER_RAD, dec / DEG_PER_RAD, ra0 / DEG_PER_RAD, dec0 / DEG_PER_RAD, &x, &y)
    return x, y


def pixel_of_position(grid_t grid, double x, double y):
    """Return the pixel (two floats, from 1) of an absolute position in degrees (or spaxels)."""
    cdef double px, py
    if grid.celestial:
        sky_to_plane(x / DEG_PER_RAD, y / DEG_PER_RAD, grid.crval1 / DEG_PER_RAD, grid.crval2 / DEG_PER_RAD, &x, &y)
    else:
        x -= grid.crval1
        y -= grid.crval2
    to_pixel(&grid, x, y, &px, &py)
    return px, py


def position_of_pixel(grid_t grid, double px, double py):
    """Return the absolute position (two floats, in degrees or spaxels) of a pixel counted from 1."""
    cdef double x, y
    from_pixel(&grid, px, py, &x, &y)
    return x, y


cdef inline void from_pixel(const grid_t *grid, double px, double py, double *x, double *y) noexcept nogil:
    cdef double u = grid.cd11 * (px - grid.crpix1) + grid.cd12 * (py - grid.crpix2)
    cdef double v = grid.cd22 * (py - grid.crpix2) + grid.cd21 * (px - grid.crpix1)
    if grid.celestial:
        plane_to_sky(u, v, grid.crval1, grid.crval2, x, y)
    else:
        x[0] = u + grid.crval1
        y[0] = v + grid.crval2


cdef inline void to_pixel(const grid_t *grid, double x, double y, double *px, double *py) noexcept nogil:
    cdef double det = grid.cd11 * grid.cd22 - grid.cd12 * grid.cd21
    px[0] = (grid.cd22 * x - grid.cd12 * y) / det + grid.crpix1
    py[0] = (grid.cd11 * y - grid.cd21 * x) / det + grid.crpix2


def spaxel_table(grid_t grid, spaxel_t[:, ::1] out):
    """Fill in the position of each spaxel's centre.

    Parameters
    ----------
    grid : dict
        `OutputGrid.parameters`.
    out : ndarray of SPAXEL, shape (ny, nx)
        x, y: right ascension and declination in deg (or spaxels); cos_y: cosine of the declination (or 1).
    """
    cdef Py_ssize_t i, j
    cdef double x, y
    require(out.shape[0] == grid.ny and out.shape[1] == grid.nx, "out: of shape (ny, nx)")
    for j in range(grid.ny):
        for i in range(grid.nx):
            from_pixel(&grid, i + 1, j + 1, &x, &y)
            out[j, i].x = x
            out[j, i].y = y
            out[j, i].cos_y = cos(y * 0.017453292519943295769) if grid.celestial else 1.0


cdef inline int nearest_cell(double position, int n) noexcept nogil:
    cdef int cell
    cdef double to_edge
    nearest_cells(&position, 1, n, &cell, &to_edge)
    return cell


cdef inline int plane_of(const grid_t *grid, float lbda) noexcept nogil:
    cdef double position
    if grid.logarithmic:
        position = round_half_away(grid.crval3 / grid.cd33 * log(lbda / grid.crval3))
        position = trunc(position + grid.crpix3 - 1) + 1
    else:
        to_planes(&lbda, 1, 1, grid.crval3, grid.cd33, grid.crpix3, &position)
    return nearest_cell(position, grid.nz)


cdef projector_t make_projector(const grid_t *grid) noexcept nogil:
    cdef projector_t p
    cdef double per_det = DEG_PER_RAD / (grid.cd11 * grid.cd22 - grid.cd12 * grid.cd21)
    cdef double steepest
    p.ra0 = grid.crval1 / DEG_PER_RAD
    p.dec0 = grid.crval2 / DEG_PER_RAD
    p.sin0 = sin(p.dec0)
    p.cos0 = cos(p.dec0)
    p.m11 = grid.cd22 * per_det
    p.m12 = -grid.cd12 * per_det
    p.m21 = -grid.cd21 * per_det
    p.m22 = grid.cd11 * per_det
    p.crpix1 = grid.crpix1
    p.crpix2 = grid.crpix2
    steepest = max(fabs(p.m11) + fabs(p.m12), fabs(p.m21) + fabs(p.m22))
    p.centre = PROJECTION_NOISE * steepest / EDGE
    p.limit = SERIES_LIMIT
    return p


cdef void exact_spaxel(const grid_t *grid, const projector_t *p, const row_t *row, int *i, int *j) noexcept nogil:
    # Spaxel of a row on the sky by the formula of the reference.
    cdef double px, py, x, y
    sky_to_plane((row.xpos + grid.origin1) / DEG_PER_RAD, (row.ypos + grid.origin2) / DEG_PER_RAD, p.ra0, p.dec0, &x, &y)
    to_pixel(grid, x, y, &px, &py)
    i[0] = nearest_cell(px, grid.nx)
    j[0] = nearest_cell(py, grid.ny)


cdef struct block_t:
    double[BLOCK] x
    double[BLOCK] y
    double[BLOCK] lbda
    double[BLOCK] to_edge
    int[BLOCK] exact
    int[BLOCK] i
    int[BLOCK] j
    int[BLOCK] plane


cdef void find_cells(const grid_t *grid, const projector_t *p, const row_t *rows, int n, block_t *b) noexcept nogil:
    # Plane and spaxel of some rows.
    cdef int k
    cdef double det = grid.cd11 * grid.cd22 - grid.cd12 * grid.cd21, x, y
    to_planes(&rows.lbda, ROW_FLOATS, n, grid.crval3, grid.cd33, grid.crpix3, b.lbda)
    nearest_cells(b.lbda, n, grid.nz, b.plane, b.to_edge)
    if grid.logarithmic:
        for k in range(n):
            b.plane[k] = plane_of(grid, rows[k].lbda)
    if grid.celestial:
        to_rad(&rows.xpos, ROW_FLOATS, n, grid.origin1, 1 / DEG_PER_RAD, p.ra0, b.x)
        to_rad(&rows.ypos, ROW_FLOATS, n, grid.origin2, 1 / DEG_PER_RAD, p.dec0, b.y)
        project(p, b.x, b.y, n, b.x, b.y, b.exact)
    else:
        for k in range(n):
            x = rows[k].xpos - grid.crval1
            y = rows[k].ypos - grid.crval2
            b.x[k] = grid.cd22 * x - grid.cd12 * y
            b.y[k] = grid.cd11 * y - grid.cd21 * x
        if det != 1:  # divisions are much of the work
            for k in range(n):
                b.x[k] = b.x[k] / det
                b.y[k] = b.y[k] / det
        for k in range(n):
            b.x[k] += grid.crpix1
            b.y[k] += grid.crpix2
    nearest_cells(b.x, n, grid.nx, b.i, b.to_edge)
    if grid.celestial:
        away_from_edges(b.to_edge, n, EDGE, b.exact)
    nearest_cells(b.y, n, grid.ny, b.j, b.to_edge)
    if grid.celestial:
        away_from_edges(b.to_edge, n, EDGE, b.exact)
        for k in range(n):
            if not b.exact[k]:
                exact_spaxel(grid, p, &rows[k], &b.i[k], &b.j[k])


cdef void assign_chunk(const grid_t *grid, const projector_t *p, const row_t *rows, Py_ssize_t n, int first, int last,
                       int bottom, int top, const strips_t *strips, int *voxel, long long *counts) noexcept nogil:
    cdef Py_ssize_t start = 0, strip = 0, begin = 0, end = 0
    cdef int k, size, n_in_strip = 0, cell
    cdef block_t b
    memset(counts, 0, (last - first) * strips.n * sizeof(long long))
    while start < n:
        size = <int>min(BLOCK, n - start)
        find_cells(grid, p, rows + start, size, &b)
        number_cells(b.i, b.j, size, first, last - first, bottom, top - bottom, grid.nx, b.plane, voxel + start)
        for k in range(size):
            cell = voxel[start + k]
            if cell < 0:
                continue
            if not begin <= cell < end:  # as a rule, a row is in the strip of the one before
                counts[strip] += n_in_strip
                strip, n_in_strip = strip_of(strips, cell), 0
                begin, end = first_cell(strips, strip), first_cell(strips, strip + 1)
            n_in_strip += 1
        start += size
    counts[strip] += n_in_strip


def assign_cells(const row_t[::1] rows, grid_t grid, int first, int last, int bottom, int top, int strip_rows,
                 int[::1] voxel, long long[:, ::1] counts, const int[::1] stop, int n_threads):
    """Find the cell of each row and count the rows of each strip of the slab.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n,)
        Rows of a slab; those outside its planes are ignored.
    grid : dict
        `OutputGrid.parameters`.
    first, last : int
        Planes of the slab, `last` excluded.
    bottom, top : int
        Rows of the grid that are in the slab, `top` excluded.
    strip_rows : int
        Rows of the grid in a strip: each plane is cut into strips, from the lowest row up, of which the last may have
        fewer.
    voxel : ndarray of int32, shape (n,)
        Output: index of the cell in the slab, -1 for a row of the pixel table that is not in it.
    counts : ndarray of int64, shape (n_chunks(n), n_strips)
        Output: rows of each strip, plane by plane, in each chunk of rows.
    stop : ndarray of int32, shape (1,)
        See stopping.pxd.
    n_threads : int
        Number of threads.
    """
    cdef Py_ssize_t n = rows.shape[0], chunk, n_tasks = counts.shape[0]
    cdef strips_t strips
    cdef projector_t projector = make_projector(&grid)
    require_grid(&grid)
    require(0 <= first < last <= grid.nz, "planes of the grid")
    require(0 <= bottom < top <= grid.ny, "rows of the grid")
    require(last - first <= LARGEST_INT // (grid.nx * (top - bottom)), "slab: fewer than 2^31 cells")
    require(n <= LARGEST_INT and voxel.shape[0] == n, "voxel: one for each row, fewer than 2^31")
    require(strip_rows > 0, "strip_rows: one or more")
    strips = strips_of(grid.nx, top - bottom, strip_rows)
    require(n_tasks == n_chunks(n) and counts.shape[1] == (last - first) * strips.n, "counts: of shape (n_chunks, n_strips)")
    require(stop.shape[0] == 1, "stop: one")
    require_threads(n_threads)
    for chunk in prange(n_tasks, nogil=True, num_threads=n_threads, schedule="dynamic"):
        if is_set(&stop[0]):
            continue
        assign_chunk(&grid, &projector, &rows[chunk * CHUNK], min(CHUNK, n - chunk * CHUNK), first, last, bottom, top,
                     &strips, &voxel[chunk * CHUNK], &counts[chunk, 0])


cdef void list_chunk(const int *voxel, Py_ssize_t n_rows, const strips_t *strips, Py_ssize_t n_strips, Py_ssize_t first,
                     Py_ssize_t last, long long *starts, int *order) noexcept nogil:
    # List the rows first...last - 1, from the starts of strips on.
    cdef Py_ssize_t r, strip = 0, begin = 0, end = 0
    cdef int cell
    for r in range(first, last):
        cell = voxel[r]
        if cell < 0:
            continue
        if not begin <= cell < end:  # the next row is in it too as a rule
            strip = strip_of(strips, cell)
            if strip >= n_strips:
                end = 0
                continue
            begin, end = first_cell(strips, strip), first_cell(strips, strip + 1)
        if starts[strip] < n_rows:  # as it is, unless the strips are others than those that were counted
            order[starts[strip]] = <int>r
            starts[strip] += 1


def sort_by_strip(const int[::1] voxel, int nx, int ny, int strip_rows, long long[:, ::1] starts, int[::1] order,
                  const int[::1] stop, int n_threads):
    """List the rows strip by strip, in ascending row order within a strip.

    Parameters
    ----------
    voxel : ndarray of int32, shape (n,)
        From `assign_cells`.
    nx, ny : int
        Size of a plane of the slab.
    strip_rows : int
        As for `assign_cells`.
    starts : ndarray of int64, shape (n_chunks(n), n_strips)
        Where the rows of a strip and a chunk start in `order`; destroyed.
    order : ndarray of int32, shape (n,)
        Output: row indices.
    stop : ndarray of int32, shape (1,)
        See stopping.pxd.
    n_threads : int
        Number of threads.
    """
    cdef Py_ssize_t n = voxel.shape[0], chunk, n_tasks = starts.shape[0], n_strips = starts.shape[1]
    cdef strips_t strips
    require(nx > 0 and ny > 0 and strip_rows > 0, "nx, ny, strip_rows: one or more")
    require(order.shape[0] == n and n_tasks == n_chunks(n), "order, starts: for the rows of voxel")
    require(stop.shape[0] == 1, "stop: one")
    require_threads(n_threads)
    strips = strips_of(nx, ny, strip_rows)
    for chunk in prange(n_tasks, nogil=True, num_threads=n_threads, schedule="dynamic"):
        if not is_set(&stop[0]):
            list_chunk(&voxel[0], n, &strips, n_strips, chunk * CHUNK, min(n, (chunk + 1) * CHUNK), &starts[chunk, 0],
                       &order[0])


cdef void ends_from_counts(int *counts, Py_ssize_t ny, Py_ssize_t nx, Py_ssize_t start, int *fullest) noexcept nogil:
    # Replace the numbers of rows in the cells of a strip by where they end; find the fullest cell and row of the grid.
    cdef Py_ssize_t x, y
    cdef int end = <int>start, begin, in_cell = 0, in_row = 0
    for y in range(ny):
        begin = end
        for x in range(nx):
            in_cell = max(in_cell, counts[y * nx + x])
            end += counts[y * nx + x]
            counts[y * nx + x] = end
        in_row = max(in_row, end - begin)
    fullest[0] = in_cell
    fullest[1] = in_row


cdef struct unsorted_t:
    const row_t *rows
    const float *weights      # NULL: 1
    const int *voxel
    const int *order


cdef struct sorted_t:
    int *offsets
    cell_row_t *cells
    float *values             # NULL unless needed
    float *variances          # the same


cdef bint sort_strip(const unsorted_t *unsorted, const sorted_t *made, Py_ssize_t first, Py_ssize_t last,
                     Py_ssize_t begin, Py_ssize_t end, Py_ssize_t nx, int *fullest) noexcept nogil:
    # Copy the rows of a strip, first...last - 1 in the order of strips, into its cells begin...end - 1; False if one of
    # them is not in these.
    cdef const row_t *rows = unsorted.rows
    cdef const float *weights = unsorted.weights
    cdef const int *voxel = unsorted.voxel
    cdef const int *order = unsorted.order
    cdef int *offsets = made.offsets
    cdef cell_row_t *cells = made.cells
    cdef float *values = made.values
    cdef float *variances = made.variances
    cdef Py_ssize_t k, at
    cdef int r
    cdef bint usable
    memset(offsets + begin, 0, (end - begin) * sizeof(int))
    for k in range(first, last):
        if not begin <= voxel[order[k]] < end:
            return False
        offsets[voxel[order[k]]] += 1
    ends_from_counts(offsets + begin, (end - begin) // nx, nx, first, fullest)
    # from the last row to the first, so that each cell's end moves down to its start
    for k in range(last - 1, first - 1, -1):
        prefetch(&voxel[order[max(k - 3 * AHEAD, first)]])
        prefetch(&rows[order[max(k - 2 * AHEAD, first)]])
        prefetch(&cells[max(offsets[voxel[order[max(k - AHEAD, first)]]] - 1, 0)])
        r = order[k]
        at = offsets[voxel[r]] - 1
        offsets[voxel[r]] = <int>at
        memcpy(&cells[at], &rows[r], sizeof(row_t) - sizeof(rows[r].origin))  # with which a cell begins
        cells[at].weight = weights[r] if weights != NULL else 1.0
        cells[at].row = r
        usable = rows[r].dq == 0 or rows[r].dq == COSMIC_RAY
        if values != NULL:
            values[at] = rows[r].data if usable else -INFINITY
        if variances != NULL:
            variances[at] = rows[r].stat if usable else -INFINITY
    return True


def sort_cells(const row_t[::1] rows, weights, const int[::1] voxel, const int[::1] order,
               const long long[::1] strip_starts, int[::1] offsets, cell_row_t[::1] cells, values, variances, int nx,
               int ny, int strip_rows, int[:, ::1] fullest, const int[::1] stop, int n_threads):
    """Copy the rows of each strip in the order of its cells.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n,)
        Rows of the slab.
    weights : ndarray of float32, shape (n,), or None
        Weight of each row; None means 1.
    voxel, order : ndarray of int32
        From `assign_cells` and `sort_by_strip`.
    strip_starts : ndarray of int64, shape (n_strips + 1,)
        Where each strip starts in `order` and `cells`.
    offsets : ndarray of int32, shape (n_planes * ny * nx + 1,)
        Output: where each cell starts in `cells`.
    cells : ndarray of CELL_ROW, shape (n,)
        Output: the sorted rows.
    values, variances : ndarray of float32, shape (>= n + 16,), or None
        Output, unless None: data and stat of the sorted rows for the statistics of the cosmic-ray rejection; minus
        infinity for rows with other flags than the cosmic-ray flag.
    nx, ny, strip_rows : int
        As for `sort_by_strip`.
    fullest : ndarray of int32, shape (n_strips, 2)
        Output: largest number of rows in a cell, and in a row of the grid, of each strip.
    stop : ndarray of int32, shape (1,)
        See stopping.pxd.
    n_threads : int
        Number of threads.
    """
    cdef Py_ssize_t n_strips = strip_starts.shape[0] - 1, n_cells = offsets.shape[0] - 1, strip, n = rows.shape[0]
    cdef int n_wrong = 0
    cdef strips_t strips
    cdef const float[::1] weight
    cdef float[::1] value
    cdef float[::1] variance
    cdef unsorted_t unsorted
    cdef sorted_t made
    require(n_strips > 0 and nx > 0 and ny > 0 and strip_rows > 0, "strip_starts: two or more; nx, ny, strip_rows: one or more")
    strips = strips_of(nx, ny, strip_rows)
    require(n_strips % strips.n == 0 and n_cells == first_cell(&strips, n_strips), "offsets: one for each cell, and one")
    require(voxel.shape[0] == n and order.shape[0] == n and cells.shape[0] >= n, "voxel, order, cells: one for each row")
    require(0 <= strip_starts[n_strips] <= n, "strip_starts: within the rows")
    require(fullest.shape[0] == n_strips and fullest.shape[1] == 2, "fullest: of shape (n_strips, 2)")
    require(stop.shape[0] == 1, "stop: one")
    require_threads(n_threads)
    unsorted = unsorted_t(&rows[0], NULL, &voxel[0], &order[0])
    made = sorted_t(&offsets[0], &cells[0], NULL, NULL)
    if weights is not None:
        weight = weights
        require(weight.shape[0] == n, "weights: one for each row")
        unsorted.weights = &weight[0]
    if values is not None:
        value = values
        require(value.shape[0] >= n, "values: one for each row")
        value[strip_starts[n_strips] :] = 0
        made.values = &value[0]
    if variances is not None:
        variance = variances
        require(variance.shape[0] >= n, "variances: one for each row")
        variance[strip_starts[n_strips] :] = 0
        made.variances = &variance[0]
    for strip in prange(n_strips, nogil=True, num_threads=n_threads, schedule="dynamic"):
        if not is_set(&stop[0]):
            n_wrong += not sort_strip(&unsorted, &made, strip_starts[strip], strip_starts[strip + 1],
                                      first_cell(&strips, strip), first_cell(&strips, strip + 1), nx, &fullest[strip, 0])
    require(n_wrong == 0, "nx, ny, strip_rows: those with which the rows were listed")
    offsets[n_cells] = <int>strip_starts[n_strips]


def rows_of_extents(const float[:, ::1] extents, grid_t grid, int[:, ::1] out):
    """Write the first and the last row of the grid in which positions of some ranges can be; two more on each side.

    Parameters
    ----------
    extents : ndarray of float32, shape (n, 4)
        Lowest and highest xpos, lowest and highest ypos, as in the pixel table; NaN: may be anywhere.
    grid : dict
        `OutputGrid.parameters`.
    out : ndarray of int32, shape (n, 2)
        Output: rows of the grid, both included.

    Notes
    -----
    A row of the grid is a great circle: over a range of right ascension w (rad) it bends by less than w^2 / 16 rad.
    Where that is more than a spaxel, and beside the poles, a range may be anywhere. One of the two more is for that bend,
    the other one for rounding.
    """
    cdef Py_ssize_t n = extents.shape[0], i
    cdef int corner, low, high, cell
    cdef double x, y, px, py, w, steepest = 0
    cdef projector_t projector = make_projector(&grid)
    require_grid(&grid)
    require(extents.shape[1] == 4, "extents: of shape (n, 4)")
    require(out.shape[0] == n and out.shape[1] == 2, "out: of shape (n, 2)")
    with nogil:
        if grid.celestial:
            steepest = fabs(projector.m21) + fabs(projector.m22)
        for i in range(n):
            low = grid.ny - 1
            high = 0
            w = (<double>extents[i, 1] - extents[i, 0]) / DEG_PER_RAD
            if not (steepest * w * w / 16 < 1 and (not grid.celestial or fabs(projector.dec0) < NEAR_POLE)
                    and <double>extents[i, 3] - extents[i, 2] < 1e30):
                low = 0
                high = grid.ny - 1
            else:
                for corner in range(4):
                    x = extents[i, corner & 1]
                    y = extents[i, 2 + (corner >> 1)]
                    if grid.celestial:
                        sky_to_plane((x + grid.origin1) / DEG_PER_RAD, (y + grid.origin2) / DEG_PER_RAD, projector.ra0,
                                     projector.dec0, &x, &y)
                    else:
                        x -= grid.crval1
                        y -= grid.crval2
                    to_pixel(&grid, x, y, &px, &py)
                    cell = nearest_cell(py, grid.ny)
                    low = min(low, cell)
                    high = max(high, cell)
            out[i, 0] = max(low - 2, 0)
            out[i, 1] = min(high + 2, grid.ny - 1)


def planes_of(const float[::1] lbda, grid_t grid, int[::1] out):
    """Write the (clamped) plane of each wavelength in Angstrom to `out` (int32)."""
    cdef Py_ssize_t i
    require_grid(&grid)
    require(out.shape[0] == lbda.shape[0], "out: one for each wavelength")
    with nogil:
        for i in range(lbda.shape[0]):
            out[i] = plane_of(&grid, lbda[i])

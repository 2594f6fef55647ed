# SPDX-License-Identifier: GPL-2.0-or-later
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Kernels that sort the rows of a slab into the cells of the output grid.

The result is a compressed table: the rows of cell ``(plane, y, x)`` are
``cells[offsets[v]:offsets[v + 1]]`` with ``v = ((plane - first) * ny + y) * nx + x``, in ascending row order.
Rows outside the grid are in its border cells: none is dropped.
"""

from cython.parallel cimport prange
from libc.math cimport INFINITY, cos, fabs, log, sin, trunc
from gnomonic cimport DEG_PER_RAD, plane_to_sky, sky_to_plane
from grid_types cimport cell_row_t, grid_t, round_half_away, spaxel_t
from bounded cimport require, require_threads
from rows_types cimport COSMIC_RAY, row_t
from stopping cimport is_set

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
    void nearest_cells "muse_nearest_cells"(const double *position, int count, int n, int *cell, double *to_edge)

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


cdef inline int plane_of(const grid_t *grid, double lbda) noexcept nogil:
    cdef double position
    if grid.logarithmic:
        position = round_half_away(grid.crval3 / grid.cd33 * log(lbda / grid.crval3))
        return nearest_cell(trunc(position + grid.crpix3 - 1) + 1, grid.nz)
    return nearest_cell((lbda - grid.crval3) / grid.cd33 + grid.crpix3, grid.nz)


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


cdef inline int exact_spaxel(const grid_t *grid, const projector_t *p, const row_t *row) noexcept nogil:
    # Spaxel of a row by the formula of the reference.
    cdef double px, py, x, y
    if grid.celestial:
        sky_to_plane((row.xpos + grid.origin1) / DEG_PER_RAD, (row.ypos + grid.origin2) / DEG_PER_RAD, p.ra0, p.dec0,
                     &x, &y)
    else:
        x = row.xpos - grid.crval1
        y = row.ypos - grid.crval2
    to_pixel(grid, x, y, &px, &py)
    return nearest_cell(py, grid.ny) * grid.nx + nearest_cell(px, grid.nx)


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
    # Plane and spaxel of some rows; `exact` is 0 for those whose spaxel has to be found by the exact formula.
    cdef int k
    cdef double det = grid.cd11 * grid.cd22 - grid.cd12 * grid.cd21, x, y
    for k in range(n):
        b.lbda[k] = (rows[k].lbda - grid.crval3) / grid.cd33 + grid.crpix3
    nearest_cells(b.lbda, n, grid.nz, b.plane, b.to_edge)
    if grid.logarithmic:
        for k in range(n):
            b.plane[k] = plane_of(grid, rows[k].lbda)
    if grid.celestial:
        for k in range(n):
            b.x[k] = (rows[k].xpos + grid.origin1) * (1 / DEG_PER_RAD) - p.ra0
            b.y[k] = (rows[k].ypos + grid.origin2) * (1 / DEG_PER_RAD) - p.dec0
        project(p, b.x, b.y, n, b.x, b.y, b.exact)
    else:
        for k in range(n):
            x = rows[k].xpos - grid.crval1
            y = rows[k].ypos - grid.crval2
            b.x[k] = (grid.cd22 * x - grid.cd12 * y) / det + grid.crpix1
            b.y[k] = (grid.cd11 * y - grid.cd21 * x) / det + grid.crpix2
            b.exact[k] = 1
    nearest_cells(b.x, n, grid.nx, b.i, b.to_edge)
    if grid.celestial:
        for k in range(n):
            b.exact[k] &= b.to_edge[k] > EDGE
    nearest_cells(b.y, n, grid.ny, b.j, b.to_edge)
    if grid.celestial:
        for k in range(n):
            b.exact[k] &= b.to_edge[k] > EDGE


cdef void assign_chunk(const grid_t *grid, const projector_t *p, const row_t *rows, Py_ssize_t n, int first, int last,
                       int bottom, int top, int *voxel, long long *counts) noexcept nogil:
    cdef Py_ssize_t start = 0
    cdef int k, size, plane, spaxel, n_spaxels = grid.nx * (top - bottom)
    cdef block_t b
    for plane in range(last - first):
        counts[plane] = 0
    while start < n:
        size = <int>min(BLOCK, n - start)
        find_cells(grid, p, rows + start, size, &b)
        for k in range(size):
            plane = b.plane[k] - first
            if plane < 0 or plane >= last - first:
                voxel[start + k] = -1
                continue
            spaxel = b.j[k] * grid.nx + b.i[k] if b.exact[k] else exact_spaxel(grid, p, &rows[start + k])
            spaxel -= bottom * grid.nx
            if spaxel < 0 or spaxel >= n_spaxels:
                voxel[start + k] = -1
                continue
            counts[plane] += 1
            voxel[start + k] = plane * n_spaxels + spaxel
        start += size


def assign_cells(const row_t[::1] rows, grid_t grid, int first, int last, int bottom, int top, int[::1] voxel,
                 long long[:, ::1] counts, const int[::1] stop, int n_threads):
    """Find the cell of each row and count the rows of each plane.

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
    voxel : ndarray of int32, shape (n,)
        Output: index of the cell in the slab, -1 for a row of the pixel table that is not in it.
    counts : ndarray of int64, shape (n_chunks(n), last - first)
        Output: rows of each plane in each chunk of rows.
    stop : ndarray of int32, shape (1,)
        See stopping.pxd.
    n_threads : int
        Number of threads.
    """
    cdef Py_ssize_t n = rows.shape[0], chunk, n_tasks = counts.shape[0]
    cdef projector_t projector = make_projector(&grid)
    require_grid(&grid)
    require(0 <= first < last <= grid.nz, "planes of the grid")
    require(0 <= bottom < top <= grid.ny, "rows of the grid")
    require(last - first <= LARGEST_INT // (grid.nx * (top - bottom)), "slab: fewer than 2^31 cells")
    require(n <= LARGEST_INT and voxel.shape[0] == n, "voxel: one for each row, fewer than 2^31")
    require(n_tasks == n_chunks(n) and counts.shape[1] == last - first, "counts: of shape (n_chunks, last - first)")
    require(stop.shape[0] == 1, "stop: one")
    require_threads(n_threads)
    for chunk in prange(n_tasks, nogil=True, num_threads=n_threads, schedule="dynamic"):
        if is_set(&stop[0]):
            continue
        assign_chunk(&grid, &projector, &rows[chunk * CHUNK], min(CHUNK, n - chunk * CHUNK), first, last, bottom, top,
                     &voxel[chunk * CHUNK], &counts[chunk, 0])


def sort_by_plane(const int[::1] voxel, int n_spaxels, long long[:, ::1] starts, int[::1] order, const int[::1] stop,
                  int n_threads):
    """List the rows plane by plane, in ascending row order within a plane.

    Parameters
    ----------
    voxel : ndarray of int32, shape (n,)
        From `assign_cells`.
    n_spaxels : int
        nx times ny.
    starts : ndarray of int64, shape (n_chunks(n), n_planes)
        Where the rows of a plane and a chunk start in `order`; destroyed.
    order : ndarray of int32, shape (n,)
        Output: row indices.
    stop : ndarray of int32, shape (1,)
        See stopping.pxd.
    n_threads : int
        Number of threads.
    """
    cdef Py_ssize_t n = voxel.shape[0], chunk, r, n_tasks = starts.shape[0], n_planes = starts.shape[1]
    cdef int plane
    require(n_spaxels > 0, "n_spaxels: one or more")
    require(order.shape[0] == n and n_tasks == n_chunks(n), "order, starts: for the rows of voxel")
    require(stop.shape[0] == 1, "stop: one")
    require_threads(n_threads)
    for chunk in prange(n_tasks, nogil=True, num_threads=n_threads, schedule="dynamic"):
        if is_set(&stop[0]):
            continue
        for r in range(chunk * CHUNK, min(n, (chunk + 1) * CHUNK)):
            if voxel[r] >= 0:
                plane = voxel[r] // n_spaxels
                if plane >= n_planes:
                    continue
                order[starts[chunk, plane]] = <int>r
                starts[chunk, plane] += 1


cdef void ends_from_counts(int *counts, Py_ssize_t ny, Py_ssize_t nx, Py_ssize_t start, int *fullest) noexcept nogil:
    # Replace the numbers of rows in the cells of a plane by where they end; find the fullest cell and row of the grid.
    cdef Py_ssize_t x, y, end = start
    cdef int in_cell, in_row
    fullest[0] = 0
    fullest[1] = 0
    for y in range(ny):
        in_row = 0
        for x in range(nx):
            in_cell = counts[y * nx + x]
            fullest[0] = max(fullest[0], in_cell)
            in_row += in_cell
            end += in_cell
            counts[y * nx + x] = <int>end
        fullest[1] = max(fullest[1], in_row)


def sort_cells(const row_t[::1] rows, weights, const int[::1] voxel, const int[::1] order,
               const long long[::1] plane_starts, int[::1] offsets, cell_row_t[::1] cells, values, variances, int nx,
               int[:, ::1] fullest, const int[::1] stop, int n_threads):
    """Copy the rows of each plane in the order of its cells.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n,)
        Rows of the slab.
    weights : ndarray of float32, shape (n,), or None
        Weight of each row; None means 1.
    voxel, order : ndarray of int32
        From `assign_cells` and `sort_by_plane`.
    plane_starts : ndarray of int64, shape (n_planes + 1,)
        Where each plane starts in `order` and `cells`.
    offsets : ndarray of int32, shape (n_planes * ny * nx + 1,)
        Output: where each cell starts in `cells`.
    cells : ndarray of CELL_ROW, shape (n,)
        Output: the sorted rows.
    values, variances : ndarray of float32, shape (>= n + 16,), or None
        Output, unless None: data and stat of the sorted rows for the statistics of the cosmic-ray rejection; minus
        infinity for rows with other flags than the cosmic-ray flag.
    nx : int
        Cells in a row of the grid.
    fullest : ndarray of int32, shape (n_planes, 2)
        Output: largest number of rows in a cell, and in a row of the grid, of each plane.
    stop : ndarray of int32, shape (1,)
        See stopping.pxd.
    n_threads : int
        Number of threads.
    """
    cdef Py_ssize_t n_planes = plane_starts.shape[0] - 1, n_spaxels, plane, first, v, k, at, n = rows.shape[0]
    cdef bint weighted = weights is not None
    cdef const float[::1] weight
    cdef float[::1] value
    cdef float[::1] variance
    cdef bint has_values = values is not None, has_variances = variances is not None, usable
    cdef int r
    require(n_planes > 0 and nx > 0, "plane_starts: two or more; nx: one or more")
    n_spaxels = (offsets.shape[0] - 1) // n_planes
    require(offsets.shape[0] == n_planes * n_spaxels + 1 and n_spaxels > 0 and n_spaxels % nx == 0,
            "offsets: one for each cell, and one")
    require(voxel.shape[0] == n and order.shape[0] == n and cells.shape[0] >= n, "voxel, order, cells: one for each row")
    require(0 <= plane_starts[n_planes] <= n, "plane_starts: within the rows")
    require(fullest.shape[0] == n_planes and fullest.shape[1] == 2, "fullest: of shape (n_planes, 2)")
    require(stop.shape[0] == 1, "stop: one")
    require_threads(n_threads)
    if weighted:
        weight = weights
        require(weight.shape[0] == n, "weights: one for each row")
    if has_values:
        value = values
        require(value.shape[0] >= n, "values: one for each row")
        value[plane_starts[n_planes] :] = 0
    if has_variances:
        variance = variances
        require(variance.shape[0] >= n, "variances: one for each row")
        variance[plane_starts[n_planes] :] = 0
    for plane in prange(n_planes, nogil=True, num_threads=n_threads, schedule="dynamic"):
        if is_set(&stop[0]):
            continue
        for v in range(plane * n_spaxels, (plane + 1) * n_spaxels):
            offsets[v] = 0
        for k in range(plane_starts[plane], plane_starts[plane + 1]):
            offsets[voxel[order[k]]] += 1
        ends_from_counts(&offsets[plane * n_spaxels], n_spaxels // nx, nx, plane_starts[plane], &fullest[plane, 0])
        # from the last row to the first, so that each cell's end moves down to its start
        first = plane_starts[plane]
        for k in range(plane_starts[plane + 1] - 1, first - 1, -1):
            prefetch(&voxel[order[max(k - 3 * AHEAD, first)]])
            prefetch(&rows[order[max(k - 2 * AHEAD, first)]])
            prefetch(&cells[max(offsets[voxel[order[max(k - AHEAD, first)]]] - 1, 0)])
            r = order[k]
            v = voxel[r]
            at = offsets[v] - 1
            offsets[v] = <int>at
            cells[at].xpos = rows[r].xpos
            cells[at].ypos = rows[r].ypos
            cells[at].lbda = rows[r].lbda
            cells[at].data = rows[r].data
            cells[at].stat = rows[r].stat
            cells[at].weight = weight[r] if weighted else 1.0
            cells[at].dq = rows[r].dq
            cells[at].row = r
            usable = rows[r].dq == 0 or rows[r].dq == COSMIC_RAY
            if has_values:
                value[at] = rows[r].data if usable else -INFINITY
            if has_variances:
                variance[at] = rows[r].stat if usable else -INFINITY
    offsets[n_planes * n_spaxels] = <int>plane_starts[n_planes]


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

# SPDX-License-Identifier: GPL-2.0-or-later
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Kernels for the noise of resampled voxels, which share the rows that they are made of.

With the weight w_ij of row i in voxel j, the covariance of two voxels is ``sum_i w_ij w_ik var_i / (W_j W_k)``. The sums
of a voxel run over (y of the cell, plane of the cell, x of the cell, row) in ascending order, as in `resample`, and
rows of the grid are shared among threads by their number: same bits for any slabs and threads.
"""

from cython.parallel cimport prange, threadid
from libc.math cimport isfinite
from libc.stdlib cimport abs as distance
from bounded cimport require, require_threads, shaped
from grid_types cimport cell_row_t, grid_t, spaxel_t
from stopping cimport is_set
from weighting cimport (
    DRIZZLE, LANCZOS, LINEAR, N_METHODS, NARROW_DRIZZLE, QUADRATIC, RENKA, combined, spatial_part, spectral_part, weighting_t
)

cdef enum:
    BAND = 16          # rows of the grid that a task works on
    LARGEST_REACH = 8
    LARGEST_DEPTH = 2

cdef Py_ssize_t LARGEST_RADIUS = 2 * LARGEST_REACH
cdef Py_ssize_t LARGEST_INT = 0x7FFFFFFF


cdef struct shared_t:
    # A voxel to which a row contributes, with its weight there in the plane and in those after it.
    int x
    int y
    double[LARGEST_DEPTH + 1] weight


cdef struct slab_t:
    const cell_row_t *cells
    const int *offsets
    const spaxel_t *spaxels
    const double *lbda        # of the plane and of those after it
    const double *length
    Py_ssize_t n_planes
    Py_ssize_t nx
    Py_ssize_t ny
    Py_ssize_t bottom      # rows of the grid of which there are cells, `top` excluded
    Py_ssize_t top
    Py_ssize_t first       # rows of which there are sums
    Py_ssize_t plane
    int depth
    int radius
    bint selves
    Py_ssize_t n_sums
    const int *stop


def n_sums(int depth, int radius, bint selves):
    """Return the number of sums of a voxel that `pair_sums` makes."""
    require(0 <= depth <= LARGEST_DEPTH and 0 <= radius <= LARGEST_RADIUS, "depth and radius within limits")
    cdef Py_ssize_t square = (2 * radius + 1) * (2 * radius + 1)
    return (square + 1) // 2 + depth * (square + selves)


cdef inline int gather(int method, const weighting_t *w, const grid_t *grid, const slab_t *s, const cell_row_t *row,
                       Py_ssize_t x, Py_ssize_t y, const double *spectral, const bint *reached,
                       shared_t *shared) noexcept nogil:
    # List the spaxels to which a row of the cell (x, y) contributes; return their number.
    cdef Py_ssize_t i, j, x0 = max(x - w.reach, 0), x1 = min(x + w.reach + 1, s.nx)
    cdef Py_ssize_t y0 = max(y - w.reach, 0), y1 = min(y + w.reach + 1, s.ny)
    cdef int n = 0, p
    cdef double part
    if method == NARROW_DRIZZLE:  # one neighbour at most along each axis
        if (row.xpos + grid.origin1 - s.spaxels[y * s.nx + x].x > 0) == (w.sign_x > 0):
            x0 = x
        else:
            x1 = x + 1
        if (row.ypos + grid.origin2 - s.spaxels[y * s.nx + x].y > 0) == (w.sign_y > 0):
            y0 = y
        else:
            y1 = y + 1
    for j in range(y0, y1):
        for i in range(x0, x1):
            if spatial_part(max(method, DRIZZLE), w, grid, row, &s.spaxels[j * s.nx + i], &part):
                shared[n].x = <int>i
                shared[n].y = <int>j
                for p in range(s.depth + 1):
                    if not reached[p]:
                        shared[n].weight[p] = 0
                    elif method <= DRIZZLE:  # without the volume of the drop, which all weights have in common
                        shared[n].weight[p] = part * spectral[p] * row.weight
                    else:
                        shared[n].weight[p] = combined(method, w, part, spectral[p]) * row.weight
                n += 1
    return n


cdef inline void add_pairs(const slab_t *s, const shared_t *shared, int n, float variance, Py_ssize_t first,
                           Py_ssize_t last, double *sums) noexcept nogil:
    # Add a row to the sums of all pairs whose first voxel is in the rows first...last - 1 of the grid.
    cdef int a, b, dx, dy, p, side = 2 * s.radius + 1, half = (side * side + 1) // 2
    cdef double scaled
    cdef double *own
    for a in range(n):
        if not first <= shared[a].y < last:
            continue
        own = sums + ((shared[a].y - s.first) * s.nx + shared[a].x) * s.n_sums
        scaled = shared[a].weight[0] * variance
        if s.radius == 0:
            for p in range(s.depth + 1):
                own[p] += scaled * shared[a].weight[p]
        for b in range(n if s.radius else 0):
            dx = shared[b].x - shared[a].x
            dy = shared[b].y - shared[a].y
            if distance(dx) > s.radius or distance(dy) > s.radius:
                continue
            if dy > 0 or (dy == 0 and dx >= 0):
                own[dx + side * dy] += scaled * shared[b].weight[0]
            for p in range(1, s.depth + 1):
                own[half + (p - 1) * side * side + (dy + s.radius) * side + dx + s.radius] += scaled * shared[b].weight[p]
        if s.selves:
            for p in range(1, s.depth + 1):
                own[half + s.depth * side * side + p - 1] += shared[a].weight[p] * variance * shared[a].weight[p]


cdef inline void sum_band(int method, const weighting_t *w, const grid_t *grid, const slab_t *s, Py_ssize_t first,
                          Py_ssize_t last, shared_t *shared, double *sums) noexcept nogil:
    cdef Py_ssize_t x, y, plane, k
    cdef Py_ssize_t low = max(s.plane - w.reach, 0)
    cdef Py_ssize_t high = min(s.plane + (s.depth if s.selves else 0) + w.reach + 1, s.n_planes)
    cdef const int *offsets
    cdef const cell_row_t *row
    cdef double[LARGEST_DEPTH + 1] spectral
    cdef bint[LARGEST_DEPTH + 1] reached
    cdef int p, n
    cdef bint used
    for y in range(max(first - w.reach, s.bottom), min(last + w.reach, s.top)):
        for plane in range(low, high):
            offsets = s.offsets + (plane * (s.top - s.bottom) + y - s.bottom) * s.nx
            for x in range(s.nx):
                if is_set(s.stop):
                    return
                for k in range(offsets[x], offsets[x + 1]):
                    row = s.cells + k
                    if row.dq != 0 or not (isfinite(row.data) and isfinite(row.stat) and isfinite(row.weight)):
                        continue
                    used = False
                    for p in range(s.depth + 1):
                        reached[p] = (distance(<int>(s.plane + p - plane)) <= w.reach
                                      and spectral_part(max(method, DRIZZLE), w, row.lbda, s.lbda[p], s.length[p],
                                                        &spectral[p]))
                        used = used or (reached[p] and (p == 0 or s.selves))
                    if not used:
                        continue
                    n = gather(method, w, grid, s, row, x, y, spectral, reached, shared)
                    add_pairs(s, shared, n, row.stat, first, last, sums)


cdef void dispatch(int method, const weighting_t *w, const grid_t *grid, const slab_t *s, Py_ssize_t first,
                   Py_ssize_t last, shared_t *shared, double *sums) noexcept nogil:
    if method == NARROW_DRIZZLE:
        sum_band(NARROW_DRIZZLE, w, grid, s, first, last, shared, sums)
    elif method == DRIZZLE:
        sum_band(DRIZZLE, w, grid, s, first, last, shared, sums)
    elif method == LINEAR:
        sum_band(LINEAR, w, grid, s, first, last, shared, sums)
    elif method == QUADRATIC:
        sum_band(QUADRATIC, w, grid, s, first, last, shared, sums)
    elif method == RENKA:
        sum_band(RENKA, w, grid, s, first, last, shared, sums)
    elif method == LANCZOS:
        sum_band(LANCZOS, w, grid, s, first, last, shared, sums)
    else:  # of a method that has no line here: the same, somewhat slower
        sum_band(method, w, grid, s, first, last, shared, sums)


def scratch_size(Py_ssize_t reach):
    """Return the number of bytes that `pair_sums` needs as scratch for each thread."""
    require(0 <= reach <= LARGEST_REACH, "reach within limits")
    return (2 * reach + 1) * (2 * reach + 1) * sizeof(shared_t)


def pair_sums(const cell_row_t[::1] cells, const int[::1] offsets, grid_t grid, const spaxel_t[:, ::1] spaxels,
              int bottom, int top, int first, int last, const double[::1] lbda, const double[::1] length, int method,
              weighting_t weighting, int plane, int depth, int radius, bint selves, double[:, ::1] scratch, double[:, :, ::1] sums, const int[::1] stop,
              int n_threads):
    """Sum up weight, weight and variance of the rows that a voxel shares with its neighbours.

    Parameters
    ----------
    cells, offsets, grid, spaxels, weighting
        As for `resample.weigh`; grid and spaxels are the whole ones, cells may be those of some rows of the grid.
    bottom, top : int
        Rows of the grid of which there are cells, `top` excluded.
    first, last : int
        Rows of which sums are made, `last` excluded; all rows within reach of them must be there.
    lbda, length : ndarray of float64, shape (depth + 1,)
        Wavelength, and size in wavelength, of the plane and of those after it, in Angstrom.
    method : int
        NARROW_DRIZZLE, DRIZZLE, LINEAR, QUADRATIC, RENKA or LANCZOS.
    plane : int
        Plane of the slab.
    depth : int
        Number of planes after it in which neighbours are; the slab need not have them.
    radius : int
        Distance of the neighbours in x and in y, in spaxels, at most.
    selves : bool
        Sum up, too, the squares of the voxels in those further planes; all rows within reach of them must be there.
    scratch : ndarray of float64, shape (n_threads, >= scratch_size(reach) / 8)
        Scratch.
    sums : ndarray of float64, shape (last - first, nx, n_sums(depth, radius, selves))
        Output, which is added to: for each voxel of the plane the sums with the voxel at (dz, dy, dx), in the order of
        these three: with dz = 0 the half from (0, 0, 0) on, the others from (dz, -radius, -radius) on; then, with
        `selves`, those of the voxels in the planes dz = 1... with themselves.
    stop : ndarray of int32, shape (1,)
        See stopping.pxd.
    n_threads : int
        Number of threads.
    """
    cdef slab_t s
    cdef Py_ssize_t task, n_tasks, n_cells = offsets.shape[0] - 1
    require(grid.nx > 0 and grid.ny > 0 and n_cells > 0 and cells.shape[0] > 0, "nx, ny, offsets, cells: one or more")
    require(grid.nx <= LARGEST_INT // grid.ny, "grid: fewer than 2^31 spaxels")
    require(0 <= bottom <= first <= last <= top <= grid.ny and bottom < top, "rows of the grid")
    require(n_cells % (<Py_ssize_t>(top - bottom) * grid.nx) == 0, "offsets: one for each cell, and one")
    require(0 <= offsets[0] and offsets[n_cells] <= cells.shape[0], "offsets: within the cells")
    require(shaped(spaxels.shape, grid.ny, grid.nx), "spaxels: of shape (ny, nx)")
    require(0 <= depth <= LARGEST_DEPTH, "depth: within limits")
    require(lbda.shape[0] == depth + 1 and length.shape[0] == depth + 1, "lbda, length: one for each plane")
    require(NARROW_DRIZZLE <= method < N_METHODS, "method: as numbered")
    require(0 <= weighting.reach <= LARGEST_REACH, "reach within limits")
    require(0 <= plane < n_cells // (<Py_ssize_t>(top - bottom) * grid.nx), "plane: in the slab")
    require(shaped(sums.shape, last - first, grid.nx, n_sums(depth, radius, selves)), "sums: of shape (rows, nx, n_sums)")
    require(stop.shape[0] == 1, "stop: one")
    require_threads(n_threads)
    require(scratch.shape[1] * <Py_ssize_t>sizeof(double) >= scratch_size(weighting.reach), "scratch: of scratch_size")
    require(n_threads <= scratch.shape[0], "scratch: for each thread")
    s.cells = &cells[0]
    s.offsets = &offsets[0]
    s.spaxels = &spaxels[0, 0]
    s.lbda = &lbda[0]
    s.length = &length[0]
    if first == last:
        return
    s.n_planes = n_cells // (<Py_ssize_t>(top - bottom) * grid.nx)
    s.nx = grid.nx
    s.ny = grid.ny
    s.bottom = bottom
    s.top = top
    s.first = first
    s.plane = plane
    s.depth = depth
    s.radius = radius
    s.selves = selves
    s.n_sums = sums.shape[2]
    s.stop = &stop[0]
    n_tasks = (last - first + BAND - 1) // BAND
    for task in prange(n_tasks, nogil=True, num_threads=n_threads, schedule="dynamic"):
        dispatch(method, &weighting, &grid, &s, first + task * BAND, min(first + (task + 1) * BAND, last),
                 <shared_t *>&scratch[threadid(), 0], &sums[0, 0, 0])

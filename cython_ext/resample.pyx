# SPDX-License-Identifier: GPL-2.0-or-later
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Kernels that make voxels from the rows sorted into the cells of a grid.

Each row is added to the voxels within its reach. The sums of a voxel run over (y of the cell, plane of the cell, x of
the cell, row) in ascending order, however the planes are shared among slabs, blocks and threads.
"""

from cython.parallel cimport prange, threadid
from libc.math cimport fabs, isfinite, sqrt
from libc.string cimport memset
from libc.float cimport FLT_MAX
from bounded cimport require, require_threads, shaped
from grid_types cimport cell_row_t, grid_t, spaxel_t
from rows_types cimport MISSING
from stopping cimport is_set
from weighting cimport (
    DRIZZLE, LANCZOS, LINEAR, N_METHODS, NARROW_DRIZZLE, QUADRATIC, RENKA, SPECTRAL_SCALE, combined, spatial_part,
    spectral_part, weighting_t
)


cdef Py_ssize_t LARGEST_INT = 0x7FFFFFFF
cdef Py_ssize_t LARGEST_REACH = 0xFFFF
cdef Py_ssize_t LARGEST_THICKNESS = 1024


cdef extern from "drizzle.h" nogil:
    Py_ssize_t SUMS "MUSE_SUMS"
    Py_ssize_t DATA_SUMS "MUSE_DATA_SUMS"
    ctypedef struct drops_t "muse_drops":
        double origin_x, origin_y, drop_x, drop_y, drop_l, volume, voxel_x, voxel_y
        Py_ssize_t sign_x, sign_y, sign_l
        const spaxel_t *spaxels
        const double *lbda
        const double *length
        Py_ssize_t n_planes, nx, ny, first, last, ring_rows
        double *ring
    Py_ssize_t drizzle_line "muse_drizzle_line"(const drops_t *c, const cell_row_t *cells, const int *offsets,
                                                Py_ssize_t y, Py_ssize_t plane, Py_ssize_t *x, Py_ssize_t k)
    Py_ssize_t drizzle_line_of_data "muse_drizzle_line_of_data"(const drops_t *c, const cell_row_t *cells,
                                                                const int *offsets, Py_ssize_t y, Py_ssize_t plane,
                                                                Py_ssize_t *x, Py_ssize_t k)
    void finish_voxels "muse_finish"(const double *sums, Py_ssize_t n, int flag, float *data, float *stat, int *dq)
    void finish_data "muse_finish_data"(const double *sums, Py_ssize_t n, int flag, float *data, int *dq)

cdef enum:
    ALIGNMENT = 64   # of the sums, in bytes


cdef struct slab_t:
    const cell_row_t *cells
    const int *offsets
    const spaxel_t *spaxels
    const double *lbda        # of the planes of the slab
    const double *length      # of their voxels
    Py_ssize_t n_planes
    Py_ssize_t nx
    Py_ssize_t ny
    const int *stop


cdef struct block_t:
    Py_ssize_t first      # output planes of the block, as indices into the slab
    Py_ssize_t last
    Py_ssize_t bottom     # rows of the grid of the block
    Py_ssize_t top
    Py_ssize_t ring_rows  # rows of the grid that are being summed up, one more than twice the reach
    double *ring          # [row of the grid modulo ring_rows][plane - first][x][SUMS, without variances DATA_SUMS]
    double *spectral      # [2 * reach + 1]


# Here as well as `method`, `variances` is a constant at each call: whether there are sums for them.

cdef inline Py_ssize_t n_sums(bint variances) noexcept nogil:
    return SUMS if variances else DATA_SUMS


cdef inline void add(bint variances, double *sums, double weight, const cell_row_t *row) noexcept nogil:
    sums[0] += weight
    sums[1] += row.data * weight
    if variances:
        sums[2] += row.stat * weight * weight


cdef inline double *sums_of(bint variances, const block_t *b, Py_ssize_t nx, Py_ssize_t x, Py_ssize_t y,
                            Py_ssize_t plane) noexcept nogil:
    return b.ring + (((y % b.ring_rows) * (b.last - b.first) + plane - b.first) * nx + x) * n_sums(variances)


cdef inline void scatter(int method, bint variances, const weighting_t *w, const grid_t *grid, const slab_t *s,
                         const block_t *b, const cell_row_t *row, Py_ssize_t x, Py_ssize_t y,
                         Py_ssize_t plane) noexcept nogil:
    # Add a row of the cell (x, y, plane) to the voxels within reach where its weight is not zero.
    cdef Py_ssize_t i, j, p, n = 0
    cdef Py_ssize_t first = max(b.first, plane - w.reach), last = min(b.last, plane + w.reach + 1)
    cdef double part
    cdef double *sums
    while first < last and not spectral_part(method, w, row.lbda, s.lbda[first], s.length[first], &b.spectral[0]):
        first += 1
    if first == last:
        return
    n = 1
    while (first + n < last
            and spectral_part(method, w, row.lbda, s.lbda[first + n], s.length[first + n], &b.spectral[n])):
        n += 1
    for j in range(max(y - w.reach, 0), min(y + w.reach + 1, s.ny)):
        for i in range(max(x - w.reach, 0), min(x + w.reach + 1, s.nx)):
            if spatial_part(method, w, grid, row, &s.spaxels[j * s.nx + i], &part):
                sums = sums_of(variances, b, s.nx, i, j, first)
                for p in range(n):
                    add(variances, sums + p * s.nx * n_sums(variances),
                        combined(method, w, part, b.spectral[p]) * row.weight, row)


cdef drops_t make_drops(const weighting_t *w, const grid_t *grid, const slab_t *s, const block_t *b) noexcept nogil:
    cdef drops_t d
    d.origin_x, d.origin_y = grid.origin1, grid.origin2
    d.drop_x, d.drop_y, d.drop_l, d.volume = w.drop_x, w.drop_y, w.drop_l, w.volume
    d.voxel_x, d.voxel_y = w.voxel_x, w.voxel_y
    d.sign_x, d.sign_y, d.sign_l = w.sign_x, w.sign_y, w.sign_l
    d.spaxels = s.spaxels
    d.lbda, d.length = s.lbda, s.length
    d.n_planes, d.nx, d.ny = s.n_planes, s.nx, s.ny
    d.first, d.last, d.ring_rows, d.ring = b.first, b.last, b.ring_rows, b.ring
    return d


cdef void scatter_everywhere(int method, bint variances, const weighting_t *w, const grid_t *grid, const slab_t *s,
                             const block_t *b, const cell_row_t *row, Py_ssize_t x, Py_ssize_t y,
                             Py_ssize_t plane) noexcept nogil:
    # The same for a row that is not finite: it spoils even the voxels where its weight is zero.
    cdef Py_ssize_t i, j, p
    cdef double part, spectral, weight
    for j in range(max(y - w.reach, 0), min(y + w.reach + 1, s.ny)):
        for i in range(max(x - w.reach, 0), min(x + w.reach + 1, s.nx)):
            for p in range(max(b.first, plane - w.reach), min(b.last, plane + w.reach + 1)):
                weight = 0
                if (spatial_part(method, w, grid, row, &s.spaxels[j * s.nx + i], &part)
                        and spectral_part(method, w, row.lbda, s.lbda[p], s.length[p], &spectral)):
                    weight = combined(method, w, part, spectral)
                add(variances, sums_of(variances, b, s.nx, i, j, p), weight * row.weight, row)


cdef inline void finish_row(bint variances, const slab_t *s, const block_t *b, Py_ssize_t y, Py_ssize_t first_output,
                            float *data, float *stat, int *dq) noexcept nogil:
    # Write the voxels of a row of the grid, if it is one of the block, and clear their sums.
    cdef Py_ssize_t p, out
    cdef double *sums
    for p in range(b.first, b.last):
        sums = sums_of(variances, b, s.nx, 0, y, p)
        out = ((p - first_output) * s.ny + y) * s.nx
        if y < b.bottom:
            pass
        elif variances:
            finish_voxels(sums, s.nx, MISSING, data + out, stat + out, dq + out)
        else:
            finish_data(sums, s.nx, MISSING, data + out, dq + out)
        memset(sums, 0, s.nx * n_sums(variances) * sizeof(double))


cdef inline void scatter_any(int method, bint variances, const weighting_t *w, const grid_t *grid, const slab_t *s,
                             const block_t *b, const cell_row_t *row, Py_ssize_t x, Py_ssize_t y,
                             Py_ssize_t plane) noexcept nogil:
    if row.dq != 0:
        return
    if not (isfinite(row.data) and isfinite(row.stat) and isfinite(row.weight)):
        scatter_everywhere(method, variances, w, grid, s, b, row, x, y, plane)
    else:
        scatter(method, variances, w, grid, s, b, row, x, y, plane)


cdef inline void weigh_block(int method, bint variances, const weighting_t *w, const grid_t *grid, const slab_t *s,
                             const block_t *b, Py_ssize_t first_output, float *data, float *stat,
                             int *dq) noexcept nogil:
    cdef Py_ssize_t x, y, plane, k, end = min(b.top + w.reach, s.ny)
    cdef const int *offsets
    cdef drops_t drops = make_drops(w, grid, s, b)
    memset(b.ring, 0, b.ring_rows * (b.last - b.first) * s.nx * n_sums(variances) * sizeof(double))
    for y in range(max(b.bottom - w.reach, 0), end):
        for plane in range(max(b.first - w.reach, 0), min(b.last + w.reach, s.n_planes)):
            if is_set(s.stop):
                return
            offsets = s.offsets + (plane * s.ny + y) * s.nx
            if method == NARROW_DRIZZLE:
                x, k = 0, offsets[0]
                while True:
                    if variances:
                        k = drizzle_line(&drops, s.cells, offsets, y, plane, &x, k)
                    else:
                        k = drizzle_line_of_data(&drops, s.cells, offsets, y, plane, &x, k)
                    if x == s.nx:
                        break
                    scatter_any(DRIZZLE, variances, w, grid, s, b, s.cells + k, x, y, plane)
                    k += 1
                continue
            for x in range(s.nx):
                for k in range(offsets[x], offsets[x + 1]):
                    scatter_any(method, variances, w, grid, s, b, s.cells + k, x, y, plane)
        if y >= w.reach:
            finish_row(variances, s, b, y - w.reach, first_output, data, stat, dq)
    for y in range(max(end - w.reach, b.bottom), b.top):
        finish_row(variances, s, b, y, first_output, data, stat, dq)


cdef void dispatch(int method, const weighting_t *w, const grid_t *grid, const slab_t *s, const block_t *b,
                   Py_ssize_t first_output, float *data, float *stat, int *dq) noexcept nogil:
    if stat == NULL:
        if method == NARROW_DRIZZLE:
            weigh_block(NARROW_DRIZZLE, False, w, grid, s, b, first_output, data, stat, dq)
        else:
            weigh_block(method, False, w, grid, s, b, first_output, data, stat, dq)
    elif method == NARROW_DRIZZLE:
        weigh_block(NARROW_DRIZZLE, True, w, grid, s, b, first_output, data, stat, dq)
    elif method == DRIZZLE:
        weigh_block(DRIZZLE, True, w, grid, s, b, first_output, data, stat, dq)
    elif method == LINEAR:
        weigh_block(LINEAR, True, w, grid, s, b, first_output, data, stat, dq)
    elif method == QUADRATIC:
        weigh_block(QUADRATIC, True, w, grid, s, b, first_output, data, stat, dq)
    elif method == RENKA:
        weigh_block(RENKA, True, w, grid, s, b, first_output, data, stat, dq)
    elif method == LANCZOS:
        weigh_block(LANCZOS, True, w, grid, s, b, first_output, data, stat, dq)
    else:  # of a method that has no line here: the same, somewhat slower
        weigh_block(method, True, w, grid, s, b, first_output, data, stat, dq)


cdef int require_slab(const cell_row_t[::1] cells, const int[::1] offsets, const grid_t *grid,
                      const spaxel_t[:, ::1] spaxels, const double[::1] lbda, int first, int last,
                      const float[:, :, ::1] data, const int[:, :, ::1] dq, const int[::1] stop) except -1:
    cdef Py_ssize_t n_cells = offsets.shape[0] - 1
    require(grid.nx > 0 and grid.ny > 0 and lbda.shape[0] > 0 and cells.shape[0] > 0, "nx, ny, planes, cells: one or more")
    require(n_cells == lbda.shape[0] * grid.ny * grid.nx, "offsets: one for each cell, and one")
    require(0 <= offsets[0] and offsets[n_cells] <= cells.shape[0], "offsets: within the cells")
    require(shaped(spaxels.shape, grid.ny, grid.nx), "spaxels: of shape (ny, nx)")
    require(0 <= first <= last <= lbda.shape[0], "planes of the slab")
    require(shaped(data.shape, last - first, grid.ny, grid.nx), "data: of shape (last - first, ny, nx)")
    require(shaped(dq.shape, last - first, grid.ny, grid.nx), "dq: of shape (last - first, ny, nx)")
    return require(stop.shape[0] == 1, "stop: one")


cdef int require_variances(const float[:, :, ::1] stat, const float[:, :, ::1] data) except -1:
    return require(shaped(stat.shape, data.shape[0], data.shape[1], data.shape[2]), "stat: of the shape of data")


def scratch_size(Py_ssize_t nx, Py_ssize_t reach, Py_ssize_t thickness):
    """Return the number of float64 that `weigh` needs as scratch for each thread."""
    require(0 < nx <= LARGEST_INT and 0 <= reach <= LARGEST_REACH and 0 < thickness <= LARGEST_THICKNESS, "sizes within limits")
    return (2 * reach + 1) * (thickness * nx * SUMS + 1) + ALIGNMENT // sizeof(double)


def weigh(const cell_row_t[::1] cells, const int[::1] offsets, grid_t grid, const spaxel_t[:, ::1] spaxels,
          const double[::1] lbda, const double[::1] length, int method, weighting_t weighting, int first, int last,
          int thickness, int n_bands, double[:, ::1] scratch, float[:, :, ::1] data, stat, int[:, :, ::1] dq,
          const int[::1] stop, int n_threads):
    """Weighted mean of the rows around each voxel.

    Parameters
    ----------
    cells, offsets : ndarray of CELL_ROW and int32
        Sorted rows of the slab; rows with flags are left out.
    grid : dict
        `OutputGrid.parameters`.
    spaxels : ndarray of SPAXEL, shape (ny, nx)
        From `spaxel_table`.
    lbda, length : ndarray of float64, shape (n_planes,)
        Wavelength, and size in wavelength, of the planes of the slab, in Angstrom.
    method : int
        NARROW_DRIZZLE, DRIZZLE, LINEAR, QUADRATIC, RENKA or LANCZOS.
    weighting : dict
        The fields of `weighting_t`.
    first, last : int
        Planes of the slab to make, `last` excluded; the others are neighbours only.
    thickness, n_bands : int
        Planes that a thread works on at once, and bands into which it cuts them, along y; no influence on the result.
    scratch : ndarray of float64, shape (n_threads, scratch_size(nx, reach, thickness))
        Scratch.
    data, stat : ndarray of float32, shape (last - first, ny, nx)
        Output: value and variance, 0 where there is nothing; `stat` may be None: no variances.
    dq : ndarray of int32, shape (last - first, ny, nx)
        Output: 0, or MISSING.
    stop : ndarray of int32, shape (1,)
        See stopping.pxd.
    n_threads : int
        Number of threads.
    """
    cdef slab_t s
    cdef Py_ssize_t task, n_blocks
    cdef float[:, :, ::1] variances
    cdef float *first_variance = NULL
    require_slab(cells, offsets, &grid, spaxels, lbda, first, last, data, dq, stop)
    if stat is not None:
        variances = stat
        require_variances(variances, data)
        first_variance = &variances[0, 0, 0]
    require(length.shape[0] == lbda.shape[0], "length: one for each plane")
    require(NARROW_DRIZZLE <= method < N_METHODS, "method: as numbered")
    require(weighting.sign_x in (-1, 1) and weighting.sign_y in (-1, 1) and weighting.sign_l in (-1, 1), "signs: -1 or 1")
    require(weighting.reach > 0 or method != NARROW_DRIZZLE, "reach: 1 or more")
    require(1 <= n_bands <= grid.ny, "n_bands: one or more, and no more than rows of the grid")
    require(scratch.shape[1] >= scratch_size(grid.nx, weighting.reach, thickness), "scratch: of scratch_size")
    require_threads(n_threads)
    require(n_threads <= scratch.shape[0], "scratch: for each thread")
    if first == last:
        return
    n_blocks = (last - first + <Py_ssize_t>thickness - 1) // thickness
    s.cells = &cells[0]
    s.offsets = &offsets[0]
    s.spaxels = &spaxels[0, 0]
    s.lbda = &lbda[0]
    s.length = &length[0]
    s.n_planes = lbda.shape[0]
    s.nx = grid.nx
    s.ny = grid.ny
    s.stop = &stop[0]
    for task in prange(n_blocks * n_bands, nogil=True, num_threads=n_threads, schedule="dynamic"):
        run_block(method, &weighting, &grid, &s, first, last, thickness, n_bands, task, &scratch[threadid(), 0],
                  &data[0, 0, 0], first_variance, &dq[0, 0, 0])


cdef void run_block(int method, const weighting_t *w, const grid_t *grid, const slab_t *s, Py_ssize_t first,
                    Py_ssize_t last, Py_ssize_t thickness, Py_ssize_t n_bands, Py_ssize_t task, double *scratch,
                    float *data, float *stat, int *dq) noexcept nogil:
    cdef Py_ssize_t band = task % n_bands
    cdef block_t b
    b.first = first + task // n_bands * thickness
    b.last = min(b.first + thickness, last)
    b.bottom = band * s.ny // n_bands
    b.top = (band + 1) * s.ny // n_bands
    b.ring_rows = 2 * w.reach + 1
    b.ring = <double *>((<size_t>scratch + ALIGNMENT - 1) & ~<size_t>(ALIGNMENT - 1))
    b.spectral = b.ring + b.ring_rows * thickness * s.nx * SUMS
    dispatch(method, w, grid, s, &b, first, data, stat, dq)


def nearest(const cell_row_t[::1] cells, const int[::1] offsets, grid_t grid, const spaxel_t[:, ::1] spaxels,
            const double[::1] lbda, double xn, double yn, int first, int last, float[:, :, ::1] data,
            float[:, :, ::1] stat, int[:, :, ::1] dq, const int[::1] stop, int n_threads):
    """Copy the nearest row of each cell, flagged or not.

    Parameters are those of `weigh`; xn and yn are the inverse spaxel sizes. As in the reference, the offset of the
    positions enters the distance with the wrong sign.
    """
    cdef Py_ssize_t plane, y, x, best, v, nx = grid.nx, ny = grid.ny
    require_slab(cells, offsets, &grid, spaxels, lbda, first, last, data, dq, stop)
    require_variances(stat, data)
    require_threads(n_threads)
    for plane in prange(first, last, nogil=True, num_threads=n_threads, schedule="dynamic"):
        for y in range(ny):
            if is_set(&stop[0]):
                break
            for x in range(nx):
                v = (plane * ny + y) * nx + x
                if offsets[v] == offsets[v + 1]:
                    data[plane - first, y, x] = 0
                    stat[plane - first, y, x] = 0
                    dq[plane - first, y, x] = MISSING
                    continue
                best = nearest_row(&cells[0], offsets[v], offsets[v + 1], &grid, &spaxels[y, x], lbda[plane], xn, yn)
                data[plane - first, y, x] = cells[best].data
                stat[plane - first, y, x] = cells[best].stat
                dq[plane - first, y, x] = cells[best].dq


cdef inline Py_ssize_t nearest_row(const cell_row_t *cells, Py_ssize_t start, Py_ssize_t end, const grid_t *grid,
                                   const spaxel_t *spaxel, double lbda, double xn, double yn) noexcept nogil:
    cdef Py_ssize_t k, best = start
    cdef double dx, dy, dl, r, smallest = FLT_MAX
    if end - start == 1:
        return start
    for k in range(start, end):
        dx = fabs(spaxel.x - cells[k].xpos + grid.origin1) * xn * spaxel.cos_y
        dy = fabs(spaxel.y - cells[k].ypos + grid.origin2) * yn
        dl = fabs(lbda - cells[k].lbda) * SPECTRAL_SCALE
        r = sqrt(dx * dx + dy * dy + dl * dl)
        if r < smallest:
            smallest = r
            best = k
    return best

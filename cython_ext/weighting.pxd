# SPDX-License-Identifier: GPL-2.0-or-later
# cython: cdivision=True
# The weight of a row in a voxel, for every method but nearest: a spatial and a spectral part, and their combination.
# `method` is a constant at each call, so that compilers drop the other branches.

from libc.math cimport M_PI, fabs, sin, sqrt
from libc.float cimport FLT_MAX
from grid_types cimport cell_row_t, grid_t, spaxel_t

# The numbers of muse_core.model.resampling. NARROW_DRIZZLE is drizzle where a drop overlaps at most one neighbour along
# each axis.
cdef enum:
    NARROW_DRIZZLE = -1
    DRIZZLE = 0
    LINEAR = 1
    QUADRATIC = 2
    RENKA = 3
    LANCZOS = 4
    N_METHODS = 5

# The spectral scale of all methods is that of the instrument, whatever the grid.
cdef extern from *:
    """
    #define MUSE_SPECTRAL_SCALE (1.0 / 1.25)
    """
    const double SPECTRAL_SCALE "MUSE_SPECTRAL_SCALE"


cdef struct weighting_t:
    int reach         # loop distance, cells
    double drop_x     # drizzle: sizes of a row's drop
    double drop_y
    double drop_l
    double volume
    double voxel_x    # drizzle: sizes of a voxel
    double voxel_y
    double xn         # the others: cells a unit of position
    double yn
    double radius     # renka: critical radius
    double far        # renka: weight beyond it
    int sign_x        # narrow drizzle: +1 if positions ascend with the cells, else -1
    int sign_y
    int sign_l


cdef inline double overlap(double distance, double drop, double voxel) noexcept nogil:
    # Length of the overlap of a drop and a voxel along one axis; not positive where they do not overlap.
    if distance + voxel / 2 <= drop / 2:
        return voxel
    return (drop + voxel) / 2 - distance


cdef inline double clipped(double length, double drop) noexcept nogil:
    # The overlap that counts: at most the drop.
    return drop if length > drop else length


cdef inline double sinc(double t) noexcept nogil:
    return 1.0 if fabs(t) < 2.220446049250313e-16 else sin(M_PI * t) / (M_PI * t)


cdef inline double lanczos_factor(double distance, int reach) noexcept nogil:
    cdef double t = sinc(distance)
    return t * t if reach == 1 else t * sinc(distance / reach)


cdef inline bint spatial_part(int method, const weighting_t *w, const grid_t *grid, const cell_row_t *row,
                              const spaxel_t *spaxel, double *part) noexcept nogil:
    # False if the weight is zero.
    cdef double dx = fabs(spaxel.x - (row.xpos + grid.origin1)) * spaxel.cos_y
    cdef double dy = fabs(spaxel.y - (row.ypos + grid.origin2))
    cdef double tx, ty
    if method == DRIZZLE:
        tx = overlap(dx, w.drop_x, w.voxel_x)
        ty = overlap(dy, w.drop_y, w.voxel_y)
        part[0] = clipped(tx, w.drop_x) * clipped(ty, w.drop_y)
        return tx > 0 and ty > 0
    dx = dx * w.xn
    dy = dy * w.yn
    if method == LANCZOS:
        if dx >= w.reach or dy >= w.reach:
            return False
        part[0] = lanczos_factor(dx, w.reach) * lanczos_factor(dy, w.reach)
        return True
    part[0] = dx * dx + dy * dy
    return True


cdef inline bint spectral_part(int method, const weighting_t *w, double lbda, double plane_lbda, double voxel_l,
                               double *part) noexcept nogil:
    cdef double distance = fabs(plane_lbda - lbda), t
    if method == DRIZZLE:
        t = overlap(distance, w.drop_l, voxel_l)
        part[0] = clipped(t, w.drop_l)
        return t > 0
    distance = distance * SPECTRAL_SCALE
    if method == LANCZOS:
        if distance > w.reach:
            return False
        part[0] = lanczos_factor(distance, w.reach)
        return True
    part[0] = distance * distance
    return True


cdef inline double renka_weight(double r, double radius, double far) noexcept nogil:
    cdef double t
    if r == 0:
        return <double>FLT_MAX
    if r >= radius:
        return far
    t = (radius - r) / (radius * r)
    return t * t


cdef inline double combined(int method, const weighting_t *w, double a, double b) noexcept nogil:
    cdef double r
    if method == DRIZZLE:
        return a * b / w.volume
    if method == LANCZOS:
        return a * b
    r = a + b
    if method == QUADRATIC:
        return <double>FLT_MAX if r == 0 else 1 / r
    r = sqrt(r)
    if method == LINEAR:
        return <double>FLT_MAX if r == 0 else 1 / r
    return renka_weight(r, w.radius, w.far)

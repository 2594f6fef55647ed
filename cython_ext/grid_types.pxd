# SPDX-License-Identifier: GPL-2.0-or-later
# cython: cdivision=True
# The C view of an output grid (muse_core.model.grid.OutputGrid.parameters()) and of a row sorted into it.

from libc.math cimport trunc

cdef struct grid_t:
    int nx
    int ny
    int nz
    bint celestial    # positions in deg relative to origin1, origin2; else in spaxels
    bint logarithmic
    double crpix1
    double crpix2
    double crpix3
    double crval1
    double crval2
    double crval3
    double cd11
    double cd12
    double cd21
    double cd22
    double cd33
    double origin1    # CRVAL of the pixel table, 0 where positions are in spaxels
    double origin2
    double scale_x    # spaxel size of the pixel table, deg (1 where positions are in spaxels)
    double scale_y


cdef extern from "grid_types.h":
    ctypedef struct cell_row_t "muse_cell":
        float xpos
        float ypos
        float lbda
        float data
        int dq
        float stat
        float weight
        int row

    ctypedef struct spaxel_t "muse_spaxel":
        double x
        double y
        double cos_y


cdef inline double round_half_away(double x) noexcept nogil:
    cdef double whole = trunc(x)
    if x - whole >= 0.5:
        return whole + 1.0
    if x - whole <= -0.5:
        return whole - 1.0
    return whole

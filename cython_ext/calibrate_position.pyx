# SPDX-License-Identifier: GPL-2.0-or-later
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Kernel on the rows of a pixel table: velocity, gnomonic projection and positioning on the sky in one pass.

Each is computed in float64 and rounded to float32 once, so that one pass and three give the same bits.
"""

from libc.math cimport asin, atan, atan2, cos, sin, sqrt
from bounded cimport require
from rows_types cimport row_t

cdef extern from "location.h" nogil:
    const double DEGREES "MUSE_DEGREES"
    const double PI_2 "MUSE_PI_2"
    void to_native "muse_to_native"(const double *x, const double *y, int count, float *phi, float *theta, int *done)
    void to_sky "muse_to_sky"(const double *phi, const double *theta, int count, double sin_dec, double cos_dec,
                              float *ra, double *sine, int *done)

cdef enum:
    BLOCK = 256  # rows: 7 kB

cdef double TWO_PI = 6.283185307179586


cdef inline void project(row_t* row, const double* c) noexcept nogil:
    """pix to native spherical; c: CRPIX1, CRPIX2, CD1_1, CD1_2, CD2_1, CD2_2."""
    cdef double p = row.xpos - c[0], q = row.ypos - c[1]
    cdef double x = c[2] * p + c[3] * q, y = c[5] * q + c[4] * p
    cdef double phi = atan2(x, -y)
    if phi < 0:
        phi += TWO_PI
    row.xpos = <float>phi
    row.ypos = <float>(atan(DEGREES / sqrt(x * x + y * y)) - PI_2)


cdef inline void position(row_t* row, const double* c) noexcept nogil:
    """Native spherical to right ascension and declination relative to the centre; c: sin, cos of DEC, DEC, in degrees."""
    cdef double sin_dec = c[0], cos_dec = c[1]
    cdef double phi = row.xpos, theta = row.ypos + PI_2
    cdef double a = cos(theta) * sin(phi), b = sin(theta) * cos_dec + cos(theta) * sin_dec * cos(phi)
    row.xpos = <float>(DEGREES * atan2(a, b))
    row.ypos = <float>(DEGREES * asin(sin(theta) * sin_dec - cos(theta) * cos_dec * cos(phi)) - c[2])


cdef struct block_t:
    double[BLOCK] x
    double[BLOCK] y
    float[BLOCK] first
    float[BLOCK] second
    double[BLOCK] sine
    int[BLOCK] done


cdef void project_block(row_t* rows, int n, const double* c, block_t *b) noexcept nogil:
    cdef int i
    cdef double p, q
    for i in range(n):
        p = rows[i].xpos - c[0]
        q = rows[i].ypos - c[1]
        b.x[i] = c[2] * p + c[3] * q
        b.y[i] = c[5] * q + c[4] * p
    to_native(b.x, b.y, n, b.first, b.second, b.done)
    for i in range(n):
        if b.done[i]:
            rows[i].xpos = b.first[i]
            rows[i].ypos = b.second[i]
        else:
            project(&rows[i], c)


cdef void position_block(row_t* rows, int n, const double* c, block_t *b) noexcept nogil:
    cdef int i
    for i in range(n):
        b.x[i] = rows[i].xpos
        b.y[i] = rows[i].ypos
    to_sky(b.x, b.y, n, c[0], c[1], b.first, b.sine, b.done)
    for i in range(n):
        if b.done[i]:
            rows[i].xpos = b.first[i]
            rows[i].ypos = <float>(DEGREES * asin(b.sine[i]) - c[2])
        else:
            position(&rows[i], c)


def locate(
    row_t[::1] rows,
    double stretch,
    const double[::1] projection,
    const double[::1] positioning,
    double flux_scale,
):
    """Shift wavelengths, project, position, and scale rows in place; a part is left out if its array is empty.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n_rows,)
        Rows; positions in pix, or in rad if `projection` is empty.
    stretch : float
        Factor on the wavelengths; 1 for none.
    projection : ndarray of float64, shape (6,)
        CRPIX1, CRPIX2 in pix, and CD1_1, CD1_2, CD2_1, CD2_2 in degrees per pix.
    positioning : ndarray of float64, shape (5,)
        sin and cos of the declination of the centre, that declination, and what to add to xpos and ypos afterwards; in
        degrees.
    flux_scale : float
        Data are multiplied by it, stat by its square; 1 for none.

    Notes
    -----
    Agrees with the plain formulas to the last float32 bit but for about one row in 1e4, whose value sits at the edge of
    two float32 numbers. NaN stays NaN. Releases the GIL.
    """
    cdef Py_ssize_t i, start = 0, stop, n = rows.shape[0]
    cdef bint has_stretch = stretch != 1, has_scale = flux_scale != 1
    cdef bint has_projection = projection.shape[0] > 0, has_positioning = positioning.shape[0] > 0, has_offset = False
    cdef block_t block
    require(not has_projection or projection.shape[0] == 6, "projection: 6 constants")
    require(not has_positioning or positioning.shape[0] == 5, "positioning: 5 constants")
    if has_positioning:
        has_offset = positioning[3] != 0 or positioning[4] != 0
    with nogil:
        while start < n:
            stop = min(start + BLOCK, n)
            if has_projection:
                project_block(&rows[start], <int>(stop - start), &projection[0], &block)
            if has_positioning:
                position_block(&rows[start], <int>(stop - start), &positioning[0], &block)
            if has_offset:
                for i in range(start, stop):
                    rows[i].xpos = <float>(rows[i].xpos + positioning[3])
                    rows[i].ypos = <float>(rows[i].ypos + positioning[4])
            if has_stretch:
                for i in range(start, stop):
                    rows[i].lbda = <float>(rows[i].lbda * stretch)
            if has_scale:
                for i in range(start, stop):
                    rows[i].data = <float>(rows[i].data * flux_scale)
                    rows[i].stat = <float>(rows[i].stat * (flux_scale * flux_scale))
            start = stop

# SPDX-License-Identifier: GPL-2.0-or-later
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Kernel on the rows of a pixel table: velocity, gnomonic projection and positioning on the sky in one pass.

Each is computed in float64 and rounded to float32 once, so that one pass and three give the same bits.
"""

from libc.math cimport asin, atan, atan2, cos, sin, sqrt
from rows_types cimport row_t

cdef extern from "location.h" nogil:
    void to_native "muse_to_native"(const double *x, const double *y, int count, float *phi, float *theta, int *done)
    void to_sky "muse_to_sky"(const double *phi, const double *theta, int count, double sin_dec, double cos_dec,
                              float *ra, double *sine, int *done)

cdef enum:
    BLOCK = 256  # rows: 7 kB

cdef double PI_2 = 1.5707963267948966  # pi / 2, rounded ...
cdef double PI_2_REST = 6.123233995736766e-17  # ... and what the rounding took off
cdef double TWO_PI = 6.283185307179586
cdef double DEGREES = 57.29577951308232
cdef double SMALL_ANGLE = 1e-2  # up to here the series are exact to 1e-16


cdef inline void project(row_t* row, const double* c) noexcept nogil:
    """pix to native spherical; c: CRPIX1, CRPIX2, CD1_1, CD1_2, CD2_1, CD2_2."""
    cdef double p = row.xpos - c[0], q = row.ypos - c[1]
    cdef double x = c[2] * p + c[3] * q, y = c[5] * q + c[4] * p
    cdef double phi = atan2(x, -y), t = sqrt(x * x + y * y) / DEGREES, t2 = t * t, theta
    if phi < 0:
        phi += TWO_PI
    if t < SMALL_ANGLE:  # theta = atan(1 / t) = pi/2 - atan(t), with the rounding of the subtraction
        theta = PI_2 - (t * (1 - t2 * (1 / 3.0 - t2 * (1 / 5.0 - t2 * (1 / 7.0)))) - PI_2_REST)
    else:
        theta = atan(1 / t)
    row.xpos = <float>phi
    row.ypos = <float>(theta - PI_2)


cdef inline void position(row_t* row, const double* c) noexcept nogil:
    """Native spherical to right ascension and declination relative to the centre; c: sin, cos of DEC, DEC, in degrees."""
    cdef double sin_dec = c[0], cos_dec = c[1], dec = c[2]
    cdef double phi = row.xpos, theta = row.ypos + PI_2
    cdef double u = PI_2_REST - (theta - PI_2), u2 = u * u  # pi/2 - theta, with the rounding of theta
    cdef double sin_phi = sin(phi), cos_phi = cos(phi), sin_theta, cos_theta, a, b, q, q2, ra, s
    if -SMALL_ANGLE < u < SMALL_ANGLE:
        cos_theta = u * (1 - u2 * (1 / 6.0 - u2 * (1 / 120.0)))
        sin_theta = 1 - u2 * (1 / 2.0 - u2 * (1 / 24.0))
    else:
        cos_theta = cos(theta)
        sin_theta = sin(theta)
    a = cos_theta * sin_phi
    b = sin_theta * cos_dec + cos_theta * sin_dec * cos_phi
    s = sin_theta * sin_dec - cos_theta * cos_dec * cos_phi
    q = a / b
    if b > 0 and -SMALL_ANGLE < q < SMALL_ANGLE:
        q2 = q * q
        ra = q * (1 - q2 * (1 / 3.0 - q2 * (1 / 5.0 - q2 * (1 / 7.0))))
    else:
        ra = atan2(a, b)
    row.xpos = <float>(DEGREES * ra)
    row.ypos = <float>(DEGREES * asin(s) - dec)


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

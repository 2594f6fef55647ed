# SPDX-License-Identifier: GPL-2.0-or-later
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Kernel of the refraction check: shift positions by polynomials in wavelength."""

from rows_types cimport row_t


cdef inline double horner(const double[::1] coefficients, double t) noexcept nogil:
    cdef double value = 0.0
    cdef Py_ssize_t k
    for k in range(coefficients.shape[0] - 1, -1, -1):
        value = value * t + coefficients[k]
    return value


def shift_positions(
    row_t[::1] rows, double lbda_ref, double scale, const double[::1] shift_x, const double[::1] shift_y
):
    """Add polynomials in (lbda - lbda_ref) / scale to the positions of rows, in place.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n,)
        Rows; positions in pix.
    lbda_ref, scale : float
        Origin and unit of the polynomials' argument, in Angstrom.
    shift_x, shift_y : ndarray of float64, shape (order + 1,)
        Coefficients, lowest power first, in pix.
    """
    cdef Py_ssize_t i
    cdef double t
    with nogil:
        for i in range(rows.shape[0]):
            t = (rows[i].lbda - lbda_ref) / scale
            rows[i].xpos = <float>(rows[i].xpos + horner(shift_x, t))
            rows[i].ypos = <float>(rows[i].ypos + horner(shift_y, t))

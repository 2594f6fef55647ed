# SPDX-License-Identifier: GPL-2.0-or-later
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Kernels of the Raman cleaning: moments and residuals of the fit, subtraction.

The shape of the Raman light over the field is S = p0 x^2 + p1 x y + p2 y^2 + p3 x + p4 y + 1, positions in pix.
"""

from bounded cimport require
from rows_types cimport row_t

cdef enum:
    N_SHAPE = 6  # the polynomial's terms, the constant first
    N_COLUMN = 8  # those times the LSF, data, 1


cdef inline double shape_at(float x, float y, const double[::1] p) noexcept nogil:
    cdef double xd = x, yd = y
    return p[0] * xd * xd + p[1] * xd * yd + p[2] * yd * yd + p[3] * xd + p[4] * yd + 1.0


cdef inline double rounded_shape_at(float x, float y, const double[::1] p) noexcept nogil:
    """The same with every term rounded to single precision, as the reference does."""
    return (
        <double>(<float>((x * x) * p[0]))
        + <float>((x * y) * p[1])
        + <float>((y * y) * p[2])
        + <float>(x * p[3])
        + <float>(y * p[4])
        + 1.0
    )


def add_moments(const row_t[::1] rows, const double[::1] lsf, double scale, double data_offset, double[:, ::1] gram):
    """Add the products of all pairs of columns of the linear model to a matrix of moments.

    The columns are L (1, x^2, x y, y^2, x, y), data - data_offset, and 1, with L the LSF and positions over `scale`.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n,)
        Rows; positions in pix.
    lsf : ndarray of float64, shape (n,)
        Line spectrum at each row.
    scale : float
        Unit of the positions, in pix.
    data_offset : float
        Subtracted from ``data``.
    gram : ndarray of float64, shape (8, 8)
        Upper triangle, updated.
    """
    cdef Py_ssize_t r, i, j
    cdef double x, y
    cdef double column[N_COLUMN]
    require(lsf.shape[0] == rows.shape[0], "lsf: one value for each row")
    require(gram.shape[0] == N_COLUMN and gram.shape[1] == N_COLUMN, "gram: of shape (8, 8)")
    with nogil:
        for r in range(rows.shape[0]):
            x = rows[r].xpos / scale
            y = rows[r].ypos / scale
            column[0] = lsf[r]
            column[1] = lsf[r] * x * x
            column[2] = lsf[r] * x * y
            column[3] = lsf[r] * y * y
            column[4] = lsf[r] * x
            column[5] = lsf[r] * y
            column[N_SHAPE] = rows[r].data - data_offset
            column[N_SHAPE + 1] = 1.0
            for i in range(N_COLUMN):
                for j in range(i, N_COLUMN):
                    gram[i, j] += column[i] * column[j]


def residuals(
    const row_t[::1] rows, const double[::1] lsf, const double[::1] p, double flux, bint rounded, double[::1] out
):
    """Set `out` to model - data less its mean.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n,)
        Rows of one band.
    lsf : ndarray of float64, shape (n,)
        Line spectrum at each row.
    p : ndarray of float64, shape (5,)
        Parameters of the shape.
    flux : float
        Factor of the lines.
    rounded : bool
        Whether each term of the shape is rounded to single precision.
    out : ndarray of float64, shape (n,)
        Set.
    """
    cdef Py_ssize_t i, n = rows.shape[0]
    cdef double total = 0.0, s
    require(lsf.shape[0] == n and out.shape[0] == n, "lsf, out: one value for each row")
    require(p.shape[0] == N_SHAPE - 1, "p: 5 parameters")
    with nogil:
        for i in range(n):
            s = rounded_shape_at(rows[i].xpos, rows[i].ypos, p) if rounded else shape_at(rows[i].xpos, rows[i].ypos, p)
            out[i] = s * lsf[i] * flux - rows[i].data
            total += out[i]
        for i in range(n):
            out[i] -= total / n


def subtract(row_t[::1] rows, const double[::1] lsf, const double[::1] p, bint rounded):
    """Subtract shape times line spectrum from ``data``, in place.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n,)
        Rows.
    lsf : ndarray of float64, shape (n,)
        Line spectrum at each row; where it is 0 nothing changes.
    p : ndarray of float64, shape (5,)
        Parameters of the shape.
    rounded : bool
        As in `residuals`.
    """
    cdef Py_ssize_t i
    cdef double s
    require(lsf.shape[0] == rows.shape[0], "lsf: one value for each row")
    require(p.shape[0] == N_SHAPE - 1, "p: 5 parameters")
    with nogil:
        for i in range(rows.shape[0]):
            if lsf[i] == 0.0:
                continue
            s = rounded_shape_at(rows[i].xpos, rows[i].ypos, p) if rounded else shape_at(rows[i].xpos, rows[i].ypos, p)
            rows[i].data = <float>(rows[i].data - s * lsf[i])

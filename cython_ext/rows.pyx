# SPDX-License-Identifier: GPL-2.0-or-later
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Kernels on the rows of pixel tables: limits, sorting within slices, packing of file columns."""

from libc.stdint cimport uint32_t
from rows_types cimport row_t


def limits(const row_t[::1] rows, double[::1] out):
    """Write the extremes of xpos, ypos and lbda of `rows` to `out`.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n,)
        Rows; NaN never wins a comparison.
    out : ndarray of float64, shape (6,)
        xlo, xhi, ylo, yhi, llo, lhi; updated, so the caller sets start values (+-FLT_MAX).
    """
    cdef Py_ssize_t i, n = rows.shape[0]
    cdef float xlo = <float>out[0], xhi = <float>out[1], ylo = <float>out[2], yhi = <float>out[3]
    cdef float llo = <float>out[4], lhi = <float>out[5]
    with nogil:
        for i in range(n):
            if rows[i].xpos < xlo:
                xlo = rows[i].xpos
            if rows[i].xpos > xhi:
                xhi = rows[i].xpos
            if rows[i].ypos < ylo:
                ylo = rows[i].ypos
            if rows[i].ypos > yhi:
                yhi = rows[i].ypos
            if rows[i].lbda < llo:
                llo = rows[i].lbda
            if rows[i].lbda > lhi:
                lhi = rows[i].lbda
    out[0] = xlo
    out[1] = xhi
    out[2] = ylo
    out[3] = yhi
    out[4] = llo
    out[5] = lhi

# SPDX-License-Identifier: GPL-2.0-or-later
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Kernel of the stacked image: the rows of a slice resampled along wavelength only."""

from libc.math cimport fabs
from libc.float cimport DBL_MIN
from bounded cimport nearest_index, require, shaped
from rows_types cimport row_t
from weighting cimport renka_weight


def stack_rows(const row_t[::1] rows, float x_low, double dx, double lbda_low, double dl, double[:, ::1] total,
               double[:, ::1] weight):
    """Add the rows of a slice to the pixels of its columns.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n,)
        Rows of one slice; those with flags are left out.
    x_low : float
        Smallest xpos of the slice.
    dx : float
        Width of a column, in the unit of xpos.
    lbda_low, dl : float
        Wavelength of the first line, and step, in Angstrom.
    total, weight : ndarray of float64, shape (n_lines, n_columns)
        Sums of weight times data, and of the weights; updated.
    """
    cdef Py_ssize_t r, column, line, near
    cdef double w, radius = 1.25 * dl
    require(total.shape[0] > 0 and total.shape[1] > 0, "total: one pixel or more")
    require(shaped(weight.shape, total.shape[0], total.shape[1]), "weight: of the shape of total")
    with nogil:
        for r in range(rows.shape[0]):
            if rows[r].dq != 0:
                continue
            column = nearest_index((rows[r].xpos - x_low) / dx, total.shape[1] - 1)
            line = nearest_index((rows[r].lbda - lbda_low) / dl, total.shape[0] - 1)
            for near in range(max(line - 1, 0), min(line + 2, total.shape[0])):
                w = renka_weight(fabs(near * dl + lbda_low - rows[r].lbda), radius, DBL_MIN)
                total[near, column] += w * rows[r].data
                weight[near, column] += w

# SPDX-License-Identifier: GPL-2.0-or-later
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: freethreading_compatible=True
"""Kernels that pick rows of a pixel table for the sky spectrum, and accumulate that spectrum."""

from libc.stdint cimport int64_t, uint8_t
from gnomonic cimport DEG_PER_RAD, sky_to_plane
from bounded cimport index_below, nearest_index, require
from rows_types cimport SLICE_KEY_MASK, row_t


def select(const row_t[::1] rows, const uint8_t[:, ::1] mask, const double[::1] wcs, bint celestial,
           double ra_deg, double dec_deg, uint8_t[::1] selected):
    """Unselect the rows whose nearest mask pixel is 0; rows outside the mask image keep their state.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n,)
        Rows; for a celestial mask their positions are degrees relative to (`ra_deg`, `dec_deg`).
    mask : ndarray of uint8, shape (ny, nx)
        The mask.
    wcs : ndarray of float64, shape (8,)
        CRPIX1, CRPIX2, CRVAL1, CRVAL2, CD1_1, CD1_2, CD2_1, CD2_2.
    celestial : bool
        Gnomonic projection instead of linear coordinates.
    ra_deg, dec_deg : float
        Reference position of the rows, unused for linear coordinates.
    selected : ndarray of uint8, shape (n,)
        Selection, updated: bits are cleared, never set.
    """
    cdef Py_ssize_t i, ix, iy, n = rows.shape[0], ny = mask.shape[0], nx = mask.shape[1]
    cdef double crpix1, crpix2, crval1, crval2, cd11, cd12, cd21, cd22, determinant, x, y, px, py
    require(wcs.shape[0] == 8, "wcs: 8 numbers")
    require(selected.shape[0] == n, "selected: one element for each row")
    crpix1, crpix2, crval1, crval2 = wcs[0], wcs[1], wcs[2], wcs[3]
    cd11, cd12, cd21, cd22 = wcs[4], wcs[5], wcs[6], wcs[7]
    determinant = cd11 * cd22 - cd12 * cd21
    with nogil:
        for i in range(n):
            if celestial:
                sky_to_plane((rows[i].xpos + ra_deg) / DEG_PER_RAD, (rows[i].ypos + dec_deg) / DEG_PER_RAD,
                             crval1 / DEG_PER_RAD, crval2 / DEG_PER_RAD, &x, &y)
            else:
                x = rows[i].xpos - crval1
                y = rows[i].ypos - crval2
            px = cd22 * x - cd12 * y
            py = cd11 * y - cd21 * x
            if determinant != 1:  # divisions are most of the work
                px = px / determinant
                py = py / determinant
            ix = nearest_index(px + crpix1, nx + 1)
            iy = nearest_index(py + crpix2, ny + 1)
            if 1 <= ix <= nx and 1 <= iy <= ny and mask[iy - 1, ix - 1] == 0:
                selected[i] = 0


def gather(const row_t[::1] rows, const uint8_t[::1] selected, float[:, ::1] out):
    """Copy wavelength, value and variance of the usable selected rows, in the order of the rows.

    Usable is what has no quality flag and a finite value.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n,)
        Rows.
    selected : ndarray of uint8, shape (n,)
        Not 0: selected.
    out : ndarray of float32, shape (m, 3)
        Receives lbda (Angstrom), data, stat; m at least the number of selected rows.

    Returns
    -------
    int
        Number of rows copied.
    """
    cdef Py_ssize_t i, k = 0, n = rows.shape[0], room = out.shape[0]
    require(selected.shape[0] == n, "selected: one element for each row")
    require(out.shape[1] == 3, "out: of shape (m, 3)")
    with nogil:
        for i in range(n):
            # value - value is not 0 for NaN and infinities
            if selected[i] and rows[i].dq == 0 and rows[i].data - rows[i].data == 0:
                if k == room:
                    break
                out[k, 0] = rows[i].lbda
                out[k, 1] = rows[i].data
                out[k, 2] = rows[i].stat
                k += 1
    return k


def count_slices(const row_t[::1] rows, int64_t[::1] counts):
    """Add the number of rows of each IFU and slice to `counts`.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n,)
        All rows count, flagged or not.
    counts : ndarray of int64, shape (2048,)
        Indexed by the lower 11 bits of ``origin``; updated.
    """
    cdef Py_ssize_t i, n = rows.shape[0]
    require(counts.shape[0] == SLICE_KEY_MASK + 1, "counts: 2048")
    with nogil:
        for i in range(n):
            counts[rows[i].origin & SLICE_KEY_MASK] += 1


def accumulate(const float[:, ::1] samples, double llo, double width, const double[::1] upper, double[:, ::1] sums):
    """Add samples to a spectrum, each shared between the two bins around its wavelength.

    Sums run in the order of the samples, so that the result is the same, to the last bit, as that of one pass over
    the whole table.

    Parameters
    ----------
    samples : ndarray of float32, shape (n, 3)
        lbda (Angstrom), data, stat.
    llo, width : float
        Wavelength of bin 0 and width of the bins in Angstrom.
    upper : ndarray of float64, shape (n_bin,) or (0,)
        Samples with data above the limit of the last bin at or below their wavelength are skipped; empty: none is.
    sums : ndarray of float64, shape (3, n_bin)
        Sums of weight * data, weight * stat and weight; updated.
    """
    cdef Py_ssize_t i, k, b, n = samples.shape[0], last = sums.shape[1] - 1
    cdef bint clip = upper.shape[0] > 0
    cdef double lbda, position, w0, w1, data, stat
    require(samples.shape[1] == 3, "samples: of shape (n, 3)")
    require(last > 0 and sums.shape[0] == 3, "sums: of shape (3, two or more)")
    require(not clip or upper.shape[0] == last + 1, "upper: one for each bin")
    with nogil:
        for i in range(n):
            lbda = samples[i, 0]
            data = samples[i, 1]
            stat = samples[i, 2]
            position = (lbda - llo) / width
            if not position > 0:
                position = 0
            k = index_below(position, last - 1)
            if clip:
                # the bin at or below: not always k, because the division may round onto an integer
                b = k
                while b > 0 and b * width + llo > lbda:
                    b -= 1
                while b < last and (b + 1) * width + llo <= lbda:
                    b += 1
                if data > upper[b]:
                    continue
            w1 = position - k
            w0 = 1 - w1
            sums[0, k] += w0 * data
            sums[1, k] += w0 * stat
            sums[2, k] += w0
            sums[0, k + 1] += w1 * data
            sums[1, k + 1] += w1 * stat
            sums[2, k + 1] += w1

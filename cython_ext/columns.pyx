# SPDX-License-Identifier: GPL-2.0-or-later
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Kernels between the columns of a file and rows in memory."""

from libc.stdint cimport uint32_t, uint64_t
from bounded cimport index_below, require

cdef extern from "bigendian.h" nogil:
    uint32_t to_big_endian "muse_from_big_endian"(uint32_t word)
    uint32_t word_at "muse_word_at"(const unsigned char *raw)
    float muse_float_at(const unsigned char *raw)
    void unpack_column "muse_unpack"(const unsigned char *raw, Py_ssize_t stride, Py_ssize_t n, uint32_t *words,
                                     Py_ssize_t n_fields)

cdef extern from "ranges.h" nogil:
    void muse_range(const unsigned char *raw, Py_ssize_t stride, Py_ssize_t n, float *low, float *high)


cdef inline bint holds(const unsigned char[::1] raw, Py_ssize_t stride, Py_ssize_t n) noexcept nogil:
    # Are there n values?
    return n == 0 or (n > 0 and stride >= 4 and raw.shape[0] >= 4 and (n - 1) <= (raw.shape[0] - 4) // stride)


def unpack(const unsigned char[::1] raw, Py_ssize_t stride, uint32_t[:, ::1] words, Py_ssize_t field):
    """Put a column of big-endian 4-byte values into a field of rows.

    Parameters
    ----------
    raw : buffer of bytes
        Value i lies at ``i * stride``.
    stride : int
        Distance of values in bytes.
    words : ndarray of uint32, shape (n, 7)
        Rows, seen as words.
    field : int
        Number of the field.
    """
    cdef Py_ssize_t n = words.shape[0]
    require(0 <= field < words.shape[1], f"field: 0...{words.shape[1] - 1}")
    if n and (stride < 0 or raw.shape[0] < 4 or (n > 1 and stride > (raw.shape[0] - 4) // (n - 1))):
        raise ValueError(f"{raw.shape[0]} bytes are too few for {n} values with a stride of {stride}")
    with nogil:
        if n:
            unpack_column(&raw[0], stride, n, &words[0, field], words.shape[1])


def pack(const uint32_t[::1] words, uint32_t[::1] out):
    """Write words to `out` as they lie in a file, big-endian, and return their sum.

    Parameters
    ----------
    words : ndarray of uint32, shape (n,)
        Values of 4 bytes, seen as words.
    out : ndarray of uint32, shape (n,)
        Output.

    Returns
    -------
    int
        Sum of the words, modulo 2^64.
    """
    cdef Py_ssize_t i, n = words.shape[0]
    cdef uint64_t total = 0
    require(out.shape[0] == n, "out: one for each word")
    with nogil:
        for i in range(n):
            total += words[i]
            out[i] = to_big_endian(words[i])
    return total


def find_changes(const unsigned char[::1] raw, Py_ssize_t stride, Py_ssize_t n, int mask, int last,
                 long long[::1] positions):
    """Find where the masked values of a column of big-endian integers change, if they never decrease.

    Parameters
    ----------
    raw : buffer of bytes
        Value i lies at ``i * stride``.
    stride : int
        Distance of values in bytes.
    n : int
        Number of values.
    mask : int
        Bits to look at.
    last : int
        Masked value before the first one; -1 if there is none.
    positions : ndarray of int64, shape (> mask,)
        Output: numbers of the values that are larger than that before.

    Returns
    -------
    found : int
        How many there are; -1 if a value is smaller than that before.
    last : int
        The last value, masked.
    """
    cdef Py_ssize_t i, found = 0
    cdef int key
    require(holds(raw, stride, n), "raw: too few bytes for n values")
    require(0 <= mask < positions.shape[0], "positions: more than mask")
    with nogil:
        for i in range(n):
            key = <int>(word_at(&raw[i * stride]) & <uint32_t>mask)
            if key == last:
                continue
            if key < last:
                found = -1
                break
            if last >= 0:
                positions[found] = i
                found += 1
            last = key
    return found, last


def block_ranges(const unsigned char[::1] raw, Py_ssize_t stride, Py_ssize_t block, float[::1] low, float[::1] high):
    """Find the smallest and largest of each block of big-endian float32 values; NaN count for nothing.

    Parameters
    ----------
    raw : buffer of bytes
        Value i lies at ``i * stride``; the last one ends at its end.
    stride : int
        Distance of values in bytes.
    block : int
        Number of values of a block; the last one may have fewer.
    low, high : ndarray of float32, shape (n_blocks,)
        Output; inf and -inf where all are NaN.
    """
    cdef Py_ssize_t b, first, n = 0 if raw.shape[0] < 4 else (raw.shape[0] - 4) // max(stride, 1) + 1
    require(stride >= 4 and block >= 1, "stride: at least 4, block: at least 1")
    require(low.shape[0] == high.shape[0] == n // block + (n % block > 0), "low, high: one for each block")
    with nogil:
        for b in range(low.shape[0]):
            first = b * block
            muse_range(&raw[first * stride], stride, min(block, n - first), &low[b], &high[b])


def add_image(const unsigned char[::1] xpos, const unsigned char[::1] ypos, const unsigned char[::1] lbda,
              const unsigned char[::1] data, const unsigned char[::1] dq, const Py_ssize_t[::1] strides, Py_ssize_t n,
              double first, double step, const double[:, ::1] curves, double left, double bottom,
              double[:, ::1] total, double[:, ::1] norm, double[:, ::1] bright, double steepest):
    """Add the good values of rows to the four spaxels around them, by distance: sources stay where they are.

    Parameters
    ----------
    xpos, ypos, lbda, data, dq : buffer of bytes
        Columns as they lie in the file, big-endian; value i of column k at ``i * strides[k]``.
    strides : ndarray of intp, shape (5,)
        Distances of values in bytes.
    n : int
        Number of rows.
    first, step : float
        Wavelengths of `curves` in Angstrom. Rows beyond both ends are left out.
    curves : ndarray of float64, shape (n_curve, 6)
        At these wavelengths: shift in x and y in spaxels, factor on the values, weight, what is then taken off the
        values (linear between them, as lines are steep), and from where on a value is bright.
    left, bottom : float
        Position of the centre of the first spaxel.
    total, norm : ndarray of float64, shape (ny, nx)
        Weighted sums of the values, and sums of the weights; added to.
    bright : ndarray of float64, shape (m, 5)
        Output: position in spaxels from the first one, wavelength, value and weight of values that are bright and more
        than `steepest` times what their spaxel has so far; what is found after `m` of them is not told.
    steepest : float
        See `bright`.

    Returns
    -------
    int
        Number of rows of `bright` that are used.
    """
    cdef Py_ssize_t i, j, k, x, y, last = curves.shape[0] - 1, nx = total.shape[1], ny = total.shape[0], n_bright = 0
    cdef double p, u, v, a, b, c, weight
    cdef float value
    require(strides.shape[0] == 5, "strides: five")
    require(curves.shape[0] > 0 and curves.shape[1] == 6 and step > 0, "curves: of shape (n_curve, 6)")
    require(nx > 1 and ny > 1 and norm.shape[0] == ny and norm.shape[1] == nx, "total, norm: of the same shape")
    require(bright.shape[1] == 5, "bright: of shape (m, 5)")
    require(holds(xpos, strides[0], n) and holds(ypos, strides[1], n) and holds(lbda, strides[2], n)
            and holds(data, strides[3], n) and holds(dq, strides[4], n), "columns: n values each")
    with nogil:
        for i in range(n):
            if word_at(&dq[i * strides[4]]) != 0:
                continue
            p = (muse_float_at(&lbda[i * strides[2]]) - first) / step + 0.5
            if not 0 <= p < last + 1:
                continue
            k = index_below(p, last)
            weight = curves[k, 3]
            if weight == 0:
                continue
            u = muse_float_at(&xpos[i * strides[0]]) + curves[k, 0] - left
            v = muse_float_at(&ypos[i * strides[1]]) + curves[k, 1] - bottom
            if not (0 <= u < nx - 1 and 0 <= v < ny - 1):
                continue
            value = muse_float_at(&data[i * strides[3]])
            if value != value:
                continue
            x, y = index_below(u, nx - 2), index_below(v, ny - 2)
            p = (muse_float_at(&lbda[i * strides[2]]) - first) / step
            j = min(index_below(max(p, 0), last), max(last - 1, 0))
            p = min(max(p - j, 0), min(last, 1))
            p = curves[k, 2] * value - (1 - p) * curves[j, 4] - p * curves[min(j + 1, last), 4]
            if p > curves[k, 5] and n_bright < bright.shape[0] and p * norm[y, x] >= steepest * total[y, x]:
                bright[n_bright, 0], bright[n_bright, 1], bright[n_bright, 3], bright[n_bright, 4] = u, v, p, weight
                bright[n_bright, 2] = muse_float_at(&lbda[i * strides[2]])
                n_bright += 1
            u, v = u - x, v - y
            a, b, c = weight * (1 - u) * (1 - v), weight * u * (1 - v), weight * (1 - u) * v
            weight = weight * u * v
            total[y, x] += a * p
            total[y, x + 1] += b * p
            total[y + 1, x] += c * p
            total[y + 1, x + 1] += weight * p
            norm[y, x] += a
            norm[y, x + 1] += b
            norm[y + 1, x] += c
            norm[y + 1, x + 1] += weight
    return n_bright

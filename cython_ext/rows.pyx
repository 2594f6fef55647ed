# SPDX-License-Identifier: GPL-2.0-or-later
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Kernels on the rows of pixel tables: limits, sorting within slices, packing of file columns."""

from libc.math cimport INFINITY, NAN
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, memset
from bounded cimport require, shaped
from rows_types cimport (
    COSMIC_RAY, IFU_MASK, IFU_SHIFT, MISSING, N_IFU, N_SLICE, OUTSIDE_RANGE, SLICE_KEY_MASK, SLICE_MASK, X_MASK, X_SHIFT,
    row_t
)
from stopping cimport is_set


cdef enum:
    N_KEYS = SLICE_KEY_MASK + 1
    DIGIT_BITS = 12
    N_DIGITS = 3
    RADIX = 1 << DIGIT_BITS
    AT_ONCE = 256  # rows that are looked at twice, while they are in the cache

cdef Py_ssize_t LARGEST_NUMBER = 0xFFFFFFFF  # that fits into the lower half of a pair
cdef long long MOST_ROWS = 1LL << 60  # of which sums do not overflow


def constants():
    """Return the flags and the numbers of the bits of origin that kernels use, two dicts by their names in `model`."""
    flags = {"COSMIC_RAY": COSMIC_RAY, "MISSING": MISSING, "OUTSIDE_RANGE": OUTSIDE_RANGE}
    bits = {
        "N_IFU": N_IFU,
        "N_SLICE": N_SLICE,
        "IFU_SHIFT": IFU_SHIFT,
        "IFU_MASK": IFU_MASK,
        "SLICE_MASK": SLICE_MASK,
        "X_SHIFT": X_SHIFT,
        "X_MASK": X_MASK,
        "SLICE_KEY_MASK": SLICE_KEY_MASK,
    }
    return flags, bits


cdef extern from "extremes.h" nogil:
    int N_COLUMNS "MUSE_COLUMNS"
    ctypedef struct extremes_t "muse_extremes":
        float low[4]
        float high[4]
        int has_nan[4]
    void widen "muse_widen"(const void *rows, Py_ssize_t stride, Py_ssize_t n, extremes_t *e)

cdef enum:  # columns of extremes_t
    XPOS = 0
    YPOS = 1
    LBDA = 2


cdef inline extremes_t no_extremes() noexcept nogil:
    cdef extremes_t e
    cdef int k
    for k in range(N_COLUMNS):
        e.low[k] = INFINITY
        e.high[k] = -INFINITY
        e.has_nan[k] = 0
    return e


cdef inline void write_range(const extremes_t *e, int column, float *out) noexcept nogil:
    out[0] = NAN if e.has_nan[column] else e.low[column]
    out[1] = NAN if e.has_nan[column] else e.high[column]


def index(const row_t[::1] rows, int per_entry, int per_extent, float[:, ::1] wavelengths, float[:, ::1] extents):
    """Write the range of wavelengths of each stretch of rows, and the range of positions of each longer stretch.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n,)
        Rows.
    per_entry, per_extent : int
        Number of rows in a stretch, the longer one several times the shorter; the last one may be shorter.
    wavelengths : ndarray of float32, shape (ceil(n / per_entry), 2)
        Output: lowest and highest wavelength; NaN if there is a NaN.
    extents : ndarray of float32, shape (ceil(n / per_extent), 4)
        Output: lowest and highest xpos, lowest and highest ypos; NaN if there is a NaN.
    """
    cdef Py_ssize_t i, k, n = rows.shape[0], size
    cdef extremes_t e
    require(per_entry > 0 and per_extent > 0 and per_extent % per_entry == 0, "per_entry: a divisor of per_extent")
    require(shaped(wavelengths.shape, (n + per_entry - 1) // per_entry, 2), "wavelengths: a pair for each stretch")
    require(shaped(extents.shape, (n + per_extent - 1) // per_extent, 4), "extents: two pairs for each stretch")
    with nogil:
        for k in range(wavelengths.shape[0]):
            i = k * per_entry
            size = min(n - i, per_entry)
            if i % per_extent == 0:
                e = no_extremes()
            e.low[LBDA], e.high[LBDA], e.has_nan[LBDA] = INFINITY, -INFINITY, 0
            widen(&rows[i], sizeof(row_t), size, &e)
            write_range(&e, LBDA, &wavelengths[k, 0])
            if (i + size) % per_extent == 0 or i + size == n:
                write_range(&e, XPOS, &extents[i // per_extent, 0])
                write_range(&e, YPOS, &extents[i // per_extent, 2])


cdef inline Py_ssize_t first_from(const float* values, Py_ssize_t n, float limit, bint beyond) noexcept nogil:
    # Number of the first of ascending values that is not below the limit, or, with beyond, that is above it.
    cdef Py_ssize_t low = 0, middle
    while low < n:
        middle = (low + n) // 2
        if values[middle] < limit or (beyond and values[middle] == limit):
            low = middle + 1
        else:
            n = middle
    return low


def find_runs(const long long[::1] first_rows, const long long[::1] n_rows, const unsigned char[::1] ascends,
              const float[::1] low, const float[::1] high, int per_entry, const unsigned char[::1] groups,
              int entries_per_group, float begin, float end, long long[::1] starts, long long[::1] stops):
    """Write where rows lie that may have wavelengths between two, in contiguous runs; return how many runs and rows.

    Parameters
    ----------
    first_rows, n_rows : ndarray of int64, shape (n,)
        First row and number of rows of each part.
    ascends : ndarray of uint8, shape (n,)
        Whether `low` and `high` ascend from stretch to stretch of a part: no need to look at all of them.
    low, high : ndarray of float32
        What `index` has found of the stretches of all parts, one part after the other; a NaN is in every range.
    per_entry : int
        Number of rows in a stretch; the last one of a part may be shorter.
    groups : ndarray of uint8
        Which groups of stretches are wanted, of all parts; none: all.
    entries_per_group : int
        Number of stretches in a group; the last one of a part may be shorter.
    begin, end : float
        Range of wavelengths, both included.
    starts, stops : ndarray of int64
        Output: first row and last + 1 of each run, as many as there is room for.
    """
    cdef Py_ssize_t k, i, n, g, first, last, at = 0, group = 0, n_entries = 0, n_groups = 0
    cdef long long start, stop, last_stop = 0, found = 0, total = 0
    require(per_entry > 0 and entries_per_group > 0, "per_entry, entries_per_group: one or more")
    require(n_rows.shape[0] == first_rows.shape[0], "n_rows: one for each part")
    require(ascends.shape[0] == first_rows.shape[0], "ascends: one for each part")
    require(stops.shape[0] == starts.shape[0], "stops: as many as starts")
    for k in range(n_rows.shape[0]):
        require(0 <= n_rows[k] <= MOST_ROWS and 0 <= first_rows[k] <= MOST_ROWS, "first_rows, n_rows: 0 to 2^60")
        n = <Py_ssize_t>((n_rows[k] + per_entry - 1) // per_entry)
        n_entries += n
        n_groups += (n + entries_per_group - 1) // entries_per_group
        require(n_entries <= low.shape[0], "low, high: one for each stretch")
    require(low.shape[0] == n_entries and high.shape[0] == n_entries, "low, high: one for each stretch")
    require(groups.shape[0] == n_groups or not groups.shape[0], "groups: one for each group of stretches")
    with nogil:
        for k in range(n_rows.shape[0]):
            n = <Py_ssize_t>((n_rows[k] + per_entry - 1) // per_entry)
            first, last = 0, n
            if ascends[k] and n:
                first = first_from(&high[at], n, begin, False)
                last = first_from(&low[at], n, end, True)
            for g in range(first // entries_per_group, (last + entries_per_group - 1) // entries_per_group):
                if groups.shape[0] and not groups[group + g]:
                    continue
                for i in range(max(first, g * entries_per_group), min(last, (g + 1) * entries_per_group)):
                    if high[at + i] < begin or low[at + i] > end:
                        continue
                    start = first_rows[k] + <long long>i * per_entry
                    stop = first_rows[k] + min(<long long>(i + 1) * per_entry, n_rows[k])
                    if not found or start != last_stop:
                        if found < starts.shape[0]:
                            starts[found] = start
                        found += 1
                    if found <= stops.shape[0]:
                        stops[found - 1] = stop
                    total += stop - start
                    last_stop = stop
            group += (n + entries_per_group - 1) // entries_per_group
            at += n
    return found, total


def limits(const row_t[::1] rows, double[::1] out, unsigned char[::1] slices):
    """Write the extremes of xpos, ypos and lbda of `rows` to `out`, and mark the slices that they have.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n,)
        Rows; NaN never wins a comparison.
    out : ndarray of float64, shape (6,)
        xlo, xhi, ylo, yhi, llo, lhi; updated, so the caller sets start values (+-FLT_MAX).
    slices : ndarray of uint8, shape (2048,)
        Set to 1 for each IFU and slice (key: the lower 11 bits of origin) that occurs.
    """
    cdef Py_ssize_t i, block, start, stop, n = rows.shape[0]
    cdef extremes_t e = no_extremes()
    cdef int k
    require(out.shape[0] == 6, "out: 6 limits")
    require(slices.shape[0] == N_KEYS, "slices: 2048 marks")
    for k in range(3):
        e.low[k], e.high[k] = <float>out[2 * k], <float>out[2 * k + 1]
    with nogil:
        for block in range((n + AT_ONCE - 1) // AT_ONCE):
            start = block * AT_ONCE
            stop = min(n, start + AT_ONCE)
            widen(&rows[start], sizeof(row_t), stop - start, &e)
            for i in range(start, stop):
                slices[rows[i].origin & SLICE_KEY_MASK] = 1
    for k in range(3):
        out[2 * k], out[2 * k + 1] = e.low[k], e.high[k]


def copy_runs(const row_t[::1] rows, const long long[::1] starts, const long long[::1] stops, row_t[::1] out,
              const int[::1] stop):
    """Copy runs of rows, one behind the other.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n,)
        Rows.
    starts, stops : ndarray of int64, shape (n_runs,)
        First and last + 1 row of each run.
    out : ndarray of ROW
        Output: as many as there are in all runs.
    stop : ndarray of int32, shape (1,)
        See stopping.pxd.
    """
    cdef Py_ssize_t n_runs = starts.shape[0], i, at = 0, left = out.shape[0]
    require(stops.shape[0] == n_runs, "stops: one for each run")
    for i in range(n_runs):
        require(0 <= starts[i] <= stops[i] <= rows.shape[0], "starts, stops: in ascending order, within the rows")
        require(stops[i] - starts[i] <= left, "out: room for all runs")
        left -= stops[i] - starts[i]
    require(left == 0, "out: as long as all runs")
    require(stop.shape[0] == 1, "stop: one")
    with nogil:
        for i in range(n_runs):
            if is_set(&stop[0]):
                break
            if starts[i] < stops[i]:
                memcpy(&out[at], &rows[starts[i]], (stops[i] - starts[i]) * sizeof(row_t))
                at += stops[i] - starts[i]


def compress(const row_t[::1] rows, const unsigned char[::1] wanted, row_t[::1] out, unsigned int[::1] numbers):
    """Write the rows that are wanted, in their order, and which they are; return how many.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n,)
        Rows.
    wanted : ndarray of uint8, shape (n,)
        0 for those to leave out.
    out : ndarray of ROW, shape (n,)
        Output: the rows; what is behind them is not defined.
    numbers : ndarray of uint32, shape (n,)
        Output: where they are in `rows`; what is behind them is not defined.
    """
    cdef Py_ssize_t i, n = 0
    require(wanted.shape[0] == rows.shape[0], "wanted: one for each row")
    require(out.shape[0] == rows.shape[0] and numbers.shape[0] == rows.shape[0], "out, numbers: room for all rows")
    require(rows.shape[0] <= LARGEST_NUMBER, "rows: at most 2^32 - 1")
    with nogil:
        for i in range(rows.shape[0]):
            out[n] = rows[i]  # without a branch: the next one takes the place of a row that is not wanted
            numbers[n] = <unsigned int>i
            n += wanted[i] != 0
    return n


def keep_inside(row_t[::1] rows, float low, float high):
    """Move the rows of a range of wavelengths to the begin, in order.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n,)
        Rows; what is left behind the last one that is kept may be anything.
    low, high : float
        Wavelengths in Angstrom; both ends, and NaN, are kept.

    Returns
    -------
    int
        Number of rows that are kept.
    """
    cdef Py_ssize_t i, n = 0
    with nogil:
        for i in range(rows.shape[0]):
            if not (rows[i].lbda < low or rows[i].lbda > high):
                if n < i:
                    rows[n] = rows[i]
                n += 1
    return n


cdef inline uint32_t ordered(float x) noexcept nogil:
    """Return an integer that sorts like `x`; NaN comes last, or first if its sign bit is set."""
    cdef uint32_t bits
    memcpy(&bits, &x, sizeof(bits))
    return bits ^ (0xFFFFFFFFu if bits >> 31 else 0x80000000u)


cdef inline uint32_t slice_key(const row_t* row) noexcept nogil:
    return row.origin & SLICE_KEY_MASK


cdef inline Py_ssize_t end_of_slice(const row_t* rows, Py_ssize_t start, Py_ssize_t n) noexcept nogil:
    """Return the end of the run of rows of the slice of row `start`."""
    cdef uint32_t key = slice_key(&rows[start])
    cdef Py_ssize_t stop = start + 1
    while stop < n and slice_key(&rows[stop]) == key:
        stop += 1
    return stop


cdef Py_ssize_t longest_to_sort(const row_t* rows, Py_ssize_t n) noexcept nogil:
    """Return the number of rows of the longest slice, 0 if all are in order, -1 if slices do not ascend."""
    cdef Py_ssize_t i, start = 0, longest = 0
    cdef bint in_order = True
    for i in range(1, n):
        if slice_key(&rows[i]) == slice_key(&rows[i - 1]):
            in_order = in_order and ordered(rows[i].lbda) >= ordered(rows[i - 1].lbda)
            continue
        if slice_key(&rows[i]) < slice_key(&rows[i - 1]):
            return -1
        longest = max(longest, i - start)
        start = i
    return 0 if in_order else max(longest, n - start)


cdef void sort_by_wavelength(const row_t* rows, Py_ssize_t n, uint64_t* pairs, uint64_t* other) noexcept nogil:
    """Write (ordered wavelength << 32 | index) to `pairs`, stably sorted by wavelength.

    A radix sort by as few digits as tell the lowest wavelength from the highest: two for those of an instrument.
    """
    cdef Py_ssize_t i
    cdef uint32_t digit, key, size, position, low = 0xFFFFFFFF, high = 0, count[N_DIGITS][RADIX]
    cdef uint64_t* source = pairs
    cdef uint64_t* target = other
    cdef uint64_t* swap
    cdef int d, n_digits = 0, bits
    for i in range(n):
        key = ordered(rows[i].lbda)
        low = min(low, key)
        high = max(high, key)
        pairs[i] = (<uint64_t>key << 32) | <uint64_t>i
    while n_digits < N_DIGITS and (high - low) >> (DIGIT_BITS * n_digits):
        n_digits += 1
    memset(&count[0][0], 0, n_digits * sizeof(count[0]))
    for i in range(n):
        key = <uint32_t>(pairs[i] >> 32) - low
        for d in range(n_digits):
            count[d][(key >> (DIGIT_BITS * d)) & (RADIX - 1)] += 1
    for d in range(n_digits):
        bits = DIGIT_BITS * d
        position = 0
        for digit in range(RADIX):
            size = count[d][digit]
            count[d][digit] = position
            position += size
        for i in range(n):
            digit = ((<uint32_t>(source[i] >> 32) - low) >> bits) & (RADIX - 1)
            target[count[d][digit]] = source[i]
            count[d][digit] += 1
        swap = source
        source = target
        target = swap
    if source != pairs:
        memcpy(pairs, source, n * sizeof(uint64_t))


cdef void sort_by_key(const row_t* rows, Py_ssize_t n, uint64_t* pairs, uint64_t* other) noexcept nogil:
    """Sort `pairs` stably by the slice key of the rows they stand for."""
    cdef Py_ssize_t i, position = 0, size, count[N_KEYS]
    cdef uint32_t key
    memset(&count[0], 0, sizeof(count))
    for i in range(n):
        count[slice_key(&rows[i])] += 1
    for i in range(N_KEYS):
        size = count[i]
        count[i] = position
        position += size
    for i in range(n):
        key = slice_key(&rows[<uint32_t>pairs[i]])
        other[count[key]] = pairs[i]
        count[key] += 1
    memcpy(pairs, other, n * sizeof(uint64_t))


def sort_space(const row_t[::1] rows):
    """Return how many rows `sort` needs room for.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n,)
        Rows.

    Returns
    -------
    n_rows : int
        Those of the longest slice, or all if slices do not ascend; 0 if there is nothing to sort.
    grouped : bool
        Whether slices ascend.
    """
    cdef Py_ssize_t longest = 0
    with nogil:
        if rows.shape[0]:
            longest = longest_to_sort(&rows[0], rows.shape[0])
    return (rows.shape[0], False) if longest < 0 else (longest, True)


def sort(row_t[::1] rows, bint grouped, uint64_t[::1] pairs, row_t[::1] buffer):
    """Sort rows stably by (slice key, wavelength), in place.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n,)
        Rows, fewer than 2^32.
    grouped : bool
        Slices ascend: each is sorted for itself.
    pairs : ndarray of uint64, shape (2 m,)
        Working space; m as `sort_space` returns it.
    buffer : ndarray of ROW, shape (m,)
        Working space.

    Notes
    -----
    NaN wavelengths come last in their slice. Releases the GIL.
    """
    cdef Py_ssize_t i, n = rows.shape[0], m = buffer.shape[0], start = 0, stop, size
    require(n <= LARGEST_NUMBER, "rows: fewer than 2^32")
    require(pairs.shape[0] >= 2 * m, "pairs: two for each row of buffer")
    with nogil:
        while start < n:
            stop = end_of_slice(&rows[0], start, n) if grouped else n
            size = stop - start
            if size > m:
                break
            sort_by_wavelength(&rows[start], size, &pairs[0], &pairs[m])
            if not grouped:
                sort_by_key(&rows[start], size, &pairs[0], &pairs[m])
            for i in range(size):
                buffer[i] = rows[start + <uint32_t>pairs[i]]
            memcpy(&rows[start], &buffer[0], size * sizeof(row_t))
            start = stop
    require(start >= n, "buffer: for the longest slice, or all rows")

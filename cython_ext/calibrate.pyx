# SPDX-License-Identifier: GPL-2.0-or-later
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Kernel on the rows of a pixel table: IFU scale, flat-field factor, refraction and flux calibration in one pass.

Each of the four is computed in float64 and rounded to float32 once, in this order, as if they were separate steps.
Curves come as tables of intervals: ``start`` has the lower ends, from -inf to a closing +inf, and one record an interval
has the coefficients of what is to be evaluated there, with ``d = lambda - base``.

The coefficients of the flux calibration are good to some 1e-14, which may end on the wrong side of the edge between two
float32 numbers. Results that come close to an edge, four in a million, are computed again with the reference's formulas.
"""

from libc.math cimport hypot, log, pow
from bounded cimport require
from rows_types cimport OUTSIDE_RANGE, row_t

cdef extern from "calibration.h" nogil:
    ctypedef struct flux_t "muse_flux":
        double base
        double gain
        double slope
        double error[3]
        double telluric[2]
        double telluric_error[3]
        long long outside
        long long has_telluric
    ctypedef struct refraction_t "muse_refraction":
        double kx
        double ky
    void scale_rows "muse_scale"(int n, double scale, float *data, float *stat)
    void make_factors "muse_factors"(const double *lbda, int n, double intercept, double gradient, double *factor)
    void multiply_rows "muse_multiply"(const double *factor, int n, float *data, float *stat)
    void divide_rows "muse_divide"(const double *factor, int n, float *data, float *stat)
    void refract "muse_shift"(const double *lbda, int n, const refraction_t *refraction, double *shift)
    void exponential "muse_exponential"(const double *lbda, int n, double base, double slope, double *out)
    void to_flux "muse_to_flux"(const double *lbda, int n, const flux_t *interval, const double *gain, const float *data,
                                const float *stat, float *flux, float *variance, int *done)

cdef packed struct factor_t:  # muse_core.steps.flatfield.FACTOR
    double intercept
    double gradient
    long long outside

cdef packed struct segment_t:  # of a curve, muse_core.steps.flux.SEGMENT
    double[2] lbda
    double[2] value
    double[2] error

cdef packed struct curves_t:  # muse_core.steps.flux.CURVES
    segment_t response
    segment_t extinction
    segment_t telluric

cdef packed struct constants_t:  # muse_core.steps.flux.CONSTANTS
    double airmass
    double exptime  # s
    double step  # Angstrom
    double step_error
    double unit

cdef enum:
    WALK = 8  # intervals to walk before bisection
    MULTIPLY = 1  # bits of flat_mode
    DIVIDE = 2
    BLOCK = 256  # rows that are worked on at once
    N_REFRACTION = sizeof(refraction_t) // sizeof(double)


cdef inline Py_ssize_t find(const double* start, Py_ssize_t n, double x, Py_ssize_t i) noexcept nogil:
    """Return i with start[i] <= x < start[i + 1], searched from i on; start[0] = -inf, start[n] = inf."""
    cdef Py_ssize_t low, high, middle
    cdef int _step
    for _step in range(WALK):
        if x >= start[i + 1] and i < n - 1:
            i += 1
        elif x < start[i] and i > 0:
            i -= 1
        else:
            return i
    low, high = 0, n
    while high - low > 1:
        middle = (low + high) >> 1
        if x >= start[middle]:
            low = middle
        else:
            high = middle
    return low


cdef inline int next_run(const double* start, Py_ssize_t n_intervals, const double* lbda, int first, int n,
                         Py_ssize_t* interval) noexcept nogil:
    """Find the interval of a wavelength, from the given one on; return the first after it, of n, that is not in it."""
    cdef Py_ssize_t i = find(start, n_intervals, lbda[first], interval[0])
    cdef int k = first + 1
    interval[0] = i
    while k < n and start[i] <= lbda[k] < start[i + 1]:
        k += 1
    return k


cdef inline double between(const segment_t* s, double lbda, double* error) noexcept nogil:
    """Value of a segment of a curve, and its error."""
    cdef double weight = (lbda - s.lbda[0]) / (s.lbda[1] - s.lbda[0])
    error[0] = hypot(s.error[0] * (1 - weight), s.error[1] * weight)
    return s.value[0] + (s.value[1] - s.value[0]) * weight


cdef void calibrate_exactly(
    row_t* row, const curves_t* curves, bint has_telluric, const constants_t* c
) noexcept nogil:
    """Flux calibration with the operations of the reference in their order, to the last bit of float64."""
    cdef double lbda = row.lbda, f = row.data, v = row.stat, step = c.step, t = c.exptime
    cdef double gain, response, error, extinction, s, telluric
    extinction = pow(10, 0.4 * c.airmass * between(&curves.extinction, lbda, &error))
    f *= extinction
    v *= extinction * extinction
    response = pow(10, 0.4 * between(&curves.response, lbda, &error))
    error = error * log(10) * response / 2.5
    gain = 1 / (response * t * step)
    s = f * error / (response * response * t * step)
    v = v * (gain * gain) + s * s
    s = f * c.step_error / (response * t * step * step)
    v = (v + s * s) * (c.unit * c.unit)
    f = f / (response * t * step) * c.unit
    if has_telluric:
        telluric = between(&curves.telluric, lbda, &error)
        v = telluric * telluric * v + f * f * (error * error)
        f *= telluric
    row.data = <float>f
    row.stat = <float>v


cdef struct calibration_t:
    int flat_mode
    Py_ssize_t n_flat
    const double *flat_start
    const factor_t *flat
    Py_ssize_t n_flux
    const double *flux_start
    const flux_t *flux
    const curves_t *curves
    const constants_t *constants
    bint flag_outside
    Py_ssize_t flat_interval  # in which the last row was
    Py_ssize_t flux_interval


cdef struct block_t:
    double[BLOCK] lbda
    double[BLOCK] work
    float[BLOCK] data
    float[BLOCK] stat
    float[BLOCK] flux
    float[BLOCK] variance
    int[BLOCK] done


cdef inline void flag_rows(row_t *rows, int begin, int end) noexcept nogil:
    cdef int k
    for k in range(begin, end):
        rows[k].dq |= OUTSIDE_RANGE


cdef void apply_flat_field(row_t *rows, int n, calibration_t *c, block_t *b) noexcept nogil:
    cdef int begin = 0, end, size
    cdef const factor_t *factor
    while begin < n:
        end = next_run(c.flat_start, c.n_flat, b.lbda, begin, n, &c.flat_interval)
        size = end - begin
        factor = &c.flat[c.flat_interval]
        if factor.outside:
            if c.flag_outside:
                flag_rows(rows, begin, end)
        else:
            make_factors(&b.lbda[begin], size, factor.intercept, factor.gradient, &b.work[begin])
            if c.flat_mode & MULTIPLY:
                multiply_rows(&b.work[begin], size, &b.data[begin], &b.stat[begin])
            if c.flat_mode & DIVIDE:
                divide_rows(&b.work[begin], size, &b.data[begin], &b.stat[begin])
        begin = end


cdef void calibrate_flux(row_t *rows, int n, calibration_t *c, block_t *b) noexcept nogil:
    cdef int begin = 0, end, size, k
    cdef const flux_t *flux
    while begin < n:
        end = next_run(c.flux_start, c.n_flux, b.lbda, begin, n, &c.flux_interval)
        size = end - begin
        flux = &c.flux[c.flux_interval]
        exponential(&b.lbda[begin], size, flux.base, flux.slope, &b.work[begin])
        to_flux(&b.lbda[begin], size, flux, &b.work[begin], &b.data[begin], &b.stat[begin], &b.flux[begin],
                &b.variance[begin], &b.done[begin])
        for k in range(begin, end):
            if b.done[k]:
                rows[k].data = b.flux[k]
                rows[k].stat = b.variance[k]
            else:
                rows[k].data = b.data[k]
                rows[k].stat = b.stat[k]
                calibrate_exactly(&rows[k], &c.curves[c.flux_interval], flux.has_telluric, c.constants)
        if c.flag_outside and flux.outside:
            flag_rows(rows, begin, end)
        begin = end


def calibrate(
    row_t[::1] rows,
    double scale,
    int flat_mode,
    const double[::1] flat_start,
    const factor_t[::1] flat,
    const double[::1] dar,
    const double[::1] flux_start,
    const flux_t[::1] flux,
    const curves_t[::1] curves,
    const constants_t[::1] constants,
    bint flag_outside,
):
    """Calibrate rows in place; a part is left out if its array is empty.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n_rows,)
        Rows of one IFU; positions in pix, data and stat in counts. Any order, fastest with ascending wavelengths.
    scale : float
        Data are multiplied by it, stat by its square, each rounded to float32; 1 for none.
    flat_mode : int
        1: multiply by the flat-field factor, 2: divide by it, 3: multiply, round, divide.
    flat_start : ndarray of float64, shape (n_flat + 1,)
        Ends of the intervals of `flat` in Angstrom.
    flat : ndarray of steps.flatfield.FACTOR, shape (n_flat,)
        Flat-field factor; rows in an interval marked `outside` stay as they are.
    dar : ndarray of float64, shape (14,)
        kx, ky, scale, n0 and the ten constants of the refractive index, see steps.dar and steps.refraction.
    flux_start : ndarray of float64, shape (n_flux + 1,)
        Ends of the intervals of `flux` in Angstrom.
    flux : ndarray of steps.flux.INTERVAL, shape (n_flux,)
        Factors and variances of the flux calibration.
    curves : ndarray of steps.flux.CURVES, shape (n_flux,)
        The segments of the curves that they come from.
    constants : ndarray of steps.flux.CONSTANTS, shape (1,) or (0,)
        Constants of the exposure.
    flag_outside : bool
        Set OUTSIDE_RANGE in dq of rows outside of `flat` or of the response.

    Notes
    -----
    NaN in data or stat stays NaN; a NaN wavelength makes everything NaN that depends on it. Releases the GIL.
    """
    cdef Py_ssize_t start = 0
    cdef Py_ssize_t n_flat = flat.shape[0], n_flux = flux.shape[0]
    cdef bint has_dar = dar.shape[0] > 0
    cdef int k, n
    cdef row_t *row
    cdef const refraction_t *refraction = NULL
    cdef calibration_t c
    cdef block_t b
    require(n_flat == 0 or flat_start.shape[0] == n_flat + 1, "flat_start: one more than intervals")
    require(n_flux == 0 or flux_start.shape[0] == n_flux + 1, "flux_start: one more than intervals")
    require(n_flux == 0 or curves.shape[0] == n_flux, "curves: one for each interval")
    require(n_flux == 0 or constants.shape[0] == 1, "constants: of an exposure")
    require(not has_dar or dar.shape[0] == N_REFRACTION, "dar: 14 constants")
    c = calibration_t(flat_mode, n_flat, NULL, NULL, n_flux, NULL, NULL, NULL, NULL, flag_outside, 0, 0)
    if has_dar:
        refraction = <const refraction_t *>&dar[0]
    if n_flat > 0:
        c.flat_start, c.flat = &flat_start[0], &flat[0]
    if n_flux > 0:
        c.flux_start, c.flux, c.curves, c.constants = &flux_start[0], &flux[0], &curves[0], &constants[0]
    with nogil:
        while start < rows.shape[0]:
            row = &rows[start]
            n = <int>min(BLOCK, rows.shape[0] - start)
            for k in range(n):
                b.lbda[k] = row[k].lbda
                b.data[k] = row[k].data
                b.stat[k] = row[k].stat
            if scale != 1:
                scale_rows(n, scale, b.data, b.stat)
            if n_flat > 0:
                apply_flat_field(row, n, &c, &b)
            if has_dar:
                refract(b.lbda, n, refraction, b.work)
                for k in range(n):
                    row[k].xpos = <float>(row[k].xpos + refraction.kx * b.work[k])
                    row[k].ypos = <float>(row[k].ypos + refraction.ky * b.work[k])
            if n_flux > 0:
                calibrate_flux(row, n, &c, &b)
            else:
                for k in range(n):
                    row[k].data = b.data[k]
                    row[k].stat = b.stat[k]
            start += n

# SPDX-License-Identifier: GPL-2.0-or-later
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Kernel on the rows of a pixel table: IFU scale, flat-field factor, refraction and flux calibration in one pass.

Each of the four is computed in float64 and rounded to float32 once, in this order, as if they were separate steps.
Curves come as tables of intervals: ``start`` has the lower ends, from -inf to a closing +inf, and one record an interval
has the coefficients of what is to be evaluated there, with ``d = lambda - base``.

The coefficients of the flux calibration are good to some 1e-14, which may end on the wrong side of the edge between two
float32 numbers. Results that come close to an edge, four in a million, are computed again with the reference's formulas.
"""

from libc.math cimport exp, hypot, log, pow
from libc.stdint cimport uint64_t
from libc.string cimport memcpy
from bounded cimport require
from rows_types cimport OUTSIDE_RANGE, row_t

cdef packed struct factor_t:  # muse_core.steps.flatfield.FACTOR
    double intercept
    double gradient
    long long outside

cdef packed struct flux_t:  # muse_core.steps.flux.INTERVAL
    double base
    double gain  # flux per count at base
    double slope  # of ln(gain)
    double error[3]  # relative variance of the gain: polynomial in d
    double telluric[2]  # factor: polynomial in d
    double telluric_error[3]  # its variance: polynomial in d
    long long outside
    long long has_telluric

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
    LOST_BITS = 536870911  # of a float64 when it becomes a float32
    EDGE = 268435456  # their value half-way between two float32
    CLOSE = 512  # 1e-13, relative


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


cdef inline double exponential(double z) noexcept nogil:
    """exp(z), by its series where that is exact to 1e-16."""
    if -0.015625 < z < 0.015625:
        return 1 + z * (1 + z * (1 / 2.0 + z * (1 / 6.0 + z * (1 / 24.0 + z * (1 / 120.0 + z * (1 / 720.0))))))
    return exp(z)


cdef inline bint near_edge(double value) noexcept nogil:
    """Could an error in the last bits of `value` change the float32 that it is rounded to?"""
    cdef uint64_t bits
    memcpy(&bits, &value, sizeof(bits))
    return ((bits - (EDGE - CLOSE)) & LOST_BITS) <= 2 * CLOSE


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
    cdef Py_ssize_t i, n = rows.shape[0]
    cdef Py_ssize_t n_flat = flat.shape[0], n_flux = flux.shape[0], i_flat = 0, i_flux = 0
    cdef bint has_scale = scale != 1, has_dar = dar.shape[0] > 0
    cdef bint multiply = (flat_mode & MULTIPLY) != 0, divide = (flat_mode & DIVIDE) != 0
    cdef double kx = 0, ky = 0, c = 0, n0 = 0, a0 = 0, a1 = 0, b1 = 0, a2 = 0, b2 = 0
    cdef double p0 = 0, p1 = 0, p2 = 0, p3 = 0, dry_factor = 0
    cdef double lbda, factor, l, s, dry, wet, index, shift, d, gain, f, v, g
    cdef row_t* row
    cdef const flux_t* node
    require(n_flat == 0 or flat_start.shape[0] == n_flat + 1, "flat_start: one more than intervals")
    require(n_flux == 0 or flux_start.shape[0] == n_flux + 1, "flux_start: one more than intervals")
    require(n_flux == 0 or curves.shape[0] == n_flux, "curves: one for each interval")
    require(n_flux == 0 or constants.shape[0] == 1, "constants: of an exposure")
    require(not has_dar or dar.shape[0] == 14, "dar: 14 constants")
    if has_dar:
        kx, ky, c, n0 = dar[0], dar[1], dar[2], dar[3]
        a0, a1, b1, a2, b2 = dar[4], dar[5], dar[6], dar[7], dar[8]
        p0, p1, p2, p3, dry_factor = dar[9], dar[10], dar[11], dar[12], dar[13]
    with nogil:
        for i in range(n):
            row = &rows[i]
            lbda = row.lbda
            if has_scale:
                row.data = <float>(row.data * scale)
                row.stat = <float>(row.stat * (scale * scale))
            if n_flat > 0:
                i_flat = find(&flat_start[0], n_flat, lbda, i_flat)
                if flat[i_flat].outside:
                    if flag_outside:
                        row.dq |= OUTSIDE_RANGE
                else:
                    factor = flat[i_flat].intercept + flat[i_flat].gradient * lbda
                    if multiply:
                        row.data = <float>(row.data * factor)
                        row.stat = <float>(<float>(row.stat * factor) * factor)
                    if divide:
                        row.data = <float>(row.data / factor)
                        row.stat = <float>(<float>(row.stat / factor) / factor)
            if has_dar:
                l = lbda * 1e-4
                s = 1 / (l * l)
                dry = a0 + a1 / (b1 - s) + a2 / (b2 - s)
                wet = p0 + s * (p1 + s * (p2 + s * p3))
                index = 1 + dry_factor * ((1 + dry) - 1) + wet if dry_factor != 0 else 1 + (dry + wet)
                shift = c * (n0 - index)
                row.xpos = <float>(row.xpos + kx * shift)
                row.ypos = <float>(row.ypos + ky * shift)
            if n_flux > 0:
                i_flux = find(&flux_start[0], n_flux, lbda, i_flux)
                node = &flux[i_flux]
                d = lbda - node.base
                gain = node.gain * exponential(node.slope * d)
                f = row.data * gain
                v = row.stat * gain * gain + f * f * (node.error[0] + d * (node.error[1] + d * node.error[2]))
                if node.has_telluric:
                    g = node.telluric[0] + d * node.telluric[1]
                    v = g * g * v + f * f * (
                        node.telluric_error[0] + d * (node.telluric_error[1] + d * node.telluric_error[2])
                    )
                    f = f * g
                if near_edge(f) or near_edge(v):
                    calibrate_exactly(row, &curves[i_flux], node.has_telluric, &constants[0])
                else:
                    row.data = <float>f
                    row.stat = <float>v
                if flag_outside and node.outside:
                    row.dq |= OUTSIDE_RANGE

# SPDX-License-Identifier: GPL-2.0-or-later
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: freethreading_compatible=True
"""Kernels of emission lines: spectrum of a line list through an LSF, subtraction of lines and spectra from rows.

The order of operations decides about the last digit, which the line fit is sensitive to; it is fixed here.
"""

from libc.math cimport M_PI, M_SQRT1_2, erf, exp, sqrt
from bounded cimport bounded, require
from rows_types cimport row_t

cdef double FAR_NODE = 10000.0  # Angstrom; a profile is 0 from its edge to there


cdef inline Py_ssize_t last_at_or_below(const double* x, Py_ssize_t n, double value) noexcept nogil:
    """Index of the last element of the ascending `x` that is <= value, 0 if there is none."""
    cdef Py_ssize_t lo = 0, hi = n, middle
    while lo < hi:
        middle = (lo + hi) // 2
        if x[middle] <= value:
            lo = middle + 1
        else:
            hi = middle
    return lo - 1 if lo > 0 else 0


cdef void make_profile(const double[:, ::1] image, const double* grid, double line, double* x,
                       double* z) noexcept nogil:
    """Nodes of the LSF at a line: centred on its centroid, unit integral, 0 far away; nx + 4 nodes."""
    cdef Py_ssize_t i, j, ny = image.shape[0], nx = image.shape[1], n = nx + 4
    cdef double p = (line - grid[4]) / grid[5] + grid[3]
    cdef double f, sum_z = 0, sum_zx = 0, centroid, scale
    p = max(bounded(p, <double>ny), 1.0)
    j = <Py_ssize_t>p
    f = p - j
    x[0] = -FAR_NODE
    x[n - 1] = FAR_NODE
    z[0] = z[1] = z[n - 2] = z[n - 1] = 0
    for i in range(nx + 2):
        x[i + 1] = grid[1] + (i - grid[0]) * grid[2]
    if f == 0:
        for i in range(nx):
            z[i + 2] = image[j - 1, i]
    else:
        for i in range(nx):
            z[i + 2] = image[j - 1, i] * (1 - f) + image[j, i] * f
    for i in range(n):
        sum_z += z[i]
        sum_zx += z[i] * x[i]
    centroid = (sum_zx / n) / (sum_z / n)
    scale = 1 / (sum_z / n * n * grid[2])
    for i in range(n):
        x[i] -= centroid
        z[i] *= scale


cdef void add_profile(const double* x, const double* z, Py_ssize_t n_node, const double* lbda, Py_ssize_t n,
                      double line, double flux, double* out) noexcept nogil:
    """Add flux * (profile interpolated at lbda - line) to `out`; lbda ascending."""
    cdef Py_ssize_t i = 1, r
    cdef double d, g, c
    g = (z[1] - z[0]) / (x[1] - x[0])
    c = z[0] - g * x[0]
    for r in range(n):
        d = lbda[r] - line
        if x[i] < d:
            while i < n_node - 1 and x[i] < d:
                i += 1
            g = (z[i] - z[i - 1]) / (x[i] - x[i - 1])
            c = z[i - 1] - g * x[i - 1]
        out[r] += (c + g * d) * flux


cdef void add_lines(const double* lbda, Py_ssize_t n, const double[::1] line_lbda, const double[::1] line_flux,
                    const double[:, ::1] image, const double* grid, bint lone, double* nodes,
                    double* out) noexcept nogil:
    cdef Py_ssize_t k, a, b, nx = image.shape[1]
    cdef double lo = grid[1] + grid[2] * (1 - grid[0]), hi = grid[1] + grid[2] * (nx - grid[0])
    for k in range(line_lbda.shape[0]):
        a = last_at_or_below(lbda, n, line_lbda[k] + lo)
        b = last_at_or_below(lbda, n, line_lbda[k] + hi)
        if b < a or (b == a and not lone):
            continue
        make_profile(image, grid, line_lbda[k], nodes, nodes + nx + 4)
        add_profile(nodes, nodes + nx + 4, nx + 4, lbda + a, b - a + 1, line_lbda[k], line_flux[k], out + a)


cdef int require_lsf(const double[:, ::1] image, const double[::1] grid, const double[:, ::1] nodes) except -1:
    require(image.shape[0] > 0, "image: one or more lines")
    require(grid.shape[0] == 6, "grid: 6 numbers")
    return require(nodes.shape[0] == 2 and nodes.shape[1] == image.shape[1] + 4, "nodes: of shape (2, n_offset + 4)")


cdef int require_lines(const double[::1] line_lbda, const double[::1] line_flux) except -1:
    return require(line_flux.shape[0] == line_lbda.shape[0], "line_flux: one for each line")


cdef int require_spectrum(const double[::1] lbda, const double[::1] flux, Py_ssize_t least) except -1:
    require(lbda.shape[0] >= least, f"lbda: {least} or more")
    return require(flux.shape[0] == lbda.shape[0], "flux: one for each wavelength")


def profile(const double[:, ::1] image, const double[::1] grid, double line, double[:, ::1] nodes):
    """Nodes of the line spread function at a wavelength.

    Parameters
    ----------
    image : ndarray of float64, shape (n_line, n_offset)
        LSF image.
    grid : ndarray of float64, shape (6,)
        CRPIX1, CRVAL1, CD1_1, CRPIX2, CRVAL2, CD2_2.
    line : float
        Wavelength of the line in Angstrom.
    nodes : ndarray of float64, shape (2, n_offset + 4)
        Receives offsets in Angstrom and values per Angstrom, to be interpolated linearly.
    """
    require_lsf(image, grid, nodes)
    with nogil:
        make_profile(image, &grid[0], line, &nodes[0, 0], &nodes[1, 0])


def line_spectrum(const double[::1] lbda, const double[::1] line_lbda, const double[::1] line_flux,
                  const double[:, ::1] image, const double[::1] grid, bint lone, double[:, ::1] nodes,
                  double[::1] out):
    """Add the spectrum of lines, seen through an LSF, to `out`.

    Parameters
    ----------
    lbda : ndarray of float64, shape (n,)
        Wavelengths in Angstrom, ascending.
    line_lbda, line_flux : ndarray of float64, shape (n_lines,)
        Wavelength in Angstrom and flux of each line; they are added in this order.
    image, grid, nodes : ndarray of float64
        As in `profile`; `nodes` is scratch.
    lone : bool
        Whether a line is added that reaches one wavelength only.
    out : ndarray of float64, shape (n,)
        Flux per Angstrom; updated.
    """
    require_lsf(image, grid, nodes)
    require_lines(line_lbda, line_flux)
    require(out.shape[0] == lbda.shape[0], "out: one for each wavelength")
    if lbda.shape[0] == 0:
        return
    with nogil:
        add_lines(&lbda[0], lbda.shape[0], line_lbda, line_flux, image, &grid[0], lone, &nodes[0, 0], &out[0])


def subtract_lines(row_t[::1] rows, const double[::1] line_lbda, const double[::1] line_flux,
                   const double[:, ::1] image, const double[::1] grid, double[:, ::1] nodes, double[:, ::1] scratch):
    """Subtract lines from the rows of one slice.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n,)
        Rows of one slice in ascending wavelength; ``data`` is updated.
    line_lbda, line_flux, image, grid, nodes
        As in `line_spectrum`.
    scratch : ndarray of float64, shape (2, at least n)
        Overwritten.
    """
    cdef Py_ssize_t i, n = rows.shape[0]
    require_lsf(image, grid, nodes)
    require_lines(line_lbda, line_flux)
    require(scratch.shape[0] == 2 and scratch.shape[1] >= n, "scratch: of shape (2, at least n)")
    if n == 0:
        return
    with nogil:
        for i in range(n):
            scratch[0, i] = rows[i].lbda
            scratch[1, i] = 0
        add_lines(&scratch[0, 0], n, line_lbda, line_flux, image, &grid[0], False, &nodes[0, 0], &scratch[1, 0])
        for i in range(n):
            rows[i].data = <float>(<double>rows[i].data - scratch[1, i])


def subtract_spectrum(row_t[::1] rows, const double[::1] lbda, const double[::1] flux):
    """Subtract a spectrum, interpolated linearly, from rows; rows outside its range stay as they are.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n,)
        Rows in any order, fastest where wavelengths ascend; ``data`` is updated.
    lbda : ndarray of float64, shape (m,)
        Wavelengths of the spectrum in Angstrom, ascending; m at least 1.
    flux : ndarray of float64, shape (m,)
        Its values.
    """
    cdef Py_ssize_t i, k = 1, at = 0, m = lbda.shape[0]
    cdef double d, g = 0, c = 0
    require_spectrum(lbda, flux, 1)
    with nogil:
        for i in range(rows.shape[0]):
            d = rows[i].lbda
            if not (lbda[0] <= d <= lbda[m - 1]):
                continue
            if d == lbda[0]:
                rows[i].data = <float>(<double>rows[i].data - flux[0])
                continue
            while lbda[k] < d:
                k += 1
            while lbda[k - 1] >= d:
                k -= 1
            if k != at:
                at = k
                g = (flux[k] - flux[k - 1]) / (lbda[k] - lbda[k - 1])
                c = flux[k - 1] - g * lbda[k - 1]
            rows[i].data = <float>(<double>rows[i].data - (c + g * d))


def interpolate(const double[::1] x, const double[::1] lbda, const double[::1] flux, double[::1] out):
    """Interpolate a spectrum linearly, with the arithmetic of `subtract_spectrum`.

    Parameters
    ----------
    x : ndarray of float64, shape (n,)
        Wavelengths in Angstrom; the first and the last segment go on beyond the range of `lbda`.
    lbda, flux : ndarray of float64, shape (m,)
        Spectrum, ascending; m at least 2.
    out : ndarray of float64, shape (n,)
        Receives the values.
    """
    cdef Py_ssize_t i, k = 1, last = lbda.shape[0] - 1
    cdef double g
    require_spectrum(lbda, flux, 2)
    require(out.shape[0] == x.shape[0], "out: one for each x")
    with nogil:
        for i in range(x.shape[0]):
            if x[i] == lbda[0]:
                out[i] = flux[0]
                continue
            while k < last and lbda[k] < x[i]:
                k += 1
            while k > 1 and lbda[k - 1] >= x[i]:
                k -= 1
            g = (flux[k] - flux[k - 1]) / (lbda[k] - lbda[k - 1])
            out[i] = (flux[k - 1] - g * lbda[k - 1]) + g * x[i]


cdef inline double smooth_step(double x, const double* r) noexcept nogil:
    """Second antiderivative of the Gauss-Hermite line, up to a factor."""
    cdef double polynomial = r[0] + x * (r[1] + x * (r[2] + x * (r[3] + x * r[4])))
    return exp(-x * x / 2) + exp(-x * x) * (1 / 60.0) * polynomial + sqrt(M_PI / 2) * erf(x * M_SQRT1_2) * x


cdef inline double polynomial_at(const double[::1] coefficients, double t) noexcept nogil:
    cdef Py_ssize_t i
    cdef double value = 0
    for i in range(coefficients.shape[0] - 1, -1, -1):
        value = value * t + coefficients[i]
    return value


cdef void add_hermite_lines(const double* lbda, Py_ssize_t n, const double[::1] line_lbda, const double[::1] line_flux,
                            const double[::1] width, const double[::1] h3, const double[::1] h4, const double[::1] h5,
                            const double[::1] h6, double slit_width, double bin_width, double reach,
                            double* out) noexcept nogil:
    cdef Py_ssize_t k, i, a, b
    cdef double t, w, p3, p4, p5, p6, x, bin_half, slit_half, outer, inner, scale
    cdef double[5] r
    for k in range(line_lbda.shape[0]):
        a = last_at_or_below(lbda, n, line_lbda[k] - reach)
        b = last_at_or_below(lbda, n, line_lbda[k] + reach)
        if b <= a:
            continue
        t = line_lbda[k] - 7000
        w = polynomial_at(width, t)
        p3 = polynomial_at(h3, t)
        p4 = polynomial_at(h4, t)
        p5 = polynomial_at(h5, t)
        p6 = polynomial_at(h6, t)
        r[4] = 2 * sqrt(5.0) * p6
        r[3] = 2 * sqrt(15.0) * p5
        r[2] = 5 * sqrt(6.0) * p4 - 6 * sqrt(5.0) * p6
        r[1] = 10 * sqrt(3.0) * p3 - 3 * sqrt(15.0) * p5
        r[0] = -2.5 * sqrt(6.0) * p4 + 1.5 * sqrt(5.0) * p6
        bin_half = bin_width / (2 * w)
        slit_half = slit_width / (2 * w)
        outer = slit_half + bin_half
        inner = slit_half - bin_half
        scale = 1 / (sqrt(32 * M_PI) * bin_half * slit_half * w * w)
        for i in range(a, b + 1):
            x = (lbda[i] - line_lbda[k]) * (1 / w)
            out[i] += (
                smooth_step(x + outer, r) - smooth_step(x + inner, r)
                - smooth_step(x - inner, r) + smooth_step(x - outer, r)
            ) * scale * w * line_flux[k]


def hermite_spectrum(const double[::1] lbda, const double[::1] line_lbda, const double[::1] line_flux,
                     const double[::1] width, const double[::1] h3, const double[::1] h4, const double[::1] h5,
                     const double[::1] h6, double slit_width, double bin_width, double reach, double[::1] out):
    """Add the spectrum of lines, seen through a parametrised LSF, to `out`.

    Parameters
    ----------
    lbda, line_lbda, line_flux, out : ndarray of float64
        As in `line_spectrum`.
    width, h3, h4, h5, h6 : ndarray of float64
        Polynomials, see `muse_core.model.lsf.HermiteProfile`.
    slit_width, bin_width : float
        In Angstrom.
    reach : float
        Lines contribute up to this distance, in Angstrom.
    """
    require_lines(line_lbda, line_flux)
    require(out.shape[0] == lbda.shape[0], "out: one for each wavelength")
    if lbda.shape[0] == 0:
        return
    with nogil:
        add_hermite_lines(&lbda[0], lbda.shape[0], line_lbda, line_flux, width, h3, h4, h5, h6, slit_width, bin_width,
                          reach, &out[0])

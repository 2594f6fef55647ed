# SPDX-License-Identifier: GPL-2.0-or-later
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: freethreading_compatible=True
"""Linear algebra of the Levenberg-Marquardt minimiser, after MINPACK (More, Garbow, Hillstrom 1980).

All sums run in index order in float64: where a fit ends depends on the last bits. Matrices are stored
transposed: row j of ``jac`` is column j of the Jacobian.
"""

from libc.math cimport fabs, fmax, fmin, sqrt
from libc.stdint cimport int64_t
from bounded cimport require, shaped

cdef double EPSILON = 2.220446049250313e-16
cdef double SMALLEST = 2.2250738585072014e-308
cdef double NORM_LOW = 1e-150
cdef double NORM_HIGH = 1e150


cdef double norm_of(const double* x, Py_ssize_t n) noexcept nogil:
    """Euclidean norm without overflow: large, middle and small components are summed apart."""
    cdef Py_ssize_t i
    cdef double v, s1 = 0, s2 = 0, s3 = 0, max1 = 0, max3 = 0, limit = NORM_HIGH / n
    for i in range(n):
        v = fabs(x[i])
        if v > NORM_LOW:
            if v < limit:
                s2 += v * v
            elif v > max1:
                s1 = 1 + s1 * ((max1 / v) * (max1 / v))
                max1 = v
            else:
                s1 += (v / max1) * (v / max1)
        elif v > max3:
            s3 = 1 + s3 * ((max3 / v) * (max3 / v))
            max3 = v
        elif v != 0:
            s3 += (v / max3) * (v / max3)
    if s1 != 0:
        return max1 * sqrt(s1 + (s2 / max1) / max1)
    if s2 != 0:
        if s2 >= max3:
            return sqrt(s2 * (1 + (max3 / s2) * (max3 * s3)))
        return sqrt(max3 * ((s2 / max3) + (max3 * s3)))
    return max3 * sqrt(s3)


cdef int require_pivot(const int64_t[::1] pivot, Py_ssize_t n) except -1:
    cdef Py_ssize_t j
    require(pivot.shape[0] == n, "pivot: one for each parameter")
    for j in range(n):
        require(0 <= pivot[j] < n, "pivot: numbers of parameters")
    return 0


def norm(const double[::1] x):
    """Euclidean norm of `x` (ndarray of float64, shape (n,))."""
    require(x.shape[0] > 0, "x: one or more")
    return norm_of(&x[0], x.shape[0])


def qr_factor(double[:, ::1] jac, int64_t[::1] pivot, double[::1] r_diag, double[::1] column_norm, double[::1] work):
    """Factorise the Jacobian by Householder transformations with column pivoting.

    Parameters
    ----------
    jac : ndarray of float64, shape (n, m)
        Transposed Jacobian, n <= m; overwritten by the Householder vectors and, above the diagonal, by R.
    pivot : ndarray of int64, shape (n,)
        Receives the order of the columns.
    r_diag, column_norm : ndarray of float64, shape (n,)
        Receive the diagonal of R and the norms of the columns before.
    work : ndarray of float64, shape (n,)
        Overwritten.
    """
    cdef Py_ssize_t i, j, k, largest, n = jac.shape[0], m = jac.shape[1]
    cdef double length, total, ratio
    require(n <= m, "jac: not more parameters than residuals")
    require(pivot.shape[0] == n and r_diag.shape[0] == n, "pivot, r_diag: one for each parameter")
    require(column_norm.shape[0] == n and work.shape[0] == n, "column_norm, work: one for each parameter")
    with nogil:
        for j in range(n):
            column_norm[j] = norm_of(&jac[j, 0], m)
            r_diag[j] = work[j] = column_norm[j]
            pivot[j] = j
        for j in range(n):
            largest = j
            for k in range(j, n):
                if r_diag[k] > r_diag[largest]:
                    largest = k
            if largest != j:
                for i in range(m):
                    jac[j, i], jac[largest, i] = jac[largest, i], jac[j, i]
                r_diag[largest] = r_diag[j]
                work[largest] = work[j]
                pivot[j], pivot[largest] = pivot[largest], pivot[j]
            length = norm_of(&jac[j, j], m - j)
            if length == 0:
                r_diag[j] = 0
                continue
            if jac[j, j] < 0:
                length = -length
            for i in range(j, m):
                jac[j, i] /= length
            jac[j, j] += 1
            for k in range(j + 1, n):
                total = 0
                for i in range(j, m):
                    total += jac[j, i] * jac[k, i]
                total /= jac[j, j]
                for i in range(j, m):
                    jac[k, i] -= total * jac[j, i]
                if r_diag[k] != 0:
                    ratio = jac[k, j] / r_diag[k]
                    r_diag[k] *= sqrt(fmax(0, 1 - ratio * ratio))
                    ratio = r_diag[k] / work[k]
                    if 0.05 * (ratio * ratio) <= EPSILON:
                        r_diag[k] = norm_of(&jac[k, j + 1], m - j - 1)
                        work[k] = r_diag[k]
            r_diag[j] = -length


def apply_q(double[:, ::1] jac, const double[::1] r_diag, double[::1] residuals, double[::1] qtf):
    """Compute the first n elements of Q^T residuals, and put the diagonal of R into its place.

    Parameters
    ----------
    jac : ndarray of float64, shape (n, m)
        From `qr_factor`; its diagonal is replaced by `r_diag`.
    r_diag : ndarray of float64, shape (n,)
        From `qr_factor`.
    residuals : ndarray of float64, shape (m,)
        Overwritten.
    qtf : ndarray of float64, shape (n,)
        Receives the result.
    """
    cdef Py_ssize_t i, j, n = jac.shape[0], m = jac.shape[1]
    cdef double total
    require(n <= m and residuals.shape[0] == m, "residuals: one for each column of jac")
    require(r_diag.shape[0] == n and qtf.shape[0] == n, "r_diag, qtf: one for each parameter")
    with nogil:
        for j in range(n):
            if jac[j, j] != 0:
                total = 0
                for i in range(j, m):
                    total += jac[j, i] * residuals[i]
                total = -total / jac[j, j]
                for i in range(j, m):
                    residuals[i] += jac[j, i] * total
            jac[j, j] = r_diag[j]
            qtf[j] = residuals[j]


def scaled_gradient(const double[:, ::1] jac, const int64_t[::1] pivot, const double[::1] qtf,
                    const double[::1] column_norm, double residual_norm):
    """Largest cosine between the residuals and a column of the Jacobian.

    Parameters
    ----------
    jac, pivot, qtf, column_norm : ndarray
        From `qr_factor` and `apply_q`.
    residual_norm : float
        Norm of the residuals.
    """
    cdef Py_ssize_t i, j, n = jac.shape[0]
    cdef double total, largest = 0
    require_pivot(pivot, n)
    require(jac.shape[1] >= n and qtf.shape[0] == n and column_norm.shape[0] == n, "qtf, column_norm: for jac")
    if residual_norm == 0:
        return 0.0
    for j in range(n):
        if column_norm[pivot[j]] == 0:
            continue
        total = 0
        for i in range(j + 1):
            total += jac[j, i] * qtf[i] / residual_norm
        largest = fmax(largest, fabs(total / column_norm[pivot[j]]))
    return largest


def r_times(const double[:, ::1] jac, const int64_t[::1] pivot, const double[::1] step, double[::1] out):
    """Multiply R, pivoted, by a step (ndarray of float64, shape (n,)) into `out`."""
    cdef Py_ssize_t i, j, n = jac.shape[0]
    require_pivot(pivot, n)
    require(jac.shape[1] >= n and step.shape[0] == n and out.shape[0] == n, "step, out: one for each parameter")
    for j in range(n):
        out[j] = 0
        for i in range(j + 1):
            out[i] += jac[j, i] * step[pivot[j]]


cdef void solve_damped(double[:, ::1] r, const int64_t[::1] pivot, const double* damping, const double[::1] qtf,
                       double* x, double* s_diag, double* work) noexcept nogil:
    """Solve the least-squares problem of R with extra diagonal rows, by Givens rotations.

    The strict lower triangle of R (in the storage here: r[i, j] with j > i) receives that of the rotated matrix S.
    """
    cdef Py_ssize_t i, j, k, n = r.shape[0], n_regular
    cdef double qtb_element, sine, cosine, ratio, total
    for j in range(n):
        for i in range(j, n):
            r[j, i] = r[i, j]
        x[j] = r[j, j]
        work[j] = qtf[j]
    for j in range(n):
        if damping[pivot[j]] != 0:
            for k in range(j, n):
                s_diag[k] = 0
            s_diag[j] = damping[pivot[j]]
            qtb_element = 0
            for k in range(j, n):
                if s_diag[k] == 0:
                    continue
                if fabs(r[k, k]) < fabs(s_diag[k]):
                    ratio = r[k, k] / s_diag[k]
                    sine = 0.5 / sqrt(0.25 + 0.25 * (ratio * ratio))
                    cosine = sine * ratio
                else:
                    ratio = s_diag[k] / r[k, k]
                    cosine = 0.5 / sqrt(0.25 + 0.25 * (ratio * ratio))
                    sine = cosine * ratio
                r[k, k] = cosine * r[k, k] + sine * s_diag[k]
                total = cosine * work[k] + sine * qtb_element
                qtb_element = -sine * work[k] + cosine * qtb_element
                work[k] = total
                for i in range(k + 1, n):
                    total = cosine * r[k, i] + sine * s_diag[i]
                    s_diag[i] = -sine * r[k, i] + cosine * s_diag[i]
                    r[k, i] = total
        s_diag[j] = r[j, j]
        r[j, j] = x[j]
    n_regular = n
    for j in range(n):
        if s_diag[j] == 0 and n_regular == n:
            n_regular = j
        if n_regular < n:
            work[j] = 0
    for j in range(n_regular - 1, -1, -1):
        total = 0
        for i in range(j + 1, n_regular):
            total += r[j, i] * work[i]
        work[j] = (work[j] - total) / s_diag[j]
    for j in range(n):
        x[pivot[j]] = work[j]


cdef double find_damping(double[:, ::1] r, const int64_t[::1] pivot, const double[::1] scale, const double[::1] qtf,
                         double delta, double par, double[::1] x, double[:, ::1] work) noexcept nogil:
    cdef Py_ssize_t i, j, n = r.shape[0], n_regular = n, trial
    cdef double* a = &work[0, 0]
    cdef double* b = &work[1, 0]
    cdef double* s_diag = &work[2, 0]
    cdef double* rotated = &work[3, 0]
    cdef double total, length, excess, previous, lower = 0, upper, gradient
    for j in range(n):
        a[j] = qtf[j]
        if r[j, j] == 0 and n_regular == n:
            n_regular = j
        if n_regular < n:
            a[j] = 0
    for j in range(n_regular - 1, -1, -1):
        a[j] /= r[j, j]
        for i in range(j):
            a[i] -= r[j, i] * a[j]
    for j in range(n):
        x[pivot[j]] = a[j]
    for j in range(n):
        b[j] = scale[j] * x[j]
    length = norm_of(b, n)
    excess = length - delta
    if excess <= 0.1 * delta:
        return 0
    if n_regular >= n:
        for j in range(n):  # the product first, in MINPACK the quotient
            a[j] = scale[pivot[j]] * b[pivot[j]] / length
        for j in range(n):
            total = 0
            for i in range(j):
                total += r[j, i] * a[i]
            a[j] = (a[j] - total) / r[j, j]
        total = norm_of(a, n)
        lower = excess / delta / total / total
    for j in range(n):
        total = 0
        for i in range(j + 1):
            total += r[j, i] * qtf[i]
        a[j] = total / scale[pivot[j]]
    gradient = norm_of(a, n)
    upper = gradient / delta
    if upper == 0:
        upper = SMALLEST / fmin(delta, 0.1)
    par = fmin(fmax(par, lower), upper)
    if par == 0:
        par = gradient / length
    for trial in range(11):
        if par == 0:
            par = fmax(SMALLEST, 0.001 * upper)
        total = sqrt(par)
        for j in range(n):
            a[j] = total * scale[j]
        solve_damped(r, pivot, a, qtf, &x[0], s_diag, rotated)
        for j in range(n):
            b[j] = scale[j] * x[j]
        length = norm_of(b, n)
        previous = excess
        excess = length - delta
        if (fabs(excess) <= 0.1 * delta or (lower == 0 and excess <= previous and previous < 0)
                or trial == 10):
            break
        for j in range(n):
            a[j] = scale[pivot[j]] * b[pivot[j]] / length
        for j in range(n):
            a[j] /= s_diag[j]
            for i in range(j + 1, n):
                a[i] -= r[j, i] * a[j]
        total = norm_of(a, n)
        total = excess / delta / total / total
        if excess > 0:
            lower = fmax(lower, par)
        elif excess < 0:
            upper = fmin(upper, par)
        par = fmax(lower, par + total)
    return par


def damping_parameter(double[:, ::1] r, const int64_t[::1] pivot, const double[::1] scale, const double[::1] qtf,
                      double delta, double par, double[::1] x, double[:, ::1] work):
    """Find the Levenberg-Marquardt parameter whose step has the length of the trust region, within 10 percent.

    Parameters
    ----------
    r : ndarray of float64, shape (n, n)
        Copy of the first n columns of the factorised ``jac``: r[j, i] with i <= j is R; the rest is overwritten.
    pivot, qtf : ndarray
        From `qr_factor` and `apply_q`.
    scale : ndarray of float64, shape (n,)
        Scale of each parameter.
    delta : float
        Radius of the trust region.
    par : float
        Start value.
    x : ndarray of float64, shape (n,)
        Receives the solution; the step is its negative.
    work : ndarray of float64, shape (5, n)
        Overwritten.

    Returns
    -------
    float
        The parameter.
    """
    cdef Py_ssize_t n = r.shape[0]
    require_pivot(pivot, n)
    require(n > 0 and r.shape[1] == n, "r: square")
    require(scale.shape[0] == n and qtf.shape[0] == n and x.shape[0] == n, "scale, qtf, x: one for each parameter")
    require(shaped(work.shape, 5, n), "work: of shape (5, n)")
    with nogil:
        par = find_damping(r, pivot, scale, qtf, delta, par, x, work)
    return par

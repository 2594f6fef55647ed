# SPDX-License-Identifier: GPL-2.0-or-later
"""How the cells of a slab are cut into pieces of work: each plane into strips, which are some rows of the grid.

Planes would be too few for many threads, which would wait for the last one. A strip may be a whole plane.
"""


cdef struct strips_t:
    Py_ssize_t nx      # size of a plane
    Py_ssize_t ny
    Py_ssize_t n_rows  # of the grid in a strip; the last one of a plane may have fewer
    Py_ssize_t n       # in a plane


cdef inline strips_t strips_of(Py_ssize_t nx, Py_ssize_t ny, Py_ssize_t n_rows) noexcept nogil:
    return strips_t(nx, ny, n_rows, (ny + n_rows - 1) // n_rows)


cdef inline Py_ssize_t first_row(const strips_t *strips, Py_ssize_t strip) noexcept nogil:
    # The row of the grid with which a strip of a plane begins; that of the strip after the last is ny.
    return min(strip * strips.n_rows, strips.ny)


cdef inline Py_ssize_t first_cell(const strips_t *strips, Py_ssize_t strip) noexcept nogil:
    # The cell of the slab with which a strip, of those of all planes, begins.
    cdef Py_ssize_t plane = strip // strips.n
    return (plane * strips.ny + first_row(strips, strip - plane * strips.n)) * strips.nx


cdef inline Py_ssize_t strip_of(const strips_t *strips, Py_ssize_t cell) noexcept nogil:
    # The strip, of those of all planes, in which a cell of the slab is.
    cdef Py_ssize_t row = cell // strips.nx, plane = row // strips.ny
    return plane * strips.n + (row - plane * strips.ny) // strips.n_rows

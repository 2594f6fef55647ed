# SPDX-License-Identifier: GPL-2.0-or-later
# The C view of a row and of what its flags and its origin mean; kernels have these from here only. `rows.constants()`
# hands the numbers out for the test that compares them with muse_core.model.

cdef packed struct row_t:  # muse_core.model.rows.ROW
    float xpos
    float ypos
    float lbda
    float data
    int dq
    float stat
    unsigned int origin


cdef enum:  # muse_core.model.dq.DQ
    COSMIC_RAY = 1 << 5
    MISSING = 1 << 30
    OUTSIDE_RANGE = -2147483648  # bit 31


cdef enum:  # muse_core.model.origin
    N_IFU = 24
    N_SLICE = 48
    IFU_SHIFT = 6
    IFU_MASK = 0x1F
    SLICE_MASK = 0x3F
    X_SHIFT = 24
    X_MASK = 0x7F
    SLICE_KEY_MASK = 0x7FF

# SPDX-License-Identifier: GPL-2.0-or-later
# The C view of muse_core.model.rows.ROW; every kernel that takes rows cimports it from here.

cdef packed struct row_t:
    float xpos
    float ypos
    float lbda
    float data
    int dq
    float stat
    unsigned int origin

/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A row sorted into a grid, and a spaxel of it, for C and Cython (grid_types.pxd).
 */
#ifndef MUSE_GRID_TYPES_H
#define MUSE_GRID_TYPES_H

#include <stdint.h>

/* Begins as a row of a pixel table does, without its origin. */
typedef struct {
    float xpos, ypos, lbda, data;
    int32_t dq;
    float stat, weight;
    int32_t row; /* index into the rows of the slab */
} muse_cell;

typedef struct {
    double x, y, cos_y;
} muse_spaxel;

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Sums of voxels, and the rows of a line of cells added to them by drizzle, written for the vector units (vector
 * extensions of GCC and Clang).
 */
#ifndef MUSE_DRIZZLE_H
#define MUSE_DRIZZLE_H

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "clones.h"
#include "grid_types.h"

typedef double muse_d4 __attribute__((vector_size(32)));
typedef int64_t muse_l4 __attribute__((vector_size(32)));

/* Sums of a voxel. */
typedef struct {
    double weight, data, stat, unused; /* the last one makes them a vector */
} muse_sums;

/* The same without variances. */
typedef struct {
    double weight, data;
} muse_data_sums;

/* Both as numbers of float64. */
#define MUSE_SUMS (sizeof(muse_sums) / sizeof(double))
#define MUSE_DATA_SUMS (sizeof(muse_data_sums) / sizeof(double))

typedef struct {
    double origin_x, origin_y;
    double drop_x, drop_y, drop_l, volume;
    double voxel_x, voxel_y;
    ptrdiff_t sign_x, sign_y, sign_l;
    const muse_spaxel *spaxels;
    const double *lbda, *length; /* of the planes of the slab */
    ptrdiff_t n_planes, nx, ny;
    ptrdiff_t first, last, ring_rows; /* as in block_t */
    double *ring;
} muse_drops;

#define MUSE_INLINE static inline __attribute__((always_inline))

/* Add a row with one weight to a voxel. */
MUSE_INLINE void muse_add(double *voxel, double weight, float data, float stat)
{
    const muse_d4 values = {1, data, stat, 0};
    muse_d4 sums, terms = {weight, weight, weight, weight};
    terms *= values;
    terms *= (muse_d4){1, 1, weight, 1};
    memcpy(&sums, voxel, sizeof sums);
    sums += terms;
    memcpy(voxel, &sums, sizeof sums);
}

/* Add a row with two weights to a voxel and the next one; without variances. */
MUSE_INLINE void muse_add_data(double *voxels, double weight, double next, float data)
{
    muse_d4 sums, terms = {weight, weight, next, next};
    terms *= (muse_d4){1, data, 1, data};
    memcpy(&sums, voxels, sizeof sums);
    sums += terms;
    memcpy(voxels, &sums, sizeof sums);
}

/* Offsets along one axis times `scale`, to the overlap of drops and voxels, at most the drop; 0 where there is none. */
MUSE_INLINE void muse_overlaps(muse_d4 *offset, const muse_d4 *scale, double drop, const muse_d4 *voxel)
{
    const muse_d4 zero = {0}, whole = zero + drop, distance = (muse_d4)((muse_l4)*offset & INT64_MAX) * *scale;
    const muse_d4 inside = (whole + *voxel) / 2 - distance;
    const muse_l4 within = distance + *voxel / 2 <= whole / 2;
    const muse_d4 length = (muse_d4)((within & (muse_l4)*voxel) | (~within & (muse_l4)inside));
    const muse_l4 clipped = length > whole, positive = length > zero;
    *offset = (muse_d4)(positive & ((clipped & (muse_l4)whole) | (~clipped & (muse_l4)length)));
}

/*
 * Drizzle with drops so small that only the neighbours on one side of a cell can be reached: add the rows of the cells of
 * a line of the grid, from number k in cell *x on, to these eight voxels. Weights of zero are added instead of avoided:
 * half of all branches would be mispredicted.
 *
 * Returns the number of the first row for which there is more to do, since it is not finite or in a cell at the rim, with
 * its cell in *x; c->nx there if there is none.
 */
MUSE_INLINE ptrdiff_t muse_drizzle_cells(const muse_drops *c, const muse_cell *cells, const int *offsets, ptrdiff_t y,
                                         ptrdiff_t plane, ptrdiff_t *x, ptrdiff_t k, int variances)
{
    const muse_drops d = *c;
    const muse_d4 zero = {0}, one = zero + 1, voxel_x = zero + d.voxel_x, voxel_y = zero + d.voxel_y;
    const ptrdiff_t n_sums = variances ? (ptrdiff_t)MUSE_SUMS : (ptrdiff_t)MUSE_DATA_SUMS;
    const ptrdiff_t line = (d.last - d.first) * d.nx * n_sums; /* of the ring */
    double *const own_line = d.ring + y % d.ring_rows * line;
    double *const lines[3] = {d.ring + (y + d.ring_rows - 1) % d.ring_rows * line, own_line,
                              d.ring + (y + 1) % d.ring_rows * line};
    for (ptrdiff_t i = *x; i < d.nx; i++) {
        const muse_spaxel *own = d.spaxels + y * d.nx + i;
        for (; k < offsets[i + 1]; k++) {
            const muse_cell row = cells[k];
            const double px = row.xpos + d.origin_x, py = row.ypos + d.origin_y, lbda = row.lbda;
            const ptrdiff_t other_x = i + (px - own->x > 0 ? d.sign_x : -d.sign_x);
            const ptrdiff_t other_y = y + (py - own->y > 0 ? d.sign_y : -d.sign_y);
            const ptrdiff_t other = plane + (lbda - d.lbda[plane] > 0 ? d.sign_l : -d.sign_l);
            if (row.dq != 0)
                continue;
            if (!(isfinite(row.data) & isfinite(row.stat) & isfinite(row.weight) & (other_x >= 0) & (other_x < d.nx)
                  & (other_y >= 0) & (other_y < d.ny) & (other >= 0) & (other < d.n_planes))) {
                *x = i;
                return k;
            }
            const ptrdiff_t left = other_x < i ? other_x : i;
            const muse_spaxel *a = d.spaxels + y * d.nx + left, *b = d.spaxels + other_y * d.nx + left;
            muse_d4 in_x = {a[0].x, a[1].x, b[0].x, b[1].x}, in_y = {a[0].y, a[1].y, b[0].y, b[1].y};
            const muse_d4 cos_y = {a[0].cos_y, a[1].cos_y, b[0].cos_y, b[1].cos_y};
            muse_d4 depth = {d.lbda[plane], d.lbda[other]};
            const muse_d4 length = {d.length[plane], d.length[other]};
            in_x -= px;
            in_y -= py;
            depth -= lbda;
            muse_overlaps(&in_x, &cos_y, d.drop_x, &voxel_x);
            muse_overlaps(&in_y, &one, d.drop_y, &voxel_y);
            muse_overlaps(&depth, &one, d.drop_l, &length);
            const muse_d4 part = in_x * in_y;
            const ptrdiff_t planes[2] = {plane, other};
            for (int p = 0; p < 2; p++) {
                if (planes[p] < d.first || planes[p] >= d.last)
                    continue;
                const muse_d4 weight = part * depth[p] / d.volume * row.weight;
                const ptrdiff_t place = ((planes[p] - d.first) * d.nx + left) * n_sums;
                double *at = own_line + place, *beside = lines[other_y - y + 1] + place;
                if (!variances) {
                    muse_add_data(at, weight[0], weight[1], row.data);
                    muse_add_data(beside, weight[2], weight[3], row.data);
                    continue;
                }
                muse_add(at, weight[0], row.data, row.stat);
                muse_add(at + MUSE_SUMS, weight[1], row.data, row.stat);
                muse_add(beside, weight[2], row.data, row.stat);
                muse_add(beside + MUSE_SUMS, weight[3], row.data, row.stat);
            }
        }
    }
    *x = d.nx;
    return k;
}

MUSE_CLONES static ptrdiff_t muse_drizzle_line(const muse_drops *c, const muse_cell *cells, const int *offsets,
                                               ptrdiff_t y, ptrdiff_t plane, ptrdiff_t *x, ptrdiff_t k)
{
    return muse_drizzle_cells(c, cells, offsets, y, plane, x, k, 1);
}

/* The same without variances. */
MUSE_CLONES static ptrdiff_t muse_drizzle_line_of_data(const muse_drops *c, const muse_cell *cells, const int *offsets,
                                                       ptrdiff_t y, ptrdiff_t plane, ptrdiff_t *x, ptrdiff_t k)
{
    return muse_drizzle_cells(c, cells, offsets, y, plane, x, k, 0);
}

/* Write n voxels; those whose weight is no normal number are 0, and flagged. */
MUSE_CLONES static void muse_finish(const double *sums, ptrdiff_t n, int flag, float *restrict data,
                                    float *restrict stat, int *restrict dq)
{
    const muse_sums *voxel = (const muse_sums *)sums;
    for (ptrdiff_t i = 0; i < n; i++) {
        const double weight = voxel[i].weight;
        const int normal = (fabs(weight) >= DBL_MIN) & (fabs(weight) <= DBL_MAX);
        const double value = voxel[i].data / weight, variance = voxel[i].stat / (weight * weight);
        data[i] = normal ? (float)value : 0;
        stat[i] = normal ? (float)variance : 0;
        dq[i] = normal ? 0 : flag;
    }
}

/* The same without variances. */
MUSE_CLONES static void muse_finish_data(const double *sums, ptrdiff_t n, int flag, float *restrict data,
                                         int *restrict dq)
{
    const muse_data_sums *voxel = (const muse_data_sums *)sums;
    for (ptrdiff_t i = 0; i < n; i++) {
        const double weight = voxel[i].weight;
        const int normal = (fabs(weight) >= DBL_MIN) & (fabs(weight) <= DBL_MAX);
        const double value = voxel[i].data / weight;
        data[i] = normal ? (float)value : 0;
        dq[i] = normal ? 0 : flag;
    }
}

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Smallest and largest of big-endian float32 values. Several lanes, each with its own extremes, so that values that lie
 * side by side are compared several at a time; NaN compare as false, and count for nothing.
 */
#ifndef MUSE_RANGES_H
#define MUSE_RANGES_H

#include <math.h>
#include <stddef.h>

#include "bigendian.h"
#include "clones.h"

#define MUSE_LANES 32

static inline void muse_range_with(const unsigned char *raw, ptrdiff_t stride, ptrdiff_t n, float *low, float *high)
{
    float least[MUSE_LANES], most[MUSE_LANES];
    ptrdiff_t i = 0;
    int k;
    for (k = 0; k < MUSE_LANES; k++) {
        least[k] = INFINITY;
        most[k] = -INFINITY;
    }
    for (; i + MUSE_LANES <= n; i += MUSE_LANES) {
        for (k = 0; k < MUSE_LANES; k++) {
            const float value = muse_float_at(raw + (i + k) * stride);
            least[k] = value < least[k] ? value : least[k];
            most[k] = value > most[k] ? value : most[k];
        }
    }
    for (; i < n; i++) {
        const float value = muse_float_at(raw + i * stride);
        least[0] = value < least[0] ? value : least[0];
        most[0] = value > most[0] ? value : most[0];
    }
    for (k = 1; k < MUSE_LANES; k++) {
        least[0] = least[k] < least[0] ? least[k] : least[0];
        most[0] = most[k] > most[0] ? most[k] : most[0];
    }
    *low = least[0];
    *high = most[0];
}

/* The extremes of n values, value i at i * stride; inf and -inf if all are NaN. */
MUSE_CLONES static void muse_range(const unsigned char *raw, ptrdiff_t stride, ptrdiff_t n, float *low, float *high)
{
    if (stride == 4)
        muse_range_with(raw, 4, n, low, high);
    else
        muse_range_with(raw, stride, n, low, high);
}

#endif

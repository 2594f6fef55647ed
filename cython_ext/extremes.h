/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Smallest and largest of the columns with which rows of a pixel table begin, four of them at once.
 */
#ifndef MUSE_EXTREMES_H
#define MUSE_EXTREMES_H

#include <stddef.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define MUSE_COLUMNS 4 /* xpos, ypos, lbda, data */

typedef struct {
    float low[MUSE_COLUMNS], high[MUSE_COLUMNS]; /* NaN count for nothing */
    int has_nan[MUSE_COLUMNS];
} muse_extremes;

/* Widen `e` by n rows that are `stride` bytes long. */
static void muse_widen(const void *rows, ptrdiff_t stride, ptrdiff_t n, muse_extremes *e)
{
#ifdef __SSE2__
    __m128 low = _mm_loadu_ps(e->low), high = _mm_loadu_ps(e->high), has_nan = _mm_setzero_ps();
    for (ptrdiff_t i = 0; i < n; i++) {
        const __m128 v = _mm_loadu_ps((const float *)((const char *)rows + i * stride));
        low = _mm_min_ps(v, low); /* the latter where v is NaN */
        high = _mm_max_ps(v, high);
        has_nan = _mm_or_ps(has_nan, _mm_cmpunord_ps(v, v));
    }
    _mm_storeu_ps(e->low, low);
    _mm_storeu_ps(e->high, high);
    for (int k = 0; k < MUSE_COLUMNS; k++)
        e->has_nan[k] |= _mm_movemask_ps(has_nan) >> k & 1;
#else
    for (ptrdiff_t i = 0; i < n; i++) {
        float v[MUSE_COLUMNS];
        memcpy(v, (const char *)rows + i * stride, sizeof v);
        for (int k = 0; k < MUSE_COLUMNS; k++) {
            e->low[k] = v[k] < e->low[k] ? v[k] : e->low[k];
            e->high[k] = v[k] > e->high[k] ? v[k] : e->high[k];
            e->has_nan[k] |= v[k] != v[k];
        }
    }
#endif
}

#endif

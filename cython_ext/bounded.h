/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Numbers of any size to indices: the only way in which kernels turn a float into an integer, which C leaves undefined
 * for NaN and for what does not fit.
 */
#ifndef MUSE_BOUNDED_H
#define MUSE_BOUNDED_H

#include <stddef.h>

/* x, but not below 0 nor above `last`; 0 for NaN. */
static inline double muse_bounded(double x, double last)
{
    x = x > 0.0 ? x : 0.0;
    return x > last ? last : x;
}

/* The whole number at or below x, 0...last. */
static inline ptrdiff_t muse_index_below(double x, ptrdiff_t last)
{
    if (!(x > 0.0))
        return 0;
    return x < (double)last ? (ptrdiff_t)x : last; /* branches, which are foreseen */
}

/* The whole number nearest to x, halves upwards, 0...last. */
static inline ptrdiff_t muse_nearest_index(double x, ptrdiff_t last)
{
    const double within = muse_bounded(x, (double)last);
    const ptrdiff_t whole = (ptrdiff_t)within;
    return whole + (within - whole >= 0.5);
}

#endif

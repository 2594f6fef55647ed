/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The quick test of the cosmic-ray rejection, written for the vector units (vector extensions of GCC and Clang).
 */
#ifndef MUSE_QUICKTEST_H
#define MUSE_QUICKTEST_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "clones.h"

#define MUSE_LANES 8
#define MUSE_BINS 16
#define MUSE_NIBBLES 60 /* values that four-bit counters in four lanes take */
#define MUSE_BYTES 240  /* values that byte counters take */
#define MUSE_HALVINGS 5 /* of the range of values: the median is enclosed well enough then */

typedef float muse_f8 __attribute__((vector_size(32)));
typedef int32_t muse_i8 __attribute__((vector_size(32)));
typedef float muse_f4 __attribute__((vector_size(16)));
typedef int32_t muse_i4 __attribute__((vector_size(16)));
typedef uint64_t muse_u4 __attribute__((vector_size(32)));

enum { MUSE_MAYBE_ABOVE = 0, MUSE_SURELY_BELOW = 1, MUSE_UNUSABLE_INSIDE = 2 };

/*
 * Is x certainly not above median + sigma * MAD of v[0...n-1]?
 *
 * Two exact arguments: (1) if more than half of the values are >= x, so is the median; (2) a rejection needs half of
 * the values closer to the median m than t = (x - m) / sigma, that is in a window of width 2 t <= 2 (x - lowest) /
 * sigma, so three neighbouring bins of half that width must hold half of them.
 *
 * v has room for MUSE_LANES values after the last; sigma >= 1. Returns MUSE_UNUSABLE_INSIDE if a value is minus
 * infinity (unless argument 1 holds even so).
 */
MUSE_CLONES static int muse_quick_test(float *v, ptrdiff_t n, float x, double sigma)
{
    const ptrdiff_t padding = (MUSE_LANES - n % MUSE_LANES) % MUSE_LANES, padded = n + padding, half = (n + 1) / 2;
    const uint64_t nibbles = UINT64_C(0x0f0f0f0f0f0f0f0f), tops = nibbles / 15 << 7, ones = nibbles / 15;
    const muse_f8 x8 = {x, x, x, x, x, x, x, x}, infinity = (muse_f8){0} + INFINITY;
    muse_i8 above = {0};
    muse_f8 low = x8, value;
    ptrdiff_t total_above = 0;
    float lowest = x, scale;
    int bins[MUSE_BINS] = {0};

    memcpy(v + n, &infinity, sizeof infinity);
    for (ptrdiff_t i = 0; i < padded; i += MUSE_LANES) {
        memcpy(&value, v + i, sizeof value);
        above -= value >= x8;
        const muse_i8 lower = value < low;
        low = (muse_f8)((lower & (muse_i8)value) | (~lower & (muse_i8)low));
    }
    for (int k = 0; k < MUSE_LANES; k++) {
        total_above += above[k];
        lowest = low[k] < lowest ? low[k] : lowest;
    }
    if (total_above - padding > n / 2)
        return MUSE_SURELY_BELOW;
    if (lowest == -INFINITY)
        return MUSE_UNUSABLE_INSIDE;
    if (!(lowest < x))
        return MUSE_MAYBE_ABOVE;

    /* the margin keeps rounding from spreading a window over a fourth bin; values >= x may be in the last bin */
    scale = (float)((sigma < MUSE_BINS - 1 ? sigma : MUSE_BINS - 1) * (1 - 1e-4) / ((double)x - lowest));
    const muse_f4 lowest4 = {lowest, lowest, lowest, lowest}, scale4 = {scale, scale, scale, scale};
    const muse_f4 last4 = {MUSE_BINS - 1, MUSE_BINS - 1, MUSE_BINS - 1, MUSE_BINS - 1};
    const muse_u4 one = {1, 1, 1, 1};
    for (ptrdiff_t start = 0; start < padded; start += MUSE_BYTES) {
        /* byte k of `even` and `odd` counts bin 2 k and 2 k + 1 */
        uint64_t even = 0, odd = 0;
        const ptrdiff_t end = start + MUSE_BYTES < padded ? start + MUSE_BYTES : padded;
        for (ptrdiff_t first = start; first < end; first += MUSE_NIBBLES) {
            const ptrdiff_t last = first + MUSE_NIBBLES < end ? first + MUSE_NIBBLES : end;
            muse_u4 counts = {0};
            for (ptrdiff_t i = first; i < last; i += 4) {
                muse_f4 t;
                memcpy(&t, v + i, sizeof t);
                t = (t - lowest4) * scale4;
                const muse_i4 inside = t < last4;
                t = (muse_f4)((inside & (muse_i4)t) | (~inside & (muse_i4)last4));
                counts += one << (__builtin_convertvector(__builtin_convertvector(t, muse_i4), muse_u4) << 2);
            }
            for (int k = 0; k < 4; k++) {
                even += counts[k] & nibbles;
                odd += (counts[k] >> 4) & nibbles;
            }
        }
        odd &= ~UINT64_C(0) >> 8; /* windows end below x: no need of the last bin */
        if (n <= MUSE_BYTES) {
            const uint64_t three_from_even = even + odd + (even >> 8), three_from_odd = odd + (even >> 8) + (odd >> 8);
            const uint64_t margin = ones * (uint64_t)(0x80 - half); /* sets the top bit of counts >= half */
            const uint64_t enough = ((three_from_even + margin) | (three_from_odd + margin)) & tops;
            return enough ? MUSE_MAYBE_ABOVE : MUSE_SURELY_BELOW;
        }
        for (int k = 0; k < MUSE_BINS / 2; k++) {
            bins[2 * k] += (int)(even >> (8 * k) & 0xff);
            bins[2 * k + 1] += (int)(odd >> (8 * k) & 0xff);
        }
    }
    for (int k = 0; k + 2 < MUSE_BINS; k++)
        if (bins[k] + bins[k + 1] + bins[k + 2] >= half)
            return MUSE_MAYBE_ABOVE;
    return MUSE_SURELY_BELOW;
}

/* How many of v[0...padded-1] are above `low` and below `high`; padded is a multiple of MUSE_LANES. */
static inline __attribute__((always_inline)) ptrdiff_t muse_count_between(const float *v, ptrdiff_t padded, float low,
                                                                          float high)
{
    const muse_f8 low8 = {low, low, low, low, low, low, low, low};
    const muse_f8 high8 = {high, high, high, high, high, high, high, high};
    muse_i8 inside = {0};
    muse_f8 value;
    ptrdiff_t n = 0;
    for (ptrdiff_t i = 0; i < padded; i += MUSE_LANES) {
        memcpy(&value, v + i, sizeof value);
        inside -= (value > low8) & (value < high8);
    }
    for (int k = 0; k < MUSE_LANES; k++)
        n += inside[k];
    return n;
}

/*
 * The same question for values that the quick test leaves open; it has put infinity behind the last, and there is no
 * minus infinity among them.
 *
 * The median m is enclosed by halving the range of values below x. Then at least half of the values would have to be
 * closer to it than (x - m) / sigma.
 */
MUSE_CLONES static int muse_narrow_test(const float *v, ptrdiff_t n, float x, double sigma)
{
    const ptrdiff_t padded = (n + MUSE_LANES - 1) / MUSE_LANES * MUSE_LANES;
    float low = x, high = x, reach;
    for (ptrdiff_t i = 0; i < n; i++)
        low = v[i] < low ? v[i] : low;
    if (muse_count_between(v, padded, -INFINITY, x) <= n / 2)
        return MUSE_MAYBE_ABOVE;
    for (int k = 0; k < MUSE_HALVINGS; k++) {
        const float middle = low + (high - low) / 2;
        const ptrdiff_t below = muse_count_between(v, padded, -INFINITY, middle);
        if (below > n / 2)
            high = middle;
        else if (below <= (n - 1) / 2)
            low = middle;
        else
            break; /* between the two middle values of an even number */
    }
    /* rounded outwards, so that no value that is close enough is missed */
    reach = nextafterf((float)(((double)x - low) / sigma * (1 + 1e-6)), INFINITY);
    low = nextafterf(low - reach, -INFINITY);
    high = nextafterf(high + reach, INFINITY);
    return muse_count_between(v, padded, low, high) < (n + 1) / 2 ? MUSE_SURELY_BELOW : MUSE_MAYBE_ABOVE;
}

#endif

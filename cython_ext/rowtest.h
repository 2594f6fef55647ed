/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The quick test of the cosmic-ray rejection for all cells of a row of the grid at once, from counts of values in bins,
 * written for the vector units (vector extensions of GCC and Clang).
 */
#ifndef MUSE_ROWTEST_H
#define MUSE_ROWTEST_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "clones.h"

#define MUSE_ROW_BINS 24   /* the first and the last one are open; a further one, which nobody looks at, is for no value */
#define MUSE_ROW_WIDTH 0.3 /* of a bin, in median absolute deviations: two bins have far less than half of the values */
#define MUSE_ROW_LANES 16
#define MUSE_ROW_CELLS 128 /* cells that are counted together, */
#define MUSE_ROW_PIECE 512 /* if they have no more values than that */
#define MUSE_ROW_MOST INT16_MAX /* values around a cell that are counted */
#define MUSE_ROW_MARGIN 1e-3f   /* of a bin, for rounding */

typedef int16_t muse_s16 __attribute__((vector_size(32)));
typedef int16_t muse_s8 __attribute__((vector_size(16)));
typedef float muse_f8 __attribute__((vector_size(32)));

typedef struct {
    float low, per_bin; /* value v is in bin (v - low) * per_bin */
} muse_row_bins;

/* Of each cell of a row; as many as `muse_row_stride` says. */
typedef struct {
    float *largest; /* value of the cell; input */
    int16_t *own;   /* values of the cell itself that count beside those in the bins; input */
    int16_t *below; /* not 0: the largest value is certainly not above the limit */
} muse_row_cells;

/* Length of a row of counts of one bin: a cell more on the left, room for whole vectors on the right. */
static inline ptrdiff_t muse_row_stride(ptrdiff_t nx)
{
    return (nx + MUSE_ROW_LANES - 1) / MUSE_ROW_LANES * MUSE_ROW_LANES + MUSE_ROW_LANES;
}

/* The bin of a value; what is minus infinity or NaN has one of its own, the last. */
static inline __attribute__((always_inline)) int muse_bin_of(float value, float low, float per_bin)
{
    const float last = MUSE_ROW_BINS - 1;
    float bin = (value - low) * per_bin;
    bin = bin > 0 ? bin : 0;
    bin = bin < last ? bin : last;
    return value > -INFINITY ? (int)bin : MUSE_ROW_BINS;
}

/* Find where the counts of the bins of `n` values begin. */
MUSE_CLONES static void muse_find_bins(const float *values, int n, const muse_row_bins *bins, int stride,
                                       int *restrict place)
{
    const float low = bins->low, per_bin = bins->per_bin;
    for (int k = 0; k < n; k++)
        place[k] = muse_bin_of(values[k], low, per_bin) * stride;
}

/*
 * Count the values of each cell of a row in bins, those of some planes together. The cells of the next plane are
 * `n_spaxels` further on. (Where its loops begin within a line of the cache, it is a fifth slower.)
 */
__attribute__((aligned(64))) static void muse_count_row(const int *offsets, const float *values, ptrdiff_t nx,
                                                        ptrdiff_t n_spaxels, int n_planes,
                                                        const muse_row_bins *bins, int16_t *counts)
{
    const ptrdiff_t stride = muse_row_stride(nx);
    int place[MUSE_ROW_PIECE + 1];
    memset(counts, 0, MUSE_ROW_BINS * stride * sizeof *counts);
    for (int plane = 0; plane < n_planes; plane++, offsets += n_spaxels)
        for (ptrdiff_t x = 0, next; x < nx; x = next) {
            const int begin = offsets[x];
            next = x + MUSE_ROW_CELLS < nx ? x + MUSE_ROW_CELLS : nx;
            while (next > x + 1 && offsets[next] - begin > MUSE_ROW_PIECE)
                next = x + (next - x) / 2;
            const int n = offsets[next] - begin;
            if (n > MUSE_ROW_PIECE) { /* a single cell */
                for (const float *v = values + begin; v < values + begin + n; v++)
                    counts[muse_bin_of(*v, bins->low, bins->per_bin) * stride + x + 1]++;
                continue;
            }
            muse_find_bins(values + begin, n, bins, (int)stride, place);
            place[n] = 0;
            for (; x < next; x++) {
                const int *p = place + (offsets[x] - begin), *const end = place + (offsets[x + 1] - begin);
                counts[*p + x + 1] += p < end; /* most cells have a value: faster than to ask */
                while (++p < end)
                    counts[*p + x + 1]++;
            }
        }
}

static inline __attribute__((always_inline)) muse_s16 muse_load_counts(const int16_t *counts)
{
    muse_s16 loaded;
    memcpy(&loaded, counts, sizeof loaded);
    return loaded;
}

/*
 * Which of some cells cannot be above the limit? `median`: the (lower) median is in this bin or above; `two`, `three`:
 * more than these many of the values are missing in any two, or three, neighbouring bins to be half of all.
 *
 * A rejection needs half of the values closer to the median m than (x - m) / sigma. A window of twice that length, if
 * it is not longer than a bin, is in two neighbouring bins; if it is not longer than two, in three.
 */
static inline __attribute__((always_inline)) muse_s8 muse_below_limit(const float *largest, muse_s8 median, muse_s8 two,
                                                                      muse_s8 three, double sigma,
                                                                      const muse_row_bins *bins)
{
    const float scale = (float)(2 / sigma);
    const muse_f8 margin = (muse_f8){0} + MUSE_ROW_MARGIN;
    muse_f8 window;
    memcpy(&window, largest, sizeof window);
    window = ((window - bins->low) * bins->per_bin - __builtin_convertvector(median, muse_f8) + margin) * scale;
    const muse_s8 one_bin = __builtin_convertvector(window <= 1 - margin, muse_s8);
    const muse_s8 two_bins = __builtin_convertvector(window <= 2 - margin, muse_s8);
    return (median > 0) & ((one_bin & (two > 0)) | (two_bins & (three > 0)));
}

/* As `muse_look_at_row`; whether the own row and the own column count is known when this is compiled. */
static inline __attribute__((always_inline)) void muse_look_at_some(const int16_t *before, const int16_t *own,
                                                                    const int16_t *after, ptrdiff_t nx, double sigma,
                                                                    const muse_row_bins *bins,
                                                                    const muse_row_cells *cells, int has_row,
                                                                    int has_column)
{
    const ptrdiff_t stride = muse_row_stride(nx);
    for (ptrdiff_t x = 0; x < nx; x += MUSE_ROW_LANES) {
        muse_s16 sums[MUSE_ROW_BINS], median = {0}, two = {0}, three = {0};
        const muse_s16 alone = muse_load_counts(cells->own + x);
        muse_s16 total = alone, below = alone; /* wherever these are */
        for (int bin = 0; bin < MUSE_ROW_BINS; bin++) {
            const ptrdiff_t at = bin * stride + x;
            muse_s16 sum = {0};
            for (int k = 0; k < 3; k += has_column ? 1 : 2) {
                sum += muse_load_counts(before + at + k) + muse_load_counts(after + at + k);
                if (has_row)
                    sum += muse_load_counts(own + at + k);
            }
            sums[bin] = sum;
            total += sum;
        }
        const muse_s16 half = (total + 1) >> 1;
        for (int bin = 0; bin < MUSE_ROW_BINS; bin++) {
            below += sums[bin];
            median -= below < half;
            if (bin >= 1) {
                const muse_s16 sum = sums[bin] + sums[bin - 1], more = sum > two;
                two = (more & sum) | (~more & two);
            }
            if (bin >= 2) {
                const muse_s16 sum = sums[bin] + sums[bin - 1] + sums[bin - 2], more = sum > three;
                three = (more & sum) | (~more & three);
            }
        }
        two = half - two - alone;
        three = half - three - alone;
        for (int k = 0; k < MUSE_ROW_LANES; k += 8) {
            muse_s8 m, a, b;
            memcpy(&m, (const int16_t *)&median + k, sizeof m);
            memcpy(&a, (const int16_t *)&two + k, sizeof a);
            memcpy(&b, (const int16_t *)&three + k, sizeof b);
            m = muse_below_limit(cells->largest + x + k, m, a, b, sigma, bins);
            memcpy(cells->below + x + k, &m, sizeof m);
        }
    }
}

/*
 * Find the cells of a row that have nothing above median + sigma * MAD of the values around them, from the counts of the
 * row before, its own (NULL if it does not count), and the row after; `middle` is false if the column of the cell itself
 * does not count.
 */
MUSE_CLONES static void muse_look_at_row(const int16_t *before, const int16_t *own, const int16_t *after, ptrdiff_t nx,
                                         int middle, double sigma, const muse_row_bins *bins,
                                         const muse_row_cells *cells)
{
    if (own == NULL)
        muse_look_at_some(before, own, after, nx, sigma, bins, cells, 0, 1);
    else if (middle)
        muse_look_at_some(before, own, after, nx, sigma, bins, cells, 1, 1);
    else
        muse_look_at_some(before, own, after, nx, sigma, bins, cells, 1, 0);
}

/* The first of the cells from x on that may be above the limit; nx or more if there is none. */
static inline ptrdiff_t muse_next_not_below(const int16_t *below, ptrdiff_t x, ptrdiff_t nx)
{
    uint64_t four;
    for (; x < nx; x += 4) { /* there is room for whole vectors */
        memcpy(&four, below + x, sizeof four);
        if (four == UINT64_MAX)
            continue;
        while (below[x])
            x++;
        break;
    }
    return x;
}

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Values of 4 bytes as they lie in a FITS file, big-endian.
 */
#ifndef MUSE_BIGENDIAN_H
#define MUSE_BIGENDIAN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define muse_from_big_endian(x) (x)
#else
#define muse_from_big_endian(x) __builtin_bswap32(x)
#endif

static inline uint32_t muse_word_at(const unsigned char *raw)
{
    uint32_t word;
    memcpy(&word, raw, 4);
    return muse_from_big_endian(word);
}

static inline float muse_float_at(const unsigned char *raw)
{
    const uint32_t word = muse_word_at(raw);
    float value;
    memcpy(&value, &word, 4);
    return value;
}

/* Put a column of n values, `stride` bytes apart, into a field of rows of `n_fields` words. */
static inline void muse_unpack(const unsigned char *raw, ptrdiff_t stride, ptrdiff_t n, uint32_t *words,
                               ptrdiff_t n_fields)
{
    for (ptrdiff_t i = 0; i < n; i++)
        words[i * n_fields] = muse_word_at(raw + i * stride);
}

#endif

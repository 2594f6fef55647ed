/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * MUSE_CLONES before a function: where compiler and system allow, a copy for AVX2 is chosen at run time. It does the same
 * operations as the plain one, in the same order. MUSE_WIDE_CLONES: there is one for AVX-512 too, for loops over numbers
 * side by side; it makes functions slower that are written in vectors of 32 bytes.
 */
#ifndef MUSE_CLONES_H
#define MUSE_CLONES_H

#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__)
#define MUSE_CLONES __attribute__((target_clones("avx2", "default")))
#if __GNUC__ >= 12
#define MUSE_WIDE_CLONES __attribute__((target_clones("arch=x86-64-v4", "avx2", "default")))
#else
#define MUSE_WIDE_CLONES MUSE_CLONES
#endif
#else
#define MUSE_CLONES
#define MUSE_WIDE_CLONES
#endif

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * MUSE_CLONES before a function: where compiler and system allow, a copy for AVX2 is chosen at run time. It does the same
 * operations as the plain one, in the same order.
 */
#ifndef MUSE_CLONES_H
#define MUSE_CLONES_H

#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__)
#define MUSE_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define MUSE_CLONES
#endif

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Steps of the calibration for rows that are in one interval of its curves: plain loops that the compiler turns into
 * vector instructions.
 */
#ifndef MUSE_CALIBRATION_H
#define MUSE_CALIBRATION_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "clones.h"

#define MUSE_SMALL_EXPONENT 0.015625 /* up to here the series below is exact to 1e-16 */
#define MUSE_LOST_BITS 536870911     /* of a float64 when it becomes a float32 */
#define MUSE_EDGE 268435456          /* their value half-way between two float32 */
#define MUSE_CLOSE 512               /* 1e-13, relatively */

typedef struct { /* muse_core.steps.flux.INTERVAL */
    double base;
    double gain;              /* flux per count at base */
    double slope;             /* of ln(gain) */
    double error[3];          /* relative variance of the gain: polynomial in d = wavelength - base */
    double telluric[2];       /* factor: polynomial in d */
    double telluric_error[3]; /* its variance: polynomial in d */
    int64_t outside;
    int64_t has_telluric;
} muse_flux;

typedef struct { /* muse_core.steps.dar.DarCorrection.constants */
    double kx, ky, scale, reference;
    double a0, a1, b1, a2, b2; /* of dry air */
    double p0, p1, p2, p3;     /* of vapour */
    double dry_factor;
} muse_refraction;

/* Scale values, and variances by its square. */
MUSE_WIDE_CLONES static void muse_scale(int n, double scale, float *restrict data, float *restrict stat)
{
    const double square = scale * scale;
    for (int i = 0; i < n; i++) {
        data[i] = (float)(data[i] * scale);
        stat[i] = (float)(stat[i] * square);
    }
}

/* Factors that are linear in wavelength. */
MUSE_WIDE_CLONES static void muse_factors(const double *lbda, int n, double intercept, double gradient,
                                          double *restrict factor)
{
    for (int i = 0; i < n; i++)
        factor[i] = intercept + gradient * lbda[i];
}

/* Multiply values by factors, and variances by their squares, rounded after each. */
MUSE_WIDE_CLONES static void muse_multiply(const double *factor, int n, float *restrict data, float *restrict stat)
{
    for (int i = 0; i < n; i++) {
        data[i] = (float)(data[i] * factor[i]);
        stat[i] = (float)((float)(stat[i] * factor[i]) * factor[i]);
    }
}

/* Divide by them. */
MUSE_WIDE_CLONES static void muse_divide(const double *factor, int n, float *restrict data, float *restrict stat)
{
    for (int i = 0; i < n; i++) {
        data[i] = (float)(data[i] / factor[i]);
        stat[i] = (float)((float)(stat[i] / factor[i]) / factor[i]);
    }
}

/* Length of the shift by refraction, relatively to the reference wavelength. */
MUSE_WIDE_CLONES static void muse_shift(const double *lbda, int n, const muse_refraction *refraction,
                                        double *restrict shift)
{
    const muse_refraction r = *refraction;
    for (int i = 0; i < n; i++) {
        const double l = lbda[i] * 1e-4, s = 1 / (l * l);
        const double dry = r.a0 + r.a1 / (r.b1 - s) + r.a2 / (r.b2 - s);
        const double wet = r.p0 + s * (r.p1 + s * (r.p2 + s * r.p3));
        const double index = r.dry_factor != 0 ? 1 + r.dry_factor * ((1 + dry) - 1) + wet : 1 + (dry + wet);
        shift[i] = r.scale * (r.reference - index);
    }
}

/* exp(slope * (wavelength - base)) */
MUSE_WIDE_CLONES static void muse_exponential(const double *lbda, int n, double base, double slope,
                                              double *restrict out)
{
    int large = 0;
    for (int i = 0; i < n; i++) {
        const double z = slope * (lbda[i] - base);
        out[i] = 1 + z * (1 + z * (1 / 2.0 + z * (1 / 6.0 + z * (1 / 24.0 + z * (1 / 120.0 + z * (1 / 720.0))))));
        large |= !(fabs(z) < MUSE_SMALL_EXPONENT);
    }
    for (int i = 0; large && i < n; i++) {
        const double z = slope * (lbda[i] - base);
        if (!(fabs(z) < MUSE_SMALL_EXPONENT))
            out[i] = exp(z);
    }
}

/* Could an error in the last bits of a value change the float32 that it is rounded to? */
static inline int64_t muse_near_edge(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (int64_t)((bits - (MUSE_EDGE - MUSE_CLOSE)) & MUSE_LOST_BITS) <= 2 * MUSE_CLOSE;
}

/* As `muse_to_flux`; whether there is a telluric correction is known when this is compiled. */
static inline __attribute__((always_inline)) void muse_to_flux_with(const double *lbda, int n, const muse_flux *interval,
                                                                    const double *gain, const float *data,
                                                                    const float *stat, float *restrict flux,
                                                                    float *restrict variance, int *restrict done,
                                                                    int has_telluric)
{
    const muse_flux c = *interval;
    for (int i = 0; i < n; i++) {
        const double d = lbda[i] - c.base, g = c.gain * gain[i];
        double f = data[i] * g;
        double v = stat[i] * g * g + f * f * (c.error[0] + d * (c.error[1] + d * c.error[2]));
        if (has_telluric) {
            const double t = c.telluric[0] + d * c.telluric[1];
            v = t * t * v + f * f * (c.telluric_error[0] + d * (c.telluric_error[1] + d * c.telluric_error[2]));
            f = f * t;
        }
        flux[i] = (float)f;
        variance[i] = (float)v;
        done[i] = !(muse_near_edge(f) | muse_near_edge(v));
    }
}

/*
 * Flux and its variance from counts and theirs; `gain` as from `muse_exponential`. `done` is 0 for those that have to be
 * computed more exactly.
 */
MUSE_WIDE_CLONES static void muse_to_flux(const double *lbda, int n, const muse_flux *interval, const double *gain,
                                          const float *data, const float *stat, float *restrict flux,
                                          float *restrict variance, int *restrict done)
{
    if (interval->has_telluric)
        muse_to_flux_with(lbda, n, interval, gain, data, stat, flux, variance, done, 1);
    else
        muse_to_flux_with(lbda, n, interval, gain, data, stat, flux, variance, done, 0);
}

#endif

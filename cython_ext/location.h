/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Positions in the field of view to native spherical coordinates, and from these to the sky: plain loops that the
 * compiler turns into vector instructions, with series for the trigonometric functions (Cephes' and fdlibm's
 * constants). They agree with those of the C library to one or two units in the last place of a double.
 */
#ifndef MUSE_LOCATION_H
#define MUSE_LOCATION_H

#include <math.h>

#include "bounded.h"
#include "clones.h"

#define MUSE_PI_2 1.5707963267948966          /* pi / 2, rounded ... */
#define MUSE_PI_2_REST 6.123233995736766e-17  /* ... and what the rounding took off */
#define MUSE_PI_2_HIGH 1.57079632673412561417 /* its first 33 bits ... */
#define MUSE_PI_2_LOW 6.07710050650619224932e-11 /* ... and the others */
#define MUSE_DEGREES 57.29577951308232
#define MUSE_LARGEST_QUARTER 5.0 /* 2 pi and half a quarter are less */
#define MUSE_SMALL_ANGLE 1e-2 /* up to here the short series are exact to 1e-16 */

/* atan(t) / t for |t| < 0.01, with t2 = t * t. */
static inline double muse_small_atan(double t2)
{
    return 1 - t2 * (1 / 3.0 - t2 * (1 / 5.0 - t2 * (1 / 7.0)));
}

/* atan(z) for |z| <= 0.66. */
static inline double muse_atan(double z)
{
    const double s = z * z;
    const double p = (((-8.750608600031904122785e-1 * s - 1.615753718733365076637e1) * s - 7.500855792314704667340e1) * s
                      - 1.228866684490136173410e2) * s - 6.485021904942025371773e1;
    const double q = ((((s + 2.485846490142306297962e1) * s + 1.650270098316988542046e2) * s
                       + 4.328810604912902668951e2) * s + 4.853903996359136964868e2) * s + 1.945506571482613964425e2;
    return z + z * (s * p / q);
}

/*
 * x, y: in the tangent plane, in degrees. phi, theta: longitude 0...2 pi, and latitude minus pi / 2, in rad. `done` is
 * set to 0 for positions that are not done: the pole, too far from it, not a number.
 */
MUSE_WIDE_CLONES static void muse_to_native(const double *x, const double *y, int count, float *phi, float *theta,
                                            int *done)
{
    for (int i = 0; i < count; i++) {
        const double a = x[i], b = -y[i], radius = sqrt(a * a + b * b), t = radius / MUSE_DEGREES;
        const double abs_a = fabs(a), abs_b = fabs(b);
        const double high = abs_a > abs_b ? abs_a : abs_b, low = abs_a > abs_b ? abs_b : abs_a;
        const int steep = low > 0.66 * high;
        double angle = muse_atan((steep ? low - high : low) / (steep ? low + high : high));
        angle = steep ? angle + MUSE_PI_2 / 2 : angle;
        angle = abs_a > abs_b ? MUSE_PI_2 - angle : angle;
        angle = b < 0 ? 2 * MUSE_PI_2 - angle : angle;
        angle = a < 0 ? 4 * MUSE_PI_2 - angle : angle;
        phi[i] = (float)angle;
        /* theta = atan(1 / t) = pi / 2 - atan(t), with the rounding of the subtraction */
        theta[i] = (float)(MUSE_PI_2 - (t * muse_small_atan(t * t) - MUSE_PI_2_REST) - MUSE_PI_2);
        done[i] = (t > 0) & (t < MUSE_SMALL_ANGLE);
    }
}

/*
 * phi, theta: as from `muse_to_native`. sin_dec, cos_dec: of the declination of the centre. ra: relative to the centre,
 * in degrees. sine: of the declination. `done` is set to 0 for positions that are not done.
 */
MUSE_WIDE_CLONES static void muse_to_sky(const double *phi, const double *theta, int count, double sin_dec,
                                         double cos_dec, float *ra, double *sine, int *done)
{
    /* in a loop of its own, or the next one has branches, and no vectors; `sine` is free until then */
    for (int i = 0; i < count; i++)
        sine[i] = muse_bounded(phi[i] * (1 / MUSE_PI_2) + 0.5, MUSE_LARGEST_QUARTER);
    for (int i = 0; i < count; i++) {
        /* sin and cos of phi from those of its distance to a multiple of pi / 2 */
        const int quarter = (int)sine[i];
        const double r = phi[i] - quarter * MUSE_PI_2_HIGH - quarter * MUSE_PI_2_LOW, z = r * r;
        const double near_sin = r + r * z * (((((1.58962301576546568060e-10 * z - 2.50507477628578072866e-8) * z
            + 2.75573136213857245213e-6) * z - 1.98412698295895385996e-4) * z + 8.33333333332211858878e-3) * z
            - 1.66666666666666307295e-1);
        const double near_cos = 1 - 0.5 * z + z * z * (((((-1.13585365213876817300e-11 * z
            + 2.08757008419747316778e-9) * z - 2.75573141792967388112e-7) * z + 2.48015872888517045348e-5) * z
            - 1.38888888888730564116e-3) * z + 4.16666666666665929218e-2);
        const double one = quarter & 1 ? near_cos : near_sin, other = quarter & 1 ? near_sin : near_cos;
        const double sin_phi = quarter & 2 ? -one : one, cos_phi = (quarter + 1) & 2 ? -other : other;
        /* pi / 2 - theta, with the rounding of theta */
        const double u = MUSE_PI_2_REST - (theta[i] + MUSE_PI_2 - MUSE_PI_2), u2 = u * u;
        const double cos_theta = u * (1 - u2 * (1 / 6.0 - u2 * (1 / 120.0)));
        const double sin_theta = 1 - u2 * (1 / 2.0 - u2 * (1 / 24.0));
        const double a = cos_theta * sin_phi, b = sin_theta * cos_dec + cos_theta * sin_dec * cos_phi, q = a / b;
        ra[i] = (float)(MUSE_DEGREES * (q * muse_small_atan(q * q)));
        sine[i] = sin_theta * sin_dec - cos_theta * cos_dec * cos_phi;
        done[i] = (phi[i] >= 0) & (phi[i] < 7) & (fabs(u) < MUSE_SMALL_ANGLE) & (b > 0) & (fabs(q) < MUSE_SMALL_ANGLE);
    }
}

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Positions on the sky (or in spaxels) and wavelengths to the cells of a grid: plain loops that the compiler turns into
 * vector instructions.
 */
#ifndef MUSE_CELLS_H
#define MUSE_CELLS_H

#include <limits.h>
#include <math.h>
#include <stddef.h>

#include "bounded.h"
#include "clones.h"

/* Tan-plane projection about a reference point, by series. */
typedef struct {
    double ra0, dec0, sin0, cos0;  /* reference point in rad, and its declination's sine and cosine */
    double m11, m12, m21, m22;     /* pixels a rad in the plane */
    double crpix1, crpix2;
    double centre; /* within this distance of the reference point, rad, the series are not exact enough ... */
    double limit;  /* ... nor beyond this one */
} muse_projector;

/* Wavelengths, `stride` apart, to planes counted from 1. */
MUSE_WIDE_CLONES static void muse_to_planes(const float *lbda, ptrdiff_t stride, int count, double crval,
                                            double step, double crpix, double *restrict plane)
{
    for (int i = 0; i < count; i++)
        plane[i] = (lbda[i * stride] - crval) / step + crpix;
}

/* Degrees, `stride` apart and relative to `origin`, to rad relative to `zero`. */
MUSE_WIDE_CLONES static void muse_to_rad(const float *degrees, ptrdiff_t stride, int count, double origin,
                                         double per_degree, double zero, double *restrict rad)
{
    for (int i = 0; i < count; i++)
        rad[i] = (degrees[i * stride] + origin) * per_degree - zero;
}

/*
 * Cells (from 0, clamped to n) of positions counted from 1, halves rounded away from zero; and the distance to the next
 * edge between two cells. Positions that are not a number are in cell 0, as in the reference.
 */
MUSE_WIDE_CLONES static void muse_nearest_cells(const double *position, int count, int n, int *cell, double *to_edge)
{
    const double end = n < INT_MAX ? n + 1.0 : n;
    for (int i = 0; i < count; i++) {
        const double p = muse_bounded(position[i], end);
        const int whole = (int)p;
        const double fraction = p - whole;
        int c = whole - 1 + (fraction >= 0.5);
        c = c < 0 ? 0 : c;
        cell[i] = c > n - 1 ? n - 1 : c;
        to_edge[i] = fabs(fraction - 0.5);
    }
}

/* Set `exact` to 0 where a position is not further than `edge` from the next edge. */
MUSE_WIDE_CLONES static void muse_away_from_edges(const double *to_edge, int count, double edge, int *restrict exact)
{
    for (int i = 0; i < count; i++)
        exact[i] = to_edge[i] > edge ? exact[i] : 0;
}

/*
 * Numbers of cells among those of `n_planes` planes from `first` on, and of `ny` of their rows from `bottom` on; -1 for
 * those that are not among them. `plane` becomes that among these.
 */
MUSE_WIDE_CLONES static void muse_number_cells(const int *column, const int *row, int count, int first, int n_planes,
                                               int bottom, int ny, int nx, int *restrict plane, int *restrict number)
{
    for (int i = 0; i < count; i++) {
        const int p = plane[i] - first, y = row[i] - bottom;
        const int inside = (p >= 0) & (p < n_planes) & (y >= 0) & (y < ny);
        plane[i] = p;
        number[i] = inside ? (int)(((unsigned)p * (unsigned)ny + (unsigned)y) * (unsigned)nx + (unsigned)column[i]) : -1;
    }
}

/*
 * Right ascensions and declinations in rad, relative to the reference point of the grid, to pixels counted from 1.
 * `exact` is set to 0 for positions where the series are not exact enough.
 */
MUSE_WIDE_CLONES static void muse_project(const muse_projector *projector, const double *ra, const double *dec,
                                          int count, double *px, double *py, int *exact)
{
    const muse_projector p = *projector;
    for (int i = 0; i < count; i++) {
        /* tan-plane coordinates from the small differences, by series for sin(t) and 1 - cos(t) */
        const double a = ra[i], d = dec[i], a2 = a * a, d2 = d * d;
        const double sin_a = a - a * a2 * (1.0 / 6 - a2 * (1.0 / 120 - a2 * (1.0 / 5040)));
        const double sin_d = d - d * d2 * (1.0 / 6 - d2 * (1.0 / 120 - d2 * (1.0 / 5040)));
        const double versin_a = a2 * (0.5 - a2 * (1.0 / 24 - a2 * (1.0 / 720 - a2 * (1.0 / 40320))));
        const double versin_d = d2 * (0.5 - d2 * (1.0 / 24 - d2 * (1.0 / 720 - d2 * (1.0 / 40320))));
        const double cos_dec = p.cos0 - p.cos0 * versin_d - p.sin0 * sin_d;
        const double scale = 1 / (1 - versin_d - cos_dec * p.cos0 * versin_a);
        const double x = cos_dec * sin_a * scale;
        const double y = (sin_d + cos_dec * p.sin0 * versin_a) * scale;
        px[i] = p.m11 * x + p.m12 * y + p.crpix1;
        py[i] = p.m21 * x + p.m22 * y + p.crpix2;
        exact[i] = (fabs(x) + fabs(y) > p.centre) & (fabs(a) < p.limit) & (fabs(d) < p.limit);
    }
}

#endif

# SPDX-License-Identifier: GPL-2.0-or-later
# cython: cdivision=True
# The gnomonic (TAN) projection, operation by operation as the reference does it: on which side of a cell's edge a row
# falls, and the last bit of a voxel's value, depend on that.

from libc.math cimport asin, atan, atan2, cos, sin, sqrt, tan

cdef extern from *:
    """
    #define MUSE_DEG_PER_RAD 57.295779513082320877
    """
    const double DEG_PER_RAD "MUSE_DEG_PER_RAD"


cdef inline void sky_to_plane(double ra, double dec, double ra0, double dec0, double *x, double *y) noexcept nogil:
    # All angles in radian; x, y are plane coordinates in degrees.
    cdef double phi, theta, radius
    phi = atan2(-cos(dec) * sin(ra - ra0), sin(dec) * cos(dec0) - cos(dec) * sin(dec0) * cos(ra - ra0))
    phi += 180.0 / DEG_PER_RAD
    theta = asin(sin(dec) * sin(dec0) + cos(dec) * cos(dec0) * cos(ra - ra0))
    radius = DEG_PER_RAD / tan(theta)
    x[0] = radius * sin(phi)
    y[0] = -radius * cos(phi)


cdef inline void plane_to_sky(double x, double y, double ra0, double dec0, double *ra, double *dec) noexcept nogil:
    # All in degrees; ra is not normalised to 0...360.
    cdef double phi, theta, pole
    phi = atan2(x, -y)
    theta = atan(DEG_PER_RAD / sqrt(x * x + y * y))
    pole = dec0 / DEG_PER_RAD
    ra[0] = ra0 + atan2(cos(theta) * sin(phi), sin(theta) * cos(pole) + cos(theta) * sin(pole) * cos(phi)) * DEG_PER_RAD
    dec[0] = asin(sin(theta) * sin(pole) - cos(theta) * cos(pole) * cos(phi)) * DEG_PER_RAD

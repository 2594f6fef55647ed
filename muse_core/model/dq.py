# SPDX-License-Identifier: GPL-2.0-or-later
"""Euro3D data quality flags of pixel tables, images and cubes."""

from enum import IntFlag


class DQ(IntFlag):
    """Bits of the ``dq`` column (int32 on disk; bit 31 makes it negative)."""

    GOOD = 0
    TELLURIC = 1 << 0  # affected by telluric absorption, not corrected
    TELLURIC_CORRECTED = 1 << 1
    COSMIC_RAY = 1 << 5
    LOW_QE = 1 << 6
    HOT = 1 << 8
    DARK = 1 << 9
    SATURATED = 1 << 12
    DEAD = 1 << 13
    OTHER_BAD = 1 << 14
    OBJECT = 1 << 25
    OUTLIER = 1 << 26  # temporary, in the iteration of the sky spectrum
    NOTCH_NAD = 1 << 27  # inside the notch filter of the laser guide stars
    CHARGE_TRAP = 1 << 29
    MISSING = 1 << 30  # no data (images and cubes)
    OUTSIDE_RANGE = 1 << 31  # outside the range of a calibration


def as_int32(flag: int) -> int:
    """Return `flag` as the signed 32-bit integer that FITS stores."""
    flag = int(flag) & 0xFFFFFFFF
    return flag - (1 << 32) if flag & 0x80000000 else flag

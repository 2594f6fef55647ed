# SPDX-License-Identifier: GPL-2.0-or-later
"""How far our products may be from those of ESO's recipe 2.8.7, and why: one table for all parity tests.

A tolerance is never widened to let a test pass. Differences that we make on purpose are listed in
docs/known_differences.md and switched off in these tests by MUSE_COMPAT=2.8.7.
"""

import dataclasses
import re


@dataclasses.dataclass(frozen=True)
class Close:
    """How far two numbers may be apart."""

    relative: float = 0.0
    absolute: float = 0.0


#: Part of the rows of a pixel table whose floats must be the same to the last bit. The others differ because we
#: evaluate a function by series where the reference calls the library; both round correctly but for one row in 1e5.
IDENTICAL_ROWS = 0.999
#: Largest difference of any row, in units of the last place of float32.
MAX_ULP = 4
#: Data of a voxel, in units of the square root of its variance. Sums in another order differ by 1e-16 before they are
#: rounded to float32.
VOXEL_SIGMA = 1e-3
#: Relative difference of variances and of images: a few units of the last place of float32.
RELATIVE = 1e-5
#: Relative difference of numbers in headers: single-precision keywords have seven digits.
HEADER = 1e-6
#: Numbers in headers that come from many fits: residual refraction in arcsec.
ABSOLUTE = {"ESO DRS MUSE PIXTABLE DAR CHECK": 1e-5}
#: Positions of rows after a correction of this residual, in arcsec: the reference evaluates polynomials in wavelength
#: itself, of which terms of 1e3 pixels cancel; a few rows round to the other side.
DAR_CORRECTED = 2e-5
#: Columns of tables, all double precision: sums in another order.
TABLE = Close(relative=1e-10)
#: Columns of tables with angles in degrees, of which float64 keeps 1e-14: absolute.
ANGLES = {
    "OFFSET_LIST": Close(absolute=1e-12),
    "SOURCE_LIST": Close(relative=1e-10, absolute=1e-10),
}
#: Columns of the average flat-field spectrum.
FLAT_FIELD = Close(relative=1e-10)

# With a sky model that is fitted to the exposure. The fit stops where its steps get small, not at the minimum; where
# it stops hangs on the last bits of the sky spectrum, and these on the order of a sum over threads in the reference.

#: Data of a row, in units of the square root of its variance.
SKY_SIGMA = 1e-3
#: Tables of the sky model, a tolerance for each column; wavelengths in Angstrom.
SKY_TABLES = {
    "SKY_SPECTRUM": Close(relative=1e-6),
    "SKY_LINES": {"lambda": Close(absolute=2e-5), "flux": Close(relative=1e-5)},
    "SKY_CONTINUUM": Close(relative=1e-5),
}
#: Relative difference of numbers in the headers of these tables, QC of the same values.
SKY_HEADER = {"SKY_LINES": 1e-5, "SKY_CONTINUUM": 1e-5}

#: Keywords that say when, where and by which program a product was made, not what it is.
IGNORED_KEYWORDS = re.compile(
    r"^(DATE|CHECKSUM|DATASUM|DATAMD5|COMMENT|HISTORY|END|)$"
    r"|^ESO PRO REC\d+ (PIPE ID|DRS ID)$|^PROCSOFT$"
    r"|^ESO DRS MUSE SCIPOST COMPAT$"  # ours: says in which way the product was made
)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables of Raman lines (RAMAN_LINES)."""

import logging
from pathlib import Path

import numpy as np

from muse_core.errors import InputError
from muse_core.io.fitsreader import FitsFile
from muse_core.model import units
from muse_core.model.compat import OURS, Compat
from muse_core.model.keywords import checked_column
from muse_core.model.raman import RamanLines

_LOG = logging.getLogger(__name__)
_SCALES = {units.LINE_FLUX_PLAIN: 1e20, units.LINE_FLUX: 1.0}


def read_raman_lines(path: Path, compat: Compat = OURS) -> RamanLines:
    """Read the table ``LINES`` of a file: wavelength in air, flux and group of each line.

    Fluxes are converted to 1e-20 erg/(s cm^2 arcsec^2); with another unit, or none, they are taken as they are, with a
    warning. The column ``dq`` has to be there, but plays no role.

    Raises
    ------
    MissingFileError, InputError
        The file, its table or a column cannot be read, or a number is not finite.
    """
    where = f"{path}[LINES]"
    with FitsFile(path) as file:
        table = file.table("LINES")
        table.column("name", "A")
        group, _ = (table.column(name, "J") for name in ("group", "dq"))
        lbda, flux = (table.column(name) for name in ("lambda", "flux"))
        found = table.find_column("flux")
        unit = None if found is None else found.unit or None
    for name, values in (("lambda", lbda), ("flux", flux)):
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values))[0]) + 1
            raise InputError(f"{where}: column {name}, row {row}: found {values[row - 1]}, expected a number")
        checked_column("RAMAN_LINES", name, values, where, compat)
    if unit not in _SCALES:
        _LOG.warning("%s: column flux: found unit %r, expected %r", where, unit, units.LINE_FLUX_PLAIN)
        return RamanLines(lbda, flux, group, unit=1.0)
    return RamanLines(lbda, flux * _SCALES[unit], group)

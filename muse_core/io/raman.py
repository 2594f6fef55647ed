# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables of Raman lines (RAMAN_LINES)."""

import logging
from pathlib import Path

import numpy as np

from muse_core.errors import InputError
from muse_core.io.tables import find_table, open_fits, read_column
from muse_core.model import units
from muse_core.model.raman import RamanLines

_LOG = logging.getLogger(__name__)
_SCALES = {units.LINE_FLUX_PLAIN: 1e20, units.LINE_FLUX: 1.0}


def read_raman_lines(path: Path) -> RamanLines:
    """Read the table ``LINES`` of a file: wavelength in air, flux and group of each line.

    Fluxes are converted to 1e-20 erg/(s cm^2 arcsec^2); with another unit, or none, they are taken as they are, with a
    warning. The column ``dq`` has to be there, but plays no role.

    Raises
    ------
    MissingFileError, InputError
        The file, its table or a column cannot be read, or a number is not finite.
    """
    where = f"{path}[LINES]"
    with open_fits(path) as hdus:
        table = find_table(hdus, str(path), "LINES")
        read_column(table, "name", where, "A")
        group, _ = (read_column(table, name, where, "J") for name in ("group", "dq"))
        lbda, flux = (read_column(table, name, where, "D") for name in ("lambda", "flux"))
        unit = table.columns["flux"].unit
    for name, values in (("lambda", lbda), ("flux", flux)):
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values))[0]) + 1
            raise InputError(f"{where}: column {name}, row {row}: found {values[row - 1]}, expected a number")
    if unit not in _SCALES:
        _LOG.warning("%s: column flux: found unit %r, expected %r", where, unit, units.LINE_FLUX_PLAIN)
        return RamanLines(lbda, flux, group, unit=1.0)
    return RamanLines(lbda, flux * _SCALES[unit], group)

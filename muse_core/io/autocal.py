# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables of autocalibration factors (AUTOCAL_FACTORS), written by one run and read by another."""

import logging
from pathlib import Path

import numpy as np

from muse_core.errors import InputError
from muse_core.io.fitsreader import FitsFile
from muse_core.io.tables import TableColumn
from muse_core.model.autocal import AutocalFactors
from muse_core.model.compat import OURS, Compat
from muse_core.model.fits import Header
from muse_core.model.header import get_float, naming, require_float
from muse_core.model.keywords import checked_column
from muse_core.model.origin import N_IFU, N_SLICE

_LOG = logging.getLogger(__name__)

_LIMIT = "ESO DRS MUSE LAMBDA{} {}"
_TAG = "AUTOCAL_FACTORS"
_SLICES = N_IFU * N_SLICE
_PLACE = ("quad", "ifu", "sli")


def _read_edges(header: Header, where: str, compat: Compat) -> np.ndarray:
    edges: list[float] = []
    while get_float(header, _LIMIT.format(len(edges) + 1, "MIN"), None, compat, _TAG) is not None:
        edges.append(require_float(header, _LIMIT.format(len(edges) + 1, "MIN"), where, compat, _TAG))
    if not edges:
        raise InputError(
            f"{where}: keyword {_LIMIT.format(1, 'MIN')}: found nothing, expected limits of wavelength bins"
        )
    edges.append(require_float(header, _LIMIT.format(len(edges), "MAX"), where, compat, _TAG))
    if any(np.diff(edges) <= 0) and not compat.senseless_values_used:
        raise InputError(f"{where}: keywords {_LIMIT.format('n', 'MIN')}: found {edges}, expected ascending limits")
    return np.array(edges, np.float32)


def read_autocal_factors(path: Path, compat: Compat = OURS) -> AutocalFactors:
    """Read factors for method ``user``.

    The limits of the wavelength bins come from the primary header, the factors from column ``corr`` of extension 1. Any
    set of bins will do: whether it suits the mode of the exposure is not checked. Rows are placed by their columns
    ``quad`` (wavelength bin), ``ifu`` and ``sli``; where these are missing, and in the reference always
    (``compat.autocal_by_row_position``), by their position: ascending in bin, IFU, slice.

    Raises
    ------
    MissingFileError, InputError
        The file, the keywords or the column cannot be read, a factor is missing or not finite.
    """
    where = str(path)
    with FitsFile(path) as file:
        with naming(where):
            edges = _read_edges(file.primary.header, where, compat)
        table = file.table()
        corr = checked_column(_TAG, "corr", table.column("corr", "DE"), table.where, compat)
        shape = (len(edges) - 1, N_IFU, N_SLICE)
        size = shape[0] * _SLICES
        position = np.arange(len(corr))
        if not compat.autocal_by_row_position and all(map(table.find_column, _PLACE)):
            quad, ifu, sli = (table.column(name, "JIK") for name in _PLACE)
            position = (quad - 1) * _SLICES + (ifu - 1) * N_SLICE + sli - 1
            if not (np.isin(ifu, range(1, N_IFU + 1)) & np.isin(sli, range(1, N_SLICE + 1)) & (quad > 0)).all():
                raise InputError(f"{where}[1]: columns quad, ifu, sli: found numbers of no bin, IFU or slice")
    if len(corr) != size:
        _LOG.warning("%s[1]: found %d rows, expected %d (%d wavelength bins)", where, len(corr), size, shape[0])
    inside = position < size
    factors = np.full(size, np.nan, np.float32)
    factors[position[inside]] = corr[inside]
    bad = np.flatnonzero(~np.isfinite(factors))
    if bad.size:
        first, in_ifu, in_slice = (int(i) + 1 for i in np.unravel_index(bad[0], shape))
        raise InputError(
            f"{where}[1]: column corr: found no number for {bad.size} of {size} slices, the first one bin {first}, "
            f"IFU {in_ifu}, slice {in_slice}; expected a factor for each"
        )
    return AutocalFactors(edges, factors.reshape(shape))


def factors_columns(factors: AutocalFactors) -> list[TableColumn]:
    """Columns of the product, for `muse_core.io.tables.table_hdu`."""
    quad, ifu, sli = np.indices(factors.corr.shape, np.int32) + np.int32(1)
    columns = [("ifu", "J", ifu), ("sli", "J", sli), ("quad", "J", quad), ("npts", "J", factors.npts)]
    columns += [(name, "D", getattr(factors, name).astype(np.float64)) for name in ("corr", "corr_orig")]
    return [(name, form, None, values.ravel()) for name, form, values in columns]


def edge_cards(factors: AutocalFactors) -> list[tuple[str, np.float32, str]]:
    """Keywords, values and comments with the limits of the wavelength bins, for the primary header of the product."""
    cards = []
    for b in range(len(factors.edges) - 1):
        for i, (name, text) in enumerate((("MIN", "lower"), ("MAX", "upper"))):
            comment = f"[Angstrom] {text} end of wavelength range"
            cards.append((_LIMIT.format(b + 1, name), factors.edges[b + i], comment))
    return cards

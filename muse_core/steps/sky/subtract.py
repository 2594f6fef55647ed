# SPDX-License-Identifier: GPL-2.0-or-later
"""Subtraction of sky continuum and sky lines from the rows of pixel tables.

Only ``data`` changes; variance and flags stay.
"""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from muse_core.cython_ext import rows as rows_kernels
from muse_core.cython_ext import sky_lines as sky_lines_kernels
from muse_core.errors import DataError
from muse_core.model.compat import OURS, Compat
from muse_core.model.lsf import HermiteProfile, HermiteProfiles, LsfCube, LsfCubes
from muse_core.model.origin import IFU_SHIFT, SLICE_KEY_MASK, SLICE_MASK
from muse_core.model.skylines import SkyLines
from muse_core.model.spectrum import Continuum
from muse_core.steps.sky.lsf import grid_numbers, hermite_spectrum

_LOG = logging.getLogger(__name__)


def continuum_cut(continuum: Continuum, llo: float, lhi: float) -> tuple[np.float32, np.float32] | None:
    """Return the range to which a pixel table is cut before the continuum is subtracted.

    Parameters
    ----------
    continuum : Continuum
        The continuum.
    llo, lhi : float
        Wavelength limits in Angstrom of the table.

    Returns
    -------
    tuple of two float32, or None
        Lowest and highest wavelength to keep, both inclusive; None if the continuum covers the table.
    """
    lo, hi = continuum.limits
    if llo > lo and lhi < hi:
        return None
    return np.float32(lo), np.float32(hi)


def cut_rows(rows: np.ndarray, limits: tuple[np.float32, np.float32] | None) -> np.ndarray:
    """Move the rows inside `limits` (from `continuum_cut`) to the begin of `rows`, in order, and return these."""
    return rows if limits is None else rows[: rows_kernels.keep_inside(rows, float(limits[0]), float(limits[1]))]


def subtract_continuum(rows: np.ndarray, continuum: Continuum) -> None:
    """Subtract the continuum, interpolated linearly; rows outside its range stay as they are.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n,)
        Rows, fastest in the order of slice and wavelength; ``data`` is updated.
    continuum : Continuum
        The continuum.
    """
    sky_lines_kernels.subtract_spectrum(rows, continuum.lbda, continuum.flux)


def slice_ranges(rows: np.ndarray) -> list[tuple[int, int, int]]:
    """Return (key, first, last + 1) of each run of rows of one slice; the key holds IFU and slice.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n,)
        Rows sorted by (IFU, slice).
    """
    keys = rows["origin"] & SLICE_KEY_MASK
    starts = [0, *(np.flatnonzero(keys[1:] != keys[:-1]) + 1).tolist(), len(rows)] if len(rows) else [0]
    return [(int(keys[a]), a, b) for a, b in zip(starts[:-1], starts[1:], strict=True)]


def subtract_lines(rows: np.ndarray, lines: SkyLines, lsf: LsfCubes | HermiteProfiles, compat: Compat = OURS) -> None:
    """Subtract sky lines, each slice with its own LSF.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n,)
        Rows in the order (IFU, slice, wavelength); ``data`` is updated.
    lines : SkyLines
        All of them are subtracted, in this order.
    lsf : LsfCubes or HermiteProfiles
        LSFs, not folded with anything: they were measured from pixels.
    compat : Compat
        ``slice_without_lsf_ignored``: a slice without LSF keeps its sky lines.

    Raises
    ------
    DataError
        If a slice has no LSF.
    """
    if not len(lines):
        return
    ranges = slice_ranges(rows)
    profiles: Mapping[Any, LsfCube | HermiteProfile] = lsf  # keys say which of the two
    scratch = np.empty((2, max((b - a for _, a, b in ranges), default=0)))
    for key, a, b in ranges:
        ifu, slice_number = key >> IFU_SHIFT, key & SLICE_MASK
        cube = profiles.get(ifu)
        hermite = profiles.get((ifu, slice_number))
        image = cube.image(slice_number) if isinstance(cube, LsfCube) else None
        if image is not None:
            nodes = np.empty((2, image.data.shape[1] + 4))
            grid = grid_numbers(image.grid)
            sky_lines_kernels.subtract_lines(rows[a:b], lines.lbda, lines.flux, image.data, grid, nodes, scratch)
        elif isinstance(hermite, HermiteProfile):
            sky = hermite_spectrum(rows["lbda"][a:b].astype(np.float64), lines.lbda, lines.flux, hermite)
            rows["data"][a:b] = rows["data"][a:b] - sky
        elif compat.slice_without_lsf_ignored:
            _LOG.warning("IFU %d: slices without LSF_PROFILE, of which no sky lines are subtracted", ifu)
        else:
            raise DataError(f"IFU {ifu}, slice {slice_number}: no LSF_PROFILE, sky lines cannot be subtracted")

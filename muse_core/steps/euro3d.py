# SPDX-License-Identifier: GPL-2.0-or-later
"""Cubes as Euro3D tables: one row for each spaxel with data, x outermost."""

import numpy as np

from muse_core.errors import DataError
from muse_core.model.compat import OURS, Compat
from muse_core.model.dq import DQ
from muse_core.model.fits import Header
from muse_core.model.grid import OutputGrid, lround, spatial_steps
from muse_core.model.header import get_float
from muse_core.steps.airmass import airmass, parallactic_angle

_UNUSABLE = int(DQ.MISSING)
_NEVER = -1
_REFERENCE_WAVELENGTH = 6975.0  # Angstrom, the middle of the nominal range
_ZERO_CELSIUS = 273.15  # K

#: The row of the group table, in the order of its columns.
GROUP = np.dtype(
    [("GROUP_N", np.int32), ("G_SHAPE", "S1")]
    + [
        (name, np.float32)
        for name in (
            "G_SIZE1",
            "G_ANGLE",
            "G_SIZE2",
            "G_POSWAV",
            "G_AIRMAS",
            "G_PARANG",
            "G_PRESSU",
            "G_TEMPER",
            "G_HUMID",
        )
    ]
)


def spectrum_dtype(length: int) -> np.dtype:
    """Return the row of the table of spectra with room for `length` planes, in the order of its columns."""
    return np.dtype(
        [
            ("SPEC_ID", np.int32),
            ("SELECTED", "S1"),  # "T"
            ("NSPAX", np.int32),
            ("SPEC_LEN", np.int32),
            ("SPEC_STA", np.int32),
            ("XPOS", np.float64),
            ("YPOS", np.float64),
            ("GROUP_N", np.int32),
            ("SPAX_ID", "S1"),
            ("DATA_SPE", np.float32, (length,)),
            ("QUAL_SPE", np.int32, (length,)),
            ("STAT_SPE", np.float32, (length,)),
        ]
    )


class Euro3DTable:
    """The table of spectra of a cube.

    A first pass over the planes (`add_planes`) finds out which spaxels have data, and from which plane on; then the
    rows of each column of the cube can be made (`rows`).

    Parameters
    ----------
    grid : OutputGrid
        Grid of the cube.
    """

    def __init__(self, grid: OutputGrid):
        self.grid = grid
        self._next = 0
        self._start = np.full((grid.ny, grid.nx), _NEVER, np.int32)

    def add_planes(self, first: int, dq: np.ndarray) -> None:
        """Look at the planes from number `first` on; each call goes on where the last one ended.

        Parameters
        ----------
        first : int
            Number of the first plane.
        dq : ndarray of int32, shape (n, ny, nx)
            Flags: a spectrum starts at the first plane that is neither missing nor outside the range.
        """
        if first != self._next:
            raise DataError(f"planes from {first} on: expected those from {self._next} on")
        for plane in dq:
            usable = (plane >= 0) & (plane & _UNUSABLE == 0)  # the highest bit makes a flag negative
            self._start[usable & (self._start == _NEVER)] = self._next
            self._next += 1

    @property
    def n_rows(self) -> int:
        """Number of spaxels with data."""
        return int(np.count_nonzero(self._start != _NEVER))

    @property
    def length(self) -> int:
        """Longest spectrum, in planes."""
        found = self._start[self._start != _NEVER]
        return self.grid.nz - int(found.min()) if found.size else 0

    @property
    def dtype(self) -> np.dtype:
        """Type of a row."""
        return spectrum_dtype(self.length)

    @property
    def has_unused_elements(self) -> bool:
        """Is a spectrum shorter than the longest one?"""
        found = self._start[self._start != _NEVER]
        return bool(found.size and found.min() != found.max())

    @property
    def n_planes_of_images(self) -> int:
        """Number of planes that counts for the covered fraction of filters: one too many, as in the reference."""
        return self.length + 1

    def image_shape(self, compat: Compat = OURS) -> tuple[int, int]:
        """Return the size (ny, nx) of images of this table, which start at the first pixel of the grid.

        That of the grid; with ``compat.euro3d_images_cut`` the distance in pixels (spaxels, if these are the
        coordinates) of two corners of the area with data: the smallest, and the largest, of both coordinates. On a
        rotated grid this is another area, and can be larger than the grid.
        """
        y, x = np.nonzero(self._start != _NEVER)
        if not compat.euro3d_images_cut or not x.size:
            return self.grid.ny, self.grid.nx
        positions = np.array([self.grid.position(i + 1, j + 1) for i, j in zip(x.tolist(), y.tolist(), strict=True)])
        a, b = positions.min(axis=0), positions.max(axis=0)
        if self.grid.celestial:
            a, b = self.grid.pixel(a), self.grid.pixel(b)
        nx, ny = (lround(abs(from_ - to)) + 1 for from_, to in zip(a, b, strict=True))
        return ny, nx

    def rows(self, x: int, data: np.ndarray, stat: np.ndarray, dq: np.ndarray) -> np.ndarray:
        """Make the rows of a column of the cube.

        Parameters
        ----------
        x : int
            The column, from 0.
        data, stat : ndarray of float32, shape (nz, ny)
            Values and variances, 0 where there are none.
        dq : ndarray of int32, shape (nz, ny)
            Flags.

        Returns
        -------
        ndarray of `spectrum_dtype`, one for each spaxel with data
            QUAL_SPE holds the flags, STAT_SPE the square root of the variance; in unused elements NaN and flags 0.
        """
        start = self._start[:, x]
        y = np.flatnonzero(start != _NEVER)
        plane = start[y, None] + np.arange(self.length)
        used = plane < self.grid.nz
        plane = np.minimum(plane, self.grid.nz - 1)
        rows = np.zeros(len(y), self.dtype)
        rows["SPEC_ID"] = x * self.grid.ny + y + 1
        rows["SELECTED"] = b"T"
        rows["NSPAX"] = rows["GROUP_N"] = 1
        rows["SPEC_LEN"] = self.grid.nz - start[y]
        rows["SPEC_STA"] = start[y] + 1
        for row, j in zip(rows, y.tolist(), strict=True):
            row["XPOS"], row["YPOS"] = self.grid.position(x + 1, j + 1)
        rows["DATA_SPE"] = np.where(used, data[plane, y[:, None]], np.nan)
        rows["QUAL_SPE"] = np.where(used, dq[plane, y[:, None]], 0)
        rows["STAT_SPE"] = np.where(used, np.sqrt(stat[plane, y[:, None]]), np.nan)
        return rows


def group_row(
    header: Header, grid: OutputGrid, compat: Compat = OURS, step: tuple[float, float] = (0.0, 0.0)
) -> np.ndarray:
    """Return the only row of the group table: shape and sky conditions.

    Parameters
    ----------
    header : Header
        Header of the (first) exposure.
    grid : OutputGrid
        Grid of the cube. Its voxel size enters in degrees, although the column says arcsec.
    compat : Compat
        Also for the reading of numbers.
    step : tuple of float
        Size of a spaxel that was asked for, in arcsec (or spaxels), 0 for the natural one; with
        ``compat.euro3d_step_asked_for`` it enters, whatever the grid.

    Returns
    -------
    ndarray of GROUP, shape (1,)
    """
    row = np.zeros(1, GROUP)
    row["GROUP_N"], row["G_SHAPE"] = 1, b"R"
    sizes = grid.voxel_scales()
    if compat.euro3d_step_asked_for:
        sizes = spatial_steps(header, step, grid.celestial)
    row["G_SIZE1"], row["G_SIZE2"] = np.abs(sizes)
    row["G_POSWAV"] = _REFERENCE_WAVELENGTH
    row["G_AIRMAS"] = airmass(header, compat).value
    row["G_PARANG"] = parallactic_angle(header, compat).value
    row["G_PRESSU"] = get_float(header, "ESO TEL AMBI PRES START", 0.0, compat)
    row["G_TEMPER"] = get_float(header, "ESO TEL AMBI TEMP", 0.0, compat) + _ZERO_CELSIUS
    row["G_HUMID"] = get_float(header, "ESO TEL AMBI RHUM", 0.0, compat)
    return row

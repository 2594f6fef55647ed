# SPDX-License-Identifier: GPL-2.0-or-later
"""Where exposures will be on the sky, and how large their cube, before a row is read: from headers alone."""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from muse_core.engine.exposure import RowLimits
from muse_core.errors import DataError, MuseError
from muse_core.model import origin, units
from muse_core.model.fits import Header
from muse_core.model.grid import GridOverride, OutputGrid, TableLimits, make_grid, require_overlap
from muse_core.model.header import PIXTABLE, get_float, get_string, require_float
from muse_core.model.record import record
from muse_core.model.rows import make_rows
from muse_core.recipe.parameters import WavelengthRange
from muse_core.stages.opening import OpenedExposure
from muse_core.stages.pointing import Pointing
from muse_core.steps.astrometry import DEGREES_PER_RADIAN, Positioning, Projection
from muse_core.steps.limits import PREFIX
from muse_core.steps.passes import locate_rows
from muse_core.steps.resample import RowSpread, rows_of_extents

#: Positions beyond are no position in the field, in spaxels.
_FIELD = 1000
#: What rows move by until they are in a cube: part of the extent of the exposures, and Angstrom (velocity, vacuum).
_MOVED, _MOVED_LBDA = 0.5, 20.0
#: Number of exposures that a message names.
_NAMED = 3
#: Half width of the field, and half of its height for each IFU, in spaxels.
_HALF_WIDTH, _HALF_HEIGHT = 150.0, 150.0 / origin.N_IFU


@record
class Footprint:
    """The place of exposures together.

    Attributes
    ----------
    header : Header
        World coordinates of their combined table.
    position_unit : str
        State of its positions.
    extent : ndarray of float64, shape (6,)
        Smallest and largest x, y (relative to `centre`) and wavelength.
    centre : tuple of float
        Right ascension and declination that positions in deg are relative to.
    centres : list of tuple of float
        Right ascension and declination of each exposure, as far as they are known.
    exposures : sequence of OpenedExposure
        The exposures.
    extents : ndarray of float32, shape (n, 4)
        Smallest and largest x and y of each.
    part : float
        Part of their rows.
    """

    header: Header
    position_unit: str
    extent: np.ndarray
    centre: tuple[float, float]
    centres: list[tuple[float, float]]
    exposures: Sequence[OpenedExposure]
    extents: np.ndarray
    part: float = 1.0

    @classmethod
    def of(
        cls,
        exposures: Sequence[OpenedExposure],
        wavelengths: WavelengthRange,
        pointing: Pointing | None = None,
        *,
        projects: bool = True,
    ) -> "Footprint | None":
        """Find the place of exposures; None if their headers do not say where they are.

        Parameters
        ----------
        exposures : sequence of OpenedExposure
            The exposures.
        wavelengths : WavelengthRange
            Which rows are loaded.
        pointing : Pointing, optional
            Where exposures will be on the sky; None if they stay as they are.
        projects : bool
            Those in pix too.
        """
        try:
            return _find(exposures, wavelengths, pointing, projects)
        except (MuseError, KeyError, TypeError, ValueError):
            return None  # whatever it is, the step that needs it will say so

    @property
    def n_rows(self) -> int:
        """Number of rows, spread evenly over the wavelengths that the exposures have."""
        n_rows = sum(exposure.rows.n_rows for exposure in self.exposures)
        return math.ceil(self.part * n_rows)

    def cut(self, wavelengths: tuple[float, float]) -> "Footprint | None":
        """Return the part between two wavelengths in Angstrom; None if there is nothing."""
        (low, high), extent = self.wavelengths, self.extent.copy()
        extent[4:6] = max(low, wavelengths[0]), min(high, wavelengths[1])
        if extent[4] >= extent[5]:
            return None
        return dataclasses.replace(self, extent=extent, part=self.part * (extent[5] - extent[4]) / (high - low))

    @property
    def wavelengths(self) -> tuple[float, float]:
        """Smallest and largest wavelength in Angstrom."""
        return float(self.extent[4]), float(self.extent[5])

    def grid(
        self, step: tuple[float, float, float] = (0.0, 0.0, 0.0), override: GridOverride | None = None
    ) -> OutputGrid | None:
        """Lay out the grid of a cube around the exposures; None if it cannot be. Parameters as for `make_grid`."""
        try:
            limits = TableLimits.from_extremes(self.extent, self.centre)
            return make_grid(self.header, limits, self.position_unit, step, override)
        except (MuseError, KeyError, TypeError, ValueError, OverflowError):
            return None

    def spread(self, grid: OutputGrid) -> RowSpread:
        """Return how the rows will be spread over the rows of a grid, as far as the extents of the exposures say."""
        ranges = rows_of_extents(self.extents, grid)
        return RowSpread.of(ranges, np.array([exposure.rows.n_rows for exposure in self.exposures]), grid.ny)

    def require_overlap(self, grid: OutputGrid, where: str) -> None:
        """Check that a prescribed grid is not far from all data; `muse_core.model.grid.require_overlap` is exact.

        Raises
        ------
        DataError
            It is; with both extents.
        """
        extent = self.extent.copy()
        margin = _MOVED * max(extent[1] - extent[0], extent[3] - extent[2])
        extent += np.array([-margin, margin, -margin, margin, -_MOVED_LBDA, _MOVED_LBDA])
        try:
            require_overlap(grid, TableLimits.from_extremes(extent, self.centre), where)
        except DataError:
            require_overlap(grid, TableLimits.from_extremes(self.extent, self.centre), where)  # in words without margin

    @property
    def outermost(self) -> str:
        """Name the exposures that lie farthest from the middle of all."""
        if not self.centres:
            return f"Positions are in {self.position_unit}."
        middle = np.sort(self.centres, axis=0)[len(self.centres) // 2]  # a median would have numpy import numpy.ma
        distance = np.abs(np.array(self.centres) - middle).max(axis=1)
        named = np.argsort(-distance, kind="stable")[:_NAMED]
        dates = [get_string(exposure.header, "DATE-OBS") for exposure in self.exposures]
        texts = (f"{dates[i]} at {self.centres[i][0]:.4f}, {self.centres[i][1]:.4f}" for i in named)
        return f"Farthest from the middle of all exposures (RA, DEC in deg): {'; '.join(texts)}"


def _find(
    exposures: Sequence[OpenedExposure], wavelengths: WavelengthRange, pointing: Pointing | None, projects: bool
) -> Footprint:
    file_unit = exposures[0].rows.files[0].position_unit
    header, unit = exposures[0].header.copy(), file_unit
    reference: Positioning | None = None
    centre, limits, centres, extents = (0.0, 0.0), RowLimits(), [], []
    for exposure in exposures:
        if exposure.rows.files[0].position_unit != file_unit:
            raise ValueError("positions in different units")
        rows = _corners(exposure, wavelengths)
        if file_unit == units.DEG:
            centre = require_float(header, "CRVAL1", "pixel table"), require_float(header, "CRVAL2", "pixel table")
            rows["xpos"] -= centre[0]
            rows["ypos"] -= centre[1]
        elif pointing is not None and (projects or file_unit == units.RAD):
            if file_unit == units.PIX:
                projection, own = pointing.in_advance(exposure.header, RowLimits.of(rows).extent)
            else:
                rows, projection = _field_of(exposure, rows)
                own = pointing.positioning(exposure.header)
            if reference is None:
                if file_unit == units.PIX:
                    projection.write_cards(header)
                own.write_cards(header)
                unit, reference, centre = units.DEG, own, (own.ra_deg, own.dec_deg)
            locate_rows(rows, projection=projection, positioning=Positioning.at(own.ra_deg, own.dec_deg, reference))
            centres.append((own.ra_deg, own.dec_deg))
        own_limits = RowLimits.of(rows)
        extents.append(own_limits.extent[:4])
        limits.include(own_limits)
    return Footprint(header, unit, limits.extent, centre, centres, exposures, np.array(extents, np.float32))


def _limits(exposure: OpenedExposure, axis: str) -> tuple[float, float]:
    """Return the limits of all files of an exposure.

    Raises
    ------
    TypeError
        One has none.
    """

    def ends(end: str) -> Iterator[float]:
        for file in exposure.rows.files:
            value = get_float(file.header, f"{PREFIX}{axis} {end}")
            if value is None:
                raise TypeError(f"{PREFIX}{axis} {end}")
            yield value

    return min(ends("LOW")), max(ends("HIGH"))


def _corners(exposure: OpenedExposure, wavelengths: WavelengthRange) -> np.ndarray:
    """Return rows at the corners of an exposure, by the limits in the headers of its files.

    Raises
    ------
    KeyError
        A header has senseless limits.
    TypeError
        It has none.
    """
    x, y, ends = (_limits(exposure, axis) for axis in ("X", "Y", "LAMBDA"))
    if exposure.rows.files[0].position_unit == units.PIX and max(map(abs, (*x, *y))) > _FIELD:
        raise KeyError("LIMITS")
    lbda = np.clip(ends, wavelengths.lambdamin, wavelengths.lambdamax)
    return _rows_at(x, y, lbda)


def _rows_at(x: Iterable[float], y: Iterable[float], lbda: Iterable[float]) -> np.ndarray:
    """Return rows at all combinations of coordinates."""
    xpos, ypos, wavelength = np.array(list(itertools.product(x, y, lbda))).T
    return make_rows(xpos, ypos, wavelength, 0, 0, 0, 0)


def _field_of(exposure: OpenedExposure, corners: np.ndarray) -> tuple[np.ndarray, Projection]:
    """Return corners in spaxels, and their projection, of an exposure in native spherical coordinates.

    Its limits say how far the rows are from the centre, in all directions. The form of the field is that from before
    refraction was corrected, or that of its IFUs; its orientation is in the world coordinates.
    """
    header = exposure.header
    before = [get_float(header, f"{PIXTABLE}PREDAR LIMITS {axis}{end}") for axis in "XY" for end in ("LO", "HI")]
    cd = np.array([[get_float(header, f"CD{i}_{j}", float(i == j)) for j in (1, 2)] for i in (1, 2)])
    if None in before:
        half_height = _HALF_HEIGHT * exposure.n_ifus
        before = [-_HALF_WIDTH, _HALF_WIDTH, -half_height, half_height]
        centre = 0.0, 0.0
    else:
        centre = get_float(header, "CRPIX1", 0.0), get_float(header, "CRPIX2", 0.0)
    x, y = np.array(before[:2]) - centre[0], np.array(before[2:]) - centre[1]
    rows = _rows_at(x, y, corners["lbda"][:2])
    farthest = max(math.hypot(*(cd @ corner)) for corner in itertools.product(x, y))
    radius = DEGREES_PER_RADIAN * float(np.abs(corners["ypos"]).max())
    return rows, Projection((0.0, 0.0), cd * (radius / farthest), None)

# SPDX-License-Identifier: GPL-2.0-or-later
"""The output grid: size and world coordinates of a cube, from the limits of a pixel table or from a given header.

The limits come from the header of the table, in single precision: their rounding moves the grid by up to 0.05 arcsec
and can change its size by a pixel, so it is part of the definition.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from muse_core.cython_ext import grid as grid_kernels
from muse_core.errors import DataError, InputError
from muse_core.model import header as keywords
from muse_core.model import units
from muse_core.model.cards import card
from muse_core.model.fits import Card, Header
from muse_core.model.record import record

SPECTRAL_STEP = 1.25  # Angstrom
LOG_SPECTRAL_STEP = 1.25 / 1.6
_TOO_MANY = 1 << 31  # voxels along an axis
AIR = "AWAV"
VACUUM = "WAVE"
SPECTRAL_TYPES = (AIR, "AWAV-LOG", VACUUM, "WAVE-LOG")
_METRES = {"": 1.0, "m": 1.0, "mm": 1e-3, "um": 1e-6, "nm": 1e-9, "angstrom": 1e-10}
_AXIS_KEYWORD = re.compile(r"^(?:CTYPE|CUNIT|CRPIX|CRVAL|CDELT|CROTA|CRDER|CSYER)([1-9])$|^(?:CD|PC)([1-9])_([1-9])$")
_TAG = "OUTPUT_WCS"


@record(kw_only=True)
class TableLimits:
    """Extent of a pixel table as its header has it: ``ESO DRS MUSE PIXTABLE LIMITS``, float32, absolute positions."""

    x_low: np.float32
    x_high: np.float32
    y_low: np.float32
    y_high: np.float32
    lbda_low: np.float32
    lbda_high: np.float32

    @classmethod
    def from_header(cls, header: Header, where: str = "pixel table") -> "TableLimits":
        """Read the limits in the header of a pixel table that is in memory (on disk they have seven digits only)."""
        ends = [(axis, end) for axis in ("X", "Y", "LAMBDA") for end in ("LOW", "HIGH")]
        values = [
            keywords.require_float(header, f"{keywords.PIXTABLE}LIMITS {axis} {end}", where) for axis, end in ends
        ]
        return cls.from_extremes(values)

    @classmethod
    def from_extremes(cls, extremes: Iterable[float], origin: tuple[float, float] = (0.0, 0.0)) -> "TableLimits":
        """Make limits from the extremes of the rows.

        Parameters
        ----------
        extremes : sequence of 6 float32
            Smallest and largest xpos, ypos and lbda of all rows, flagged or not.
        origin : tuple of 2 float
            CRVAL1 and CRVAL2 of the table if its positions are in deg.
        """
        offsets = (origin[0], origin[0], origin[1], origin[1], 0.0, 0.0)
        names = [field.name for field in dataclasses.fields(cls)]
        values = (np.float32(float(value) + offset) for value, offset in zip(extremes, offsets, strict=True))
        return cls(**dict(zip(names, values, strict=True)))


@record(kw_only=True)
class GridOverride:
    """What an OUTPUT_WCS header prescribes.

    Attributes
    ----------
    ctype3 : str
        Type of the wavelength axis.
    naxis : tuple of int
        Sizes of the two or three axes; 0 leaves the natural size.
    crval, crpix : tuple of float
        Of the two spatial axes (deg, pixel).
    cd : tuple of float, optional
        CD1_1, CD1_2, CD2_1, CD2_2 in deg; None leaves the natural matrix, also along wavelength.
    crval3, crpix3, cd33 : float, optional
        Of the wavelength axis (Angstrom, plane); None where natural.
    """

    ctype3: str = AIR
    naxis: tuple[int, ...]
    crval: tuple[float, float]
    crpix: tuple[float, float]
    cd: tuple[float, float, float, float] | None
    crval3: float | None = None
    crpix3: float | None = None
    cd33: float | None = None

    @property
    def is_vacuum(self) -> bool:
        """Does the cube have vacuum wavelengths?"""
        return self.ctype3.startswith(VACUUM)


def parse_output_wcs(header: Header, where: str = "OUTPUT_WCS") -> GridOverride:
    """Read the prescribed grid from an image header.

    Parameters
    ----------
    header : Header
        Header of one HDU.
    where : str
        Names the HDU in messages.

    Raises
    ------
    InputError
        If the header cannot be used; says why.
    """
    with keywords.naming(where):
        return _parse_output_wcs(header, where)


def _parse_output_wcs(header: Header, where: str) -> GridOverride:
    if not any(key.startswith("CRVAL") for key in header):
        raise InputError(f"{where}: found no CRVAL keyword, expected world coordinates of a cube or an image")
    if any(re.fullmatch(r"PC\d+_\d+", key) for key in header):
        raise InputError(f"{where}: found PCi_j keywords, expected a CDi_j matrix")
    n = _number_of_axes(header)
    prefix = "ZNAXIS" if keywords.get_bool(header, "ZIMAGE", _TAG) else "NAXIS"
    sizes = [keywords.get_int(header, f"{prefix}{i + 1}", tag=_TAG) for i in range(n)]
    naxis = tuple(size for size in sizes if size is not None)
    if n not in (2, 3) or len(naxis) < n:
        found = ", ".join(f"{prefix}{i + 1}={size}" for i, size in enumerate(sizes))
        raise InputError(
            f"{where}: found {n} axes of world coordinates and {found}, expected 2 or 3 axes with a size each"
        )
    types = [keywords.get_string(header, f"CTYPE{i + 1}", "", _TAG) for i in range(n)]
    if types[:2] != ["RA---TAN", "DEC--TAN"]:
        raise InputError(f"{where}: found CTYPE1, 2 = {types[0]!r}, {types[1]!r}, expected 'RA---TAN', 'DEC--TAN'")
    if n == 3 and types[2] not in SPECTRAL_TYPES:
        raise InputError(f"{where}: found CTYPE3 = {types[2]!r}, expected one of {', '.join(SPECTRAL_TYPES)}")
    cd = _cd_matrix(header, n)
    separable = n == 2 or not (cd[0, 2] or cd[2, 0] or cd[1, 2] or cd[2, 1])
    usable = separable and np.linalg.det(cd) != 0
    values = {key: [_number(header, f"{key}{i + 1}", 0.0) for i in range(n)] for key in ("CRVAL", "CRPIX")}
    spectral: dict[str, Any] = {}
    if n == 3:
        scale = _metres(header, where)
        spectral = {
            "ctype3": types[2],
            "crval3": values["CRVAL"][2] * scale * 1e10,
            "crpix3": values["CRPIX"][2],
            "cd33": float(cd[2, 2]) * scale * 1e10 if usable else None,
        }
    return GridOverride(
        naxis=naxis,
        crval=(values["CRVAL"][0], values["CRVAL"][1]),
        crpix=(values["CRPIX"][0], values["CRPIX"][1]),
        cd=(float(cd[0, 0]), float(cd[0, 1]), float(cd[1, 0]), float(cd[1, 1])) if usable else None,
        **spectral,
    )


def _number_of_axes(header: Header) -> int:
    """As wcslib counts: the largest of NAXIS, WCSAXES, and the axis numbers of all keywords."""
    n_axes = keywords.get_int(header, "ZNAXIS", keywords.get_int(header, "NAXIS", 0, _TAG), _TAG)
    n = max(n_axes, keywords.get_int(header, "WCSAXES", 0, _TAG))
    for key in header:
        match = _AXIS_KEYWORD.match(key)
        if match:
            n = max(n, *(int(number) for number in match.groups() if number))
    return n


def _cd_matrix(header: Header, n: int) -> np.ndarray:
    if any(key.startswith("CD") and _AXIS_KEYWORD.match(key) and "_" in key for key in header):
        return np.array([[_number(header, f"CD{i + 1}_{j + 1}", 0.0) for j in range(n)] for i in range(n)])
    return np.diag([_number(header, f"CDELT{i + 1}", 1.0) for i in range(n)])


def _number(header: Header, key: str, default: float) -> float:
    """Read a number with the 15 digits that the reference keeps of it.

    It does not matter where the grid is to 1e-15; but the rounding errors of the projection, which decide on the rows
    at the edge of cells, have another pattern.
    """
    return float(f"{keywords.get_float(header, key, default, tag=_TAG):.15g}")


def _metres(header: Header, where: str) -> float:
    unit = keywords.get_string(header, "CUNIT3", "", _TAG).strip()
    scale = _METRES.get(unit.lower() if unit.lower() == "angstrom" else unit)
    if scale is None:
        raise InputError(f"{where}: found CUNIT3 = {unit!r}, expected a unit of length, for example Angstrom or nm")
    return scale


@record(kw_only=True)
class OutputGrid:
    """Size and world coordinates of a cube.

    Attributes
    ----------
    nx, ny, nz : int
        Number of voxels along right ascension, declination and wavelength.
    celestial : bool
        Positions are in degrees on the sky; otherwise in spaxels.
    ctype3 : str
        One of `SPECTRAL_TYPES`.
    crpix, crval : tuple of 3 float
        Reference voxel (from 1), and its right ascension and declination in deg (or position in spaxels) and wavelength
        in Angstrom.
    cd : tuple of 4 float
        CD1_1, CD1_2, CD2_1, CD2_2, in deg (or spaxels).
    cd33 : float
        Step of wavelength in Angstrom.
    origin : tuple of 2 float
        CRVAL of the pixel table, to which its positions are relative (0 where positions are in spaxels).
    scale : tuple of 2 float
        Spaxel size of the pixel table, in deg (1 where positions are in spaxels).
    """

    nx: int
    ny: int
    nz: int
    celestial: bool
    ctype3: str
    crpix: tuple[float, float, float]
    crval: tuple[float, float, float]
    cd: tuple[float, float, float, float]
    cd33: float
    origin: tuple[float, float]
    scale: tuple[float, float]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the cube: (nz, ny, nx)."""
        return self.nz, self.ny, self.nx

    @property
    def is_logarithmic(self) -> bool:
        """Is the wavelength axis logarithmic?"""
        return self.ctype3.endswith("-LOG")

    def parameters(self) -> dict[str, int | float | bool]:
        """Return what the kernels need (``grid_t``)."""
        names = ("crpix1", "crpix2", "crpix3", "crval1", "crval2", "crval3", "cd11", "cd12", "cd21", "cd22")
        return {
            "nx": self.nx,
            "ny": self.ny,
            "nz": self.nz,
            "celestial": self.celestial,
            "logarithmic": self.is_logarithmic,
            **dict(zip(names, (*self.crpix, *self.crval, *self.cd), strict=True)),
            "cd33": self.cd33,
            "origin1": self.origin[0],
            "origin2": self.origin[1],
            "scale_x": self.scale[0],
            "scale_y": self.scale[1],
        }

    def wavelength(self, plane: int | np.ndarray, *, logarithmic: bool | None = None) -> np.ndarray:
        """Wavelength in Angstrom of the centre of a plane (counted from 0; a number or an array)."""
        step = np.asarray(plane, np.float64) + 1 - self.crpix[2]
        if self.is_logarithmic if logarithmic is None else logarithmic:
            return self.crval[2] * _exp(step * self.cd33 / self.crval[2])
        return step * self.cd33 + self.crval[2]

    def voxel_length(self, plane: np.ndarray) -> np.ndarray:
        """Size in wavelength of the voxels of a plane, in Angstrom; shape as `plane`."""
        plane = np.asarray(plane, np.float64)
        if self.is_logarithmic:
            step = self.cd33 / self.crval[2]
            return self.crval[2] * _exp((plane - self.crpix[2]) * step) * (math.exp(1.5 * step) - math.exp(0.5 * step))
        return np.full(plane.shape, abs(self.cd33))

    def plane(self, lbda: np.ndarray) -> np.ndarray:
        """Plane (from 0, clamped to the grid) of each wavelength; float32 in Angstrom to int32, shape (n,)."""
        lbda = np.ascontiguousarray(lbda, np.float32)
        planes = np.empty(lbda.shape, np.int32)
        grid_kernels.planes_of(lbda, self.parameters(), planes)
        return planes

    def position(self, px: float, py: float) -> tuple[float, float]:
        """Right ascension and declination in deg (or position in spaxels) of a pixel counted from 1."""
        return grid_kernels.position_of_pixel(self.parameters(), px, py)

    def pixel(self, position: tuple[float, float]) -> tuple[float, float]:
        """Pixel, counted from 1, of a right ascension and declination in deg (or position in spaxels)."""
        return grid_kernels.pixel_of_position(self.parameters(), *position)

    def voxel_scales(self) -> tuple[float, float]:
        """Size of a voxel along both spatial axes, in deg (or spaxels)."""
        return _axis_scales(self.cd)

    def first_wavelength(self, plane: int) -> np.float32:
        """Return the smallest positive float32 wavelength whose (clamped) plane is `plane` or a later one.

        With it, the rows of some planes are found by bisection in rows sorted by wavelength. Infinity beyond the last
        plane.
        """
        if plane <= 0:
            return np.float32(0)
        if plane >= self.nz:
            return np.float32(np.inf)
        low, high = 0, int(np.float32(np.finfo(np.float32).max).view(np.uint32))  # bit patterns ascend with the value
        while high - low > 1:
            middle = (low + high) // 2
            if self.plane(np.array([middle], np.uint32).view(np.float32))[0] >= plane:
                high = middle
            else:
                low = middle
        return np.uint32(high).view(np.float32)

    def cards(self, table_header: Header) -> list[Card]:
        """Return the cards of the world coordinates of a cube.

        Parameters
        ----------
        table_header : Header
            Header of the pixel table, whose world coordinates other than those of the grid stay.
        """
        spatial = ("RA---TAN", "DEC--TAN", "deg") if self.celestial else ("PIXEL", "PIXEL", "pixel")
        values = {
            "CTYPE1": spatial[0],
            "CTYPE2": spatial[1],
            "CUNIT1": spatial[2],
            "CUNIT2": spatial[2],
            "CRPIX1": self.crpix[0],
            "CRPIX2": self.crpix[1],
            "CRVAL1": self.crval[0],
            "CRVAL2": self.crval[1],
            **dict(zip(("CD1_1", "CD1_2", "CD2_1", "CD2_2"), self.cd, strict=True)),
            "CTYPE3": self.ctype3,
            "CUNIT3": units.ANGSTROM,
            "CD3_3": self.cd33,
            "CRPIX3": self.crpix[2],
            "CRVAL3": self.crval[2],
            "CD1_3": 0.0,
            "CD2_3": 0.0,
            "CD3_1": 0.0,
            "CD3_2": 0.0,
        }
        kept = [item for item in table_header.cards if re.search(keywords.WCS_CARDS, item.keyword)]
        result = [card(item.keyword, values.pop(item.keyword, item.value), item.comment) for item in kept]
        return result + [card(key, value) for key, value in values.items()]


def make_grid(
    header: Header,
    limits: TableLimits,
    position_unit: str,
    step: tuple[float, float, float] = (0.0, 0.0, 0.0),
    override: GridOverride | None = None,
) -> OutputGrid:
    """Lay out the grid of a cube.

    Parameters
    ----------
    header : Header
        Header of the (combined) pixel table.
    limits : TableLimits
        Its extent.
    position_unit : str
        ``deg`` or ``pix``.
    step : tuple of float
        Size of a voxel: arcsec (or spaxels), arcsec (or spaxels), Angstrom; 0 for the natural one.
    override : GridOverride, optional
        Prescribed grid.

    Raises
    ------
    DataError
        If the table is in another state, or the grid would be empty.
    """
    if position_unit not in (units.DEG, units.PIX):
        raise DataError(f"positions in {position_unit!r}: a cube needs {units.DEG!r} or {units.PIX!r}")
    celestial = position_unit == units.DEG
    dx, dy = spatial_steps(header, step, celestial)
    ctype3 = override.ctype3 if override else AIR
    dl = step[2] or (LOG_SPECTRAL_STEP if ctype3.endswith("-LOG") else SPECTRAL_STEP)
    table = _TableWcs.from_header(header, celestial)
    a, b = table.project(limits, celestial)
    nx = lround(abs(b[0] - a[0]) / dx) + 1
    ny = lround(abs(b[1] - a[1]) / dy) + 1
    nz = _number_of_planes(limits, dl, ctype3.endswith("-LOG"))
    llo = float(limits.lbda_low)
    if celestial:
        crval, cd = table.crval, (-dx, 0.0, 0.0, dy)
        crpix = table.crpix[0] + (1 + nx) / 2.0, table.crpix[1] + (1 + ny) / 2.0
    else:
        crval, cd, crpix = (float(limits.x_low), float(limits.y_low)), (dx, 0.0, 0.0, dy), (1.0, 1.0)
    grid = OutputGrid(
        nx=nx,
        ny=ny,
        nz=nz,
        celestial=celestial,
        ctype3=ctype3,
        crpix=(*crpix, 1.0),
        crval=(*crval, llo),
        cd=cd,
        cd33=dl,
        origin=table.crval if celestial else (0.0, 0.0),
        scale=_axis_scales(table.cd) if celestial else (1.0, 1.0),
    )
    if override:
        grid = _overridden(grid, override)
    if not 1 <= min(grid.shape) <= max(grid.shape) < _TOO_MANY:
        raise DataError(
            f"output grid of {grid.nx} x {grid.ny} x {grid.nz} voxels, expected sizes from 1 to {_TOO_MANY - 1}; are "
            "the positions and wavelengths of the rows right, and the steps?"
        )
    return grid if override else _fitted(grid, limits)


def require_overlap(grid: OutputGrid, limits: TableLimits, where: str) -> None:
    """Check that a prescribed grid touches the data: their bounding boxes, in pixels and in wavelength.

    Parameters
    ----------
    grid : OutputGrid
        The grid.
    limits : TableLimits
        Extent of the data.
    where : str
        Names the grid in the message.

    Raises
    ------
    DataError
        No voxel would have data; with both extents.
    """
    low, high = float(limits.lbda_low), float(limits.lbda_high)
    ends = sorted(float(grid.wavelength(plane)) for plane in (0, grid.nz - 1))
    step = abs(grid.cd33)
    corners = [(float(x), float(y)) for x in (limits.x_low, limits.x_high) for y in (limits.y_low, limits.y_high)]
    if ends[0] - step <= high and low <= ends[1] + step and _touches(grid, corners):
        return
    pixels = [(px, py) for px in (0.5, grid.nx + 0.5) for py in (0.5, grid.ny + 0.5)]
    own = [grid.position(*pixel) for pixel in pixels]
    unit = units.DEG if grid.celestial else units.PIX
    ours, theirs = (
        ", ".join(f"{min(values):.5f} to {max(values):.5f} {unit}" for values in zip(*points, strict=True))
        for points in (own, corners)
    )
    raise DataError(
        f"{where}: found a grid of {grid.nx} x {grid.ny} x {grid.nz} voxels at {ours}, {ends[0]:.2f} to "
        f"{ends[1]:.2f} Angstrom, but no data in it: they are at {theirs}, {low:.2f} to {high:.2f} Angstrom; "
        "expected both to overlap; CRVAL, CRPIX, CD and NAXIS say where the grid is"
    )


def _touches(grid: OutputGrid, corners: list[tuple[float, float]]) -> bool:
    """Does the box around some positions touch the plane of the grid, or come within a voxel of it?"""
    if grid.celestial and not all(_same_hemisphere(corner, grid.crval) for corner in corners):
        return False
    pixels = [grid_kernels.pixel_of_position(grid.parameters(), *corner) for corner in corners]
    return all(
        min(values) <= size + 1.5 and max(values) >= -0.5
        for values, size in zip(zip(*pixels, strict=True), (grid.nx, grid.ny), strict=True)
    )


def _same_hemisphere(position: Sequence[float], reference: Sequence[float]) -> bool:
    """Are two positions in deg less than 90 degrees apart, as far as a tangential plane reaches?"""
    ra, dec = (math.radians(value) for value in position[:2])
    ra0, dec0 = (math.radians(value) for value in reference[:2])
    return math.sin(dec) * math.sin(dec0) + math.cos(dec) * math.cos(dec0) * math.cos(ra - ra0) > 0


def spatial_steps(header: Header, step: Sequence[float | None], celestial: bool) -> tuple[float, float]:
    """Size of a voxel along both axes in deg (or spaxels), where no other grid is prescribed."""
    if not celestial:
        return step[0] or 1.0, step[1] or 1.0
    natural = keywords.spaxel_size_arcsec(header)
    return (step[0] or natural[0]) / 3600.0, (step[1] or natural[1]) / 3600.0


@record
class _TableWcs:
    """World coordinates in the header of a pixel table."""

    crpix: tuple[float, float]
    crval: tuple[float, float]
    cd: tuple[float, float, float, float]

    @classmethod
    def from_header(cls, header: Header, celestial: bool) -> "_TableWcs":
        names = ("CD1_1", "CD1_2", "CD2_1", "CD2_2")
        where = "pixel table"
        if celestial:
            cd11, cd12, cd21, cd22 = (keywords.require_float(header, name, where) for name in names)
            x, y = (keywords.require_float(header, name, where) for name in ("CRVAL1", "CRVAL2"))
        else:
            unit = (1.0, 0.0, 0.0, 1.0)
            cd11, cd12, cd21, cd22 = (keywords.get_float(header, name, unit[i]) for i, name in enumerate(names))
            x, y = 0.0, 0.0
        crpix = keywords.get_float(header, "CRPIX1", 0.0), keywords.get_float(header, "CRPIX2", 0.0)
        return cls(crpix, (x, y), (cd11, cd12, cd21, cd22))

    def project(self, limits: TableLimits, celestial: bool) -> list[tuple[float, float]]:
        """Return the two corners of the field in the tangential plane (deg), or in spaxels."""
        if celestial:
            return [grid_kernels.tangent_plane(*corner, *self.crval) for corner in _corners(limits)]
        cd11, cd12, cd21, cd22 = self.cd
        det = cd11 * cd22 - cd12 * cd21
        return [((cd22 * x - cd12 * y) / det, (cd11 * y - cd21 * x) / det) for x, y in _corners(limits)]


def _axis_scales(cd: tuple[float, float, float, float]) -> tuple[float, float]:
    """Pixel size along both axes; negative for an unusual orientation, as in the reference."""
    cd11, cd12, cd21, cd22 = cd
    if cd11 * cd22 - cd12 * cd21 < 0:
        cd11, cd12 = -cd11, -cd12
    if cd12 == 0 and cd21 == 0:
        return cd11, cd22
    return math.sqrt(cd11 * cd11 + cd12 * cd12), math.sqrt(cd22 * cd22 + cd21 * cd21)


def _corners(limits: TableLimits) -> tuple[tuple[float, float], tuple[float, float]]:
    return (float(limits.x_low), float(limits.y_low)), (float(limits.x_high), float(limits.y_high))


def _number_of_planes(limits: TableLimits, dl: float, logarithmic: bool) -> int:
    low, high = limits.lbda_low, limits.lbda_high
    if logarithmic:
        return math.ceil(float(low) / dl * math.log(float(np.float32(high / low)))) + 1
    return math.ceil(float(np.float32(high - low)) / dl) + 1


def _overridden(grid: OutputGrid, override: GridOverride) -> OutputGrid:
    natural = (grid.nx, grid.ny, grid.nz)
    nx, ny, nz = (size if size > 0 else natural[i] for i, size in enumerate((*override.naxis, 0)[:3]))
    return dataclasses.replace(
        grid,
        nx=nx,
        ny=ny,
        nz=nz,
        crpix=(*override.crpix, grid.crpix[2] if override.crpix3 is None else override.crpix3),
        crval=(*override.crval, grid.crval[2] if override.crval3 is None else override.crval3),
        cd=override.cd or grid.cd,
        cd33=grid.cd33 if override.cd33 is None else override.cd33,
    )


def _fitted(grid: OutputGrid, limits: TableLimits) -> OutputGrid:
    """Shift the grid so that the lower of two corners of the data is at the centre of pixel 1."""
    a, b = (grid_kernels.pixel_of_position(grid.parameters(), *corner) for corner in _corners(limits))
    x, y = (grid.crpix[i] - (min(a[i], b[i]) - 1) for i in range(2))
    return dataclasses.replace(grid, crpix=(x, y, grid.crpix[2]))


def lround(x: float) -> int:
    """Round a number that is not negative, halves up."""
    whole = math.floor(x)
    return whole + (x - whole >= 0.5)


def _exp(x: np.ndarray) -> np.ndarray:
    """Exponential of the C library, whose last digit the positions of voxels depend on."""
    return np.asarray(np.vectorize(math.exp, otypes=[np.float64])(x))

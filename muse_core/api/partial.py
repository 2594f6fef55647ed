# SPDX-License-Identifier: GPL-2.0-or-later
"""A part of a cube at full quality, from the rows that it needs."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from muse_core.api import session, steps
from muse_core.api.cube import Cube, scratch_folder
from muse_core.api.pixtable import PixelTable, keep_centre
from muse_core.api.region import Region, as_region
from muse_core.errors import InputError, ParameterError
from muse_core.io.cube import CubeWriter, variance_unit
from muse_core.io.fitswriter import primary_header
from muse_core.model.grid import OutputGrid
from muse_core.model.header import get_string
from muse_core.model.origin import FIRST_SLICE
from muse_core.model.rows import make_rows
from muse_core.recipe.parameters import Resampling
from muse_core.recipe.run import Run
from muse_core.recipes.muse_scipost import MuseScipost
from muse_core.stages import cube as cubes
from muse_core.stages.calibrate import CalibrationOptions, QuickCalibration, calibrate
from muse_core.stages.cards import object_cards
from muse_core.stages.opening import OpenedExposure
from muse_core.stages.pointing import load_pointing
from muse_core.steps.passes import locate_rows

_P = MuseScipost.Parameters()
_R: Resampling = _P.resampling
File = str | os.PathLike
#: Beyond what is asked for: spaxels, and Angstrom (the motion of the observer is less than 1).
_MARGIN, _MARGIN_ANGSTROM = 4.0, 3.0
#: Blocks at each end of the field that are looked at first, and degrees by which corners of blocks may be off.
_FIRST, _OFF_DEG = 24, 2e-6
_ALL = (_P.wavelengths.lambdamin, _P.wavelengths.lambdamax)


def partial_cube(
    files: session.Files,
    region: Region | str | tuple[float, float, float],
    lambdamin: float,
    lambdamax: float,
    *,
    grid: File | None = None,
    sky: "steps.sky.SkyModel | str" = "none",
    lambdaref: float = _P.lambdaref,
    rvcorr: str = _P.rvcorr,
    resample: str = _R.resample,
    dx: float = _R.dx,
    dy: float = _R.dy,
    dlambda: float = _R.dlambda,
    crtype: str = _R.crtype,
    crsigma: float = _R.crsigma,
    rc: float = _R.rc,
    pixfrac: str = _R.pixfrac,
    ld: int = _R.ld,
) -> Cube:
    """Make a part of the cube of an exposure; its voxels have the bits of the recipe's whole cube.

    Of most rows only positions and wavelengths are read.

    Parameters
    ----------
    files : path, list of paths, or dict of tag to paths
        Pixel tables of one exposure with calibrations, as for `PixelTable.read`.
    region : Region, text, or tuple of three floats
        Where: the box of spaxels around it is made.
    lambdamin, lambdamax : float
        Wavelengths in Angstrom of the first and last plane.
    grid : path, optional
        OUTPUT_WCS; by default that of the set of frames, else the grid that is laid out around all of the exposure.
    sky : SkyModel or str
        What is subtracted: a sky that was found before, "subtract-model" for the lines and the continuum of the set of
        frames, or "none".
    lambdaref, rvcorr : float, str
        As for `muse_core.api.steps.correct_refraction` and `muse_core.api.steps.correct_velocity`.
    resample, dx, dy, dlambda, crtype, crsigma, rc, pixfrac, ld : str, float, int
        As for `make_cube`.

    Returns
    -------
    Cube
        The part.

    Raises
    ------
    ParameterError
        A parameter has no such value, or there is no voxel of the cube in the region.
    InputError, DataError
        A file cannot be used, or there are no rows.

    Examples
    --------
    >>> import muse_core.api as muse
    >>> cube = muse.Cube.open("DATACUBE_FINAL.fits")
    >>> part = muse.partial_cube("none.sof", muse.Region.box(*cube.centre, 4.0, 1.0), 7273, 7276)
    >>> part.shape[1:], part.unit == cube.unit
    ((5, 20), True)
    """
    area = as_region(region)
    chosen = {
        "resample": resample, "dx": dx, "dy": dy, "dlambda": dlambda, "crtype": crtype, "crsigma": crsigma, "rc": rc,
        "pixfrac": pixfrac, "ld": ld,
    }  # fmt: skip
    run, exposure = session.open_blocks(files, "partial_cube")
    options = Resampling(**chosen).options(run.compat)
    run = session.with_frames(run, OUTPUT_WCS=grid)
    inputs = cubes.load_cube_inputs(run, cubes.CubeOptions(resample=options, filters="none"), ())
    if inputs.override is not None and inputs.override.is_vacuum:
        raise InputError("partial_cube: found an OUTPUT_WCS in vacuum wavelengths, expected one in air")
    where = _Where(run, exposure, lambdaref)
    whole = where.whole_table(rvcorr)
    full = cubes.whole_grid(inputs, whole._table)
    columns, lines = _box(full, area)
    planes = _planes(full, lambdamin, lambdamax)
    low, high = (float(full.wavelength(plane)) for plane in (planes[0] - options.halo, planes[1] - 1 + options.halo))
    margin = _MARGIN_ANGSTROM + abs(full.cd33)
    low = -np.inf if planes[0] <= options.halo else low - margin
    high = np.inf if planes[1] + options.halo >= full.nz else high + margin
    table = where.table(where.in_box(full, columns, lines) & exposure.rows.within(low, high))
    steps.correct_refraction(table, lambdaref)
    if table._run.frames.all("STD_RESPONSE"):
        steps.calibrate_flux(table)
    if sky == "subtract-model":
        sky = steps.sky.fit(table, method="subtract-model")
    if isinstance(sky, steps.sky.SkyModel):
        steps.subtract_sky(table, sky)
    elif sky != "none":
        raise ParameterError(f"partial_cube: found sky {sky!r}, expected a SkyModel, subtract-model, or none")
    if rvcorr != "none":
        steps.correct_velocity(table, rvcorr)
    steps.project(table)
    table = steps.combine([table])
    made = cubes.make_part(run, inputs, table._table, table._store, full, planes, lines, columns)
    return _written(table, made, {"region": region, "lambdamin": lambdamin, "lambdamax": lambdamax, **chosen})


def open_around(files: session.Files, band, region: Region) -> PixelTable:
    """Read the rows of one exposure near a region and between two wavelengths, without looking at the others."""
    run, exposure = session.open_blocks(files, "quick look")
    where = _Where(run, exposure, _P.lambdaref)
    return where.table(where.near(region) & exposure.rows.within(band.lambdamin, band.lambdamax))


class _Where:
    """Where blocks of rows of an exposure will be on the sky."""

    def __init__(self, run: Run, exposure: OpenedExposure, lambdaref: float):
        self._run, self._exposure = run, exposure
        extent = exposure.rows.limits().extent
        keep_centre(exposure.header, extent)
        projection, own = load_pointing(run).in_advance(exposure.header, extent)
        blocks = exposure.rows.blocks
        ends = np.stack([blocks.low, blocks.high])
        x, y, lbda = (ends[:, :, k] for k in range(3))
        corners = [(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)]
        rows = make_rows(
            np.concatenate([x[i] for i, _, _ in corners]), np.concatenate([y[j] for _, j, _ in corners]),
            np.concatenate([lbda[k] for _, _, k in corners]), 0.0, 0, 1.0, FIRST_SLICE,
        )  # fmt: skip
        QuickCalibration(run, exposure, CalibrationOptions(reference_wavelength=lambdaref))(rows)
        locate_rows(rows, projection=projection, positioning=own)
        self._own = own
        found = np.stack([rows["xpos"], rows["ypos"]]).astype(np.float64).reshape(2, 8, -1)
        self._low, self._high = found.min(axis=1), found.max(axis=1)

    def _touches(self, ra: Sequence[float], dec: Sequence[float], margin_deg: float) -> np.ndarray:
        """Return which blocks come near the box around some positions."""
        x = (np.asarray(ra) - self._own.ra_deg + 180) % 360 - 180
        y = np.asarray(dec) - self._own.dec_deg
        wide = margin_deg / np.cos(np.radians(self._own.dec_deg))
        return (
            (self._low[0] <= x.max() + wide)
            & (self._high[0] >= x.min() - wide)
            & (self._low[1] <= y.max() + margin_deg)
            & (self._high[1] >= y.min() - margin_deg)
        )

    def near(self, region: Region) -> np.ndarray:
        """Return which blocks come near a region."""
        reach = region.reach_arcsec / 3600
        east = reach / np.cos(np.radians(region.dec_deg))
        ra, dec = region.ra_deg + np.array([-east, east]), region.dec_deg + np.array([-reach, reach])
        return self._touches(ra, dec, 0.5 / 3600)

    def in_box(self, grid: OutputGrid, columns: tuple[int, int], lines: tuple[int, int]) -> np.ndarray:
        """Return which blocks come near a box of spaxels."""
        corners = [grid.position(px, py) for px in (columns[0] + 0.5, columns[1] + 0.5)
                   for py in (lines[0] + 0.5, lines[1] + 0.5)]  # fmt: skip
        spaxel = max(map(abs, grid.voxel_scales()))
        return self._touches(*zip(*corners, strict=True), _MARGIN * spaxel)

    def table(self, wanted: np.ndarray) -> PixelTable:
        """Return a table of the rows of some blocks."""
        exposure = self._exposure
        exposure.rows.take(wanted)
        part = OpenedExposure(
            exposure.header.copy(), exposure.rows, exposure.scales, exposure.spectra, exposure.attached
        )
        store = self._run.resources.make_store([exposure.rows.n_rows])
        factory = self._run.factory.elsewhere(self._run.factory.destination)
        run = session.with_factory(self._run, factory)
        return PixelTable(run, calibrate(run, part, store, 0, CalibrationOptions()), store)

    def whole_table(self, rvcorr: str) -> PixelTable:
        """Return a table, on the sky, of the outermost rows: its limits are those of all rows."""
        blocks = self._exposure.rows.blocks
        limits = self._exposure.rows.limits().extent
        wanted = (blocks.low[:, 2] <= limits[4]) | (blocks.high[:, 2] >= limits[5])
        for values in (self._low[0], -self._high[0], self._low[1], -self._high[1]):
            wanted[np.argsort(values, kind="stable")[:_FIRST]] = True
        while True:
            table = self.table(wanted)
            steps.correct_refraction(table)
            if rvcorr != "none":
                steps.correct_velocity(table, rvcorr)
            steps.project(table)
            table = steps.combine([table])
            x, y = table.xpos, table.ypos
            beyond = (
                (self._low[0] < x.min() + _OFF_DEG)
                | (self._high[0] > x.max() - _OFF_DEG)
                | (self._low[1] < y.min() + _OFF_DEG)
                | (self._high[1] > y.max() - _OFF_DEG)
            ) & ~wanted
            if not beyond.any():
                return table
            wanted |= beyond


def _box(grid: OutputGrid, region: Region) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return first and last + 1 column and row of the spaxels whose centres are in the box around a region."""
    px, py = grid.pixel((region.ra_deg, region.dec_deg))
    size = [abs(scale) * 3600 for scale in grid.voxel_scales()]
    upright = region.shape == "box" and region.angle_deg % 90 == 0 and not any(grid.cd[1:3])
    reach = [extent / 2 for extent in region.size_arcsec] if upright else [region.reach_arcsec] * 2
    if upright and region.angle_deg % 180:
        reach.reverse()
    found = []
    for centre, half, step, n in zip((px, py), reach, size, (grid.nx, grid.ny), strict=True):
        n_pixels = max(1, round(2 * half / step))
        first = round(centre - (n_pixels - 1) / 2 - 1)
        low, high = max(first, 0), min(first + n_pixels, n)
        if low >= high:
            raise ParameterError(f"partial_cube: {region} is not in the cube of {grid.nx} x {grid.ny} spaxels")
        found.append((low, high))
    return found[0], found[1]


def _planes(grid: OutputGrid, low: float, high: float) -> tuple[int, int]:
    wave = np.asarray(grid.wavelength(np.arange(grid.nz)))
    inside = np.flatnonzero((wave >= low) & (wave <= high))
    if not len(inside):
        raise ParameterError(
            f"partial_cube: found {low:g} to {high:g} Angstrom, expected some from {wave[0]:g} to {wave[-1]:g}"
        )
    return int(inside[0]), int(inside[-1]) + 1


def _written(table: PixelTable, part: cubes.CubePart, parameters: dict[str, object]) -> Cube:
    """Write a part of a cube to a file of its own."""
    folder = scratch_folder(table._run)
    run = session.into(table._run, Path(folder.name), "partial_cube", parameters)
    path, unit = run.factory.next_path("DATACUBE_FINAL"), table.data_unit
    header = run.factory.header("DATACUBE_FINAL", object_cards(table.header), path, primary_header())
    cards = part.grid.cards(table.header)
    name = get_string(table.header, "OBJECT")
    with CubeWriter(
        path, header, part.data.shape, cards, unit=unit, stat_unit=variance_unit(unit), object_name=name, images=[]
    ) as writer:
        writer.write(0, part.data, part.stat)
        writer.finish()
    return Cube(path, folder)

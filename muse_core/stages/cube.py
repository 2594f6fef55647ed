# SPDX-License-Identifier: GPL-2.0-or-later
"""What is made of all exposures: the combined pixel table, the cube, the images of the field."""

import dataclasses
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from muse_core.engine.allocator import give_back
from muse_core.engine.exposure import Chunk, RowLimits, write_pass
from muse_core.engine.progress import timed
from muse_core.engine.slabs import FlaggedRows, Part, SlabSource, refuse_empty_grid
from muse_core.engine.store import RowStore
from muse_core.errors import InputError
from muse_core.io import calibration
from muse_core.model.cards import set_card
from muse_core.model.facts import tell
from muse_core.model.filters import FilterCurve
from muse_core.model.fits import Card
from muse_core.model.grid import GridOverride, OutputGrid, TableLimits, make_grid, parse_output_wcs, require_overlap
from muse_core.model.header import PIXTABLE, get_string, spaxel_size_arcsec
from muse_core.model.record import record
from muse_core.recipe.run import Run
from muse_core.stages.cards import object_cards
from muse_core.stages.formats import FORMATS, FormatTraits
from muse_core.stages.formats.product import CubeProduct
from muse_core.stages.formats.sdp import describe_exposures
from muse_core.stages.images import filters_with_data, read_filters, use_filters
from muse_core.stages.opening import OpenedExposure
from muse_core.stages.tables import StoredTable
from muse_core.steps.collapse import Collapse
from muse_core.steps.qc import fwhm_plane, fwhm_qc
from muse_core.steps.resample import Band, ResampleOptions, SlabResampler, cosmic_ray_direction
from muse_core.steps.resample.vacuum import air_to_vacuum
from muse_core.steps.sdp import SdpExposure

_LOG = logging.getLogger(__name__)
#: Name of the step in the log.
STEP = "Cube"
#: Planes of a part of a cube that are made at once.
_PART_PLANES = 48


@record(kw_only=True)
class CubeOptions:
    """What cube is made.

    Attributes
    ----------
    resample : ResampleOptions
        How to resample.
    format : str
        One of `FORMATS`.
    filters : str
        Filters of the images, separated by commas.
    measures_fwhm : bool
        Measure the FWHM of sources, where the format has it.
    """

    resample: ResampleOptions
    format: str = "Cube"
    filters: str = "white"
    measures_fwhm: bool = True


@record
class CubeInputs:
    """What the cube needs beside the rows; looked at before the work begins, so that it does not fail at its end.

    Attributes
    ----------
    options : CubeOptions
        What cube is made.
    override : GridOverride, optional
        Prescribed grid.
    filters : list of FilterCurve
        Filters of the images.
    described : list of SdpExposure
        What the format says of the exposures.
    """

    options: CubeOptions
    override: GridOverride | None
    filters: list[FilterCurve]
    described: list[SdpExposure]

    @property
    def format(self) -> FormatTraits:
        """What the format needs."""
        return FORMATS[self.options.format]


def load_cube_inputs(run: Run, options: CubeOptions, exposures: Sequence[OpenedExposure]) -> CubeInputs:
    """Read OUTPUT_WCS and FILTER_LIST.

    Raises
    ------
    InputError, DataError
        A frame cannot be used, or a keyword is missing that the format needs.
    """
    override, filters = _output_wcs(run), read_filters(run, options.filters)
    described = describe_exposures(run, exposures) if FORMATS[options.format].describes_exposures else []
    return CubeInputs(options, override, filters, described)


def make_cube(run: Run, inputs: CubeInputs | None, table: StoredTable, store: RowStore) -> FlaggedRows:
    """Resample all rows into DATACUBE_FINAL, and collapse it to images; planes are written as they are made.

    Parameters
    ----------
    run : Run
        The run.
    inputs : CubeInputs, optional
        Grid, method, filters; without, nothing is made.
    table : StoredTable
        The combined pixel table.
    store : RowStore
        Its rows.

    Returns
    -------
    FlaggedRows
        Rows that were flagged as cosmic rays.
    """
    if inputs is None:
        return FlaggedRows()
    give_back()  # what exposures took in pieces, slabs want whole
    with timed(STEP, table.stored.n_rows):
        flagged = _make_cube(run, inputs, table, store)
    run.work_arrays.clear()
    return flagged


def _make_cube(run: Run, inputs: CubeInputs, table: StoredTable, store: RowStore) -> FlaggedRows:
    options, override, traits = inputs.options.resample, inputs.override, inputs.format
    if override is not None:
        path = run.frames.first("OUTPUT_WCS")
        assert path is not None
        run.factory.use_calibration(path, "OUTPUT_WCS")
        if override.is_vacuum:
            _to_vacuum(run, table, store)
    limits = TableLimits.from_header(table.header)
    grid = make_grid(table.header, limits, table.position_unit, options.step, override)
    if override is None:
        refuse_empty_grid(grid, table.stored.n_rows, table.extent)
    elif not run.compat.grid_without_data_made:
        require_overlap(grid, limits, str(run.frames.first("OUTPUT_WCS")))
    _LOG.info("Output cube: %s, by %s", _describe(grid), options)
    direction = cosmic_ray_direction(table.header, table.position_unit)
    n_threads, arrays = run.resources.n_threads, run.work_arrays
    resampler = SlabResampler(grid, options, direction, n_threads, run.compat, reuse_output=True, buffers=arrays)
    source = SlabSource(store, resampler, run.resources, table.stored.begin, table.stored.end, table.weights)
    filters = use_filters(run, filters_with_data(inputs.filters, grid, run.compat))
    collapse = Collapse(grid, [item.curve for item in filters], run.resources.n_threads)
    flagged = FlaggedRows()
    for extra in run.extras:
        extra.begin_cube(table.header, source, options)
    with run.executor.slabs(source, run.site(store)) as slabs:
        cards = object_cards(table.header)
        if inputs.options.measures_fwhm and traits.measures_fwhm:
            cards += _measure_fwhm(run, table, grid, source)
        product = CubeProduct(
            run, table, grid, cards, filters, collapse, traits.images_inside, inputs.described, options.step[:2]
        )
        with traits.writer(product) as writer, ThreadPoolExecutor(1) as background:
            written = None
            for slab in slabs:
                collapse.add_planes(slab.first, slab.result.data, slab.result.dq)
                for extra in run.extras:
                    extra.add_planes(slab.first, slab.result)
                flagged.add(slab.cosmic_rays)
                if written is not None:
                    written.result()
                written = background.submit(writer.write, slab.first, slab.result)  # while the next one is made
            if written is not None:
                written.result()
            writer.finish(collapse.images())
    for extra in run.extras:
        extra.end_cube()
    tell(_LOG, "Flagged %d rows as cosmic rays", len(flagged), flagged=flagged)
    return flagged


def _describe(grid: OutputGrid) -> str:
    """Return size and coordinates of a grid as text."""
    factor, unit = (3600.0, "arcsec") if grid.celestial else (1.0, "spaxels")
    spaxel = " x ".join(f"{factor * size:.3g}" for size in grid.voxel_scales())
    first, last = grid.wavelength(np.array([0, grid.nz - 1]))
    return (
        f"{grid.nx} x {grid.ny} x {grid.nz} voxels of {spaxel} {unit}, {first:.2f} to {last:.2f} Angstrom"
        f" ({grid.ctype3}, step {grid.cd33:g})"
    )


@record
class CubePart:
    """A part of a cube.

    Attributes
    ----------
    grid : OutputGrid
        Its grid: voxels are where they are in the whole cube.
    data, stat : ndarray of float32, shape (nz, ny, nx)
        Values and variances, NaN where there are no data.
    """

    grid: OutputGrid
    data: np.ndarray
    stat: np.ndarray


def whole_grid(inputs: CubeInputs, table: StoredTable) -> OutputGrid:
    """Return the grid of the cube of a table, by the limits in its header."""
    limits, step = TableLimits.from_header(table.header), inputs.options.resample.step
    return make_grid(table.header, limits, table.position_unit, step, inputs.override)


def make_part(
    run: Run,
    inputs: CubeInputs,
    table: StoredTable,
    store: RowStore,
    grid: OutputGrid,
    planes: tuple[int, int],
    lines: tuple[int, int],
    columns: tuple[int, int],
) -> CubePart:
    """Make a part of a cube from the rows that it needs; its voxels have the bits of the whole.

    Parameters
    ----------
    run, inputs, table, store
        As for `make_cube`; there may be other rows in the table.
    grid : OutputGrid
        Grid of the whole cube.
    planes, lines, columns : tuple of int
        First and last + 1 voxel along wavelength, declination, and right ascension.
    """
    options, n_threads = inputs.options.resample, run.resources.n_threads
    direction = cosmic_ray_direction(table.header, table.position_unit)
    resampler = SlabResampler(grid, options, direction, n_threads, run.compat, reuse_output=True)
    source = SlabSource(store, resampler, run.resources, table.stored.begin, table.stored.end, table.weights)
    (z0, z1), (y0, y1), (x0, x1) = planes, lines, columns
    band = Band(y0, y1, max(y0 - options.halo, 0), min(y1 + options.halo, grid.ny))
    shape = (z1 - z0, y1 - y0, x1 - x0)
    data, stat = np.empty(shape, np.float32), np.empty(shape, np.float32)
    for first in range(z0, z1, _PART_PLANES):
        last = min(first + _PART_PLANES, z1)
        found = source.make(Part(first, last, band)).result
        empty = found.dq[:, y0:y1, x0:x1] != 0
        for whole, part in ((data, found.data), (stat, found.stat)):
            whole[first - z0 : last - z0] = np.where(empty, np.float32(np.nan), part[:, y0:y1, x0:x1])
    crpix = grid.crpix[0] - x0, grid.crpix[1] - y0, grid.crpix[2] - z0
    own = dataclasses.replace(grid, nx=shape[2], ny=shape[1], nz=shape[0], crpix=crpix)
    return CubePart(own, data, stat)


def _output_wcs(run: Run) -> GridOverride | None:
    path = run.frames.first("OUTPUT_WCS")
    if path is None:
        return None
    reasons = []
    for where, header in calibration.read_headers(path):
        try:
            override = parse_output_wcs(header, where)
        except InputError as error:
            reasons.append(str(error))
            continue
        return override
    message = f"{path}: found no usable world coordinates: {'; '.join(reasons)}"
    if not run.compat.bad_output_wcs_ignored:
        raise InputError(message)
    _LOG.warning("%s; ignored", message)
    return None


def _to_vacuum(run: Run, table: StoredTable, store: RowStore) -> None:
    """Convert the wavelengths of all rows, in air so far, to vacuum."""
    spectral_type = get_string(table.header, PIXTABLE + "SPECTYPE", "AWAV")
    if not spectral_type.startswith("AWAV"):
        _LOG.warning("Wavelengths are of type %s already: not converted to vacuum", spectral_type)
        return

    def step(rows: np.ndarray, chunk: Chunk) -> tuple[np.ndarray, RowLimits]:
        rows["lbda"] = air_to_vacuum(rows["lbda"])
        return rows, RowLimits.of(rows)

    run.journal.forget_exposures()
    limits = RowLimits()
    for found in write_pass(table.stored, table.stored, store, step, run.resources.n_threads):
        limits.include(found)
    set_card(table.header, PIXTABLE + "SPECTYPE", "WAVE", "vacuum wavelengths")
    table.write_limits(limits)


def _measure_fwhm(run: Run, table: StoredTable, grid: OutputGrid, source: SlabSource) -> list[Card]:
    plane = source.plane(fwhm_plane(grid)).data[0]
    found = fwhm_qc(plane, grid, spaxel_size_arcsec(table.header), run.compat)
    values = dict(found)
    if values["NDET"]:
        width = f"FWHM {values['FWHM MEDIAN']:.2f} arcsec" if values["FWHM MEDIAN"] > 0 else "FWHM not measured"
        _LOG.info("Sources in the plane of %.1f Angstrom: %d, %s", values["LAMBDA"], values["NDET"], width)
    return run.qc_cards(found)

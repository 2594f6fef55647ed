# SPDX-License-Identifier: GPL-2.0-or-later
"""What is made of all exposures: the combined pixel table, the cube, the images of the field."""

import dataclasses
import logging

import numpy as np
from astropy.io.fits import Card

from muse_core.engine.exposure import Chunk, write_pass
from muse_core.engine.exposure import Limits as RowLimits
from muse_core.engine.slabs import FlaggedRows, SlabSource, Weights, refuse_empty_grid
from muse_core.engine.store import RowStore
from muse_core.errors import InputError, ParameterError
from muse_core.io import calibration
from muse_core.io.cube import CubeWriter, extension_header, variance_unit, write_fov_image
from muse_core.io.fitswriter import primary_header
from muse_core.model.cards import card, set_card
from muse_core.model.dq import DQ
from muse_core.model.filters import WHITE, FilterCurve, white
from muse_core.model.grid import GridOverride, Limits, OutputGrid, make_grid, parse_output_wcs
from muse_core.model.header import PIXTABLE, get_float, get_string, spaxel_size_arcsec
from muse_core.recipes.cards import image_wcs, object_cards
from muse_core.recipes.declaration import QC_PREFIX, ScipostParameters
from muse_core.recipes.exposures import Table, TableSaver
from muse_core.recipes.inputs import Run
from muse_core.steps.collapse import Collapse
from muse_core.steps.qc import fwhm_plane, fwhm_qc
from muse_core.steps.resample import ResampleOptions, SlabResampler, cosmic_ray_direction, parse_pixfrac
from muse_core.steps.resample.vacuum import air_to_vacuum

_LOG = logging.getLogger(__name__)


def resample_options(parameters: ScipostParameters) -> ResampleOptions:
    """Return the options of the final cube."""
    return ResampleOptions(
        method=parameters.resample,
        crtype=parameters.crtype,
        crsigma=parameters.crsigma,
        ld=parameters.ld,
        rc=parameters.rc,
        pixfrac=parse_pixfrac(parameters.pixfrac),
        step=(parameters.dx, parameters.dy, parameters.dlambda),
    )


def make_cube(run: Run, table: Table, store: RowStore, weights: Weights | None) -> FlaggedRows:
    """Resample all rows into DATACUBE_FINAL, and collapse it to images; planes are written as they are made.

    Parameters
    ----------
    run : Run
        The run.
    table : Table
        The combined pixel table.
    store : RowStore
        Its rows.
    weights : Weights, optional
        Weights of the exposures.

    Returns
    -------
    FlaggedRows
        Rows that were flagged as cosmic rays.
    """
    if run.parameters.format not in ("Cube", "xCube"):
        raise ParameterError(f"parameter format: {run.parameters.format} is not available yet, expected Cube or xCube")
    options = resample_options(run.parameters)
    override = _output_wcs(run)
    if override is not None and override.is_vacuum:
        _to_vacuum(run, table, store)
    limits = Limits.from_header(table.header)
    grid = make_grid(table.header, limits, table.position_unit, options.step, override)
    if override is None:
        refuse_empty_grid(grid, table.stored.n_rows, table.extent)
    _LOG.info("Output cube: %d x %d x %d voxels", grid.nx, grid.ny, grid.nz)
    direction = cosmic_ray_direction(table.header, table.position_unit)
    resampler = SlabResampler(grid, options, direction, run.resources.n_threads, run.compat, reuse_output=True)
    source = SlabSource(store, resampler, run.resources, table.stored.begin, table.stored.end, weights)
    qc = _measure_fwhm(run, table, grid, source)
    cards = [*object_cards(table.header), *qc]
    filters = _filters(run)
    collapse = Collapse(grid, [curve for curve, _ in filters], run.resources.n_threads)
    views = _views(filters, collapse, cards, table)
    flagged = FlaggedRows()
    with _cube_writer(run, table, grid, cards, views) as writer:
        for slab in source:
            result = slab.result
            collapse.add_planes(slab.first, result.data, result.dq)
            result.blank(run.resources.n_threads)
            writer.write(slab.first, result.data, result.stat)
            flagged.add(slab.cosmic_rays)
        plane_wcs = image_wcs(grid.cards(table.header))
        for number, (view, image) in enumerate(zip(views, collapse.images(), strict=True)):
            if _has_images_inside(run):
                writer.write_image(number, image)
                continue
            with run.factory.using(view.calibrations):
                write_fov_image(run.factory, view.cards, image, plane_wcs, unit=table.data_unit)
        run.factory.register(writer.finish(), "DATACUBE_FINAL")
    _LOG.info("Flagged %d rows as cosmic rays", len(flagged))
    return flagged


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
        run.factory.use_calibration(path, "OUTPUT_WCS")
        return override
    message = f"{path}: found no usable world coordinates: {'; '.join(reasons)}"
    if not run.compat.bad_output_wcs_ignored:
        raise InputError(message)
    _LOG.warning("%s; ignored", message)
    return None


def _to_vacuum(run: Run, table: Table, store: RowStore) -> None:
    """Convert the wavelengths of all rows, in air so far, to vacuum."""
    spectral_type = get_string(table.header, PIXTABLE + "SPECTYPE", "AWAV")
    if not spectral_type.startswith("AWAV"):
        _LOG.warning("Wavelengths are of type %s already: not converted to vacuum", spectral_type)
        return

    def step(rows: np.ndarray, chunk: Chunk) -> tuple[np.ndarray, RowLimits]:
        rows["lbda"] = air_to_vacuum(rows["lbda"])
        return rows, RowLimits.of(rows)

    limits = RowLimits()
    for found in write_pass(table.stored, table.stored, store, step, run.resources.n_threads):
        limits.include(found)
    set_card(table.header, PIXTABLE + "SPECTYPE", "WAVE", "vacuum wavelengths")
    table.write_limits(limits)


def _measure_fwhm(run: Run, table: Table, grid: OutputGrid, source: SlabSource) -> list[Card]:
    plane = source.plane(fwhm_plane(grid)).data[0]
    found = fwhm_qc(plane, grid, spaxel_size_arcsec(table.header), run.compat)
    return [card(QC_PREFIX + name, value) for name, value in found]


def _filters(run: Run) -> list[tuple[FilterCurve, int]]:
    """Return the filters of the images, and how many calibrations were in use with each."""
    found = []
    for name in run.parameters.filter.split(","):
        if not name or name.lower().startswith("none"):
            continue
        if name == WHITE:
            found.append((white(), run.factory.calibrations_used))
            continue
        path = run.frames.only("FILTER_LIST")
        try:
            if path is None:
                raise InputError(f"parameter filter: {name!r} needs a frame with tag FILTER_LIST, found none")
            lbda, throughput, header = calibration.read_filter(path, name)
        except InputError as error:
            _LOG.warning("%s; no image with this filter", error)
            continue
        run.factory.use_calibration(path, "FILTER_LIST")
        zero_points = (get_float(header, "ZP_VEGA"), get_float(header, "ZP_AB"))
        found.append((FilterCurve(name, lbda, throughput, *zero_points), run.factory.calibrations_used))
    return found


@dataclasses.dataclass(frozen=True, slots=True)
class _View:
    """An image of the field: its filter, keywords, and the number of calibrations that were in use with it."""

    name: str
    cards: list[Card]
    filter_cards: list[Card]
    calibrations: int


def _views(filters: list[tuple[FilterCurve, int]], collapse: Collapse, cube: list[Card], table: Table) -> list[_View]:
    name = get_string(table.header, "OBJECT")
    views = []
    for (curve, calibrations), fraction in zip(filters, collapse.fractions(), strict=True):
        own = [card("ESO DRS MUSE FILTER NAME", curve.name, "filter name used")]
        for key, value, system in (("ZPVEGA", curve.zp_vega, "Vega"), ("ZPAB", curve.zp_ab, "AB")):
            if value is not None:
                own.append(card(f"ESO DRS MUSE FILTER {key}", value, f"[mag] {system}-mag zeropoint"))
        comment = "[%] fraction of filter covered by data"
        own.append(card("ESO DRS MUSE FILTER FRACTION", np.float32(100 * fraction), comment))
        renamed = [] if name is None else [card("OBJECT", f"{name} ({curve.name})", "Original target.")]
        views.append(_View(curve.name, [*image_wcs(cube), *renamed, *own], own, calibrations))
    return views


def _has_images_inside(run: Run) -> bool:
    return run.parameters.format.startswith("x")


def _cube_writer(run: Run, table: Table, grid: OutputGrid, cards: list[Card], views: list[_View]) -> CubeWriter:
    name = get_string(table.header, "OBJECT")
    wcs = grid.cards(table.header)
    images = []
    for view in views if _has_images_inside(run) else ():
        header = extension_header(
            "DATA",
            grid.shape[1:],
            image_wcs(wcs),
            unit=table.data_unit or None,
            extname=view.name,
            content="reconstructed image (data values)",
            object_name=None if name is None else f"{name} ({view.name})",
        )
        header.extend(view.filter_cards)
        images.append(header)
    path = run.factory.next_path("DATACUBE_FINAL")
    return CubeWriter(
        path,
        run.factory.header("DATACUBE_FINAL", cards, path, primary_header()),
        grid.shape,
        wcs,
        unit=table.data_unit,
        stat_unit=variance_unit(table.data_unit),
        object_name=name,
        images=images,
    )


def save_combined(run: Run, table: Table, store: RowStore, flagged: FlaggedRows, weights: Weights | None) -> None:
    """Write PIXTABLE_COMBINED; rows that the cube flagged as cosmic rays carry that flag."""
    with TableSaver(run, table, "PIXTABLE_COMBINED", weighted=weights is not None) as saver:
        for chunk in table.stored.chunks:
            start, stop = table.stored.begin + chunk.start, table.stored.begin + chunk.stop
            rows = store.read(start, stop)
            rows["dq"][flagged.within(start, stop)] |= DQ.COSMIC_RAY
            saver.write(chunk.row, rows, None if weights is None else weights.between(start, stop))
        saver.finish()

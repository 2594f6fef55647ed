# SPDX-License-Identifier: GPL-2.0-or-later
"""What is made of all exposures: the combined pixel table, the cube, the images of the field."""

import logging

import numpy as np
from astropy.io.fits import Card

from muse_core.engine.slabs import FlaggedRows, SlabSource, Weights
from muse_core.engine.store import RowStore
from muse_core.errors import InputError, ParameterError
from muse_core.io import calibration
from muse_core.io.cube import CubeWriter, write_fov_image
from muse_core.io.fitswriter import primary_header
from muse_core.model.cards import card
from muse_core.model.dq import DQ
from muse_core.model.filters import WHITE, FilterCurve, white
from muse_core.model.grid import GridOverride, Limits, OutputGrid, make_grid, parse_output_wcs
from muse_core.model.header import get_float, get_string, spaxel_size_arcsec
from muse_core.recipes.cards import image_wcs, object_cards
from muse_core.recipes.declaration import QC_PREFIX, ScipostParameters
from muse_core.recipes.exposures import Table, TableSaver
from muse_core.recipes.inputs import Run
from muse_core.steps.collapse import Collapse
from muse_core.steps.qc import fwhm_plane, fwhm_qc
from muse_core.steps.resample import ResampleOptions, SlabResampler, cosmic_ray_direction, parse_pixfrac

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
    if run.parameters.format != "Cube":
        raise ParameterError(f"parameter format: {run.parameters.format} is not available yet, expected Cube")
    options = resample_options(run.parameters)
    limits = Limits.from_header(table.header)
    grid = make_grid(table.header, limits, table.position_unit, options.step, _output_wcs(run))
    _LOG.info("Output cube: %d x %d x %d voxels", grid.nx, grid.ny, grid.nz)
    direction = cosmic_ray_direction(table.header, table.position_unit)
    resampler = SlabResampler(grid, options, direction, run.resources.n_threads, run.compat)
    source = SlabSource(store, resampler, run.resources, table.stored.begin, table.stored.end, weights)
    qc = _measure_fwhm(run, table, grid, source)
    cards = [*object_cards(table.header), *qc]
    filters = _filters(run)
    collapse = Collapse(grid, [curve for curve, _ in filters], run.resources.n_threads)
    wcs = grid.cards(table.header)
    flagged = FlaggedRows()
    name = get_string(table.header, "OBJECT")
    path = run.factory.next_path("DATACUBE_FINAL")
    primary = run.factory.header("DATACUBE_FINAL", cards, path, primary_header())
    writer = CubeWriter(
        path, primary, grid.shape, wcs, unit=table.data_unit, stat_unit=_stat_unit(table.data_unit), object_name=name
    )
    with writer:
        for slab in source:
            result = slab.result
            collapse.add_planes(slab.first, result.data, result.dq)
            bad = result.dq != DQ.GOOD
            result.data[bad] = np.nan
            result.stat[bad] = np.nan
            writer.write(slab.first, result.data, result.stat)
            flagged.add(slab.cosmic_rays)
        plane_wcs = image_wcs(wcs)
        for (curve, used), image, fraction in zip(filters, collapse.images(), collapse.fractions(), strict=True):
            source_cards = _image_cards(cards, curve, fraction, name)
            with run.factory.using(used):
                write_fov_image(run.factory, source_cards, image, plane_wcs, unit=table.data_unit)
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


def _measure_fwhm(run: Run, table: Table, grid: OutputGrid, source: SlabSource) -> list[Card]:
    plane = source.plane(fwhm_plane(grid)).data[0]
    found = fwhm_qc(plane, grid, spaxel_size_arcsec(table.header), run.compat)
    return [card(QC_PREFIX + name, value) for name, value in found]


def _stat_unit(unit: str) -> str:
    return f"({unit})**2" if unit else ""


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


def _image_cards(cube: list[Card], curve: FilterCurve, fraction: float, name: str | None) -> list[Card]:
    cards = image_wcs(cube)
    if name is not None:
        cards.append(card("OBJECT", f"{name} ({curve.name})", "Original target."))
    cards.append(card("ESO DRS MUSE FILTER NAME", curve.name, "filter name used"))
    for key, value, system in (("ZPVEGA", curve.zp_vega, "Vega"), ("ZPAB", curve.zp_ab, "AB")):
        if value is not None:
            cards.append(card(f"ESO DRS MUSE FILTER {key}", value, f"[mag] {system}-mag zeropoint"))
    comment = "[%] fraction of filter covered by data"
    return [*cards, card("ESO DRS MUSE FILTER FRACTION", np.float32(100 * fraction), comment)]


def save_combined(run: Run, table: Table, store: RowStore, flagged: FlaggedRows, weights: Weights | None) -> None:
    """Write PIXTABLE_COMBINED; rows that the cube flagged as cosmic rays carry that flag."""
    with TableSaver(run, table, "PIXTABLE_COMBINED", weighted=weights is not None) as saver:
        for chunk in table.stored.chunks:
            start, stop = table.stored.begin + chunk.start, table.stored.begin + chunk.stop
            rows = store.read(start, stop)
            rows["dq"][flagged.within(start, stop)] |= DQ.COSMIC_RAY
            saver.write(chunk.row, rows, None if weights is None else weights.between(start, stop))
        saver.finish()

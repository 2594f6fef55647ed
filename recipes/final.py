# SPDX-License-Identifier: GPL-2.0-or-later
"""What is made of all exposures: the combined pixel table, the cube, the images of the field."""

import dataclasses
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from astropy.io.fits import Card

from muse_core.engine.exposure import Chunk, write_pass
from muse_core.engine.exposure import Limits as RowLimits
from muse_core.engine.slabs import FlaggedRows, SlabSource, refuse_empty_grid
from muse_core.engine.store import RowStore
from muse_core.errors import InputError
from muse_core.io import calibration
from muse_core.model.cards import card, set_card
from muse_core.model.compat import Compat
from muse_core.model.dq import DQ
from muse_core.model.filters import FilterCurve
from muse_core.model.grid import GridOverride, Limits, OutputGrid, make_grid, parse_output_wcs
from muse_core.model.header import PIXTABLE, get_string, spaxel_size_arcsec
from muse_core.recipes.cards import object_cards
from muse_core.recipes.declaration import QC_PREFIX, ScipostParameters
from muse_core.recipes.euro3d import Euro3D
from muse_core.recipes.formats import CubeFormat, CubeProduct, PlainCube
from muse_core.recipes.images import read_filters, use_filters
from muse_core.recipes.inputs import Run
from muse_core.recipes.sdp import SdpCube
from muse_core.recipes.tables import Table, TableSaver
from muse_core.steps.collapse import Collapse
from muse_core.steps.qc import fwhm_plane, fwhm_qc
from muse_core.steps.resample import ResampleOptions, SlabResampler, cosmic_ray_direction, parse_pixfrac
from muse_core.steps.resample.vacuum import air_to_vacuum
from muse_core.steps.sdp import Exposure

_LOG = logging.getLogger(__name__)
_FORMATS: dict[str, type[CubeFormat]] = {
    "Cube": PlainCube,
    "xCube": PlainCube,
    "sdpCube": SdpCube,
    "Euro3D": Euro3D,
    "xEuro3D": Euro3D,
}


@dataclasses.dataclass(frozen=True, slots=True)
class CubeInputs:
    """What the cube needs beside the rows; looked at before the work begins, so that it does not fail at its end.

    Attributes
    ----------
    options : ResampleOptions
        How to resample.
    override : GridOverride, optional
        Prescribed grid.
    filters : list of FilterCurve
        Filters of the images.
    """

    options: ResampleOptions
    override: GridOverride | None
    filters: list[FilterCurve]


def load_cube_inputs(run: Run) -> CubeInputs:
    """Read OUTPUT_WCS and FILTER_LIST, and check the parameters of the cube.

    Raises
    ------
    InputError
        A frame cannot be used.
    ParameterError
        A parameter has an unusable value.
    """
    return CubeInputs(resample_options(run.parameters, run.compat), _output_wcs(run), read_filters(run))


def resample_options(parameters: ScipostParameters, compat: Compat) -> ResampleOptions:
    """Return the options of the final cube."""
    return ResampleOptions(
        method=parameters.resample,
        crtype=parameters.crtype,
        crsigma=parameters.crsigma,
        ld=parameters.ld,
        rc=parameters.rc,
        pixfrac=parse_pixfrac(parameters.pixfrac, compat),
        step=(parameters.dx, parameters.dy, parameters.dlambda),
    )


def make_cube(
    run: Run,
    inputs: CubeInputs,
    table: Table,
    store: RowStore,
    described: Sequence[Exposure] = (),
) -> FlaggedRows:
    """Resample all rows into DATACUBE_FINAL, and collapse it to images; planes are written as they are made.

    Parameters
    ----------
    run : Run
        The run.
    inputs : CubeInputs
        Grid, method, filters.
    table : Table
        The combined pixel table.
    store : RowStore
        Its rows.
    described : sequence of Exposure
        What format sdpCube says of the exposures.

    Returns
    -------
    FlaggedRows
        Rows that were flagged as cosmic rays.
    """
    options, override = inputs.options, inputs.override
    if override is not None:
        run.factory.use_calibration(run.frames.first("OUTPUT_WCS"), "OUTPUT_WCS")
        if override.is_vacuum:
            _to_vacuum(run, table, store)
    limits = Limits.from_header(table.header)
    grid = make_grid(table.header, limits, table.position_unit, options.step, override)
    if override is None:
        refuse_empty_grid(grid, table.stored.n_rows, table.extent)
    _LOG.info("Output cube: %d x %d x %d voxels", grid.nx, grid.ny, grid.nz)
    direction = cosmic_ray_direction(table.header, table.position_unit)
    resampler = SlabResampler(grid, options, direction, run.resources.n_threads, run.compat, reuse_output=True)
    source = SlabSource(store, resampler, run.resources, table.stored.begin, table.stored.end, table.weights)
    cards = object_cards(table.header)
    writer_of = _FORMATS[run.parameters.format]
    if writer_of is not Euro3D:
        cards += _measure_fwhm(run, table, grid, source)
    filters = use_filters(run, inputs.filters)
    collapse = Collapse(grid, [item.curve for item in filters], run.resources.n_threads)
    flagged = FlaggedRows()
    product = CubeProduct(run, table, grid, cards, filters, collapse, described)
    with writer_of(product) as writer, ThreadPoolExecutor(1) as background:
        written = None
        for slab in run.journal.slabs(source):
            collapse.add_planes(slab.first, slab.result.data, slab.result.dq)
            flagged.add(slab.cosmic_rays)
            if written is not None:
                written.result()
            written = background.submit(writer.write, slab.first, slab.result)  # while the next one is made
        written.result()
        writer.finish(collapse.images())
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

    run.journal.forget_exposures()
    limits = RowLimits()
    for found in write_pass(table.stored, table.stored, store, step, run.resources.n_threads):
        limits.include(found)
    set_card(table.header, PIXTABLE + "SPECTYPE", "WAVE", "vacuum wavelengths")
    table.write_limits(limits)


def _measure_fwhm(run: Run, table: Table, grid: OutputGrid, source: SlabSource) -> list[Card]:
    plane = source.plane(fwhm_plane(grid)).data[0]
    found = fwhm_qc(plane, grid, spaxel_size_arcsec(table.header), run.compat)
    return [card(QC_PREFIX + name, value) for name, value in found]


def save_combined(run: Run, table: Table, store: RowStore, flagged: FlaggedRows) -> None:
    """Write PIXTABLE_COMBINED; rows that the cube flagged as cosmic rays carry that flag."""
    with TableSaver(run, table, "PIXTABLE_COMBINED") as saver:
        for chunk in table.stored.chunks:
            start, stop = table.stored.begin + chunk.start, table.stored.begin + chunk.stop
            rows = store.read(start, stop)
            rows["dq"][flagged.within(start, stop)] |= DQ.COSMIC_RAY
            saver.write(chunk, rows)
        saver.finish()

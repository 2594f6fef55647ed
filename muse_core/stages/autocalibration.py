# SPDX-License-Identifier: GPL-2.0-or-later
"""Slice autocalibration of an exposure, from its sky or with given factors, and its products."""

import logging

import numpy as np

from muse_core.engine.exposure import CHANGING, LOOKING, Chunk, read_pass, write_pass
from muse_core.engine.plan import ExposureStep
from muse_core.engine.progress import timed
from muse_core.engine.slabs import OwnCube
from muse_core.engine.store import RowStore
from muse_core.errors import DataError, InputError
from muse_core.io.autocal import edge_cards, factors_columns, read_autocal_factors
from muse_core.model.autocal import AutocalFactors
from muse_core.model.cards import card, set_card
from muse_core.model.dq import DQ
from muse_core.model.fits import Header
from muse_core.model.header import is_ao
from muse_core.model.record import record
from muse_core.model.skymask import SkyMask
from muse_core.recipe.run import Run
from muse_core.recipe.save import save_mask, save_table
from muse_core.stages.cards import table_cards
from muse_core.stages.pointing import Pointing
from muse_core.stages.sky import mask_selection
from muse_core.stages.tables import StoredTable
from muse_core.stages.whitelight import WhiteLight, make_white_light
from muse_core.steps.autocalibration import (
    DEEPFIELD,
    USER,
    SliceStatistics,
    apply_factors,
    autocalibrated_card,
    deepfield_mask,
    is_autocalibrated,
)
from muse_core.steps.limits import wavelength_limits
from muse_core.steps.sky.mask import mask_in_spaxels
from muse_core.steps.sky.qc import mask_qc

_LOG = logging.getLogger(__name__)
#: Name of the step in the log.
STEP = "Autocalibration"


def planned(white_light: OwnCube | None) -> ExposureStep:
    """Return the step in a plan; it makes a white-light image, unless mask or factors are given."""
    return ExposureStep(STEP, (*(() if white_light is None else (white_light,)), LOOKING, CHANGING))


@record(kw_only=True)
class AutocalibrationOptions:
    """How slices are levelled.

    Attributes
    ----------
    method : str
        "none", "deepfield" (by the sky of the exposure), "user" (with given factors).
    crsigma : float
        Threshold of the cosmic-ray rejection in the white-light image, in sigma; 0 or less: none.
    """

    method: str
    crsigma: float


def load_factors(run: Run, method: str) -> AutocalFactors | None:
    """Load the factors of method ``user``; None for the other methods.

    Raises
    ------
    InputError
        The frame is missing or cannot be used.
    """
    if method != "user":
        return None
    factors = run.load("AUTOCAL_FACTORS", lambda path: read_autocal_factors(path, run.compat))
    if factors is None:
        message = "autocalib=user: found no frame with tag AUTOCAL_FACTORS, expected one"
        if not run.compat.user_factors_computed:
            raise InputError(message)
        _LOG.warning("%s; factors are computed from the data", message)
    return factors


@record(frozen=False)
class AutocalResult:
    """What the autocalibration made of an exposure; None for what it did not.

    Attributes
    ----------
    white_light : WhiteLight
        Image that the mask was made from.
    mask : ndarray of bool, shape (ny, nx)
        True on sky.
    mask_limits : tuple of float
        Values of the image between which a spaxel is sky.
    factors : AutocalFactors
        Factors that were computed.
    header : Header
        Header of the pixel table when they were.
    """

    white_light: WhiteLight | None = None
    mask: np.ndarray | None = None
    mask_limits: tuple[float, float] | None = None
    factors: AutocalFactors | None = None
    header: Header | None = None


def autocalibrate(
    run: Run,
    options: AutocalibrationOptions,
    pointing: Pointing,
    table: StoredTable,
    store: RowStore,
    given: AutocalFactors | None,
    sky_mask: SkyMask | None,
) -> AutocalResult:
    """Level the slices of an exposure whose rows are in pix; rows and header are changed.

    Parameters
    ----------
    run : Run
        The run.
    options : AutocalibrationOptions
        How to level.
    pointing : Pointing
        Where a mask that is on the sky lies.
    table : StoredTable
        The exposure.
    store : RowStore
        Its rows.
    given : AutocalFactors, optional
        Factors of method ``user``.
    sky_mask : SkyMask, optional
        Given mask of the sky; without, one is made, and cosmic rays found on the way stay flagged.
    """
    result = AutocalResult()
    if options.method == "none":
        return result
    with timed(STEP, table.stored.n_rows):
        try:
            if given is not None:
                if not is_autocalibrated(table.header):
                    _apply(run, table, store, given, None, USER)
                return result
            _deepfield(run, options, pointing, table, store, sky_mask, result)
        except DataError as error:
            run.or_ignore(error, "not autocalibrated")
    return result


def _deepfield(
    run: Run,
    options: AutocalibrationOptions,
    pointing: Pointing,
    table: StoredTable,
    store: RowStore,
    sky_mask: SkyMask | None,
    result: AutocalResult,
) -> None:
    if sky_mask is None:
        white_light = make_white_light(run, table, store, options.crsigma)
        mask, low, high = deepfield_mask(white_light.image, white_light.flags)
        result.white_light, result.mask, result.mask_limits = white_light, mask, (low, high)
        corner = white_light.grid.crval[:2]
        select = mask_selection(pointing, table, mask_in_spaxels(mask.astype(np.uint8), *corner))
    else:
        select = mask_selection(pointing, table, sky_mask)
    if is_autocalibrated(table.header):
        return
    header = table.header.copy()
    limits = wavelength_limits(table.header)
    statistics = SliceStatistics(is_ao(table.header), run.environment.excluded_raman_width, limits)

    def collect(rows: np.ndarray, chunk: Chunk) -> None:
        statistics.add(rows, select(rows))

    n_threads = run.resources.n_threads if table.stored.grouped else 1  # threads may not add to the same slice
    for _ in read_pass(table.stored, store, collect, n_threads):
        pass
    result.factors, result.header = statistics.factors(), header
    _apply(run, table, store, result.factors, result.white_light, DEEPFIELD)


def _apply(
    run: Run, table: StoredTable, store: RowStore, factors: AutocalFactors, white_light: WhiteLight | None, method: str
) -> None:
    begin = table.stored.begin

    def step(rows: np.ndarray, chunk: Chunk) -> tuple[np.ndarray, None]:
        if white_light is not None:
            rows["dq"][white_light.flagged.within(begin + chunk.start, begin + chunk.stop)] |= DQ.COSMIC_RAY
        apply_factors(rows, factors)
        return rows, None

    write_pass(table.stored, table.stored, store, step, run.resources.n_threads)
    set_card(table.header, *autocalibrated_card(method))


def save_autocal(run: Run, result: AutocalResult) -> None:
    """Write the products of the autocalibration."""
    if result.mask is not None:
        white_light = result.white_light
        assert white_light is not None
        assert result.mask_limits is not None
        source = [*white_light.cards, card("BUNIT", white_light.unit), *run.qc_cards(mask_qc(*result.mask_limits))]
        save_mask(run.factory, "AUTOCAL_MASK", source, white_light.wcs, result.mask)
    if result.factors is not None:
        assert result.header is not None
        source = [*table_cards(result.header), *(card(*values) for values in edge_cards(result.factors))]
        save_table(run.factory, "AUTOCAL_FACTORS", source, factors_columns(result.factors), None)

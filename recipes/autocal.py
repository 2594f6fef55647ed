# SPDX-License-Identifier: GPL-2.0-or-later
"""Slice autocalibration of an exposure, from its sky or with given factors, and its products."""

import dataclasses
import logging
import os

import numpy as np
from astropy.io.fits import Header

from muse_core.engine.exposure import Chunk, read_pass, write_pass
from muse_core.engine.store import RowStore
from muse_core.errors import DataError, InputError
from muse_core.io.autocal import edge_cards, factors_columns, read_autocal_factors
from muse_core.io.frames import FrameSelection
from muse_core.io.products import ProductFactory
from muse_core.model.autocal import AutocalFactors
from muse_core.model.cards import card, set_card
from muse_core.model.compat import Compat
from muse_core.model.dq import DQ
from muse_core.model.header import is_ao
from muse_core.model.skymask import SkyMask
from muse_core.recipes.cards import table_cards
from muse_core.recipes.declaration import ScipostParameters
from muse_core.recipes.inputs import Run
from muse_core.recipes.sky import mask_selection, qc_cards, save_mask, save_table
from muse_core.recipes.tables import Table
from muse_core.recipes.whitelight import WhiteLight, make_white_light
from muse_core.steps.autocalibration import (
    DEEPFIELD,
    USER,
    SliceStatistics,
    apply_factors,
    autocalibrated_card,
    deepfield_mask,
    is_autocalibrated,
)
from muse_core.steps.sky.mask import mask_in_spaxels
from muse_core.steps.sky.options import parse_crsigma
from muse_core.steps.sky.qc import mask_qc

_LOG = logging.getLogger(__name__)
#: Environment variable of the reference: rows that near to the Raman lines (Angstrom) are left out of the statistics.
EXCLUDE_RAMAN_VARIABLE = "MUSE_AUTOCAL_EXCLUDE_RAMAN"


def load_factors(
    frames: FrameSelection, factory: ProductFactory, parameters: ScipostParameters, compat: Compat
) -> AutocalFactors | None:
    """Load the factors of method ``user``; None for the other methods.

    Raises
    ------
    InputError
        The frame is missing or cannot be used.
    """
    if parameters.autocalib != "user":
        return None
    path = frames.only("AUTOCAL_FACTORS")
    if path is None:
        message = "autocalib=user: found no frame with tag AUTOCAL_FACTORS, expected one"
        if not compat.user_factors_computed:
            raise InputError(message)
        _LOG.warning("%s; factors are computed from the data", message)
        return None
    factors = read_autocal_factors(path, compat)
    factory.use_calibration(path, "AUTOCAL_FACTORS")
    return factors


@dataclasses.dataclass(slots=True)
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
    run: Run, table: Table, store: RowStore, given: AutocalFactors | None, sky_mask: SkyMask | None
) -> AutocalResult:
    """Level the slices of an exposure whose rows are in pix; rows and header are changed.

    Parameters
    ----------
    run : Run
        The run.
    table : Table
        The exposure.
    store : RowStore
        Its rows.
    given : AutocalFactors, optional
        Factors of method ``user``.
    sky_mask : SkyMask, optional
        Given mask of the sky; without, one is made, and cosmic rays found on the way stay flagged.
    """
    result = AutocalResult()
    if run.parameters.autocalib == "none":
        return result
    try:
        if given is not None:
            if not is_autocalibrated(table.header):
                _apply(run, table, store, given, None, USER)
            return result
        _deepfield(run, table, store, sky_mask, result)
    except DataError as error:
        run.or_ignore(error, "not autocalibrated")
    return result


def _deepfield(run: Run, table: Table, store: RowStore, sky_mask: SkyMask | None, result: AutocalResult) -> None:
    if sky_mask is None:
        sigma, _ = parse_crsigma(run.parameters.sky_crsigma, run.compat)
        white_light = make_white_light(run, table, store, sigma)
        flags = np.where(white_light.bad, np.int32(DQ.MISSING), np.int32(0))
        mask, *limits = deepfield_mask(white_light.image, flags)
        result.white_light, result.mask, result.mask_limits = white_light, mask, tuple(limits)
        corner = white_light.grid.crval[:2]
        select = mask_selection(run, table, mask_in_spaxels(mask.astype(np.uint8), *corner))
    else:
        select = mask_selection(run, table, sky_mask)
    if is_autocalibrated(table.header):
        return
    header = table.header.copy()
    statistics = SliceStatistics(is_ao(table.header), _excluded_width())

    def collect(rows: np.ndarray, chunk: Chunk) -> None:
        statistics.add(rows, select(rows))

    for _ in read_pass(table.stored, store, collect, run.resources.n_threads):
        pass
    result.factors, result.header = statistics.factors(), header
    _apply(run, table, store, result.factors, result.white_light, DEEPFIELD)


def _excluded_width() -> float:
    try:
        return max(float(os.environ.get(EXCLUDE_RAMAN_VARIABLE, "")), 0.0)
    except ValueError:
        return 0.0


def _apply(
    run: Run, table: Table, store: RowStore, factors: AutocalFactors, white_light: WhiteLight | None, method: str
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
        source = [*white_light.cards, card("BUNIT", white_light.unit), *qc_cards(mask_qc(*result.mask_limits))]
        save_mask(run.factory, "AUTOCAL_MASK", source, white_light.wcs, result.mask)
    if result.factors is not None:
        source = [*table_cards(result.header), *(card(*values) for values in edge_cards(result.factors))]
        save_table(run.factory, "AUTOCAL_FACTORS", source, factors_columns(result.factors), None)

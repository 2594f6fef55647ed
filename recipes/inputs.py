# SPDX-License-Identifier: GPL-2.0-or-later
"""From frames and parameters to what the steps take: the context of a run, and its calibrations."""

import dataclasses
import logging
from pathlib import Path

from astropy.io.fits import Header

from muse_core.engine.journal import Journal
from muse_core.engine.resources import Resources
from muse_core.errors import DataError, InputError, ParameterError
from muse_core.io import calibration
from muse_core.io.frames import FrameSelection
from muse_core.io.products import ProductFactory
from muse_core.model.compat import Compat
from muse_core.model.curves import ExtinctionCurve, OffsetList, ResponseCurve, TelluricCurve
from muse_core.recipes.declaration import SAVE_TOKENS, ScipostParameters

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Calibrations:
    """Calibrations of a run; None for what was not given."""

    response: ResponseCurve | None
    extinction: ExtinctionCurve | None
    telluric: TelluricCurve | None
    astrometry: Header | None
    offsets: OffsetList | None


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """What all stages of a run share."""

    parameters: ScipostParameters
    save: frozenset[str]
    compat: Compat
    resources: Resources
    frames: FrameSelection
    factory: ProductFactory
    calibrations: Calibrations
    journal: Journal

    def or_ignore(self, error: DataError, consequence: str) -> None:
        """Raise the error of a step, unless the reference is to be reproduced, which goes on without it."""
        if not self.compat.failed_step_ignored:
            raise error
        _LOG.warning("%s; %s", error, consequence)


def parse_save(text: str) -> frozenset[str]:
    """Return the tokens of the parameter save.

    Raises
    ------
    ParameterError
        No token, or an unknown one.
    """
    tokens = [token for token in text.split(",") if token]
    unknown = [token for token in tokens if token not in SAVE_TOKENS]
    if unknown or not tokens:
        found = ", ".join(map(repr, unknown)) or "nothing"
        raise ParameterError(f"parameter save: found {found}, expected some of {', '.join(SAVE_TOKENS)}")
    return frozenset(tokens)


def load_calibrations(frames: FrameSelection, factory: ProductFactory, compat: Compat) -> Calibrations:
    """Load the calibrations that every exposure needs.

    Raises
    ------
    InputError
        A frame cannot be used, or there are several of a tag of which there can be only one.
    """

    def load(tag, reader):
        path = frames.only(tag)
        if path is None:
            return None
        loaded = reader(path)
        factory.use_calibration(path, tag)
        _LOG.info("Loaded %s from %s", tag, path)
        return loaded

    return Calibrations(
        response=load("STD_RESPONSE", calibration.read_response),
        telluric=load("STD_TELLURIC", calibration.read_telluric),
        extinction=load("EXTINCT_TABLE", calibration.read_extinction),
        astrometry=load("ASTROMETRY_WCS", calibration.read_primary_header),
        offsets=load("OFFSET_LIST", lambda path: _read_offsets(path, compat)),
    )


def _read_offsets(path: Path, compat: Compat) -> OffsetList | None:
    try:
        return calibration.read_offsets(path)
    except InputError as error:
        if not compat.bad_offset_list_ignored:
            raise
        _LOG.warning("%s; going on without offsets and flux scales", error)
        return None

# SPDX-License-Identifier: GPL-2.0-or-later
"""Calibrations that are the same for every exposure."""

import dataclasses
import logging
from pathlib import Path

from muse_core.errors import InputError
from muse_core.io import calibration
from muse_core.model.curves import ExtinctionCurve, OffsetList, ResponseCurve, TelluricCurve
from muse_core.recipe.run import Run

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class FluxCurves:
    """What the flux is calibrated with; None for what was not given."""

    response: ResponseCurve | None = None
    extinction: ExtinctionCurve | None = None
    telluric: TelluricCurve | None = None


def load_flux_curves(run: Run) -> FluxCurves:
    """Load STD_RESPONSE, STD_TELLURIC, EXTINCT_TABLE.

    Raises
    ------
    InputError
        A frame cannot be used, or there are several of a tag.
    """
    response = run.load("STD_RESPONSE", lambda path: calibration.read_response(path, run.compat))
    telluric = run.load("STD_TELLURIC", lambda path: calibration.read_telluric(path, run.compat))
    extinction = run.load("EXTINCT_TABLE", lambda path: calibration.read_extinction(path, run.compat))
    return FluxCurves(response, extinction, telluric)


def load_offsets(run: Run) -> OffsetList | None:
    """Load OFFSET_LIST.

    Raises
    ------
    InputError
        It cannot be used, or there are several.
    """

    def read(path: Path) -> OffsetList | None:
        try:
            return calibration.read_offsets(path, run.compat)
        except InputError as error:
            if not run.compat.bad_offset_list_ignored:
                raise
            _LOG.warning("%s; going on without offsets and flux scales", error)
            run.factory.use_calibration(path, "OFFSET_LIST")  # the reference lists it all the same
            return None

    return run.load("OFFSET_LIST", read)

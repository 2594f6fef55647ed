# SPDX-License-Identifier: GPL-2.0-or-later
"""Calibrations that are the same for every exposure."""

import logging
from collections.abc import Sequence
from pathlib import Path

from muse_core.errors import DataError, InputError
from muse_core.io import calibration
from muse_core.model import units
from muse_core.model.curves import ExtinctionCurve, OffsetList, ResponseCurve, TelluricCurve
from muse_core.model.header import get_string
from muse_core.model.record import record
from muse_core.recipe.parameters import WavelengthRange
from muse_core.recipe.run import Run
from muse_core.stages.opening import OpenedExposure
from muse_core.steps.flux import TELLURIC_START

_LOG = logging.getLogger(__name__)
_PLANE = 1.25  # Angstrom; less than a plane of a cube is not worth a word


@record
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


def require_cover(
    run: Run, curves: FluxCurves, exposures: Sequence[OpenedExposure], wavelengths: WavelengthRange
) -> None:
    """Check that curves are for the wavelengths of the exposures that they calibrate; a warning if for a part only.

    What cannot be calibrated since a curve is missing is told once for all exposures.

    Raises
    ------
    DataError
        The ranges of a curve and of an exposure do not overlap.
    """
    in_counts = [exposure for exposure in exposures if exposure.rows.files[0].units["data"] == units.COUNT]
    if in_counts and curves.response is None:
        whose = f"{len(in_counts)} of {len(exposures)} exposures" if len(exposures) > 1 else "the exposure"
        _LOG.warning("No STD_RESPONSE: the flux of %s is not calibrated, products are in %s", whose, units.COUNT)
    elif in_counts and curves.extinction is None:
        _LOG.warning("No EXTINCT_TABLE: no correction for extinction")
    if curves.response is None or run.compat.curves_of_other_range_used:
        return
    for exposure in in_counts:
        found = exposure.wavelengths
        if found is None:
            continue
        low, high = max(found[0], wavelengths.lambdamin), min(found[1], wavelengths.lambdamax)
        for curve, start, beyond in (
            (curves.response, low, "data outside of it are flagged, and not in the cube"),
            (curves.extinction, low, "data outside of it are not corrected for extinction"),
            (curves.telluric, max(low, TELLURIC_START), "data outside of it are not corrected for telluric lines"),
        ):
            if curve is None or start >= high:
                continue
            first, last = float(curve.lbda[0]), float(curve.lbda[-1])
            both = (
                f"{curve.where}: found wavelengths from {first:.2f} to {last:.2f} Angstrom, expected {start:.2f} to "
                f"{high:.2f} Angstrom as in the data (exposure of {get_string(exposure.header, 'DATE-OBS')})"
            )
            if last < start or high < first:
                raise DataError(both)
            if start < first - _PLANE or last + _PLANE < high:
                _LOG.warning("%s; %s", both, beyond)


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

# SPDX-License-Identifier: GPL-2.0-or-later
"""The two passes over the rows of an exposure: before the sky is known, and after it was subtracted.

Each changes a chunk of rows in place in one go, with the float32 rounding of every step, so that the values do not
depend on how steps are fused or rows are cut into chunks. Both release the GIL; chunks may run in parallel threads.
"""

import numpy as np

from muse_core.cython_ext import calibrate as calibrate_kernels
from muse_core.cython_ext import calibrate_position as calibrate_position_kernels
from muse_core.model.compat import OURS, Compat
from muse_core.steps.astrometry import Positioning, Projection
from muse_core.steps.dar import DarCorrection
from muse_core.steps.flatfield import FlatFieldFactor
from muse_core.steps.flux import CONSTANTS, CURVES, INTERVAL, FluxCalibration

_NOTHING = np.empty(0)
_NO_FLUX = FluxCalibration(_NOTHING, np.empty(0, INTERVAL), np.empty(0, CURVES), np.empty(0, CONSTANTS))
_NO_FACTOR = FlatFieldFactor.none()


def calibrate_rows(
    rows: np.ndarray,
    ifu_scale: float = 1.0,
    flat_field: FlatFieldFactor | None = None,
    dar: DarCorrection | None = None,
    flux: FluxCalibration | None = None,
    compat: Compat = OURS,
) -> None:
    """Apply IFU scale, flat-field factor, refraction and flux calibration to rows in place.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n,)
        Rows of one IFU, positions in pix; in any order, fastest if wavelengths ascend within slices.
    ifu_scale : float
        Factor on the data that brings the IFU to the level of the first one (`muse_core.steps.merge.ifu_scales`).
    flat_field, dar, flux
        What else to apply.
    compat : Compat
        With `unflagged_outside_calibration`, rows outside of flat-field spectrum or response are not flagged.
    """
    flat_field = _NO_FACTOR if flat_field is None else flat_field
    flux = _NO_FLUX if flux is None else flux
    calibrate_kernels.calibrate(
        rows,
        ifu_scale,
        flat_field.mode,
        flat_field.starts,
        flat_field.factors,
        _NOTHING if dar is None else dar.constants(),
        flux.starts,
        flux.intervals,
        flux.curves,
        flux.constants,
        not compat.unflagged_outside_calibration,
    )


def locate_rows(
    rows: np.ndarray,
    stretch: float = 1.0,
    projection: Projection | None = None,
    positioning: Positioning | None = None,
    flux_scale: float = 1.0,
) -> None:
    """Apply the velocity correction, projection, positioning and flux scale to rows in place.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n,)
        Rows with positions in pix, or in rad if there is a `positioning` without `projection`.
    stretch : float
        Factor on the wavelengths (`muse_core.steps.velocity.VelocityCorrection.stretch`).
    projection : Projection, optional
        From pix to rad.
    positioning : Positioning, optional
        From rad to deg.
    flux_scale : float
        Factor on the data from the list of offsets; stat by its square.
    """
    calibrate_position_kernels.locate(
        rows,
        stretch,
        _NOTHING if projection is None else projection.constants(),
        _NOTHING if positioning is None else positioning.constants(),
        flux_scale,
    )

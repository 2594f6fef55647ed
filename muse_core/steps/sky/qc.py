# SPDX-License-Identifier: GPL-2.0-or-later
"""Quality-control numbers of the sky products."""

import logging

import numpy as np

from muse_core.model.skylines import SkyLines
from muse_core.model.spectrum import Continuum

_LOG = logging.getLogger(__name__)

NOT_FINITE = -9999.999


def _finite(value: float, what: str) -> float:
    if np.isfinite(value):
        return value
    _LOG.error("%s is not a finite number; the QC keyword says %s", what, NOT_FINITE)
    return NOT_FINITE


def mask_qc(low_limit: float, threshold: float) -> list[tuple[str, float]]:
    """QC keywords (without prefix) of SKY_MASK, from the limits of `create_sky_mask`."""
    return [("LOWLIMIT", float(low_limit)), ("THRESHOLD", float(threshold))]


def line_qc(lines: SkyLines) -> list[tuple[str, str | float]]:
    """QC keywords (without prefix) of SKY_LINES: the strongest line of each group."""
    keywords: list[tuple[str, str | float]] = []
    for number, row in enumerate(lines.strongest_of_groups(), start=1):
        keywords.append((f"LINE{number} NAME", str(lines.name[row])))
        keywords.append((f"LINE{number} AWAV", float(lines.lbda[row])))
        keywords.append((f"LINE{number} FLUX", _finite(float(lines.flux[row]), f"flux of sky line {lines.name[row]}")))
    return keywords


def continuum_qc(continuum: Continuum) -> list[tuple[str, float]]:
    """QC keywords (without prefix) of SKY_CONTINUUM: plain sum, and largest derivative, of its flux."""
    total = float(np.cumsum(continuum.flux)[-1])
    slopes = np.abs(np.diff(continuum.flux) / np.diff(continuum.lbda))
    # a comparison with NaN is false, so that fmax ignores it as a loop would
    steepest = float(np.fmax.reduce(slopes, initial=0.0))
    return [("CONT FLUX", _finite(total, "flux of the sky continuum")), ("CONT MAXDEV", steepest)]

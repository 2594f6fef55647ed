# SPDX-License-Identifier: GPL-2.0-or-later
"""The sky model of an exposure: fitted lines and continuum, from its sky spectrum."""

import logging
from typing import TYPE_CHECKING

import numpy as np

from muse_core.errors import DataError
from muse_core.model.compat import OURS, Compat
from muse_core.model.lsf import HermiteProfile, HermiteProfiles, LsfCubes
from muse_core.model.record import record
from muse_core.model.skylines import SkyLines
from muse_core.model.spectrum import Continuum, Spectrum
from muse_core.steps.order import slice_order
from muse_core.steps.sky.continuum import create_continuum
from muse_core.steps.sky.fit import MARGIN, fit_lines
from muse_core.steps.sky.lsf import average_lsf, fold_with_bin
from muse_core.steps.sky.spectrum import usable_samples
from muse_core.steps.sky.subtract import subtract_lines

if TYPE_CHECKING:
    from typing_extensions import TypeIs

_LOG = logging.getLogger(__name__)


@record
class SkyModel:
    """What is subtracted from an exposure.

    Attributes
    ----------
    lines : SkyLines
        Fitted lines.
    continuum : Continuum or None
        Created continuum. None with parametrised LSFs, where it takes another pass over the rows, see
        `lineless_samples`.
    """

    lines: SkyLines
    continuum: Continuum | None


def is_parametrised(lsf: LsfCubes | HermiteProfiles) -> "TypeIs[HermiteProfiles]":
    """Are these parameters of profiles, the older format of LSF_PROFILE?"""
    return any(isinstance(profile, HermiteProfile) for profile in lsf.values())


def fit_sky(
    spectrum: Spectrum,
    lines: SkyLines,
    lsf: LsfCubes | HermiteProfiles,
    counts: np.ndarray,
    sampling: float,
    csampling: float,
    compat: Compat = OURS,
) -> SkyModel:
    """Fit lines to the sky spectrum and take the rest as continuum.

    Parameters
    ----------
    spectrum : Spectrum
        Sky spectrum.
    lines : SkyLines
        List of lines with start fluxes.
    lsf : LsfCubes or HermiteProfiles
        LSFs of the slices.
    counts : ndarray of int64, shape (2048,)
        Rows of each slice, from `muse_core.steps.sky.lsf.count_slices`.
    sampling, csampling : float
        Bin of the spectrum and step of the continuum in Angstrom (``skymodel_sampling``, ``skymodel_csampling``).
    compat : Compat
        See `average_lsf`, `fold_with_bin` and `fit_lines`; with ``slice_without_lsf_ignored`` lines are not fitted if
        no slice has an LSF, and there is no continuum.

    Returns
    -------
    SkyModel
        Lines and continuum.

    Raises
    ------
    DataError
        If no slice with an LSF has rows.
    """
    if is_parametrised(lsf):
        return SkyModel(fit_lines(spectrum, lines).lines, None)
    image = average_lsf(lsf, counts, compat)
    if image is None:
        message = "LSF_PROFILE: nothing for any of the IFUs that have pixel tables"
        if not compat.slice_without_lsf_ignored:
            raise DataError(message)
        _LOG.error("%s; no sky line is fitted", message)
        return SkyModel(lines.restricted(spectrum.lbda[0] - MARGIN, spectrum.lbda[-1] + MARGIN), None)
    image = fold_with_bin(image, sampling, compat)
    fitted = fit_lines(spectrum, lines, image, compat).lines
    return SkyModel(fitted, create_continuum(spectrum, fitted, image, csampling))


def lineless_samples(
    rows: np.ndarray,
    selected: np.ndarray,
    lines: SkyLines,
    lsf: LsfCubes | HermiteProfiles,
    flagged: np.ndarray | None = None,
    compat: Compat = OURS,
) -> np.ndarray:
    """Return the samples of a chunk for a sky spectrum without lines, the continuum with parametrised LSFs.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n,)
        Rows of whole slices, in any order; not changed.
    selected, flagged
        As in `muse_core.steps.sky.spectrum.usable_samples`.
    lines, lsf
        As in `muse_core.steps.sky.subtract.subtract_lines`.
    compat : Compat
        ``continuum_of_other_rows``: rows are sorted by slice and wavelength, and `selected` is not. Others as in
        `subtract_lines`.

    Returns
    -------
    ndarray of float32, shape (m, 3)
        For a `SpectrumAccumulator` with bins of ``skymodel_csampling``.
    """
    order = slice_order(rows)
    rows = rows[order]
    if not compat.continuum_of_other_rows:
        selected = selected[order]
    if flagged is not None:
        flagged = np.flatnonzero(np.isin(order, flagged))
    subtract_lines(rows, lines, lsf, compat)
    return usable_samples(rows, selected, flagged)

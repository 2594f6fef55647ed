# SPDX-License-Identifier: GPL-2.0-or-later
"""Which spaxels are sky: the mask from a white-light image, and the rows that a mask selects."""

import logging

import numpy as np

from muse_core.cython_ext import sky_select as sky_select_kernels
from muse_core.errors import DataError
from muse_core.model.skymask import SkyMask

_LOG = logging.getLogger(__name__)


def _round_half_away(x: float) -> int:
    """Round a number >= 0; Python's round() goes to even."""
    whole = int(x)
    return whole + (x - whole >= 0.5)


def _percentile(ordered: np.ndarray, fraction: float) -> float:
    """Value below which `fraction` of the sorted values lie, without interpolation."""
    rank = _round_half_away(len(ordered) * min(max(fraction, 0.0), 1.0))
    return float(ordered[min(max(rank - 1, 0), len(ordered) - 1)])


def create_sky_mask(
    image: np.ndarray, bad: np.ndarray, fraction: float, ignore: float
) -> tuple[np.ndarray, float, float]:
    """Select the darkest spaxels of a white-light image, without the very darkest.

    Parameters
    ----------
    image : ndarray of float32, shape (ny, nx)
        White-light image.
    bad : ndarray of bool, shape (ny, nx)
        Pixels without data.
    fraction : float
        Fraction of the image, after the ignored part is taken off, that is sky (parameter ``skymodel_fraction``).
    ignore : float
        Fraction of the image to ignore, from the darkest pixel on (``skymodel_ignore``).

    Returns
    -------
    mask : ndarray of uint8, shape (ny, nx)
        1 for sky, 0 else.
    low_limit : float
        Value at and below which pixels are ignored.
    threshold : float
        Value at and above which pixels are not sky.

    Raises
    ------
    DataError
        If no pixel has data.

    Notes
    -----
    Both limits are values of pixels and both are exclusive, as in the ESO pipeline: these pixels are never sky.
    """
    good = np.sort(image[~bad], axis=None)
    if not len(good):
        raise DataError(
            "sky mask: no pixel of the white-light image has data; does SKY_MASK leave out the whole field, "
            "or is every pixel flagged?"
        )
    low_limit = _percentile(good, ignore)
    threshold = _percentile(good, ignore + fraction * (1 - ignore))
    mask = (image > low_limit) & (image < threshold) & ~bad
    _LOG.info(
        "sky mask: %d of %d spaxels, white-light value between %g and %g",
        np.count_nonzero(mask),
        len(good),
        low_limit,
        threshold,
    )
    return mask.astype(np.uint8), low_limit, threshold


def mask_in_spaxels(mask: np.ndarray, xlo: float, ylo: float) -> SkyMask:
    """Give a mask made from the white-light image the coordinates of that image.

    Parameters
    ----------
    mask : ndarray of uint8, shape (ny, nx)
        Mask, one pixel a nominal spaxel.
    xlo, ylo : float
        Lower limits of the positions of the pixel table, in single precision: the centre of the first pixel. With
        digits lost, as in a printed header, rows on the border of two spaxels change sides.
    """
    return SkyMask(mask, crval=(float(np.float32(xlo)), float(np.float32(ylo))))


def select_rows(
    rows: np.ndarray, mask: SkyMask, selected: np.ndarray, ra_deg: float = 0.0, dec_deg: float = 0.0
) -> None:
    """Unselect the rows on pixels of the mask that are 0.

    Rows outside the mask image keep their state, as in the ESO pipeline.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n,)
        Rows with positions in nominal spaxels; for a celestial mask a copy of them on the sky (state ``deg``).
    mask : SkyMask
        The mask.
    selected : ndarray of uint8, shape (n,)
        Selection, updated: rows are unselected, never selected.
    ra_deg, dec_deg : float
        For a celestial mask, the position that the rows' positions are relative to.
    """
    sky_select_kernels.select(rows, mask.data, mask.wcs_numbers(), mask.celestial, ra_deg, dec_deg, selected)

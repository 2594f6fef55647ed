# SPDX-License-Identifier: GPL-2.0-or-later
"""Offsets of pointing and flux of exposures, from an OFFSET_LIST."""

import logging
import math
import sys
from collections.abc import Sequence

from muse_core.errors import DataError
from muse_core.model.cards import set_card
from muse_core.model.compat import OURS, Compat
from muse_core.model.curves import OffsetList
from muse_core.model.fits import Header
from muse_core.model.header import get_string
from muse_core.model.record import record

_LOG = logging.getLogger(__name__)

COMPARED = 23  # characters of DATE-OBS, to the millisecond
DATE_LENGTH = (19, 68)  # characters of a DATE-OBS that can be compared


@record
class Offset:
    """Offset of one exposure.

    Attributes
    ----------
    date_obs : str
        DATE-OBS of the exposure.
    ra_deg, dec_deg : float, optional
        What is subtracted from RA and DEC, in degrees of coordinate; None without a spatial offset.
    flux_scale : float, optional
        Factor on the data; None without.
    """

    date_obs: str
    ra_deg: float | None = None
    dec_deg: float | None = None
    flux_scale: float | None = None

    def pointing(self, ra_deg: float, dec_deg: float) -> tuple[float, float]:
        """Apply the offset to a pointing in degrees."""
        if self.ra_deg is None or self.dec_deg is None:
            return ra_deg, dec_deg
        return ra_deg - self.ra_deg, dec_deg - self.dec_deg

    @property
    def scale(self) -> float:
        """Factor on the data, 1 without a flux scale."""
        return 1.0 if self.flux_scale is None else self.flux_scale

    def __str__(self) -> str:
        applied = []
        if self.ra_deg is not None and self.dec_deg is not None:
            applied.append(f"offset {self.ra_deg * 3600:.4f}, {self.dec_deg * 3600:.4f} arcsec (RA, DEC)")
        if self.flux_scale is not None:
            applied.append(f"flux scale {self.flux_scale:g}")
        return ", ".join(applied)

    def write_cards(self, header: Header, number: int = 1) -> None:
        """Append the offset to the header of a pixel table, for the exposure of this number in it."""
        prefix = f"ESO DRS MUSE OFFSET{number} "
        if self.ra_deg is not None and self.dec_deg is not None:
            for key, value, axis in (("DRA", self.ra_deg, "RA"), ("DDEC", self.dec_deg, "DEC")):
                set_card(header, prefix + key, value, f"[deg] (= {value * 3600:f} arcsec) {axis} offset applied")
        if self.flux_scale is not None:
            set_card(header, f"ESO DRS MUSE FLUX SCALE{number}", self.flux_scale, "flux scale factor applied")
        set_card(header, prefix + "DATE-OBS", self.date_obs, f"offset {number} applied to exposure with this DATE-OBS")


def _dates(offsets: OffsetList) -> list[str]:
    return [date.rstrip()[:COMPARED] for date in offsets.date_obs]


def require_match(offsets: OffsetList | None, headers: Sequence[Header], compat: Compat = OURS) -> None:
    """Check that a list is that of some exposures, and name those that it lacks.

    Parameters
    ----------
    offsets : OffsetList, optional
        The list.
    headers : sequence of Header
        Headers of the exposures.
    compat : Compat
        ``unmatched_offsets_ignored``: no check.

    Raises
    ------
    DataError
        If no DATE-OBS of an exposure is in it.
    """
    if offsets is None or compat.unmatched_offsets_ignored:
        return
    listed = _dates(offsets)
    exposures = [(get_string(header, "DATE-OBS") or "unknown")[:COMPARED] for header in headers]
    lacking = [date for date in exposures if date not in listed]
    if len(lacking) == len(exposures):
        raise DataError(
            f"{offsets.where}: column DATE_OBS: found {', '.join(listed) or 'no row'}, expected at least one of the "
            f"exposures, {', '.join(exposures)}"
        )
    unused = [date for date in listed if date not in exposures]
    if unused:
        _LOG.info("%s: not used: %d rows, of other exposures: %s", offsets.where, len(unused), ", ".join(unused))
    for date in lacking:
        _LOG.warning("%s: no row for the exposure of %s, which gets no offset and no flux scale", offsets.where, date)


def find_offset(offsets: OffsetList | None, header: Header) -> Offset | None:
    """Return the first offset in the list for the exposure of a header, None if there is none.

    DATE-OBS must agree in its first 23 characters.
    """
    date_obs = get_string(header, "DATE-OBS")
    if offsets is None:
        return None
    if date_obs is None or not DATE_LENGTH[0] <= len(date_obs) <= DATE_LENGTH[1]:
        _LOG.warning("%s: keyword DATE-OBS: found %s, expected a date; no offset applied", offsets.where, date_obs)
        return None
    dates = _dates(offsets)
    if date_obs[:COMPARED] not in dates:
        return None
    row = dates.index(date_obs[:COMPARED])
    ra, dec = float(offsets.ra_offset[row]), float(offsets.dec_offset[row])
    there = math.isfinite(ra) and math.isfinite(dec)
    if not there:
        _LOG.warning("%s: no offset for the exposure of %s (%g, %g)", offsets.where, date_obs, ra, dec)
    scale = math.nan if offsets.flux_scale is None else float(offsets.flux_scale[row])
    normal = math.isfinite(scale) and abs(scale) >= sys.float_info.min
    return Offset(date_obs, ra if there else None, dec if there else None, scale if normal else None)

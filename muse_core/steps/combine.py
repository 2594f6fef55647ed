# SPDX-License-Identifier: GPL-2.0-or-later
"""Combination of exposures: weights, and the header of the combined pixel table.

The rows of all exposures are placed relative to the first one by `muse_core.steps.passes.locate_rows`.
"""

import logging
import math
import re
from collections.abc import Sequence

from muse_core.errors import DataError
from muse_core.model.cards import set_card
from muse_core.model.compat import OURS, Compat
from muse_core.model.fits import Header
from muse_core.model.header import PIXTABLE, get_float, get_string, is_nfm
from muse_core.steps.merge import OFFSET_COMMENT
from muse_core.steps.offsets import Offset

_LOG = logging.getLogger(__name__)

CARD_WEIGHT = "ESO DRS MUSE WEIGHT"
CARD_WEIGHTED = PIXTABLE + "WEIGHTED"
CARD_COMBINED = PIXTABLE + "COMBINED"
CARD_STREHL = "ESO DRS MUSE RTC STREHL"
CARD_STREHL_ERROR = "ESO DRS MUSE RTC STREHERR"
#: Estimates of the seeing: the first one that all exposures have is used.
_SEEING = (
    ("auto-guider", ("ESO OCS SGS AG FWHMX AVG", "ESO OCS SGS AG FWHMY AVG")),
    ("active optics", ("ESO TEL IA FWHM",)),
    ("DIMM", ("ESO TEL AMBI FWHM START", "ESO TEL AMBI FWHM END")),
)
_OFFSET_OF_SLICE = re.compile(PIXTABLE + r"EXP0 (IFU\d\d SLICE\d\d XOFFSET)$")


def exposure_weights(headers: Sequence[Header], method: str, compat: Compat = OURS) -> list[float] | None:
    """Weights of exposures relative to the first one.

    Parameters
    ----------
    headers : sequence of Header
        Header of each exposure.
    method : str
        ``exptime``, ``fwhm`` (exposure time divided by seeing), ``header`` (exposure time multiplied by `CARD_WEIGHT`)
        or ``none``.

    Returns
    -------
    list of float, or None
        None for ``none``.

    Raises
    ------
    DataError
        If the first exposure has no exposure time.
    """
    if method == "none":
        return None
    times = [get_float(header, "EXPTIME", 0.0, compat) for header in headers]
    if times[0] == 0:
        raise DataError("weights of exposures: keyword EXPTIME of the first exposure is missing or 0")
    weights = [time / times[0] for time in times]
    if method == "fwhm":
        seeing = _seeing(headers, compat)
        if seeing is None:
            _LOG.warning("weights of exposures: no estimate of the seeing is complete, using exposure times only")
        else:
            weights = [weight * (seeing[0] / fwhm) for weight, fwhm in zip(weights, seeing, strict=True)]
    elif method == "header":
        weights = [weight * _given_weight(header, compat) for weight, header in zip(weights, headers, strict=True)]
    return weights


def _given_weight(header: Header, compat: Compat) -> float:
    """Return the weight in the header of an exposure, 1 without."""
    weight = get_float(header, CARD_WEIGHT, None, compat)
    if weight is None:
        _LOG.warning(
            "exposure of %s: no keyword %s: its weight is its exposure time",
            get_string(header, "DATE-OBS"),
            CARD_WEIGHT,
        )
        return 1.0
    return weight


def _seeing(headers: Sequence[Header], compat: Compat) -> list[float] | None:
    """Return the best estimate of the FWHM that exists for all exposures, in arcsec."""
    for name, keys in _SEEING:
        values = [[get_float(header, key, 0.0, compat) for key in keys] for header in headers]
        if all(value > 0 for row in values for value in row):
            _LOG.info("seeing by the %s", name)
            return [sum(row) / len(row) for row in values]
    return None


def combine_headers(
    headers: Sequence[Header],
    n_rows: Sequence[int],
    offsets: Sequence[Offset | None],
    weighted: bool = False,
    compat: Compat = OURS,
) -> Header:
    """Make the header of a combined pixel table, without its limits and CRVAL.

    Parameters
    ----------
    headers : sequence of Header
        Header of each exposure; of those after the first only the horizontal offsets of slices are kept.
    n_rows : sequence of int
        Number of rows of each exposure, in the order of the combined table.
    offsets : sequence of Offset or None
        Offset of each exposure.
    weighted : bool
        Have rows got weights?

    Returns
    -------
    Header
    """
    # taken out of a header one by one, the more than thousand cards would cost half a second
    combined = Header([card for card in headers[0].copy().cards if not _OFFSET_OF_SLICE.match(card.keyword)])
    if weighted:
        set_card(combined, CARD_WEIGHTED, True, "Pixel table was weighted relative to other exposures")
    first = 0
    for number, (header, n, offset) in enumerate(zip(headers, n_rows, offsets, strict=True), 1):
        for card in header.cards:
            match = _OFFSET_OF_SLICE.match(card.keyword)
            if match:
                set_card(combined, f"{PIXTABLE}EXP{number} {match[1]}", card.value, OFFSET_COMMENT)
        set_card(combined, f"{PIXTABLE}EXP{number} FIRST", first, f"Exposure {number} first row index")
        set_card(combined, f"{PIXTABLE}EXP{number} LAST", first + n - 1, f"Exposure {number} last row index")
        first += n
        if offset is not None:
            offset.write_cards(combined, number)
    set_card(combined, CARD_COMBINED, len(headers), "Combined exposures that went into this pixel table")
    if is_nfm(combined):
        _write_strehl(combined, headers, compat)
    return combined


def _write_strehl(combined: Header, headers: Sequence[Header], compat: Compat) -> None:
    """Write the weighted mean of the Strehl ratios of narrow-field exposures, or remove it."""
    pairs = []
    for number, header in enumerate(headers, 1):
        ratio = get_float(header, CARD_STREHL, None, compat)
        error = get_float(header, CARD_STREHL_ERROR, None, compat)
        if ratio is None or not error:
            _LOG.warning("exposure %d has no Strehl ratio with its error", number)
        else:
            pairs.append((ratio, 1 / error**2))
    if not pairs:
        for key in (CARD_STREHL, CARD_STREHL_ERROR):
            combined.remove(key, ignore_missing=True)
        return
    total = sum(weight for _, weight in pairs)
    mean = sum(ratio * weight for ratio, weight in pairs) / total
    set_card(combined, CARD_STREHL, mean, "Weighted mean RTC Strehl ratio of the combined exposure.")
    set_card(combined, CARD_STREHL_ERROR, 1 / math.sqrt(total), "Error of the weighted mean RTC Strehl ratio.")

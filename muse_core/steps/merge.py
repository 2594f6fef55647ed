# SPDX-License-Identifier: GPL-2.0-or-later
"""Which files make an exposure, how the levels of its IFUs are matched, and the header of the merged pixel table.

Rows are not touched here: `muse_core.steps.passes.calibrate_rows` applies the factors, the engine reads files in the
order of `ExposureFiles`.
"""

import logging
import re
from collections.abc import Sequence

from muse_core.errors import DataError, InputError
from muse_core.model import origin
from muse_core.model.cards import set_card
from muse_core.model.compat import OURS, Compat
from muse_core.model.fits import Header
from muse_core.model.header import PIXTABLE, get_float, get_string, stated
from muse_core.model.record import record
from muse_core.steps.flatfield import CARD_CORRECTED

_LOG = logging.getLogger(__name__)

MERGED_FILE = 0  # "IFU" of a file that has all of them
CARD_MERGED = PIXTABLE + "MERGED"
CARD_FLAT_SKY = "ESO DRS MUSE FLAT FLUX SKY"
CARD_FLAT_LAMP = "ESO DRS MUSE FLAT FLUX LAMP"
OFFSET_COMMENT = "x-offset of given slice"
#: Factor between the flat-field levels of two IFUs beyond which they make no sense.
_LARGEST_RATIO = 100.0
_EXTNAME = re.compile(r"CHAN(?=..)(\d*)")
_OFFSETS = re.compile(PIXTABLE + r"EXP\d+ IFU\d\d SLICE\d\d XOFFSET$")
_OF_ONE_IFU = re.compile(rf"^EXTNAME|^{PIXTABLE}ILLUM|ESO DET CHIP |ESO DET OUT |ESO DET2 ")
_QC = re.compile(r"ESO QC ")


@record
class ExposureFiles:
    """The files of one exposure.

    Attributes
    ----------
    date_obs : str
        DATE-OBS, the same in all of them.
    files : tuple of int
        Position of each file in the input, in ascending order of IFUs.
    ifus : tuple of int
        IFU number of each file, or (`MERGED_FILE`,) for a file that has all.
    """

    date_obs: str
    files: tuple[int, ...]
    ifus: tuple[int, ...]


def ifu_number(header: Header, compat: Compat = OURS) -> int:
    """Return the number in EXTNAME (``CHANnn``) of a primary header, `MERGED_FILE` if there is none."""
    match = _EXTNAME.match(get_string(header, "EXTNAME", "", compat=compat))
    return int(match[1] or 0) if match else MERGED_FILE


def group_exposures(headers: Sequence[Header], names: Sequence[str], compat: Compat = OURS) -> list[ExposureFiles]:
    """Group files by exposure, and sort exposures by time.

    Parameters
    ----------
    headers : sequence of Header
        Primary header of each file.
    names : sequence of str
        Names of the files, for messages.

    Returns
    -------
    list of ExposureFiles
        Ascending by DATE-OBS. If an exposure has a merged file, its others are left out with a warning.

    Raises
    ------
    InputError
        If a file has no DATE-OBS or an impossible IFU number; with `compat.keep_partial_exposure` it is left out.
    """
    exposures: dict[str, dict[int, int]] = {}
    for index, (header, name) in enumerate(zip(headers, names, strict=True)):
        date_obs, ifu = get_string(header, "DATE-OBS", compat=compat), ifu_number(header, compat)
        if date_obs is None:
            _refuse(f"{name}: keyword DATE-OBS is missing, the exposure of this file is unknown", compat)
        elif not MERGED_FILE <= ifu <= origin.N_IFU:
            _refuse(f"{name}: keyword EXTNAME: found {stated(header, 'EXTNAME')}, expected CHAN01 to CHAN24", compat)
        elif ifu in exposures.setdefault(date_obs, {}):
            which = f"IFU {ifu}" if ifu else "all IFUs (no CHANnn in EXTNAME)"
            _LOG.warning("%s: there is another file of %s of the exposure of %s, ignored", name, which, date_obs)
        else:
            exposures[date_obs][ifu] = index
    found = []
    for date_obs, files in sorted(exposures.items()):
        if MERGED_FILE in files and len(files) > 1:
            _LOG.warning("%s: using the merged file of the exposure alone", names[files[MERGED_FILE]])
            files = {MERGED_FILE: files[MERGED_FILE]}
        ifus = tuple(sorted(files))
        found.append(ExposureFiles(date_obs, tuple(files[ifu] for ifu in ifus), ifus))
    return found


def _refuse(message: str, compat: Compat) -> None:
    if not compat.keep_partial_exposure:
        raise InputError(message)
    _LOG.warning("%s; ignored", message)


def is_cut_needed(header: Header, lambda_min: float, lambda_max: float) -> bool:
    """Can a pixel table have rows outside of a range of wavelengths (Angstrom), by its header?"""
    low = get_float(header, PIXTABLE + "LIMITS LAMBDA LOW", 0.0)
    high = get_float(header, PIXTABLE + "LIMITS LAMBDA HIGH", 0.0)
    return not (low > lambda_min and high < lambda_max)


def ifu_scales(headers: Sequence[Header], names: Sequence[str], compat: Compat = OURS) -> list[float]:
    """Factors on the data that bring the IFUs of an exposure to the level of the first one.

    From the levels of the sky flats, else from those of the lamp flats, else 1.

    Parameters
    ----------
    headers : sequence of Header
        Primary header of each IFU file, in their order.
    names : sequence of str
        Names of the files, for messages.

    Returns
    -------
    list of float
        Of each file that is to be used: with `compat.keep_partial_exposure` only the first one, if it has no levels.

    Raises
    ------
    DataError
        If the first file has no levels.
    """
    levels = [[get_float(header, key, 0.0, compat) for key in (CARD_FLAT_SKY, CARD_FLAT_LAMP)] for header in headers]
    if len(headers) > 1 and not has_flat_levels(headers[0], compat):
        message = f"{names[0]}: keywords {CARD_FLAT_SKY} and {CARD_FLAT_LAMP} are missing, IFUs cannot be matched"
        if not compat.keep_partial_exposure:
            raise DataError(message)
        _LOG.warning("%s; the other IFUs are left out", message)
        return [1.0]
    scales = []
    for level, name in zip(levels, names, strict=True):
        ratio = next((one / first for first, one in zip(levels[0], level, strict=True) if first > 0 and one > 0), 1.0)
        if not 1 / _LARGEST_RATIO <= ratio <= _LARGEST_RATIO and not compat.senseless_values_used:
            raise DataError(
                f"{name}: keywords {CARD_FLAT_SKY}, {CARD_FLAT_LAMP}: found levels {level}, those of {names[0]} are "
                f"{levels[0]}; expected less than a factor of {_LARGEST_RATIO:g} between IFUs"
            )
        scales.append(1 / ratio)
    return scales


def has_flat_levels(header: Header, compat: Compat = OURS) -> bool:
    """Does the header of an IFU file have a flat-field level? Without, the reference takes the file as merged."""
    return any(get_float(header, key, None, compat) is not None for key in (CARD_FLAT_SKY, CARD_FLAT_LAMP))


def merge_headers(headers: Sequence[Header], n_flat_fields: int = 0) -> Header:
    """Make the header of a merged pixel table, without its limits.

    Parameters
    ----------
    headers : sequence of Header
        Primary headers of the IFU files in their order; the first one is the base, of the others only the horizontal
        offsets of their slices are kept.
    n_flat_fields : int
        Number of flat-field spectra that make the correction of the rows, 0 for none.

    Returns
    -------
    Header
        Without what holds for one IFU only: EXTNAME, illumination, flat levels, detector.
    """
    merged = headers[0].copy()
    remove_cards(merged, _OF_ONE_IFU)
    for key in (CARD_FLAT_SKY, CARD_FLAT_LAMP):
        merged.remove(key, ignore_missing=True)
    for header in headers[1:]:
        for card in header.cards:
            if _OFFSETS.match(card.keyword):
                set_card(merged, card.keyword, card.value, OFFSET_COMMENT)
    if n_flat_fields:
        set_card(merged, CARD_CORRECTED, n_flat_fields, "Pixel table corrected for flat-field spectrum")
    set_card(merged, CARD_MERGED, len(headers), "Merged IFUs that went into this pixel table")
    return merged


def remove_quality_cards(header: Header) -> None:
    """Remove the QC cards of earlier recipes."""
    remove_cards(header, _QC)


def remove_cards(header: Header, pattern: re.Pattern[str]) -> None:
    """Remove all cards whose keyword has `pattern` in it."""
    for key in {key for key in header if pattern.search(key)}:
        header.remove(key, remove_all=True)

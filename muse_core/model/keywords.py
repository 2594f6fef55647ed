# SPDX-License-Identifier: GPL-2.0-or-later
"""Keywords and columns of inputs that are used: type, range of sense, unit, and what happens if they are not usable.

What is declared here is what `muse_core.model.header` (keywords) and `checked_column` (columns) enforce. With
``compat.senseless_values_used`` numbers are taken as they are, as in the reference.
"""

import enum
import re
from collections.abc import Iterator

import numpy as np

from muse_core.errors import InputError
from muse_core.model.compat import OURS, Compat
from muse_core.model.record import record

PIXTABLE = "ESO DRS MUSE PIXTABLE "
PIXEL_TABLE = "PIXTABLE_OBJECT"
_HUGE = 1e15
_FLOAT32_MAX = float(np.finfo(np.float32).max)


class Reaction(enum.Enum):
    """What happens if a keyword is missing or cannot be used."""

    ERROR = "the run stops"
    WARNING = "a warning, and a default is used"
    DEFAULT = "a default is used, as the reference documents it"


@record
class Keyword:
    """A keyword that is used.

    Attributes
    ----------
    name : str
        Its name; a star stands for a number.
    kind : type
        float, int, str or bool.
    low, high : float
        Range of sense, both ends included.
    unit : str
        Unit.
    missing : Reaction
        If it is not there; ERROR if a step that needs it stops then.
    unusable : Reaction
        If it is of another type, or out of the range.
    """

    name: str
    kind: type = float
    low: float = -_HUGE
    high: float = _HUGE
    unit: str = ""
    missing: Reaction = Reaction.DEFAULT
    unusable: Reaction = Reaction.ERROR

    @property
    def expected(self) -> str:
        """What is expected, for messages."""
        if self.kind in (str, bool):
            return "a text" if self.kind is str else "T or F"
        kind = "a number" if self.kind is float else "a whole number"
        unit = f" {self.unit}" if self.unit else ""
        return f"{kind} from {self.low:g} to {self.high:g}{unit}"

    def is_usable(self, value: object) -> bool:
        """Is a value of the right type and in the range?"""
        if self.kind in (str, bool) or isinstance(value, bool):
            return isinstance(value, self.kind)
        numbers = (int, np.integer) if self.kind is int else (int, float, np.integer, np.floating)
        return isinstance(value, numbers) and bool(self.low <= value <= self.high)


@record
class Column:
    """A column of numbers that is used: its name, range of sense (both ends included), unit.

    With `as_zero`, the reference takes numbers that are not finite as 0; with `optional`, they mean that there is none.
    """

    name: str
    low: float = -_HUGE
    high: float = _HUGE
    unit: str = ""
    as_zero: bool = False
    optional: bool = False


_E, _W, _D = Reaction.ERROR, Reaction.WARNING, Reaction.DEFAULT
_LARGEST_AXIS = 2**31 - 1
_LIMIT = 1e7  # no field of view, in pix or in degrees, and no wavelength in Angstrom is beyond


def _numbers(names: str, low: float, high: float, unit: str, missing: Reaction, unusable: Reaction) -> list[Keyword]:
    return [Keyword(name.strip(), float, low, high, unit, missing, unusable) for name in names.split(",")]


def _texts(names: str, missing: Reaction, unusable: Reaction = _E) -> list[Keyword]:
    return [Keyword(name.strip(), str, missing=missing, unusable=unusable) for name in names.split(",")]


def _linear(pixel: float, value: float, step: float, missing: Reaction) -> list[Keyword]:
    return [
        *_numbers("CRPIX*", -pixel, pixel, "pixel", missing, _E),
        *_numbers("CRVAL*", -value, value, "", missing, _E),
        *_numbers("CD*_*", -step, step, "", missing, _E),
        *_texts("CTYPE*, CUNIT*", missing),
    ]


#: Keywords by the tag of the frame in which they are.
KEYWORDS: dict[str, tuple[Keyword, ...]] = {
    PIXEL_TABLE: (
        *_texts("DATE-OBS, ESO DRS MUSE PIXTABLE TYPE", _E),
        *_texts("EXTNAME, BUNIT, ESO INS MODE, ESO DRS MUSE PIXTABLE SPECTYPE, ESO DRS MUSE PIXTABLE AUTOCAL", _D),
        *_texts("OBJECT, ESO PRO ANCESTOR, ARCFILE, ORIGFILE, DATAMD5, ESO DPR CATG", _D, _D),
        *_texts("ESO OBS PROG ID, ESO PRO REC* RAW* NAME", _D),
        *_texts("ESO PRO REC* ID", _D, _D),
        *_numbers("EXPTIME", 0, 1e6, "s", _E, _E),
        *_numbers("RA", 0, 360, "deg", _E, _E),
        *_numbers("DEC", -90, 90, "deg", _E, _E),
        *_numbers("LST", 0, 86400, "s", _W, _W),
        *_numbers("MJD-OBS", 30000, 100000, "d", _E, _E),
        *_numbers("EQUINOX", 1800, 2200, "yr", _E, _E),
        *_numbers("ESO TEL AIRM START, ESO TEL AIRM END", 1, 40, "", _W, _W),
        *_numbers("ESO TEL PARANG START, ESO TEL PARANG END", -360, 360, "deg", _E, _E),
        *_numbers("ESO INS DROT POSANG", -720, 720, "deg", _W, _E),
        *_texts("ESO INS DROT MODE", _W, _W),
        *_numbers("ESO TEL GEOLAT", -90, 90, "deg", _D, _E),
        *_numbers("ESO TEL GEOLON", -360, 360, "deg", _D, _E),
        *_numbers("ESO TEL GEOELEV", -500, 10000, "m", _D, _E),
        *_numbers("ESO TEL AMBI TEMP", -60, 60, "degrees Celsius", _W, _W),
        *_numbers("ESO TEL AMBI RHUM", 0, 100, "per cent", _W, _W),
        *_numbers("ESO TEL AMBI PRES START, ESO TEL AMBI PRES END", 300, 1100, "hPa", _W, _W),
        # -1 where the telescope has no measurement
        *_numbers("ESO TEL AMBI FWHM START, ESO TEL AMBI FWHM END", 0, 100, "arcsec", _D, _D),
        *_numbers("ESO TEL IA FWHM, ESO TEL IA FWHMLIN", 0, 100, "arcsec", _D, _D),
        *_numbers("ESO OCS SGS AG FWHMX AVG, ESO OCS SGS AG FWHMY AVG", 0, 100, "arcsec", _D, _D),
        *_numbers("ESO DRS MUSE FLAT FLUX SKY, ESO DRS MUSE FLAT FLUX LAMP", 0, 1e9, "count", _E, _E),
        *_numbers("ESO DRS MUSE WEIGHT", 0, 1e6, "", _W, _E),
        *_numbers("ESO DRS MUSE RTC STREHL, ESO DRS MUSE RTC STREHERR", 0, 1000, "", _W, _W),
        *_numbers(f"{PIXTABLE}LIMITS X LOW, {PIXTABLE}LIMITS X HIGH", -_LIMIT, _LIMIT, "", _E, _E),
        *_numbers(f"{PIXTABLE}LIMITS Y LOW, {PIXTABLE}LIMITS Y HIGH", -_LIMIT, _LIMIT, "", _E, _E),
        *_numbers(f"{PIXTABLE}LIMITS LAMBDA LOW, {PIXTABLE}LIMITS LAMBDA HIGH", 0, _LIMIT, "Angstrom", _D, _E),
        *_numbers(f"{PIXTABLE}PREDAR LIMITS XLO, {PIXTABLE}PREDAR LIMITS XHI", -_LIMIT, _LIMIT, "pix", _D, _E),
        *_numbers(f"{PIXTABLE}PREDAR LIMITS YLO, {PIXTABLE}PREDAR LIMITS YHI", -_LIMIT, _LIMIT, "pix", _D, _E),
        *_numbers(f"{PIXTABLE}DAR CORRECT, {PIXTABLE}DAR CORRECT RESIDUAL", -1, 1e6, "Angstrom", _D, _E),
        *_numbers(f"{PIXTABLE}RVCORR", -1e4, 1e4, "km/s", _D, _E),
        Keyword(f"{PIXTABLE}LIMITS IFU LOW", int, 1, 24, unusable=_D),
        Keyword(f"{PIXTABLE}LIMITS IFU HIGH", int, 1, 24, unusable=_D),
        Keyword(f"{PIXTABLE}MERGED", int, 1, 24, unusable=_D),
        Keyword(f"{PIXTABLE}COMBINED", int, 1, 2**31, unusable=_D),
        Keyword(f"{PIXTABLE}FFCORR", int, 0, 24),
        Keyword(f"{PIXTABLE}FLUXCAL", bool),
        Keyword(f"{PIXTABLE}SKYSUB", bool),
        Keyword(f"{PIXTABLE}EXP* FIRST", int, 0, 2**63 - 1),
        Keyword(f"{PIXTABLE}EXP* LAST", int, 0, 2**63 - 1),
        Keyword("ESO OBS ID", int, 0, 2**63 - 1, missing=_E),
        *_linear(_LIMIT, 720, 1e4, _D),
    ),
    "IMAGE_FOV": (
        *_texts("DATE-OBS, CTYPE*, CUNIT*", _E),
        *_texts("BUNIT", _D),
        *_numbers("MJD-OBS", 30000, 100000, "d", _E, _E),
        *_numbers("EXPTIME", 0, 1e6, "s", _E, _E),
        *_numbers("CRPIX*", -_LIMIT, _LIMIT, "pixel", _E, _E),
        *_numbers("CRVAL*", -360, 720, "deg", _E, _E),
        *_numbers("CD*_*", -1, 1, "deg", _D, _E),
    ),
    "SOURCE_LIST": tuple(_numbers("MJD-OBS", 30000, 100000, "d", _E, _E)),
    "ASTROMETRY_WCS": (
        *_texts("CTYPE*, CUNIT*", _E),
        *_numbers("CRPIX*", -1e4, 1e4, "pix", _E, _E),
        *_numbers("CD*_*", -0.01, 0.01, "deg", _D, _E),
    ),
    "SKY_MASK": (*_linear(1e6, 1e6, 1e4, _D), *_numbers("CDELT*, PC*_*", -1e6, 1e6, "", _D, _E)),
    "OUTPUT_WCS": (
        *_linear(1e6, 1e6, 1e6, _D),
        *_numbers("CDELT*", -1e6, 1e6, "", _D, _E),
        Keyword("WCSAXES", int, 0, 999),
        Keyword("ZIMAGE", bool),
        *(Keyword(name, int, 0, _LARGEST_AXIS) for name in ("NAXIS", "ZNAXIS", "NAXIS*", "ZNAXIS*")),
    ),
    "LSF_PROFILE": (
        *_numbers("CRPIX*", -1e5, 1e5, "pixel", _E, _E),
        *_numbers("CRVAL*", -1e5, 1e5, "Angstrom", _E, _E),
        *_numbers("CD*_*", 0, 1e4, "Angstrom", _E, _E),
        *_texts("PIPEFILE", _D, _D),
    ),
    "AUTOCAL_FACTORS": (*_numbers("ESO DRS MUSE LAMBDA* MIN, ESO DRS MUSE LAMBDA* MAX", 0, 1e5, "Angstrom", _E, _E),),
    "FILTER_LIST": tuple(_numbers("ZP_VEGA, ZP_AB", -100, 100, "mag", _D, _W)),
    "STD_RESPONSE": (Keyword("ESO DRS MUSE FLUX FFCORR", bool), *_texts("ESO INS MODE", _D)),
    "STD_TELLURIC": (Keyword("ESO DRS MUSE FLUX FFCORR", bool),),
}

_WAVELENGTH = Column("lambda", 1, 1e6, "Angstrom")
#: Columns of numbers by the tag of the frame in which they are.
COLUMNS: dict[str, tuple[Column, ...]] = {
    "STD_RESPONSE": (_WAVELENGTH, Column("response", -1e3, 1e3, "mag", True), Column("resperr", 0, 1e3, "mag", True)),
    "EXTINCT_TABLE": (_WAVELENGTH, Column("extinction", -1, 100, "mag/airmass", True)),
    "STD_TELLURIC": (_WAVELENGTH, Column("ftelluric", -1e3, 1e3, "", True), Column("ftellerr", 0, 1e3, "", True)),
    "OFFSET_LIST": (
        Column("RA_OFFSET", -360, 360, "deg", optional=True),
        Column("DEC_OFFSET", -180, 180, "deg", optional=True),
        Column("FLUX_SCALE", 0, 1e6, "", optional=True),
    ),
    "SOURCE_LIST": (Column("X", -_LIMIT, _LIMIT, "pixel"), Column("Y", -_LIMIT, _LIMIT, "pixel")),
    "FILTER_LIST": (_WAVELENGTH, Column("throughput", -1, 1e6)),
    "SKY_LINES": (_WAVELENGTH, Column("flux")),
    "OH_TRANSITIONS": (_WAVELENGTH, Column("E_u", 0, 1), Column("J_u", 0, 1e3), Column("A", 0, 1e10)),
    "SKY_CONTINUUM": (_WAVELENGTH, Column("flux", -_FLOAT32_MAX, _FLOAT32_MAX)),
    "SKY_SPECTRUM": (_WAVELENGTH, Column("data", -_FLOAT32_MAX, _FLOAT32_MAX)),
    "RAMAN_LINES": (_WAVELENGTH, Column("flux")),
    "AUTOCAL_FACTORS": (Column("corr", -1e3, 1e3),),
}

_BY_NAME = {(tag, keyword.name): keyword for tag, keywords in KEYWORDS.items() for keyword in keywords}
_NUMBER = re.compile(r"\d+")


def find(key: str, tag: str = PIXEL_TABLE) -> Keyword:
    """Return the declaration of a keyword.

    Raises
    ------
    KeyError
        It is not declared: nothing may be used that is not.
    """
    found = _BY_NAME.get((tag, key))
    return _BY_NAME[tag, _NUMBER.sub("*", key)] if found is None else found


def declared() -> Iterator[tuple[str, Keyword]]:
    """Go over all keywords with the tags of their frames."""
    return iter((tag, keyword) for tag, keywords in KEYWORDS.items() for keyword in keywords)


def checked_column(tag: str, name: str, values: np.ndarray, where: str, compat: Compat = OURS) -> np.ndarray:
    """Return the numbers of a column after a look at them.

    Parameters
    ----------
    tag, name : str
        Frame and column, as in `COLUMNS`.
    values : ndarray
        Numbers.
    where : str
        File and HDU, for messages.
    compat : Compat
        ``senseless_values_used``: nothing is refused, what is not finite is 0 where the reference takes it so.

    Raises
    ------
    InputError
        A number is not finite or out of the range.
    """
    column = next(column for column in COLUMNS[tag] if column.name == name)
    if compat.senseless_values_used:
        return np.where(np.isfinite(values), values, 0.0) if column.as_zero else values
    good = (values >= column.low) & (values <= column.high)
    if column.optional:
        good |= ~np.isfinite(values)
    bad = np.argwhere(~good)
    if bad.size:
        unit = f" {column.unit}" if column.unit else ""
        raise InputError(
            f"{where}: column {name}, row {bad[0][0] + 1}: found {values[tuple(bad[0])]:g}, expected numbers from "
            f"{column.low:g} to {column.high:g}{unit}"
        )
    return values

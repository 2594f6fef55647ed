# SPDX-License-Identifier: GPL-2.0-or-later
"""Keywords of ESO's science data products (format sdpCube)."""

import logging
import math
import re
from collections.abc import Iterable, Sequence

import numpy as np

from muse_core.cython_ext import collapse as collapse_kernels
from muse_core.errors import DataError
from muse_core.model import header as keywords
from muse_core.model import units
from muse_core.model.cards import card
from muse_core.model.compat import OURS, Compat
from muse_core.model.fits import Card, Header
from muse_core.model.grid import OutputGrid
from muse_core.model.record import record
from muse_core.model.statistics import FWHM_PER_SIGMA
from muse_core.steps.collapse import Collapse
from muse_core.steps.detect import median

FLUX = "10**(-20)erg.s**(-1).cm**(-2).angstrom**(-1)"
FLUX_VARIANCE = "10**(-40)erg**2.s**(-2).cm**(-4).angstrom**(-2)"
IMAGE_CATEGORY = "ANCILLARY.IMAGE"
CUBE_CATEGORY = "SCIENCE.CUBE.IFS"
#: Keywords of earlier products that `primary_cards` need not replace.
NUMBERED = re.compile(r"^(OBID|PROGID|PROV|ASSON)\d+$")

_FLUX_SCALE = 1e20
_UNNUMBERED_CARDS = 20
_NO_LIMIT = -99.0  # ABMAGLIM that could not be measured
_SPECTRAL_ERROR = 0.026  # Angstrom
_FIELD_SPAXELS = {False: (60 / 0.2) ** 2, True: (7.43 / 0.025) ** 2}  # key: narrow-field mode
_MAD_TO_SIGMA = 1.4826
_VARIANCE_BIN = 0.04
_VARIANCE_BINS = 626

# Resolving power against wavelength in Angstrom
_RESOLUTION_NFM = ((4800.0, 9300.0), (1740.0, 3450.0))
_RESOLUTION_WFM = (
    (
        *(4650.0000, 4810.3448, 4970.6897, 5131.0345, 5291.3793, 5451.7242, 5612.0690, 5772.4138, 5932.7587, 6093.1035),
        *(6253.4483, 6413.7932, 6574.1380, 6734.4828, 6894.8277, 7055.1725, 7215.5173, 7375.8622, 7536.2070, 7696.5518),
        *(7856.8967, 8017.2415, 8177.5863, 8337.9312, 8498.2760, 8658.6208, 8818.9657, 8979.3105, 9139.6553, 9300.0002),
    ),
    (
        *(1674.77, 1769.45, 1864.50, 1959.52, 2054.19, 2148.34, 2241.81, 2334.46, 2426.18, 2516.84),
        *(2606.28, 2694.36, 2780.89, 2865.70, 2948.59, 3029.32, 3107.70, 3183.46, 3256.36, 3326.12),
        *(3392.45, 3455.01, 3513.44, 3567.37, 3616.34, 3659.87, 3697.42, 3728.38, 3752.11, 3767.93),
    ),
)

# Image quality in arcsec
_DEFAULT_QUALITY_WFM, _DEFAULT_QUALITY_ERROR_WFM = 0.853823, 0.495547
_DEFAULT_QUALITY_NFM, _DEFAULT_QUALITY_ERROR_NFM = 0.15, 0.05
_STREHL_FIT = (-0.71985411, 0.81622807, -0.01941496)
_STREHL_RANGE = (1.0, 80.0)  # percent
_STREHL_FIT_ERROR = 0.01
_SEEING_ERROR = 0.3
_QUALITY_WAVELENGTH = 7000.0  # Angstrom
_OUTER_SCALE = 23.0  # m
_TELESCOPE = 300 * 8.1175365721399437 / 23.0

#: Keyword, value, comment.
_Row = tuple[str, str | int | float, str]
_LOG = logging.getLogger(__name__)


@record(kw_only=True)
class SdpExposure:
    """What the keywords need to know of an exposure; from the header of its (first) pixel table."""

    programme: str
    observation: int
    mjd_obs: float
    exptime: float  # s
    airmass: tuple[float, float]
    seeing: tuple[float, float]  # ESO TEL AMBI FWHM START and END in arcsec, 0 if missing
    linear_fwhm: float | None  # ESO TEL IA FWHMLIN in arcsec
    sources: tuple[str, ...]
    flux_calibrated: bool

    @classmethod
    def from_header(cls, header: Header, where: str, compat: Compat = OURS) -> "SdpExposure":
        """Read the header of a pixel table; `where` names it in messages.

        Raises
        ------
        InputError, DataError
            If a keyword is missing that the products need.
        """
        missing = [key for key in ("ESO OBS PROG ID", "ESO OBS ID", "ESO INS MODE") if not keywords.has(header, key)]
        sources = _sources(header)
        if missing or not sources:
            needed = missing or ["ARCFILE or ORIGFILE"]
            raise DataError(f"{where}: found no keyword {', '.join(needed)}, which format sdpCube needs")
        number = {
            key: keywords.require_float(header, key, where, compat)
            for key in ("MJD-OBS", "EXPTIME", "ESO TEL AIRM START", "ESO TEL AIRM END")
        }
        start, end = (keywords.get_float(header, f"ESO TEL AMBI FWHM {when}", 0.0, compat) for when in ("START", "END"))
        return cls(
            programme=keywords.get_string(header, "ESO OBS PROG ID", "", compat=compat),
            observation=keywords.get_int(header, "ESO OBS ID", 0),
            mjd_obs=number["MJD-OBS"],
            exptime=number["EXPTIME"],
            airmass=(number["ESO TEL AIRM START"], number["ESO TEL AIRM END"]),
            seeing=(start, end),
            linear_fwhm=keywords.get_float(header, "ESO TEL IA FWHMLIN", None, compat),
            sources=sources,
            flux_calibrated=keywords.get_bool(header, keywords.PIXTABLE + "FLUXCAL", compat=compat),
        )


def _sources(header: Header) -> tuple[str, ...]:
    """Names of the raw data of a pixel table."""
    for key in ("ESO PRO ANCESTOR", "ARCFILE", "ORIGFILE"):
        if name := keywords.get_string(header, key):
            return (name,)
    found, k = [], 1
    while (name := keywords.get_string(header, f"ESO PRO REC1 RAW{k} NAME")) is not None:
        found.append(name)
        k += 1
    return tuple(found)


class CubeStatistics:
    """Statistics of a cube of which the planes come one after the other.

    Parameters
    ----------
    grid : OutputGrid
        Grid of the cube.
    n_threads : int
        Number of threads.
    """

    def __init__(self, grid: OutputGrid, n_threads: int = 1):
        self._white = Collapse(grid, [None], n_threads)
        self._counts = np.zeros(_VARIANCE_BINS, np.int64)

    def add_planes(self, first: int, data: np.ndarray, stat: np.ndarray, dq: np.ndarray) -> None:
        """Add the planes from number `first` on; data, stat (float32) and dq (int32) of shape (n, ny, nx)."""
        self._white.add_planes(first, data, dq)
        collapse_kernels.add_histogram(stat, dq, _VARIANCE_BIN, self._counts)

    def white_image(self) -> np.ndarray:
        """Return the mean over all planes: float32, shape (ny, nx), NaN where there are no data."""
        return self._white.images()[0]

    def pixel_noise(self) -> float:
        """Return the square root of the most frequent variance, in the unit of the data."""
        return math.sqrt((int(np.argmax(self._counts)) + 0.5) * _VARIANCE_BIN)


def spectral_resolution(lbda: float, nfm: bool) -> float:
    """Resolving power at a wavelength in Angstrom."""
    return float(np.interp(lbda, *(_RESOLUTION_NFM if nfm else _RESOLUTION_WFM)))


def sky_resolution(
    exposures: Sequence[SdpExposure], header: Header, compat: Compat = OURS
) -> tuple[tuple[float, bool], tuple[float, bool]]:
    """Image quality.

    Parameters
    ----------
    exposures : sequence of SdpExposure
        All exposures.
    header : Header
        Header of the cube: mode, and Strehl ratio.
    compat : Compat
        For the reading of numbers.

    Returns
    -------
    (float, bool), (float, bool)
        FWHM in arcsec and whether it was measured (or is a default), and its error likewise.
    """
    if keywords.is_nfm(header):
        strehl = keywords.get_float(header, "ESO DRS MUSE RTC STREHL", None, compat)
        if strehl is None or not keywords.has(header, "ESO DRS MUSE RTC STREHERR"):
            return (_DEFAULT_QUALITY_NFM, False), (_DEFAULT_QUALITY_ERROR_NFM, False)
        strehl = min(max(strehl, _STREHL_RANGE[0]), _STREHL_RANGE[1])
        offset, scale, power = _STREHL_FIT
        slope = scale * power * strehl ** (power - 1)
        return (offset + scale * strehl**power, True), (math.hypot(slope, _STREHL_FIT_ERROR), True)
    total = sum(exposure.exptime for exposure in exposures)
    quality = sum(exposure.exptime * _image_quality(exposure) for exposure in exposures) / total
    seeing = [value if exposure.linear_fwhm else 0.0 for exposure in exposures for value in exposure.seeing]
    if min(seeing) > 0:
        return (quality, True), (math.hypot(0.5 * (max(seeing) - min(seeing)), _SEEING_ERROR), True)
    _LOG.warning("seeing (ESO TEL AMBI FWHM) not known for all exposures, using the default error of SKY_RES")
    return (quality, True), (_DEFAULT_QUALITY_ERROR_WFM, False)


def _image_quality(exposure: SdpExposure) -> float:
    """FWHM in arcsec at 7000 Angstrom, from the seeing that the telescope's image analysis measured."""
    if exposure.linear_fwhm is None:
        return _DEFAULT_QUALITY_WFM
    s, z, relative = exposure.linear_fwhm, sum(exposure.airmass) / 2, _QUALITY_WAVELENGTH / 5000.0
    r0 = 0.976 * 5e-7 / s * (180 / math.pi * 3600) * relative**1.2 * z**-0.6
    factor = 1 / (1 + _TELESCOPE) - 1
    quality: float = s * relative**-0.2 * z**0.6 * math.sqrt(1 + factor * 2.183 * (r0 / _OUTER_SCALE) ** 0.356)
    return quality


def magnitude_limit(
    image: np.ndarray, fwhm: float, spaxel: tuple[float, float], lbda_min: float, lbda_max: float
) -> float:
    """5-sigma limit for point sources.

    Parameters
    ----------
    image : ndarray of float32, shape (ny, nx)
        Mean of all planes in 1e-20 erg/s/cm2/Angstrom, NaN where there are no data.
    fwhm : float
        Image quality in arcsec.
    spaxel : tuple of float
        Spaxel size in arcsec.
    lbda_min, lbda_max : float
        Range of the cube in Angstrom.

    Returns
    -------
    float
        AB magnitude; -99 where it cannot be measured.
    """
    size = fwhm / max(abs(value) for value in spaxel)
    border = int(size)
    if border < 1 or 2 * border > min(image.shape):
        _LOG.warning("ABMAGLIM: image of %d x %d spaxels and a FWHM of %.2f spaxels", *image.shape[::-1], size)
        return _NO_LIMIT
    values = _smoothed(image, border, size / math.sqrt(4 * math.log(4)))
    values = values[np.isfinite(values)]
    mode = _mode(values) if values.size else math.nan
    rest = values[values <= mode]
    if not rest.size:
        return _NO_LIMIT
    noise = _MAD_TO_SIGMA * median(np.abs(rest - median(rest))) / math.sqrt(1 - 2 / math.pi)
    if not noise > 0:
        return _NO_LIMIT
    zero_point = -2.5 * math.log10(3.34e4 * lbda_min * lbda_max / 3631) - 2.5 * math.log10(1 / _FLUX_SCALE)
    return -2.5 * math.log10(5 * noise * 4 * math.pi * (size / FWHM_PER_SIGMA) ** 2) + zero_point


def _smoothed(image: np.ndarray, border: int, sigma: float) -> np.ndarray:
    """Convolve with a Gaussian, over pixels with data only; float64, NaN where none is near."""
    from scipy import ndimage  # here, because its import takes as long as all others, and few cubes need it

    offset = np.arange(-border, border + 1)
    kernel = np.exp(-(offset[:, None] ** 2 + offset**2) / (2 * sigma**2))
    padded = np.pad(image.astype(np.float64), border, mode="symmetric")
    good = np.isfinite(padded)
    inside = (slice(border, -border),) * 2
    total = ndimage.correlate(np.where(good, padded, 0.0), kernel, mode="constant")[inside]
    weight = ndimage.correlate(good.astype(np.float64), kernel, mode="constant")[inside]
    some = ndimage.maximum_filter(good, 2 * border + 1)[inside]
    smoothed: np.ndarray = np.divide(total, weight, out=np.full(total.shape, np.nan), where=some)
    return smoothed


def _mode(values: np.ndarray) -> float:
    """Most frequent value, from a histogram with bins that fit the scatter."""
    width = 2 * 3.49 * _MAD_TO_SIGMA * median(np.abs(values - median(values))) / len(values) ** (1 / 3)
    if not width > 0:
        return math.nan
    lowest = values.min() - width / 2
    n_bins = math.floor((values.max() + width / 2 - lowest) / width) + 1
    counts = np.bincount(((values - lowest) / width).astype(np.int64), minlength=n_bins)
    peak = int(np.argmax(counts))
    before = counts[peak - 1] if peak > 0 else 0
    after = counts[peak + 1] if peak + 1 < n_bins else 0
    rise, fall = float(counts[peak] - before), float(counts[peak] - after)
    phase = rise / (rise + fall) if rise + fall else 0.0
    base = lowest + width * np.flatnonzero(counts == counts[peak]).mean()
    return float(base + width * (phase or 0.5))


def primary_cards(
    exposures: Sequence[SdpExposure],
    header: Header,
    grid: OutputGrid,
    statistics: CubeStatistics,
    *,
    images: Sequence[str],
    largest_image: int,
    data_unit: str,
    has_response: bool,
    software: str,
    compat: Compat = OURS,
) -> list[Card]:
    """Make the keywords of the primary header.

    Parameters
    ----------
    exposures : sequence of SdpExposure
        All exposures.
    header : Header
        Header of the cube.
    grid : OutputGrid
        Its grid.
    statistics : CubeStatistics
        After all planes.
    images : sequence of str
        File names of the field-of-view images.
    largest_image : int
        Largest number of pixels with data in one of them.
    data_unit : str
        Unit of the pixel table's data.
    has_response : bool
        Whether a response curve was given.
    software : str
        PROCSOFT.
    compat : Compat
        For the reading of numbers.
    """
    nfm = keywords.is_nfm(header)
    lbda_min, lbda_max = (float(grid.wavelength(plane)) for plane in (0, grid.nz - 1))
    total = sum(exposure.exptime for exposure in exposures)
    quality, error = sky_resolution(exposures, header, compat)
    calibrated = has_response or all(exposure.flux_calibrated for exposure in exposures)
    noise = statistics.pixel_noise()
    if data_unit == units.FLUX:
        noise /= _FLUX_SCALE
    else:
        _LOG.warning("PIXNOISE: data in %r, expected %r; not converted", data_unit, units.FLUX)
    scale_x, scale_y = grid.voxel_scales()
    limit = magnitude_limit(statistics.white_image(), quality[0], (scale_x * 3600, scale_y * 3600), lbda_min, lbda_max)
    ra, dec = grid.position(0.5 * grid.nx, 0.5 * grid.ny)
    end = max(exposure.mjd_obs + exposure.exptime / 86400 for exposure in exposures)
    origin = {True: "measured", False: "default"}
    programmes = sorted({exposure.programme for exposure in exposures})
    several = len(programmes) > 1
    rows: list[_Row] = [
        ("RA", ra % 360.0 if grid.celestial else ra, "[deg] Image center (J2000)"),
        ("DEC", dec, "[deg] Image center (J2000)"),
        ("EXPTIME", _exposure_time(exposures, total, nfm, largest_image), "[s] Total integration time per pixel"),
        ("TEXPTIME", total, "[s] Total integration time of all exposures"),
        ("NCOMBINE", len(exposures), "No. of combined raw science data files"),
        ("MJD-OBS", keywords.require_float(header, "MJD-OBS", "cube"), "[d] Start of observations (days)"),
        ("MJD-END", end, "[d] End of observations (days)"),
        *_numbered("OBID", sorted({exposure.observation for exposure in exposures}), "Observation block ID"),
        ("PROG_ID", "MULTI" if several else programmes[0], "ESO programme identification"),
        *(_numbered("PROGID", programmes, "ESO programme identification") if several else ()),
        *_numbered("PROV", [name for exposure in exposures for name in exposure.sources], ""),
        *_numbered("ASSON", images, ""),
        ("PRODCATG", CUBE_CATEGORY, "Data product category"),
        ("PROCSOFT", software, "ESO pipeline version"),
        ("OBSTECH", "IFU", "Technique for observation"),
        (
            "FLUXCAL",
            "ABSOLUTE" if calibrated else "UNCALIBRATED",
            "Type of flux calibration (ABSOLUTE or UNCALIBRATED)",
        ),
        ("WAVELMIN", lbda_min / 10, "[nm] Minimum wavelength"),
        ("WAVELMAX", lbda_max / 10, "[nm] Maximum wavelength"),
        (
            "SPEC_RES",
            spectral_resolution((lbda_min + lbda_max) / 2, nfm),
            "Spectral resolving power at central wavelength",
        ),
        ("SKY_RES", quality[0], f"[arcsec] FWHM effective spatial resolution ({origin[quality[1]]})"),
        ("SKY_RERR", error[0], f"[arcsec] Error of SKY_RES ({origin[error[1]]})"),
        ("PIXNOISE", noise, "[erg.s**(-1).cm**(-2).angstrom**(-1)] pixel-to-pixel noise"),
        ("ABMAGLIM", limit, "5-sigma magnitude limit for point sources"),
        ("REFERENC", "", "Reference publication"),
    ]
    return [card(*row) for row in rows]


def largest_number_of_cards(exposures: Sequence[SdpExposure], n_images: int) -> int:
    """Return how many cards `primary_cards` may make, to keep room in a header."""
    return _UNNUMBERED_CARDS + n_images + sum(2 + len(exposure.sources) for exposure in exposures)


def _numbered(stem: str, values: Iterable[str | int], comment: str) -> list[_Row]:
    return [(f"{stem}{k}", value, comment) for k, value in enumerate(values, start=1)]


def _exposure_time(exposures: Sequence[SdpExposure], total: float, nfm: bool, largest_image: int) -> float:
    """SdpExposure time per pixel: that of all fields spread over the pixels with data."""
    if len(exposures) == 1:
        return total
    return total * _FIELD_SPAXELS[nfm] / largest_image if largest_image else 0.0


def extension_wcs(cards: Iterable[Card]) -> list[Card]:
    """Return the world coordinates of DATA and STAT as science data products want them."""
    found = {item.keyword for item in cards}
    result = []
    for item in cards:
        if item.keyword == "CUNIT3":
            result.append(card("CUNIT3", "angstrom", item.comment))
            continue
        result.append(item)
        if item.keyword == "CRVAL3":
            result.append(card("CRDER3", _SPECTRAL_ERROR, "[angstrom] Random error in spectral coordinate"))
    missing = (key for key in ("CSYER1", "CSYER2") if key not in found)
    return result + [card(key, -1.0, "[deg] Systematic error in coordinate") for key in missing]

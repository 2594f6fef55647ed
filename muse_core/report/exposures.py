# SPDX-License-Identifier: GPL-2.0-or-later
"""The exposures of a run: what their headers say, and their images against each other."""

import dataclasses

import numpy as np
from astropy.wcs import WCS

from muse_core.errors import MuseError
from muse_core.model.fits import Header
from muse_core.model.header import PIXTABLE
from muse_core.model.record import record
from muse_core.model.wcs import AstrometricSolution
from muse_core.report.images import Apertures, Sources, celestial, find_sources, pixel_arcsec, read_image
from muse_core.report.products import ProductFile, Run
from muse_core.steps.align.match import MatchOptions, align
from muse_core.steps.astrometry import Projection
from muse_core.steps.velocity import CARD_VELOCITY, FRAMES, VelocityCorrection

#: Tags that are made of a single exposure each.
_OF_EXPOSURE = (
    "SKY_IMAGE", "SKY_MASK", "SKY_SPECTRUM", "SKY_LINES", "SKY_CONTINUUM", "PIXTABLE_REDUCED", "PIXTABLE_POSITIONED",
    "AUTOCAL_FACTORS", "AUTOCAL_MASK", "RAMAN_IMAGES", "SOURCE_LIST",
)  # fmt: skip
#: What is left of the refraction, in arcsec.
_DAR_CHECK = PIXTABLE + "DAR CHECK"
#: Search radii in arcsec for what is left between exposures that should be aligned.
_RADII = (5.0, 2.0, 0.8)
#: Sources of an exposure that are matched, the brightest.
_MATCHED = 40
#: Exposures are compared by the light of common sources, which lie that near to each other, in arcsec.
_SAME_ARCSEC = 0.6
_APERTURE_ARCSEC = 1.5
#: Common sources whose fluxes are compared, the brightest.
_BRIGHT = 8


@record(frozen=False, eq=False)
class Exposure:
    """One exposure.

    Attributes
    ----------
    date_obs : str
        DATE-OBS.
    header : Header
        Of one of its products.
    numbers : dict
        Name to number; all that is known, for the table and the JSON.
    image : ndarray of float64, optional
        White-light image, NaN where there is nothing.
    wcs : WCS, optional
        Its coordinates on the sky, with the offset of the exposure applied.
    sources : Sources, optional
        Those of the image.
    """

    date_obs: str
    header: Header
    numbers: dict = dataclasses.field(default_factory=dict)
    image: np.ndarray | None = None
    wcs: WCS | None = None
    sources: Sources | None = None

    def is_on_sky(self) -> bool:
        """Can its sources be compared with those of others?"""
        return self.wcs is not None and self.sources is not None and len(self.sources) > 0

    def celestial(self) -> np.ndarray:
        """Return right ascension and declination of its sources in degrees, shape (n, 2)."""
        return np.column_stack(self.wcs.wcs_pix2world(self.sources.x[:_MATCHED], self.sources.y[:_MATCHED], 0))


def find_exposures(run: Run) -> list[Exposure]:
    """Return the exposures of a run by DATE-OBS, with what their headers and images tell."""
    products: dict[str, list[ProductFile]] = {}
    for product in run.of(*_OF_EXPOSURE):
        products.setdefault(str(product.header.get("DATE-OBS", "")), []).append(product)
    if not products:
        for product in run.of("DATACUBE_FINAL", "IMAGE_FOV")[:1]:
            products[str(product.header.get("DATE-OBS", ""))] = [product]
    exposures = []
    for date, found in sorted(products.items()):
        exposure = Exposure(date, found[0].header)
        exposure.numbers = _header_numbers(exposure.header, run)
        exposure.numbers["velocity"] = _velocity(found)
        checked = [p.header[_DAR_CHECK] for p in found if isinstance(p.header.get(_DAR_CHECK), int | float)]
        if checked:
            exposure.numbers["refraction_left"] = float(checked[0])
        _add_image(exposure, found)
        exposures.append(exposure)
    _compare(exposures)
    return exposures


def _mean(header: Header, *keys: str) -> float | None:
    values = [header[key] for key in keys if isinstance(header.get(key), int | float)]
    return float(np.mean(values)) if values else None


def _header_numbers(header: Header, run: Run) -> dict:
    tel = "ESO TEL "
    numbers = {
        "exptime": _mean(header, "EXPTIME"),
        "airmass": _mean(header, tel + "AIRM START", tel + "AIRM END"),
        "seeing_monitor": _mean(header, tel + "AMBI FWHM START", tel + "AMBI FWHM END"),
        "seeing_guider": _mean(header, tel + "IA FWHM"),
        "temperature": _mean(header, tel + "AMBI TEMP"),
        "pressure": _mean(header, tel + "AMBI PRES START", tel + "AMBI PRES END"),
        "humidity": _mean(header, tel + "AMBI RHUM"),
        "position_angle": _mean(header, "ESO INS DROT POSANG"),
    }
    cube = run.first("DATACUBE_FINAL", "PIXTABLE_COMBINED", "IMAGE_FOV")
    offset = applied_offset(cube.header if cube else header, str(header.get("DATE-OBS", "")))
    numbers |= offset
    return numbers


def _velocity(products: list[ProductFile]) -> float | None:
    """Return the velocity in km/s that was corrected: the products tell it, or in which frame their wavelengths are."""
    frames = {specsys: frame for frame, (specsys, comment) in FRAMES.items() if comment is not None}
    for product in products:
        frame, told = frames.get(product.header.get("SPECSYS")), product.header.get(CARD_VELOCITY)
        if frame is None:
            continue
        if isinstance(told, int | float):
            return float(told)
        try:
            correction = VelocityCorrection.from_header(product.header, frame)
        except MuseError:
            return None
        return None if correction is None else round(correction.velocity_kms, 4)
    return None


def applied_offset(header: Header, date_obs: str) -> dict:
    """Return offset in arcsec and flux scale that a header says were applied to an exposure."""
    for key in header:
        if key.startswith("ESO DRS MUSE OFFSET") and key.endswith("DATE-OBS") and header[key][:23] == date_obs[:23]:
            prefix = key.removesuffix("DATE-OBS")
            number = prefix.removeprefix("ESO DRS MUSE OFFSET").strip()
            ra, dec = header.get(prefix + "DRA"), header.get(prefix + "DDEC")
            scale = header.get(f"ESO DRS MUSE FLUX SCALE{number}")
            return {
                "offset_ra": None if ra is None else ra * 3600,
                "offset_dec": None if dec is None else dec * 3600,
                "flux_scale": scale,
            }
    return {"offset_ra": None, "offset_dec": None, "flux_scale": None}


def _add_image(exposure: Exposure, products: list[ProductFile]) -> None:
    """Read the image of an exposure, put it on the sky, look for its sources."""
    image = next((p for tag in ("IMAGE_FOV", "SKY_IMAGE") for p in products if p.tag == tag), None)
    if image is None:
        return
    exposure.image, header = read_image(image.path)
    exposure.wcs = celestial(header)
    if exposure.wcs is None:
        exposure.wcs = _sky_image_wcs(exposure, header, products)
    exposure.sources = find_sources(exposure.image)
    n = len(exposure.sources)
    exposure.numbers["n_sources"] = n
    if exposure.wcs is not None and n:
        exposure.numbers["fwhm"] = stellar_fwhm(exposure.sources) * pixel_arcsec(exposure.wcs)
    exposure.numbers["sky_level"] = float(np.nanmedian(exposure.image[~exposure.sources.mask]))


def stellar_fwhm(sources: Sources) -> float:
    """Return the width of stars in pixels: the lower quartile of all sources, for galaxies are wider."""
    widths = sources.fwhm[np.isfinite(sources.fwhm)]
    return float(np.quantile(widths, 0.25)) if len(widths) else np.nan


def _sky_image_wcs(exposure: Exposure, image: Header, products: list[ProductFile]) -> WCS | None:
    """Return the coordinates on the sky of an image in the pixels of the pixel table."""
    header = exposure.header
    if image.get("CTYPE1") != "PIXEL" or not {"RA", "DEC"} <= set(header):
        return None
    projected = next((p.header for p in products if p.header.get("CTYPE1") == "RA---TAN" and "CD1_1" in p.header), None)
    if projected is not None:
        crpix = [projected["CRPIX1"], projected["CRPIX2"]]
        cd = [[projected[f"CD{i}_{j}"] for j in (1, 2)] for i in (1, 2)]
    else:  # without astrometric solution: the nominal one, about the middle of what there is
        rows, columns = np.nonzero(np.isfinite(exposure.image))
        if not len(rows):
            return None
        low = [image["CRVAL1"] + columns.min(), image["CRVAL2"] + rows.min()]
        high = [image["CRVAL1"] + columns.max(), image["CRVAL2"] + rows.max()]
        try:
            found = Projection.from_header(
                header, AstrometricSolution.default(header), (low[0], high[0], low[1], high[1])
            )
        except MuseError:
            return None
        crpix, cd = found.crpix, found.cd
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.cunit = ["deg", "deg"]
    # from the pixels of the table to those of the image
    wcs.wcs.crpix = [crpix[i] - image[f"CRVAL{i + 1}"] + image.get(f"CRPIX{i + 1}", 1.0) for i in (0, 1)]
    wcs.wcs.cd = np.asarray(cd, float)
    numbers = exposure.numbers
    ra, dec = (float(header[key]) for key in ("RA", "DEC"))
    wcs.wcs.crval = [ra - (numbers["offset_ra"] or 0.0) / 3600, dec - (numbers["offset_dec"] or 0.0) / 3600]
    wcs.wcs.set()
    return wcs


def _compare(exposures: list[Exposure]) -> None:
    """Measure how far each exposure is from the others, and how bright, by common sources."""
    usable = [exposure for exposure in exposures if exposure.is_on_sky()]
    if len(usable) < 2:
        return
    positions = [exposure.celestial() for exposure in usable]
    alignment = align(positions, MatchOptions(radii=_RADII))
    cosine = np.cos(np.radians(np.median(np.concatenate(positions)[:, 1])))
    offsets = alignment.offsets * 3600 * (cosine, 1.0)
    matched = alignment.matches.any(axis=1)
    if not matched.any():
        return
    offsets -= np.median(offsets[matched], axis=0)
    places = [(p - o / 3600 / (cosine, 1.0)) for p, o in zip(positions, offsets, strict=True)]
    brightness = _brightness(usable, places, cosine)
    for exposure, offset, has, bright in zip(usable, offsets, matched, brightness, strict=True):
        if has:
            exposure.numbers |= {
                "misaligned_east": float(offset[0]),
                "misaligned_north": float(offset[1]),
                "misaligned": float(np.hypot(*offset)),
            }
        exposure.numbers["transmission"] = None if np.isnan(bright) else float(bright)


def _brightness(exposures: list[Exposure], places: list[np.ndarray], cosine: float) -> np.ndarray:
    """Return the light of the sources of each exposure, after its flux scale, relative to the median of all."""
    fluxes = [_aperture_fluxes(exposure) for exposure in exposures]
    n = len(exposures)
    logs = np.full((n, n), np.nan)
    for i in range(n):
        logs[i, i] = 0.0
        for j in range(i):
            apart = (places[i][:, None] - places[j]) * 3600 * (cosine, 1.0)
            distance = np.hypot(apart[..., 0], apart[..., 1])
            a, b = np.nonzero(distance < _SAME_ARCSEC)
            a, b = a[:_BRIGHT], b[:_BRIGHT]  # sources are sorted
            ratios = fluxes[i][a] / fluxes[j][b]
            ratios = np.log(ratios[np.isfinite(ratios) & (ratios > 0)])
            if len(ratios):
                logs[i, j], logs[j, i] = np.median(ratios), -np.median(ratios)
    known = np.isfinite(logs).sum(axis=1) > 1
    level = np.array([np.nanmedian(row) for row in logs])
    level -= np.median(level[known]) if known.any() else 0.0
    return np.where(known, np.exp(level), np.nan)


def _aperture_fluxes(exposure: Exposure) -> np.ndarray:
    sources, step = exposure.sources, pixel_arcsec(exposure.wcs)
    places = (place[:_MATCHED] for place in (sources.x, sources.y))
    apertures = Apertures.of(exposure.image.shape, *places, _APERTURE_ARCSEC / step)
    scale = exposure.numbers.get("flux_scale") or 1.0
    return scale * apertures.sums(exposure.image - exposure.numbers["sky_level"])

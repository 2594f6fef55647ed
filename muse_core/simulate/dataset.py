# SPDX-License-Identifier: GPL-2.0-or-later
"""Complete data sets: exposures, every calibration, and set-of-frames files for the ways to reduce them."""

import dataclasses
import datetime
import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from muse_core.errors import ParameterError
from muse_core.simulate import calibrations
from muse_core.simulate.exposure import TAGS, ExposureSpec, simulate_exposure
from muse_core.simulate.source import Source, default_sources
from muse_core.simulate.truth import Truth

_FIELD_ARCSEC = 60.0  # size of the wide field
_TO_SKY_ARCSEC = 180.0  # from the target to empty sky
_MASK_LIMIT = 4.0  # 1e-20 erg/s/cm2/Angstrom per spaxel of the wide field: fainter is sky


def _sky_masks(directory: Path, spec: ExposureSpec) -> dict[str, Path]:
    """Write the true sky mask of an exposure in the coordinates of the pixel table and in those of the sky."""
    truth, pointing, mode = Truth(spec), spec.pointing(), spec.instrument_mode
    limit = _MASK_LIMIT * mode.area_ratio
    x0, y0 = pointing.centre
    half = 165
    grid_y, grid_x = np.mgrid[-half : half + 1, -half : half + 1]
    sky = truth.image_in_pixels(x0 + grid_x, y0 + grid_y) < limit
    wcs = calibrations.linear_wcs(x0 - half, y0 - half)
    linear = calibrations.write_sky_mask(directory / "SKY_MASK_pix.fits", sky, wcs)
    step = mode.spaxel_arcsec[0]
    ra, dec = spec.header_position
    sky_ra = ra - grid_x * step / 3600 / np.cos(np.radians(dec))
    sky = truth.image(sky_ra, dec + grid_y * step / 3600) < limit
    wcs = calibrations.celestial_wcs(ra, dec, sky.shape, step)
    return {"pix": linear, "deg": calibrations.write_sky_mask(directory / "SKY_MASK_deg.fits", sky, wcs)}


def _offset_entries(exposures: Sequence[ExposureSpec]) -> list[tuple[str, float, float, float]]:
    """Offsets that take out the pointing errors, scales that take out the transparencies."""
    entries = []
    for spec in exposures:
        (ra, dec), (true_ra, true_dec) = spec.header_position, spec.true_position
        entries.append((spec.date_obs, ra - true_ra, dec - true_dec, 1 / spec.transparency))
    return entries


#: Tags, beside pixel tables, that the recipes take which do a part of muse_scipost.
_PARTS = {
    "correct_dar": (),
    "calibrate_flux": ("EXTINCT_TABLE", "STD_RESPONSE"),
    "raman_cleaning": ("RAMAN_LINES", "LSF_PROFILE", "SKY_MASK"),
    "correct_rv": (),
    "apply_astrometry": ("ASTROMETRY_WCS",),
    "combine_pixtables": ("OFFSET_LIST",),
    "make_cube": ("FILTER_LIST", "OUTPUT_WCS"),
}


def _write_sof(path: Path, frames: Sequence[tuple[Path, str]]) -> Path:
    path.write_text("".join(f"{file} {tag}\n" for file, tag in frames), encoding="ascii")
    return path


def _simulate(spec: ExposureSpec, directory: Path, number: int) -> list[tuple[Path, str]]:
    return [(path, spec.tag) for path in simulate_exposure(spec, directory, number)]


def _of_products(n: int, calibrated: Sequence[tuple[Path, str]]) -> dict[str, list[tuple[Path, str]]]:
    """Return the frames of the recipes that take products of `n` exposures, each in a folder of its own."""
    folders = [Path(f"exposure_{i}") for i in range(1, n + 1)]
    filters = [frame for frame in calibrated if frame[1] == "FILTER_LIST"]
    tables = [(folder / "PIXTABLE_REDUCED_0001.fits", "PIXTABLE_REDUCED") for folder in folders]
    return {
        "align": [(folder / "IMAGE_FOV_0001.fits", "IMAGE_FOV") for folder in folders],
        "combine": [*tables, (Path("OFFSET_LIST.fits"), "OFFSET_LIST"), *filters],
    }


def make_dataset(directory: Path, exposures: Sequence[ExposureSpec]) -> dict[str, Path]:
    """Make exposures and all calibrations for them.

    Parameters
    ----------
    directory : Path
        Made if it does not exist; calibrations go to its folder ``calib``.
    exposures : sequence of ExposureSpec
        All of one mode and with the same `flat_field`, at least one of them with the tag PIXTABLE_OBJECT.

    Returns
    -------
    dict of str to Path
        The set-of-frames files by name (absolute file names inside):

        ``none`` : for ``--skymethod=none`` or ``simple``
        ``model`` : sky lines and LSF; for the default, ``--skymethod=model``
        ``subtract`` : true sky lines and continuum of the first exposure; for ``--skymethod=subtract-model``
        ``mask_pix``, ``mask_deg`` : as ``model``, with a SKY_MASK
        ``autocal`` : as ``model``, with AUTOCAL_FACTORS for ``--autocalib=user``
        ``lsf_merged``, ``lsf_table`` : as ``model``, LSF in one file, LSF in the old format
        ``output_wcs`` : as ``none``, with an OUTPUT_WCS for the middle of the field
        ``offsets`` : as ``none``, with an OFFSET_LIST that takes out errors of pointing and transparency
        ``raman`` : as ``model``, with RAMAN_LINES (AO modes only)
        ``create_sky`` : for muse_create_sky, of the exposures with the tag PIXTABLE_SKY, if there are any
        ``exposure_1``, ``exposure_2``, ... : as ``model``, of one exposure each, if there are several
        ``align``, ``combine`` : for muse_exp_align and muse_exp_combine; of the products that muse_scipost left in
        folders ``exposure_1``, ``exposure_2``, ... of the current folder, and for the latter an OFFSET_LIST there
        ``correct_dar``, ``calibrate_flux``, ... : for the recipes muse_scipost_...

    Raises
    ------
    ParameterError
        If the exposures do not belong together.
    """
    for name in ("mode", "flat_field"):
        values = {getattr(spec, name) for spec in exposures}
        if len(values) != 1:
            raise ParameterError(f"exposures of one set: found {name} {values}, expected the same for all")
    if len({spec.date_obs for spec in exposures}) != len(exposures):
        raise ParameterError("exposures of one set: found equal date_obs, expected different ones")
    directory = Path(directory).resolve()
    calib = directory / "calib"
    calib.mkdir(parents=True, exist_ok=True)
    observed = {tag: [s for s in exposures if s.tag == tag] for tag in TAGS}
    exposures, skies = observed.values()
    if not exposures:
        raise ParameterError("exposures of one set: found none with tag PIXTABLE_OBJECT, expected at least one")
    spec = exposures[0]
    mode, flat = spec.instrument_mode, spec.flat_field
    ifus = sorted({i for s in (*exposures, *skies) for i in s.ifus})

    files = [_simulate(s, directory, i) for i, s in enumerate(exposures, 1)]
    sky_files = [_simulate(s, directory, i) for i, s in enumerate(skies, 1)]
    calibrated = [
        (calibrations.write_response(calib / "STD_RESPONSE.fits", mode, flat), "STD_RESPONSE"),
        (calibrations.write_extinction(calib / "EXTINCT_TABLE.fits"), "EXTINCT_TABLE"),
        (calibrations.write_astrometry(calib / "ASTROMETRY_WCS.fits", mode), "ASTROMETRY_WCS"),
        (calibrations.write_filter_list(calib / "FILTER_LIST.fits"), "FILTER_LIST"),
    ]
    telluric = calibrations.write_telluric(calib / "STD_TELLURIC.fits", mode, flat)
    if any(s.telluric for s in (*exposures, *skies)):
        calibrated.append((telluric, "STD_TELLURIC"))
    base = [*itertools.chain(*files), *calibrated]

    tag = "LSF_PROFILE"
    cubes = [(calibrations.write_lsf(calib / f"{tag}-{i:02d}.fits", i, mode), tag) for i in ifus]
    tables = [(calibrations.write_lsf_parameters(calib / f"{tag}_table-{i:02d}.fits", i, mode), tag) for i in ifus]
    merged = [(calibrations.write_merged_lsf(calib / f"{tag}_merged.fits", ifus, mode), tag)]
    lines = [(calibrations.write_sky_lines(calib / "SKY_LINES.fits"), "SKY_LINES")]
    model = [*base, *cubes, *lines]

    truth = Truth(spec)
    true_lines = truth.sky_lines
    true_lines["flux"] *= truth.level
    low, high = spec.lbda_range
    lbda = np.arange(low, high + 0.3, 0.3125)
    continuum = truth.level * truth.sky_continuum(lbda)
    subtract = [
        (calibrations.write_sky_lines(calib / "SKY_LINES_true.fits", true_lines, False), "SKY_LINES"),
        (calibrations.write_sky_continuum(calib / "SKY_CONTINUUM.fits", lbda, continuum), "SKY_CONTINUUM"),
    ]
    masks = _sky_masks(calib, spec)
    factors = calibrations.write_autocal_factors(calib / "AUTOCAL_FACTORS.fits", mode)
    offsets = calibrations.write_offset_list(calib / "OFFSET_LIST.fits", _offset_entries(exposures))
    step = mode.spaxel_arcsec[0]
    n_planes = int((high - low) / 1.25) + 1
    wcs = calibrations.write_output_wcs(
        calib / "OUTPUT_WCS.fits", *spec.header_position, (n_planes, 24, 60), (low, 1.25), step
    )
    sets = {
        "none": base,
        "model": model,
        "subtract": [*base, *cubes, *subtract],
        "mask_pix": [*model, (masks["pix"], "SKY_MASK")],
        "mask_deg": [*model, (masks["deg"], "SKY_MASK")],
        "autocal": [*model, (factors, "AUTOCAL_FACTORS")],
        "lsf_merged": [*base, *merged, *lines],
        "lsf_table": [*base, *tables, *lines],
        "output_wcs": [*base, (wcs, "OUTPUT_WCS")],
        "offsets": [*base, (offsets, "OFFSET_LIST")],
    }
    if mode.is_ao:
        raman = calibrations.write_raman_lines(calib / "RAMAN_LINES.fits")
        sets["raman"] = [*model, (raman, "RAMAN_LINES")]
    if skies:
        useful = [frame for frame in calibrated if frame[1] not in ("ASTROMETRY_WCS", "FILTER_LIST")]
        sets["create_sky"] = [*itertools.chain(*sky_files), *useful, *cubes, *lines]
    if len(exposures) > 1:
        sets |= {f"exposure_{i}": [*of_one, *calibrated, *cubes, *lines] for i, of_one in enumerate(files, 1)}
        sets |= _of_products(len(exposures), calibrated)
    everything = [*sets.get("raman", model), (masks["pix"], "SKY_MASK"), (offsets, "OFFSET_LIST"), (wcs, "OUTPUT_WCS")]
    for name, tags in _PARTS.items():
        if set(tags) <= {tag for _, tag in everything}:
            sets[name] = [frame for frame in everything if frame[1] in ("PIXTABLE_OBJECT", "STD_TELLURIC", *tags)]
    return {name: _write_sof(directory / f"{name}.sof", frames) for name, frames in sets.items()}


def _later(spec: ExposureSpec, n: int) -> str:
    """DATE-OBS of the `n`-th exposure after one."""
    date = datetime.datetime.fromisoformat(spec.date_obs) + n * datetime.timedelta(seconds=spec.exptime + 75)
    return date.isoformat(timespec="milliseconds")


def _wrong(spec: ExposureSpec, sign: int, error_arcsec: float, flux_error: float) -> ExposureSpec:
    """Return an exposure with errors of pointing (north-east if `sign` is 1, south-west if -1) and transparency."""
    error = sign * error_arcsec / math.sqrt(2)
    transparency = spec.transparency * (1 + sign * flux_error)
    return dataclasses.replace(spec, pointing_error_arcsec=(error, error), transparency=transparency)


def dithered(
    spec: ExposureSpec, n: int, step_arcsec: float = 1.0, error_arcsec: float = 0.0, flux_error: float = 0.0
) -> list[ExposureSpec]:
    """Return `n` exposures like `spec`, one after the other: dithered on a circle, rotated by 90 degrees in turn.

    Parameters
    ----------
    spec : ExposureSpec
        The first exposure, but for its dither.
    n : int
        Number of exposures; a single one is not dithered.
    step_arcsec : float
        Radius of the circle.
    error_arcsec : float
        Pointing error of each but the first exposure, in turn to the north-east and south-west.
    flux_error : float
        Relative error of the transparency of each but the first exposure, in turn fainter and brighter.
    """
    made = []
    east, north = spec.dither_arcsec
    for i in range(n):
        angle = 2 * math.pi * i / n
        changes = {"seed": spec.seed + i, "date_obs": _later(spec, i)}
        if n > 1:
            changes["dither_arcsec"] = (east + step_arcsec * math.cos(angle), north + step_arcsec * math.sin(angle))
            changes["posang"] = (spec.posang + 90.0 * i) % 360
        exposure = dataclasses.replace(spec, **changes)
        made.append(_wrong(exposure, (-1) ** i, error_arcsec, flux_error) if i else exposure)
    return made


def mosaic(
    spec: ExposureSpec, n_fields: int, n: int, overlap_arcsec: float | None = None, **errors: float
) -> list[ExposureSpec]:
    """Return `n` exposures of each of two fields beside each other, or of four in a square, around the target.

    Parameters
    ----------
    spec : ExposureSpec
        The first exposure, but for its pointing and sources: each field has those of the mode, and there are stars
        where fields overlap.
    n_fields : int
        2 or 4.
    n : int
        Number of exposures of each field.
    overlap_arcsec : float, optional
        By how much neighbours overlap; by default a sixth of the field.
    **errors : float
        `error_arcsec` and `flux_error` as for `dithered`.

    Raises
    ------
    ParameterError
        Another number of fields.
    """
    size = _FIELD_ARCSEC * spec.instrument_mode.spaxel_arcsec[1] / 0.2
    half = (size - (size / 6 if overlap_arcsec is None else overlap_arcsec)) / 2
    places = {
        2: [(-half, 0.0), (half, 0.0)],
        4: [(east, north) for north in (-half, half) for east in (-half, half)],
    }.get(n_fields)
    if places is None:
        raise ParameterError(f"fields of a mosaic: found {n_fields}, expected 2 or 4")
    sources = []
    for number, (east, north) in enumerate(places, 1):
        for source in default_sources(spec.instrument_mode, number):
            sources.append(_moved(source, f"{source.name}, field {number}", east, north))
    for number, (east, north) in enumerate(_seams(half, size, n_fields), 1):
        flux = 12000.0 - 900 * number
        sources.append(Source(name=f"seam {number}", east_arcsec=east, north_arcsec=north, flux=flux))
    exposures = []
    for number, place in enumerate(places):
        changes = {"dither_arcsec": place, "seed": spec.seed + number * n, "date_obs": _later(spec, number * n)}
        first = dataclasses.replace(spec, sources=tuple(sources), **changes)
        exposures += dithered(first, n, **errors)
        if number:  # all errors are relative to the very first exposure
            error = {"error_arcsec": errors.get("error_arcsec", 0.0), "flux_error": errors.get("flux_error", 0.0)}
            exposures[-n] = _wrong(exposures[-n], (-1) ** number, **error)
    return exposures


def _moved(source: Source, name: str, east: float, north: float) -> Source:
    place = {"east_arcsec": source.east_arcsec + east, "north_arcsec": source.north_arcsec + north}
    return dataclasses.replace(source, name=name, **place)


def _seams(half: float, size: float, n_fields: int) -> list[tuple[float, float]]:
    """Places between neighbouring fields, three on each seam."""
    along = [size * part for part in (-0.3, 0.05, 0.35)]
    if n_fields == 2:
        return [(0.0, north) for north in along]
    both = [middle + place for middle in (-half, half) for place in along]
    return [*((0.0, north) for north in both), *((east, 0.0) for east in both)]


def sky_exposure(spec: ExposureSpec) -> ExposureSpec:
    """Return an exposure of sky without sources near the target of `spec`, taken after it."""
    return dataclasses.replace(
        spec,
        tag="PIXTABLE_SKY",
        sources=(),
        seed=spec.seed + 1000,
        date_obs=_later(spec, 1),
        dither_arcsec=(0.0, _TO_SKY_ARCSEC),
        pointing_error_arcsec=(0.0, 0.0),
        object_name="SIMULATED SKY",
    )

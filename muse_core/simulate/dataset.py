# SPDX-License-Identifier: GPL-2.0-or-later
"""Complete data sets: exposures, every calibration, and set-of-frames files for the ways to reduce them."""

import dataclasses
import datetime
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from muse_core.errors import ParameterError
from muse_core.simulate import calibrations
from muse_core.simulate.exposure import ExposureSpec, simulate_exposure
from muse_core.simulate.truth import Truth

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


def _write_sof(path: Path, frames: Sequence[tuple[Path, str]]) -> Path:
    path.write_text("".join(f"{file} {tag}\n" for file, tag in frames), encoding="ascii")
    return path


def make_dataset(directory: Path, exposures: Sequence[ExposureSpec]) -> dict[str, Path]:
    """Make exposures and all calibrations for them.

    Parameters
    ----------
    directory : Path
        Made if it does not exist; calibrations go to its folder ``calib``.
    exposures : sequence of ExposureSpec
        All of one mode and with the same `flat_field`.

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
    spec = exposures[0]
    mode, flat = spec.instrument_mode, spec.flat_field
    ifus = sorted({i for s in exposures for i in s.ifus})

    objects = []
    for i, exposure in enumerate(exposures, 1):
        paths = simulate_exposure(exposure, directory, f"PIXTABLE_OBJECT_{i:04d}")
        objects += [(path, "PIXTABLE_OBJECT") for path in paths]
    base = [
        *objects,
        (calibrations.write_response(calib / "STD_RESPONSE.fits", mode, flat), "STD_RESPONSE"),
        (calibrations.write_extinction(calib / "EXTINCT_TABLE.fits"), "EXTINCT_TABLE"),
        (calibrations.write_astrometry(calib / "ASTROMETRY_WCS.fits", mode), "ASTROMETRY_WCS"),
        (calibrations.write_filter_list(calib / "FILTER_LIST.fits"), "FILTER_LIST"),
    ]
    telluric = calibrations.write_telluric(calib / "STD_TELLURIC.fits", mode, flat)
    if any(s.telluric for s in exposures):
        base.append((telluric, "STD_TELLURIC"))

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
    return {name: _write_sof(directory / f"{name}.sof", frames) for name, frames in sets.items()}


def dithered(spec: ExposureSpec, n: int, step_arcsec: float = 1.0, error_arcsec: float = 0.0) -> list[ExposureSpec]:
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
    """
    start = datetime.datetime.fromisoformat(spec.date_obs)
    made = []
    for i in range(n):
        angle = 2 * math.pi * i / n
        date = start + i * datetime.timedelta(seconds=spec.exptime + 75)
        error = 0.0 if i == 0 else error_arcsec / math.sqrt(2) * (-1) ** i
        changes = {"seed": spec.seed + i, "date_obs": date.isoformat(timespec="milliseconds")}
        if n > 1:
            changes["dither_arcsec"] = (step_arcsec * math.cos(angle), step_arcsec * math.sin(angle))
            changes["pointing_error_arcsec"] = (error, error)
            changes["posang"] = (spec.posang + 90.0 * i) % 360
        made.append(dataclasses.replace(spec, **changes))
    return made

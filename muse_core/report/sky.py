# SPDX-License-Identifier: GPL-2.0-or-later
"""The sky of each exposure, and what its subtraction leaves: spectrum, mask, lines group by group."""

import dataclasses

import numpy as np
from scipy.ndimage import median_filter

from muse_core.io.fitsreader import FitsFile
from muse_core.model.record import record
from muse_core.report.exposures import Exposure
from muse_core.report.images import Cube, read_image
from muse_core.report.products import Run
from muse_core.report.spectra import SkySpectra
from muse_core.steps.velocity import LIGHT_KMS

#: Planes that near to a line, in Angstrom, have its light.
_NEAR = 2.5
#: Of the lines of a group, those that are as strong as this part of the strongest count.
_STRONG = 0.1
#: Continuum: the running median over so many Angstrom.
_CONTINUUM_WIDTH = 40.0


@record(frozen=False, eq=False)
class ExposureSky:
    """The sky of one exposure.

    Attributes
    ----------
    lbda, flux : ndarray of float64
        Spectrum before the subtraction.
    continuum : ndarray of float64, shape (n, 2), optional
        Wavelength and flux of the continuum that was fitted.
    mask : ndarray of bool, shape (ny, nx), optional
        What was taken for sky.
    lines : ndarray, optional
        Fitted lines: wavelength, flux, group; shape (n, 3).
    names : list of str
        Their names.
    """

    lbda: np.ndarray
    flux: np.ndarray
    continuum: np.ndarray | None = None
    mask: np.ndarray | None = None
    lines: np.ndarray | None = None
    names: list[str] = dataclasses.field(default_factory=list)


def read_sky(run: Run, exposures: list[Exposure]) -> list[ExposureSky | None]:
    """Read the sky products of each exposure; adds what they tell to the numbers of it."""
    found: list[ExposureSky | None] = []
    for exposure in exposures:

        def of(tag: str, date: str = exposure.date_obs):
            return next((p for p in run.of(tag) if p.header.get("DATE-OBS") == date), None)

        spectrum, lines, mask, continuum = (of(f"SKY_{name}") for name in ("SPECTRUM", "LINES", "MASK", "CONTINUUM"))
        if spectrum is None and mask is None:
            found.append(None)
            continue
        sky = ExposureSky(np.empty(0), np.empty(0))
        if spectrum is not None:
            with FitsFile(spectrum.path) as file:
                table = file.table()
                sky.lbda, sky.flux = table.column("lambda"), table.column("data")
        if lines is None and len(run.of("SKY_LINES")) == 1:  # those of muse_create_sky have no date
            lines = run.first("SKY_LINES")
        if lines is not None:
            with FitsFile(lines.path) as file:
                table = file.table()
                sky.lines = np.column_stack([table.column("lambda"), table.column("flux"), table.column("group", "JI")])
                sky.names = [str(name).strip() for name in table.column("name", "A")]
        if continuum is not None:
            with FitsFile(continuum.path) as file:
                table = file.table()
                sky.continuum = np.column_stack([table.column("lambda"), table.column("flux")])
        if mask is not None:
            image, _ = read_image(mask.path)
            sky.mask = image > 0
        _add_numbers(exposure, sky)
        found.append(sky)
    return found


def _add_numbers(exposure: Exposure, sky: ExposureSky) -> None:
    numbers = exposure.numbers
    if len(sky.flux):
        continuum = sky_continuum(sky)
        numbers["sky_continuum"] = float(np.median(continuum))
        numbers["sky_brightest"] = float(np.nanmax(sky.flux - continuum))
        numbers["line_profile"] = _left_in_continuum(sky, continuum)
    if sky.mask is None:
        return
    n = int(sky.mask.sum())
    numbers["sky_spaxels"] = n
    if exposure.image is not None and exposure.image.shape == sky.mask.shape and n:
        inside = np.isfinite(exposure.image)
        numbers["sky_part"] = n / max(int(inside.sum()), 1)
        numbers["sky_on_sources"] = float((sky.mask & exposure.sources.mask).sum() / n)
        outside = inside & ~exposure.sources.mask & ~sky.mask
        level, other = exposure.image[sky.mask & inside], exposure.image[outside]
        if level.size and other.size and numbers.get("sky_level"):
            numbers["sky_excess"] = float((level.mean() - np.median(other)) / abs(np.median(other)))


def _left_in_continuum(sky: ExposureSky, continuum: np.ndarray) -> float | None:
    """Return what the fit of the lines leaves in the continuum near the brightest, relative to its height.

    The continuum is what the spectrum has beside the lines: with a line spread function of another width it has the
    difference, and the cube does not show it.
    """
    if sky.continuum is None or sky.lines is None or len(sky.continuum) < 8:
        return None
    brightest = int(np.nanargmax(sky.flux - continuum))
    lbda, flux = sky.continuum.T
    near = np.abs(lbda - sky.lbda[brightest]) < _NEAR
    height = float((sky.flux - continuum)[brightest])
    around = np.abs(lbda - sky.lbda[brightest]) < _CONTINUUM_WIDTH
    # a short range does not tell what the continuum beside the line is
    if near.sum() < 4 or (around & ~near).sum() < 4 * near.sum() or height <= 0:
        return None
    return float(np.sqrt(np.mean((flux[near] - np.median(flux[around])) ** 2)) / height)


def sky_continuum(sky: ExposureSky) -> np.ndarray:
    """Return the continuum below the lines of a sky spectrum."""
    step = float(np.median(np.diff(sky.lbda)))
    width = max(3, int(_CONTINUUM_WIDTH / step) | 1)
    smooth = median_filter(sky.flux, width, mode="nearest")
    return median_filter(np.minimum(sky.flux, smooth), width, mode="nearest")


def line_groups(sky: ExposureSky, cube: Cube, velocity: float | None) -> list[dict]:
    """Return groups of sky lines as seen in a cube: name, wavelengths, height above the continuum.

    Without fitted lines, peaks of the spectrum are taken.
    """
    if not len(sky.flux):
        return []
    continuum = sky_continuum(sky)
    stretch = 1 + (velocity or 0.0) / LIGHT_KMS
    low, high = cube.lbda[0], cube.lbda[-1]
    candidates: list[tuple[str, np.ndarray]] = []
    if sky.lines is not None and len(sky.lines):
        for group in np.unique(sky.lines[:, 2]):
            members = np.flatnonzero(sky.lines[:, 2] == group)
            strongest = members[np.argmax(sky.lines[members, 1])]
            strong = members[sky.lines[members, 1] >= _STRONG * sky.lines[strongest, 1]]
            strong = strong[~_is_blended(sky.lines, strong)]
            candidates.append((sky.names[strongest], sky.lines[strong, 0]))
    else:
        from scipy.signal import find_peaks

        above = sky.flux - continuum
        peaks, _ = find_peaks(above, prominence=max(0.1 * np.nanmax(above), 1e-30))
        candidates = [(f"{sky.lbda[peak]:.0f} A", sky.lbda[[peak]]) for peak in peaks]
    groups = []
    for name, wavelengths in candidates:
        seen = wavelengths * stretch
        seen = seen[(seen > low + _NEAR) & (seen < high - _NEAR)]
        if not len(seen):
            continue
        heights = [np.nanmax((sky.flux - continuum)[np.abs(sky.lbda - w) < 1.5], initial=0.0) for w in seen / stretch]
        first = int(np.argmax(heights))
        groups.append({"name": name, "wavelengths": np.roll(seen, -first), "height": float(heights[first])})
    return groups


def _is_blended(lines: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Tell which of the chosen lines lie in the light of a brighter one of another group."""
    wavelength, flux, group = lines.T
    near = np.abs(wavelength[chosen, None] - wavelength) < _NEAR
    brighter = (flux > flux[chosen, None]) & (group != group[chosen, None])
    return (near & brighter).any(axis=1)


def residual_at_lines(groups: list[dict], spectra: SkySpectra) -> tuple[list[dict], np.ndarray]:
    """Measure what is left at the lines of each group.

    Returns
    -------
    numbers : list of dict
        Name, wavelength, height of the line before; root mean square of the residual after, relative to the height,
        and in units of the noise of a spaxel; scatter over noise.
    at_lines : ndarray of bool, shape (nz,)
        Planes with light of a line.
    """
    at_lines = np.zeros(len(spectra.lbda), bool)
    numbers = []
    for group in groups:
        near = (np.abs(spectra.lbda[:, None] - group["wavelengths"]) < _NEAR).any(axis=1)
        near &= np.isfinite(spectra.residual)
        at_lines |= near
        if not near.any():
            continue
        left = float(np.sqrt(np.mean(spectra.residual[near] ** 2)))
        noise = float(np.median(spectra.noise[near]))
        ratio = float(np.median(spectra.ratio[near]))
        numbers.append(
            {
                "name": group["name"],
                "wavelength": float(group["wavelengths"][0]),
                "height": group["height"],
                "residual": left,
                "relative": left / group["height"] if group["height"] > 0 else None,
                "in_noise": left / noise if np.isfinite(noise) and noise > 0 else None,
                "scatter": ratio if np.isfinite(ratio) else None,
            }
        )
    return numbers, at_lines

# SPDX-License-Identifier: GPL-2.0-or-later
"""Spectra of the sky part of a cube: what is left of the sky, noise against STAT, depth."""

import numpy as np
from scipy.ndimage import binary_erosion

from muse_core.model.record import record
from muse_core.model.statistics import SIGMA_PER_MAD
from muse_core.report.field import Field
from muse_core.report.images import Apertures, Cube
from muse_core.report.rows import CLIP_SIGMAS

#: Spaxels whose scatter is measured, and places of apertures, at most.
_SPAXELS, _APERTURES = 6000, 400
#: Planes in which the depth is measured.
_DEPTHS = 48
#: Diameter of the aperture in arcsec, and how many times the noise the depth is.
APERTURE_ARCSEC, DEPTH_SIGMAS = 1.0, 5.0


@record(frozen=False, eq=False)
class SkySpectra:
    """Of the spaxels without source, for each plane of the cube.

    Attributes
    ----------
    lbda : ndarray of float64, shape (nz,)
        Wavelength in Angstrom.
    residual : ndarray of float64, shape (nz,)
        Median of the data; in the unit of the cube.
    scatter : ndarray of float64, shape (nz,)
        Standard deviation between spaxels, from the median absolute deviation.
    noise : ndarray of float64, shape (nz,)
        Square root of the median of STAT; NaN if there is none.
    ratio : ndarray of float64, shape (nz,)
        Scatter of data over the square root of STAT.
    chi_square : ndarray of float64, shape (nz,)
        Mean of the squares of data over STAT, of spaxels within five times its square root; 1 if only noise is left.
    depth_lbda, depth : ndarray of float64
        Wavelengths, and flux density that is so many times the scatter between apertures.
    """

    lbda: np.ndarray
    residual: np.ndarray
    scatter: np.ndarray
    noise: np.ndarray
    ratio: np.ndarray
    chi_square: np.ndarray
    depth_lbda: np.ndarray
    depth: np.ndarray


def chi_square(scaled: np.ndarray) -> float:
    """Return the mean of the squares of data in units of their noise; those beyond five count as sources."""
    inside = scaled[np.abs(scaled) < CLIP_SIGMAS]
    return float(np.mean(inside**2)) if inside.size else np.nan


def _spread(values: np.ndarray) -> tuple[float, float]:
    """Return median and standard deviation (from the median absolute deviation) of values."""
    if not values.size:
        return np.nan, np.nan
    middle = float(np.median(values))
    return middle, SIGMA_PER_MAD * float(np.median(np.abs(values - middle)))


def measure_spectra(cube: Cube, field: Field) -> SkySpectra:
    """Measure the sky part of a cube, plane by plane."""
    nz = cube.shape[0]
    inner = binary_erosion(field.sky, iterations=2)
    places = np.flatnonzero(inner if inner.sum() > 500 else field.sky)
    places = places[:: max(1, -(-len(places) // _SPAXELS))]
    columns = {name: np.full(nz, np.nan) for name in ("residual", "scatter", "noise", "ratio", "chi_square")}
    for number, plane in cube.planes():
        data = plane.ravel()[places].astype(np.float64)
        good = np.isfinite(data)
        stat = cube.variance(number).ravel()[places].astype(np.float64) if cube.has_stat else np.full(len(data), np.nan)
        columns["residual"][number], columns["scatter"][number] = _spread(data[good])
        good &= stat > 0
        if good.any():
            columns["noise"][number] = np.sqrt(np.median(stat[good]))
            scaled = data[good] / np.sqrt(stat[good])
            columns["ratio"][number] = _spread(scaled)[1]
            columns["chi_square"][number] = chi_square(scaled)
    return SkySpectra(lbda=cube.lbda, **columns, **_depths(cube, field))


def _depths(cube: Cube, field: Field) -> dict[str, np.ndarray]:
    """Measure the scatter of the sums in apertures without source, in some planes."""
    nothing = {"depth_lbda": np.empty(0), "depth": np.empty(0)}
    if np.isnan(cube.step_arcsec):
        return nothing
    radius = APERTURE_ARCSEC / 2 / cube.step_arcsec
    apart = int(np.ceil(2 * radius))
    rows, columns = np.nonzero(binary_erosion(field.sky, iterations=int(np.ceil(radius)) + 1))
    on_grid = (rows % apart == 0) & (columns % apart == 0)
    places = np.column_stack([columns[on_grid], rows[on_grid]])
    places = places[:: max(1, -(-len(places) // _APERTURES))]
    if len(places) < 20:
        return nothing
    apertures = Apertures.of(cube.shape[1:], *places.T.astype(float), radius)
    nz = cube.shape[0]
    numbers = np.unique(np.linspace(nz * 0.02, nz * 0.98 - 1, min(_DEPTHS, nz)).round().astype(int))
    depth = []
    for number in numbers:
        sums = apertures.sums(cube.plane(number))
        depth.append(DEPTH_SIGMAS * _spread(sums[np.isfinite(sums)])[1])
    return {"depth_lbda": cube.lbda[numbers], "depth": np.array(depth)}

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Draw the field of a cube, its strongest emission line as a map, and the spectrum of the source that has it.

plot_field.py DATACUBE_FINAL.fits field.png
"""

import sys
import warnings

import matplotlib as mpl
import numpy as np
from astropy.io import fits
from astropy.stats import mad_std
from astropy.wcs import WCS
from scipy import ndimage

APERTURE_ARCSEC = 1.0
#: Planes at each end of the range that are left out; of the line, and between it and those of the continuum beside it.
END, LINE, GAP, BESIDE = 8, 2, 4, 12


def sources(image: np.ndarray) -> list[tuple[int, int]]:
    """Return the places of the brightest sources, x and y."""
    smooth = ndimage.gaussian_filter(np.where(np.isfinite(image), image, np.nanmedian(image)), 1.5)
    labels, _ = ndimage.label(smooth > np.median(smooth) + 6 * mad_std(smooth))
    areas = np.bincount(labels.ravel())
    places = ndimage.maximum_position(smooth, labels, np.flatnonzero(areas[1:] >= 40) + 1)
    places.sort(key=lambda place: -smooth[place])
    ny, nx = image.shape
    return [(int(x), int(y)) for y, x in places if ny // 20 < y < ny - ny // 20 and nx // 20 < x < nx - nx // 20][:25]


def strongest_line(spectra: np.ndarray, noise: np.ndarray) -> tuple[int, int]:
    """Return number of the source and plane of the strongest emission line; spectra of shape (n_sources, n_planes)."""
    continuum = ndimage.median_filter(spectra, (1, 41), mode="nearest")
    excess = spectra - continuum
    excess -= np.median(excess, axis=0)
    signal = np.where(excess > 0.3 * continuum, excess / np.hypot(noise, mad_std(excess, axis=1)[:, None]), 0)
    # a line is seen in three planes at least, what is left of a cosmic ray is not
    excess = ndimage.median_filter(signal, (1, 3))
    source, plane = np.unravel_index(np.argmax(excess), excess.shape)
    return int(source), int(plane)


def stretched(image: np.ndarray) -> np.ndarray:
    """Return an image as it is shown."""
    shown: np.ndarray = np.arcsinh((image - np.nanmedian(image)) / (3 * mad_std(image, ignore_nan=True)))
    return shown


def main(cube_name: str, picture_name: str) -> None:
    """Read the cube, write the picture."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    with fits.open(cube_name) as hdus:
        header, data, stat = hdus["DATA"].header, hdus["DATA"].data, hdus["STAT"].data
        name = hdus[0].header.get("OBJECT", "")
    data, stat = data[END:-END], stat[END:-END]
    lbda = header["CRVAL3"] + (np.arange(len(data)) + 1 + END - header["CRPIX3"]) * header["CD3_3"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # spaxels without data stay NaN
        white = np.nanmean(data, axis=0)
    radius = APERTURE_ARCSEC / (abs(header["CD2_2"]) * 3600)
    y, x = np.indices(white.shape)
    places = sources(white)
    apertures = [np.hypot(x - x0, y - y0) <= radius for x0, y0 in places]
    spectra = np.array([np.nansum(data[:, aperture], axis=1) for aperture in apertures])
    noises = np.sqrt([np.nansum(stat[:, aperture], axis=1) for aperture in apertures])
    number, plane = strongest_line(spectra, noises)
    near = np.abs(np.arange(len(data)) - plane)
    line = data[near <= LINE].sum(axis=0) - (near <= LINE).sum() * data[(near > GAP) & (near <= BESIDE)].mean(axis=0)

    line = ndimage.gaussian_filter(np.nan_to_num(line), 1.0)

    figure = plt.figure(figsize=(12, 9), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=[1.5, 1])
    wcs = WCS(header, naxis=2) if "CD1_1" in header else None
    titles = (f"{name}: white light", f"emission line at {lbda[plane]:.1f} $\\AA$, without continuum, smoothed")
    for column, (image, title) in enumerate(zip((white, line), titles, strict=True)):
        field = figure.add_subplot(grid[0, column], projection=wcs)
        shown = stretched(image)
        low, high = np.nanpercentile(shown, (1, 99.8))
        field.imshow(shown, origin="lower", vmin=low, vmax=high, cmap="inferno" if column else "gray")
        field.plot(*places[number], "o", mfc="none", mec="#58a6ff", mew=1.5, ms=16)
        field.set_xlabel("right ascension")
        field.set_ylabel("declination" if column == 0 else " ")
        field.set_title(title)
    lines = figure.add_subplot(grid[1, :])
    spectrum, noise = spectra[number], noises[number]
    lines.fill_between(lbda, spectrum - noise, spectrum + noise, alpha=0.3, step="mid", lw=0, label="1 sigma")
    lines.step(lbda, spectrum, where="mid", lw=0.9, label="circled source")
    lines.axvspan(
        lbda[max(plane - LINE, 0)], lbda[min(plane + LINE, len(lbda) - 1)], color="#e8590c", alpha=0.2, label="map"
    )
    lines.margins(x=0.01)
    lines.set_xlabel("wavelength [$\\AA$]")
    lines.set_ylabel("flux [1e-20 erg / s / cm$^2$ / $\\AA$]")
    lines.set_title(f"aperture of {APERTURE_ARCSEC:g} arcsec radius, sky subtracted")
    lines.legend()
    figure.savefig(picture_name, dpi=100)
    ny, nx = white.shape
    x0, y0 = (place + 1 for place in places[number])
    print(f"{picture_name}: {nx} x {ny} spaxels, line at {lbda[plane]:.1f} Angstrom, source at x={x0}, y={y0}")


if __name__ == "__main__":
    main(*sys.argv[1:])

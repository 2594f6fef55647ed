#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Draw the field of a cube and the spectrum of its brightest source.

plot_field.py DATACUBE_FINAL.fits field.png
"""

import sys
import warnings

import matplotlib as mpl
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

APERTURE_ARCSEC = 1.0


def main(cube_name: str, picture_name: str) -> None:
    """Read the cube, write the picture."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    with fits.open(cube_name) as hdus:
        header, data, stat = hdus["DATA"].header, hdus["DATA"].data, hdus["STAT"].data
        name = hdus[0].header.get("OBJECT", "")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # spaxels without data stay NaN
        image = np.nanmedian(data, axis=0)
    ny, nx = image.shape
    inner = image.copy()
    inner[: ny // 20], inner[-ny // 20 :], inner[:, : nx // 20], inner[:, -nx // 20 :] = 4 * (np.nan,)
    y0, x0 = np.unravel_index(np.nanargmax(inner), inner.shape)
    wcs = WCS(header, naxis=2) if "CD1_1" in header else None
    radius = APERTURE_ARCSEC / (abs(header["CD2_2"]) * 3600)
    y, x = np.indices(image.shape)
    aperture = np.hypot(x - x0, y - y0) <= radius
    lbda = header["CRVAL3"] + (np.arange(len(data)) + 1 - header["CRPIX3"]) * header["CD3_3"]
    spectrum = np.nansum(data[:, aperture], axis=1)
    noise = np.sqrt(np.nansum(stat[:, aperture], axis=1))

    figure = plt.figure(figsize=(12, 5), layout="constrained")
    field = figure.add_subplot(1, 2, 1, projection=wcs)
    low, high = np.nanpercentile(image, (2, 99.7))
    shown = field.imshow(image, origin="lower", vmin=low, vmax=high, cmap="viridis")
    field.plot(x0, y0, "o", mfc="none", mec="w", ms=12)
    field.set_xlabel("right ascension")
    field.set_ylabel("declination")
    field.set_title(f"{name}: median of {len(data)} planes")
    figure.colorbar(shown, ax=field, shrink=0.8, label="1e-20 erg / s / cm$^2$ / $\\AA$")
    lines = figure.add_subplot(1, 2, 2)
    lines.fill_between(lbda, spectrum - noise, spectrum + noise, alpha=0.3, step="mid", label="1 sigma")
    lines.step(lbda, spectrum, where="mid", lw=1, label="brightest source")
    lines.set_xlabel("wavelength [$\\AA$]")
    lines.set_ylabel("flux [1e-20 erg / s / cm$^2$ / $\\AA$]")
    lines.set_title(f"aperture of {APERTURE_ARCSEC:g} arcsec radius, sky subtracted")
    lines.legend()
    figure.savefig(picture_name, dpi=100)
    print(f"{picture_name}: {nx} x {ny} spaxels, {len(data)} planes, brightest source at x={x0 + 1}, y={y0 + 1}")


if __name__ == "__main__":
    main(*sys.argv[1:])

# SPDX-License-Identifier: GPL-2.0-or-later
"""The pictures of the field in the report, and how images are drawn."""

import numpy as np

from muse_core.model.statistics import SIGMA_PER_MAD
from muse_core.report.drawing import C1, Panel, draw
from muse_core.report.field import on_cube, strongest_line
from muse_core.report.images import pixel_arcsec
from muse_core.report.measure import Measured

#: Height of the figures of an image.
SQUARE = 400
#: Sources that are marked in the image, the brightest.
_MARKED = 25


def _bare(axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def stretch(image: np.ndarray, high: float = 99.7) -> np.ndarray:
    """Scale an image for display: asinh, 0 to 1; NaN stays."""
    finite = image[np.isfinite(image)]
    if not finite.size:
        return image
    low, top = np.percentile(finite, (1.0, high))
    middle = np.median(finite)
    scale = max(SIGMA_PER_MAD * np.median(np.abs(finite - middle)), 1e-30)
    low, top = (float(np.arcsinh((value - middle) / (3 * scale))) for value in (low, top))
    return np.clip((np.arcsinh((image - middle) / (3 * scale)) - low) / max(top - low, 1e-30), 0, 1)


def _scale_and_compass(axes, wcs, shape) -> None:
    """Draw a bar of 10 (or 1) arcsec and arrows to the north and east."""
    ny, nx = shape
    step = pixel_arcsec(wcs)
    length = 10.0 if nx * step > 30 else 1.0
    x0, y0 = 0.05 * nx, 0.05 * ny
    line = dict(color="white", lw=2, solid_capstyle="butt")
    axes.plot([x0, x0 + length / step], [y0, y0], **line)
    axes.text(x0 + length / step / 2, y0 + 0.02 * ny, f"{length:g}″", color="white", ha="center", va="bottom", size=11)
    inverse = np.linalg.inv(wcs.pixel_scale_matrix)
    length = min(0.1 * nx, 0.3 * ny)
    centre = np.array([0.96 * nx - length, 0.12 * ny])
    for label, sky in (("N", (0, 1)), ("E", (1, 0))):
        way = inverse @ sky
        way *= length / np.hypot(*way)
        axes.annotate(
            "", centre + way, centre, arrowprops=dict(arrowstyle="-|>", color="white", lw=1.3, shrinkA=0, shrinkB=0)
        )
        axes.text(*(centre + 1.32 * way), label, color="white", ha="center", va="center", size=11)


def image_height(shape: tuple[int, int]) -> int:
    """Return the height of the figure of an image in CSS pixels: less for those that are wider than high."""
    return int(SQUARE * np.clip(shape[0] / shape[1] + 0.05, 0.4, 1.0))


def image_axes(figure, shape):
    axes = figure.add_subplot()
    _bare(axes)
    axes.set_xlim(-0.5, shape[1] - 0.5)
    axes.set_ylim(-0.5, shape[0] - 0.5)
    axes.set_aspect("equal")
    return axes


def grey(image: np.ndarray) -> np.ndarray:
    """Return a stretched image as RGBA bytes, transparent where there is nothing."""
    seen = np.isfinite(image)
    level = np.where(seen, 255 * np.nan_to_num(image), 0).astype(np.uint8)
    return np.dstack([level, level, level, np.where(seen, 255, 0).astype(np.uint8)])


def field_panels(m: Measured) -> list[Panel]:
    """Draw white light, colours, line map, exposure time, width with wavelength."""
    if m.field is None:
        return []
    field, wcs, numbers = m.field, m.cube.wcs, m.field.numbers
    panels = []
    masks = _masks_on_cube(m)

    def white(figure):
        axes = image_axes(figure, field.white.shape)
        axes.imshow(grey(stretch(field.white)), origin="lower", interpolation="none")
        if masks is not None and masks.any():
            shade = np.zeros((*masks.shape, 4), np.uint8)
            shade[masks] = (80, 170, 255, 130)
            axes.imshow(shade, origin="lower", interpolation="none")
        n = min(len(field.sources), _MARKED)
        axes.scatter(
            field.sources.x[:n], field.sources.y[:n], s=170, facecolors="none", edgecolors="#ffb454", linewidths=1.0
        )
        if wcs is not None:
            _scale_and_compass(axes, wcs, field.white.shape)

    nx, ny, nz = numbers["shape"]
    mask_text = (
        " Blue: spaxels taken for sky" + (" in the first exposure." if len(m.exposures) > 1 else ".")
        if masks is not None
        else ""
    )
    panels.append(
        draw(
            "white",
            "White light",
            f"White-light image of {nx} by {ny} spaxels with {len(field.sources)} sources, the brightest circled"
            + (", and the sky mask." if masks is not None else "."),
            f"Mean of all {nz} planes, asinh scale. Orange: the brightest of {len(field.sources)} detected sources."
            + mask_text,
            white,
            height=image_height(field.white.shape),
        )
    )

    def colour(figure):
        axes = image_axes(figure, field.white.shape)
        channels = [stretch(image, 99.5) for image in field.colours]
        seen = np.isfinite(channels).all(axis=0)
        rgb = np.dstack([np.where(seen, 255 * np.nan_to_num(c), 0) for c in channels]).astype(np.uint8)
        axes.imshow(np.dstack([rgb, np.where(seen, 255, 0).astype(np.uint8)]), origin="lower", interpolation="none")
        if wcs is not None:
            _scale_and_compass(axes, wcs, field.white.shape)

    if len(field.bands) >= 3:
        low, high = numbers["wavelength"]
        edges = np.linspace(low, high, 4)
        names = [f"{a:.0f}–{b:.0f} Å" for a, b in zip(edges[:-1], edges[1:], strict=True)]
        panels.append(
            draw(
                "colour",
                "Colours",
                "Colour image of the field from three bands: " + ", ".join(names) + ".",
                f"Blue {names[0]}, green {names[1]}, red {names[2]}; each with its own scale.",
                colour,
                height=image_height(field.white.shape),
            )
        )
    found = strongest_line(m.cube, field)
    if found is not None:
        peak, source, line_image = found

        def line(figure):
            axes = image_axes(figure, field.white.shape)
            axes.imshow(grey(stretch(line_image, 99.9)), origin="lower", interpolation="none")
            x, y = field.sources.x[source], field.sources.y[source]
            axes.scatter([x], [y], s=220, facecolors="none", edgecolors="#ffb454", linewidths=1.2)
            if wcs is not None:
                _scale_and_compass(axes, wcs, field.white.shape)

        at = m.cube.lbda[peak]
        panels.append(
            draw(
                "line",
                "Strongest emission line",
                f"Map of the emission line at {at:.1f} Angstrom.",
                f"Five planes around {at:.1f} Å without the continuum beside them, smoothed; orange: the source that "
                "has the line.",
                line,
                height=image_height(field.white.shape),
            )
        )
    if field.exposure_time is not None:

        def depth(figure):
            axes = image_axes(figure, field.white.shape)
            time = np.where(field.exposure_time > 0, field.exposure_time, np.nan)
            top = float(np.nanmax(time)) if np.isfinite(time).any() else 1.0
            shown = axes.imshow(time / 60, origin="lower", interpolation="none", cmap="viridis", vmin=0, vmax=top / 60)
            bar = figure.colorbar(shown, ax=axes, shrink=0.85, pad=0.02)
            bar.outline.set_visible(False)
            bar.set_label("exposure time [min]")

        time = numbers["exposure_time"]
        panels.append(
            draw(
                "coverage",
                "Exposure time",
                f"Map of the exposure time, at most {time['max'] / 60:.1f} minutes.",
                f"Median {time['median'] / 60:.1f} min, at most {time['max'] / 60:.1f} min.",
                depth,
                height=image_height(field.white.shape),
            )
        )
    widths = numbers["fwhm_by_wavelength"]
    if widths:

        def fwhm(figure):
            axes = figure.add_subplot()
            axes.plot([w["wavelength"] for w in widths], [w["fwhm"] for w in widths], "o-", color=C1, ms=5)
            axes.set_xlabel("wavelength [Å]")
            axes.set_ylabel("FWHM [arcsec]")
            axes.set_ylim(0, 1.25 * max(w["fwhm"] for w in widths))

        panels.append(
            draw(
                "fwhm",
                "Width of the stars",
                f"Full width at half maximum of the stars with wavelength; median {numbers['fwhm']:.2f} arcsec.",
                f"Gaussian fits, median of the most compact sources ({max(w['n'] for w in widths)}); "
                f"median {numbers['fwhm']:.2f}″.",
                fwhm,
            )
        )
    return panels


def _masks_on_cube(m: Measured) -> np.ndarray | None:
    """Return the sky mask of the first exposure on the spaxels of the cube."""
    for exposure, sky in zip(m.exposures, m.skies, strict=True):
        if sky is None or sky.mask is None or exposure.wcs is None or m.cube.wcs is None:
            continue
        return on_cube(sky.mask, exposure.wcs, m.cube)
    return None

# SPDX-License-Identifier: GPL-2.0-or-later
"""Pictures of tables, images, spectra and skies; matplotlib is imported when one is drawn."""

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from muse_core.errors import ParameterError, ProductError
from muse_core.model import origin, units
from muse_core.model.dq import DQ
from muse_core.model.grid import SPECTRAL_STEP
from muse_core.model.header import spaxel_size_arcsec

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from muse_core.api.cube import Image, Spectrum
    from muse_core.api.pixtable import PixelTable
    from muse_core.api.steps.sky import SkyModel

_FLUX = r"flux ($10^{-20}$ erg s$^{-1}$ cm$^{-2}$ $\mathrm{\AA}^{-1}$)"


def unit_label(unit: str) -> str:
    """Return a label for values in a unit of ESO's files."""
    return _FLUX if unit == units.FLUX else f"data ({unit})"


def _figure(projection=None, size=(5.5, 4.5)) -> "Axes":
    """Return axes in a figure: in a notebook or script that uses pyplot one of its own."""
    import sys

    if "matplotlib.pyplot" in sys.modules or _in_notebook():
        import matplotlib.pyplot as plt

        figure = plt.figure(figsize=size, layout="constrained")
    else:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
    return figure.add_subplot(projection=projection)


def _in_notebook() -> bool:
    import sys

    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None


def _limits(data: np.ndarray) -> dict[str, float]:
    """Return what is black and white: between the percentiles 2 and 99.5."""
    good = data[np.isfinite(data)]
    if not len(good):
        return {}
    low, high = np.percentile(good, (2, 99.5))
    return {"vmin": low, "vmax": high if high > low else low + 1}


def draw_image(image: "Image", ax: "Axes | None" = None) -> "Axes":
    """Draw an image, on the sky if it has such coordinates."""
    wcs = image.wcs
    if ax is None:
        ax = _figure(wcs if wcs.has_celestial else None)
    shown = ax.imshow(image.data, origin="lower", cmap="gray", interpolation="nearest", **_limits(image.data))
    if wcs.has_celestial and hasattr(ax, "coords"):
        ax.coords[0].set_axislabel("right ascension")
        ax.coords[1].set_axislabel("declination")
    ax.set_title(image.title)
    ax.figure.colorbar(shown, ax=ax, label=unit_label(image.unit), shrink=0.85)
    return ax


def draw_spectrum(spectrum: "Spectrum", ax: "Axes | None" = None) -> "Axes":
    """Draw a spectrum with its standard deviation."""
    ax = _figure(size=(8, 3.2)) if ax is None else ax
    error = np.sqrt(np.maximum(spectrum.stat, 0))
    ax.fill_between(spectrum.wave, spectrum.data - error, spectrum.data + error, color="0.85", step="mid")
    ax.step(spectrum.wave, spectrum.data, where="mid", color="tab:blue", linewidth=1)
    ax.set(xlabel=r"wavelength ($\mathrm{\AA}$)", ylabel=unit_label(spectrum.unit), title=spectrum.title)
    ax.margins(x=0)
    return ax


def draw_sky(model: "SkyModel", ax: "Axes | None" = None) -> "Axes":
    """Draw spectrum, continuum and lines of a sky."""
    ax = _figure(size=(8, 3.2)) if ax is None else ax
    if model.spectrum is not None:
        ax.step(model.spectrum.lbda, model.spectrum.data, where="mid", color="tab:blue", linewidth=1, label="sky")
    if model.continuum is not None:
        ax.plot(model.continuum.lbda, model.continuum.flux, color="tab:red", linewidth=1, label="continuum")
    if model.lines is not None and len(model.lines.lbda):
        bottom, _ = ax.get_ylim()
        ax.plot(model.lines.lbda, np.full(len(model.lines.lbda), bottom), "|", color="0.5", label="lines")
    ax.set(xlabel=r"wavelength ($\mathrm{\AA}$)", ylabel="sky per spaxel")
    ax.margins(x=0)
    ax.legend()
    return ax


def draw_table(table: "PixelTable", kind: str, region, ifu: int | None, ax: "Axes | None") -> "Axes":
    """Draw a pixel table; see `PixelTable.plot`."""
    if kind == "field":
        return _draw_field(table, ax)
    if kind == "detector":
        return _draw_detector(table, ifu, ax)
    if kind == "spectrum":
        return _draw_mean(table if region is None else table.select(region=region), ax)
    raise ParameterError(f"plot: found {kind!r}, expected field, detector or spectrum")


def _draw_field(table: "PixelTable", ax: "Axes | None") -> "Axes":
    ax = _figure() if ax is None else ax
    if table.position_unit == units.PIX:
        x, y, step, label = table.xpos, table.ypos, 1.0, ("x (spaxel)", "y (spaxel)")
    else:
        ra, dec = table.sky()
        x = ((ra - ra[0] + 180) % 360 - 180) * np.cos(np.radians(dec[0])) * 3600
        step = min(spaxel_size_arcsec(table.header))
        y, label = (dec - dec[0]) * 3600, ("east of the first row (arcsec)", "north (arcsec)")
    good = (table.dq == DQ.GOOD) & np.isfinite(x) & np.isfinite(y)
    low = [float(v[good].min()) for v in (x, y)]
    shape = [int((v[good].max() - a) / step) + 1 for v, a in zip((x, y), low, strict=True)]
    i, j = (
        np.rint((v[good] - a) / step).astype(np.int64).clip(0, n - 1)
        for v, a, n in zip((x, y), low, shape, strict=True)
    )
    number = np.bincount(j * shape[0] + i, minlength=shape[0] * shape[1])
    total = np.bincount(j * shape[0] + i, table.data[good], minlength=shape[0] * shape[1])
    with np.errstate(invalid="ignore", divide="ignore"):
        image = (total / number).reshape(shape[1], shape[0])
    extent = [low[0], low[0] + shape[0] * step, low[1], low[1] + shape[1] * step]
    shown = ax.imshow(image, origin="lower", cmap="gray", extent=extent, interpolation="nearest", **_limits(image))
    if table.position_unit != units.PIX:
        ax.invert_xaxis()
    ax.set(xlabel=label[0], ylabel=label[1], title=f"mean of {np.count_nonzero(good)} rows")
    ax.figure.colorbar(shown, ax=ax, label=unit_label(table.data_unit), shrink=0.85)
    return ax


def _draw_detector(table: "PixelTable", ifu: int | None, ax: "Axes | None") -> "Axes":
    ax = _figure() if ax is None else ax
    number = int(table.ifu.min()) if ifu is None else ifu
    parts = [rows[origin.ifu_of(rows["origin"]) == number] for rows in table.chunks()]
    rows = np.concatenate(parts)
    if not len(rows):
        raise ParameterError(f"plot: found no rows of IFU {number}, expected one of {np.unique(table.ifu).tolist()}")
    slices = origin.slice_of(rows["origin"]).astype(np.int64)
    columns = origin.x_of(rows["origin"], 0).astype(np.int64)
    width = int(columns.max()) + 3
    x, y = (slices - slices.min()) * width + columns, origin.y_of(rows["origin"]).astype(np.int64)
    image = np.full((int(y.max() - y.min()) + 1, int(x.max()) + 1), np.nan, np.float32)
    image[y - y.min(), x] = np.where(rows["dq"] == DQ.GOOD, rows["data"], np.nan)
    shown = ax.imshow(
        image, origin="lower", cmap="gray", aspect="auto", interpolation="nearest",
        extent=[slices.min() - 0.5, slices.max() + 0.5, y.min(), y.max() + 1], **_limits(image),
    )  # fmt: skip
    ax.set(xlabel="slice", ylabel="detector row (pixel)", title=f"IFU {number}")
    ax.figure.colorbar(shown, ax=ax, label=unit_label(table.data_unit), shrink=0.85)
    return ax


def _draw_mean(table: "PixelTable", ax: "Axes | None") -> "Axes":
    from muse_core.api.cube import Spectrum

    good = table.dq == DQ.GOOD
    lbda = table.lbda[good].astype(np.float64)
    low = lbda.min()
    plane = ((lbda - low) / SPECTRAL_STEP).astype(np.int64)
    number = np.bincount(plane)
    with np.errstate(invalid="ignore", divide="ignore"):
        data = np.bincount(plane, table.data[good]) / number
        stat = np.bincount(plane, table.stat[good]) / number**2.0
    wave = low + (np.arange(len(data)) + 0.5) * SPECTRAL_STEP
    return draw_spectrum(Spectrum(wave, data, stat, table.data_unit, "mean"), ax)


def save(ax: "Axes", path: Path) -> Path:
    """Write the figure of some axes."""
    try:
        ax.figure.savefig(path, dpi=150)
    except OSError as error:
        raise ProductError(f"{path}: {error.strerror or error}") from error
    return path


def thumbnail(image: "Image", size: int = 200) -> str:
    """Return an image as an HTML element; empty if matplotlib is not there."""
    try:
        from matplotlib.image import imsave
    except ImportError:
        return ""
    step = max(1, max(image.data.shape) // size)
    data, stream = image.data[::step, ::step], io.BytesIO()
    imsave(stream, np.nan_to_num(data, nan=float(np.nanmin(data))), cmap="gray", origin="lower", **_limits(data))
    text = base64.b64encode(stream.getvalue()).decode()
    look = f'alt="{image.title}" width="{size}" style="image-rendering: pixelated"'
    return f'<img {look} src="data:image/png;base64,{text}">'

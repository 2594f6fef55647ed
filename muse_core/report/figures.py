# SPDX-License-Identifier: GPL-2.0-or-later
"""The figures of the report, made of what was measured; a figure without data is left out."""

import numpy as np

from muse_core.model.statistics import SIGMA_PER_MAD
from muse_core.report.checks import OK
from muse_core.report.drawing import C1, C2, C3, C4, MUTED, RULE, STATUS, TEXT, Panel, draw
from muse_core.report.exposures import Exposure
from muse_core.report.measure import Measured
from muse_core.report.pictures import SQUARE, field_panels, grey, image_axes, image_height, stretch

FLUX = "10⁻²⁰ erg s⁻¹ cm⁻² Å⁻¹"
#: Wavelengths of a spectrum with more planes are averaged in the figure.
_POINTS = 4000


def unit_text(unit: str) -> str:
    """Return a unit as it is printed."""
    return FLUX if "10**(-20)" in unit else unit or "counts"


def _thin(x: np.ndarray, *columns: np.ndarray) -> list[np.ndarray]:
    """Average neighbouring points of long spectra."""
    step = -(-len(x) // _POINTS)
    n = len(x) // step * step
    return [column[:n].reshape(-1, step).mean(axis=1) for column in (x, *columns)]


def sky_panels(m: Measured) -> list[Panel]:
    """Draw the sky before and after, the residual at the groups of lines, slices, and exposures against each other."""
    panels = []
    first = next((i for i, sky in enumerate(m.skies) if sky is not None and len(sky.flux)), None)
    if first is not None or m.spectra is not None:
        panels.append(_sky_spectrum(m, first))
    groups = m.numbers.get("sky", {}).get("groups", [])
    groups = [g for g in groups if g["relative"] is not None]
    if groups:

        def lines(figure):
            axes = figure.add_subplot()
            limits = {c["where"]: c["status"] for c in m.numbers["checks"] if c["name"] == "line_residual"}
            colours = [STATUS[limits.get(f"{g['name']}, {g['wavelength']:.0f} Å", OK)] for g in groups]
            places = np.arange(len(groups))
            axes.barh(places, [100 * g["relative"] for g in groups], color=colours, height=0.62)
            for place, group in zip(places, groups, strict=True):
                axes.text(
                    100 * group["relative"],
                    place,
                    f"  {100 * group['relative']:.1f} %",
                    va="center",
                    color=TEXT,
                    size=10,
                )
            axes.set_yticks(places, [f"{g['name']}\n{g['wavelength']:.0f} Å" for g in groups])
            axes.set_ylim(len(groups) - 0.4, -0.6)
            axes.set_xlim(0, 1.3 * max(max(100 * g["relative"] for g in groups), 1))
            axes.grid(axis="y", visible=False)
            axes.set_xlabel("residual [% of the height of the line]")

        worst = max(groups, key=lambda g: g["relative"])
        panels.append(
            draw(
                "groups",
                "Residual at sky lines",
                "Bars: residual of each group of sky lines in per cent of the line; the largest is "
                f"{100 * worst['relative']:.1f} for {worst['name']}.",
                "Root mean square of the median sky spectrum within 2.5 Å of the lines of a group.",
                lines,
                height=max(200, 90 + 42 * len(groups)),
            )
        )
    panels += _slice_panels(m)
    return panels


def _stability(m: Measured) -> list[Panel]:
    known = [e for e in m.exposures if e.numbers.get("sky_continuum") is not None]
    if len(known) < 2:
        return []

    def stability(figure):
        rows = [("sky_continuum", "continuum", C1), ("sky_brightest", "brightest line", C2)]
        if all(e.numbers.get("sky_residual") is not None for e in known):
            rows.append(("sky_residual", "residual", C3))
        axes = figure.add_subplot()
        for key, label, colour in rows:
            values = np.array([e.numbers[key] for e in known], float)
            middle = np.median(values)
            axes.plot(
                np.arange(1, len(known) + 1),
                values / middle if middle else values,
                "o-",
                ms=4,
                color=colour,
                label=label,
            )
        axes.axhline(1, color=MUTED, lw=0.8)
        axes.set_xlabel("exposure")
        axes.set_ylabel("relative to the median")
        _whole_numbers(axes, len(known))
        axes.legend(loc="best")

    return [
        draw(
            "stability",
            "Sky over the exposures",
            f"Brightness of the sky in {len(known)} exposures, relative to their median.",
            "Continuum and brightest line before the subtraction; residual after it, where pixel tables are known.",
            stability,
        )
    ]


def _whole_numbers(axes, n: int) -> None:
    axes.set_xlim(0.5, n + 0.5)
    axes.set_xticks(np.unique(np.linspace(1, n, min(n, 8)).astype(int)))


def _sky_spectrum(m: Measured, first: int | None) -> Panel:
    unit = unit_text(m.cube.unit if m.cube is not None else "10**(-20)")

    def plot(figure):
        both = first is not None and m.spectra is not None
        axes = figure.subplots(2, 1, sharex=True, height_ratios=[1.3, 1]) if both else [figure.add_subplot()]
        if first is not None:
            sky = m.skies[first]
            axes[0].plot(*_thin(sky.lbda, sky.flux), color=C1, lw=1)
            axes[0].set_ylabel("sky before")
            axes[0].set_ylim(bottom=min(0, np.nanmin(sky.flux)))
        if m.spectra is not None:
            below, spectra = axes[-1], m.spectra
            lbda, residual, noise = _thin(spectra.lbda, spectra.residual, spectra.noise)
            below.fill_between(lbda, -noise, noise, color=RULE, lw=0, label="noise of a spaxel, ±1σ")
            below.axhline(0, color=MUTED, lw=0.8)
            below.plot(lbda, residual, color=C2, lw=1, label="left of the sky")
            top = 1.15 * np.nanmax(np.r_[np.abs(residual), noise[np.isfinite(noise)], 1e-30])
            below.set_ylim(-top, top)
            below.set_ylabel("after")
            below.legend(loc="lower right", bbox_to_anchor=(1, 0.97), ncols=2, borderaxespad=0)
        axes[-1].set_xlabel("wavelength [Å]")
        axes[-1].margins(x=0.01)

    parts = ["before its subtraction"] * (first is not None) + ["what is left in the cube"] * (m.spectra is not None)
    return draw(
        "sky",
        "Spectrum of the sky",
        "Spectrum of the sky: " + " and ".join(parts) + ".",
        f"In {unit} a spaxel. After: median of the spaxels without source; grey: noise of one spaxel.",
        plot,
        wide=True,
        height=330,
    )


def _slice_panels(m: Measured) -> list[Panel]:
    if not m.rows:
        return []
    worst = max(m.numbers.get("slices", []), key=lambda s: abs(s["worst"]) / max(s["scatter"], 1e-30), default=None)
    date = worst["exposure"] if worst else next(iter(m.rows))
    statistics = m.rows[date]
    which = f" Exposure of {date[:19]}, the one with the most deviant slice." if len(m.rows) > 1 else ""

    def grid(figure, values, label, cmap, low, high):
        axes = figure.add_subplot()
        shown = axes.imshow(values, origin="lower", aspect="auto", interpolation="none", cmap=cmap, vmin=low, vmax=high,
                            extent=(0.5, 48.5, 0.5, 24.5))  # fmt: skip
        axes.grid(False)
        axes.set_xlabel("slice")
        axes.set_ylabel("IFU")
        axes.set_xticks([1, 12, 24, 36, 48])
        axes.set_yticks([1, 6, 12, 18, 24])
        bar = figure.colorbar(shown, ax=axes, pad=0.02)
        bar.outline.set_visible(False)
        bar.set_label(label)

    level = statistics.level - np.nanmedian(statistics.level)
    top = max(4 * SIGMA_PER_MAD * float(np.nanmedian(np.abs(level))), 1e-30) if np.isfinite(level).any() else 1.0
    found = []
    found.append(
        draw(
            "slice_level",
            "Level of the slices",
            "Map of 24 IFUs by 48 slices: sky level of each slice after the subtraction, relative to the median"
            + (f"; the most deviant is slice {worst['worst_slice']} of IFU {worst['worst_ifu']}." if worst else "."),
            "What is left of the sky in each slice, in the unit of the cube." + which,
            grid,
            values=level,
            label="level",
            cmap="RdBu_r",
            low=-top,
            high=top,
        )
    )
    found.append(
        draw(
            "slice_scatter",
            "Scatter of the slices",
            "Map of 24 IFUs by 48 slices: scatter of the rows after the subtraction over the square root of their "
            "variance, "
            f"median {np.nanmedian(statistics.ratio):.2f}.",
            "Scatter of the sky rows over the square root of their variance; 1 is noise only." + which,
            grid,
            values=statistics.ratio,
            label="scatter / √variance",
            cmap="RdBu_r",
            low=0.7,
            high=1.3,
        )
    )
    return found


def exposure_panels(m: Measured) -> list[Panel]:
    """Draw exposures against each other."""
    exposures = m.exposures
    if len(exposures) < 2:
        return []
    panels = []
    status = {item["exposure"]: item["status"] for item in m.numbers["outliers"]}

    def colour(exposure: Exposure) -> str:
        return STATUS[status[exposure.date_obs]] if exposure.date_obs in status else C1

    placed = [e for e in exposures if e.numbers.get("misaligned") is not None]
    if placed:

        def offsets(figure):
            axes = figure.add_subplot()
            east = np.array([e.numbers["misaligned_east"] for e in placed])
            north = np.array([e.numbers["misaligned_north"] for e in placed])
            axes.axhline(0, color=MUTED, lw=0.8)
            axes.axvline(0, color=MUTED, lw=0.8)
            axes.scatter(east, north, c=[colour(e) for e in placed], s=34, zorder=3)
            for number, exposure in enumerate(exposures, 1):
                if exposure.date_obs in status and exposure in placed:
                    at = (exposure.numbers["misaligned_east"], exposure.numbers["misaligned_north"])
                    axes.annotate(str(number), at, (5, 4), textcoords="offset points", color=TEXT, size=10)
            top = 1.25 * max(np.abs(np.r_[east, north]).max(), 0.1)
            axes.set_xlim(top, -top)
            axes.set_ylim(-top, top)
            axes.set_aspect("equal")
            axes.set_xlabel("east [arcsec]")
            axes.set_ylabel("north [arcsec]")

        worst = max(placed, key=lambda e: e.numbers["misaligned"])
        panels.append(
            draw(
                "alignment",
                "Alignment",
                f"Offsets of {len(placed)} exposures from their median, at most "
                f"{worst.numbers['misaligned']:.2f} arcsec.",
                "What is left by common sources, with the offsets applied; at most "
                f"{worst.numbers['misaligned']:.2f}″.",
                offsets,
                height=SQUARE - 40,
            )
        )
    panels += _stability(m)
    rows = [
        ("transmission", "relative flux"), ("fwhm", "FWHM [″]"), ("sky_continuum", "sky continuum"),
        ("sky_residual", "sky residual [σ]"), ("seeing_monitor", "seeing [″]"), ("airmass", "airmass"),
        ("weight", "weight"), ("velocity", "velocity [km/s]"),
    ]  # fmt: skip
    rows = [(key, label) for key, label in rows if sum(e.numbers.get(key) is not None for e in exposures) > 1]
    if rows:

        def trends(figure):
            across = 2 if figure.get_figwidth() > figure.get_figheight() else 1
            grid = np.atleast_2d(figure.subplots(-(-len(rows) // across), across, sharex=True, squeeze=False))
            for axes in grid.T.flat[len(rows) :]:
                axes.set_visible(False)
            for axes, (key, label) in zip(grid.T.flat, rows, strict=False):
                known = [(i, e) for i, e in enumerate(exposures, 1) if e.numbers.get(key) is not None]
                values = [e.numbers[key] for _, e in known]
                axes.plot([i for i, _ in known], values, "-", color=RULE, lw=1.2)
                axes.scatter([i for i, _ in known], values, c=[colour(e) for _, e in known], s=22, zorder=3)
                axes.set_ylabel(label, size=10)
                axes.margins(y=0.25)
                axes.yaxis.set_major_locator(_few())
                _whole_numbers(axes, len(exposures))
            for axes in grid[-1]:
                axes.set_xlabel("exposure")

        panels.append(
            draw(
                "trends",
                "Exposure by exposure",
                "Trends over the exposures: " + ", ".join(label for _, label in rows) + ".",
                "Coloured: exposures with something beyond its limits.",
                trends,
                wide=True,
                height=max(240, 96 * len(rows)),
                wide_height=70 + 96 * -(-len(rows) // 2),
            )
        )
    return panels


def _few():
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(3)


def noise_panels(m: Measured) -> list[Panel]:
    """Draw scatter against STAT, and depth."""
    panels = []
    spectra = m.spectra
    if spectra is not None and np.isfinite(spectra.ratio).any():

        def stat(figure):
            axes = figure.add_subplot()
            lbda, ratio = _thin(spectra.lbda, spectra.ratio)
            axes.axhspan(0.87, 1.15, color=RULE, alpha=0.5, lw=0)
            axes.axhline(1, color=MUTED, lw=0.8)
            axes.plot(lbda, ratio, color=C1, lw=1)
            axes.set_ylim(min(0.7, 0.95 * np.nanmin(ratio)), max(1.3, 1.05 * np.nanmax(ratio)))
            axes.margins(x=0.01)
            axes.set_xlabel("wavelength [Å]")
            axes.set_ylabel("scatter / √STAT")

        ratio = m.numbers["noise"].get("scatter_over_stat")
        panels.append(
            draw(
                "stat",
                "Noise against STAT",
                f"Scatter between spaxels over the square root of STAT with wavelength; median {ratio or np.nan:.2f}.",
                "Spaxels without source; 1 where STAT is the noise of a voxel. Neighbouring voxels are correlated: "
                "sums have more.",
                stat,
            )
        )
    if m.correlation is not None:
        panels.append(_correlation(m))
    if spectra is not None and spectra.depth.size:

        def depth(figure):
            axes = figure.add_subplot()
            axes.plot(spectra.depth_lbda, spectra.depth, color=C4, lw=1.2)
            axes.set_ylim(0, 1.15 * np.nanmax(spectra.depth))
            axes.margins(x=0.01)
            axes.set_xlabel("wavelength [Å]")
            axes.set_ylabel(f"5σ depth\n[{unit_text(m.cube.unit)}]", size=10)

        panels.append(
            draw(
                "depth",
                "Depth",
                "Flux density of 5 sigma in an aperture of 1 arcsec with wavelength; median "
                f"{m.numbers['noise']['depth']:.3g}.",
                "Five times the scatter of sums in apertures of 1″ diameter without source, a plane.",
                depth,
            )
        )
    return panels


def _correlation(m: Measured) -> Panel:
    correlation = m.correlation

    def plot(figure):
        axes = figure.add_subplot()
        for (size, predicted), colour in zip(correlation.predicted.items(), (C1, C2), strict=True):
            lbda, measured, expected = _thin(correlation.lbda, correlation.measured[size], predicted)
            axes.plot(lbda, measured, color=colour, lw=0.7, alpha=0.6)
            axes.plot(lbda, expected, color=colour, lw=1.6, label=f"{size} × {size} spaxels")
        axes.axhline(1, color=MUTED, lw=0.8)
        axes.set_ylim(bottom=0)
        axes.margins(x=0.01)
        axes.set_xlabel("wavelength [Å]")
        axes.set_ylabel("noise of a sum / independent voxels")
        axes.legend(loc="lower right", ncols=2)

    factors = " and ".join(f"{item['predicted']:.2f} for {item['box']}" for item in m.numbers["noise"]["correlation"])
    return draw(
        "correlation",
        "Correlated noise",
        f"Noise of sums over boxes of spaxels with wavelength, relative to independent voxels: {factors} a side.",
        "By how much the noise of a sum is more than that of independent voxels: predicted from the resampling "
        "(thick), and measured on the sky (thin).",
        plot,
    )


def step_panels(m: Measured) -> list[Panel]:
    """Draw autocalibration factors, Raman images, preview and depth of an alignment."""
    panels, steps = [], m.steps
    for number, (date, factors, edges) in enumerate(steps.factors[:1]):

        def autocal(figure, factors=factors, edges=edges):
            axes = figure.add_subplot()
            values = factors.reshape(len(factors), -1)
            seen = np.flatnonzero(np.isfinite(values).any(axis=1))
            first, last = (seen[0], seen[-1] + 1) if len(seen) else (0, len(values))
            values, edges = values[first:last], edges[first : last + 1]
            apart = np.abs(values[np.isfinite(values)] - 1)
            top = max(float(np.percentile(apart, 99)) if apart.size else 0.0, 1e-3)
            shown = axes.imshow(
                values, aspect="auto", origin="lower", interpolation="none", cmap="RdBu_r", vmin=1 - top, vmax=1 + top
            )
            axes.grid(False)
            axes.set_xticks(np.arange(0, 1152, 48 * 6), [f"IFU {i}" for i in range(1, 25, 6)])
            ticks = np.unique(np.linspace(0, len(values) - 1, min(len(values), 6)).astype(int))
            axes.set_yticks(ticks, [f"{(edges[i] + edges[i + 1]) / 2:.0f}" for i in ticks])
            axes.set_ylabel("wavelength [Å]")
            axes.set_facecolor(RULE)
            bar = figure.colorbar(shown, ax=axes, pad=0.01)
            bar.outline.set_visible(False)
            bar.set_label("factor")

        panels.append(
            draw(
                f"autocal{number}",
                "Autocalibration factors",
                f"Map of the autocalibration factors, 1152 slices by {len(factors)} wavelength bins.",
                f"Exposure of {date[:19]}; slices in the order of IFU and slice; grey: no data.",
                autocal,
                wide=True,
            )
        )
    for _date, images in steps.raman[:1]:
        for name, image in images[:4]:

            def raman(figure, image=image):
                axes = image_axes(figure, image.shape)
                low, high = np.nanpercentile(image, (1, 99)) if np.isfinite(image).any() else (0, 1)
                shown = axes.imshow(image, origin="lower", interpolation="none", cmap="viridis", vmin=low, vmax=high)
                bar = figure.colorbar(shown, ax=axes, shrink=0.85, pad=0.02)
                bar.outline.set_visible(False)

            panels.append(
                draw(
                    f"raman-{name.lower()}",
                    f"Raman lines: {name}",
                    f"Image {name} of the Raman fit.",
                    f"RAMAN_IMAGES, extension {name}.",
                    raman,
                    height=image_height(image.shape),
                )
            )
    for image, name, title in (
        (steps.preview, "preview", "Preview of the combined field"),
        (steps.depth, "expmap", "Exposure map"),
    ):
        if image is not None and np.isfinite(image).any():

            def field(figure, image=image, name=name):
                axes = image_axes(figure, image.shape)
                if name == "preview":
                    axes.imshow(grey(stretch(image)), origin="lower", interpolation="none")
                    return
                shown = axes.imshow(image / 60, origin="lower", interpolation="none", cmap="viridis", vmin=0)
                bar = figure.colorbar(shown, ax=axes, shrink=0.85, pad=0.02)
                bar.outline.set_visible(False)
                bar.set_label("exposure time [min]")

            panels.append(
                draw(
                    name,
                    title,
                    f"{title}, {image.shape[1]} by {image.shape[0]} pixels.",
                    "As muse_exp_align made it.",
                    field,
                    height=image_height(image.shape),
                )
            )
    images = m.numbers.get("alignment", {}).get("images", [])
    if len(images) > 1:

        def shifts(figure):
            axes = figure.add_subplot()
            axes.axhline(0, color=MUTED, lw=0.8)
            axes.axvline(0, color=MUTED, lw=0.8)
            axes.scatter([i["ra"] for i in images], [i["dec"] for i in images], color=C1, s=30, zorder=3)
            axes.set_xlabel("offset in right ascension [arcsec]")
            axes.set_ylabel("offset in declination [arcsec]")
            axes.margins(0.2)

        panels.append(
            draw(
                "offsets", "Offsets", f"Offsets of {len(images)} images relative to the first.", "OFFSET_LIST.", shifts
            )
        )
    return panels


def machine_panels(m: Measured) -> list[Panel]:
    """Draw time by step."""
    steps = m.numbers.get("machine", {}).get("steps", [])
    if not steps:
        return []

    def time(figure):
        axes = figure.add_subplot()
        places = np.arange(len(steps))
        axes.barh(places, [s["seconds"] for s in steps], color=C1, height=0.6)
        for place, step in zip(places, steps, strict=True):
            axes.text(step["seconds"], place, f"  {step['seconds']:.1f} s", va="center", color=TEXT, size=10)
        axes.set_yticks(places, [s["name"] for s in steps])
        axes.set_ylim(len(steps) - 0.4, -0.6)
        axes.set_xlim(0, 1.25 * max(s["seconds"] for s in steps) + 0.1)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("time [s]")

    total = sum(s["seconds"] for s in steps)
    return [
        draw(
            "time",
            "Time by step",
            f"Bars: time of each step, {total:.1f} s in all.",
            f"{total:.1f} s in all, of {m.numbers['machine']['seconds']:.1f} s of the run up to its report.",
            time,
            height=80 + 30 * len(steps),
        )
    ]


def all_panels(m: Measured) -> dict[str, list[Panel]]:
    """Draw all figures, by section."""
    return {
        "field": field_panels(m),
        "sky": sky_panels(m),
        "exposures": exposure_panels(m),
        "noise": noise_panels(m),
        "steps": step_panels(m),
        "machine": machine_panels(m),
    }

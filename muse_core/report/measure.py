# SPDX-License-Identifier: GPL-2.0-or-later
"""All that the report says of a run, measured on its products; and the checks of it."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from muse_core.model.origin import N_SLICE
from muse_core.model.record import record
from muse_core.model.statistics import SIGMA_PER_MAD
from muse_core.report import sky as sky_part
from muse_core.report.checks import Judge, Limit, outliers
from muse_core.report.correlation import Correlation, read_correlation
from muse_core.report.done import what_was_done
from muse_core.report.exposures import Exposure, find_exposures
from muse_core.report.field import Field, measure_field, on_cube
from muse_core.report.images import Cube, pixel_arcsec
from muse_core.report.products import Run, sign_inputs
from muse_core.report.rows import RowStatistics, statistics_of_file
from muse_core.report.sky import ExposureSky
from muse_core.report.spectra import APERTURE_ARCSEC, DEPTH_SIGMAS, SkySpectra, measure_spectra
from muse_core.report.steps import Steps, read_steps

#: A slice counts as an outlier if it is so many times the scatter of all slices away from their median.
_SLICE_SIGMAS = 6.0
#: Part of the light of the brightest column of a slice that there may be anywhere in it.
_WINGS = 0.01
#: Below that residual, in units of the noise of a row, exposures are not compared.
_RESIDUAL_FLOOR = 0.01
#: Nor below so many times what noise alone would be.
_ABOVE_NOISE = 3.0
#: What is compared with the median of the other exposures is not below so many times their scatter.
_ABOVE_SCATTER = 5.0


@record(frozen=False, eq=False)
class Measured:
    """A run with what was measured of it.

    Attributes
    ----------
    run : Run
        Its products.
    numbers : dict
        What goes into the JSON.
    exposures : list of Exposure
        The exposures.
    skies : list of ExposureSky or None
        Their skies.
    rows : dict of str to RowStatistics
        Statistics of their rows, by DATE-OBS, where these are known.
    steps : Steps
        Steps that are not always run.
    cube, field, spectra
        The cube, and what was measured of it, if there is one.
    at_lines : ndarray of bool, optional
        Planes of the cube with sky lines.
    correlation : Correlation, optional
        Noise of sums of voxels.
    """

    run: Run
    numbers: dict
    exposures: list[Exposure]
    skies: list[ExposureSky | None]
    rows: dict[str, RowStatistics]
    steps: Steps
    cube: Cube | None = None
    field: Field | None = None
    spectra: SkySpectra | None = None
    at_lines: np.ndarray | None = None
    correlation: Correlation | None = None


def measure(run: Run, limits: Mapping[str, Limit], record: Mapping | None = None) -> Measured:
    """Measure a run.

    Parameters
    ----------
    run : Run
        Its products.
    limits : mapping of str to Limit
        Limits of the checks.
    record : mapping, optional
        What only the run itself knows: ``rows`` (by DATE-OBS), ``exposures`` (numbers by DATE-OBS), ``machine``,
        ``inputs`` (paths).
    """
    record = record or {}
    exposures = find_exposures(run)
    for exposure in exposures:
        exposure.numbers |= record.get("exposures", {}).get(exposure.date_obs, {})
    skies = sky_part.read_sky(run, exposures)
    rows = dict(record.get("rows", {})) or _rows_of_files(run)
    measured = Measured(run, {}, exposures, skies, rows, read_steps(run))
    judge = Judge(limits)
    numbers = measured.numbers
    numbers |= _head(run, exposures)
    sign_inputs(numbers["inputs"], record.get("inputs", ()))
    product = run.first("DATACUBE_FINAL")
    if product is not None and not _is_cube(product.path):
        product = None
    if product is not None:
        _measure_cube(measured, Cube(product.path), judge)
    _measure_rows(measured, judge)
    _check_exposures(measured, judge)
    _check_steps(measured, judge)
    numbers |= measured.steps.numbers
    numbers["exposures"] = [{"date_obs": e.date_obs} | _plain(e.numbers) for e in exposures]
    if "machine" in record:
        numbers["machine"] = record["machine"]
        judge.check("warnings", float(sum(item["count"] for item in record["machine"].get("warnings", []))))
    numbers["checks"] = judge.sorted()
    numbers["verdict"] = judge.verdict
    numbers["outliers"] = outliers(numbers["checks"])
    return measured


def _is_cube(path) -> bool:
    from muse_core.io.fitsreader import FitsFile

    with FitsFile(path) as file:
        data = file.find("DATA")
        return data is not None and len(data.shape) == 3


def _plain(values: Mapping) -> dict:
    """Return values that JSON can have: numbers that are none become null."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


def _head(run: Run, exposures: list[Exposure]) -> dict:
    header, made = run.main.header, run.provenance
    times = [e.numbers["exptime"] for e in exposures if e.numbers.get("exptime")]
    return {
        "name": run.name,
        "recipe": made.recipe,
        "version": made.version,
        "system": made.system,
        "target": str(header.get("ESO OBS TARG NAME", header.get("OBJECT", ""))).strip(),
        "program": header.get("ESO OBS PROG ID"),
        "mode": header.get("ESO INS MODE"),
        "date": header.get("DATE"),
        "done": what_was_done(made),
        "n_exposures": len(exposures),
        "total_time": float(sum(times)) if times else None,
        "parameters": made.parameters,
        "inputs": made.inputs,
        "command": _command(made),
        "products": [
            {"file": p.path.name, "tag": p.tag, "bytes": p.path.stat().st_size, "md5": p.header.get("DATAMD5")}
            for p in run.products
        ],
    }


def _command(made) -> str:
    changed = [f"--{p['name']}={p['value']}" for p in made.parameters if p["changed"] is not False]
    return " ".join(["muse-esorex", made.recipe, *changed, "frames.sof"])


def _rows_of_files(run: Run) -> dict[str, RowStatistics]:
    return {str(p.header.get("DATE-OBS", "")): statistics_of_file(p.path) for p in run.of("PIXTABLE_REDUCED")}


def _measure_cube(measured: Measured, cube: Cube, judge: Judge) -> None:
    measured.cube = cube
    field = measured.field = measure_field(cube, measured.exposures)
    spectra = measured.spectra = measure_spectra(cube, field)
    numbers = measured.numbers
    numbers["field"] = field.numbers
    judge.check("filled", 100 * field.numbers["filled"])
    for exposure, sky in zip(measured.exposures, measured.skies, strict=True):
        if sky is not None and sky.mask is not None and exposure.wcs is not None and cube.wcs is not None:
            mask = on_cube(sky.mask, exposure.wcs, cube)  # sources are best known where all exposures are together
            exposure.numbers["sky_on_sources"] = float((mask & field.sources.mask).sum() / max(int(mask.sum()), 1))
    first = next((i for i, sky in enumerate(measured.skies) if sky is not None and len(sky.flux)), None)
    at_lines = np.zeros(len(cube.lbda), bool)
    found: dict = {}
    if first is not None:
        sky, exposure = measured.skies[first], measured.exposures[first]
        groups = sky_part.line_groups(sky, cube, exposure.numbers.get("velocity"))
        listed, at_lines = sky_part.residual_at_lines(groups, spectra)
        found["groups"] = listed
        subtracted = (
            _parameter(measured.run, "skymethod") not in ("none", None) or measured.run.recipe == "muse_create_sky"
        )
        if subtracted or measured.run.recipe == "muse_exp_combine":
            for group in listed:
                # what is faint beside the noise cannot be judged
                if group["relative"] is not None and group["height"] > (
                    2 * group["residual"] / max(group["in_noise"] or 1, 1e-9)
                ):
                    judge.check(
                        "line_residual", 100 * group["relative"], f"{group['name']}, {group['wavelength']:.0f} Å"
                    )
    between = ~at_lines & np.isfinite(spectra.residual)
    if between.any():
        found["continuum_residual"] = float(np.median(spectra.residual[between]))
        continuum = measured.exposures[first].numbers.get("sky_continuum") if first is not None else None
        found["continuum"] = continuum
        if continuum:
            judge.check("continuum_residual", 100 * abs(found["continuum_residual"]) / continuum)
    measured.at_lines = at_lines
    numbers["sky"] = found
    if np.isfinite(spectra.chi_square[between]).any():
        found["chi_square"] = float(np.nanmedian(spectra.chi_square[between]))
        if np.isfinite(spectra.chi_square[at_lines]).any():
            found["chi_square_at_lines"] = float(np.nanmedian(spectra.chi_square[at_lines]))
    ratio = spectra.ratio[between & np.isfinite(spectra.ratio)]
    noise: dict = {"aperture": APERTURE_ARCSEC, "sigmas": DEPTH_SIGMAS}
    if ratio.size:
        noise["scatter_over_stat"] = float(np.median(ratio))
        judge.check("stat", noise["scatter_over_stat"])
        if at_lines.any():
            line_ratio = float(np.nanmedian(spectra.ratio[at_lines])) / noise["scatter_over_stat"]
            found["line_scatter"] = line_ratio
            judge.check("line_scatter", line_ratio)
    if spectra.depth.size:
        noise |= {
            "depth": float(np.nanmedian(spectra.depth)),
            "depth_by_wavelength": [
                {"wavelength": float(w), "depth": float(d)}
                for w, d in zip(spectra.depth_lbda, spectra.depth, strict=True)
                if np.isfinite(d)
            ],
        }
    noise["unit"] = cube.unit
    correlation = measured.correlation = read_correlation(measured.run)
    if correlation is not None:
        noise["correlation"] = correlation.numbers()
    numbers["noise"] = noise


def _parameter(run: Run, name: str) -> str | None:
    return next((p["value"] for p in run.provenance.parameters if p["name"] == name), None)


def _measure_rows(measured: Measured, judge: Judge) -> None:
    """Numbers of the rows of each exposure; slices that differ from the others."""
    listed = []
    for exposure in measured.exposures:
        statistics = measured.rows.get(exposure.date_obs)
        if statistics is None:
            continue
        level = statistics.level
        seen = np.isfinite(level)
        numbers = exposure.numbers
        numbers |= {
            "rows": statistics.n_rows,
            "flags": dict(statistics.flags),
            "flagged": statistics.n_flagged,
            "sky_residual": statistics.residual_in_noise,
            "chi_square": statistics.chi_square,
        }
        if seen.sum() < 10:
            continue
        middle = np.median(level[seen])
        scatter = SIGMA_PER_MAD * np.median(np.abs(level[seen] - middle))
        apart = np.where(seen, level - middle, 0.0)
        apart[np.abs(apart) < _WINGS * statistics.peak] = 0.0  # it may be the light of a star in the slice
        worst = int(np.argmax(np.abs(apart)))
        ifu, number = divmod(worst, N_SLICE)
        sky = numbers.get("sky_level")
        found = {
            "exposure": exposure.date_obs,
            "scatter": float(scatter),
            "worst_ifu": ifu + 1,
            "worst_slice": number + 1,
            "worst": float(apart.flat[worst]),
            "scatter_over_stat": float(np.nanmedian(statistics.ratio)),
        }
        listed.append(found)
        if sky:
            outside = np.abs(apart) > _SLICE_SIGMAS * scatter
            # if none is, how much they differ by more than their noise
            own = np.sqrt(max(scatter**2 - np.nanmedian(statistics.noise) ** 2, 0.0))
            value = abs(found["worst"]) if outside.flat[worst] else own
            judge.check("slice_level", 100 * value / abs(sky), f"IFU {ifu + 1}, slice {number + 1}", exposure.date_obs)
    if listed:
        measured.numbers["slices"] = listed


def _check_exposures(measured: Measured, judge: Judge) -> None:
    exposures = measured.exposures
    step = next((pixel_arcsec(e.wcs) for e in exposures if e.wcs is not None), 0.2)
    for exposure in exposures:
        numbers = exposure.numbers
        if numbers.get("sky_on_sources") is not None:
            judge.check("mask_on_sources", 100 * numbers["sky_on_sources"], exposure=exposure.date_obs)
        if numbers.get("line_profile") is not None:
            judge.check("line_profile", 100 * numbers["line_profile"], exposure=exposure.date_obs)
        if numbers.get("misaligned") is not None:
            judge.check("misaligned", numbers["misaligned"] / step, exposure=exposure.date_obs)
        judge.check("transmission", numbers.get("transmission"), exposure=exposure.date_obs)
        judge.check("darcheck", numbers.get("refraction_left"), exposure=exposure.date_obs)
        rows, cosmics = numbers.get("rows"), numbers.get("cosmic_rays")
        if rows and cosmics is not None:
            judge.check("cosmic_rays", 100 * cosmics / rows, exposure=exposure.date_obs)
        if rows:
            judge.check("flagged", 100 * numbers["flagged"] / rows, exposure=exposure.date_obs)
    if len(exposures) < 2:
        return
    noise = max((statistics.residual_noise for statistics in measured.rows.values()), default=0.0)
    for name, key, floor in (
        ("sky_residual", "sky_residual", max(_RESIDUAL_FLOOR, _ABOVE_NOISE * noise)),
        ("image_quality", "fwhm", 0.0),
        ("sky_brightness", "sky_continuum", 0.0),
    ):
        known = {e.date_obs: e.numbers[key] for e in exposures if e.numbers.get(key) is not None}
        known = {date: value for date, value in known.items() if math.isfinite(value)}
        for date, value in known.items():
            others = [v for other, v in known.items() if other != date]
            judge.check(name, against_others(value, others, floor), exposure=date)


def against_others(value: float, others: Sequence[float], floor: float) -> float | None:
    """Return a number of an exposure over the median of those of others.

    Neither is taken below `floor`, nor below what exposures of this kind scatter by: where noise is all that there is,
    the largest of fifty is easily twice the median.

    Returns
    -------
    float or None
        The ratio; None if there is nothing to compare with.
    """
    if len(others) == 0:
        return None
    median = float(np.median(others))
    scatter = SIGMA_PER_MAD * float(np.median(np.abs(np.subtract(others, median))))
    least = max(floor, _ABOVE_SCATTER * scatter)
    middle = max(median, least)
    return max(value, least) / middle if middle > 0 else None


def _check_steps(measured: Measured, judge: Judge) -> None:
    numbers = measured.steps.numbers
    for item in numbers.get("autocalibration", []):
        judge.check("no_data", item["without_data"], exposure=item["exposure"])
    spaxel = numbers.get("alignment", {}).get("spaxel") or 0.2
    for image in numbers.get("alignment", {}).get("images", []):
        if "matches" in image:
            judge.check("matches", float(image["matches"]), exposure=image["exposure"])
            judge.check("misaligned", image["residual"] / spaxel, exposure=image["exposure"])

# SPDX-License-Identifier: GPL-2.0-or-later
"""One page of HTML of what was measured, and the same numbers as JSON."""

import dataclasses
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from muse_core.report.checks import LIMITS, OK
from muse_core.report.drawing import C1, C2, C3, C4, Panel, draw
from muse_core.report.figures import all_panels, unit_text
from muse_core.report.measure import Measured

SCHEMA = "muse-report/1"
_SECTIONS = {
    "field": "Field", "sky": "Sky", "exposures": "Exposures", "noise": "Noise and depth", "steps": "Further steps",
    "machine": "Machine",
}  # fmt: skip
_RANK = {"bad": 0, "look": 1, "ok": 2}
#: Columns of the tables of exposures: key, label, unit, format.
_OBSERVATION = (
    ("exptime", "time", "s", "{:.0f}"),
    ("airmass", "airmass", "", "{:.2f}"),
    ("seeing_monitor", "seeing, monitor", "″", "{:.2f}"),
    ("seeing_guider", "seeing, guider", "″", "{:.2f}"),
    ("position_angle", "position angle", "°", "{:.1f}"),
    ("temperature", "temperature", "°C", "{:.1f}"),
    ("pressure", "pressure", "hPa", "{:.1f}"),
    ("humidity", "humidity", "%", "{:.0f}"),
    ("velocity", "velocity", "km/s", "{:+.2f}"),
    ("offset_ra", "offset RA", "″", "{:+.2f}"),
    ("offset_dec", "offset Dec", "″", "{:+.2f}"),
    ("flux_scale", "flux scale", "", "{:.3f}"),
    ("weight", "weight", "", "{:.3g}"),
)
_RESULT = (
    ("fwhm", "FWHM", "″", "{:.2f}"),
    ("refraction_left", "refraction left", "″", "{:.3f}"),
    ("misaligned", "offset left", "″", "{:.2f}"),
    ("transmission", "flux", "relative", "{:.3f}"),
    ("sky_continuum", "sky continuum", "", "{:.1f}"),
    ("sky_residual", "sky residual", "σ", "{:.3f}"),
    ("chi_square", "χ² of the sky", "", "{:.3f}"),
    ("line_shift_min", "lines shifted, least", "Å", "{:+.3f}"),
    ("line_shift_max", "most", "Å", "{:+.3f}"),
    ("rows", "rows", "", "{:,}"),
    ("cosmic_rays", "cosmic rays", "rows", "{:,}"),
    ("flagged", "flagged", "rows", "{:,}"),
)
_MEGABYTES = 1e6


def plain(value):
    """Return numbers as JSON can have them, with six digits; what is none becomes null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.9g}") if math.isfinite(value) else None
    return value


def to_json(measured: Sequence[Measured], made_by: str) -> str:
    """Return the numbers of runs as JSON; see docs/report.md."""
    made = {"schema": SCHEMA, "made_by": made_by, "runs": [plain(m.numbers) for m in measured]}
    return json.dumps(made, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def to_html(measured: Sequence[Measured], made_by: str, json_name: str) -> str:
    """Return the page."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    runs = [_run(m, f"r{i}-" if len(measured) > 1 else "") for i, m in enumerate(measured, 1)]
    first = measured[0].numbers
    title = f"{first['target'] or first['name']}: {first['recipe']}"
    if len(measured) > 1:
        title = " · ".join(m.numbers["name"] for m in measured)
    return environment.get_template("page.html").render(
        title=title,
        runs=runs,
        compared=_compared(measured) if len(measured) > 1 else None,
        compare_panels=_compare_panels(measured) if len(measured) > 1 else [],
        made_by=made_by,
        json_name=json_name,
    )


def _run(m: Measured, prefix: str) -> dict:
    numbers = m.numbers
    panels = all_panels(m)
    if prefix:  # several runs on a page: names and clips are those of one figure each
        panels = {key: [_renamed(p, prefix) for p in found] for key, found in panels.items()}
    sections = []
    for key, title in _SECTIONS.items():
        tables = _tables(m, key)
        if panels[key] or tables:
            sections.append({"id": key, "title": title, "panels": panels[key], "tables": tables})
    return {
        "n": numbers,
        "prefix": prefix,
        "number": {e["date_obs"]: i for i, e in enumerate(numbers["exposures"], 1)},
        "facts": _facts(numbers),
        "checks": _grouped(numbers["checks"]),
        "sections": sections,
        "n_changed": sum(bool(p["changed"]) for p in numbers["parameters"]),
    }


def _renamed(panel: Panel, prefix: str) -> Panel:
    """Return a panel whose SVG has names of its own."""

    def unique(svg: str) -> str:
        names = set(re.findall(r' id="([^"]+)"', svg))
        return re.sub(r'( id="|#)([\w.-]+)', lambda f: f[1] + (prefix if f[2] in names else "") + f[2], svg)

    return dataclasses.replace(panel, svg=unique(panel.svg), narrow=unique(panel.narrow))


def _number(value: float | None, form: str = "{:.3g}") -> str:
    return "" if value is None or (isinstance(value, float) and not math.isfinite(value)) else form.format(value)


def _facts(n: Mapping) -> list[tuple[str, str, str]]:
    """Return what comes first: label, value, unit."""
    facts = []
    if n["n_exposures"]:
        facts.append(("exposures", str(n["n_exposures"]), ""))
    if n["total_time"]:
        facts.append(("total time", f"{n['total_time'] / 60:.1f}", "min"))
    seeing = [e["seeing_monitor"] for e in n["exposures"] if e.get("seeing_monitor")]
    if seeing:
        facts.append(("seeing (monitor)", f"{sum(seeing) / len(seeing):.2f}″", ""))
    if "field" in n:
        field = n["field"]
        if field["fwhm"] is not None:
            facts.append(("FWHM in the cube", f"{field['fwhm']:.2f}″", ""))
        facts.append(("wavelengths", "{:.0f}–{:.0f}".format(*field["wavelength"]), "Å"))
        facts.append(("cube", " × ".join(map(str, field["shape"])), ""))
        facts.append(("sources", str(field["n_sources"]), ""))
    groups = [g["relative"] for g in n.get("sky", {}).get("groups", []) if g["relative"] is not None]
    if groups:
        facts.append(("left of sky lines", f"{100 * max(groups):.1f}", "% (worst group)"))
    if n.get("sky", {}).get("chi_square"):
        facts.append(("χ² of the sky", f"{n['sky']['chi_square']:.2f}", "between lines"))
    noise = n.get("noise", {})
    if noise.get("depth"):
        facts.append(("5σ depth, 1″", f"{noise['depth']:.3g}", unit_text(noise["unit"])))
    if noise.get("scatter_over_stat"):
        facts.append(("scatter / √STAT", f"{noise['scatter_over_stat']:.2f}", ""))
    machine = n.get("machine", {})
    if machine.get("seconds"):
        facts.append(("took", f"{machine['seconds']:.0f}", "s"))
    return facts


def _grouped(checks: Sequence[Mapping]) -> list[dict]:
    """Return a row for each check beyond its limits, and one for all others of the same name."""
    rows = []
    for check in checks:
        if check["status"] != OK:
            rows.append(_check_row(check, check["where"], check["exposure"], check["value"], check["value"]))
    for name in LIMITS:
        fine = [c for c in checks if c["name"] == name and c["status"] == OK]
        if not fine:
            continue
        values = [c["value"] for c in fine]
        of = fine[0]["where"] if len(fine) == 1 else f"{len(fine)} {'exposures' if fine[0]['exposure'] else 'of them'}"
        rows.append(_check_row(fine[0], of, fine[0]["exposure"] if len(fine) == 1 else None, min(values), max(values)))
    return rows


def _check_row(check: Mapping, where: str, exposure: str | None, low: float, high: float) -> dict:
    text = f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g} – {high:.3g}"
    of = ", ".join(part for part in (where, exposure[:19].replace("T", " ") if exposure else "") if part)
    return dict(check) | {"text": text, "of": of}


def _tables(m: Measured, section: str) -> list[dict]:
    n = m.numbers
    if section == "exposures" and n["exposures"]:
        return _exposure_tables(n)
    if section == "steps":
        return _step_tables(n)
    if section == "machine" and "machine" in n:
        return _machine_tables(n["machine"])
    return []


def _exposure_tables(n: Mapping) -> list[dict]:
    """Return what is known of each exposure: how it was taken, what became of it, its flags."""
    flags = sorted({flag for e in n["exposures"] for flag in e.get("flags", {})})
    flagged = [(flag, flag.lower().replace("_", " "), "rows", "{:,}") for flag in flags]
    status = {o["exposure"]: o["status"] for o in n["outliers"]}
    tables = []
    for title, columns, of in (
        ("As observed and combined", _OBSERVATION, n["exposures"]),
        ("As reduced", _RESULT, n["exposures"]),
        ("Rows with flags, which are not used", flagged, [e.get("flags", {}) for e in n["exposures"]]),
    ):
        columns = [column for column in columns if any(values.get(column[0]) is not None for values in of)]
        if not columns:
            continue
        heads = [{"label": "exposure", "unit": "", "n": False}]
        heads += [{"label": label, "unit": unit, "n": True} for _, label, unit, _ in columns]
        rows = [
            {
                "status": status.get(e["date_obs"]),
                "values": [
                    f"{i}: {e['date_obs'][:19].replace('T', ' ')}",
                    *(_number(values.get(key), form) for key, _, _, form in columns),
                ],
            }
            for i, (e, values) in enumerate(zip(n["exposures"], of, strict=True), 1)
        ]
        tables.append({"title": title, "columns": heads, "rows": rows})
    return tables


def _table(title: str, columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]]) -> dict:
    heads = [{"label": label, "unit": unit, "n": i > 0} for i, (label, unit) in enumerate(columns)]
    return {"title": title, "columns": heads, "rows": [{"status": None, "values": list(row)} for row in rows]}


def _step_tables(n: Mapping) -> list[dict]:
    tables = []
    if "autocalibration" in n:
        rows = [
            (
                a["exposure"][:19],
                _number(a["rms"], "{:.4f}"),
                _number(a["min"], "{:.3f}"),
                _number(a["max"], "{:.3f}"),
                _number(a["without_data"], "{:.1f}"),
            )
            for a in n["autocalibration"]
        ]
        tables.append(
            _table(
                "Autocalibration",
                [("exposure", ""), ("scatter", ""), ("least", ""), ("most", ""), ("without data", "%")],
                rows,
            )
        )
    if "raman" in n:
        rows = [(r["exposure"][:19], _number(r["o2"]), _number(r["n2"])) for r in n["raman"]]
        tables.append(_table("Raman lines", [("exposure", ""), ("O₂ flux", ""), ("N₂ flux", "")], rows))
    if "alignment" in n:
        rows = [
            (
                i["exposure"][:19],
                f"{i['ra']:+.3f}",
                f"{i['dec']:+.3f}",
                _number(i.get("residual"), "{:.3f}"),
                _number(i.get("matches"), "{:d}"),
                _number(i.get("sources"), "{:d}"),
            )
            for i in n["alignment"]["images"]
        ]
        tables.append(
            _table(
                "Alignment",
                [
                    ("exposure", ""),
                    ("offset RA", "″"),
                    ("offset Dec", "″"),
                    ("left over", "″"),
                    ("matches", ""),
                    ("sources", ""),
                ],
                rows,
            )
        )
    return tables


def _machine_tables(machine: Mapping) -> list[dict]:
    tables = []
    plan = machine.get("plan")

    def row(name: str, seconds: float, memory: float, disk: float) -> tuple[str, ...]:
        return name, f"{seconds:.1f}", f"{memory / _MEGABYTES:.0f}", f"{disk / _MEGABYTES:.0f}"

    rows = [row(s["name"], s["seconds"], s["memory_bytes"], s["written_bytes"]) for s in machine.get("steps", [])]
    rows.append(row("all, up to this report", *(machine[key] for key in ("seconds", "memory_bytes", "written_bytes"))))
    if plan:
        rows.append(
            row("planned", plan["seconds"], plan["memory_bytes"], plan["products_bytes"] + plan["scratch_bytes"])
        )
    heads = [("step", ""), ("time", "s"), ("peak memory so far", "MB"), ("written", "MB")]
    tables.append(_table("What it took", heads, rows))
    if machine.get("warnings"):
        rows = [(w["text"], str(w["count"])) for w in machine["warnings"]]
        tables.append(_table("Warnings", [("message", ""), ("times", "")], rows))
    return tables


def _key_numbers(n: Mapping) -> list[tuple[str, str, str]]:
    groups = [g["relative"] for g in n.get("sky", {}).get("groups", []) if g["relative"] is not None]
    field, noise = n.get("field", {}), n.get("noise", {})
    return [
        ("Exposures", "", str(n["n_exposures"])),
        ("Total time", "min", _number(n["total_time"] and n["total_time"] / 60, "{:.1f}")),
        ("FWHM", "″", _number(field.get("fwhm"), "{:.3f}")),
        ("Sources", "", _number(field.get("n_sources"), "{:d}")),
        ("χ² of the sky, between lines", "", _number(n.get("sky", {}).get("chi_square"), "{:.3f}")),
        ("χ² of the sky, at lines", "", _number(n.get("sky", {}).get("chi_square_at_lines"), "{:.3f}")),
        ("Voxels with data", "%", _number(field.get("filled") and 100 * field["filled"], "{:.2f}")),
        ("Left of sky lines, worst group", "%", _number(100 * max(groups) if groups else None, "{:.2f}")),
        ("Scatter at sky lines over that between them", "", _number(n.get("sky", {}).get("line_scatter"), "{:.3f}")),
        ("Scatter / √STAT", "", _number(noise.get("scatter_over_stat"), "{:.3f}")),
        ("5σ depth, 1″", unit_text(noise["unit"]) if noise else "", _number(noise.get("depth"), "{:.4g}")),
        (
            "Parameters that are not the default",
            "",
            ", ".join(f"{p['name']}={p['value']}" for p in n["parameters"] if p["changed"]) or "none",
        ),
        ("Version", "", n["version"]),
    ]


def _compared(measured: Sequence[Measured]) -> list[dict]:
    """Return the rows of the comparison."""
    rows = [{"label": "Verdict", "unit": "", "status": True, "values": [m.numbers["verdict"] for m in measured]}]
    columns = [_key_numbers(m.numbers) for m in measured]
    for cells in zip(*columns, strict=True):
        unit = next((cell[1] for cell in cells if cell[1]), "")
        rows.append({"label": cells[0][0], "unit": unit, "status": False, "values": [cell[2] for cell in cells]})
    return rows


def _compare_panels(measured: Sequence[Measured]) -> list[Panel]:
    """Draw curves of all runs over each other."""
    colours = (C1, C2, C3, C4)

    def curves(figure, key: str, label: str):
        axes = figure.add_subplot()
        for i, m in enumerate(measured):
            if m.spectra is None:
                continue
            x = m.spectra.depth_lbda if key == "depth" else m.spectra.lbda
            axes.plot(
                x,
                getattr(m.spectra, key),
                color=colours[i % 4],
                lw=1,
                alpha=0.85,
                label=m.numbers["name"],
                ls="-" if i < 4 else "--",
            )
        axes.set_xlabel("wavelength [Å]")
        axes.set_ylabel(label)
        axes.margins(x=0.01)
        axes.legend()

    if all(m.spectra is None for m in measured):
        return []
    names = " and ".join(m.numbers["name"] for m in measured)
    return [
        draw(
            "compare-residual",
            "Left of the sky",
            f"Residual sky spectra of {names}.",
            "Median of the spaxels without source.",
            curves,
            key="residual",
            label="residual",
        ),
        draw(
            "compare-ratio",
            "Noise against STAT",
            f"Scatter over STAT of {names}.",
            "1 where STAT is the noise of a voxel.",
            curves,
            key="ratio",
            label="scatter / √STAT",
        ),
        draw(
            "compare-depth",
            "Depth",
            f"Depth of {names}.",
            "5σ in apertures of 1″ diameter.",
            curves,
            key="depth",
            label="depth",
        ),
    ]

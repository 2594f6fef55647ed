#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Write parameters.md and recipes.md from the declarations of the recipes and the cases of the parity tests."""

import functools
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

from muse_core.frontends.registry import built_in, class_of
from muse_core.model.declare import ParameterSpec

TESTS = Path(__file__).parents[1] / "tests"
EQUAL = "equal"
STATUS = {
    "darcheck": "equal; corrected positions within 0.002 arcsec",
    "raman_width": "equal with `MUSE_COMPAT=2.8.7`; else the exact minimum",
    "RAMAN_LINES": "equal with `MUSE_COMPAT=2.8.7`; else the exact minimum",
}
_SHOWN = 4  # names in a cell
_LICENCE = "<!-- SPDX-License-Identifier: GPL-2.0-or-later -->"
_TABLE_OF_DEFECTS = "DEFECTS"  # cases of bad input: they say nothing about a parameter


@functools.cache
def cases(recipe: str) -> dict[str, object]:
    """Return the parity cases of a recipe by name, those with few parameters first; see tests/harness/case.py."""
    return {name: case for (of, name), case in _all_cases().items() if of == recipe}


@functools.cache
def _all_cases() -> dict[tuple[str, str], object]:
    """Return all cases by recipe and name."""
    sys.path.insert(0, str(TESTS))
    try:
        from harness.case import Case

        found = {}
        for path in sorted((TESTS / "parity").glob("test_*.py")):
            if "harness.case" in path.read_text():
                for name, table in runpy.run_path(str(path)).items():
                    if isinstance(table, dict) and name != _TABLE_OF_DEFECTS:
                        found |= {(c.recipe, case): c for case, c in table.items() if isinstance(c, Case)}
        return dict(sorted(found.items(), key=lambda item: len(item[1].parameters)))
    finally:
        sys.path.remove(str(TESTS))


def tested_values(recipe: str, spec: ParameterSpec) -> Iterator[tuple[str, str]]:
    """Yield name of the case and value for each case in which a parameter has another value than its default."""
    for name, case in cases(recipe).items():
        value = case.settings.get(spec.name)
        if value is not None and not _is_default(spec, value):
            yield name, value


def _is_default(spec: ParameterSpec, value: str) -> bool:
    if spec.type is bool:
        return value.lower() == str(spec.default).lower()
    return spec.type(value) == spec.default


def tested_frames(recipe: str, tag: str) -> list[str]:
    """Return the names of the cases that use a tag."""
    return [name for name, case in cases(recipe).items() if tag in case.tags]


def _some(texts, mark: str = "") -> str:
    texts = list(dict.fromkeys(texts))
    shown = [f"{mark}{text}{mark}" for text in texts[:_SHOWN]]
    return "; ".join(shown) + (f"; {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else "")


def _tests(recipe) -> Iterator[str]:
    if not cases(recipe.NAME):
        return
    yield from ("", "Against ESO's recipe:", "", "| parameter | status | values other than the default | cases |")
    yield "|---|---|---|---|"
    for spec in recipe.PARAMETERS:
        tested = list(tested_values(recipe.NAME, spec))
        values, names = _some((value for _, value in tested), "`"), _some(name for name, _ in tested)
        yield f"| `{spec.name}` | {STATUS.get(spec.name, EQUAL)} | {values} | {names} |"
    yield from ("", "| input frame | status | cases |", "|---|---|---|")
    for spec in recipe.INPUTS:
        yield f"| `{spec.tag}` | {STATUS.get(spec.tag, EQUAL)} | {_some(tested_frames(recipe.NAME, spec.tag))} |"


def _section(recipe) -> Iterator[str]:
    yield from ("", f"## {recipe.NAME}", "", recipe.SYNOPSIS, "")
    yield from ("| parameter | default | values | meaning |", "|---|---|---|---|")
    for spec in recipe.PARAMETERS:
        values = ", ".join(spec.choices) or spec.type.__name__ + (f" [{spec.unit}]" if spec.unit else "")
        values += f", {spec.limits}" if spec.limits else ""
        hidden = " *(hidden in help texts)*" if spec.hidden else ""
        yield f"| `{spec.name}` | `{spec.default}` | {values} | {spec.help}{hidden} |"
    yield from ("", "| input frame | group | meaning |", "|---|---|---|")
    yield from (f"| `{spec.tag}` | {spec.group} | {spec.help} |" for spec in recipe.INPUTS)
    yield from ("", "| product | level | meaning |", "|---|---|---|")
    yield from (f"| `{spec.tag}` | {spec.level.lower()} | {spec.help} |" for spec in recipe.PRODUCTS)
    yield from _tests(recipe)


def text() -> str:
    """Return the page."""
    lines = [
        _LICENCE,
        "# Parameters, frames and products",
        "",
        "Made by `docs/make_parameters.py` from `recipes` and `tests/parity`.",
        "",
        "Each recipe is compared with ESO's: both run on the same simulated frames, and all products are compared.",
        "(`pytest tests/parity -k NAME`, with the name of a case). Equal means: within the tolerances of",
        "`tests/harness/tolerances.py`, most to the last bit.",
    ]
    for module in built_in():
        lines += _section(class_of(module))
    return "\n".join(lines) + "\n"


def overview() -> str:
    """Return the page that says which recipe takes what."""
    recipes = [class_of(module) for module in built_in()]
    lines = [
        _LICENCE,
        "# Which recipe takes what",
        "",
        "Made by `docs/make_parameters.py` from `recipes`. The parameters of each: [parameters.md](parameters.md).",
        "From exposures to one cube, step by step: [combining.md](combining.md).",
        "",
        "| recipe | what it does | of | makes |",
        "|---|---|---|---|",
    ]
    for recipe in recipes:
        made = ", ".join(f"`{spec.tag}`" for spec in recipe.PRODUCTS)
        lines.append(f"| `{recipe.NAME}` | {recipe.SYNOPSIS} | `{recipe.raw_tag()}` | {made} |")
    lines += ["", "## Calibrations", "", "Needed: **x**; optional: x.", ""]
    calibrations = {spec.tag: None for recipe in recipes for spec in recipe.INPUTS if spec.group == "CALIB"}
    names = [recipe.NAME.removeprefix("muse_").replace("_", " ") for recipe in recipes]
    lines += [f"| frame | {' | '.join(names)} |", "|---" * (len(recipes) + 1) + "|"]
    for tag in calibrations:
        marks = []
        for recipe in recipes:
            needed = [spec.minimum > 0 for spec in recipe.INPUTS if spec.tag == tag]
            marks.append({(): "", (True,): "**x**", (False,): "x"}[tuple(needed)])
        lines.append(f"| `{tag}` | {' | '.join(marks)} |")
    lines += [
        "",
        "## One recipe, or its steps one by one",
        "",
        "`muse_scipost` does in one run what these do one after the other, in this order: `muse_scipost_correct_dar`,",
        "`muse_scipost_calibrate_flux`, `muse_scipost_raman`, (`muse_create_sky`,) `muse_scipost_subtract_sky` or",
        "`muse_scipost_subtract_sky_simple`, `muse_scipost_correct_rv`, `muse_scipost_apply_astrometry`,",
        "`muse_scipost_combine_pixtables`, `muse_scipost_make_cube`. Those that take each pixel table by itself do not",
        "bring the IFUs of an exposure to one level, nor apply the flat-field spectrum: give them merged tables.",
        "`muse_scipost_raman` corrects refraction itself. There is no recipe for the autocalibration alone.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for name, page in (("parameters.md", text()), ("recipes.md", overview())):
        (Path(__file__).parent / name).write_text(page, encoding="ascii", errors="replace")

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Write docs/parameters.md from the declaration of the recipe and the cases of the parity tests."""

import functools
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

from muse_core.model.declare import ParameterSpec
from muse_core.recipes.muse_scipost import MuseScipost

TESTS = Path(__file__).parents[1] / "tests"
EQUAL = "equal"
STATUS = {
    "darcheck": "equal; corrected positions within 0.002 arcsec",
    "raman_width": "equal with `MUSE_COMPAT=2.8.7`; else the exact minimum",
    "RAMAN_LINES": "equal with `MUSE_COMPAT=2.8.7`; else the exact minimum",
}
_SHOWN = 4  # names in a cell
_TABLE_OF_DEFECTS = "DEFECTS"  # cases of bad input: they say nothing about a parameter


@functools.cache
def cases() -> dict[str, object]:
    """Return the cases of the parity tests by name, those with few parameters first; see tests/harness/case.py."""
    sys.path.insert(0, str(TESTS))
    try:
        from harness.case import Case

        found = {}
        for path in sorted((TESTS / "parity").glob("test_*.py")):
            if "harness.case" in path.read_text():
                for name, table in runpy.run_path(str(path)).items():
                    if isinstance(table, dict) and name != _TABLE_OF_DEFECTS:
                        found |= {case: value for case, value in table.items() if isinstance(value, Case)}
        return dict(sorted(found.items(), key=lambda item: len(item[1].parameters)))
    finally:
        sys.path.remove(str(TESTS))


def tested_values(spec: ParameterSpec) -> Iterator[tuple[str, str]]:
    """Yield name of the case and value for each case in which a parameter has another value than its default."""
    for name, case in cases().items():
        value = case.settings.get(spec.name)
        if value is not None and not _is_default(spec, value):
            yield name, value


def _is_default(spec: ParameterSpec, value: str) -> bool:
    if spec.type is bool:
        return value == str(spec.default).lower()
    return spec.type(value) == spec.default


def tested_frames(tag: str) -> list[str]:
    """Return the names of the cases that use a tag."""
    return [name for name, case in cases().items() if tag in case.tags]


def _some(texts, mark: str = "") -> str:
    texts = list(dict.fromkeys(texts))
    shown = [f"{mark}{text}{mark}" for text in texts[:_SHOWN]]
    return "; ".join(shown) + (f"; {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else "")


def _tests() -> Iterator[str]:
    yield from (
        "",
        "## Tests against ESO's recipe",
        "",
        "Both recipes run on the same simulated frames, and all products are compared (`pytest tests/parity -k NAME`).",
        "Equal means: within the tolerances of `tests/harness/tolerances.py`, most to the last bit.",
        "",
        "| parameter | status | values other than the default | cases |",
        "|---|---|---|---|",
    )
    for spec in MuseScipost.PARAMETERS:
        tested = list(tested_values(spec))
        values, names = _some((value for _, value in tested), "`"), _some(name for name, _ in tested)
        yield f"| `{spec.name}` | {STATUS.get(spec.name, EQUAL)} | {values} | {names} |"
    yield from ("", "| input frame | status | cases |", "|---|---|---|")
    for spec in MuseScipost.INPUTS:
        yield f"| `{spec.tag}` | {STATUS.get(spec.tag, EQUAL)} | {_some(tested_frames(spec.tag))} |"


def text() -> str:
    """Return the page."""
    lines = [
        "# Parameters, frames and products of muse_scipost",
        "",
        "Made by `docs/make_parameters.py` from `recipes/muse_scipost.py` and `tests/parity`.",
        "",
        "| parameter | default | values | meaning |",
        "|---|---|---|---|",
    ]
    for spec in MuseScipost.PARAMETERS:
        values = ", ".join(spec.choices) or spec.type.__name__ + (f" [{spec.unit}]" if spec.unit else "")
        values += f", {spec.limits}" if spec.limits else ""
        hidden = " *(hidden in help texts)*" if spec.hidden else ""
        lines.append(f"| `{spec.name}` | `{spec.default}` | {values} | {spec.help}{hidden} |")
    lines += ["", "| input frame | group | meaning |", "|---|---|---|"]
    lines += [f"| `{spec.tag}` | {spec.group} | {spec.help} |" for spec in MuseScipost.INPUTS]
    lines += ["", "| product | level | meaning |", "|---|---|---|"]
    lines += [f"| `{spec.tag}` | {spec.level.lower()} | {spec.help} |" for spec in MuseScipost.PRODUCTS]
    lines += _tests()
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (Path(__file__).parent / "parameters.md").write_text(text(), encoding="ascii", errors="replace")

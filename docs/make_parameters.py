#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Write docs/parameters.md from the declaration of the recipe."""

from pathlib import Path

from muse_core.model.declare import parameter_specs
from muse_core.recipes import declaration


def text() -> str:
    """Return the page."""
    lines = [
        "# Parameters, frames and products of muse_scipost",
        "",
        "Made by `docs/make_parameters.py` from `recipes/declaration.py`.",
        "",
        "| parameter | default | values | meaning |",
        "|---|---|---|---|",
    ]
    for spec in parameter_specs(declaration.ScipostParameters):
        values = ", ".join(spec.choices) or spec.type.__name__ + (f" [{spec.unit}]" if spec.unit else "")
        values += f", {spec.limits}" if spec.limits else ""
        hidden = " *(hidden in help texts)*" if spec.hidden else ""
        lines.append(f"| `{spec.name}` | `{spec.default}` | {values} | {spec.help}{hidden} |")
    lines += ["", "| input frame | group | meaning |", "|---|---|---|"]
    lines += [f"| `{spec.tag}` | {spec.group} | {spec.help} |" for spec in declaration.INPUTS]
    lines += ["", "| product | level | meaning |", "|---|---|---|"]
    lines += [f"| `{spec.tag}` | {spec.level.lower()} | {spec.help} |" for spec in declaration.PRODUCTS]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (Path(__file__).parent / "parameters.md").write_text(text(), encoding="ascii", errors="replace")

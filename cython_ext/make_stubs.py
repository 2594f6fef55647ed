# SPDX-License-Identifier: GPL-2.0-or-later
"""Write the types of kernels, ``<kernel>.pyi``, from their declarations in ``<kernel>.pyx``.

``--check`` writes nothing, and fails if one is not up to date.
"""

import re
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
#: Types of C, and what a caller gives.
SCALARS = {"double": "float", "float": "float", "int": "int", "Py_ssize_t": "int", "bint": "bool", "object": "Any"}
STRUCTS = {"grid_t": "Mapping[str, Any]", "weighting_t": "Mapping[str, Any]"}
ELEMENTS = {
    "double": "np.float64",
    "float": "np.float32",
    "int": "np.int32",
    "int32_t": "np.int32",
    "uint32_t": "np.uint32",
    "unsigned int": "np.uint32",
    "int64_t": "np.int64",
    "long long": "np.int64",
    "Py_ssize_t": "np.intp",
    "uint64_t": "np.uint64",
    "uint8_t": "np.uint8",
    "row_t": "np.void",
    "cell_row_t": "np.void",
    "spaxel_t": "np.void",
    "constants_t": "np.void",
    "curves_t": "np.void",
    "factor_t": "np.void",
    "flux_t": "np.void",
}
#: What functions return, beside nothing.
RETURNS = {
    "autocal.clipped_mean": "tuple[float, float, int]",
    "columns.add_image": "int",
    "columns.find_changes": "tuple[int, int]",
    "columns.pack": "int",
    "cosmics.scratch_sizes": "tuple[int, int, int]",
    "detect.label": "int",
    "files.read_columns": "tuple[int, int]",
    "files.read_pieces": "int",
    "grid.n_chunks": "int",
    "grid.pixel_of_position": "tuple[float, float]",
    "grid.position_of_pixel": "tuple[float, float]",
    "grid.tangent_plane": "tuple[float, float]",
    "minpack.damping_parameter": "float",
    "minpack.norm": "float",
    "minpack.scaled_gradient": "float",
    "noise.n_sums": "int",
    "noise.scratch_size": "int",
    "resample.scratch_size": "int",
    "rows.constants": "tuple[dict[str, int], dict[str, int]]",
    "rows.compress": "int",
    "rows.find_runs": "tuple[int, int]",
    "rows.keep_inside": "int",
    "rows.sort_space": "tuple[int, bool]",
    "sky_select.gather": "int",
}
_FUNCTION = re.compile(r"^def (\w+)\((.*?)\)(?: -> (.+?))?:\n(.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)
_CONSTANT = re.compile(r"^([A-Z][A-Z_0-9]*) = (.+)$", re.MULTILINE)


def annotation(declaration: str) -> tuple[str, str]:
    """Return name and Python type of a parameter."""
    *words, name = re.sub(r"\bconst ", "", " ".join(declaration.split())).rsplit(" ", 1)
    kind = words[0] if words else "object"
    element, bracket, _ = kind.partition("[")
    if not bracket:
        return name, SCALARS.get(kind) or STRUCTS[kind]
    if element == "unsigned char":
        return name, "Buffer"
    return name, f"npt.NDArray[{ELEMENTS[element]}]"


def split(text: str) -> list[str]:
    """Return what stands between commas that are in no brackets."""
    return [part for part in re.split(r",(?![^\[]*\])", text) if part.strip()]


def stub(path: Path) -> str:
    """Return the text of the types of a kernel."""
    source = path.read_text(encoding="utf-8")
    lines = []
    for name, parameters, _, body in _FUNCTION.findall(source):
        optional = set(re.findall(r"\b(\w+) is (?:not )?None\b", body))
        arguments = [
            f"{key}: {kind}{' | None' * (key in optional and kind != 'Any')}"
            for key, kind in map(annotation, split(parameters))
        ]
        returns = RETURNS.get(f"{path.stem}.{name}", "None")
        if (re.search(r"^ +return \S", body, re.MULTILINE) is not None) != (returns != "None"):
            raise SystemExit(f"{path.name}: {name}: say in RETURNS of {Path(__file__).name} what it returns")
        line = f"def {name}({', '.join(arguments)}) -> {returns}: ..."
        if len(line) > 120:
            line = f"def {name}(\n" + "".join(f"    {argument},\n" for argument in arguments) + f") -> {returns}: ..."
        lines.append(line)
    text = "\n".join(lines)
    constants = [
        f"{name}: {'float' if '.' in value or 'float' in value else 'int'}" for name, value in _CONSTANT.findall(source)
    ]
    if constants:
        text = "\n".join(constants) + "\n\n" + text
    needs = [
        ("from collections.abc import Mapping", "Mapping["),
        ("from typing import Any", "Any"),
        ("from typing_extensions import Buffer", "Buffer"),
        ("import numpy as np", "np."),
        ("import numpy.typing as npt", "npt."),
    ]
    standard = "\n".join(line for line, use in needs[:2] if use in text)
    other = "\n".join(line for line, use in needs[3:] + needs[2:3] if re.search(rf"\b{re.escape(use)}", text))
    parts = [
        f"# SPDX-License-Identifier: GPL-2.0-or-later\n# Made by {Path(__file__).name} from {path.name}.",
        standard,
        other,
        text,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def main() -> int:
    """Write, or check, the types of all kernels."""
    stale = []
    for path in sorted(FOLDER.glob("*.pyx")):
        target, text = path.with_suffix(".pyi"), stub(path)
        if "--check" in sys.argv[1:]:
            if not target.exists() or target.read_text(encoding="utf-8") != text:
                stale.append(target.name)
        else:
            target.write_text(text, encoding="utf-8")
    if stale:
        print(f"{', '.join(stale)}: not up to date; run: python cython_ext/{Path(__file__).name}")
    return bool(stale)


if __name__ == "__main__":
    raise SystemExit(main())

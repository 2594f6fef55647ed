# SPDX-License-Identifier: GPL-2.0-or-later
"""Parts of the manual that are made of the declarations of the recipes and of their products, while it is built."""

import ast
import importlib
import pkgutil
import re
import runpy
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from astropy.io import fits

from muse_core.frontends.registry import built_in, class_of

DOCS = Path(__file__).parent
TOOLS = DOCS.parent / "tools"
#: Which switches of `model/compat.py` concern a parameter or the frames of a tag; the others concern all runs.
CONCERNS = {
    "pixfrac": ("text_counts_as_zero",),
    "sky_crsigma": ("text_counts_as_zero",),
    "skymodel_sampling": ("wide_bin_not_folded",),
    "sampling": ("wide_bin_not_folded",),
    "skymethod": ("subtract_model_without_inputs", "shifted_lines_used"),
    "autocalib": ("user_factors_computed",),
    "darcheck": ("dar_fits_end_early", "dar_of_few_planes_zero"),
    "rvcorr": ("geolon_west_positive",),
    "dx": ("stacked_dx_in_degrees", "euro3d_step_asked_for"),
    "format": ("euro3d_images_cut",),
    "filter": ("filter_without_data_used",),
    "resample": ("renka_nan_variance",),
    "orig": ("original_always_kept",),
    "override_detection": ("override_without_lists", "source_list_off_by_one"),
    "AUTOCAL_FACTORS": ("autocal_by_row_position", "user_factors_computed"),
    "EXTINCT_TABLE": ("curves_of_other_range_used",),
    "STD_RESPONSE": ("curves_of_other_range_used", "unflagged_outside_calibration"),
    "STD_TELLURIC": ("curves_of_other_range_used",),
    "OUTPUT_WCS": ("bad_output_wcs_ignored", "grid_without_data_made"),
    "OFFSET_LIST": ("bad_offset_list_ignored", "unmatched_offsets_ignored"),
    "SKY_LINES": ("sky_lines_dropped", "bad_sky_input_ignored", "shifted_lines_used"),
    "SKY_CONTINUUM": ("bad_sky_input_ignored",),
    "SKY_MASK": ("bad_sky_input_ignored",),
    "LSF_PROFILE": (
        "bad_lsf_used",
        "lsf_of_other_shape_ignored",
        "slice_without_lsf_ignored",
        "continuum_of_other_rows",
    ),
    "RAMAN_LINES": ("raman_float32_fit",),
    "IMAGE_FOV": ("preview_cut", "ra_zero_not_crossed"),
    "ASTROMETRY_WCS": ("astrometry_input_not_recorded",),
}
_PATTERN = re.compile(r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.*?) \|$", re.MULTILINE)
_STRUCTURE = re.compile(r"^(SIMPLE|BITPIX|NAXIS\d*|EXTEND|XTENSION|PCOUNT|GCOUNT|TFIELDS|T[A-Z]+\d+|COMMENT|HISTORY|)$")


def switches() -> dict[str, tuple[str, str, str]]:
    """Return what the reference does, what we do, and the effect, of each switch in known_differences.md."""
    page = (DOCS / "known_differences.md").read_text().split("## Without a switch")[0]
    return {name: (theirs, ours, effect) for name, theirs, ours, effect in _PATTERN.findall(page)}


def _differences(names: Iterable[str], known: dict[str, tuple[str, str, str]]) -> str:
    """Return a cell of a table: what differs."""
    rows = [known[name] for name in names if name in known]
    return "<br>".join(f"ESO's recipe {theirs}; here: {ours}" for theirs, ours, _ in rows) or "nothing"


def from_eso() -> str:
    """Return the tables of all recipes: each parameter and frame, and what differs from ESO's recipe."""
    known, lines = switches(), []
    for recipe in map(class_of, built_in()):
        lines += ["", f"## {recipe.NAME}", "", "| parameter | default, as ESO's | what differs |", "|---|---|---|"]
        for spec in recipe.PARAMETERS:
            lines.append(f"| `{spec.name}` | `{spec.default}` | {_differences(CONCERNS.get(spec.name, ()), known)} |")
        lines += ["", "| frame | what differs |", "|---|---|"]
        for spec in recipe.INPUTS:
            lines.append(f"| `{spec.tag}` | {_differences(CONCERNS.get(spec.tag, ()), known)} |")
    concerned = {name for names in CONCERNS.values() for name in names}
    lines += ["", "## In all recipes", "", "| ESO's recipe | here | effect |", "|---|---|---|"]
    lines += [f"| {' | '.join(texts)} |" for name, texts in known.items() if name not in concerned]
    return "\n".join(lines) + "\n"


def _hdus(hdus: fits.HDUList) -> Iterator[str]:
    yield from ("| HDU | what | unit |", "|---|---|---|")
    for number, hdu in enumerate(hdus):
        name = hdu.name or f"extension {number}"
        if isinstance(hdu, fits.BinTableHDU):
            yield f"| `{name}` | table, a row each: {len(hdu.columns)} columns | |"
        elif hdu.header["NAXIS"]:
            kind = {8: "uint8", 16: "int16", 32: "int32", -32: "float32", -64: "float64"}[hdu.header["BITPIX"]]
            axes = " x ".join(str(n) for n in hdu.shape)
            axes = "a value for each pixel of the detector" if hdu.shape[-1] == 1 else f"{axes} (numpy)"
            yield f"| `{name}` | {kind}, {axes} | {hdu.header.get('BUNIT', '')} |"
        else:
            yield f"| `{name}` | header only | |"
    for hdu in hdus:
        if isinstance(hdu, fits.BinTableHDU):
            yield from ("", f"Columns of `{hdu.name}`:", "", "| column | type | unit |", "|---|---|---|")
            yield from (f"| `{c.name}` | {c.format} | {c.unit or ''} |" for c in hdu.columns)


def _keywords(hdus: fits.HDUList, spec) -> Iterator[str]:
    declared = {f"ESO QC .. {qc.name}": (qc.unit, qc.comment) for qc in spec.qc}
    found = {}
    for hdu in hdus:
        for card in hdu.header.cards:
            if card.keyword.startswith("ESO DRS MUSE"):
                name = re.sub(r"\d+", "k", card.keyword)
                found.setdefault(name, ("", card.comment))
    rows = {**declared, **found}
    if rows:
        yield from ("", "| keyword | meaning |", "|---|---|")
        yield from (f"| `{k}` | {text}{f' [{unit}]' if unit else ''} |" for k, (unit, text) in rows.items())


#: What messages are about, by the beginning of the path of the module that has them, the longest that fits.
SUBJECTS = {
    "io": "Files and sets of frames",
    "model": "Headers, tables, parameters",
    "recipe": "Headers, tables, parameters",
    "recipes": "Headers, tables, parameters",
    "engine": "Memory, disks, rows",
    "engine/cluster": "Clusters",
    "stages": "Steps of the reduction",
    "steps": "Steps of the reduction",
    "steps/align": "Alignment",
    "stages/align": "Alignment",
    "report": "Reports",
    "frontends": "Commands",
    "frontends/pythoncpl": "Python",
    "api": "Python",
    "noise": "Python",
}
_KINDS = {"InputError", "MissingFileError", "ParameterError", "DataError", "ResourceError", "ProductError"}
#: Letters that a message has at least, beside what is put in.
_LETTERS = 12


def _pattern(node: ast.expr) -> str:
    """Return a text of the code, with ... where something is put in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_pattern(value) if isinstance(value, ast.Constant) else "..." for value in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _pattern(node.left) + _pattern(node.right)
    return "..."


def errors() -> dict[str, dict[str, str]]:
    """Return the messages of errors in the code, with their kind, by subject."""
    found: dict[str, dict[str, str]] = {subject: {} for subject in SUBJECTS.values()}
    root = DOCS.parent
    for path in sorted([*(root / "muse_core").rglob("*.py"), *(root / "recipes").glob("*.py")]):
        name = path.relative_to(root).with_suffix("").as_posix().removeprefix("muse_core/")
        subject = max((prefix for prefix in SUBJECTS if name.startswith(prefix)), key=len, default=None)
        if subject is None:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _KINDS and node.args:
                text = re.sub(r"(\.\.\.)+", "...", _pattern(node.args[0])).strip()
                if sum(letter.isalpha() for letter in text) >= _LETTERS:
                    found[SUBJECTS[subject]][text] = node.func.id
    return found


def messages() -> str:
    """Return the tables of all messages of errors."""
    lines = []
    for subject, texts in errors().items():
        lines += ["", f"## {subject}", "", "| message | kind |", "|---|---|"]
        for text, kind in sorted(texts.items(), key=lambda item: item[0].lstrip(".: ").lower()):
            escaped = text.replace("|", "\\|").replace("\n", " ")
            lines.append(f"| {'``' if '`' in escaped else '`'}{escaped}{'``' if '`' in escaped else '`'} | {kind} |")
    return "\n".join(lines) + "\n"


def products(folder: Path) -> str:
    """Return a section for each product of the recipes, described by a file of it.

    Parameters
    ----------
    folder : Path
        Where there is a file ``TAG*.fits`` of each product, in the folder itself or one within.

    Returns
    -------
    str
        Markdown.

    Raises
    ------
    FileNotFoundError
        If there is a product without a file.
    """
    lines = []
    specs = {spec.tag: spec for recipe in map(class_of, built_in()) for spec in recipe.PRODUCTS}
    for tag, spec in specs.items():
        paths = sorted([*folder.glob(f"{tag}*.fits"), *folder.glob(f"*/{tag}*.fits")])
        if not paths:
            raise FileNotFoundError(f"{folder}: found no {tag}, expected one file of each product")
        makers = [f"`{recipe.NAME}`" for recipe in map(class_of, built_in()) if tag in [s.tag for s in recipe.PRODUCTS]]
        lines += ["", f"## {tag}", "", f"{spec.help[:1].upper()}{spec.help[1:]}. Made by {', '.join(makers)}.", ""]
        with fits.open(paths[0]) as hdus:
            lines += [*_hdus(hdus), *_keywords(hdus, spec)]
    return "\n".join(lines) + "\n"


def outcome(folder: Path) -> str:
    """Return a table of the products in a folder: what each is, and how large.

    Parameters
    ----------
    folder : Path
        Products of recipes, ``TAG.fits`` or ``TAG_0001.fits``.
    """
    lines = ["| product | what | size |", "|---|---|---|"]
    specs = {spec.tag: spec for recipe in map(class_of, built_in()) for spec in recipe.PRODUCTS}
    for path in sorted(folder.glob("*.fits")):
        with fits.open(path) as hdus:
            spec = specs[hdus[0].header["ESO PRO CATG"]]
            header = next(hdu.header for hdu in hdus if hdu.header["NAXIS"])
            axes = [header[f"NAXIS{i + 1}"] for i in range(header["NAXIS"])]
            is_table = axes[0] == 1 or header.get("XTENSION") == "BINTABLE"
            size = f"{axes[1]} rows" if is_table else " x ".join(map(str, axes))
        lines.append(f"| `{path.name}` | {spec.help} | {size} |")
    return "\n".join(lines) + "\n"


def api() -> dict[str, str]:
    """Return a page for each public module by its name, in reStructuredText."""
    found = {module.__name__: module for module in runpy.run_path(str(TOOLS / "check_docstrings.py"))["modules"]()}
    return _pages({name.replace(".frontends.pythoncpl", ""): module for name, module in found.items()})


def steps() -> dict[str, str]:
    """Return a page for each module of steps on arrays by its name, in reStructuredText."""
    package = importlib.import_module("muse_core.steps")
    found = [name for _, name, _ in pkgutil.walk_packages(package.__path__, "muse_core.steps.")]
    return _pages({name: importlib.import_module(name) for name in found if "._" not in name})


def _pages(modules: dict[str, ModuleType]) -> dict[str, str]:
    pages, told = {}, set()
    for name, module in modules.items():
        members = {member: id(getattr(module, member)) for member in getattr(module, "__all__", ())}
        again = [member for member, number in members.items() if number in told]
        told |= set(members.values())
        exclude = f"   :exclude-members: {', '.join(again)}\n" if again else ""
        head = f"{name}\n{'=' * len(name)}\n\n.. automodule:: {module.__name__}\n"
        pages[name] = f"{head}   :members:\n   :show-inheritance:\n{exclude}"
    return pages


def examples(scratch: Path) -> None:
    """Run the commands of each example, and write what comes out into its README.md."""
    for page in sorted((DOCS.parent / "sof_examples").glob("*/README.md")):
        text, folder = page.read_text().split("\nWhat comes out:")[0], scratch / page.parent.name
        folder.mkdir(parents=True)
        (folder / "sof_examples").symlink_to(DOCS.parent / "sof_examples")
        commands = re.search(r"```sh\n(.*?)```", text, re.DOTALL)[1]
        subprocess.run(["sh", "-ec", commands], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        page.write_text(f"{text}\nWhat comes out:\n\n{outcome(folder)}")


def write() -> None:
    """Write what pages include, and the pages of the modules."""
    included = {"from_eso": from_eso(), "messages": messages()}
    pages = {DOCS / "_build" / "generated" / f"{name}.md": text for name, text in included.items()}
    for folder, texts in (("reference", api()), ("developers", steps())):
        pages |= {DOCS / folder / "generated" / f"{name}.rst": text for name, text in texts.items()}
    for path, text in pages.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != text:  # else it would be taken for a change
            path.write_text(text)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as _folder:
        examples(Path(_folder))

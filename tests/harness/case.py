# SPDX-License-Identifier: GPL-2.0-or-later
"""One run of the recipe for a parity test: both recipes from the same files as a user would, all products compared.

What a case is about can be read off it, so that docs/make_parameters.py can list the cases of each parameter and frame.
"""

import dataclasses
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from astropy.io import fits

from harness import compare, run
from harness.datasets import SPECS, Datasets
from muse_core.frontends.registry import class_of

EVERYTHING = "cube,individual,positioned,combined"

_BASE = {"PIXTABLE_OBJECT", "STD_RESPONSE", "EXTINCT_TABLE", "ASTROMETRY_WCS", "FILTER_LIST"}
_MODEL = _BASE | {"LSF_PROFILE", "SKY_LINES"}
#: Tags of the set-of-frames files of `muse_core.simulate.dataset.make_dataset`.
TAGS = {
    "none": _BASE,
    "model": _MODEL,
    "lsf_merged": _MODEL,
    "lsf_table": _MODEL,
    "subtract": _MODEL | {"SKY_CONTINUUM"},
    "mask_pix": _MODEL | {"SKY_MASK"},
    "mask_deg": _MODEL | {"SKY_MASK"},
    "autocal": _MODEL | {"AUTOCAL_FACTORS"},
    "output_wcs": _BASE | {"OUTPUT_WCS"},
    "offsets": _BASE | {"OFFSET_LIST"},
    "raman": _MODEL | {"RAMAN_LINES"},
}


@dataclasses.dataclass(frozen=True)
class Case:
    """One run.

    Attributes
    ----------
    parameters : str
        Parameters, separated by blanks; without a sky method they are for ``none``.
    data, sof : str
        Data set and its set-of-frames file.
    without : str
        Pattern of the frames to leave out.
    others : tuple of (data set, file of its folder, tag)
        Frames to add; the file name may be absolute.
    env : dict
        Environment.
    edits : tuple of (tag, keyword, value, number of the HDU)
        Keywords to set in all files of a tag, or in the file of that name; None removes them.
    save : str
        Products to save besides cube, pixel tables and, if sky is subtracted, its model.
    recipe : str
        Recipe; of the set of frames it gets those that it takes.
    products : tuple of str
        Beginnings of the names of products that are the raw frames, instead of those of the data set: products of
        muse_scipost without sky subtraction, see `Datasets.reduced`.
    """

    parameters: str = ""
    data: str = "wfm"
    sof: str = "none"
    without: str = ""
    others: tuple[tuple[str, str, str], ...] = ()
    env: dict[str, str] = dataclasses.field(default_factory=dict)
    edits: tuple[tuple[str, str, object, int], ...] = ()
    save: str = ""
    recipe: str = run.RECIPE
    products: tuple[str, ...] = ()

    @property
    def settings(self) -> dict[str, str]:
        """All parameters that are set, by name."""
        settings = dict(text.removeprefix("--").split("=", 1) for text in self.parameters.split())
        known = {spec.name: spec for spec in class_of(self.recipe).PARAMETERS}
        if "skymethod" in known:
            settings.setdefault("skymethod", "none")
        if "save" not in settings and "save" in known:
            more = ("skymodel",) if settings.get("skymethod", "none") != "none" else ()
            kinds = [kind for kind in EVERYTHING.split(",") if kind in known["save"].tokens]
            settings["save"] = ",".join([*kinds, *more, *filter(None, [self.save])])
        return settings

    @property
    def tags(self) -> set[str]:
        """Tags of its frames."""
        tags = set(TAGS[self.sof])
        if any(spec.telluric for spec in SPECS[self.data]):
            tags.add("STD_TELLURIC")
        recipe = class_of(self.recipe)
        tags = {recipe.raw_tag()} | (tags & {spec.tag for spec in recipe.INPUTS})
        kept = {tag for tag in tags if not self.without or not re.search(self.without, f" {tag}")}
        return kept | {tag for *_, tag in self.others}

    def frames(self, datasets: Datasets) -> list[str]:
        """Return the lines of its set of frames."""
        recipe, data = class_of(self.recipe), datasets[self.data]
        taken = {spec.tag for spec in recipe.INPUTS}
        frames = [tuple(line.split()) for line in data.frames(self.sof)]
        raw = [path for path, tag in frames if tag == "PIXTABLE_OBJECT"]
        if self.products:
            folder = datasets.reduced(self.data)
            raw = [path for stem in self.products for path in sorted(folder.glob(f"{stem}*.fits"))]
        lines = [f"{path} {recipe.raw_tag()}" for path in raw]
        lines += [f"{path} {tag}" for path, tag in frames if tag != "PIXTABLE_OBJECT" and tag in taken]
        lines = [line for line in lines if not self.without or not re.search(self.without, line)]
        return lines + [f"{datasets[other].folder / file} {tag}" for other, file, tag in self.others]


class Frames:
    """A set of frames, of which files can be replaced by spoiled copies."""

    def __init__(self, lines, folder):
        self.entries = [tuple(line.split()) for line in lines]
        self._folder = folder

    def copy(self, tag: str, number: int = 0) -> Path:
        """Replace the `number`-th file of a tag by a copy, and return that."""
        index = [i for i, entry in enumerate(self.entries) if entry[1] == tag][number]
        source = Path(self.entries[index][0])
        target = self._folder / f"bad_{source.name}"
        shutil.copyfile(source, target)
        self.entries[index] = (str(target), tag)
        return target

    def path(self, tag: str) -> str:
        """Return the first file of a tag."""
        return next(path for path, found in self.entries if found == tag)

    def remove(self, tag: str) -> None:
        """Leave out the frames of a tag."""
        self.entries = [entry for entry in self.entries if entry[1] != tag]

    def add(self, path, tag: str) -> None:
        """Add a frame."""
        self.entries.append((str(path), tag))

    def write(self) -> Path:
        """Write the set of frames."""
        path = self._folder / "in.sof"
        path.write_text("".join(f"{file} {tag}\n" for file, tag in self.entries))
        return path


def sky(parameters: str = "", data: str = "wfm", sof: str = "model", **more) -> Case:
    """Return a case with subtraction of the sky, by default that of the recipe."""
    return Case(f"--skymethod=model {parameters}", data, sof, **more)


def _edited(lines: list[str], edits, folder: Path) -> list[str]:
    """Return the lines of a set of frames with copies of the files that are to be edited."""
    result = []
    for line in lines:
        path, tag = line.split()
        own = [edit for edit in edits if edit[0] in (tag, Path(path).name)]
        if own:
            with fits.open(path) as hdus:
                for _, key, value, number in own:
                    if value is None:
                        del hdus[number].header[key]
                    else:
                        hdus[number].header[key] = value
                path = folder / Path(path).name
                hdus.writeto(path)
        result.append(f"{path} {tag}")
    return result


def run_both(datasets, folder: Path, case: Case, status: int | None = 0) -> tuple[run.Outcome, run.Outcome]:
    """Run the reference and ours at the same time, and check that both end with `status` (unless it is None)."""
    lines = case.frames(datasets)
    assert {line.split()[1] for line in lines} == case.tags
    lines = _edited(lines, case.edits, folder)
    sof = folder / "case.sof"
    sof.write_text("\n".join(lines) + "\n")
    parameters = [f"--{name}={value}" for name, value in case.settings.items()]
    env = {"OMP_NUM_THREADS": "1", **case.env}
    with ThreadPoolExecutor() as pool:
        runs = [
            pool.submit(command, sof, folder / name, *parameters, env=env, recipe=case.recipe)
            for name, command in (("reference", run.reference), ("ours", run.ours))
        ]
    expected, found = (pending.result() for pending in runs)
    for outcome in (expected, found):
        assert status in (None, outcome.status), outcome.output
    assert status != 0 or any(expected.folder.glob("*.fits"))
    stray = [path.name for path in found.folder.iterdir() if path.suffix not in (".fits", ".log")]
    assert not stray
    return expected, found


def compare_runs(datasets, folder: Path, case: Case) -> list[str]:
    """Run both recipes and compare what they made; returns what is wrong."""
    expected, found = run_both(datasets, folder, case)
    (expected.folder / "fov_clean.fits").unlink(missing_ok=True)  # left behind by the reference with format=sdpCube
    return compare.products(expected.folder, found.folder, sky_fitted=case.settings.get("skymethod") == "model")

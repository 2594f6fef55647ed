# SPDX-License-Identifier: GPL-2.0-or-later
"""Random cases: mode, geometry, position on the sky, frames and parameters drawn together, both recipes, all products.

Each kind of case is a function from a random generator to a `Drawn`, and stands in `KINDS`; a new recipe adds its own.
A case is a number: the same number is the same case.
"""

import dataclasses
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from astropy.io import fits

from harness import compare, run
from muse_core.errors import ParameterError
from muse_core.frontends.registry import class_of
from muse_core.simulate.calibrations import write_output_wcs
from muse_core.simulate.dataset import dithered, make_dataset
from muse_core.simulate.exposure import ExposureSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawn:
    """A case.

    Attributes
    ----------
    exposures : list of ExposureSpec
        What is simulated.
    sof : str
        Set of frames of `make_dataset`.
    parameters : dict of str to str
        Parameters of the recipe.
    recipe : str
        Its name.
    without : str
        Pattern of the frames to leave out.
    output_wcs : tuple, optional
        Offset from the middle of the field in spaxels, shape (planes, rows, columns), first wavelength and step,
        spaxel in arcsec, angle in degrees, type of the wavelength axis.
    """

    exposures: list[ExposureSpec]
    sof: str
    parameters: dict[str, str]
    recipe: str = run.RECIPE
    without: str = ""
    output_wcs: tuple | None = None
    from_reduced: bool = False  # its input are pixel tables that muse_scipost has reduced

    def __str__(self) -> str:
        first = self.exposures[0]
        geometry = f"{first.mode}, IFUs {first.ifus}, {first.lbda_min:.1f}-{first.lbda_max:.1f} Angstrom"
        geometry += f", position angle {first.posang:g}, RA {first.ra_deg:.5f}, DEC {first.dec_deg:.5f}"
        words = [f"--{name}={value}" for name, value in self.parameters.items()]
        return f"{self.recipe} {' '.join(words)} {self.sof}.sof ({len(self.exposures)} x {geometry}; {self.output_wcs})"


def _some(rng: np.random.Generator, chance: float, *values):
    """One of some values, or None."""
    return str(rng.choice(values)) if rng.random() < chance else None


def _exposures(rng: np.random.Generator) -> list[ExposureSpec]:
    """One or two exposures of one or two IFUs and a few wavelengths, anywhere on the sky above the horizon."""
    mode = str(rng.choice(["WFM-NOAO-N", "WFM-NOAO-E", "WFM-AO-N", "WFM-AO-E", "NFM-AO-N"]))
    first = int(rng.integers(1, 24))
    low = float(rng.choice([rng.uniform(4800, 9250), rng.uniform(6200, 9250), 7270, 8925]))
    if "-AO-" in mode and 5600 < low < 6100:  # behind the notch filter
        low += 600
    while True:
        try:
            spec = ExposureSpec(
                mode=mode,
                ifus=(first,) if rng.random() < 0.7 else (first, first + 1),
                slices=tuple(range(1, 49, int(rng.choice([1, 1, 3])))),
                lbda_min=low,
                lbda_max=low + float(rng.choice([10, 20, 45])),
                ra_deg=float(rng.choice([rng.uniform(0, 360), 359.9999, 0.0])),
                dec_deg=rng.uniform(-80, 20),
                posang=float(rng.choice([0, 90, -90, 180, rng.uniform(-180, 180)])),
                drot_mode=str(rng.choice(["SKY", "SKY", "STAT"])),
                exptime=float(rng.choice([30, 300, 900, 1200])),
                seed=int(rng.integers(1000)),
                seeing=rng.uniform(0.5, 1.3),
                flat_field=bool(rng.random() < 0.3),
                file_format=str(rng.choice(["image", "table"])),
                date_obs=f"201{rng.integers(5, 9)}-{rng.integers(1, 13):02d}-21T0{rng.integers(1, 9)}:32:33.123",
            )
        except ParameterError:  # the target is below the horizon
            continue
        if spec.zenith_and_parallactic[0] < 65:
            return dithered(spec, int(rng.choice([1, 1, 2])))


def _output_wcs(rng: np.random.Generator, exposure: ExposureSpec, is_euro3d: bool) -> tuple:
    low, high = exposure.lbda_range
    spaxel = exposure.instrument_mode.spaxel_arcsec[0]
    offset = tuple(float(x) for x in rng.choice([0, rng.uniform(-10, 10)], 2))
    shape = int(rng.integers(3, 20)), int(rng.integers(10, 60)), int(rng.integers(20, 330))
    start = float(rng.uniform(-5, 0.5 * (high - low)))
    if is_euro3d:  # a known difference: the reference leaves out last planes if the first ones are empty
        start = 3 + abs(start)
    lbda = low + start, float(rng.choice([1.25, 1.25, 0.9]))
    angle = float(rng.choice([0, 0, 90, rng.uniform(0, 360)]))
    ctype = str(rng.choice(["AWAV", "AWAV", "AWAV-LOG", "WAVE", "WAVE-LOG"]))
    return offset, shape, lbda, spaxel * float(rng.choice([1, 1, 1.3])), angle, ctype


def _is_euro3d(parameters: dict) -> bool:
    return "Euro3D" in (parameters["format"] or "")


def scipost(rng: np.random.Generator) -> Drawn:
    """Draw a run of muse_scipost."""
    exposures = _exposures(rng)
    method = str(rng.choice(["none", "none", "model", "simple", "subtract-model"]))
    sofs = {
        "none": ["none", "none", "offsets"],
        "simple": ["none", "mask_deg"],
        "model": ["model", "lsf_merged", "lsf_table", "mask_pix", "mask_deg", "autocal"],
        "subtract-model": ["subtract"],
    }
    sof = str(rng.choice(sofs[method]))
    product = str(rng.choice(["cube", "cube,individual,positioned,combined", "cube,individual"]))
    drawn = {
        "skymethod": method,
        "save": product if method == "none" else f"{product},skymodel",
        "resample": _some(rng, 0.5, "nearest", "linear", "quadratic", "renka", "lanczos"),
        "crtype": _some(rng, 0.4, "iraf", "mean", "median"),
        "crsigma": _some(rng, 0.4, "0", "3.5", "10"),
        "pixfrac": _some(rng, 0.2, "0.6", "0.8,0.7,1", "1"),
        "dx": _some(rng, 0.15, *(("0.03",) if "NFM" in exposures[0].mode else ("0.3",))),
        "dlambda": _some(rng, 0.2, "1.0", "2.5"),
        "format": _some(rng, 0.5, "Euro3D", "xCube", "xEuro3D", "sdpCube"),
        "weight": _some(rng, 0.3, "fwhm", "none"),
        "filter": _some(rng, 0.3, "white,sim_I", "sim_R"),
        "rvcorr": _some(rng, 0.4, "none", "geo", "helio"),
        "darcheck": _some(rng, 0.2, "check"),
        "lambdaref": _some(rng, 0.2, "-1", "6500"),
        "astrometry": _some(rng, 0.1, "false"),
        "autocalib": "user" if sof == "autocal" else None,
        "skymodel_fraction": _some(rng, 0.5, "0.3", "0.6") if method in ("model", "simple") else None,
        "sky_crsigma": _some(rng, 0.2, "10,10") if method == "model" else None,
    }
    given = "astrometry" not in drawn or drawn["astrometry"] is None
    return Drawn(
        exposures=exposures,
        sof=sof,
        parameters={name: value for name, value in drawn.items() if value is not None},
        without=str(rng.choice(["", "", "", "STD_RESPONSE", "EXTINCT_TABLE"])) or "",
        output_wcs=_output_wcs(rng, exposures[0], _is_euro3d(drawn)) if given and rng.random() < 0.3 else None,
    )


def exp_combine(rng: np.random.Generator) -> Drawn:
    """Draw a combination of two or three exposures: format, OUTPUT_WCS, method of resampling."""
    spec = _exposures(rng)[0]
    drawn = {
        "save": "cube",
        "resample": _some(rng, 0.5, "nearest", "linear", "quadratic", "renka", "lanczos"),
        "crsigma": _some(rng, 0.3, "3.5"),
        "pixfrac": _some(rng, 0.3, "0.8"),
        "format": _some(rng, 0.7, "Euro3D", "xCube", "xEuro3D", "sdpCube"),
        "weight": _some(rng, 0.3, "fwhm", "none"),
        "filter": _some(rng, 0.3, "white,sim_I"),
    }
    return Drawn(
        recipe="muse_exp_combine",
        exposures=dithered(spec, int(rng.integers(2, 4))),
        sof=str(rng.choice(["none", "offsets"])),
        parameters={name: value for name, value in drawn.items() if value is not None},
        output_wcs=_grid_of_cube(rng, spec, drawn),
        from_reduced=True,
    )


def _grid_of_cube(rng: np.random.Generator, spec: ExposureSpec, drawn: dict[str, str | None]) -> tuple | None:
    """Draw OUTPUT_WCS; always with Euro3D, for which the reference takes minutes on the grid of two rotated fields."""
    wanted = rng.random() < 0.5 or _is_euro3d(drawn)
    return _output_wcs(rng, spec, _is_euro3d(drawn)) if wanted else None


def make_cube(rng: np.random.Generator) -> Drawn:
    """Draw a cube of a single pixel table: format, OUTPUT_WCS, method of resampling."""
    spec = _exposures(rng)[0]
    drawn = {
        "resample": _some(rng, 0.5, "nearest", "linear", "quadratic", "renka", "lanczos"),
        "crsigma": _some(rng, 0.3, "3.5"),
        "pixfrac": _some(rng, 0.3, "0.6"),
        "format": _some(rng, 0.6, "Euro3D", "xCube", "xEuro3D"),
        "stacked": _some(rng, 0.3, "true"),
        "filter": _some(rng, 0.3, "white,sim_I"),
    }
    return Drawn(
        recipe="muse_scipost_make_cube",
        exposures=[spec],
        sof="none",
        parameters={name: value for name, value in drawn.items() if value is not None},
        output_wcs=_grid_of_cube(rng, spec, drawn),
        from_reduced=True,
    )


def combine_pixtables(rng: np.random.Generator) -> Drawn:
    """Draw a combination of pixel tables: weights, offsets, number of exposures."""
    drawn = {"weight": _some(rng, 0.6, "fwhm", "none")}
    return Drawn(
        recipe="muse_scipost_combine_pixtables",
        exposures=dithered(_exposures(rng)[0], int(rng.integers(1, 4))),
        sof=str(rng.choice(["none", "offsets"])),
        parameters={name: value for name, value in drawn.items() if value is not None},
        from_reduced=True,
    )


#: Kinds of cases, by name.
KINDS: dict[str, Callable[[np.random.Generator], Drawn]] = {
    kind.__name__: kind for kind in (scipost, exp_combine, make_cube, combine_pixtables)
}


def draw(number: int, kinds=tuple(KINDS)) -> Drawn:
    """Return a case."""
    rng = np.random.default_rng([number, 24])
    return KINDS[str(rng.choice(kinds))](rng)


def _write_wcs(path: Path, drawn: Drawn) -> Path:
    (x, y), shape, lbda, step, angle, ctype = drawn.output_wcs
    write_output_wcs(path, *drawn.exposures[0].header_position, shape, lbda, step, ctype)
    cosine, sine = (step / 3600 * f(np.radians(angle)) for f in (np.cos, np.sin))
    with fits.open(path, mode="update") as hdus:
        hdus[1].header.update({"CD1_1": -cosine, "CD1_2": sine, "CD2_1": sine, "CD2_2": cosine})
        hdus[1].header["CRPIX1"] += x
        hdus[1].header["CRPIX2"] += y
    return path


def _reduce(lines: list[str], folder: Path, recipe: type) -> list[str]:
    """Reduce the exposures with ESO's recipe, and return the frames that another recipe takes with the products."""
    sof = folder / "first.sof"
    sof.write_text("\n".join(lines) + "\n")
    outcome = run.reference(sof, folder / "first", "--skymethod=none", "--save=individual")
    assert outcome.status == 0, outcome.output
    taken = {spec.tag for spec in recipe.INPUTS if spec.group == "CALIB"}
    kept = [line for line in lines if line.split()[1] in taken]
    return kept + [f"{path} {recipe.raw_tag()}" for path in sorted(outcome.folder.glob("PIXTABLE_REDUCED*.fits"))]


def problems(drawn: Drawn, folder: Path) -> list[str]:
    """Run both recipes in `folder` and compare what they made; returns what is wrong, and tidies up if nothing is."""
    lines = make_dataset(folder / "data", drawn.exposures)[drawn.sof].read_text().splitlines()
    lines = [line for line in lines if not drawn.without or not re.search(f" {drawn.without}$", line)]
    if drawn.from_reduced:
        lines = _reduce(lines, folder, class_of(drawn.recipe))
    if drawn.output_wcs:
        lines.append(f"{_write_wcs(folder / 'wcs.fits', drawn)} OUTPUT_WCS")
    sof = folder / "case.sof"
    sof.write_text("\n".join(lines) + "\n")
    parameters = [f"--{name}={value}" for name, value in drawn.parameters.items()]
    with ThreadPoolExecutor() as pool:
        expected, found = pool.map(
            lambda command: command(
                sof, folder / command.__name__, *parameters, env={"OMP_NUM_THREADS": "1"}, recipe=drawn.recipe
            ),
            (run.reference, run.ours),
        )
    if (expected.status == 0) != (found.status == 0):
        return [f"exit status: expected {expected.status}, found {found.status}: {found.output[-600:]}"]
    if expected.status:
        return []
    (expected.folder / "fov_clean.fits").unlink(missing_ok=True)
    wrong = compare.products(expected.folder, found.folder, sky_fitted=drawn.parameters.get("skymethod") == "model")
    if not wrong:
        shutil.rmtree(folder)
    return wrong

# SPDX-License-Identifier: GPL-2.0-or-later
"""Reductions of small simulated fields, clean ones, which the tests of the report share."""

import dataclasses
import shutil
from pathlib import Path

import pytest
from harness.run import ours

from muse_core.report.checks import LIMITS
from muse_core.report.measure import Measured, measure
from muse_core.report.products import find_run
from muse_core.simulate.dataset import dithered, make_dataset
from muse_core.simulate.exposure import ExposureSpec

#: All IFUs, some bright lines.
SPEC = ExposureSpec(lbda_min=7265.0, lbda_max=7295.0, seed=5)
SAVE = "--save=cube,skymodel,individual"


@dataclasses.dataclass(frozen=True)
class Field:
    """A data set, its exposures, and the folder of its products."""

    data: Path
    products: Path
    exposures: list[ExposureSpec]

    def copy(self, folder: Path) -> Path:
        """Copy the data, with sets of frames for the copy."""
        shutil.copytree(self.data, folder)
        for sof in folder.glob("*.sof"):
            sof.write_text(sof.read_text().replace(f"{self.data}/", f"{folder}/"))
        return folder


def reduce(sof: Path, folder: Path, *parameters: str, recipe: str = "muse_scipost", env=None) -> Path:
    """Run a recipe, return the folder of its products."""
    done = ours(sof, folder, *parameters, compat=False, recipe=recipe, env=env)
    assert done.status == 0, done.output
    return folder


def measured(folder: Path, record=None) -> Measured:
    """Measure the products in a folder."""
    return measure(find_run([folder]), LIMITS, record)


def _field(folder: Path, exposures: list[ExposureSpec], *parameters: str, name: str = "model", env=None) -> Field:
    sets = make_dataset(folder / "data", exposures)
    if name == "raman":
        sof = sets[name]
        sof.write_text(f"{sof.read_text()}{folder.resolve() / 'data' / 'calib' / 'SKY_MASK_pix.fits'} SKY_MASK\n")
    made = reduce(sets[name], folder / "products", *parameters, env=env)
    return Field((folder / "data").resolve(), made, exposures)


@pytest.fixture(scope="package")
def single(tmp_path_factory) -> Field:
    """One exposure."""
    return _field(tmp_path_factory.mktemp("single"), [SPEC], SAVE, "--filter=white")


@pytest.fixture(scope="package")
def three(tmp_path_factory) -> Field:
    """Three dithered exposures."""
    return _field(tmp_path_factory.mktemp("three"), dithered(SPEC, 3), SAVE, "--filter=white")


@pytest.fixture(scope="package")
def reported(three: Field, tmp_path_factory) -> Field:
    """The same, with the report of the run itself, which sees the correlations too."""
    folder = tmp_path_factory.mktemp("reported")
    reduce(three.data / "model.sof", folder, SAVE, "--filter=white", env={"MUSE_EXTRAS": "report,noise"})
    return dataclasses.replace(three, products=folder)


@pytest.fixture(scope="package")
def adaptive(tmp_path_factory) -> Field:
    """An exposure with Raman lines and slices of different level, and all steps that are not always run."""
    spec = dataclasses.replace(
        SPEC, mode="WFM-AO-N", ifus=(11, 12, 13), lbda_min=6470.0, lbda_max=6510.0, raman_flux=300.0,
        slice_gain_rms=0.03, refraction_error=0.05, date_obs="2018-11-21T06:32:33.123",
    )  # fmt: skip
    parameters = ("--save=cube,skymodel,autocal,raman", "--autocalib=deepfield", "--darcheck=check")
    folder, extras = tmp_path_factory.mktemp("adaptive"), {"MUSE_EXTRAS": "report"}
    return _field(folder, [spec], *parameters, name="raman", env=extras)

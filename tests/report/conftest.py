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


def _field(folder: Path, exposures: list[ExposureSpec], *parameters: str) -> Field:
    sets = make_dataset(folder / "data", exposures)
    return Field((folder / "data").resolve(), reduce(sets["model"], folder / "products", *parameters), exposures)


@pytest.fixture(scope="package")
def single(tmp_path_factory) -> Field:
    """One exposure."""
    return _field(tmp_path_factory.mktemp("single"), [SPEC], SAVE, "--filter=white")


@pytest.fixture(scope="package")
def three(tmp_path_factory) -> Field:
    """Three dithered exposures."""
    return _field(tmp_path_factory.mktemp("three"), dithered(SPEC, 3), SAVE, "--filter=white")

# SPDX-License-Identifier: GPL-2.0-or-later
"""Every method of resampling at every position angle, on grids of its own and on given ones, against ESO's recipe.

Each method meets each position angle, each grid, one and two exposures; the rejection of cosmic rays varies along.
"""

import dataclasses
import math

import pytest
from harness.case import Case, compare_runs
from harness.datasets import ANGLES

from muse_core.model.resampling import METHODS
from muse_core.simulate.calibrations import write_output_wcs

pytestmark = pytest.mark.reference

#: Shape (planes, rows, columns), offset in spaxels from the middle of the field, first wavelength; None: fit to data.
GRIDS = {
    "own grid": None,
    "smaller": ((4, 8, 30), (0.0, 0.0), 7272.3),
    "larger": ((16, 330, 330), (0.3, -0.4), 7264.9),
    "shifted": ((7, 40, 60), (25.4, -17.8), 7274.6),
}
REJECTION = ("--crsigma=4", "--crtype=mean --crsigma=3", "--crtype=iraf --crsigma=5")


@dataclasses.dataclass(frozen=True)
class GridCase(Case):
    """A run on one of the `GRIDS`."""

    grid: str = "own grid"

    def with_grid(self, folder):
        """Return it with the frame of its grid."""
        if GRIDS[self.grid] is None:
            return self
        shape, (dx, dy), lbda = GRIDS[self.grid]
        ra, dec = 53.1625, -27.79139
        step = 0.2 / 3600
        ra, dec = ra - dx * step / math.cos(math.radians(dec)), dec + dy * step
        path = write_output_wcs(folder / "wcs.fits", ra, dec, shape, (lbda, 1.25))
        return dataclasses.replace(self, others=((self.data, str(path), "OUTPUT_WCS"),))


def _cases():
    for i, angle in enumerate(ANGLES):
        for j, method in enumerate(METHODS):
            grid = list(GRIDS)[(i + j) % len(GRIDS)]
            exposures = 1 + (i // 2 + j) % 2
            rejection = REJECTION[(i + j // 2) % len(REJECTION)]
            name = f"{method}, angle {angle:g}, {grid}, exposures {exposures}"
            without = "" if exposures == 2 else "PIXTABLE_OBJECT_0002"
            parameters = f"--resample={method} {rejection} --save=cube,combined"
            yield name, GridCase(parameters, f"angle{angle:g}", without=without, grid=grid)


CASES = dict(_cases())


def test_each_method_meets_everything():
    for method in METHODS:
        mine = [case for name, case in CASES.items() if name.startswith(method)]
        assert {case.grid for case in mine} == set(GRIDS)
        assert {bool(case.without) for case in mine} == {True, False}


@pytest.mark.parametrize("name", CASES)
def test_grid(datasets, tmp_path, name):
    assert compare_runs(datasets, tmp_path, CASES[name].with_grid(tmp_path)) == []

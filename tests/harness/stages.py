# SPDX-License-Identifier: GPL-2.0-or-later
"""Simulated exposures, and what ESO's recipe leaves after one of its steps, for tests of single steps."""

import dataclasses
from pathlib import Path

import numpy as np

from harness.run import reference
from muse_core.io.pixtable import PixelTableFile
from muse_core.model.rows import ROW
from muse_core.simulate.dataset import make_dataset
from muse_core.simulate.exposure import ExposureSpec

#: Parameters that leave out what follows the sky subtraction: the pixel table stays in pix.
IN_PIXELS = ("--rvcorr=none", "--astrometry=false")


@dataclasses.dataclass
class Stage:
    """A simulated exposure with its sets of frames, and runs of ESO's recipe on it."""

    folder: Path
    sofs: dict[str, Path]

    @classmethod
    def make(cls, folder: Path, spec: ExposureSpec) -> "Stage":
        """Simulate an exposure."""
        return cls(folder, make_dataset(folder / "data", [spec]))

    def run(self, name: str, sof: str | Path, *options: str, save="skymodel,individual") -> Path:
        """Run ESO's recipe in the folder `name`; `sof` is the name of a set of frames of the data set, or a path."""
        outcome = reference(self.sofs.get(sof, sof), self.folder / name, f"--save={save}", *options)
        assert outcome.status == 0, outcome.output
        (outcome.folder / "output.txt").write_text(outcome.output)
        return outcome.folder

    def rows(self) -> np.ndarray:
        """Rows of the exposure before autocalibration, Raman cleaning and sky subtraction, in pixels."""
        folder = self.folder / "none"
        if not folder.exists():
            self.run("none", "none", "--skymethod=none", *IN_PIXELS)
        return pixel_table(folder)

    def calibrations(self, sof: str) -> dict[str, list[Path]]:
        """Files of a set of frames by tag."""
        found: dict[str, list[Path]] = {}
        for line in self.sofs[sof].read_text().splitlines():
            path, tag = line.split()
            found.setdefault(tag, []).append(Path(path))
        return found


def pixel_table(folder: Path) -> np.ndarray:
    """Rows of the PIXTABLE_REDUCED in `folder`."""
    with PixelTableFile(folder / "PIXTABLE_REDUCED_0001.fits") as file:
        return file.read()


def same_rows(found: np.ndarray, expected: np.ndarray, columns=ROW.names) -> None:
    """Assert that rows are the same to the last bit."""
    assert len(found) == len(expected)
    for name in columns:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)

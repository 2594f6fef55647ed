# SPDX-License-Identifier: GPL-2.0-or-later
"""Peak resident memory of the command stays below MUSE_MAX_MEMORY, however many rows and exposures there are."""

import dataclasses
import os
import re
import subprocess
import sys

import pytest
from astropy.io import fits

from muse_core.simulate.dataset import dithered, make_dataset
from muse_core.simulate.exposure import ExposureSpec

SPEC = ExposureSpec(ifus=(11, 12, 13, 14), lbda_min=7000, lbda_max=7300)
#: Libraries of other machines take more or less than `muse_core.engine.resources.BASE_BYTES`.
ALLOWANCE_MIB = 20
#: Runs a command and prints its peak; not in this process, since what a parent has when it forks counts for the child.
MEASURE = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=sys.stderr)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(done.returncode)
"""


def peak_mib(folder, sof, limit_mib: int, *parameters: str) -> float:
    """Run the command with a limit of memory; return the peak resident memory that it had."""
    folder.mkdir()
    command = [sys.executable, "-m", "muse_core.frontends.esorex.main", "muse_scipost"]
    command += ["--save=cube,skymodel,individual,combined", *parameters, str(sof)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    env |= {"OMP_NUM_THREADS": "2", "MUSE_MAX_MEMORY": f"{limit_mib}M"}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout) / 1024  # kB on Linux


pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="unit of ru_maxrss")


@pytest.mark.parametrize("n_exposures", [1, 3])
def test_peak_memory(tmp_path, n_exposures):
    limit = 260
    sofs = make_dataset(tmp_path / "data", dithered(SPEC, n_exposures))
    rows_mib = sum(path.stat().st_size for path in (tmp_path / "data").glob("PIXTABLE_OBJECT*")) / 2**20
    assert rows_mib > 90 * n_exposures  # more than fits beside the interpreter
    assert peak_mib(tmp_path / "run", sofs["model"], limit) < limit + ALLOWANCE_MIB


def test_eight_exposures_take_the_memory_of_one_and_the_grid(tmp_path):
    spec = dataclasses.replace(SPEC, ifus=(11, 12), lbda_max=7100)
    sofs = make_dataset(tmp_path / "data", dithered(spec, 8))
    one = tmp_path / "one.sof"
    lines = sofs["none"].read_text().splitlines()
    one.write_text("\n".join(line for line in lines if not re.search("OBJECT_000[2-8]", line)))
    peaks = [
        peak_mib(tmp_path / name, sof, 260, "--skymethod=none") for name, sof in (("one", one), ("eight", sofs["none"]))
    ]
    with fits.open(tmp_path / "eight" / "DATACUBE_FINAL.fits") as hdus:
        grid_mib = sum(hdu.size for hdu in hdus) / 2**20
    assert peaks[1] < 1.1 * peaks[0] + grid_mib

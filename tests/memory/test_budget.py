# SPDX-License-Identifier: GPL-2.0-or-later
"""Peak resident memory of the command stays below MUSE_MAX_MEMORY, however many rows and exposures there are."""

import os
import subprocess
import sys

import pytest

from muse_core.simulate.dataset import dithered, make_dataset
from muse_core.simulate.exposure import ExposureSpec

SPEC = ExposureSpec(ifus=(11, 12, 13, 14), lbda_min=7000, lbda_max=7300)
#: Libraries of other machines take more or less than `muse_core.engine.resources.BASE_BYTES`.
ALLOWANCE_MIB = 20


def peak_mib(folder, sof, limit_mib: int) -> float:
    """Run the command with a limit of memory; return the peak resident memory that it had."""
    folder.mkdir()
    command = [sys.executable, "-m", "muse_core.frontends.esorex.main", "muse_scipost"]
    command += ["--save=cube,skymodel,individual,combined", str(sof)]
    env = {**os.environ, "OMP_NUM_THREADS": "2", "MUSE_MAX_MEMORY": f"{limit_mib}M"}
    with open(folder / "output.txt", "w+") as output:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        assert process.returncode == 0, output.read()
    return usage.ru_maxrss / 1024  # kB on Linux


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="unit of ru_maxrss")
@pytest.mark.parametrize("n_exposures", [1, 3])
def test_peak_memory(tmp_path, n_exposures):
    limit = 260
    sofs = make_dataset(tmp_path / "data", dithered(SPEC, n_exposures))
    rows_mib = sum(path.stat().st_size for path in (tmp_path / "data").glob("PIXTABLE_OBJECT*")) / 2**20
    assert rows_mib > 90 * n_exposures  # more than fits beside the interpreter
    assert peak_mib(tmp_path / "run", sofs["model"], limit) < limit + ALLOWANCE_MIB

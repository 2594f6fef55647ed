# SPDX-License-Identifier: GPL-2.0-or-later
"""Processors change nothing: what libraries choose by processor gives the same bits."""

import os
import subprocess
import sys

import pytest
from harness.products import products

PARAMETERS = ["--save=cube,skymodel,individual,positioned,combined,stacked"]
#: What numpy, its linear algebra and the mathematical library of the system choose by processor.
OLD_LIBRARIES = {
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    "OPENBLAS_CORETYPE": "Nehalem",
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F",
}


@pytest.fixture(scope="module")
def reduce(datasets, tmp_path_factory):
    """Return a function that runs the recipe, in a way of its own; returns the sums of the data of all products."""

    def run(label: str, *prefix: str, **environment: str) -> dict:
        folder = tmp_path_factory.mktemp(label)
        program = [sys.executable, "-P", "-m", "muse_core.frontends.esorex.main"]
        command = [*prefix, *program, "muse_scipost", *PARAMETERS, str(datasets["small"].sofs["model"])]
        environment = os.environ | {"OMP_NUM_THREADS": "1"} | environment
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=3000)
        assert done.returncode == 0, done.stdout + done.stderr
        return {key: data for key, (data, _) in products(folder).items()}

    return run


@pytest.fixture(scope="module")
def expected(reduce):
    found = reduce("this")
    assert len(found) > 20
    return found


@pytest.mark.filterwarnings("ignore::ImportWarning")
def test_old_libraries(reduce, expected):
    """Those that numpy and the system choose for a processor without AVX2."""
    assert reduce("libraries", **OLD_LIBRARIES) == expected

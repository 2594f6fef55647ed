# SPDX-License-Identifier: GPL-2.0-or-later
"""Products beyond the reference's on a cluster, and of a run that goes on where another one has ended."""

import json

import pytest
from cluster.test_cluster import KINDS, TAKEN_OVER, Bench
from harness import child

EXTRAS = "noise,report"
NOISE, NUMBERS, PAGE = "NOISE_CORRELATION.fits", "MUSE_REPORT_DATA.json", "MUSE_REPORT.html"


@pytest.fixture(scope="module")
def sof(datasets):
    """Set of frames of four exposures of which the sky is modelled."""
    return datasets["smallfour"].sofs["model"]


@pytest.fixture(scope="module")
def expected(tmp_path_factory, sof):
    """Products and numbers of one process."""
    return _made(_bench(tmp_path_factory.mktemp("whole"), sof))


def _bench(folder, sof) -> Bench:
    return Bench(folder, sof, "muse_scipost", KINDS)


def _made(bench: Bench, *arguments, **how) -> tuple[dict, dict]:
    """Return products and numbers, but for what the report says of machine and time of the run."""
    found, _ = bench.run(*arguments, extras=EXTRAS, **how)
    assert (NOISE, 1) in found
    assert (bench.last / PAGE).stat().st_size > 10000
    (numbers,) = json.loads((bench.last / NUMBERS).read_text())["runs"]
    machine = numbers.pop("machine")
    assert "Cube" in [step["name"] for step in machine["steps"]]
    del numbers["date"], numbers["name"]
    # warnings are those of the log of this run, which takes over exposures without them
    numbers["checks"] = [check for check in numbers["checks"] if check["name"] != "warnings"]
    assert all(exposure["line_fit_converged"] for exposure in numbers["exposures"])
    return found, numbers


def test_extras(tmp_path, sof, new_cluster, expected):
    cluster = new_cluster()
    for n_threads in (1, 2):
        cluster.worker(n_threads)
    assert _made(_bench(tmp_path / "shared", sof), cluster) == expected


def test_of_an_interrupted_run(tmp_path, sof, new_cluster, expected):
    """What was seen of exposures and planes is kept with them; here by one process, a worker takes it over."""
    bench = _bench(tmp_path / "runs", sof)
    bench.start(resume=True, records=6, extras=EXTRAS)[0].join()
    cluster = new_cluster()
    cluster.worker()
    assert _made(bench, cluster, resume=True) == expected
    assert (bench.last / child.OUTPUT).read_text().count(TAKEN_OVER) >= 4

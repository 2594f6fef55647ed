# SPDX-License-Identifier: GPL-2.0-or-later
"""Products beyond the reference's on a cluster, and of a run that goes on where another one has ended."""

import json

import pytest
from cluster.test_cluster import TAKEN_OVER, Bench, sof  # noqa: F401 (fixture)
from harness import child

EXTRAS = "noise,report"
NOISE, NUMBERS, PAGE = "NOISE_CORRELATION.fits", "MUSE_REPORT_DATA.json", "MUSE_REPORT.html"


@pytest.fixture(scope="module")
def expected(tmp_path_factory, sof):  # noqa: F811
    """Products and numbers of one process."""
    return _made(Bench(tmp_path_factory.mktemp("whole"), sof))


def _made(bench: Bench, *arguments, **how) -> tuple[dict, dict]:
    """Return products and numbers, but for what the report says of machine and time of the run."""
    found, _ = bench.run(*arguments, extras=EXTRAS, **how)
    assert (NOISE, 1) in found
    assert (bench.last / PAGE).stat().st_size > 10000
    (numbers,) = json.loads((bench.last / NUMBERS).read_text())["runs"]
    machine = numbers.pop("machine")
    assert "Cube" in [step["name"] for step in machine["steps"]]
    del numbers["date"], numbers["name"]
    return found, numbers


def test_extras(tmp_path, sof, new_cluster, expected):  # noqa: F811
    cluster = new_cluster()
    for n_threads in (1, 2):
        cluster.worker(n_threads)
    assert _made(Bench(tmp_path / "shared", sof), cluster) == expected


def test_of_an_interrupted_run(tmp_path, sof, new_cluster, expected):  # noqa: F811
    """What was seen of exposures and planes is kept with them; here by one process, a worker takes it over."""
    bench = Bench(tmp_path / "runs", sof)
    bench.start(resume=True, records=6, extras=EXTRAS)[0].join()
    cluster = new_cluster()
    cluster.worker()
    assert _made(bench, cluster, resume=True) == expected
    assert (bench.last / child.OUTPUT).read_text().count(TAKEN_OVER) >= 4

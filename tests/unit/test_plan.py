# SPDX-License-Identifier: GPL-2.0-or-later
"""The plan of a run: what it says, and what it refuses."""

import dataclasses

import pytest

from muse_core.engine.pace import Cost, Pace, pace_of
from muse_core.engine.plan import Disk, Plan
from muse_core.errors import ResourceError

GB = 10**9
PLAN = Plan(
    n_exposures=2,
    n_rows=10**8,
    grid=(300, 310, 3700),
    memory_bytes=GB,
    memory_limit=4 * GB,
    scratch=Disk(folder="/scratch", device=1, needed=3 * GB, free=5 * GB),
    products=Disk(folder="/out", device=2, needed=4 * GB, free=6 * GB),
    n_threads=2,
    seconds=61.7,
)


def test_line():
    assert str(PLAN) == (
        "2 exposures, 100000000 rows; cube of about 300 x 310 x 3700 voxels; memory 1.00 GB (limit 4.00 GB), "
        "scratch 3.00 GB (5.00 GB free), products 4.00 GB (6.00 GB free); about 62 s with 2 threads"
    )
    assert "no cube" in str(dataclasses.replace(PLAN, grid=None))


def test_in_notebooks():
    assert str(PLAN) in repr(PLAN)
    table = PLAN._repr_html_()
    for text in ("300 x 310 x 3700 voxels", "1.00 GB (limit 4.00 GB)", "/scratch", "of nothing"):
        assert text in table
    assert "/out: found 0.00 GB" in dataclasses.replace(
        PLAN, products=dataclasses.replace(PLAN.products, free=0)
    )._repr_html_().replace("0.0 MB", "0.00 GB")


def test_what_an_interrupted_run_keeps_is_there():
    """After a kill the same run needs no more space than before."""
    full = dataclasses.replace(PLAN, scratch=dataclasses.replace(PLAN.scratch, free=GB))
    assert "/scratch: found 1.00 GB free, expected at least 3.00 GB" in full.problems()[0]
    kept = dataclasses.replace(full, scratch=dataclasses.replace(full.scratch, kept=2 * GB))
    assert kept.problems() == []
    assert "scratch 3.00 GB (2.00 GB kept, 1.00 GB free)" in str(kept)
    disk = Disk(folder="/out", device=1, needed=4 * GB, free=GB, kept=2 * GB)
    both = dataclasses.replace(PLAN, products=disk, scratch=dataclasses.replace(disk, needed=3 * GB))
    assert "/out: found 1.00 GB free beside the 2.00 GB that are kept, expected at least 4.00" in both.problems()[0]
    assert Plan.from_json(both.to_json()) == both


def test_json():
    assert Plan.from_json(PLAN.to_json()) == PLAN
    assert Plan.from_json(dataclasses.replace(PLAN, grid=None).to_json()).grid is None


def test_enough():
    assert PLAN.problems() == []
    PLAN.require_space()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"memory_limit": GB // 2}, "MUSE_MAX_MEMORY: found 500.0 MB, expected at least 1.00 GB"),
        (
            {"scratch": dataclasses.replace(PLAN.scratch, free=2 * GB)},
            "/scratch: found 2.00 GB free, expected at least 3.00 GB for rows; see MUSE_SCRATCH or MUSE_RESUME",
        ),
        (
            {"products": dataclasses.replace(PLAN.products, free=2 * GB)},
            "/out: found 2.00 GB free, expected at least 4.00 GB for products",
        ),
        (
            {"products": Disk(folder="/out", device=1, needed=4 * GB, free=5 * GB)},
            "/out: found 5.00 GB free, expected at least 7.00 GB for rows and products; see MUSE_SCRATCH",
        ),
    ],
)
def test_too_little(changes, says):
    plan = dataclasses.replace(PLAN, **changes)
    assert len(plan.problems()) == 1
    with pytest.raises(ResourceError) as error:
        plan.require_space()
    assert str(error.value).startswith(says)


def test_pace():
    """What threads share is done by all of them, the rest by one; each in proportion to what this machine takes."""
    assert Pace(alone=2.0, shared=0.5).seconds(Cost(4.0, 1.0), 3) == 12.0
    for n_threads in (1, 2, 64):
        found = pace_of(n_threads)
        assert found.shared > 0
        assert found.alone > 0
    assert pace_of(1).shared == pace_of(1).alone

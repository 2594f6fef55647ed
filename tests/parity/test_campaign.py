# SPDX-License-Identifier: GPL-2.0-or-later
"""Random cases against ESO's recipes, as many as there is time for: ``--campaign-minutes=60`` for more than in CI.

``--campaign-case=17`` runs one of them again and leaves its files in pytest's folder.
"""

import time

import pytest
from harness import campaign

pytestmark = pytest.mark.reference


def test_campaign(request, tmp_path):
    only = request.config.getoption("--campaign-case")
    end = time.monotonic() + 60 * float(request.config.getoption("--campaign-minutes"))
    failures, number = [], int(request.config.getoption("--campaign-first") if only is None else only)
    while True:
        drawn = campaign.draw(number)
        wrong = campaign.problems(drawn, tmp_path / str(number))
        print(f"case {number}: {'; '.join(wrong[:4]) or 'equal'}: {drawn}", flush=True)  # noqa: T201 (seen with -s)
        if wrong:
            again = f"pytest tests/parity/test_campaign.py --campaign-case={number}"
            failures.append("\n  ".join([f"{again}  # {drawn}", *wrong]))
        number += 1
        if only is not None or time.monotonic() > end:
            break
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("number", [pytest.param(209, id="centre of a cube in pixels below 0, sdpCube")])
def test_cases_that_differed(number, tmp_path):
    """Those that CI found, and may not reach in the time that it has."""
    drawn = campaign.draw(number)
    assert not campaign.problems(drawn, tmp_path), drawn

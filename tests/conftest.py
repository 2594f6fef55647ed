# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures of all tests; tests against ESO's recipe carry the mark ``reference``."""

import os

import pytest
from harness.datasets import Datasets
from harness.run import reference_problem


def pytest_addoption(parser):
    """Options of the campaign of random cases, and of that of faults."""
    group = parser.getgroup("campaign", "random cases against ESO's recipes (tests/parity/test_campaign.py)")
    group.addoption("--campaign-minutes", default=5, help="for how long cases are drawn")
    group.addoption("--campaign-first", default=1, help="number of the first one")
    group.addoption("--campaign-case", help="run only this one")
    parser.addoption("--all-faults", action="store_true", help="let each system call fail in each way (an hour)")


@pytest.fixture(scope="session")
def datasets(tmp_path_factory, request) -> Datasets:
    """Simulated data sets by name, the same ones for all processes of a session."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if hasattr(request.config, "workerinput") else base) / "datasets"
    folder.mkdir(exist_ok=True)
    return Datasets(folder)


def pytest_collection_modifyitems(items):
    """Without the reference of that version its tests are skipped, except in CI, where that is an error."""
    marked = [item for item in items if item.get_closest_marker("reference")]
    problem = reference_problem() if marked else None
    if problem is None:
        return
    if os.environ.get("CI"):
        raise pytest.UsageError(f"parity tests cannot run: {problem}")
    for item in marked:
        item.add_marker(pytest.mark.skip(reason=problem))

# SPDX-License-Identifier: GPL-2.0-or-later
"""Recipes that begin with reduced pixel tables: plan, resumption, threads, memory."""

import re
import signal

import pytest
from astropy.io import fits
from harness import child
from harness.case import Case

TAKEN_OVER = "taken over from the interrupted run"
COMBINE, CUBE, TABLE = "muse_exp_combine", "muse_scipost_make_cube", "muse_scipost_combine_pixtables"
RUNS = {
    COMBINE: Case("--save=cube,combined", "smalltwo", "offsets", recipe=COMBINE, products=("PIXTABLE_REDUCED",)),
    f"{COMBINE}, narrow field": Case("", "nfmtwo", recipe=COMBINE, products=("PIXTABLE_REDUCED",)),
    CUBE: Case("--stacked=true", "smalltwo", recipe=CUBE, products=("PIXTABLE_REDUCED_0002",)),
    f"{CUBE}, combined table": Case("", "smalltwo", recipe=CUBE, products=("PIXTABLE_COMBINED",)),
    f"{CUBE}, one IFU": Case("", "smalltwo", recipe=CUBE),
    TABLE: Case("", "smalltwo", "offsets", recipe=TABLE, products=("PIXTABLE_REDUCED",)),
}


@pytest.fixture
def start(datasets, tmp_path):
    """Return a function that runs a case in a folder of its own; returns the folder, and what was said."""

    def run(name: str, label: str, *options: str, status: int = 0, threads: int = 1, environment=None, **how):
        case = RUNS[name]
        sof = tmp_path / "case.sof"
        sof.write_text("\n".join(case.frames(datasets)) + "\n")
        environment = {"OMP_NUM_THREADS": str(threads), **(environment or {})}
        arguments = [*options, case.recipe, *case.parameters.split(), str(sof)]
        process = child.start(tmp_path / label, arguments, environment, **how)
        process.join()
        output = (tmp_path / label / child.OUTPUT).read_text()
        assert process.exitcode == status, output
        return tmp_path / label, output

    return run


def sums(folder) -> dict:
    """Return the sum of the data of each extension of each product."""
    found = {}
    for path in sorted(folder.glob("*.fits")):
        with fits.open(path) as hdus:
            found |= {(path.name, number): hdu.header["DATASUM"] for number, hdu in enumerate(hdus)}
    assert found
    return found


@pytest.mark.parametrize("name", RUNS)
def test_as_planned(start, name):
    """The grid is known from headers alone, whatever the state of the tables; with DAR not corrected, at most."""
    _, output = start(name, "plan", "--plan")
    planned = re.search(r"about (\d+) x (\d+) x (\d+) voxels.*products ([\d.]+) MB", output)
    folder, output = start(name, "run")
    if name == TABLE:
        assert "no cube" in output
        return
    shape = [int(n) for n in planned.groups()[:3]]
    header = fits.getheader(folder / "DATACUBE_FINAL.fits", "DATA")
    found = [header[f"NAXIS{i}"] for i in (1, 2, 3)]
    if "narrow" in name:  # two IFUs of 24
        assert (found[0], found[2]) == pytest.approx((shape[0], shape[2]), rel=0.03, abs=2)
        assert found[1] <= shape[1] <= 310
        return
    assert found == pytest.approx(shape, rel=0.03, abs=2)
    made = sum(path.stat().st_size for path in folder.glob("*.fits")) / 1e6
    assert made == pytest.approx(float(planned[4]), rel=0.1, abs=0.5)


@pytest.mark.parametrize("name", [COMBINE, CUBE, TABLE])
def test_two_threads_and_a_scratch_file_make_the_same_bits(start, name):
    one, _ = start(name, "one")
    two, _ = start(name, "two", threads=2, planes=3, in_memory=0)
    assert sums(one) == sums(two)


@pytest.mark.parametrize(("name", "records", "taken"), [(COMBINE, 1, 1), (COMBINE, 4, 3), (CUBE, 2, 2), (TABLE, 1, 1)])
def test_resumed(start, tmp_path, name, records, taken):
    whole, _ = start(name, "whole")
    (tmp_path / "resume").mkdir()
    how = {"environment": {"MUSE_RESUME": str(tmp_path / "resume")}, "planes": 2}
    start(name, "killed", status=-signal.SIGKILL, records=records, **how)
    again, output = start(name, "again", **how)
    assert output.count(TAKEN_OVER) == taken
    assert sums(again) == sums(whole)

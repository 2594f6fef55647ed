# SPDX-License-Identifier: GPL-2.0-or-later
"""A run that was killed goes on where it was, and makes the same products to the last bit."""

import contextlib
import os
import pickle
import random
import re
import shutil
import signal
import struct
import time
import zlib
from pathlib import Path

import pytest
from astropy.io import fits
from harness import child
from harness.products import products

from muse_core.engine.journal import Journal

KINDS = "--save=cube,skymodel,autocal,individual,positioned,combined,stacked"
SKY = "--skymethod=simple"  # ten Angstrom are too little for a fit of lines
PLANES = 2
MB = 10**6
SIZE = "SIZE"
TAKEN_OVER = "taken over from the interrupted run"


class Bench:
    """Runs the same reduction, whole or interrupted."""

    def __init__(self, folder: Path, sof: Path):
        self.resume = folder / "resume"
        self.resume.mkdir()
        self._folder, self._sof, self._number = folder, sof, 0

    def start(self, *parameters: str, resume: bool = True, folder: Path | None = None, **how):
        """Start a run, in a folder of its own unless one is given; return it and its folder."""
        if folder is None:
            self._number += 1
            folder = self._folder / f"run{self._number}"
        environment = {"OMP_NUM_THREADS": "2", **({"MUSE_RESUME": str(self.resume)} if resume else {})}
        arguments = ["muse_scipost", KINDS, SKY, *parameters, str(self._sof)]
        return child.start(folder, arguments, environment, **{"planes": PLANES, **how}), folder

    def run(self, *parameters: str, status: int = 0, **how) -> tuple[dict, str]:
        """Run to the end; return the products and what was said."""
        process, folder = self.start(*parameters, **how)
        process.join()
        output = said(folder)
        assert process.exitcode == status, output
        return products(folder), output

    def interrupt(self, records: int, *parameters: str, **how) -> Path:
        """Have a run killed after so many records; return its folder in the journal."""
        self.run(*parameters, status=-signal.SIGKILL, records=records, **how)
        (folder,) = self.resume.iterdir()
        return folder


def said(folder: Path) -> str:
    """Return what the run in a folder has said so far."""
    path = folder / child.OUTPUT
    return path.read_text() if path.exists() else ""


@pytest.fixture(scope="module")
def data(datasets):
    """Set of frames of two exposures."""
    return datasets["smalltwo"].sofs["model"]


@pytest.fixture
def bench(tmp_path, data):
    """A place for runs."""
    return Bench(tmp_path, data)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data):
    """Products of a run without a journal, and what it said."""
    found, output = Bench(tmp_path_factory.mktemp("whole"), data).run(resume=False)
    assert {name for name, _ in found} >= {"DATACUBE_FINAL.fits", "PIXTABLE_COMBINED.fits", "OBJECT_RESAMPLED.fits"}
    return found, output


def test_without_interruption(bench, whole):
    found, output = bench.run()
    assert found == whole[0]
    assert TAKEN_OVER not in output
    assert not os.listdir(bench.resume)


def test_killed_at_random(bench, whole):
    """A moment is so many lines of messages and a while: then it does not depend on the machine."""
    expected, output = whole
    lines = output.split("Calculating product checksums")[0].count("\n")
    moments, taken_over = random.Random(6), 0
    for _ in range(10):
        line, while_ = moments.randrange(lines), moments.uniform(0, 0.1)
        process, folder = bench.start()
        while process.is_alive() and said(folder).count("\n") < line:
            time.sleep(0.005)
        process.join(while_)
        process.kill()
        process.join()
        found, output = bench.run(folder=folder)
        assert found == expected
        taken_over += TAKEN_OVER in output
        assert not os.listdir(bench.resume)
        assert not [name for name in os.listdir(folder) if name.startswith(".")]
        shutil.rmtree(folder)
    assert taken_over >= 3  # else the moments, or the resumption, need a look


@pytest.mark.parametrize(("records", "exposures", "planes"), [(1, 1, 0), (5, 2, 6)])
def test_killed_in_the_middle_of_a_record(bench, whole, records, exposures, planes):
    assert list(bench.interrupt(records).glob("*.part"))
    found, output = bench.run()
    assert found == whole[0]
    assert output.count(f": {TAKEN_OVER}") == exposures + bool(planes)
    assert f"{planes} planes: {TAKEN_OVER}" in output or not planes


def test_killed_again_and_again(bench, whole):
    for records in (1, 1, 2):
        bench.interrupt(records)
    found, output = bench.run()
    assert found == whole[0]
    assert f"4 planes: {TAKEN_OVER}" in output


def test_other_slabs(bench, whole):
    """A resumed run may have another limit of memory."""
    bench.interrupt(5)
    found, output = bench.run(planes=3)
    assert found == whole[0]
    assert f"6 planes: {TAKEN_OVER}" in output
    bench.interrupt(4, planes=3)
    found, output = bench.run(planes=2)
    assert found == whole[0]
    assert "planes: taken over" not in output


def test_other_parameters_or_inputs_do_not_resume(bench, data):
    bench.interrupt(4)
    _, output = bench.run("--crsigma=10")
    assert TAKEN_OVER not in output
    frame = Path(data.read_text().split()[0])
    os.utime(frame)
    _, output = bench.run()
    assert TAKEN_OVER not in output
    assert len(os.listdir(bench.resume)) == 1  # the one that was interrupted


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0x10
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [_truncate, _flip])
@pytest.mark.parametrize("name", ["exposure-0002", "slab-000002"])
def test_damaged_record(bench, whole, name, damage):
    journal = bench.interrupt(5)
    damage(journal / name)
    found, output = bench.run()
    assert found == whole[0]
    assert f"{name}: damaged (" in output


def test_kept_files_are_no_missing_space(bench, whole):
    """A disk that had just the room for the run, of which a part is taken now: by the run itself."""
    room = 28 * MB
    _, output = bench.run(status=255, free=3 * MB)
    assert re.search(r"found 3\.0 MB free, expected at least .* MB for ", output)
    journal = bench.interrupt(5, free=room)
    taken = sum(512 * path.stat().st_blocks for path in journal.rglob("*") if path.is_file())
    assert taken > room / 3
    found, output = bench.run(free=room - taken)
    assert found == whole[0]
    assert f"scratch {SIZE} ({taken / MB:.1f} MB kept, {(room - taken) / MB:.1f} MB free)" in re.sub(
        r"scratch [\d.]+ MB", f"scratch {SIZE}", output
    )


def test_missing_rows_and_products(bench, whole):
    journal = bench.interrupt(4)
    (journal / "rows").unlink()
    found, output = bench.run()
    assert found == whole[0]
    assert f"Exposure 1: {TAKEN_OVER}" not in output
    journal = bench.interrupt(4)
    (journal / "products" / "PIXTABLE_REDUCED_0002.fits").unlink()
    found, output = bench.run()
    assert found == whole[0]
    assert f"Exposure 1: {TAKEN_OVER}" in output
    assert re.search(r"Exposure 2: .*/PIXTABLE_REDUCED_0002\.fits: No such file .*; done again", output)


def test_a_flipped_bit_is_found_wherever_it_is(bench, whole):
    """Ten times five bits; each round has other files, so that none is only done again because of another."""
    journal = bench.interrupt(5)
    kept = shutil.copytree(journal, bench.resume.parent / "kept")
    used = [path.relative_to(kept) for path in kept.rglob("*") if path.is_file() and path.stat().st_size]
    used = sorted(path for path in used if path.suffix != ".part")
    assert {path.name for path in used} >= {"rows", "exposure-0001", "slab-000004", "PIXTABLE_POSITIONED_0002.fits"}
    places = random.Random(5)
    for number in range(10):
        shutil.rmtree(journal, ignore_errors=True)
        shutil.copytree(kept, journal)
        chosen = {Path("rows")} if number == 0 else set(places.choices(used, k=5))
        for path in sorted(chosen):
            for _ in range(5 // len(chosen)):
                content = bytearray((journal / path).read_bytes())
                content[places.randrange(len(content))] ^= 1 << places.randrange(8)
                (journal / path).write_bytes(content)
        found, output = bench.run()
        assert found == whole[0], chosen
        assert "done again" in output, chosen


def test_code_in_a_record_does_not_run(bench, whole, tmp_path):
    """A record as they were once: whoever could write it had his code run."""
    journal = bench.interrupt(4)
    trace = tmp_path / "trace"

    class Planted:
        def __reduce__(self):
            return os.mkdir, (str(trace),)

    for content in (pickle.dumps(Planted()), b'{"py/object": "os.mkdir"}', b"[" * 10**5):
        block = struct.pack("<QI", len(content), zlib.crc32(content)) + content
        (journal / "exposure-0001").write_bytes(block)
        found, output = bench.run()
        assert found == whole[0]
        assert "exposure-0001: damaged (record: " in output
        assert not trace.exists()
        journal.mkdir(mode=0o700)
        (journal / ".lock").touch()


def test_what_others_may_have_planted_is_refused(bench, tmp_path):
    journal = bench.interrupt(1)
    journal.chmod(0o770)
    _, output = bench.run(status=255)
    assert f"MUSE_RESUME: {journal}: found a folder that others may write (mode 770), expected one" in output
    foreign = tmp_path / "foreign"
    journal.rename(foreign)
    foreign.chmod(0o700)
    content = {path: path.stat().st_mtime_ns for path in foreign.rglob("*")}
    journal.symlink_to(foreign)
    _, output = bench.run(status=255)
    assert f"MUSE_RESUME: {journal}: found a link, expected a folder of our own" in output
    assert {path: path.stat().st_mtime_ns for path in foreign.rglob("*")} == content
    journal.unlink()
    foreign.rename(journal)
    (journal / "rows").unlink()
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (journal / "rows").symlink_to(victim)
    _, output = bench.run(status=255)
    assert f"{journal}/rows: found a link, expected a file of our own" in output
    assert victim.read_text() == "mine"


def test_private_folder_of_the_user_in_the_place_of_ours(bench):
    """Whoever may write in the folder above can rename what is not his: a run must not remove it at its end."""
    journal = bench.interrupt(1)
    shutil.rmtree(journal)
    journal.mkdir(0o700)
    (journal / "thesis").write_text("mine")
    _, output = bench.run(status=255)
    assert f"MUSE_RESUME: {journal}: found a folder that no run has made" in output
    assert [path.name for path in journal.iterdir()] == ["thesis"]


def test_vacuum(bench, datasets, tmp_path):
    """Wavelengths that were converted in place are not converted again."""
    lines = datasets["smalltwo"].frames("output_wcs")
    grid = Path(next(line for line in lines if "OUTPUT_WCS" in line).split()[0])
    vacuum = tmp_path / "vacuum.fits"
    shutil.copyfile(grid, vacuum)
    fits.setval(vacuum, "CTYPE3", value="WAVE")
    sof = tmp_path / "vacuum.sof"
    sof.write_text("\n".join(lines).replace(str(grid), str(vacuum)))
    bench._sof = sof
    expected, _ = bench.run("--skymethod=none", resume=False)
    bench.interrupt(3, "--skymethod=none")
    found, output = bench.run("--skymethod=none")
    assert found == expected
    assert f"2 planes: {TAKEN_OVER}" in output


def test_two_runs_at_once(bench):
    journal = bench.interrupt(1)
    with contextlib.suppress(RuntimeError), Journal(journal):
        _, output = bench.run(status=255)
        assert "another run with the same inputs and parameters is at work there" in output
        raise RuntimeError  # the journal is kept
    assert (journal / "exposure-0001").exists()


def test_leftovers_of_killed_runs_are_removed(bench):
    """Without a journal nothing is kept, but by a run that goes on."""
    process, folder = bench.start(resume=False)
    while not list(folder.glob(".muse-run-*/*")):
        time.sleep(0.01)
    process.kill()
    process.join()
    (left,) = folder.glob(".muse-run-*")
    _, output = bench.run(resume=False, folder=folder)
    assert f"Removed {left}, which a run that was killed had left" in output
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize(
    ("how", "says"),
    [
        (
            {"largest_file": 2 * MB, "resume": False},
            r"/DATACUBE_FINAL\.fits: larger than files may be .*, 6\.2 MB needed",
        ),
        (
            {"largest_file": MB, "resume": False, "in_memory": 0},  # it is in several files
            r"/scratch: larger .* 3\.3 MB needed; see MUSE_SCR",
        ),
        ({"largest_file": 2 * MB}, r"/rows: larger than files may be .* 3\.3 MB needed"),
        ({"largest_file": 4 * MB}, r"/DATACUBE_FINAL\.fits: larger than files may be"),
    ],
)
def test_full_disk(bench, whole, how, says):
    """Clear words, no product, nothing left; with a journal the run goes on when there is space again."""
    process, folder = bench.start(**how)
    process.join()
    assert process.exitcode == 255
    errors = [line for line in said(folder).splitlines() if "ERROR" in line]
    assert re.search(says, errors[0])
    assert sorted(os.listdir(folder)) == ["esorex.log", child.OUTPUT]
    if not how.get("resume", True):
        assert not os.listdir(bench.resume)
        return
    assert "What has been done is kept in" in said(folder)
    found, output = bench.run(folder=folder)
    assert found == whole[0]
    assert output.count(f": {TAKEN_OVER}") == (2 if how["largest_file"] > 3 * MB else 0)
    assert not os.listdir(bench.resume)

# SPDX-License-Identifier: GPL-2.0-or-later
"""A small run of which a system call fails, does less than asked, or is the last one: right products or the old ones.

Each call in turn, of those that concern inputs, products, scratch or log. By default some of them, spread over the run;
with ``--all-faults`` every one with every event.
"""

import errno
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from astropy.io import fits

from muse_core.io.delivery import Delivery, Destination
from muse_core.simulate.dataset import make_dataset
from muse_core.simulate.exposure import ExposureSpec

HERE = Path(__file__).parent
#: Kinds of calls, and what may happen at one, as in the shim.
OPEN, READ, WRITE, SYNC, CLOSE, RENAME, LINK, UNLINK, MAKE, ALLOCATE = (1 << bit for bit in range(10))
EVERY = (1 << 10) - 1
#: Calls that change what is on the disk.
CHANGES = EVERY & ~(OPEN | READ | CLOSE)
SHORT, KILL_BEFORE, KILL_AFTER = -1, -2, -3
ERRORS = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EINTR, SHORT)
OPTIONS = ["--output-dir=out", "--suppress-link=false", "--link-dir=links", "--products-sof=products.sof"]
ARGUMENTS = [*OPTIONS, "muse_scipost", "--skymethod=none", "--save=cube,individual", "../in/none.sof"]
PRODUCTS = ("DATACUBE_FINAL.fits", "IMAGE_FOV_0001.fits", "PIXTABLE_REDUCED_0001.fits")
#: Exceptions of the interpreter, which nobody has put into words.
UNFORESEEN = re.compile(r"Traceback|\b[A-Z]\w*(Error|Exception|Interrupt)\b")
#: What a run may leave beside its products, whatever becomes of it.
BESIDE = {"esorex.log", "products.sof"}


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    """The shim, compiled."""
    if sys.platform != "linux" or shutil.which("gcc") is None:
        pytest.skip("needs Linux and gcc")
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["gcc", *flags, "-o", library, HERE / "shim.c", "-ldl"], check=True)
    return library


class Bench:
    """Inputs, older products, and a process that runs the command with a fault."""

    def __init__(self, folder: Path, shim: Path):
        self.work, self.out, self.links = folder / "work", folder / "work" / "out", folder / "work" / "links"
        make_dataset(folder / "in", [ExposureSpec(ifus=(12,), lbda_min=7270, lbda_max=7274, slices=(10, 11, 20))])
        self.inputs = self.content(folder / "in")
        self.folder = folder
        command = [sys.executable, "-P", HERE / "driver.py", shim, folder, *ARGUMENTS]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("MUSE_", "ESOREX_"))}
        environment |= {"LD_PRELOAD": str(shim), "OMP_NUM_THREADS": "1", "HOME": str(folder)}
        self._driver = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.restore()
        status, self.calls, said = self.run(EVERY, -1, 0)
        assert status == 0, said
        self.expected = self.data()

    def close(self) -> None:
        self._driver.stdin.close()
        self._driver.stdout.close()
        self._driver.wait()

    def restore(self) -> None:
        """Lay out older products and links to them, and nothing else."""
        shutil.rmtree(self.work, ignore_errors=True)
        for folder in (self.out, self.links):
            folder.mkdir(parents=True)
        for name in PRODUCTS[:2]:
            (self.out / name).write_text(f"old {name}")
            (self.links / name).symlink_to(f"before/{name}")
        self.old = self.content(self.work)

    def run(self, kinds: int, call: int, event: int) -> tuple[int, int, str]:
        """Return status, number of calls, and what was said."""
        self._driver.stdin.write(f"{kinds} {call} {event}\n")
        self._driver.stdin.flush()
        return tuple(json.loads(self._driver.stdout.readline()))

    @staticmethod
    def content(folder: Path) -> dict[str, bytes | str]:
        """Return all files and links below a folder."""
        return {
            str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes()
            for path in folder.rglob("*")
            if path.is_symlink() or path.is_file()
        }

    def data(self) -> list[tuple]:
        """Return the sums of all data of the products, whose checksums are checked (a wrong one is a warning)."""
        sums = []
        for name in PRODUCTS:
            with fits.open(self.out / name, checksum=True) as hdus:
                sums.append((name, hdus[0].header["DATAMD5"], *(hdu.header["DATASUM"] for hdu in hdus)))
        return sums

    def is_new(self) -> bool:
        """Are all products new and right, and is nothing else there? Otherwise everything has to be as it was."""
        found = {name: text for name, text in self.content(self.work).items() if name not in BESIDE}
        if found == self.old:
            return False
        wanted = {f"{folder}/{name}" for folder in ("out", "links") for name in PRODUCTS}
        assert set(found) == wanted
        assert all(found[f"links/{name}"] == f"out/{name}" for name in PRODUCTS)
        assert self.data() == self.expected
        return True


@pytest.fixture(scope="module")
def bench(tmp_path_factory, shim):
    """A bench, shared: it is laid out again after each run that changes it."""
    made = Bench(tmp_path_factory.mktemp("faults"), shim)
    yield made
    made.close()


def chosen(request, calls: int, events: tuple[int, ...], stride: int):
    """Return the pairs of call and event to try."""
    if request.config.getoption("--all-faults"):
        return list(itertools.product(range(calls), events))
    return [(call, events[k % len(events)]) for k, call in enumerate(range(0, calls, stride))]


def test_errors(request, bench):
    """Error, message in words, and everything as before; or success, with the right products."""
    outcomes = set()
    for call, event in chosen(request, bench.calls, ERRORS, 4):
        bench.restore()
        status, _, said = bench.run(EVERY, call, event)
        where = f"call {call}, event {event}: status {status}\n{said}"
        assert not UNFORESEEN.search(said), where
        assert status in (0, 8, 9, 61, 62, 255), where
        new = bench.is_new()
        assert new == (status in (0, 8)), where  # 8: the products are there, the list of them is not
        assert bench.content(bench.folder / "in") == bench.inputs, where
        outcomes.add((event, new))
    assert {new for _, new in outcomes} == {True, False}
    assert (SHORT, False) not in outcomes  # the rest is written, or read, afterwards


def test_kills(request, bench):
    """All products are new or all old when the next run has begun."""
    bench.restore()
    _, calls, _ = bench.run(CHANGES, -1, 0)
    outcomes = set()
    for call, event in chosen(request, calls, (KILL_BEFORE, KILL_AFTER), 3):
        bench.restore()
        status, _, said = bench.run(CHANGES, call, event)
        assert status == -9 or event == KILL_AFTER, said
        with Delivery(Destination(bench.out), "next"):
            pass
        outcomes.add(bench.is_new())
        assert bench.content(bench.folder / "in") == bench.inputs
    assert outcomes == {True, False}

# SPDX-License-Identifier: GPL-2.0-or-later
"""Full and read-only disks, folders without permission, and runs that are stopped.

What each run has to do then is in `harness.bench`.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from harness.bench import OLD_PRODUCT, PIXTABLE, Bench

from muse_core import Recipe
from muse_core.engine import plan, resources
from muse_core.errors import ResourceError
from muse_core.frontends.esorex import main


@pytest.fixture
def small_disk(tmp_path):
    """Return a function that mounts a file system of some bytes on the folder of the products."""
    mounted = []

    def mount(folder: Path, size: str) -> None:
        folder.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"cannot mount a small file system ({done.stderr.strip()}); needs root")
        mounted.append(folder)

    yield mount
    os.chdir(tmp_path)
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("size", ["4k", "100k", "3m"])
@pytest.mark.parametrize(
    ("planned", "says"),
    [
        (True, r"products: found \d+\.\d MB free, expected at least \d+\.\d MB for products"),
        (False, r"\.fits: no space left on the device \(\d+\.\d MB free, \d+\.\d MB needed\)"),
    ],
)
def test_full_disk(bench, small_disk, monkeypatch, size, planned, says):
    if not planned:  # whatever fills the disk does it after the start
        monkeypatch.setattr(plan, "SURELY_NEEDED", 0)
    small_disk(bench.products, size)
    (bench.products / "DATACUBE_FINAL.fits").write_bytes(OLD_PRODUCT)
    bench.fails(bench.frames(), "--save=individual,positioned,cube,combined", says=says)


def test_disk_is_full_of_earlier_products(bench, small_disk, monkeypatch):
    monkeypatch.setattr(plan, "SURELY_NEEDED", 0)
    small_disk(bench.products, "4600k")
    (bench.products / "DATACUBE_FINAL.fits").write_bytes(OLD_PRODUCT)
    bench.fails(bench.frames(), "--save=individual,positioned,cube,combined", says=r"COMBINED.fits: no space left")


@pytest.mark.parametrize(
    ("planned", "says"),
    [
        (True, r"scratch: found 1\.0 MB free, expected at least 1\.6 MB for rows; see MUSE_SCRATCH or MUSE_RESUME"),
        (False, r"scratch: no space left on the device .* 1\.6 MB needed\); see MUSE_SCRATCH"),
    ],
)
def test_full_scratch_folder(bench, small_disk, monkeypatch, planned, says):
    if not planned:
        monkeypatch.setattr(plan, "SURELY_NEEDED", 0)
    scratch = bench.inputs / "scratch"
    small_disk(scratch, "1m")
    monkeypatch.setenv("MUSE_SCRATCH", str(scratch))
    monkeypatch.setattr(resources, "IN_MEMORY_BYTES", 0)
    bench.fails(bench.frames(), says=says)
    assert not os.listdir(scratch)


@pytest.mark.parametrize(
    ("planned", "says"),
    [
        (True, r"resume: found 2\.3 MB free, expected at least \d\.\d MB for rows; see MUSE_SCRATCH or MUSE_RESUME"),
        (False, r"resume/.*no space left on the device"),
    ],
)
def test_full_folder_of_unfinished_runs(bench, small_disk, monkeypatch, planned, says):
    if not planned:
        monkeypatch.setattr(plan, "SURELY_NEEDED", 0)
    folder = bench.inputs / "resume"
    small_disk(folder, "2200k")
    monkeypatch.setenv("MUSE_RESUME", str(folder))
    frames = bench.frames()
    bench.fails(frames, says=says)
    subprocess.run(["mount", "-o", "remount,size=9m", str(folder)], check=True)
    status, output = bench.run(frames)
    assert status == 0, output
    assert ("taken over from the interrupted run" in output) is not planned
    assert not os.listdir(folder)


def test_read_only_disk(bench, small_disk):
    small_disk(bench.products, "8m")
    (bench.products / "DATACUBE_FINAL.fits").write_bytes(OLD_PRODUCT)
    subprocess.run(["mount", "-o", "remount,ro", str(bench.products)], check=True)
    bench.fails(bench.frames(), says=rf"{bench.products}.*: folder is not writable \(Read-only file system\)")


def test_folder_without_permission(datasets, monkeypatch, capfd):
    """As an ordinary user: root may write everywhere, so its rights are put down for the run."""
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench = Bench(folder, datasets, monkeypatch, capfd)
        frames = bench.frames()
        for tag in {tag for _, tag in frames.entries}:
            for number in range(2 if tag == PIXTABLE else 1):
                frames.copy(tag, number).chmod(0o644)
        for path in (folder, bench.inputs):
            path.chmod(0o777)
        bench.products.chmod(0o555)
        if root:
            os.seteuid(65534)
        try:
            status, output = bench.run(frames)
        finally:
            if root:
                os.seteuid(0)
            bench.products.chmod(0o755)
            monkeypatch.chdir("/")
        bench.check(status, output, rf"{bench.products}.*: folder is not writable \(Permission denied\)")


@pytest.mark.parametrize("option", ["output-dir", "log-dir", "link-dir"])
@pytest.mark.parametrize("folder", ["nosuch", "DATACUBE_FINAL.fits/below"])
def test_folder_of_the_command(bench, option, folder):
    bench._monkeypatch.chdir(bench.products)
    arguments = [f"--{option}={folder}", "--suppress-link=false", *bench.arguments(bench.frames(), ())[1:]]
    status = main.main(arguments, "muse-esorex")
    says = f"{option}.*'?{re.escape(folder)}.* is not a valid directory"
    bench.check(status, "".join(bench._capfd.readouterr()), says)


def test_stopped_by_a_signal(bench):
    """A run that is stopped in the middle of its products leaves none of them."""
    frames = bench.frames(data="two")
    command = [sys.executable, "-m", "muse_core.frontends.esorex.main"]
    command += bench.arguments(frames, ["--save=individual,positioned,cube,combined"])
    with subprocess.Popen(
        command, cwd=bench.products, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as run:
        deadline = time.monotonic() + 60
        while not list(bench.products.glob(".muse-run-*/*.fits")) and time.monotonic() < deadline:
            time.sleep(0.01)
        run.send_signal(signal.SIGTERM)
        output, _ = run.communicate(timeout=60)
    assert run.returncode == -signal.SIGTERM, output
    assert "Stopped by SIGTERM; no product has been kept." in output
    bench.is_untouched()


def test_real_command(bench):
    """What the others do in this process, as a user does it."""
    frames = bench.frames()
    path = frames.copy(PIXTABLE)
    os.truncate(path, path.stat().st_size // 2)
    command = [sys.executable, "-m", "muse_core.frontends.esorex.main", *bench.arguments(frames, ())]
    done = subprocess.run(command, cwd=bench.products, capture_output=True, text=True, timeout=60)
    bench.check(
        done.returncode,
        done.stdout + done.stderr,
        rf"{path.name}\[data\]: found \d+ bytes in the file, expected at least \d+",
    )


def test_prefix_in_a_folder_that_is_not_there(bench):
    bench._monkeypatch.chdir(bench.products)
    arguments = ["--suppress-prefix=false", "--output-prefix=no/such", *bench.arguments(bench.frames(), ())]
    status = main.main(arguments, "muse-esorex")
    says = f"--output-prefix: found 'no/such', expected a prefix in a folder; {bench.products}/no is none"
    bench.check(status, "".join(bench._capfd.readouterr()), says, 61)


GONE = "current folder: found none .No such file or directory., expected that in which the program was started"


@pytest.mark.parametrize("option", ["", "--output-dir="])
def test_current_folder_that_was_removed(bench, option):
    arguments = [option + str(bench.products)] if option else []
    arguments += bench.arguments(bench.frames(), ())
    folder = bench.inputs / "gone"
    folder.mkdir()
    bench._monkeypatch.chdir(folder)
    folder.rmdir()
    status = main.main(arguments, "muse-esorex")
    bench.check(status, "".join(bench._capfd.readouterr()), GONE)


def test_current_folder_that_was_removed_in_python(bench):
    folder = bench.inputs / "gone"
    folder.mkdir()
    bench._monkeypatch.chdir(folder)
    folder.rmdir()
    with pytest.raises(ResourceError, match=GONE):
        Recipe("muse_scipost")(str(bench.frames().path(PIXTABLE)))
    bench.is_untouched()

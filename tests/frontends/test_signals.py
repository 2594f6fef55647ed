# SPDX-License-Identifier: GPL-2.0-or-later
"""A run ends within a second of the signal that asks it to, whatever it is doing."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from harness.slowslab import slow_slab

from muse_core.engine.resources import Resources
from muse_core.engine.slabs import SlabSource
from muse_core.engine.store import RowStore
from muse_core.errors import Stopped
from muse_core.steps.resample import CosmicRayDirection, ResampleOptions, SlabResampler

SOON = 1.0  # s
SLOW = 5.0  # times slower a machine may be that runs tests in parallel


@pytest.fixture(scope="module")
def field():
    """Rows, and a grid, of which a slab takes a minute."""
    rows, grid = slow_slab()
    store = RowStore(len(rows))
    store.write(0, rows)
    return store, grid


class _Asked(Exception):
    """Somebody has sent a signal."""


def _raise(number, frame):
    raise _Asked


@pytest.mark.parametrize("after", [0.05, 0.5, 1.5])
def test_signal_in_the_middle_of_a_slab(field, after):
    store, grid = field
    resampler = SlabResampler(grid, ResampleOptions(method="lanczos", ld=12), CosmicRayDirection.X, 2)
    source = SlabSource(store, resampler, Resources(memory_bytes=1 << 30, scratch=Path("."), n_threads=2))
    previous = signal.signal(signal.SIGUSR1, _raise)
    threading.Timer(after, os.kill, (os.getpid(), signal.SIGUSR1)).start()
    began = time.monotonic()
    try:
        with pytest.raises(_Asked):
            for _ in source:
                pass
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert time.monotonic() - began < after + SOON * SLOW


@pytest.mark.parametrize("method", ["nearest", "drizzle", "renka"])
def test_stopped_slab_is_no_result(field, method):
    store, grid = field
    resampler = SlabResampler(grid, ResampleOptions(method=method), CosmicRayDirection.X, 2)
    with pytest.raises(Stopped):
        resampler.slab(store.read(0, store.n_rows), None, 0, 3, stop=np.ones(1, np.int32))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("seed", range(3))
def test_signal_at_any_time(datasets, tmp_path, number, seed):
    """A run of which the slabs take minutes; half of the signals come before them."""
    sof = datasets["two"].sofs["model"]
    command = [sys.executable, "-m", "muse_core.frontends.esorex.main", "muse_scipost"]
    command += ["--resample=lanczos", "--ld=20", "--save=cube,skymodel,individual", str(sof)]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as run:
        for line in run.stdout:
            if b"muse_scipost" in line:
                break
        time.sleep(random.Random(seed).uniform(0, 8))
        assert run.poll() is None
        run.send_signal(number)
        sent = time.monotonic()
        output = run.stdout.read()
        status = run.wait(timeout=60)
    assert time.monotonic() - sent < SOON * SLOW
    assert status == -number, output
    assert not list(tmp_path.glob("*.fits"))

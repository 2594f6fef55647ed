# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines of steps in the log; nothing is measured where nobody watches."""

import re

from muse_core.engine.progress import peak_memory, timed, track


def test_silent_where_nobody_watches():
    assert list(track("step", iter("ab"), ())) == ["a", "b"]


def test_line_of_a_step(caplog):
    with caplog.at_level("INFO"):
        with timed("Step", 12):
            pass
        with timed("Other step", 12, wanted=False):
            pass
    (record,) = caplog.records
    assert re.fullmatch(r"Step: \d\.\d s", record.getMessage())
    assert record.funcName == "test_line_of_a_step"
    with caplog.at_level("DEBUG"), timed("Step", 12):
        pass
    assert re.fullmatch(r"Step: 12 rows, peak memory \d+ MB", caplog.records[-1].getMessage())


def test_peak_memory_does_not_shrink():
    before = peak_memory()
    held = bytearray(before + (64 << 20))
    assert peak_memory() >= len(held)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Progress is reported to whoever asks, and only then."""

from muse_core.engine.progress import reporting, track


def test_reports_sizes_of_finished_items():
    heard = []
    with reporting(lambda *args: heard.append(args)):
        assert list(track("step", iter("ab"), [range(3), range(4)])) == ["a", "b"]
    assert heard == [("step", 0, 7), ("step", 3, 7), ("step", 7, 7)]


def test_silent_without_a_reporter():
    assert list(track("step", iter("ab"), ())) == ["a", "b"]

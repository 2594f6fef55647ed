# SPDX-License-Identifier: GPL-2.0-or-later
"""The log says what was done, once and for those who observe."""

import logging
import re

from harness.run import ours

from muse_core.cplapi import messages
from muse_core.model.facts import ranges_text
from muse_core.steps.resample import ResampleOptions


class Said:
    """Receives messages."""

    _file_level = 0

    def __init__(self):
        self.lines = []

    def get_config(self):
        return {"level": 0}

    def __getattr__(self, severity):
        return lambda component, text: self.lines.append((severity, component, text))


def test_warnings_that_come_again_are_counted():
    said, log = Said(), logging.getLogger("muse_core.steps.some.module")
    with messages.forward_logging(said):
        for _ in range(2):  # two recipes
            with messages.forward_logging(said):
                for n in range(24):
                    log.warning("no sky\nat all")
                    log.info("chunk")
                    log.warning("chunk %d", n % 23)
    warnings = [text for severity, _, text in said.lines if severity == "warning"]
    for_each = ["no sky", "at all", *(f"chunk {n}" for n in range(23)), "24 times: no sky at all", "2 times: chunk 0"]
    assert warnings == 2 * for_each
    assert sum(severity == "info" for severity, *_ in said.lines) == 48
    assert {component for _, component, _ in said.lines} == {"some"}


def test_ranges():
    assert ranges_text([1, 2, 3, 7, 9, 10]) == "1-3, 7, 9-10"
    assert ranges_text([]) == ""


def test_methods_of_resampling_as_text():
    assert str(ResampleOptions(pixfrac=(0.8, 0.8, 0.6))) == (
        "drizzle (drops of 0.8 x 0.8 x 0.6), cosmic rays rejected beyond 15 sigma (median)"
    )
    assert str(ResampleOptions(method="renka", crsigma=0.0)) == "renka (ld 1, rc 1.25), cosmic rays kept"
    assert str(ResampleOptions(method="nearest", crsigma=-1.0)) == "nearest, cosmic rays kept"


def test_what_an_observer_asks(datasets, tmp_path):
    """Two exposures, offsets for the second and a third one that is not there."""
    data = datasets["smallfour"]
    frames = data.frames("model", without="_000[34]-") + [data.frames("offsets")[-1]]
    sof = tmp_path / "two.sof"
    sof.write_text("\n".join(frames) + "\n")
    done = ours(sof, tmp_path / "products", "--pixfrac=0.7", "--filter=white", compat=False)
    assert done.status == 0, done.output
    log = done.output
    for said in (
        r"Exposures 1-2: no pixel table of IFU 1-11, 14-24",
        r"Exposure 1: \d+ rows of 20\d\d-\S+, 900 s, airmass 1\.\d+, seeing \S+ arcsec, \S+ C, \d+ hPa, humidity",
        r"Refraction: positions as at 7000 Angstrom \(Filippenko\)",
        r"Flux calibration: airmass 1\.\d+, response by STD_RESPONSE\S+, extinction by EXTINCT\S+, no telluric",
        r"sky line fit: \d+ lines in \d groups, shifted by \S+ to \S+ Angstrom",
        r"OFFSET_LIST\S+: not used: 2 rows, of other exposures: 20\S+, 20\S+",
        r"Exposure of 20\S+: offset \S+, \S+ arcsec \(RA, DEC\), flux scale \S+, weight 1",
        r"Output cube: \d+ x \d+ x \d+ voxels of 0\.2 x 0\.2 arcsec, 72\d+\S+ to 72\d+\S+ Angstrom \(AWAV, step 1\.25\)"
        r", by drizzle \(drops of 0\.7 x 0\.7 x 0\.7\), cosmic rays rejected beyond 15 sigma",
        r"Sources in the plane of 72\d\d\.\d Angstrom: \d+",
    ):
        assert len(re.findall(said, log)) in ((1,) if "Exposures 1-2" in said or "Output" in said else (1, 2)), said
    assert "peak memory" not in log
    assert "Saved" not in log

# SPDX-License-Identifier: GPL-2.0-or-later
"""Simulated data sets that tests share, each made once, by the first of pytest's processes that is asked for it."""

import dataclasses
import fcntl
import re
from collections.abc import Callable
from pathlib import Path

from harness import run
from muse_core.simulate.dataset import dithered, make_dataset
from muse_core.simulate.exposure import ExposureSpec

#: Two IFUs and 40 Angstrom with strong OH lines: small, but with everything that a full exposure has.
WFM = ExposureSpec(ifus=(12, 13), lbda_min=7270, lbda_max=7310)
AO = dataclasses.replace(WFM, mode="WFM-AO-N", lbda_min=6470, lbda_max=6510, date_obs="2018-11-21T06:32:33.123")
_SMALL = dataclasses.replace(WFM, lbda_max=7280)
_NFM = dataclasses.replace(WFM, mode="NFM-AO-N", exptime=1200.0, date_obs="2019-11-21T01:32:33.123", lbda_max=7280)
_FIRST = dataclasses.replace(WFM, posang=20.0)
_SECOND = dataclasses.replace(
    WFM,
    seed=2,
    date_obs="2014-11-21T06:51:10.456",
    exptime=600.0,
    posang=110.0,
    dither_arcsec=(1.1, -0.7),
    pointing_error_arcsec=(0.6, 0.4),
    transparency=0.9,
    seeing=0.9,
)
ANGLES = (0.0, 20.0, 90.0, 137.0)


def _tiny_pair(angle: float) -> list[ExposureSpec]:
    """Two exposures of one IFU and ten Angstrom, the second one rotated and dithered."""
    first = dataclasses.replace(_SMALL, ifus=(12,), posang=angle)
    again = {"seed": 2, "date_obs": _SECOND.date_obs, "exptime": 600.0, "dither_arcsec": (1.1, -0.7)}
    return [first, dataclasses.replace(first, posang=(angle + 90) % 360, **again)]


def _eight() -> list[ExposureSpec]:
    """Eight exposures of one IFU and ten Angstrom that differ in all that weights and offsets are made from."""
    exposures = dithered(dataclasses.replace(_SMALL, ifus=(12,)), 8, error_arcsec=0.7)
    return [
        dataclasses.replace(spec, exptime=300.0 + 40 * i, seeing=0.7 + 0.1 * (i % 4), transparency=1 - 0.03 * i)
        for i, spec in enumerate(exposures)
    ]


SPECS = {
    "wfm": [WFM],
    "table": [dataclasses.replace(WFM, file_format="table")],
    "noflat": [dataclasses.replace(WFM, flat_field=False)],
    "telluric": [dataclasses.replace(WFM, lbda_min=6860, lbda_max=6900, telluric=True)],
    "telluricnoflat": [dataclasses.replace(WFM, lbda_min=6860, lbda_max=6900, telluric=True, flat_field=False)],
    "blue": [dataclasses.replace(WFM, lbda_min=4750, lbda_max=4790)],
    "red": [dataclasses.replace(WFM, lbda_min=9310, lbda_max=9350)],
    "red_sky": [dataclasses.replace(WFM, lbda_min=8925, lbda_max=8965)],
    "no_lines": [dataclasses.replace(WFM, lbda_min=9270, lbda_max=9300)],
    "full_range": [dataclasses.replace(WFM, lbda_min=4750, lbda_max=9350, slices=tuple(range(1, 49, 4)))],
    "pa90": [dataclasses.replace(WFM, posang=90.0)],
    "pa137": [dataclasses.replace(WFM, posang=137.0)],
    "static": [dataclasses.replace(WFM, posang=35.0, drot_mode="STAT")],
    "ao": [AO],
    "gap": [dataclasses.replace(AO, lbda_min=5945, lbda_max=5985)],  # red edge of the notch filter
    "raman": [dataclasses.replace(AO, raman_flux=300.0, slice_gain_rms=0.03)],
    "nfm": [dataclasses.replace(WFM, mode="NFM-AO-N", exptime=1200.0, date_obs="2019-11-21T06:32:33.123")],
    "two": [_FIRST, _SECOND],
    "eight": _eight(),
    # on both sides of RA 0
    "nfmtwo": [
        dataclasses.replace(_NFM, ra_deg=359.999999),
        dataclasses.replace(_NFM, ra_deg=359.999999, seed=2, date_obs="2019-11-21T02:10:33.123"),
    ],
    **{f"angle{angle:g}": _tiny_pair(angle) for angle in ANGLES},
    "small": [_SMALL],  # for runs that fail
    "smallfour": dithered(_SMALL, 4, error_arcsec=0.5),
    "smalltwo": [dataclasses.replace(spec, lbda_max=7280) for spec in (_FIRST, _SECOND)],
    "smallao": [
        dataclasses.replace(AO, lbda_max=6480),
        dataclasses.replace(AO, lbda_max=6480, seed=2, date_obs="2018-11-21T06:51:10.456", posang=70.0, exptime=500.0),
    ],
    "smalltable": [dataclasses.replace(_SMALL, file_format="table")],
}


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set on disk: its folder and its set-of-frames files by name, see `make_dataset`."""

    folder: Path
    sofs: dict[str, Path]

    def frames(self, sof: str, without: str = "") -> list[str]:
        """Return the lines of a set-of-frames file, but for those that match a pattern."""
        lines = self.sofs[sof].read_text().splitlines()
        return [line for line in lines if not without or not re.search(without, line)]


class Datasets:
    """All data sets; `Datasets(folder)["wfm"]` makes that one if it is not in the folder yet."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._known: dict[str, Dataset] = {}

    def __getitem__(self, name: str) -> Dataset:
        if name not in self._known:
            folder = self._made(name, lambda folder: make_dataset(folder, SPECS[name]))
            self._known[name] = Dataset(folder, {sof.stem: sof for sof in folder.glob("*.sof")})
        return self._known[name]

    def reduced(self, name: str) -> Path:
        """Return the folder of pixel tables that our muse_scipost makes of a data set, sky not subtracted."""
        return self._made(f"{name}-reduced", lambda folder: self._reduce(name, folder))

    def _reduce(self, name: str, folder: Path) -> None:
        parameters = ("--skymethod=none", "--save=individual,positioned,combined")
        outcome = run.ours(self[name].sofs["none"], folder, *parameters)
        assert outcome.status == 0, outcome.output

    def _made(self, name: str, make: Callable[[Path], object]) -> Path:
        """Return a folder that `make` has filled, in this process or, while this one waits, in another."""
        folder = self._folder / name
        with open(self._folder / f"{name}.lock", "a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            lock.seek(0)
            if not lock.read():
                make(folder)
                lock.write("made")
        return folder

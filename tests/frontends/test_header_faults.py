# SPDX-License-Identifier: GPL-2.0-or-later
"""Five hundred faults in headers of all kinds of inputs: each ends in an error that names the file, or in a good plan.

Cards are deleted, damaged, retyped or made senseless at random, but always at the same places. Every run goes up to its
plan, which looks at all inputs; some go to the end.
"""

import logging
import os
import shutil
import signal

import numpy as np
import pytest
from astropy.io import fits
from harness.case import Frames

from muse_core.cplapi import ui
from muse_core.errors import MuseError
from muse_core.recipes.muse_scipost import MuseScipost

N_FAULTS, N_GROUPS = 500, 10
#: Sets of frames with parameters, so that every kind of input is used.
SETS = (
    ("small", "model", {"filter": "white,sim_7030", "skymethod": "model"}),
    ("smalltable", "none", {"skymethod": "none"}),
    ("small", "subtract", {"skymethod": "subtract-model"}),
    ("small", "mask_deg", {"skymethod": "model"}),
    ("small", "lsf_table", {"skymethod": "model"}),
    ("small", "autocal", {"autocalib": "user", "skymethod": "none"}),
    ("small", "output_wcs", {"skymethod": "none"}),
    ("small", "offsets", {"skymethod": "none"}),
)
#: Where the cards of a file are.
CARDS: dict[tuple[str, int], list[list[int]]] = {}
#: What is put in the place of a value.
TEXTS = (
    b"'text'", b"5", b"-1", b"0", b"0.0", b"-0.5", b"1e30", b"-1E30", b"1e999", b"NaN", b"T", b"12..5", b"'open", b"",
    b"99999999999999999999", b"(1.0, 2.0)", b"\xe9\x00\x01",
)  # fmt: skip
SECONDS = 60


def _values(card: bytes) -> list[bytes]:
    """Texts to put in the place of the value of a card."""
    key = card.partition(b"=")[0]
    return [key + b"= " + text for text in TEXTS]


def _cards_of(raw: bytes) -> list[list[int]]:
    """Return where the cards of each header begin, without the many offsets of slices and what follows END."""
    headers = []
    for at in range(0, len(raw), 80):
        card = bytes(raw[at : at + 80])
        if at % 2880 == 0 and card.startswith((b"SIMPLE  =", b"XTENSION=")):
            headers.append([])
            inside = True
        if headers and inside and b"XOFFSET" not in card:
            headers[-1].append(at)
        inside = inside and card.rstrip() != b"END"
    return headers


def _cards(name: str, raw: bytes) -> list[list[int]]:
    if (name, len(raw)) not in CARDS:
        CARDS[name, len(raw)] = _cards_of(raw)
    return CARDS[name, len(raw)]


def damage(path, rng: np.random.Generator) -> str:
    """Damage one card of a file; return what was done."""
    raw = bytearray(path.read_bytes())
    headers = _cards(path.name, raw)
    weights = np.array([3.0] + [1.0] * (len(headers) - 1))
    hdu = int(rng.choice(len(headers), p=weights / weights.sum()))
    at = int(rng.choice(headers[hdu]))
    card = bytes(raw[at : at + 80])
    action = rng.choice(["delete", "value", "value", "value", "bits", "key"])
    if action == "delete":
        new = b""
    elif action == "value":
        values = _values(card)
        new = values[rng.integers(len(values))]
    elif action == "bits":
        new = bytearray(card)
        for place in rng.integers(80, size=3):
            new[place] ^= 1 << int(rng.integers(8))
    else:
        new = card[:2] + b"Q" + card[3:]
    raw[at : at + 80] = bytes(new).ljust(80)[:80]
    path.write_bytes(raw)
    return f"{path.name}[{hdu}], {action}: {card.decode('latin-1').strip()!r} -> {bytes(new)!r}"


@pytest.fixture
def place(tmp_path, monkeypatch, caplog):
    """A folder to run in, without settings of the user; few words, and an alarm for what does not end."""
    caplog.set_level(logging.ERROR, logger="muse_core")
    for name in [name for name in os.environ if name.startswith("MUSE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    before = signal.signal(signal.SIGALRM, _too_long)
    yield tmp_path
    signal.signal(signal.SIGALRM, before)


def _too_long(*_):
    raise TimeoutError(f"no end within {SECONDS} seconds")


def _frameset(frames: Frames) -> ui.FrameSet:
    return ui.FrameSet([ui.Frame(path, tag=tag) for path, tag in frames.entries])


def _is_good(folder) -> bool:
    """Has a cube values, and variances with them?"""
    with fits.open(folder / "DATACUBE_FINAL.fits") as hdus:
        data, stat = hdus["DATA"].data, hdus["STAT"].data
    return bool(np.isfinite(data).any() and np.isfinite(stat[np.isfinite(data)]).any())


@pytest.mark.parametrize("group", range(N_GROUPS))
def test_no_fault_is_unforeseen(datasets, place, group):
    rng = np.random.default_rng(1000 + group)
    unforeseen, n_errors, n_good = [], 0, 0
    for number in range(N_FAULTS // N_GROUPS):
        data, sof, settings = SETS[int(rng.integers(len(SETS)))]
        frames = Frames(datasets[data].frames(sof), place)
        tags = sorted({tag for _, tag in frames.entries})
        tag = tags[int(rng.integers(len(tags)))]
        path = frames.copy(tag)
        what = damage(path, rng)
        whole, recipe = number % 10 == 0, MuseScipost()
        signal.alarm(SECONDS)
        try:
            if whole:
                recipe.run(_frameset(frames), settings)
                if not _is_good(place):
                    unforeseen.append(f"{what}: a cube without values")
            else:
                recipe.plan(_frameset(frames), settings)
            n_good += 1
        except MuseError as error:
            n_errors += 1
            if path.name not in str(error) and tag not in str(error) and "exposure of" not in str(error):
                unforeseen.append(f"{what}: message without the file: {error}")
        except BaseException as error:  # noqa: BLE001 (that is what is looked for)
            unforeseen.append(f"{what}: {type(error).__name__}: {error}")
        finally:
            signal.alarm(0)
        for left in place.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    assert not unforeseen, "\n".join(unforeseen)
    assert n_errors > N_FAULTS // N_GROUPS // 5
    assert n_good > N_FAULTS // N_GROUPS // 5

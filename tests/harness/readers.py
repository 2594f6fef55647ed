# SPDX-License-Identifier: GPL-2.0-or-later
"""Readers of what comes from outside, each as a function of the bytes of a file: the targets of the fuzzer.

They raise nothing but errors of the project, whatever the bytes are.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from astropy.io import fits

from muse_core.errors import MuseError
from muse_core.io.fitsheader import header_length, parse_header
from muse_core.io.fitswriter import primary_header
from muse_core.io.pixtable import PixelTableFile, write_pixel_table
from muse_core.io.sof import parse_sof, read_sof
from muse_core.model.cards import set_card
from muse_core.model.pixtable import FlatFieldSpectrum, PixelTable
from muse_core.model.rows import make_rows

#: Rows that are read of a table.
_ROWS = 64
_MEMORY = Path("/dev/shm")


@contextlib.contextmanager
def _file(data: bytes) -> Iterator[str]:
    with tempfile.NamedTemporaryFile(dir=_MEMORY if _MEMORY.is_dir() else None, suffix=".fits") as file:
        file.write(data)
        file.flush()
        yield file.name


def sof(data: bytes) -> None:
    """Read a set-of-frames file; what it means does not change when it is written again."""
    with _file(data) as path:
        try:
            frames = read_sof(path)
        except MuseError:
            return
    if not set(b"$\r") & set(data):
        assert list(parse_sof("\n".join(f"{frame.path}\t{frame.tag}\t{frame.group}" for frame in frames))) == frames


def header(data: bytes) -> None:
    """Parse the cards of a header, and look at each."""
    length = header_length(data, 0)
    try:
        found = parse_header(data[: len(data) // 80 * 80 if length is None else length], "fuzz")
    except MuseError:
        return
    for card in found.cards:
        assert not isinstance(card.value, float) or np.isfinite(card.value)
    assert len(found.tostring()) % 2880 == 0


def pixel_table(data: bytes) -> None:
    """Open a pixel table, and read its rows, units and flat-field spectrum."""
    with _file(data) as path:
        try:
            with PixelTableFile(path) as file:
                rows = file.read(0, min(_ROWS, file.n_rows))
                assert np.array_equal(file.column("xpos", 0, len(rows)), rows["xpos"], equal_nan=True)
                if file.has_weight:
                    file.column("weight", max(0, file.n_rows - _ROWS))
                assert file.position_unit
        except MuseError:
            return


TARGETS = {target.__name__: target for target in (sof, header, pixel_table)}


def seeds(name: str) -> Iterator[bytes]:
    """Yield good inputs of a target, from which others come."""
    if name == "sof":
        yield b"# frames\nPIXTABLE_OBJECT_0001-01.fits PIXTABLE_OBJECT RAW\n$HOME/std.fits\tSTD_RESPONSE CALIB x\r\n\n"
        yield b"a b RAW\n${NOT_SET}/b\n $X y PRODUCT\n"
        return
    rng = np.random.default_rng(1)
    rows = make_rows(*rng.normal(size=(4, 5)), rng.integers(0, 9, 5), rng.random(5), rng.integers(0, 2**31, 5))
    primary = primary_header()
    set_card(primary, "ESO DRS MUSE PIXTABLE TYPE", "GEOFULL")
    if name == "header":
        set_card(primary, "ESO TEL AIRM START", 1.25, "Airmass")
        set_card(primary, "OBJECT", "it's a name & more" * 8)
        set_card(primary, "EXPTIME", -1.5e-7)
        primary["LONG-STR"] = "x" * 200
        primary["HISTORY"] = "of it"
        primary["FLAG"] = True
        yield primary.tostring().encode("ascii")
        yield fits.ImageHDU(np.zeros((2, 3), np.float32), name="DATA").header.tostring().encode("ascii")
        return
    flat = FlatFieldSpectrum(np.array([4800.0, 4801.25]), np.array([0.9, 1.0]))
    table = PixelTable(rows, primary, flat_field=flat, weight=np.ones(5, np.float32))
    with tempfile.TemporaryDirectory() as folder:
        for as_table in (False, True):
            path = write_pixel_table(os.path.join(folder, f"{as_table}.fits"), table, primary.copy(), as_table=as_table)
            yield Path(path).read_bytes()

# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading LSF_PROFILE: cubes, one file an IFU or all in one, or the older tables of parameters."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from muse_core.errors import InputError
from muse_core.io.fitsreader import FitsFile
from muse_core.model.compat import OURS, Compat
from muse_core.model.header import get_float, has, require_float
from muse_core.model.lsf import HermiteProfile, HermiteProfiles, LsfCube, LsfCubes, LsfGrid
from muse_core.model.origin import N_IFU
from muse_core.model.record import record

_LOG = logging.getLogger(__name__)

_CUBE = "LSF_PROFILE"
_TABLE = "SLICE_PARAM"
_CHANNEL = re.compile(r"CHAN(\d+)")
_HERMITE_COLUMNS = ("hermit3", "hermit4", "hermit5", "hermit6")
_UNUSED_COLUMNS = ("sensitivity", "offset", "refraction")  # part of the format


@record
class _File:
    path: Path
    ifus: frozenset[int]
    generic: bool
    extensions: tuple[str, ...]

    @classmethod
    def of(cls, path: Path) -> "_File":
        with FitsFile(path) as file:
            names = [hdu.name for hdu in file]
            has_pipefile = has(file.primary.header, "PIPEFILE", tag=_CUBE)
        ifus = frozenset(int(m[1]) for m in map(_CHANNEL.match, names) if m)
        return cls(path, ifus, not has_pipefile and not _CHANNEL.match(names[0]), tuple(names[1:]))

    def extension(self, kind: str, ifu: int) -> str | None:
        """EXTNAME of the extension of this kind for an IFU."""
        return next((name for name in (kind, f"CHAN{ifu:02d}.{kind}") if name in self.extensions), None)


def _read_cube(path: Path, extname: str, compat: Compat) -> LsfCube:
    where = f"{path}[{extname}]"
    with FitsFile(path) as file:
        hdu = next(h for h in file if h.name == extname)
        header = hdu.header
        if not hdu.is_image or len(hdu.shape) != 3:
            raise hdu.error(f"found NAXIS = {len(hdu.shape)}, expected an image cube")
        data = hdu.image()
    keys = ("CRPIX1", "CRVAL1", "CD1_1", "CRPIX2", "CRVAL2", "CD2_2")
    if compat.bad_lsf_used:
        return LsfCube(data, LsfGrid(*(get_float(header, key, 0.0, compat, _CUBE) for key in keys)))
    grid = LsfGrid(*(require_float(header, key, where, tag=_CUBE) for key in keys))
    if grid.offset_step <= 0 or grid.line_step <= 0:
        raise InputError(f"{where}: found CD1_1 = {grid.offset_step}, CD2_2 = {grid.line_step}, expected steps above 0")
    with np.errstate(invalid="ignore"):
        total = data.sum(axis=2)
    bad = np.argwhere(~(np.isfinite(total) & (total != 0)))
    if bad.size:
        raise InputError(
            f"{where}: the profile of slice {bad[0][0] + 1} in image row {bad[0][1] + 1} has the sum "
            f"{total[tuple(bad[0])]}; expected a line"
        )
    return LsfCube(data, grid)


def _read_cubes(files: Sequence[_File], compat: Compat) -> tuple[LsfCubes, list[Path]]:
    cubes: LsfCubes = {}
    used: list[Path] = []
    for ifu in range(1, N_IFU + 1):
        file = next((f for f in files if ifu in f.ifus or f.generic), None)
        if file is None:
            continue
        extname = file.extension(_CUBE, ifu)
        if extname is None:
            if compat.bad_lsf_used or file.extension(_TABLE, ifu):
                _LOG.debug("%s: no cube of line spread functions for IFU %d", file.path, ifu)
                return {}, []
            raise InputError(
                f"{file.path}: found no extension {_CUBE}, CHAN{ifu:02d}.{_CUBE} or {_TABLE} for IFU {ifu}"
            )
        try:
            cubes[ifu] = _read_cube(file.path, extname, compat)
        except InputError as error:
            if not compat.bad_lsf_used:
                raise
            _LOG.warning("%s; no cube of line spread functions is used", error)
            return {}, []
        if file.path not in used:
            used.append(file.path)
    return cubes, used


def _read_profiles(path: Path, extname: str) -> HermiteProfiles:
    with FitsFile(path) as file:
        table = file.table(extname)
        for name in _UNUSED_COLUMNS:
            table.column(name)
        ifu, slice_number = (table.column(name, "JI") for name in ("ifu", "slice"))
        arrays = [table.column(name) for name in ("lsf_width", *_HERMITE_COLUMNS)]
        slit, width = (table.column(name) for name in ("slit_width", "bin_width"))
    arrays = [np.ascontiguousarray(a.reshape(len(ifu), -1)) for a in arrays]
    profiles: HermiteProfiles = {}
    for row, key in enumerate(zip(ifu.tolist(), slice_number.tolist(), strict=True)):
        lsf_width, *hermite = (a[row] for a in arrays)
        profiles.setdefault(key, HermiteProfile(lsf_width, tuple(hermite), float(slit[row]), float(width[row])))
    return profiles


def read_lsf(paths: Sequence[Path], compat: Compat = OURS) -> tuple[LsfCubes | HermiteProfiles, list[Path]]:
    """Read line spread functions.

    A file serves an IFU if the EXTNAME of an HDU begins with ``CHANnn``, or if it says nothing about where it comes
    from; the first such file counts.

    Parameters
    ----------
    paths : sequence of Path
        All frames of LSF_PROFILE, in the order of the set of frames.
    compat : Compat
        ``bad_lsf_used``: unusable cubes are used or ignored as in the reference.

    Returns
    -------
    lsf : LsfCubes or HermiteProfiles
        Cubes by IFU, or parameters by (IFU, slice); empty if there is none (compat only).
    used : list of Path
        The files that were used, in the order of their use.

    Raises
    ------
    InputError
        A file has neither form, a keyword or column is missing, a profile is empty.
    """
    files = [_File.of(path) for path in paths]
    cubes, used = _read_cubes(files, compat)
    if cubes:
        return cubes, used
    profiles: HermiteProfiles = {}
    for file in files:
        names = [name for name in file.extensions if name == _TABLE or re.fullmatch(rf"CHAN\d\d\.{_TABLE}", name)]
        for name in names:
            for key, profile in _read_profiles(file.path, name).items():
                profiles.setdefault(key, profile)
        if names:
            used.append(file.path)
    if not profiles and not compat.bad_lsf_used:
        raise InputError(f"LSF_PROFILE: found no line spread function in {', '.join(map(str, paths)) or 'no file'}")
    return profiles, used

# SPDX-License-Identifier: GPL-2.0-or-later
"""Comparison of two products; each function returns a list of what is wrong, empty if nothing."""

import re
from pathlib import Path

import numpy as np
from astropy.io import fits

from harness import tolerances as tol

_VOXELS = ("DATA_SPE", "STAT_SPE")  # compared as the voxels of a cube
_FLOAT_COLUMNS = ("xpos", "ypos", "lambda", "data", "stat")


def ulp_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distance of float32 arrays in units of the last place; NaN pairs count as equal."""

    def ordered(x):
        bits = np.ascontiguousarray(x, np.float32).view(np.int32).astype(np.int64)
        return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)

    return np.where(np.isnan(a) & np.isnan(b), 0, np.abs(ordered(a) - ordered(b)))


def headers(expected: fits.Header, found: fits.Header, where: str, rtol: float = tol.HEADER) -> list[str]:
    """Compare keywords and values; numbers with a relative tolerance."""

    def keys(header):
        return {key for key in header if not tol.IGNORED_KEYWORDS.search(key)}

    a, b = keys(expected), keys(found)
    problems = [f"{where}: keyword {key} missing" for key in sorted(a - b)]
    problems += [f"{where}: keyword {key} extra ({found[key]!r})" for key in sorted(b - a)]
    for key in sorted(a & b):
        x, y = expected[key], found[key]
        numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in (x, y))
        allowed = rtol * max(abs(x), abs(y)) + tol.ABSOLUTE.get(key, 1e-12) if numbers else 0.0
        same = abs(x - y) <= allowed if numbers else x == y
        if not same:
            problems.append(f"{where}: keyword {key}: expected {x!r}, found {y!r}")
    return problems


def pixel_tables(expected: Path, found: Path, undefined=None, *, sky_fitted: bool = False) -> list[str]:
    """Compare two pixel tables row by row.

    Parameters
    ----------
    expected, found : Path
        The files.
    undefined : callable, optional
        From the columns of `expected` to a mask of rows whose data and stat the reference leaves undefined.
    sky_fitted : bool
        A fitted sky model was subtracted: data are compared in units of the noise.
    """
    problems = []
    with fits.open(expected) as a, fits.open(found) as b:
        if [h.name for h in a] != [h.name for h in b]:
            return [f"extensions: expected {[h.name for h in a]}, found {[h.name for h in b]}"]
        for x, y in zip(a, b, strict=True):
            problems += headers(x.header, y.header, x.name or "primary")
        columns, others = _columns(a), _columns(b)
        skip = undefined(columns) if undefined else np.zeros(len(columns["data"]), bool)
        for name, x in columns.items():
            y = others[name]
            if len(x) != len(y):
                problems.append(f"{name}: expected {len(x)} rows, found {len(y)}")
            elif name == "data" and sky_fitted:
                problems += _within_noise(x[~skip], y[~skip], columns["stat"][~skip])
            elif name in _FLOAT_COLUMNS or name == "weight":
                distance = ulp_distance(x, y)
                if name in ("data", "stat"):
                    distance = distance[~skip]
                identical = np.mean(distance == 0) if len(distance) else 1.0
                if identical < tol.IDENTICAL_ROWS or distance.max(initial=0) > tol.MAX_ULP:
                    worst = int(np.argmax(distance))
                    problems.append(
                        f"{name}: {100 * identical:.4f} % identical, at most {distance.max()} ulp apart, in row {worst}"
                    )
            elif not np.array_equal(x, y):
                problems.append(f"{name}: {np.count_nonzero(x != y)} rows differ, first {np.argmax(x != y)}")
        flat = "PIXTABLE_FLAT_FIELD"
        if flat in a:
            problems += tables(a[flat], b[flat], tol.FLAT_FIELD)
    return problems


def positions(expected: Path, found: Path, arcsec: float) -> list[str]:
    """Compare the positions of two pixel tables on the sky alone, with a tolerance."""
    problems = []
    with fits.open(expected) as a, fits.open(found) as b:
        for name in ("xpos", "ypos"):
            distance = 3600 * np.abs(a[name].data.astype(np.float64) - b[name].data).max()
            if a[name].header["BUNIT"] != "deg" or not distance <= arcsec:
                problems.append(f"{name}: up to {distance:.2g} arcsec apart")
    return problems


def _within_noise(x: np.ndarray, y: np.ndarray, stat: np.ndarray) -> list[str]:
    with np.errstate(invalid="ignore"):
        sigmas = np.abs(x.astype(np.float64) - y) / np.sqrt(stat.astype(np.float64))
    bad = (sigmas > tol.SKY_SIGMA) | (np.isnan(x) != np.isnan(y))
    if not bad.any():
        return []
    return [f"data: {np.count_nonzero(bad)} rows beyond tolerance, at most {np.nanmax(sigmas):.3g} sigma"]


def _columns(hdus: fits.HDUList) -> dict[str, np.ndarray]:
    """Return the columns of a pixel table in either format."""
    if isinstance(hdus[1], fits.BinTableHDU):
        return {name: hdus[1].data[name] for name in hdus[1].columns.names}
    return {hdu.header["EXTNAME"]: hdu.data.ravel() for hdu in hdus[1:] if hdu.is_image}


def tables(
    expected: fits.BinTableHDU, found: fits.BinTableHDU, tolerances: tol.Close | dict[str, tol.Close]
) -> list[str]:
    """Compare two binary tables column by column; one tolerance for all columns, or one for each."""
    where = expected.name or "table"
    a, b = expected.data, found.data
    if expected.columns.names != found.columns.names:
        return [f"{where}: columns: expected {expected.columns.names}, found {found.columns.names}"]
    if len(a) != len(b):
        return [f"{where}: expected {len(a)} rows, found {len(b)}"]
    problems = []
    for x, y in zip(expected.columns, found.columns, strict=True):
        if (x.format, x.unit) != (y.format, y.unit):
            problems.append(f"{where}: column {x.name}: expected {x.format} [{x.unit}], found {y.format} [{y.unit}]")
        u, v = np.asarray(a[x.name]), np.asarray(b[x.name])
        if x.name in _VOXELS:
            continue
        if u.dtype.kind == "f":
            close = tolerances[x.name] if isinstance(tolerances, dict) else tolerances
            if not np.allclose(u, v, rtol=close.relative, atol=close.absolute, equal_nan=True):
                worst = np.nanargmax(np.abs(u - v) - close.relative * np.abs(v))
                problems.append(f"{where}: column {x.name}: expected {u[worst]!r}, found {v[worst]!r} in row {worst}")
        elif not np.array_equal(u, v):
            problems.append(f"{where}: column {x.name}: {np.count_nonzero(u != v)} rows differ")
    return problems


def images(expected: Path, found: Path, *, sky_fitted: bool = False) -> list[str]:
    """Compare cubes, images or tables: structure, headers, NaN mask, data in units of the noise if there is a STAT."""
    problems = []
    product = re.sub(r"(_\d+)?\.fits$", "", expected.name)
    rtol = tol.SKY_HEADER.get(product, tol.HEADER) if sky_fitted else tol.HEADER
    with fits.open(expected) as a, fits.open(found) as b:
        if [h.name for h in a] != [h.name for h in b]:
            return [f"extensions: expected {[h.name for h in a]}, found {[h.name for h in b]}"]
        for x, y in zip(a, b, strict=True):
            where = x.name or "primary"
            problems += headers(x.header, y.header, where, rtol)
            if x.data is None:
                continue
            if not x.is_image:
                known = tol.SKY_TABLES if sky_fitted else tol.ANGLES
                problems += tables(x, y, known.get(product, tol.TABLE))
                if where == "E3D_DATA" and not problems:
                    stat = np.square(x.data["STAT_SPE"])
                    problems += _pixels(x.data["DATA_SPE"], y.data["DATA_SPE"], stat, "DATA_SPE", sky_fitted)
                    problems += _pixels(stat, np.square(y.data["STAT_SPE"]), None, "STAT_SPE", sky_fitted)
                continue
            if x.shape != y.shape or x.data.dtype != y.data.dtype:
                problems.append(f"{where}: expected {x.shape} {x.data.dtype}, found {y.shape} {y.data.dtype}")
                continue
            stat = a["STAT"].data if where == "DATA" and "STAT" in a else None
            problems += _pixels(x.data, y.data, stat, where, sky_fitted)
    return problems


def _pixels(x: np.ndarray, y: np.ndarray, stat: np.ndarray | None, where: str, sky_fitted: bool) -> list[str]:
    if x.dtype.kind != "f":
        return [] if np.array_equal(x, y) else [f"{where}: {np.count_nonzero(x != y)} pixels differ"]
    if not np.array_equal(np.isnan(x), np.isnan(y)):
        return [f"{where}: NaN in {np.count_nonzero(np.isnan(x) != np.isnan(y))} pixels of one side only"]
    good = ~np.isnan(x)
    x, y = x[good].astype(np.float64), y[good].astype(np.float64)
    if not len(x):
        return []
    difference = np.abs(x - y)
    if stat is not None:
        allowed = tol.VOXEL_SIGMA * np.sqrt(np.maximum(stat[good], 0).astype(np.float64))
    else:
        allowed = tol.RELATIVE * np.maximum(np.abs(x), 1e-3 * np.median(np.abs(x)))
        if sky_fitted:  # no variance in this image: its noise is the scatter of its pixels
            allowed = np.maximum(allowed, tol.SKY_SIGMA * 1.4826 * np.median(np.abs(x - np.median(x))))
    bad = difference > allowed
    if not bad.any():
        return []
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.nanmax(difference / allowed)
    return [f"{where}: {np.count_nonzero(bad)} pixels beyond tolerance, at most by a factor {factor:.3g}"]


def products(expected: Path, found: Path, undefined=None, *, sky_fitted: bool = False) -> list[str]:
    """Compare all products of two folders, matched by file name; the last two parameters as in `pixel_tables`."""
    a, b = ({path.name for path in folder.glob("*.fits")} for folder in (expected, found))
    problems = [f"product {name} missing" for name in sorted(a - b)] + [
        f"product {name} extra" for name in sorted(b - a)
    ]
    for name in sorted(a & b):
        if name.startswith("PIXTABLE_"):
            found_problems = pixel_tables(expected / name, found / name, undefined, sky_fitted=sky_fitted)
        else:
            found_problems = images(expected / name, found / name, sky_fitted=sky_fitted)
        problems += [f"{name}: {text}" for text in found_problems]
    return problems

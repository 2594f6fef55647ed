# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows at the edge of two cells, to the last bit: each goes to the same cell as with ESO's recipe.

A pixel table is filled with rows at the edges of cells along one or two axes, at most one in two neighbouring cells.
Their values are their numbers: with the nearest neighbour, the cube says in which cell a row is. Near the reference
point the projection has rounding errors of up to a hundredth of a spaxel; they have to be the same.
(Of some 300 such grids, all were equal.)
"""

import dataclasses
import math

import numpy as np
import pytest
from astropy.io import fits
from harness import run
from harness.stages import IN_PIXELS

from muse_core.model.grid import OutputGrid, TableLimits, make_grid, parse_output_wcs
from muse_core.simulate.calibrations import write_output_wcs
from muse_core.simulate.dataset import make_dataset
from muse_core.simulate.exposure import ExposureSpec

pytestmark = pytest.mark.reference

PLANES = 6
WIDE = ExposureSpec(ifus=(12,), slices=(13,), lbda_min=7000, lbda_max=7008, posang=90.0, flat_field=False)
SPECS = {
    "wide": (WIDE, 0.2),
    "narrow": (dataclasses.replace(WIDE, mode="NFM-AO-N", dec_deg=-30.0, date_obs="2018-10-21T08:32:33.123"), 0.02542),
}


@pytest.fixture(scope="module")
def templates(tmp_path_factory):
    """Positioned and unpositioned pixel tables of ESO's recipe, and a set of frames, by field."""
    found = {}
    for name, (spec, _) in SPECS.items():
        folder = tmp_path_factory.mktemp(name)
        lines = make_dataset(folder, [spec])["none"].read_text().splitlines()
        frames = [line for line in lines if line.split()[1] in ("PIXTABLE_OBJECT", "ASTROMETRY_WCS")]
        sof = folder / "small.sof"
        sof.write_text("\n".join(frames) + "\n")
        options = ("--skymethod=none", "--save=individual,positioned")
        sky = run.reference(sof, folder / "sky", *options, "--rvcorr=none").folder
        pixels = run.reference(sof, folder / "pixels", *options, *IN_PIXELS).folder
        tables = {True: sky / "PIXTABLE_POSITIONED_0001.fits", False: pixels / "PIXTABLE_REDUCED_0001.fits"}
        found[name] = tables, [line for line in frames if line.endswith("ASTROMETRY_WCS")]
    return found


def _edges(rng, grid: OutputGrid):
    """Pixel coordinates and planes, from 1, of rows at edges along x, y, wavelength, and at corners; shape (n, 3)."""

    def about_zero(shape):
        return rng.choice([0, 1, -1], shape) * 10 ** rng.uniform(-13, -2.5, shape)

    parts = []
    for plane, (step_x, step_y) in {1.0: (2, 1), 2.0: (1, 2), 3.5: (1, 1), 5.0: (2, 2)}.items():
        y, x = np.mgrid[1 : grid.ny : step_y, 1 : grid.nx : step_x].reshape(2, -1).astype(float)
        x += 0.5 + about_zero(x.shape) if step_x == 2 else rng.uniform(-0.3, 0.3, x.shape)
        y += 0.5 + about_zero(y.shape) if step_y == 2 else rng.uniform(-0.3, 0.3, y.shape)
        parts.append(np.stack([x, y, plane + about_zero(x.shape) * (plane % 1 > 0)], axis=1))
    return np.concatenate(parts)


def _rows(pixels, grid: OutputGrid):
    position = np.array([grid.position(x, y) for x, y, _ in pixels]) - grid.origin
    return [column.astype(np.float32) for column in (*position.T, grid.wavelength(pixels[:, 2] - 1))]


def _write_table(template, path, columns, origin):
    """Write a copy of a pixel table with other rows."""
    with fits.open(template) as hdus:
        header = hdus[0].header
        for axis, values, zero in zip(("X", "Y", "LAMBDA"), columns, (*origin, 0), strict=True):
            for end, extreme in (("LOW", values.min()), ("HIGH", values.max())):
                header[f"ESO DRS MUSE PIXTABLE LIMITS {axis} {end}"] = float(np.float32(extreme + zero))
        n = len(columns[0])
        new = dict(zip(("xpos", "ypos", "lambda"), columns, strict=True))
        new |= {"data": np.arange(1.0, n + 1), "stat": np.ones(n), "dq": np.zeros(n)}
        for hdu in hdus[1:]:
            values = new.get(hdu.name.lower(), np.full(n, hdu.data.flat[0]))
            hdu.data = values[:, None].astype(hdu.data.dtype.newbyteorder("="))
        hdus.writeto(path)


def _given_grid(rng, header, scale, path):
    """Write an OUTPUT_WCS about the position in a header, and return the grid that it makes."""
    nx, ny = (int(n) for n in rng.integers(40, 90, 2))
    position = [header["CRVAL1"], header["CRVAL2"]]
    step = float(rng.choice([1, 1, 0.5, 1.7])) * scale
    ctype = str(rng.choice(["AWAV", "AWAV-LOG"]))
    lbda = rng.uniform(5000, 9000), float(rng.choice([1.25, 0.78125, rng.uniform(0.5, 2)]))
    write_output_wcs(path, *position, (PLANES, ny, nx), lbda, step, ctype)
    angle = math.radians(rng.choice([0, 0, 90, 30, rng.uniform(0, 360)]))
    cosine, sine = (step / 3600 * f(angle) for f in (math.cos, math.sin))
    with fits.open(path, mode="update") as hdus:
        wcs = hdus[1].header
        wcs.update({"CD1_1": -cosine, "CD1_2": sine, "CD2_1": sine, "CD2_2": cosine})
        for i in (1, 2):
            wcs[f"CRVAL{i}"] += float(rng.choice([0, rng.normal() * 3 * scale / 3600]))
            wcs[f"CRPIX{i}"] += float(rng.choice([0, 0.5, rng.uniform(-20, 20)]))
    override = parse_output_wcs(fits.getheader(path, 1))
    limits = TableLimits.from_extremes(np.float32([-1e-3, 1e-3, -1e-3, 1e-3, 7000, 7005]), position)
    return make_grid(header, limits, "deg", override=override)


@pytest.mark.parametrize("seed", range(10))
def test_same_cell(templates, tmp_path, seed):
    rng = np.random.default_rng([seed, 23])
    field = list(SPECS)[seed % 2]
    celestial = seed % 5 != 4
    tables, frames = templates[field]
    options = ["--resample=nearest", "--crsigma=0", "--skymethod=none", "--save=cube", "--rvcorr=none"]
    template = tmp_path / "template.fits"
    with fits.open(tables[celestial]) as hdus:
        header = hdus[0].header
        if celestial and rng.random() < 0.5:
            header["RA"] = header["CRVAL1"] = rng.uniform(0, 360)
            header["DEC"] = header["CRVAL2"] = rng.uniform(-80, 30)
        hdus.writeto(template)
    if celestial:
        grid = _given_grid(rng, header, SPECS[field][1], tmp_path / "wcs.fits")
        frames = [*frames, f"{tmp_path / 'wcs.fits'} OUTPUT_WCS"]
    else:
        step = (float(rng.choice([1, 0.7, 1.5])), float(rng.choice([1, 0.6, 1.3])), float(rng.choice([1.25, 0.9])))
        low = np.float32([*rng.uniform(-150, 100, 2), rng.uniform(5000, 9000)])
        limits = TableLimits.from_extremes(np.stack([low, low + np.float32([50, 50, 5])], axis=1).ravel())
        grid, frames = make_grid(header, limits, "pix", step), []
        options += ["--astrometry=false", "--lambdaref=-1"]
        options += [f"--{name}={value}" for name, value in zip(("dx", "dy", "dlambda"), step, strict=True)]
    _write_table(template, tmp_path / "table.fits", _rows(_edges(rng, grid), grid), grid.origin)
    sof = tmp_path / "case.sof"
    sof.write_text("\n".join([f"{tmp_path / 'table.fits'} PIXTABLE_OBJECT", *frames]) + "\n")
    expected, found = (command(sof, tmp_path / command.__name__, *options) for command in (run.reference, run.ours))
    assert expected.status == found.status == 0, found.output
    a, b = (fits.getdata(outcome.folder / "DATACUBE_FINAL.fits", "DATA") for outcome in (expected, found))
    assert np.isfinite(a).sum() > 1000
    np.testing.assert_array_equal(a, b)

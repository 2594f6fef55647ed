# SPDX-License-Identifier: GPL-2.0-or-later
"""The steps from the combined pixel table to cubes and images, on the reference's own table: voxel for voxel.

The reference runs twice: without a cube, for the rows before cosmic-ray rejection, and with it.
"""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from harness import compare, run
from harness import tolerances as tol

from muse_core.errors import InputError
from muse_core.io.pixtable import PixelTableFile
from muse_core.model import origin
from muse_core.model.compat import Compat
from muse_core.model.dq import DQ
from muse_core.model.filters import white
from muse_core.model.grid import TableLimits, make_grid, parse_output_wcs
from muse_core.model.header import spaxel_size_arcsec
from muse_core.model.pixtable import PixelTable
from muse_core.simulate.dataset import make_dataset
from muse_core.simulate.exposure import ExposureSpec
from muse_core.steps import sdp
from muse_core.steps.collapse import Collapse
from muse_core.steps.euro3d import Euro3DTable, group_row
from muse_core.steps.qc import fwhm_plane, fwhm_qc
from muse_core.steps.resample import ResampleOptions, SlabResampler, cosmic_ray_direction, parse_pixfrac
from muse_core.steps.resample.stacked import stack, stack_slice, stacked_grid
from muse_core.steps.resample.vacuum import air_to_vacuum

pytestmark = pytest.mark.reference

THEIRS = Compat.reference()
RA, DEC, STEP = 53.1625, -27.79139, 0.2 / 3600
_WFM = ExposureSpec(ifus=(12, 13), lbda_min=7000, lbda_max=7016)
_SECOND = {"exptime": 600.0, "dither_arcsec": (1.5, -0.8), "date_obs": "2014-11-21T06:51:10.456"}
DATA = {
    "wfm": [_WFM],
    "ninety": [dataclasses.replace(_WFM, posang=90.0)],
    "two": [dataclasses.replace(_WFM, posang=20.0), dataclasses.replace(_WFM, posang=157.0, **_SECOND)],
}

OPTIONS = {
    "drizzle": ("wfm", {}),
    "nearest": ("wfm", {"resample": "nearest"}),
    "linear": ("wfm", {"resample": "linear"}),
    "quadratic": ("wfm", {"resample": "quadratic"}),
    "renka": ("wfm", {"resample": "renka", "ld": "2", "rc": "2.5"}),
    "renka-far": ("wfm", {"resample": "renka", "rc": "0.3"}),
    "lanczos": ("wfm", {"resample": "lanczos"}),
    "lanczos2": ("wfm", {"resample": "lanczos", "ld": "2", "crsigma": "0"}),
    "iraf": ("wfm", {"crtype": "iraf", "crsigma": "3"}),
    "mean": ("wfm", {"crtype": "mean", "crsigma": "3"}),
    "median": ("wfm", {"crtype": "median", "crsigma": "0.5"}),
    "fine": ("wfm", {"dx": "0.15", "dy": "0.3", "dlambda": "0.8", "pixfrac": "1.5,2,2.5", "ld": "2"}),
    "ninety": ("ninety", {"crsigma": "3"}),
    "two": ("two", {"crsigma": "5", "pixfrac": "1"}),
    "two-linear": ("two", {"resample": "linear", "weight": "none"}),
    "two-nearest": ("two", {"resample": "nearest", "crsigma": "2"}),
}


@dataclasses.dataclass
class Table:
    """The combined pixel table of a data set before cosmic-ray rejection."""

    frames: Path
    table: PixelTable

    @classmethod
    def of(cls, frames, folder, *parameters):
        """Let the reference make it."""
        outcome = run.reference(frames, folder, "--skymethod=none", "--save=combined", *parameters)
        assert outcome.status == 0, outcome.output
        with PixelTableFile(folder / "PIXTABLE_COMBINED.fits") as file:
            return cls(frames, file.load())

    def in_vacuum(self):
        """Return it with vacuum wavelengths."""
        rows = self.rows.copy()
        rows["lbda"] = air_to_vacuum(rows["lbda"])
        return Table(self.frames, dataclasses.replace(self.table, rows=rows))

    @property
    def rows(self):
        return self.table.rows

    @property
    def header(self):
        return self.table.header

    def limits(self):
        extremes = [find(self.rows[name]) for name in ("xpos", "ypos", "lbda") for find in (np.min, np.max)]
        return TableLimits.from_extremes(extremes, (self.header["CRVAL1"], self.header["CRVAL2"]))

    def cube(self, options, override=None):
        """Return grid and result of our resampling."""
        grid = make_grid(self.header, self.limits(), self.table.position_unit, options.step, override)
        direction = cosmic_ray_direction(self.header, self.table.position_unit)
        resampler = SlabResampler(grid, options, direction, 2, THEIRS)
        return grid, resampler.slab(self.rows, self.table.weight, 0, grid.nz)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    made = {}

    def get(name, *parameters):
        if (name, parameters) not in made:
            folder = tmp_path_factory.mktemp(name)
            made[name, parameters] = Table.of(make_dataset(folder, DATA[name])["none"], folder / "raw", *parameters)
        return made[name, parameters]

    return get


def options_of(parameters):
    return ResampleOptions(
        method=parameters.get("resample", "drizzle"),
        crtype=parameters.get("crtype", "median"),
        crsigma=float(parameters.get("crsigma", 15)),
        ld=int(parameters.get("ld", 1)),
        rc=float(parameters.get("rc", 1.25)),
        pixfrac=parse_pixfrac(parameters.get("pixfrac", "0.8,0.8")),
        step=tuple(float(parameters.get(name, 0)) for name in ("dx", "dy", "dlambda")),
    )


def blanked(values, dq):
    return np.where(dq == 0, values, np.float32(np.nan))


def nearly_identical(expected, found):
    """Same shape and NaN, and the same bits but for sums in another order."""
    assert expected.shape == found.shape
    assert np.array_equal(np.isnan(expected), np.isnan(found))
    distance = compare.ulp_distance(expected.astype(np.float32), found)
    assert np.mean(distance == 0) > 0.9999
    assert distance.max(initial=0) <= tol.MAX_ULP


def assert_same_cube(table, folder, grid, result):
    with fits.open(folder / "DATACUBE_FINAL.fits") as hdus:
        header = hdus["DATA"].header
        for item in grid.cards(table.header):
            assert header[item.keyword] == item.value, item.keyword
            assert header.comments[item.keyword] == item.comment
        nearly_identical(hdus["DATA"].data, blanked(result.data, result.dq))
        nearly_identical(hdus["STAT"].data, blanked(result.stat, result.dq))
        qc = hdus[0].header
    for name, value in fwhm_qc(result.data[fwhm_plane(grid)], grid, spaxel_size_arcsec(table.header), THEIRS):
        assert qc[f"ESO QC SCIPOST {name}"] == pytest.approx(float(value), rel=tol.HEADER), name
    with fits.open(folder / "IMAGE_FOV_0001.fits") as hdus:
        collapse = Collapse(grid, [white()], 2)
        collapse.add_planes(0, result.data, result.dq)
        nearly_identical(hdus["DATA"].data, collapse.images()[0])
        fraction = hdus[0].header["ESO DRS MUSE FILTER FRACTION"]
        assert fraction == pytest.approx(100 * collapse.fractions()[0], rel=tol.HEADER)
    with PixelTableFile(folder / "PIXTABLE_COMBINED.fits") as file:
        flags = table.rows["dq"].copy()
        flags[result.cosmic_rays] |= DQ.COSMIC_RAY
        assert np.array_equal(file.column("dq"), flags)


@pytest.mark.parametrize("name", OPTIONS)
def test_options(name, tables, tmp_path):
    data, parameters = OPTIONS[name]
    table = tables(data, *(("--weight=none",) if "weight" in parameters else ()))
    outcome = run.reference(
        table.frames,
        tmp_path,
        "--skymethod=none",
        "--save=cube,combined",
        *(f"--{key}={value}" for key, value in parameters.items()),
    )
    assert outcome.status == 0, outcome.output
    assert_same_cube(table, tmp_path, *table.cube(options_of(parameters)))


def wcs_header(**changes):
    header = fits.Header()
    turn = (STEP * math.cos(0.35), STEP * math.sin(0.35))
    for key, value in {
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CRVAL1": RA,
        "CRVAL2": DEC,
        "CRPIX1": 10.5,
        "CRPIX2": 8.25,
        "CD1_1": -STEP,
        "CD2_2": STEP,
        "CTYPE3": "AWAV",
        "CUNIT3": "Angstrom",
        "CRVAL3": 7004.1,
        "CRPIX3": 1.0,
        "CD3_3": 1.25,
        **changes,
    }.items():
        if value == "turn":
            value = {"CD1_1": -turn[0], "CD1_2": turn[1], "CD2_1": turn[1], "CD2_2": turn[0]}[key]
        if value is not None:
            header[key] = value
    return header


_TURNED = dict.fromkeys(("CD1_1", "CD1_2", "CD2_1", "CD2_2"), "turn")
_PLANE = dict.fromkeys(("CTYPE3", "CUNIT3", "CRVAL3", "CRPIX3", "CD3_3"))
WCS = {
    "inside": ({}, {}),
    "larger": ({"CRPIX1": 190.0, "CRPIX2": 30.0, "NAXIS1": 380, "NAXIS2": 60, **_PLANE}, {"resample": "renka"}),
    "turned": (_TURNED, {"crsigma": "4"}),
    "turned-linear": (_TURNED, {"resample": "linear"}),
    "quarter-turn": ({"CD1_1": 0.0, "CD1_2": STEP, "CD2_1": STEP, "CD2_2": 0.0}, {}),
    "logarithmic": ({"CTYPE3": "AWAV-LOG", "CD3_3": 0.8, "CRPIX3": 1.7}, {}),
    "vacuum": ({"CTYPE3": "WAVE"}, {"resample": "lanczos"}),
    "vacuum-logarithmic": ({"CTYPE3": "WAVE-LOG", "CD3_3": 0.9}, {"resample": "nearest"}),
    "nanometres": ({"CUNIT3": "nm", "CRVAL3": 700.4, "CD3_3": 0.125}, {}),
    "not-separable": ({"CD1_3": 1e-9}, {}),
    "full-turn": ({"CRVAL1": RA + 360}, {"resample": "linear"}),
}
REFUSED = {
    "PCi_j": {"PC1_1": 1.0},
    "FREQ": {"CTYPE3": "FREQ"},
    "RA---SIN": {"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN"},
}


def write_wcs(changes, folder, table):
    """Write an OUTPUT_WCS and a set of frames with it; returns both names."""
    header = wcs_header(**{key: value for key, value in changes.items() if not key.startswith("NAXIS")})
    shape = (8, 20, 30) if "CTYPE3" in header else (changes.get("NAXIS2", 20), changes.get("NAXIS1", 30))
    fits.PrimaryHDU(np.zeros(shape, np.float32), header).writeto(folder / "wcs.fits")
    lines = [line for line in table.frames.read_text().splitlines() if "OUTPUT_WCS" not in line]
    (folder / "in.sof").write_text("\n".join([*lines, f"{folder / 'wcs.fits'} OUTPUT_WCS\n"]))
    return folder / "wcs.fits", folder / "in.sof"


@pytest.mark.parametrize("name", WCS)
def test_output_wcs(name, tables, tmp_path):
    changes, parameters = WCS[name]
    table = tables("wfm")
    path, sof = write_wcs(changes, tmp_path, table)
    folder = tmp_path / "reference"
    arguments = (f"--{key}={value}" for key, value in parameters.items())
    outcome = run.reference(sof, folder, "--skymethod=none", "--save=cube,combined", *arguments)
    assert outcome.status == 0, outcome.output
    override = parse_output_wcs(fits.getheader(path))
    if override.is_vacuum:
        table = table.in_vacuum()
        with PixelTableFile(folder / "PIXTABLE_COMBINED.fits") as file:
            assert np.array_equal(file.column("lambda"), table.rows["lbda"])
    assert_same_cube(table, folder, *table.cube(options_of(parameters), override))


@pytest.mark.parametrize("reason", REFUSED)
def test_refused_output_wcs(reason, tables, tmp_path):
    """What we refuse is what the reference ignores."""
    path, sof = write_wcs(REFUSED[reason], tmp_path, tables("wfm"))
    with pytest.raises(InputError, match=reason):
        parse_output_wcs(fits.getheader(path), str(path))
    outcome = run.reference(sof, tmp_path / "reference", "--skymethod=none", "--save=cube")
    assert "No valid headers for OUTPUT_WCS found" in outcome.output


def test_euro3d(tables, tmp_path):
    table = tables("wfm")
    assert run.reference(table.frames, tmp_path, "--skymethod=none", "--save=cube", "--format=Euro3D").status == 0
    grid, cube = table.cube(options_of({}))
    euro3d = Euro3DTable(grid)
    euro3d.add_planes(0, cube.dq)
    columns = (np.ascontiguousarray(a.transpose(2, 0, 1)) for a in (cube.data, cube.stat, cube.dq))
    rows = np.concatenate([euro3d.rows(x, *a) for x, a in enumerate(zip(*columns, strict=True))])
    with fits.open(tmp_path / "DATACUBE_FINAL.fits") as hdus:
        spectra, group = hdus["E3D_DATA"], hdus["E3D_GRP"].data
        assert tuple(spectra.columns.names) == rows.dtype.names
        assert spectra.header.get("TNULL11") == (0 if euro3d.has_unused_elements else None)
        for name in ("SPEC_ID", "NSPAX", "SPEC_LEN", "SPEC_STA", "XPOS", "YPOS", "GROUP_N", "QUAL_SPE"):
            assert np.array_equal(spectra.data[name], rows[name]), name
        for name in ("DATA_SPE", "STAT_SPE"):
            nearly_identical(spectra.data[name], rows[name])
        assert spectra.data["SELECTED"].all()
        found = group_row(table.header, grid, THEIRS)
        for name in group.columns.names[2:]:
            assert group[name][0] == found[name][0], name
    collapse = Collapse(grid, [white()])
    fraction = fits.getheader(tmp_path / "IMAGE_FOV_0001.fits")["ESO DRS MUSE FILTER FRACTION"]
    assert fraction == pytest.approx(100 * collapse.fractions(euro3d.n_planes_of_images)[0], rel=tol.HEADER)


@pytest.mark.parametrize("data", ["wfm", "two"])
def test_science_data_product(data, tables, tmp_path):
    table = tables(data)
    assert run.reference(table.frames, tmp_path, "--skymethod=none", "--save=cube", "--format=sdpCube").status == 0
    grid, cube = table.cube(options_of({}))
    statistics = sdp.CubeStatistics(grid)
    statistics.add_planes(0, cube.data, cube.stat, cube.dq)
    frames = (line.split() for line in table.frames.read_text().splitlines())
    raw = [fits.getheader(path) for path, tag in frames if tag == "PIXTABLE_OBJECT"]
    first = {header["DATE-OBS"]: header for header in reversed(raw)}
    with fits.open(tmp_path / "DATACUBE_FINAL.fits") as hdus, fits.open(tmp_path / "IMAGE_FOV_0001.fits") as image:
        cards = sdp.primary_cards(
            [sdp.SdpExposure.from_header(first[date], date) for date in sorted(first)],
            table.header,
            grid,
            statistics,
            images=["IMAGE_FOV_0001.fits"],
            largest_image=int(np.isfinite(image["DATA"].data).sum()),
            data_unit=table.table.data_unit,
            has_response=True,
            software="muse/2.8.7",
            compat=THEIRS,
        )
        for item in cards:
            expected = hdus[0].header[item.keyword]
            same = pytest.approx(expected, rel=1e-13) if isinstance(expected, float) else expected
            assert item.value == same, item.keyword
            assert item.comment == hdus[0].header.comments[item.keyword]
        for name in ("DATA", "STAT"):
            for item in sdp.extension_wcs(grid.cards(table.header)):
                assert hdus[name].header[item.keyword] == item.value


@pytest.mark.parametrize(("data", "parameters"), [("wfm", {}), ("two", {}), ("wfm", {"dx": "0.3", "dlambda": "0.9"})])
def test_stacked(data, parameters, tables, tmp_path):
    table = tables(data)
    arguments = (f"--{key}={value}" for key, value in parameters.items())
    assert run.reference(table.frames, tmp_path, "--skymethod=none", "--save=stacked", *arguments).status == 0
    natural = make_grid(table.header, table.limits(), table.table.position_unit)
    grid = stacked_grid(table.limits(), natural, options_of(parameters).step, THEIRS)
    key = origin.slice_key(table.rows["origin"])
    order = np.lexsort((table.rows["lbda"], key))
    slices = np.split(table.rows[order], np.flatnonzero(np.diff(key[order])) + 1)
    with fits.open(tmp_path / "OBJECT_RESAMPLED.fits") as hdus:
        nearly_identical(hdus["DATA"].data, stack([stack_slice(rows, grid) for rows in slices]))
        for item in grid.cards():
            assert hdus["DATA"].header[item.keyword] == item.value

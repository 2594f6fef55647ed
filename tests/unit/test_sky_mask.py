# SPDX-License-Identifier: GPL-2.0-or-later
"""Sky mask from an image, and the lists of lines, against the test vectors of the reference."""

import numpy as np
import pytest

from muse_core.errors import DataError, ParameterError
from muse_core.model.compat import Compat
from muse_core.model.rows import make_rows
from muse_core.model.skylines import SkyLines, lines_from_oh
from muse_core.model.skymask import SkyMask
from muse_core.steps.sky.mask import create_sky_mask, select_rows
from muse_core.steps.sky.options import parse_crsigma
from muse_core.steps.sky.qc import mask_qc


@pytest.mark.parametrize(
    ("ignore", "fraction", "low", "high", "sky"),
    [
        (0.05, 0.1, 1, 3, [6]),
        (0.05, 0.6, 1, 12, [1, 4, 6, 7, 9, 10, 12, 13, 15, 18]),
        (0.2, 0.8, 4, 16, [1, 2, 4, 5, 7, 10, 13, 15, 16, 18, 19]),
        (0, 1, 1, 19, sorted(set(range(20)) - {0, 3, 17})),
        (0, 0, 1, 1, []),
        (-3, 9, 1, 19, sorted(set(range(20)) - {0, 3, 17})),
    ],
)
def test_sky_mask_of_the_reference(ignore, fraction, low, high, sky):
    image = ((7 * np.arange(20)) % 20).astype(np.float32).reshape(4, 5)
    bad = np.arange(20).reshape(4, 5) == 0
    mask, low_limit, threshold = create_sky_mask(image, bad, fraction, ignore)
    assert (low_limit, threshold) == (low, high)
    assert mask.dtype == np.uint8
    assert np.flatnonzero(mask).tolist() == sky
    assert mask_qc(low_limit, threshold) == [("LOWLIMIT", low), ("THRESHOLD", high)]


def test_sky_mask_without_data():
    with pytest.raises(DataError, match="no pixel of the white-light image has data"):
        create_sky_mask(np.zeros((2, 2), np.float32), np.ones((2, 2), bool), 0.1, 0.05)


def selected_by(mask, x, y, **position):
    rows = make_rows(np.float32(x), np.float32(y), 5000, 1, 0, 1, 0)
    selected = np.ones(len(rows), np.uint8)
    select_rows(rows, mask, selected, **position)
    return selected.tolist()


def test_rows_are_unselected_on_masked_pixels_only():
    mask = SkyMask(np.array([[0, 1], [1, 0]], np.uint8), crval=(-3.0, 4.0))
    x = [-3, -2, -2.6, -2.5, -1.5, -3.5, -3.51, np.nan, 1e30]
    assert selected_by(mask, x, [4] * 9) == [0, 1, 0, 1, 1, 0, 1, 1, 1]
    assert selected_by(mask, [-2], [5]) == [0]
    assert selected_by(mask, [-3], [5]) == [1]


def test_selection_is_never_set():
    rows = make_rows(0, 0, 5000, 1, 0, 1, np.zeros(1, np.uint32))
    selected = np.zeros(1, np.uint8)
    select_rows(rows, SkyMask(np.ones((1, 1), np.uint8)), selected)
    assert selected.tolist() == [0]


def test_rotated_linear_mask():
    angle = 0.3
    cd = (2 * np.cos(angle), -2 * np.sin(angle), 2 * np.sin(angle), 2 * np.cos(angle))
    mask = SkyMask(np.zeros((9, 9), np.uint8), crpix=(5.0, 5.0), crval=(10.0, -20.0), cd=cd)
    mask.data[:] = 1
    mask.data[6, 3] = 0  # pixel (4, 7)
    x, y = 10 + cd[0] * -1 + cd[1] * 2, -20 + cd[2] * -1 + cd[3] * 2
    assert selected_by(mask, [x, x + 2], [y, y]) == [0, 1]


def test_celestial_mask_agrees_with_astropy():
    wcs_module = pytest.importorskip("astropy.wcs")
    ra, dec = 150.1, -35.2
    wcs = wcs_module.WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra + 0.003, dec - 0.002]
    wcs.wcs.crpix = [20.3, 15.2]
    wcs.wcs.cd = [[-3e-4, 4e-5], [4e-5, 3e-4]]
    rng = np.random.default_rng(1)
    image = rng.integers(0, 2, (30, 40)).astype(np.uint8)
    mask = SkyMask(image, (20.3, 15.2), (ra + 0.003, dec - 0.002), (-3e-4, 4e-5, 4e-5, 3e-4), celestial=True)
    dx, dy = rng.uniform(-0.008, 0.008, (2, 500)).astype(np.float32)
    px, py = wcs.wcs_world2pix(dx.astype(float) + ra, dy.astype(float) + dec, 1)
    ix, iy = np.floor(px + 0.5).astype(int), np.floor(py + 0.5).astype(int)
    inside = (ix >= 1) & (ix <= 40) & (iy >= 1) & (iy <= 30)
    expected = np.where(inside, image[np.clip(iy, 1, 30) - 1, np.clip(ix, 1, 40) - 1], 1)
    assert inside.sum() > 100
    assert selected_by(mask, dx, dy, ra_deg=ra, dec_deg=dec) == expected.tolist()


OH = {
    "name": ["a", "b", "c", "d"],
    "lbda": [7316.282, 7340.885, 8430.2, 8344.6],
    "v_u": [8, 8, 6, 6],
    "e_u": [3.10e-19, 3.12e-19, 2.55e-19, 2.54e-19],
    "j_u": [1.5, 2.5, 1.5, 0.5],
    "a": [0.5, 0.45, 1.0, 0.7],
}


def test_oh_lines_of_the_reference():
    lines = SkyLines.from_columns(["first"], [3], [5577.3], [100.0]).followed_by(lines_from_oh(**OH))
    expected = [100.0, 3143961.35255691, 2050194.61997198, 5484997.7238535, 2785837.61137252]
    np.testing.assert_allclose(lines.flux, expected, rtol=3e-15)
    assert lines.group.tolist() == [3, 4, 4, 5, 5]
    assert lines.name.tolist() == ["first", "a", "b", "c", "d"]
    assert not lines.dq.any()


def test_oh_lines_only():
    lines = SkyLines.from_columns([], [], [], []).followed_by(lines_from_oh(**OH))
    assert lines.group.tolist() == [0, 0, 1, 1]
    assert len(lines_from_oh([], [], [], [], [], [])) == 0


def test_oh_vibrational_range():
    with pytest.raises(DataError, match="v_u from 6 to 106"):
        lines_from_oh(**(OH | {"v_u": [106, 8, 6, 6]}))


def test_restriction_renumbers_groups_by_appearance():
    lines = SkyLines.from_columns(list("abcd"), [7, 3, 7, 5], [5000.0, 5001, 5002, 6000], [1.0, 2, 3, 4])
    kept = lines.restricted(5000.0, 5002.0)
    assert kept.name.tolist() == ["a", "b", "c"]
    assert kept.group.tolist() == [0, 1, 0]
    assert kept.n_groups == 2
    assert kept.strongest_of_groups().tolist() == [2, 1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("15.,15.", (15, 15)),
        (",3,,4.5e0x,7", (3, 4.5)),
        (" -1,0", (-1, 0)),
        ("15", (15, 0)),
        ("3", (15, 0)),
        ("", (15, 0)),
    ],
)
def test_crsigma(text, expected, caplog):
    assert parse_crsigma(text) == expected
    assert ("expected two numbers" in caplog.text) == (text.count(",") == 0)


def test_crsigma_that_is_no_number():
    with pytest.raises(ParameterError, match="sky_crsigma: found 'off,15'"):
        parse_crsigma("off,15")
    assert parse_crsigma("off,15", Compat.reference()) == (0, 15)

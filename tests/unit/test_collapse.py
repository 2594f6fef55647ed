# SPDX-License-Identifier: GPL-2.0-or-later
"""Filter curves and images of the field."""

import dataclasses

import numpy as np
import pytest
from harness.grids import pixel_grid

from muse_core.errors import DataError, InputError
from muse_core.model.filters import FilterCurve, white
from muse_core.steps.collapse import Collapse, covers

GRID = pixel_grid(2, 1, 61, (1.0, 1.0, 4999.5))
BAND = FilterCurve("band", np.array([5010.0, 5020.0, 5030.0]), np.array([0.0, 0.8, 0.0]))


def test_throughput():
    assert BAND([5009.9, 5010, 5015, 5020, 5029, 5030.1]) == pytest.approx([0, 0, 0.4, 0.8, 0.08, 0])
    assert white()([4649, 4650, 9300, 9301]).tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize(("lbda", "throughput"), [([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([2.0, 1.0], [0.0, 1.0])])
def test_unusable_curves(lbda, throughput):
    with pytest.raises(InputError, match="filter 'odd'"):
        FilterCurve("odd", np.array(lbda), np.array(throughput))


@pytest.mark.parametrize(
    ("throughput", "expected"),
    [([1, 1, 1], (0, 3)), ([0, 0, 1, 0], (1, 3)), ([0, 1, 0, 1, 0, 0], (0, 4)), ([0, 0, 0], (2, 3))],
)
def test_range_starts_at_the_last_empty_plane(throughput, expected):
    assert white().plane_range(np.array(throughput, float)) == expected


def test_covered_fraction():
    collapse = Collapse(GRID, [white(), BAND, None])
    assert collapse.fractions() == [76 / 4650, pytest.approx(1.0), 1.0]
    assert collapse.fractions(n_planes=62)[0] == 78 / 4650
    far = FilterCurve("far", np.array([6000.0, 6100.0]), np.array([1.0, 1.0]))
    assert Collapse(GRID, [far]).fractions() == [0.0]


def test_image_is_the_weighted_mean():
    data = np.ones((61, 1, 2), np.float32)
    data[:, 0, 0] = np.arange(61)
    dq = np.zeros(data.shape, np.int32)
    dq[20, 0, 0] = 1
    data[21, 0, 0] = np.nan
    collapse = Collapse(GRID, [BAND, None], 2)
    collapse.add_planes(0, data[:15], dq[:15])
    collapse.add_planes(15, data[15:], dq[15:])
    band, plain = collapse.images()
    weight = BAND(GRID.wavelength(np.arange(61)))
    weight[20:22] = 0
    assert band[0, 0] == pytest.approx(np.sum(weight * np.arange(61)) / weight.sum())
    assert band[0, 1] == plain[0, 1] == 1
    assert plain[0, 0] == pytest.approx((sum(range(61)) - 41) / 59)


def test_spaxels_without_data_are_nan():
    grid = dataclasses.replace(GRID, nz=1)
    collapse = Collapse(grid, [None])
    collapse.add_planes(0, np.ones((1, 1, 2), np.float32), np.array([[[0, 1 << 30]]], np.int32))
    assert np.isnan(collapse.images()[0]).tolist() == [[False, True]]


def test_planes_come_in_order():
    collapse = Collapse(GRID, [None])
    with pytest.raises(DataError, match="expected those from 0 on"):
        collapse.add_planes(3, np.ones((1, 1, 2), np.float32), np.zeros((1, 1, 2), np.int32))


@pytest.mark.parametrize(("lbda", "expected"), [((6000, 6100), False), ((4990, 5001), True)])
def test_filter_covers_planes(lbda, expected):
    curve = FilterCurve("f", np.array(lbda, np.float64), np.ones(2))
    assert covers(GRID, curve) == expected

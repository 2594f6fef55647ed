# SPDX-License-Identifier: GPL-2.0-or-later
import numpy as np
import pytest
from scipy import ndimage

from muse_core.cython_ext import detect as kernels
from muse_core.steps.detect import centroids, detect_sources, dilated, eroded, median


def field(*boxes, shape=(30, 40), value=100.0):
    """A checkerboard of +-1 (median 0 or 1, deviation about 1) with constant boxes (y0, y1, x0, x1)."""
    image = np.indices(shape).sum(axis=0) % 2 * 2.0 - 1.0
    for y0, y1, x0, x1 in boxes:
        image[y0:y1, x0:x1] = value
    return image.astype(np.float32)


def test_median_of_even_number_is_between_the_central_two():
    assert median([4.0, 1.0, 3.0, 100.0]) == 3.5
    assert median(np.float32([7, 1, 3])) == 3.0


def test_objects_are_numbered_from_the_bottom_x_fastest():
    labels, n, sigma = detect_sources(field((10, 14, 3, 7), (5, 9, 20, 25), (10, 13, 30, 33)), (5.0,))
    assert (n, sigma) == (3, 5.0)
    assert labels[6, 22] == 1
    assert labels[11, 4] == 2
    assert labels[11, 31] == 3


def test_first_successful_threshold_wins():
    image = field((10, 14, 3, 7), value=10.0)
    assert detect_sources(image, (50.0, 30.0, 5.0, 3.0))[1:] == (1, 5.0)
    labels, n, sigma = detect_sources(image, (50.0, 30.0))
    assert (n, sigma) == (0, 30.0)
    assert not labels.any()


def test_opening_removes_what_does_not_hold_three_by_three_pixels():
    labels, n, _ = detect_sources(field((10, 12, 3, 20), (20, 23, 5, 8)), (5.0,))
    assert n == 1
    assert (labels != 0).sum() == 9


def test_rim_never_belongs_to_an_object():
    labels, n, _ = detect_sources(field((0, 5, 0, 5)), (5.0,))
    assert n == 1
    np.testing.assert_array_equal(np.argwhere(labels).min(axis=0), [1, 1])


def test_diagonal_contact_does_not_join():
    assert detect_sources(field((5, 8, 5, 8), (8, 11, 8, 11)), (5.0,))[1] == 2


def test_invalid_and_nan_pixels_are_left_out():
    image = field((10, 14, 3, 7), (20, 24, 20, 24))
    image[0, 0] = np.nan
    valid = np.ones(image.shape, bool)
    valid[12, 5] = False
    labels, n, _ = detect_sources(image, (5.0,), valid)
    assert n == 1
    assert labels[21, 21] == 1
    assert detect_sources(image, (5.0,), np.zeros(image.shape, bool))[1] == 0


@pytest.mark.parametrize(("strict", "expected"), [(True, 0), (False, 1)])
def test_constant_image_has_pixels_at_but_not_above_the_threshold(strict, expected):
    assert detect_sources(np.ones((9, 9)), (5.0,), strict=strict)[1] == expected


def test_centroid_is_weighted_by_flux_and_counts_from_one():
    image = np.zeros((8, 9))
    image[2, 3:6] = [1.0, 2.0, 5.0]
    labels = (image > 0).astype(np.int32)
    np.testing.assert_allclose(centroids(image, labels, 1), [[(4 + 10 + 30) / 8, 3.0]])


def test_centroid_of_values_below_zero_is_shifted():
    image = np.zeros((8, 9))
    image[2, 3:6] = [-1.0, 1.0, 3.0]
    labels = np.zeros(image.shape, np.int32)
    labels[2, 3:6] = 1
    np.testing.assert_allclose(centroids(image, labels, 1), [[(5 * 2 + 6 * 4) / 6, 3.0]], atol=1e-8)


@pytest.mark.parametrize("share", [0.1, 0.45, 0.6, 0.9])
@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (30, 1), (60, 47)])
def test_masks_are_changed_and_numbered_as_by_scipy(shape, share):
    mask = np.random.default_rng(5).random(shape) < share
    full = np.ones((3, 3), bool)
    np.testing.assert_array_equal(dilated(mask), ndimage.binary_dilation(mask, full))
    np.testing.assert_array_equal(eroded(mask), ndimage.binary_erosion(mask, full))
    labels = np.full(shape, 7, np.int32)
    expected, n = ndimage.label(mask)
    assert kernels.label(mask.view(np.uint8), labels) == n
    np.testing.assert_array_equal(labels, expected)

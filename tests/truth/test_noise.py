# SPDX-License-Identifier: GPL-2.0-or-later
"""Predicted noise of sums of voxels against that of simulated fields; see benchmarks/noise_truth.py."""

import functools

import numpy as np
import pytest
from harness.noisefields import METHODS, ONE, THREE, Field, all_sums, compare, deviations

from muse_core.steps.noise.correlation import Box, Variances, bands, quadratic_form

#: Largest mean deviation of predicted variances of a kind of sum; largest scatter from place to place.
LARGEST, SCATTER = 0.03, 0.06
FIELDS = {"one": ONE, "three": THREE}


@pytest.fixture(scope="module")
def fields():
    """A function that returns the field of a method and number of exposures."""
    return functools.cache(lambda method, number: Field(FIELDS[number], METHODS[method]))


@pytest.mark.parametrize(("number", "n"), [("one", 40), ("three", 20)])
def test_against_realisations(fields, number, n):
    """Within 3 per cent, and the statistical error of the realisations; STAT alone is far off."""
    verdicts = compare(fields("drizzle 0.8", number), n)
    assert len(verdicts) == 39
    for verdict in verdicts:
        assert abs(verdict.predicted - 1) < LARGEST + 3 * verdict.error, verdict
        assert verdict.error < 0.09
    assert max(v.alone for v in verdicts if v.sums.kind == "9 x 9") < 0.85


@pytest.mark.parametrize(
    ("method", "number"),
    [
        *((method, number) for method in METHODS if method.startswith("drizzle") for number in FIELDS),
        *(("linear", "one"), ("quadratic", "three"), ("renka", "three"), ("lanczos", "one")),
    ],
)
def test_interpolation_between_planes(fields, method, number):
    """Against coefficients of every plane: these are the exact ones."""
    field = fields(method, number)
    assert len(field.layout.pattern) <= 8
    for sums, (mean, scatter) in deviations(field, Field(FIELDS[number], METHODS[method], every_plane=True)).items():
        assert abs(mean) < LARGEST, (sums.place, sums.kind, sums.n_planes)
        assert scatter < SCATTER, (sums.place, sums.kind, sums.n_planes)


def test_sums_of_the_harness(fields):
    """Variances of all places at once are those that a user gets of one."""
    field, kinds = fields("renka", "three"), all_sums()
    found = field.variances(kinds)
    for sums in kinds[::4]:
        y, x = np.argwhere(sums.middles)[3]
        box = Box((x - 5, x + 6), (y - 5, y + 6), (17, 17 + sums.n_planes))
        own = quadratic_form(bands(field.correlation, box, Variances(field.stat), sums.weights), np.ones(sums.n_planes))
        np.testing.assert_allclose(found[sums][0].reshape(56, -1)[14, 3], own, rtol=1e-5)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Predicted noise of sums of voxels against that of simulated fields; see benchmarks/noise_truth.py."""

import numpy as np
import pytest
from harness import noisefields
from harness.noisefields import METHODS, ONE, THREE, Field, all_sums, compare

from muse_core.steps.noise.layout import Layout, Neighbourhood

#: Largest mean deviation of predicted variances of a kind of sum.
LARGEST = 0.03


@pytest.mark.parametrize(("pointings", "n"), [(ONE, 100), (THREE, 50)], ids=["one", "three"])
def test_against_realisations(pointings, n):
    """Within 3 per cent, and the statistical error of the realisations; STAT alone is far off."""
    verdicts = compare(Field(pointings, METHODS["drizzle 0.8"]), n)
    assert len(verdicts) == 39
    for verdict in verdicts:
        assert abs(verdict.predicted - 1) < LARGEST + 3 * verdict.error, verdict
    assert max(v.alone for v in verdicts if v.sums.kind == "9 x 9") < 0.85


@pytest.mark.parametrize(("method", "pointings"), [("drizzle 0.8", ONE), ("drizzle 0.8", THREE), ("lanczos", ONE)])
def test_interpolation_between_planes(method, pointings, monkeypatch):
    """Against the same coefficients, kept in every plane: these are the exact ones."""
    field = Field(pointings, METHODS[method])

    def every_plane(grid, options, shift=None):
        planes = np.arange(grid.nz, dtype=np.int32)
        return Layout(Neighbourhood.of(grid, options), planes, planes)

    monkeypatch.setattr(noisefields.Layout, "of", every_plane)
    exact = Field(pointings, METHODS[method])
    assert len(field.layout.pattern) < 5
    for sums in all_sums():
        if sums.place != "centre" and method == "lanczos":
            continue
        found, expected = field.variances(sums)[0], exact.variances(sums)[0]
        seen = expected > 0
        ratio = found[seen] / expected[seen]
        assert abs(ratio.mean() - 1) < LARGEST, (sums.place, sums.kind, sums.n_planes)

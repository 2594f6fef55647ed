# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels of the Raman cleaning against slow twins in numpy."""

import numpy as np
import pytest

from muse_core.cython_ext import raman as raman_kernels
from muse_core.model.rows import make_rows

SHAPE = np.array([2e-5, -1e-5, 3e-5, 1e-3, -2e-3])


@pytest.fixture
def rows():
    rng = np.random.default_rng(8)
    n = 500
    x, y = rng.uniform(-150, 150, (2, n))
    return make_rows(x, y, rng.uniform(6474, 6494, n), rng.normal(50, 3, n), 0, 1.0, 0)


@pytest.fixture
def lsf(rows):
    return np.where(np.abs(rows["lbda"] - 6484) < 5, np.random.default_rng(9).uniform(0, 1, len(rows)), 0.0)


def shape_twin(rows, rounded):
    x, y = rows["xpos"], rows["ypos"]
    one = np.ones_like(x)
    terms = [m.astype(float) * p for m, p in zip((x * x, x * y, y * y, x * one, y * one), SHAPE, strict=True)]
    if rounded:
        return sum(t.astype(np.float32).astype(float) for t in terms) + 1.0
    x, y = x.astype(float), y.astype(float)
    return SHAPE @ [x * x, x * y, y * y, x, y] + 1.0


@pytest.mark.parametrize("rounded", [True, False])
def test_residuals(rows, lsf, rounded):
    out = np.empty(len(rows))
    raman_kernels.residuals(rows, lsf, SHAPE, 7.0, rounded, out)
    expected = shape_twin(rows, rounded) * lsf * 7.0 - rows["data"]
    np.testing.assert_allclose(out, expected - expected.mean(), rtol=1e-12, atol=1e-12)


def test_rounding_of_the_terms_shows(rows):
    assert np.abs(shape_twin(rows, True) - shape_twin(rows, False)).max() > 1e-9
    out = np.empty((2, len(rows)))
    for rounded in (0, 1):
        raman_kernels.residuals(rows, np.ones(len(rows)), SHAPE, 1.0, rounded, out[rounded])
    difference = shape_twin(rows, True) - shape_twin(rows, False)
    np.testing.assert_allclose(out[1] - out[0], difference - difference.mean(), atol=1e-13)


@pytest.mark.parametrize("rounded", [True, False])
def test_subtraction(rows, lsf, rounded):
    cleaned = rows.copy()
    raman_kernels.subtract(cleaned, lsf, SHAPE, rounded)
    expected = (rows["data"] - shape_twin(rows, rounded) * lsf).astype(np.float32)
    np.testing.assert_allclose(cleaned["data"], expected, rtol=1e-7)
    assert (cleaned["data"] == rows["data"])[lsf == 0].all()
    for name in ("xpos", "ypos", "lbda", "dq", "stat", "origin"):
        np.testing.assert_array_equal(cleaned[name], rows[name])


def test_moments(rows, lsf):
    gram = np.zeros((8, 8))
    for part in (slice(0, 200), slice(200, None)):
        raman_kernels.add_moments(rows[part], lsf[part], 100.0, 48.0, gram)
    x, y = rows["xpos"] / 100.0, rows["ypos"] / 100.0
    columns = np.array(
        [lsf, lsf * x * x, lsf * x * y, lsf * y * y, lsf * x, lsf * y, rows["data"] - 48.0, np.ones(len(rows))]
    )
    np.testing.assert_allclose(gram, np.triu(columns @ columns.T), rtol=1e-6, atol=1e-9)

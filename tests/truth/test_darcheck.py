# SPDX-License-Identifier: GPL-2.0-or-later
"""Residual refraction of faint stars that do not move: what is measured is the error of their fits."""

import numpy as np
from astropy.io import fits

from muse_core.model.compat import Compat
from muse_core.steps import darcheck

LBDA = 6850 + darcheck.DLAMBDA * np.arange(30)
HEADER = fits.Header()
HEADER["HIERARCH ESO INS MODE"] = "WFM-NOAO-N"
HEADER["HIERARCH ESO DRS MUSE PIXTABLE DAR CORRECT"] = 7000.0


def cube_of_a_star(seed, flux=500.0):
    """A Moffat profile on a noisy sky, data, dq and stat."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[1:31, 1:41]
    radius2 = ((x - rng.uniform(12, 28)) ** 2 + (y - rng.uniform(11, 19)) ** 2) / 2.2**2
    star = flux * 1.6 / (np.pi * 2.2**2) * (1 + radius2) ** -2.6
    stat = np.tile(4 + 0.2 * star, (len(LBDA), 1, 1))
    data = star + rng.normal(size=stat.shape) * np.sqrt(stat)
    return data.astype(np.float32), np.zeros(data.shape, np.int32), stat.astype(np.float32)


def test_converged_fits_are_the_better_ones():
    def error(compat):
        shifts = [darcheck.measure_shift(*cube_of_a_star(seed), LBDA, HEADER, compat) for seed in range(24)]
        return np.sqrt(np.mean([shift.max_shift_arcsec**2 for shift in shifts]))

    ours, reference = error(Compat()), error(Compat(dar_fits_end_early=True))
    assert ours < 0.0095
    assert reference > 1.1 * ours

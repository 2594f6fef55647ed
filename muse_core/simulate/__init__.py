# SPDX-License-Identifier: GPL-2.0-or-later
"""A synthetic MUSE: exposures, calibrations and the truth behind them, for demonstrations, tests and benchmarks.

The command ``muse-simulate`` makes a data set; from Python::

    from muse_core.simulate.dataset import make_dataset
    from muse_core.simulate.exposure import ExposureSpec
    from muse_core.simulate.truth import Truth

    spec = ExposureSpec(ifus=(12, 13), lbda_min=7300.0, lbda_max=7350.0, seed=1)
    sets = make_dataset("demo", [spec])  # sets["model"] is the set of frames for the default reduction
    sky = Truth(spec).sky_spectrum(lbda, ifu=12, slice_number=1)

Each module says what it does not model. ESO's recipe accepts everything that is made here, see
tests/parity/test_simulator_accepted.py.
"""

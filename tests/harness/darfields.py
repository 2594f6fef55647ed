# SPDX-License-Identifier: GPL-2.0-or-later
"""Small random fields for the check of the refraction: one or two IFUs, a few sources of every brightness."""

import numpy as np

from muse_core.simulate.exposure import ExposureSpec
from muse_core.simulate.source import Source

_MODES = ("WFM-NOAO-N", "WFM-NOAO-N", "WFM-NOAO-E", "WFM-AO-N", "NFM-AO-N")


def _source(rng: np.random.Generator, number: int, reach: tuple[float, float], is_narrow: bool) -> Source:
    return Source(
        name=f"source {number}",
        east_arcsec=rng.uniform(-1, 1) * reach[0],
        north_arcsec=rng.uniform(-1, 1) * reach[1],
        flux=10 ** rng.uniform(3.3, 5.0) * (0.3 if is_narrow else 1),
        slope=rng.uniform(-2, 2),
        fwhm_arcsec=rng.choice([0, 0, 0.5, 1.5]) * (0.1 if is_narrow else 1),
        axis_ratio=rng.uniform(0.4, 1),
        angle_deg=rng.uniform(0, 180),
    )


def random_field(seed: int) -> tuple[ExposureSpec, list[str]]:
    """Return an exposure of a random field, and parameters that go with it: other reference wavelengths, or none."""
    rng = np.random.default_rng([seed, 78])
    mode = str(rng.choice(_MODES))
    is_narrow = mode.startswith("NFM")
    first = int(rng.integers(1, 24))
    ifus = (first,) if rng.random() < 0.6 else (first, first + 1)
    low, width = rng.uniform(4900, 9000), float(rng.choice([40, 60, 100, 160]))
    if "-AO-" in mode and 5650 < low < 6050:  # behind the notch filter
        low += 400
    reach = (3.7, 0.16 * len(ifus)) if is_narrow else (30.0, 1.2 * len(ifus))
    n_sources = int(rng.integers(1, 7))
    spec = ExposureSpec(
        mode=mode,
        ifus=ifus,
        lbda_min=low,
        lbda_max=low + width,
        exptime=float(rng.choice([30, 60, 300, 1200])),
        posang=float(rng.choice([0, 90, 20, -35.5])),
        seed=seed,
        sources=tuple(_source(rng, i, reach, is_narrow) for i in range(n_sources)),
        seeing=rng.uniform(0.5, 1.5),
        refraction_error=float(rng.choice([0, 0, 0.3, -0.5])),
        date_obs=f"2019-11-21T0{rng.integers(2, 7)}:32:33.123",
        flat_field=False,
    )
    more = rng.choice(["", "--lambdaref=-1", f"--lambdaref={low + width / 2:.1f}"], p=[0.4, 0.3, 0.3])
    return spec, [str(more)] if more else []

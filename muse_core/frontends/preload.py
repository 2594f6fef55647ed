# SPDX-License-Identifier: GPL-2.0-or-later
"""Preloaded by the workers of a cluster: ``dask worker --preload muse_core.frontends.preload``.

What their tasks need is imported when they start, not in the first run that they work for.
"""

from muse_core import cplapi

cplapi.use_standin()

from muse_core import stages  # noqa: E402 (after the choice)
from muse_core.engine.cluster import worker  # noqa: E402, F401 (imported for those who come later)
from muse_core.frontends import registry  # noqa: E402

for name in registry.built_in():
    registry.class_of(name)
for name in stages.__all__:
    getattr(stages, name)

# SPDX-License-Identifier: GPL-2.0-or-later
"""From rows on the sky to voxels: output grid, cosmic-ray rejection, six methods of resampling."""

from muse_core.model.resampling import METHODS, Method
from muse_core.steps.resample.options import (
    INTERNAL_PIXFRAC,
    CosmicRayDirection,
    ResampleOptions,
    cosmic_ray_direction,
    parse_pixfrac,
)
from muse_core.steps.resample.size import Band, RowSpread, SlabSize, rows_of_extents, slab_bytes, slab_memory, slab_size
from muse_core.steps.resample.slab import SlabResampler, SlabResult, SlabWatch, SortedSlab

__all__ = [
    "INTERNAL_PIXFRAC",
    "METHODS",
    "Band",
    "CosmicRayDirection",
    "Method",
    "ResampleOptions",
    "RowSpread",
    "SlabResampler",
    "SlabResult",
    "SlabSize",
    "SlabWatch",
    "SortedSlab",
    "cosmic_ray_direction",
    "parse_pixfrac",
    "rows_of_extents",
    "slab_bytes",
    "slab_memory",
    "slab_size",
]

# SPDX-License-Identifier: GPL-2.0-or-later
"""Every step of the reduction in a notebook: pixel tables, what is done with them, cubes::

    import muse_core.api as muse

`PixelTable` reads pixel tables, `steps` has the functions that change them, `Cube` is what `steps.make_cube` makes.
"""

import importlib

_NAMES = {
    "Cube": "cube",
    "Image": "cube",
    "PixelTable": "pixtable",
    "Region": "region",
    "SkyModel": "steps.sky",
    "Spectrum": "cube",
    "make_cube": "steps",
    "make_offset_list": "makers",
    "make_output_wcs": "makers",
    "make_sky_mask": "makers",
    "partial_cube": "partial",
    "quick_look": "quicklook",
    "quick_spectrum": "quicklook",
    "steps": "",
}
__all__ = ["Cube", "Image", "PixelTable", "Region", "SkyModel", "Spectrum", "make_cube", "make_offset_list",
           "make_output_wcs", "make_sky_mask", "partial_cube", "quick_look", "quick_spectrum", "steps"]  # fmt: skip


def __getattr__(name: str):
    """Import names when they are first asked for."""
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if not _NAMES[name]:
        return importlib.import_module(f"{__name__}.{name}")
    return getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)


def __dir__() -> list[str]:
    """Name what can be imported too."""
    return sorted({*globals(), *_NAMES})

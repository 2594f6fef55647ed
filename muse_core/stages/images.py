# SPDX-License-Identifier: GPL-2.0-or-later
"""Images of the field: the filters of the parameter `filter`, and the keywords of their images."""

import logging
from collections.abc import Sequence

import numpy as np

from muse_core.io import calibration
from muse_core.model.cards import card
from muse_core.model.compat import Compat
from muse_core.model.filters import WHITE, FilterCurve, white
from muse_core.model.fits import Card
from muse_core.model.grid import OutputGrid
from muse_core.model.header import get_float
from muse_core.model.record import record
from muse_core.recipe.run import Run
from muse_core.stages.cards import image_wcs
from muse_core.steps.collapse import covers

_LOG = logging.getLogger(__name__)


@record
class Filter:
    """A filter, and how many calibrations were in use when it was loaded."""

    curve: FilterCurve
    calibrations: int


def read_filters(run: Run, names: str) -> list[FilterCurve]:
    """Read the filters of these names, separated by commas; those that FILTER_LIST lacks are left out with a warning.

    Raises
    ------
    InputError
        FILTER_LIST cannot be used.
    """
    found = []
    for name in names.split(","):
        if not name or name.lower().startswith("none"):
            continue
        if name == WHITE:
            found.append(white())
            continue
        path = run.frames.only("FILTER_LIST")
        known = [] if path is None else calibration.filter_names(path)
        if path is None or name not in known:
            where = "no frame with tag FILTER_LIST" if path is None else f"{', '.join(known) or 'none'} in {path}"
            _LOG.warning("parameter filter: %r not found (%s); no image with this filter", name, where)
            continue
        lbda, throughput, header = calibration.read_filter(path, name, run.compat)
        found.append(
            FilterCurve(
                name, lbda, throughput, *(get_float(header, key, tag="FILTER_LIST") for key in ("ZP_VEGA", "ZP_AB"))
            )
        )
    return found


def filters_with_data(curves: Sequence[FilterCurve], grid: OutputGrid, compat: Compat) -> list[FilterCurve]:
    """Leave out, with a warning, the filters outside of the wavelengths of a cube."""
    found = []
    for curve in curves:
        if covers(grid, curve) or compat.filter_without_data_used:
            found.append(curve)
            continue
        low, high = grid.wavelength(np.array([0, grid.nz - 1]))
        _LOG.warning(
            "parameter filter: %r lets nothing through from %.1f to %.1f Angstrom, where the cube is; no image with it",
            curve.name,
            low,
            high,
        )
    return found


def use_filters(run: Run, curves: Sequence[FilterCurve]) -> list[Filter]:
    """Note FILTER_LIST as used by the filters that come from it."""
    found = []
    for curve in curves:
        path = None if curve.name == WHITE else run.frames.only("FILTER_LIST")
        if path is not None:
            run.factory.use_calibration(path, "FILTER_LIST")
        found.append(Filter(curve, run.factory.calibrations_used))
    return found


@record
class FieldImage:
    """An image of the field: its filter, keywords, and the number of calibrations that were in use with it."""

    name: str
    cards: list[Card]
    filter_cards: list[Card]
    calibrations: int


def make_field_images(
    filters: Sequence[Filter], fractions: Sequence[float], cube: list[Card], object_name: str | None
) -> list[FieldImage]:
    """Say what the images of a cube will be.

    Parameters
    ----------
    filters : sequence of Filter
        Filters.
    fractions : sequence of float
        Fraction of each that the data cover.
    cube : list of Card
        Keywords of the cube.
    object_name : str, optional
        OBJECT of the cube.
    """
    views = []
    for item, fraction in zip(filters, fractions, strict=True):
        curve = item.curve
        own = [card("ESO DRS MUSE FILTER NAME", curve.name, "filter name used")]
        for key, value, system in (("ZPVEGA", curve.zp_vega, "Vega"), ("ZPAB", curve.zp_ab, "AB")):
            if value is not None:
                own.append(card(f"ESO DRS MUSE FILTER {key}", value, f"[mag] {system}-mag zeropoint"))
        comment = "[%] fraction of filter covered by data"
        own.append(card("ESO DRS MUSE FILTER FRACTION", np.float32(100 * fraction), comment))
        renamed = [] if object_name is None else [card("OBJECT", f"{object_name} ({curve.name})", "Original target.")]
        views.append(FieldImage(curve.name, [*image_wcs(cube), *renamed, *own], own, item.calibrations))
    return views

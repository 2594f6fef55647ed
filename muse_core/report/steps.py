# SPDX-License-Identifier: GPL-2.0-or-later
"""What the steps that are not always run leave in products: autocalibration, Raman lines, alignment."""

import dataclasses
import re

import numpy as np

from muse_core.errors import MuseError
from muse_core.io.autocal import read_autocal_factors
from muse_core.io.fitsreader import FitsFile
from muse_core.model.origin import N_IFU, N_SLICE
from muse_core.model.record import record
from muse_core.report.images import celestial, pixel_arcsec, read_image
from muse_core.report.products import Run
from muse_core.steps.align.match import MatchOptions, align

_RAMAN_QC = ("FLUX O2", "FLUX N2")
#: Search radii in arcsec for what is left between source lists.
_RADII = (3.0, 1.0, 0.5)


@record(frozen=False, eq=False)
class Steps:
    """Numbers for the JSON, and arrays for the figures."""

    numbers: dict = dataclasses.field(default_factory=dict)
    factors: list[tuple[str, np.ndarray, np.ndarray]] = dataclasses.field(default_factory=list)
    raman: list[tuple[str, list[tuple[str, np.ndarray]]]] = dataclasses.field(default_factory=list)
    preview: np.ndarray | None = None
    depth: np.ndarray | None = None


def read_steps(run: Run) -> Steps:
    """Read what there is."""
    steps = Steps()
    _autocalibration(run, steps)
    _raman(run, steps)
    _alignment(run, steps)
    return steps


def _autocalibration(run: Run, steps: Steps) -> None:
    listed = []
    for product in run.of("AUTOCAL_FACTORS"):
        try:
            factors = read_autocal_factors(product.path)
        except MuseError:
            continue
        values, edges = np.asarray(factors.corr, float), np.asarray(factors.edges, float)
        with FitsFile(product.path) as file:
            table = file.table()
            column = next((name for name in ("npts", "npix") if table.find_column(name)), None)
            empty, measured = None, values
            if column is not None:
                points = np.zeros((len(values), N_IFU, N_SLICE))
                place = tuple(table.column(name, "JI") - 1 for name in ("quad", "ifu", "sli"))
                points[place] = table.column(column, "JIKDE")
                empty = _without_data(points)
                measured = np.where(points.reshape(values.shape) > 0, values, np.nan)
        date = str(product.header.get("DATE-OBS", ""))
        steps.factors.append((date, measured, edges))
        listed.append(
            {
                "exposure": date,
                "bins": int(values.shape[0]),
                "rms": float(np.std(values)),
                "min": float(values.min()),
                "max": float(values.max()),
                "without_data": empty,
            }
        )
    if listed:
        steps.numbers["autocalibration"] = listed


def _without_data(points: np.ndarray) -> float:
    """Return the part, in per cent, of slices in bins of wavelength that have no points.

    Parameters
    ----------
    points : ndarray, shape (n_bins, 24, 48)
        Their numbers. IFUs and bins without any are not in the exposure.
    """
    seen = points[points.any(axis=(1, 2))][:, points.any(axis=(0, 2))]
    return float(100 * np.mean(seen == 0)) if seen.size else 100.0


def _raman(run: Run, steps: Steps) -> None:
    listed = []
    for product in run.of("RAMAN_IMAGES"):
        images = []
        with FitsFile(product.path) as file:
            for hdu in file.extensions():
                if hdu.is_image and len(hdu.shape) == 2 and not re.search("DQ|STAT|MASK", hdu.name):
                    images.append((hdu.name, hdu.image().astype(float)))
        date = str(product.header.get("DATE-OBS", ""))
        steps.raman.append((date, images))
        flux = {
            key: next((v for k, v in product.header.items() if k.endswith("RAMAN " + key)), None) for key in _RAMAN_QC
        }
        listed.append({"exposure": date, "o2": flux["FLUX O2"], "n2": flux["FLUX N2"]})
    if listed:
        steps.numbers["raman"] = listed


def _alignment(run: Run, steps: Steps) -> None:
    """Read what muse_exp_align made: offsets, and how well the lists of sources agree with them."""
    product = run.first("OFFSET_LIST")
    if product is None:
        return
    with FitsFile(product.path) as file:
        table = file.table()
        dates = [str(date).strip() for date in table.column("DATE_OBS", "A")]
        offsets = np.column_stack([table.column("RA_OFFSET"), table.column("DEC_OFFSET")]) * 3600
    lists = []
    for source_list in run.of("SOURCE_LIST"):
        with FitsFile(source_list.path) as file:
            table = file.table()
            lists.append(np.column_stack([table.column("RA_CORR"), table.column("DEC_CORR")]))
    images = [{"exposure": date, "ra": float(o[0]), "dec": float(o[1])} for date, o in zip(dates, offsets, strict=True)]
    if len(lists) == len(images) and len(lists) > 1:
        found = align(lists, MatchOptions(radii=_RADII))
        cosine = np.cos(np.radians(np.concatenate(lists)[:, 1].mean()))
        left = found.offsets * 3600 * (cosine, 1.0)
        left -= np.median(left, axis=0)
        matches = found.median_matches()
        for image, residual, n, sources in zip(images, left, matches, lists, strict=True):
            image |= {"residual": float(np.hypot(*residual)), "matches": int(n), "sources": len(sources)}
    steps.numbers["alignment"] = {"images": images}
    preview = run.first("PREVIEW_FOV")
    if preview is not None:
        steps.preview, header = read_image(preview.path)
        wcs = celestial(header)
        steps.numbers["alignment"]["spaxel"] = None if wcs is None else pixel_arcsec(wcs)
    depth = run.first("EXPOSURE_MAP")
    if depth is not None:
        steps.depth, _ = read_image(depth.path)

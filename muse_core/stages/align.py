# SPDX-License-Identifier: GPL-2.0-or-later
"""Field-of-view images of exposures: read, their sources found, offsets between them, and what is written of that."""

import itertools
import logging
from collections.abc import Sequence

import numpy as np

from muse_core.engine.progress import stepping, track
from muse_core.errors import DataError, InputError
from muse_core.io.calibration import offset_columns
from muse_core.io.cube import write_fov_image
from muse_core.io.fov import read_fov_image, read_source_positions, source_columns
from muse_core.io.products import RawFrame
from muse_core.model.cards import card
from muse_core.model.curves import OffsetList
from muse_core.model.fits import Card
from muse_core.model.fov import TAG, CelestialGrid, FovImage
from muse_core.model.header import get_string, require_float
from muse_core.model.record import record
from muse_core.recipe.run import Run
from muse_core.recipe.save import save_table
from muse_core.steps.align import match, mosaic
from muse_core.steps.align.match import ARCSEC_PER_DEGREE, Alignment, MatchOptions
from muse_core.steps.align.stars import STAR, Detection, DetectionOptions, detect
from muse_core.steps.detect import median

_LOG = logging.getLogger(__name__)
#: Name of the detection for who watches, and of what it goes through.
STEP, IMAGES = "Detection of sources", "images"
_AXES = ("RA", "DEC")
_SECONDS = "s"


@record(eq=False)
class Sources:
    """Sources of an image.

    Attributes
    ----------
    detection : Detection
        The sources, and how they were found; heights and shapes are NaN, background and threshold 0 if they were given.
    positions : ndarray of float64, shape (n, 2)
        Right ascension and declination in degrees.
    origin : str
        "detection" or "catalog".
    """

    detection: Detection
    positions: np.ndarray
    origin: str


def load_images(run: Run, tag: str) -> list[FovImage]:
    """Read the images of a tag.

    Raises
    ------
    InputError
        One cannot be used, or there are fewer than two.
    """
    paths = run.frames.all(tag)
    if len(paths) < 2:
        raise InputError(f"set of frames: found {len(paths)} frame with tag {tag}, expected at least 2 to align")
    images = [read_fov_image(path) for path in paths]
    for a, b in itertools.combinations(images, 2):
        if a.mjd_obs == b.mjd_obs:
            _LOG.warning(
                "%s, %s: found the same MJD-OBS, %.8f; an offset is applied by the date of the exposure, so that the "
                "first of them counts",
                a.where,
                b.where,
                a.mjd_obs,
            )
    run.factory.use_raw(RawFrame(path, tag, image.header) for path, image in zip(paths, images, strict=True))
    return images


def load_sources(run: Run, tag: str, images: Sequence[FovImage]) -> list[Sources] | None:
    """Read lists of sources, one for each image by MJD-OBS.

    Returns
    -------
    list of Sources, or None
        None if there are none, which is allowed with ``override_without_lists`` only.

    Raises
    ------
    InputError
        One cannot be used, or an image has none.
    """
    paths = run.frames.all(tag)
    if not paths and run.compat.override_without_lists:
        _LOG.warning("found no frame with tag %s, detecting sources", tag)
        return None
    if len(paths) != len(images):
        raise InputError(
            f"override_detection: found {len(paths)} frames with tag {tag}, expected {len(images)}, one an image"
        )
    lists = [read_source_positions(path) for path in paths]
    found = []
    for image in images:
        fitting = [pixels for mjd, pixels in lists if mjd == image.mjd_obs]
        if not fitting:
            dates = ", ".join(f"{mjd:.8f} ({path.name})" for (mjd, _), path in zip(lists, paths, strict=True))
            raise InputError(f"{image.where}: found no {tag} with MJD-OBS {image.mjd_obs:.8f} among {dates}")
        pixels = fitting[0]
        stars = np.full(len(pixels), np.nan, STAR)
        stars["x"], stars["y"] = pixels.T
        found.append(_sources(image, Detection(stars, np.arange(1, len(stars) + 1), 0.0, 0.0, 0.0), "catalog"))
    for path in paths:
        run.factory.use_calibration(path, tag)
    return found


def detect_sources(run: Run, images: Sequence[FovImage], options: DetectionOptions) -> list[Sources]:
    """Find the sources of images.

    Raises
    ------
    DataError
        There are too few or too many in one.
    """
    with stepping(STEP):
        found = (_sources(i, detect(i.data, options, i.where, run.compat), "detection") for i in images)
        return list(track(IMAGES, found, [(image,) for image in images]))


def _sources(image: FovImage, detection: Detection, origin: str) -> Sources:
    stars = detection.stars
    return Sources(detection, image.grid.sky(stars["x"], stars["y"]), origin)


def align(run: Run, images: Sequence[FovImage], sources: Sequence[Sources], options: MatchOptions) -> Alignment:
    """Find the offsets of images, and say what they are."""
    result = match.align([found.positions for found in sources], options, run.compat)
    for image, offset, n in zip(images, result.offsets * ARCSEC_PER_DEGREE, result.median_matches(), strict=True):
        _LOG.info("%s: offset %.4f, %.4f arcsec (RA, DEC), %d sources in common with others", image.where, *offset, n)
    groups = result.groups()
    if len(groups) > 1:
        names = "; ".join(", ".join(images[i].where for i in group) for group in groups)
        _LOG.warning("these groups of images have no sources in common, offsets between them are not known: %s", names)
    return result


def save_offsets(
    run: Run, tag: str, images: Sequence[FovImage], sources: Sequence[Sources], alignment: Alignment
) -> None:
    """Write OFFSET_LIST."""
    matches = alignment.median_matches()
    qc: list[tuple[str, object]] = [(f"NDET{i}", len(found.positions)) for i, found in enumerate(sources, 1)]
    qc += [(f"NMATCH{i}", n) for i, n in enumerate(matches, 1)]
    qc += [("NMATCH MIN", min(filter(None, matches), default=-1)), ("NOMATCH", matches.count(0))]
    for axis, values in zip(_AXES, alignment.offsets.T * ARCSEC_PER_DEGREE, strict=True):
        statistics = (("MIN", values.min()), ("MAX", values.max()), ("MEAN", values.mean()))
        qc += [(f"OFFSET {axis} {name}", np.float32(value)) for name, value in statistics]
        qc.append((f"OFFSET {axis} STDEV", np.float32(values.std(ddof=1))))
    dates = tuple(get_string(image.header, "DATE-OBS", "", tag=TAG) for image in images)
    columns = offset_columns(OffsetList(dates, *alignment.offsets.T), np.array([image.mjd_obs for image in images]))
    save_table(run.factory, tag, run.qc_cards(qc), columns, None)


def save_sources(
    run: Run, tag: str, images: Sequence[FovImage], sources: Sequence[Sources], alignment: Alignment
) -> None:
    """Write the SOURCE_LIST of each image."""
    for image, found, offset in zip(images, sources, alignment.offsets, strict=True):
        detection = found.detection
        qc = [
            ("SRC POSITIONS", found.origin),
            ("NDET", len(found.positions)),
            ("BKG MEDIAN", np.float32(detection.background)),
            ("BKG MAD", np.float32(detection.deviation)),
            ("THRESHOLD", np.float32(detection.threshold)),
        ]
        positions = [found.positions.copy(), found.positions - offset]
        if not run.compat.ra_zero_not_crossed:
            for values in positions:
                values[:, 0] %= 360
        columns = source_columns(detection.number, detection.stars, *positions)
        cards = [item for item in image.header.cards if not item.keyword.startswith("ESO QC ")]
        save_table(run.factory, tag, [*cards, *run.qc_cards(qc)], columns, None)


@record
class Mosaic:
    """Images laid over each other: those that are, their grids with the offsets, and the common grid and shape."""

    images: list[FovImage]
    grids: list[CelestialGrid]
    grid: CelestialGrid
    shape: tuple[int, int]

    @classmethod
    def of(cls, run: Run, images: Sequence[FovImage], alignment: Alignment) -> "Mosaic":
        """Lay out the mosaic of all images that are not too far from the first."""
        moved = [image.grid.moved(*offset) for image, offset in zip(images, alignment.offsets.tolist(), strict=True)]
        near = mosaic.near_first(images, moved)
        chosen, grids = [images[i] for i in near], [moved[i] for i in near]
        grid, shape = mosaic.mosaic_grid(grids, [image.data.shape for image in chosen], run.compat)
        return cls(chosen, grids, grid, shape)

    def overlay(self, layers: Sequence[np.ndarray]) -> np.ndarray:
        """Sum layers, one for each image and of its shape."""
        return mosaic.overlay(self.grids, layers, self.grid, self.shape)

    def save(self, run: Run, tag: str, image: np.ndarray, unit: str, qc: Sequence[Card] = ()) -> None:
        """Write an image of this mosaic."""
        first = self.images[0]
        wcs = [*(card(key, value) for key, value in self.grid.cards()), *first.coordinate_errors]
        write_fov_image(run.factory, [*first.header.cards, *qc], image, wcs, unit=unit, tag=tag)


def save_preview(run: Run, tag: str, layout: Mosaic) -> None:
    """Write PREVIEW_FOV: the sum of all images."""
    layout.save(run, tag, layout.overlay([image.data for image in layout.images]), layout.images[0].unit)


def save_exposure_map(run: Run, tag: str, layout: Mosaic) -> None:
    """Write EXPOSURE_MAP: the exposure time of each pixel.

    Raises
    ------
    InputError
        The exposure time of an image is not known.
    """
    layers = []
    for image in layout.images:
        seconds = np.float32(require_float(image.header, "EXPTIME", image.where, tag=TAG))
        layers.append(np.where(np.isfinite(image.data), seconds, np.float32(np.nan)))
    times = layout.overlay(layers)
    values = times[np.isfinite(times)]
    if not len(values):
        raise DataError("exposure map: no pixel has data")
    statistics = (values.min(), values.max(), values.mean(dtype=np.float64), median(values))
    names = ("MIN", "MAX", "AVG", "MED")
    qc = run.qc_cards([(f"EXPTIME {name}", np.float32(v)) for name, v in zip(names, statistics, strict=True)])
    layout.save(run, tag, times, _SECONDS, qc)

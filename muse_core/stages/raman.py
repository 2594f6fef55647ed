# SPDX-License-Identifier: GPL-2.0-or-later
"""Raman cleaning of an exposure with the lasers on, and its product."""

import dataclasses
import logging

import numpy as np

from muse_core.engine.exposure import Chunk, RowLimits, StoredExposure, write_pass
from muse_core.engine.plan import ExposureStep
from muse_core.engine.progress import timed
from muse_core.engine.store import RowStore
from muse_core.errors import DataError, InputError, ParameterError
from muse_core.io.cube import extension_header
from muse_core.io.fitswriter import primary_header, write_hdus
from muse_core.io.raman import read_raman_lines
from muse_core.model.dq import DQ
from muse_core.model.fits import Header
from muse_core.model.header import get_float, is_ao
from muse_core.model.lsf import HermiteProfiles, LsfCubes
from muse_core.model.raman import BANDS, RamanBand, RamanLines
from muse_core.model.record import record
from muse_core.model.skymask import SkyMask
from muse_core.recipe.parameters import SkyRegion
from muse_core.recipe.run import Run
from muse_core.stages.pointing import Pointing
from muse_core.stages.sky import mask_selection
from muse_core.stages.tables import StoredTable
from muse_core.stages.whitelight import WhiteLight, make_white_light
from muse_core.steps import raman
from muse_core.steps.order import sort_rows
from muse_core.steps.sky.mask import create_sky_mask, mask_in_spaxels
from muse_core.steps.sky.model import is_parametrised

_LOG = logging.getLogger(__name__)
#: Name of the step in the log.
STEP = "Raman lines"
#: The step in a plan.
PLANNED = ExposureStep(STEP)


def load_lines(run: Run) -> RamanLines | None:
    """Load RAMAN_LINES, if there."""
    return run.load("RAMAN_LINES", lambda path: read_raman_lines(path, run.compat), several=True)


@record(kw_only=True)
class RamanOptions:
    """How Raman lines are fitted.

    Attributes
    ----------
    width : float
        Full width of the wavelength windows, in Angstrom.
    crsigma : float
        Threshold of the cosmic-ray rejection in the white-light images, in sigma; 0 or less: none.
    region : SkyRegion
        Which part of the field is sky.
    any_mode : bool
        Also for exposures without adaptive optics.
    """

    width: float
    crsigma: float
    region: SkyRegion
    any_mode: bool = False


@record
class _Band:
    """Rows in the window of a band, their white-light image and its sky mask."""

    rows: np.ndarray
    white_light: WhiteLight
    mask: np.ndarray

    @property
    def sky(self) -> SkyMask:
        """The mask, in the coordinates of the rows."""
        return mask_in_spaxels(self.mask, *self.white_light.grid.crval[:2])


@record
class RamanResult:
    """Fit of the Raman lines of an exposure, and the images that it was made from."""

    fit: raman.RamanFit
    lines: RamanLines
    bands: dict[RamanBand, _Band]


def clean(
    run: Run,
    options: RamanOptions,
    pointing: Pointing,
    table: StoredTable,
    store: RowStore,
    lines: RamanLines | None,
    lsf: LsfCubes | HermiteProfiles,
    sky_mask: SkyMask | None,
) -> RamanResult | None:
    """Fit and subtract the Raman lines of an exposure whose rows are in pix; None if there is nothing to do.

    Parameters
    ----------
    run : Run
        The run.
    options : RamanOptions
        How to fit.
    pointing : Pointing
        Where a mask that is on the sky lies.
    table : StoredTable
        The exposure.
    store : RowStore
        Its rows; changed.
    lines : RamanLines, optional
        The lines.
    lsf : LsfCubes or HermiteProfiles
        Line spread functions; only cubes can be used.
    sky_mask : SkyMask, optional
        Given mask of the sky.
    """
    if lines is None or not (options.any_mode or is_ao(table.header)):
        return None
    with timed(STEP, table.stored.n_rows):
        return _clean(run, options, pointing, table, store, lines, lsf, sky_mask)


def _clean(
    run: Run,
    options: RamanOptions,
    pointing: Pointing,
    table: StoredTable,
    store: RowStore,
    lines: RamanLines,
    lsf: LsfCubes | HermiteProfiles,
    sky_mask: SkyMask | None,
) -> RamanResult | None:
    try:
        raman.check_width(options.width)
        if not lsf or is_parametrised(lsf):
            raise InputError("RAMAN_LINES: found no LSF_PROFILE in the format of cubes, expected those of all IFUs")
        cubes: LsfCubes = lsf
        bands = _bands(run, options, table, store)
        if not bands:
            return None
        selected = [_selected(pointing, table, bands, band, sky_mask) for band in BANDS]
        fit = raman.fit_raman(selected, lines, cubes, run.compat)
    except (DataError, InputError, ParameterError) as error:
        run.or_ignore(error, "Raman lines not subtracted")
        return None

    def step(rows: np.ndarray, chunk: Chunk) -> tuple[np.ndarray, None]:
        sort_rows(rows)
        raman.subtract_raman(rows, fit, lines, cubes, run.compat)
        return rows, None

    write_pass(table.stored, table.stored, store, step, run.resources.n_threads)
    return RamanResult(fit, lines, bands)


def band_limits(width: float) -> list[tuple[float, float]]:
    """Return the wavelengths, in Angstrom, of which `clean` has the rows of an exposure in memory."""
    return [(band.centre - width / 2, band.centre + width / 2) for band in BANDS]


def _bands(run: Run, options: RamanOptions, table: StoredTable, store: RowStore) -> dict[RamanBand, _Band]:
    low, high = (get_float(table.header, f"ESO DRS MUSE PIXTABLE LIMITS LAMBDA {end}", 0.0) for end in ("LOW", "HIGH"))
    if not raman.is_covered(low, high):
        _LOG.info("No Raman lines between %g and %g Angstrom", low, high)
        return {}
    width = options.width
    bands = {}
    for band in BANDS:
        window = store.window(band.centre - width / 2, band.centre + width / 2, table.stored.begin, table.stored.end)
        rows = window.rows[raman.in_band(window.rows["lbda"], band, width)]
        if not len(rows):
            _LOG.warning("Raman lines of %s: no rows within %g Angstrom of %g", band.name, width / 2, band.centre)
            continue
        bands[band] = _band(run, options, table, rows)
    return bands


def _band(run: Run, options: RamanOptions, table: StoredTable, rows: np.ndarray) -> _Band:
    n = len(rows)
    part = dataclasses.replace(
        table, header=table.header.copy(), stored=StoredExposure(0, n, [Chunk(0, 0, n, 0, n, 0)])
    )
    part.write_limits(RowLimits.of(rows))
    with RowStore(n) as store:
        store.write(0, rows)
        white_light = make_white_light(run, part, store, options.crsigma)
    rows["dq"][white_light.flagged.within(0, n)] |= DQ.COSMIC_RAY
    region = options.region
    mask, _, _ = create_sky_mask(white_light.image, white_light.bad, region.fraction, region.ignore)
    return _Band(rows, white_light, mask)


def _selected(
    pointing: Pointing, table: StoredTable, bands: dict[RamanBand, _Band], band: RamanBand, sky_mask: SkyMask | None
) -> np.ndarray:
    """Return the rows of a band that are good and on sky by the masks of all bands."""
    if band not in bands:
        return np.empty(0, next(iter(bands.values())).rows.dtype)
    rows = bands[band].rows
    selected = rows["dq"] == 0
    for mask in (*(other.sky for other in bands.values()), *([] if sky_mask is None else [sky_mask])):
        selected &= mask_selection(pointing, table, mask)(rows) > 0
    chosen: np.ndarray = rows[selected]
    return chosen


def save_images(run: Run, result: RamanResult) -> None:
    """Write RAMAN_IMAGES."""
    first = next(iter(result.bands.values())).white_light
    source = [item for item in first.cards if not item.keyword.startswith("ESO DRS MUSE")]
    source += run.qc_cards(result.fit.qc_cards(result.lines))
    name = next((item.value for item in source if item.keyword == "OBJECT"), None)
    path = run.factory.next_path("RAMAN_IMAGES")
    hdus: list[tuple[Header, np.ndarray | None]] = [
        (run.factory.header("RAMAN_IMAGES", source, path, primary_header()), None)
    ]
    images = {
        band: raman.BandImage(
            found.white_light.image,
            found.white_light.flags,
            found.sky,
        )
        for band, found in result.bands.items()
    }
    for extension in raman.raman_images(result.fit, result.lines, images):
        is_mask = extension.data.dtype.kind != "f"
        header = extension_header(
            "DATA",
            extension.data.shape,
            result.bands[extension.band].white_light.wcs,
            unit=None if is_mask else extension.unit,
            extname=extension.name,
            object_name=None if name is None else f"{name} ({extension.name})",
            bitpix=32 if is_mask else -32,
        )
        hdus.append((header, extension.data))
    write_hdus(path, hdus)
    run.factory.register(path, "RAMAN_IMAGES")

# SPDX-License-Identifier: GPL-2.0-or-later
"""The sky of an exposure: what is known of it before, how it is modelled, what is subtracted, and its products."""

import logging
import re
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from muse_core.engine.exposure import LOOKING, Chunk, read_pass
from muse_core.engine.plan import ExposureStep
from muse_core.engine.progress import timed
from muse_core.engine.slabs import OwnCube
from muse_core.engine.spool import ArraySpool
from muse_core.engine.store import RowStore
from muse_core.errors import DataError, InputError
from muse_core.io.lsf import read_lsf
from muse_core.io.sky import (
    continuum_columns,
    lines_columns,
    read_sky_continuum,
    read_sky_lines,
    read_sky_mask,
    read_sky_spectrum,
    spectrum_columns,
)
from muse_core.model import units
from muse_core.model.cards import set_card
from muse_core.model.compat import Compat
from muse_core.model.fits import Card, Header
from muse_core.model.header import PIXTABLE, WCS_CARDS, get_bool, get_float, get_int
from muse_core.model.lsf import HermiteProfiles, LsfCubes
from muse_core.model.origin import N_IFU
from muse_core.model.record import record
from muse_core.model.skylines import SkyLines
from muse_core.model.skymask import SkyMask
from muse_core.model.spectrum import Continuum, Spectrum
from muse_core.recipe.parameters import SkyModel
from muse_core.recipe.run import Run
from muse_core.recipe.save import save_image, save_mask, save_table
from muse_core.stages.cards import table_cards
from muse_core.stages.pointing import Pointing
from muse_core.stages.tables import StoredTable
from muse_core.stages.whitelight import WhiteLight, make_white_light
from muse_core.steps import flatfield, flux
from muse_core.steps.astrometry import Positioning, Projection
from muse_core.steps.limits import wavelength_limits
from muse_core.steps.order import sort_rows
from muse_core.steps.passes import locate_rows
from muse_core.steps.sky.continuum import continuum_of_spectrum
from muse_core.steps.sky.lsf import count_slices, empty_counts, require_ifus
from muse_core.steps.sky.mask import create_sky_mask, mask_in_spaxels, select_rows
from muse_core.steps.sky.model import fit_sky, is_parametrised, lineless_samples
from muse_core.steps.sky.qc import continuum_qc, line_qc, mask_qc
from muse_core.steps.sky.spectrum import SAMPLE_BYTES, SpectrumAccumulator, usable_samples
from muse_core.steps.sky.subtract import continuum_cut, cut_rows, subtract_continuum, subtract_lines

_LOG = logging.getLogger(__name__)
#: Name of the step in the log.
STEP = "Sky model"
_BLOCK = 1 << 13  # rows of which a copy is put on the sky at a time


def planned(white_light: OwnCube | None, model: SkyModel) -> ExposureStep:
    """Return the step in a plan; it makes a white-light image, unless there is one."""
    passes = (*(() if white_light is None else (white_light,)), LOOKING)
    return ExposureStep(STEP, passes, kept_bytes=SAMPLE_BYTES * min(max(model.fraction, 0.0), 1.0))


@record
class SkyInputs:
    """What is known of the sky before the exposures are looked at; None or empty for what is not."""

    lsf: LsfCubes | HermiteProfiles
    lines: SkyLines | None
    continuum: Continuum | None
    mask: SkyMask | None


@record(kw_only=True)
class SkyOptions:
    """How the sky is subtracted.

    Attributes
    ----------
    method : str
        "none", "subtract-model" (given lines and continuum), "model" (lines fitted to the darkest part of the field),
        "simple" (the spectrum of that part itself).
    model : SkyModel
        How it is modelled.
    from_sky_rows : bool
        The line spread functions of the slices count by their rows on sky in the fit, not by all rows.
    """

    method: str
    model: SkyModel
    from_sky_rows: bool = False

    @property
    def has_lines(self) -> bool:
        """Are lines subtracted?"""
        return self.method in ("model", "subtract-model")

    @property
    def is_modelled(self) -> bool:
        """Is the sky found in the exposure itself?"""
        return self.method in ("model", "simple")


def load_sky_inputs(
    run: Run,
    options: SkyOptions,
    mask: SkyMask | None = None,
    *,
    lsf_for_raman: bool = False,
    mask_for_autocalibration: bool = False,
) -> SkyInputs:
    """Load the frames that the sky method needs.

    Parameters
    ----------
    run : Run
        The run.
    options : SkyOptions
        How the sky is subtracted.
    mask : SkyMask, optional
        The mask, if it is loaded already.
    lsf_for_raman : bool
        Raman lines are subtracted, which needs line spread functions too.
    mask_for_autocalibration : bool
        The autocalibration uses the mask of the sky.

    Raises
    ------
    InputError
        A frame that the method needs is missing, or one cannot be used.
    """
    compat = run.compat
    lsf: LsfCubes | HermiteProfiles = {}
    lines = continuum = None
    if lsf_for_raman or options.has_lines:
        lsf = load_lsf(run, for_sky=options.has_lines)
    if options.has_lines:
        if lsf or options.method == "model":
            lines = run.load("SKY_LINES", lambda path: read_sky_lines(path, compat), several=True)
        continuum = run.load("SKY_CONTINUUM", lambda path: read_sky_continuum(path, compat), several=True)
        _require(options.method, lsf, lines, continuum, compat)
    if mask is None and (options.is_modelled or (options.method == "none" and mask_for_autocalibration)):
        mask = load_sky_mask(run)
    return SkyInputs(lsf, lines, continuum, mask)


def load_given_sky(run: Run) -> SkyInputs:
    """Load the lines, continuum and line spread functions that are to be subtracted as they are.

    Raises
    ------
    InputError
        One cannot be used, or there are lines without line spread functions.
    """
    compat = run.compat
    continuum = run.load("SKY_CONTINUUM", lambda path: read_sky_continuum(path, compat))
    lines = run.load("SKY_LINES", lambda path: read_sky_lines(path, compat))
    lsf = {} if lines is None else load_lsf(run)
    missing = [tag for tag, found in (("SKY_LINES", lines), ("SKY_CONTINUUM", continuum)) if found is None]
    if compat.subtract_model_without_inputs:
        missing = []
    if lines is not None and not lsf:
        missing.append("LSF_PROFILE")
    if missing:
        raise InputError(f"set of frames: found no usable frame with tag {', '.join(missing)}, expected one each")
    return SkyInputs(lsf, lines, continuum, None)


def load_sky_mask(run: Run) -> SkyMask | None:
    """Load SKY_MASK."""
    return run.load("SKY_MASK", lambda path: read_sky_mask(path, run.compat), several=True)


def load_lsf(run: Run, *, for_sky: bool = True) -> LsfCubes | HermiteProfiles:
    """Load the frames LSF_PROFILE, empty without; tables of parameters do not serve for Raman lines alone."""
    paths = run.frames.all("LSF_PROFILE")
    if not paths:
        return {}
    lsf, used = read_lsf(paths, run.compat)
    if is_parametrised(lsf) and not for_sky:
        _LOG.warning("LSF_PROFILE: tables of parameters are not used for Raman lines")
        return {}
    for path in used:
        run.factory.use_calibration(path, "LSF_PROFILE")
    _LOG.info("Loaded %d LSF_PROFILE from %d files", len(lsf), len(used))
    return lsf


def _require(method: str, lsf: object, lines: object, continuum: object, compat: Compat) -> None:
    """Check that the method has what it needs."""
    missing = [tag for tag, found in (("LSF_PROFILE", lsf), ("SKY_LINES", lines)) if not found]
    if method == "subtract-model":
        if compat.subtract_model_without_inputs:
            return
        missing += [] if continuum is not None else ["SKY_CONTINUUM"]
    if missing:
        raise InputError(f"skymethod={method}: found no frame with tag {', '.join(missing)}, expected one each")


@record(frozen=False)
class SkyResult:
    """What was found of the sky of an exposure, and what is to be subtracted; None for what the method does not make.

    Attributes
    ----------
    white_light : WhiteLight
        Image that the mask was made from.
    mask : ndarray of uint8, shape (ny, nx)
        1 for sky.
    mask_limits : tuple of float
        Values of the image between which a spaxel is sky.
    spectrum : Spectrum
        Sky spectrum.
    lines : SkyLines
        Lines, fitted or given.
    continuum : Continuum
        Continuum, created or given.
    lsf : LsfCubes or HermiteProfiles
        Line spread functions.
    created_lines, created_continuum : bool
        Were they made from this exposure?
    """

    lsf: LsfCubes | HermiteProfiles
    lines: SkyLines | None = None
    continuum: Continuum | None = None
    white_light: WhiteLight | None = None
    mask: np.ndarray | None = None
    mask_limits: tuple[float, float] | None = None
    spectrum: Spectrum | None = None
    created_lines: bool = False
    created_continuum: bool = False


def load_spectrum(run: Run) -> SkyResult:
    """Load SKY_SPECTRUM, to be subtracted as it is.

    Raises
    ------
    InputError
        It is missing, or cannot be used.
    """
    spectrum = run.load("SKY_SPECTRUM", read_sky_spectrum)
    if spectrum is None:
        raise InputError("set of frames: found no frame with tag SKY_SPECTRUM, expected one")
    return SkyResult({}, continuum=spectrum)


def require_sky(run: Run, table: StoredTable, *, calibrated: bool = False) -> None:
    """Check that a table still has its sky, and, if that is asked for, that its flux is `calibrated`.

    Raises
    ------
    DataError
        It is not so.
    """
    if get_bool(table.header, PIXTABLE + "SKYSUB", compat=run.compat):
        raise DataError("pixel table: found it sky-subtracted already, expected one with its sky")
    if calibrated and not flux.is_calibrated(table.header, run.compat):
        raise DataError("pixel table: found data that are not flux calibrated, expected calibrated ones")


def flat_level_ratio(header: Header, *, sky: float, lamp: float) -> float:
    """Return the level of the flat fields of a table, relative to a given level of the `sky` or `lamp` flat field."""
    for key, level in (("SKY", sky), ("LAMP", lamp)):
        found = get_float(header, f"ESO DRS MUSE FLAT FLUX {key}", 0.0)
        if found > 0 and level > 0:
            return found / level
    return 1.0


def given_sky(inputs: SkyInputs) -> SkyResult:
    """Return the sky as it is known without looking at the exposure."""
    return SkyResult(inputs.lsf, inputs.lines, inputs.continuum)


def model_sky(
    run: Run,
    options: SkyOptions,
    inputs: SkyInputs,
    pointing: Pointing,
    table: StoredTable,
    store: RowStore,
    white_light: WhiteLight | None = None,
) -> SkyResult:
    """Find the sky of an exposure whose rows are in pix.

    Parameters
    ----------
    run : Run
        The run.
    options : SkyOptions
        How the sky is modelled.
    inputs : SkyInputs
        What is known.
    pointing : Pointing
        Where a mask that is on the sky lies.
    table : StoredTable
        The exposure.
    store : RowStore
        Its rows; not changed.
    white_light : WhiteLight, optional
        Image of an earlier step that is used again.
    """
    method = options.method
    result = given_sky(inputs)
    if not options.is_modelled:
        result.white_light = white_light
        return result
    if method == "model" and not run.compat.slice_without_lsf_ignored:
        require_ifus(inputs.lsf, _ifus(table))
    with timed(STEP, table.stored.n_rows):
        _model_sky(run, options, inputs, pointing, table, store, white_light, result)
    return result


def _model_sky(
    run: Run,
    options: SkyOptions,
    inputs: SkyInputs,
    pointing: Pointing,
    table: StoredTable,
    store: RowStore,
    white_light: WhiteLight | None,
    result: SkyResult,
) -> None:
    model = options.model
    cube_sigma, spectrum_sigma = model.thresholds(run.compat)
    if white_light is None:
        select = None if inputs.mask is None else mask_selection(pointing, table, inputs.mask)
        white_light = make_white_light(run, table, store, cube_sigma, select)
    mask, low, threshold = create_sky_mask(white_light.image, white_light.bad, model.fraction, model.ignore)
    result.white_light, result.mask, result.mask_limits = white_light, mask, (low, threshold)
    in_spaxels = mask_in_spaxels(mask, *white_light.grid.crval[:2])
    sky = _SkyRows(run, table, store, in_spaxels, white_light, options.from_sky_rows)
    result.spectrum = sky.spectrum(model.sampling, spectrum_sigma)
    for watch in run.watches.values():
        watch.sky_found(table.header, result.spectrum)
    if options.method == "simple":
        result.lines, result.continuum = None, continuum_of_spectrum(result.spectrum)
        return
    assert inputs.lines is not None
    fit = fit_sky(result.spectrum, inputs.lines, inputs.lsf, sky.counts, model.sampling, model.csampling, run.compat)
    result.lines, result.created_lines = fit.lines, True
    if inputs.continuum is None:
        result.continuum = fit.continuum or sky.lineless_continuum(fit.lines, inputs.lsf, model.csampling)
        result.created_continuum = result.continuum is not None


def _ifus(table: StoredTable) -> list[int]:
    low, high = (get_int(table.header, f"{PIXTABLE}LIMITS IFU {end}") for end in ("LOW", "HIGH"))
    return list(range(low or 1, (high or N_IFU) + 1))


def mask_selection(pointing: Pointing, table: StoredTable, mask: SkyMask) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that selects the rows (in pix) on the enabled pixels of a mask and outside of it."""
    projection: Projection | None = None
    own: Positioning | None = None
    if mask.celestial:
        if pointing.offsets is None:
            _LOG.warning("SKY_MASK on the sky, but no OFFSET_LIST: the mask may be off by the error of the pointing")
        projection, own = pointing.in_advance(table.header)

    def select(rows: np.ndarray) -> np.ndarray:
        selected = np.ones(len(rows), np.uint8)
        if projection is None or own is None:
            select_rows(rows, mask, selected)
            return selected
        for start in range(0, len(rows), _BLOCK):
            part = slice(start, start + _BLOCK)
            on_sky = rows[part].copy()
            locate_rows(on_sky, projection=projection, positioning=own)
            select_rows(on_sky, mask, selected[part], own.ra_deg, own.dec_deg)
        return selected

    return select


class _SkyRows:
    """The rows of an exposure that are on sky."""

    def __init__(
        self,
        run: Run,
        table: StoredTable,
        store: RowStore,
        mask: SkyMask,
        white_light: WhiteLight,
        counts_sky_only: bool,
    ):
        self._run, self._table, self._store, self._counts_sky_only = run, table, store, counts_sky_only
        self._limits = wavelength_limits(table.header)
        self._mask, self._flagged = mask, white_light.flagged
        self.counts = empty_counts()

    def _select(self, rows: np.ndarray, chunk: Chunk) -> tuple[np.ndarray, np.ndarray]:
        selected = np.ones(len(rows), np.uint8)
        select_rows(rows, self._mask, selected)
        begin = self._table.stored.begin
        return selected, self._flagged.within(begin + chunk.start, begin + chunk.stop)

    def _read(self, step: Callable[[np.ndarray, Chunk], np.ndarray]) -> Iterator[np.ndarray]:
        return read_pass(self._table.stored, self._store, step, self._run.resources.n_threads)

    def spectrum(self, sampling: float, sigma: float) -> Spectrum:
        """Return the sky spectrum, after one clipping with `sigma`; counts the rows of slices on the way."""
        counts = []

        def step(rows: np.ndarray, chunk: Chunk) -> np.ndarray:
            found, (selected, flagged) = empty_counts(), self._select(rows, chunk)
            count_slices(rows[selected > 0] if self._counts_sky_only else rows, found)
            counts.append(found)
            return usable_samples(rows, selected, flagged)

        first = SpectrumAccumulator(*self._limits, sampling)
        with ArraySpool(self._run.resources.scratch) as kept:
            for samples in self._read(step):
                first.add(samples)
                if sigma > 0:
                    kept.add(samples)
            self.counts = sum(counts, empty_counts())
            if sigma <= 0:
                return first.spectrum()
            clipped = SpectrumAccumulator(*self._limits, sampling, first.spectrum(), sigma)
            for samples in kept:
                clipped.add(samples)
        return clipped.spectrum()

    def lineless_continuum(self, lines: SkyLines, lsf: LsfCubes | HermiteProfiles, width: float) -> Continuum:
        """Return the continuum, in bins of `width` Angstrom, that goes with parametrised line spread functions."""

        def step(rows: np.ndarray, chunk: Chunk) -> np.ndarray:
            selected, flagged = self._select(rows, chunk)
            return lineless_samples(rows, selected, lines, lsf, flagged, self._run.compat)

        spectrum = SpectrumAccumulator(*self._limits, width)
        for samples in self._read(step):
            spectrum.add(samples)
        return continuum_of_spectrum(spectrum.spectrum())


class SkySubtraction:
    """Subtraction of continuum and lines from rows; rows beyond the continuum are dropped."""

    def __init__(self, run: Run, result: SkyResult, table: StoredTable, scale: float = 1.0):
        self._result, self._compat, self._scale = result, run.compat, scale
        self._cut = None
        if result.continuum is not None:
            self._cut = continuum_cut(result.continuum, *wavelength_limits(table.header))

    @classmethod
    def of(
        cls, run: Run, result: SkyResult, table: StoredTable, scale: float = 1.0, *, noted: bool = False
    ) -> "SkySubtraction | None":
        """Return the subtraction of a sky, `scale` times as bright; None if there is nothing to subtract.

        The header of the table tells of it if that is to be `noted`.
        """
        has_lines = result.lines is not None and bool(result.lsf)
        if noted or (has_lines and is_parametrised(result.lsf)):  # without, the reference tells only for these
            set_card(table.header, PIXTABLE + "SKYSUB", True, "Pixel table was sky-subtracted")
        return cls(run, result, table, scale) if has_lines or result.continuum is not None else None

    def prepare(self, table: StoredTable) -> None:
        """Cut the flat-field spectrum of `table` where the continuum ends."""
        if self._cut is not None and table.flat_field is not None:
            table.flat_field = flatfield.trim(table.flat_field, *map(float, self._cut))

    def dropped(self, table: StoredTable, store: RowStore) -> list[int]:
        """Return how many rows of each chunk of `table` lie beyond the continuum."""
        stored = table.stored
        if self._cut is None:
            return [0] * len(stored.chunks)
        low, high = self._cut
        below = store.window(-np.inf, float(low), stored.begin, stored.end)
        above = store.window(float(high), np.inf, stored.begin, stored.end)
        numbers = [
            below.numbers(np.flatnonzero(below.rows["lbda"] < low)),
            above.numbers(np.flatnonzero(above.rows["lbda"] > high)),
        ]
        return stored.count_within(np.sort(np.concatenate(numbers)))

    @property
    def may_drop(self) -> bool:
        """Whether the continuum does not cover the exposure."""
        return self._cut is not None

    def kept(self, rows: np.ndarray) -> np.ndarray:
        """Return the rows that the continuum covers."""
        return cut_rows(rows, self._cut)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Return what is left of `rows`, without sky."""
        result = self._result
        rows = self.kept(rows)
        sort_rows(rows)
        if self._scale != 1:
            rows["data"] = rows["data"] / np.float64(self._scale)
        if result.continuum is not None:
            subtract_continuum(rows, result.continuum)
        if result.lines is not None and result.lsf:
            subtract_lines(rows, result.lines, result.lsf, self._compat)
        if self._scale != 1:
            rows["data"] = rows["data"] * np.float64(self._scale)
        return rows


def save_sky(run: Run, table: StoredTable, result: SkyResult) -> None:
    """Write the products of the sky model of an exposure; `table` has the header after astrometry."""
    if result.white_light is not None:
        _save_image(run, result.white_light)
    if result.mask is None:
        return
    _save_mask(run, result)
    cards = table_cards(table.header)
    _save_spectrum(run, table, result, [item for item in cards if not re.search(WCS_CARDS, item.keyword)])
    if result.created_lines:
        _save_lines(run, result, cards)
    if result.created_continuum:
        _save_continuum(run, table, result, cards)


def save_sky_alone(run: Run, table: StoredTable, result: SkyResult, n_before_fit: int) -> None:
    """Write the products of a sky that is not that of an exposure's own: all of them, also what was given.

    Keywords of the reference: the spectrum has those of the pixel table, lines and continuum have none of it; image,
    mask and spectrum tell of the first `n_before_fit` calibrations only.
    """
    assert result.white_light is not None
    with run.factory.using(n_before_fit):
        _save_image(run, result.white_light)
        _save_mask(run, result)
        _save_spectrum(run, table, result, table.header.cards)
    _save_lines(run, result, [])
    if result.continuum is not None:
        _save_continuum(run, table, result, [])


def _save_image(run: Run, white_light: WhiteLight) -> None:
    image, flags = white_light.image, white_light.flags
    save_image(run.factory, "SKY_IMAGE", white_light.cards, white_light.wcs, image, flags, white_light.unit)


def _save_mask(run: Run, result: SkyResult) -> None:
    assert result.white_light is not None
    assert result.mask is not None
    assert result.mask_limits is not None
    source = [item for item in result.white_light.cards if not item.keyword.startswith("ESO DRS MUSE")]
    source += run.qc_cards(mask_qc(*result.mask_limits))
    save_mask(run.factory, "SKY_MASK", source, result.white_light.wcs, result.mask)


def _save_spectrum(run: Run, table: StoredTable, result: SkyResult, cards: Iterable[Card]) -> None:
    assert result.spectrum is not None
    columns = spectrum_columns(result.spectrum, table.data_unit, table.stat_unit)
    save_table(run.factory, "SKY_SPECTRUM", cards, columns, None)


def _save_lines(run: Run, result: SkyResult, cards: list[Card]) -> None:
    assert result.lines is not None
    qc = run.qc_cards(line_qc(result.lines))
    save_table(run.factory, "SKY_LINES", cards + qc, lines_columns(result.lines), "LINES")


def _save_continuum(run: Run, table: StoredTable, result: SkyResult, cards: list[Card]) -> None:
    assert result.continuum is not None
    qc = run.qc_cards(continuum_qc(result.continuum))
    unit = table.data_unit if is_parametrised(result.lsf) else units.LINE_FLUX_PLAIN
    save_table(run.factory, "SKY_CONTINUUM", cards + qc, continuum_columns(result.continuum, unit), "CONTINUUM")

# SPDX-License-Identifier: GPL-2.0-or-later
"""Pixel tables of a run: opened, checked, and grouped into exposures."""

import logging
from collections.abc import Sequence
from pathlib import Path

from muse_core.engine.exposure import ExposureRows
from muse_core.engine.progress import track
from muse_core.engine.slabs import Weights
from muse_core.errors import DataError, InputError
from muse_core.io.pixtable import PixelTableFile
from muse_core.io.products import RawFrame
from muse_core.model import origin, units
from muse_core.model.facts import ranges_text
from muse_core.model.fits import Header
from muse_core.model.header import PIXTABLE, check_keywords, get_float, get_int, get_string
from muse_core.model.pixtable import FlatFieldSpectrum
from muse_core.model.record import record
from muse_core.recipe.parameters import WavelengthRange
from muse_core.recipe.run import Run
from muse_core.steps import flatfield, merge
from muse_core.steps.limits import PREFIX

_LOG = logging.getLogger(__name__)


@record(frozen=False)
class OpenedExposure:
    """An exposure whose files are known, but not loaded.

    Attributes
    ----------
    header : Header
        Header of the merged table.
    rows : ExposureRows
        Files in the order of the merged table.
    scales : list of float
        Factor on the data of each file.
    spectra : list of FlatFieldSpectrum
        Flat-field spectra of the files, if rows are to be corrected by their average.
    attached : FlatFieldSpectrum, optional
        Spectrum of a merged file, which was corrected before.
    keeps_limits : bool
        A merged file of which nothing is cut: the limits in its header count, which have seven digits.
    weights : Weights, optional
        Weights of the exposures in a combined table.
    """

    header: Header
    rows: ExposureRows
    scales: list[float]
    spectra: list[FlatFieldSpectrum]
    attached: FlatFieldSpectrum | None
    keeps_limits: bool = False
    weights: Weights | None = None

    @property
    def wavelengths(self) -> tuple[float, float] | None:
        """Lowest and highest wavelength in Angstrom, by the headers of its files; None if one does not tell."""
        headers = [file.header for file in self.rows.files]
        low, high = ([get_float(header, f"{PREFIX}LAMBDA {end}") for header in headers] for end in ("LOW", "HIGH"))
        known = [value for value in low if value is not None], [value for value in high if value is not None]
        return None if None in low + high else (min(known[0]), max(known[1]))

    @property
    def n_ifus(self) -> int:
        """Number of IFUs that its rows come from, by the headers."""
        first = self.rows.files[0].header
        if merge.ifu_number(first) != merge.MERGED_FILE:
            return len(self.rows.files)
        low, high = get_int(first, f"{PREFIX}IFU LOW", 1), get_int(first, f"{PREFIX}IFU HIGH", origin.N_IFU)
        return get_int(first, merge.CARD_MERGED, high - low + 1)

    @property
    def n_slices(self) -> int:
        """Number of slices, of all exposures in it, in which its rows lie together at most."""
        return self.n_ifus * origin.N_SLICE * (len(self.rows.exposure_edges()) - 1)

    def __str__(self) -> str:
        n_combined, n_ifus = len(self.rows.exposure_edges()) - 1, f"{self.n_ifus} IFU{'s' * (self.n_ifus != 1)}"
        if n_combined > 1:
            return f"combined table of {n_combined} exposures, {n_ifus}"
        is_merged = merge.ifu_number(self.rows.files[0].header) == merge.MERGED_FILE
        return f"merged table of {n_ifus}" if is_merged else n_ifus


def open_exposures(
    run: Run, tag: str, wavelengths: WavelengthRange, kind: type[ExposureRows] = ExposureRows
) -> list[OpenedExposure]:
    """Open the pixel tables of a tag and group them into exposures, in the order of time.

    Parameters
    ----------
    run : Run
        The run.
    tag : str
        Tag of the pixel tables.
    wavelengths : WavelengthRange
        Which rows are loaded.
    kind : type
        What the rows are looked after by.

    Raises
    ------
    InputError
        A file is no pixel table, or says not enough about itself.
    DataError
        The files of an exposure do not fit together.
    """
    paths = run.frames.all(tag)
    files = list(track("pixel tables", (_open_file(run, path) for path in paths), [(path,) for path in paths]))
    names = [str(path) for path in paths]
    headers = [file.header for file in files]
    groups = merge.group_exposures(headers, names, run.compat)
    used = sorted(index for group in groups for index in group.files)
    run.factory.use_raw(RawFrame(paths[index], tag, headers[index]) for index in used)
    _warn_of_missing(groups)
    exposures = []
    for number, group in enumerate(groups, 1):
        opened = _open_exposure(run, [files[i] for i in group.files], group, wavelengths, kind)
        _LOG.info("Exposure %d of %d (DATE-OBS %s): %s", number, len(groups), group.date_obs, opened)
        exposures.append(opened)
    weighted = [str(file.path) for file in files if file.has_weight]
    if weighted and len(files) > 1:
        raise InputError(
            f"{', '.join(weighted)}: found a column weight, expected pixel tables of single exposures; a combined "
            "table can only be used alone, else give the tables of all exposures instead"
        )
    return exposures


def _warn_of_missing(groups: Sequence[merge.ExposureFiles]) -> None:
    """Say once which IFUs exposures lack."""
    lacking: dict[tuple[int, ...], list[int]] = {}
    for number, group in enumerate(groups, 1):
        missing = tuple(ifu for ifu in range(1, origin.N_IFU + 1) if ifu not in group.ifus)
        if missing and group.ifus != (merge.MERGED_FILE,):
            lacking.setdefault(missing, []).append(number)
    for missing, numbers in lacking.items():
        whose = f"Exposure{'s' * (len(numbers) > 1)} {ranges_text(numbers)}"
        _LOG.warning("%s: no pixel table of IFU %s", whose, ranges_text(missing))


def open_single(run: Run, tag: str, wavelengths: WavelengthRange) -> OpenedExposure:
    """Open the pixel tables of a tag, which belong to one exposure.

    Raises
    ------
    InputError
        There are several exposures; else as in `open_exposures`.
    """
    exposures = open_exposures(run, tag, wavelengths)
    if len(exposures) > 1:
        dates = ", ".join(get_string(exposure.header, "DATE-OBS", "unknown date") for exposure in exposures)
        raise InputError(
            f"tag {tag}: found pixel tables of {len(exposures)} exposures ({dates}), expected one exposure"
        )
    return exposures[0]


def open_separately(run: Run, tag: str, wavelengths: WavelengthRange, *, recorded: bool = True) -> list[OpenedExposure]:
    """Open the pixel tables of a tag, each as an exposure of its own that is not merged, in the order of the frames.

    Parameters and errors as in `open_exposures`; unless they are `recorded`, products do not tell of them.
    """
    files = [_open_file(run, path) for path in run.frames.all(tag)]
    if recorded:
        run.factory.use_raw(RawFrame(file.path, tag, file.header) for file in files)
    return [_open_alone(run, file, wavelengths) for file in files]


def open_first(run: Run, tag: str, wavelengths: WavelengthRange) -> OpenedExposure:
    """Open the first pixel table of a tag by itself, whatever else belongs to its exposure.

    Parameters and errors as in `open_exposures`.
    """
    path, *others = run.frames.all(tag)
    if others:
        _LOG.warning("%s: used alone; other pixel tables are left out: %s", path, ", ".join(map(str, others)))
    file = _open_file(run, path)
    run.factory.use_raw([RawFrame(path, tag, file.header)])
    return _open_alone(run, file, wavelengths)


def require_pixels(exposures: Sequence[OpenedExposure]) -> None:
    """Check that positions are in pixels.

    Raises
    ------
    DataError
        Those of a pixel table are projected already.
    """
    for exposure in exposures:
        file = exposure.rows.files[0]
        if file.position_unit != units.PIX:
            raise DataError(f"{file.path}: found positions in {file.position_unit}, expected them in {units.PIX}")


def _open_file(run: Run, path: Path) -> PixelTableFile:
    """Open a pixel table and check its keywords."""
    file = PixelTableFile(path)
    check_keywords(file.header, str(file.path), run.compat)
    return file


def _open_alone(
    run: Run, file: PixelTableFile, wavelengths: WavelengthRange, kind: type[ExposureRows] = ExposureRows
) -> OpenedExposure:
    """Open a pixel table that is not merged with others."""
    header = file.header.copy()
    merge.remove_quality_cards(header)
    rows, spectra = _open_rows(run, [file], wavelengths, kind)
    edges = rows.exposure_edges()
    if len(edges) > 2:
        for number, (first, end) in enumerate(zip(edges[:-1], edges[1:], strict=True), 1):
            header[f"{PIXTABLE}EXP{number} FIRST"], header[f"{PIXTABLE}EXP{number} LAST"] = first, end - 1
    weights = rows.weights()
    return OpenedExposure(
        header=header,
        rows=rows,
        scales=[1.0],
        spectra=[],
        attached=spectra[0] if spectra else None,
        keeps_limits=not rows.is_cut,
        weights=None if weights is None else Weights(*weights),
    )


def _open_exposure(
    run: Run,
    files: list[PixelTableFile],
    group: merge.ExposureFiles,
    wavelengths: WavelengthRange,
    kind: type[ExposureRows],
) -> OpenedExposure:
    """Open the pixel tables of an exposure, to be merged."""
    if group.ifus == (merge.MERGED_FILE,):
        return _open_alone(run, files[0], wavelengths, kind)
    scales = merge.ifu_scales([f.header for f in files], [str(file.path) for file in files], run.compat)
    files = files[: len(scales)]
    for file in files[1:]:
        if (file.position_unit, file.units["data"]) != (files[0].position_unit, files[0].units["data"]):
            raise DataError(
                f"{file.path}: found positions in {file.position_unit}, data in {file.units['data']}, expected "
                f"{files[0].position_unit} and {files[0].units['data']} as in {files[0].path}"
            )
    rows, spectra = _open_rows(run, files, wavelengths, kind)
    is_corrected = not merge.has_flat_levels(files[0].header, run.compat)
    if not is_corrected and spectra and len(spectra) != len(files):
        without = [str(file.path) for file in files if file.flat_field is None]
        raise DataError(
            f"exposure of {group.date_obs}: found a flat-field spectrum in {len(spectra)} of {len(files)} pixel "
            f"tables, expected it in all or none; not in {', '.join(without)}"
        )
    header = merge.merge_headers([f.header for f in files], 0 if is_corrected else len(spectra))
    merge.remove_quality_cards(header)
    if not is_corrected:
        return OpenedExposure(header, rows, scales, spectra, None)
    weights = rows.weights()
    return OpenedExposure(
        header=header,
        rows=rows,
        scales=scales,
        spectra=[],
        attached=spectra[0] if spectra else None,
        weights=None if weights is None else Weights(*weights),
    )


def _open_rows(
    run: Run, files: list[PixelTableFile], wavelengths: WavelengthRange, kind: type[ExposureRows] = ExposureRows
) -> tuple[ExposureRows, list[FlatFieldSpectrum]]:
    """Return the rows of pixel tables and the flat-field spectra of those that have one, both cut in wavelength."""
    low, high = wavelengths.lambdamin, wavelengths.lambdamax
    cut = [merge.is_cut_needed(file.header, low, high) for file in files]
    spectra = [
        flatfield.trim(file.flat_field, low, high) if needed else file.flat_field
        for file, needed in zip(files, cut, strict=True)
        if file.flat_field is not None
    ]
    return kind(files, (low, high), cut, run.resources.n_threads), spectra

# SPDX-License-Identifier: GPL-2.0-or-later
"""A look at an exposure in seconds: images and spectra straight from the columns of its pixel tables; no cube is made.

Positions are corrected for refraction, the flux is calibrated if there is a response, and the sky is taken away as it
is in the darkest part of the field; cosmic rays are found by comparing slices. What is left out beside resampling:
telluric lines, and sky lines of each slice.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from astropy.io.fits import Header

from muse_core.api import session
from muse_core.api.cube import Image, Spectrum
from muse_core.api.pixtable import PixelTable
from muse_core.api.region import Region, as_region
from muse_core.cython_ext import columns as columns_kernels
from muse_core.engine.rowblocks import BlockedRows
from muse_core.engine.threads import map_in_order
from muse_core.errors import DataError, InputError
from muse_core.model import units
from muse_core.model.cards import set_card
from muse_core.model.filters import WHITE, FilterCurve
from muse_core.model.grid import SPECTRAL_STEP
from muse_core.model.header import get_float, get_string, spaxel_size_arcsec
from muse_core.model.origin import FIRST_SLICE
from muse_core.model.record import record
from muse_core.model.rows import make_rows
from muse_core.recipe.parameters import WavelengthRange
from muse_core.recipe.run import Run
from muse_core.recipes.muse_scipost import MuseScipost
from muse_core.stages.calibrate import CalibrationOptions, QuickCalibration
from muse_core.stages.calibrations import load_flux_curves
from muse_core.stages.images import read_filters
from muse_core.stages.opening import OpenedExposure
from muse_core.stages.pointing import load_pointing
from muse_core.steps.limits import PREFIX
from muse_core.steps.quickimage import STEEPEST, sky_spectrum, take_away_cosmic_rays
from muse_core.steps.sky.mask import create_sky_mask

_P = MuseScipost.Parameters()
_COLUMNS = ("xpos", "ypos", "lambda", "data", "dq")
#: Angstrom between which shift and factors do not change; rows added at once; spaxels beside those of the header.
_STEP, _PIECE, _MARGIN = 1.0, 1 << 18, 12
#: Ranges of rows of which the sky is found, and how many of a wavelength are enough.
_SAMPLED_PIECES, _SAMPLED_ROWS = 24, 128
#: Part of the field that is taken for sky, and the darkest part that is left out.
_SKY, _IGNORED = 0.3, 0.05


def quick_look(
    files: session.Files,
    *,
    lambdamin: float = _P.wavelengths.lambdamin,
    lambdamax: float = _P.wavelengths.lambdamax,
    filter: str = WHITE,  # noqa: A002 (as in ESO's parameters)
    region: Region | str | tuple[float, float, float] | None = None,
    sky: bool = True,
) -> Image:
    """Make an image of an exposure in seconds.

    Parameters
    ----------
    files : path, list of paths, or dict of tag to paths
        Pixel tables of one exposure, or sets of frames, as for `PixelTable.read`.
    lambdamin, lambdamax : float
        Wavelengths in Angstrom.
    filter : str
        "white", or an extension of FILTER_LIST.
    region : Region, text, or tuple of three floats, optional
        Part of the field.
    sky : bool
        Take the sky away: the median of the darkest part of the image.

    Returns
    -------
    Image
        In the spaxels of the field, with world coordinates; NaN where there are no rows.

    Raises
    ------
    InputError
        A file cannot be used, or the files are of several exposures; there is no such filter.
    DataError
        There are no good rows.

    Examples
    --------
    >>> import muse_core.api as muse
    >>> image = muse.quick_look("none.sof")
    >>> band = muse.quick_look("none.sof", lambdamin=7273, lambdamax=7276, region='circle(53.1625,-27.7914,4")')
    >>> band.data.shape < image.data.shape
    True
    """
    band = WavelengthRange(lambdamin=lambdamin, lambdamax=lambdamax)
    is_whole = band.lambdamin <= _P.wavelengths.lambdamin and band.lambdamax >= _P.wavelengths.lambdamax
    run, exposure = session.open_blocks(files, "quick look", () if is_whole else ("lambda",))
    (curve,) = [None] if filter == WHITE else read_filters(run, filter) or [_no_filter(filter)]
    field = _Field.of(run, exposure, None if region is None else as_region(region))
    plain = _Curves.of(run, exposure, band, curve)
    total, norm, bright = np.zeros(field.shape), np.zeros(field.shape), []
    with exposure.rows:
        plain = plain.less_sky(exposure, band)
        parts = map_in_order(
            lambda part: field.collect(exposure.rows, part, plain.scaled(exposure.scales[part]), band),
            range(len(exposure.rows.files)),
            run.resources.n_threads,
        )
        for one_total, one_norm, one_bright in parts:
            total += one_total
            norm += one_norm
            bright.append(one_bright)
    if not norm.any():
        raise DataError(f"quick look: found no good rows from {lambdamin:g} to {lambdamax:g} Angstrom, expected some")
    take_away_cosmic_rays(np.concatenate(bright), total, norm)
    with np.errstate(invalid="ignore"):
        image = (total / norm + plain.sky_level).astype(np.float32)
    if sky:
        image -= _sky_level(image)
    what = f"{lambdamin:g} to {lambdamax:g} Angstrom" if filter == WHITE and band != _P.wavelengths else filter
    title = f"{get_string(exposure.header, 'OBJECT', '')}, {what}".strip(", ")
    header = field.header(exposure)
    return Image(image, header, units.FLUX if plain.is_calibrated else exposure.rows.files[0].units["data"], title)


def quick_spectrum(
    files: session.Files,
    ra: float,
    dec: float,
    radius: float,
    *,
    lambdamin: float = _P.wavelengths.lambdamin,
    lambdamax: float = _P.wavelengths.lambdamax,
    sky: bool = True,
) -> Spectrum:
    """Make the spectrum of a source in seconds: what is in a circle, less the sky in a ring around it.

    Parameters
    ----------
    files : path, list of paths, or dict of tag to paths
        Pixel tables of one exposure, or sets of frames, as for `PixelTable.read`.
    ra, dec : float
        Centre in degrees.
    radius : float
        Radius in arcsec.
    lambdamin, lambdamax : float
        Wavelengths in Angstrom.
    sky : bool
        Take the sky away: the mean from `radius` + 1 to `radius` + 3 arcsec.

    Returns
    -------
    Spectrum
        Sum over the area of the circle, in planes of 1.25 Angstrom.

    Raises
    ------
    InputError
        A file cannot be used, or the files are of several exposures.
    DataError
        There are no rows.

    Examples
    --------
    >>> import muse_core.api as muse
    >>> spectrum = muse.quick_spectrum("none.sof", 53.1625, -27.7914, 1.0)
    >>> float(spectrum.wave[1] - spectrum.wave[0])
    1.25
    """
    from muse_core.api import steps

    circle = Region.circle(ra, dec, radius)
    around = Region.circle(ra, dec, radius + 3.0 if sky else radius)
    table = _read_around(files, WavelengthRange(lambdamin=lambdamin, lambdamax=lambdamax), around)
    steps.correct_refraction(table)
    if table._run.frames.all("STD_RESPONSE"):
        steps.calibrate_flux(table)
    return _sum(table, circle, Region.circle(ra, dec, radius + 1.0) if sky else None, around)


def _no_filter(name: str):
    raise InputError(f"quick look: found no filter {name} in FILTER_LIST, expected it in the set of frames")


@record
class _Curves:
    """What is done to rows by wavelength, see `columns.add_image`."""

    first: float
    values: np.ndarray
    is_calibrated: bool

    @classmethod
    def of(cls, run: Run, exposure: OpenedExposure, band: WavelengthRange, curve: FilterCurve | None) -> "_Curves":
        curves = load_flux_curves(run)
        options = CalibrationOptions(reference_wavelength=_P.lambdaref, curves=curves, flux=curves.response is not None)
        calibration = QuickCalibration(run, exposure, options)
        found = exposure.wavelengths or (band.lambdamin, band.lambdamax)
        low, high = max(band.lambdamin, found[0]), min(band.lambdamax, found[1])
        if low > high:
            raise DataError(
                f"quick look: found rows from {found[0]:g} to {found[1]:g} Angstrom, expected some from "
                f"{band.lambdamin:g} to {band.lambdamax:g}"
            )
        lbda = np.arange(np.floor(low) - 1, np.ceil(high) + 2, _STEP)
        rows = make_rows(0.0, 0.0, lbda.astype(np.float32), 1.0, 0, 1.0, FIRST_SLICE)
        calibration(rows)
        values = np.zeros((len(lbda), 6))
        values[:, 5] = np.inf
        values[:, 0], values[:, 1] = rows["xpos"], rows["ypos"]
        usable = (rows["dq"] == 0) & np.isfinite(rows["data"])
        values[:, 2] = np.where(usable, rows["data"], 0)
        inside = usable & (lbda >= low - _STEP / 2) & (lbda <= high + _STEP / 2)
        values[:, 3] = inside if curve is None else inside * np.interp(lbda, curve.lbda, curve.throughput, 0, 0)
        return cls(float(lbda[0]), values, calibration.is_calibrated)

    def less_sky(self, exposure: OpenedExposure, band: WavelengthRange) -> "_Curves":
        """Return them with the sky taken off, which some rows of the whole field tell."""
        n, rows = len(self.values), exposure.rows
        pieces = [(part, *piece) for part in range(len(rows.files)) for piece in _pieces(rows, part, band)]
        chosen = [pieces[i] for i in np.unique(np.linspace(0, len(pieces) - 1, _SAMPLED_PIECES).astype(int))]
        every = max(sum(stop - start for _, start, stop in chosen) // (n * _SAMPLED_ROWS), 1)
        found = []
        for part, start, stop in chosen:
            columns = (rows.files[part].column(name, start, stop)[::every] for name in ("lambda", "data", "dq"))
            lbda, data, dq = columns
            index = np.floor((lbda - self.first) / _STEP + 0.5).astype(np.int64)
            good = (dq == 0) & np.isfinite(data) & (index >= 0) & (index < n)
            index = index[good]
            found.append((index, self.values[index, 2] * exposure.scales[part] * data[good]))
        if not found:
            return self
        values = self.values.copy()
        values[:, 4], values[:, 5] = sky_spectrum(*map(np.concatenate, zip(*found, strict=True)), n)
        return dataclasses.replace(self, values=values)

    @property
    def sky_level(self) -> float:
        """What was taken off, on average."""
        return float(np.average(self.values[:, 4], weights=self.values[:, 3])) if self.values[:, 3].any() else 0.0

    def scaled(self, factor: float) -> "_Curves":
        """Return them with a further factor on the data."""
        values = self.values.copy()
        values[:, 2] *= factor
        return dataclasses.replace(self, values=values)


@record
class _Field:
    """The spaxels of an image: position of the first one in the field, numbers; projection and pointing."""

    left: float
    bottom: float
    shape: tuple[int, int]
    projection: object
    own: object

    @classmethod
    def of(cls, run: Run, exposure: OpenedExposure, region: Region | None) -> "_Field":
        extent = [_limits(exposure, axis, end) for axis in "XY" for end in ("LOW", "HIGH")]
        projection, own = load_pointing(run).in_advance(exposure.header, extent)
        low, high = (np.array(extent[i::2], float) + sign * _MARGIN for i, sign in ((0, -1), (1, 1)))
        field = cls(*np.floor(low), tuple(int(n) for n in (np.ceil(high) - np.floor(low) + 1)[::-1]), projection, own)
        if region is None:
            return field
        from astropy.wcs import WCS

        reach = region.reach_arcsec / 3600
        east = reach / np.cos(np.radians(region.dec_deg))
        corners = [(region.ra_deg + a * east, region.dec_deg + b * reach) for a in (-1, 1) for b in (-1, 1)]
        x, y = WCS(field.header(exposure), fix=False).wcs_world2pix(*np.transpose(corners), 0)
        box = [int(np.floor(v.min())) for v in (x, y)] + [int(np.ceil(v.max())) for v in (x, y)]
        x0, y0 = max(box[0], 0), max(box[1], 0)
        shape = min(box[3], field.shape[0] - 1) - y0 + 1, min(box[2], field.shape[1] - 1) - x0 + 1
        if min(shape) < 1:
            raise DataError(f"quick look: {region} is not in the field")
        return dataclasses.replace(field, left=field.left + x0, bottom=field.bottom + y0, shape=shape)

    def collect(
        self, rows: BlockedRows, part: int, curves: _Curves, band: WavelengthRange
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return weighted sums of the values, sums of the weights, and rows that are bright, of a file."""
        total, norm, found = np.zeros(self.shape), np.zeros(self.shape), [np.empty((0, 5))]
        file, bright = rows.files[part], np.empty((_PIECE // 8, 5))
        for start, stop in _pieces(rows, part, band):
            columns, strides = zip(*(file.raw_column(name, start, stop) for name in _COLUMNS), strict=True)
            n_bright = columns_kernels.add_image(
                *columns, np.array(strides, np.intp), stop - start, curves.first, _STEP, curves.values, self.left,
                self.bottom, total, norm, bright, STEEPEST,
            )  # fmt: skip
            found.append(bright[:n_bright].copy())
        return total, norm, np.concatenate(found)

    def header(self, exposure: OpenedExposure) -> Header:
        """Return a header with the world coordinates."""
        header = Header()
        for key in ("OBJECT", "DATE-OBS", "EXPTIME"):
            if key in exposure.header:
                header[key] = exposure.header[key]
        set_card(header, "CTYPE1", "RA---TAN")
        set_card(header, "CTYPE2", "DEC--TAN")
        for i, (zero, value) in enumerate(((self.left, self.own.ra_deg), (self.bottom, self.own.dec_deg)), 1):
            set_card(header, f"CUNIT{i}", "deg")
            set_card(header, f"CRVAL{i}", value)
            set_card(header, f"CRPIX{i}", float(self.projection.crpix[i - 1] - zero + 1))
            for j in (1, 2):
                set_card(header, f"CD{i}_{j}", float(self.projection.cd[i - 1, j - 1]))
        return header


def _limits(exposure: OpenedExposure, axis: str, end: str) -> float:
    found = [get_float(file.header, f"{PREFIX}{axis} {end}") for file in exposure.rows.files]
    if None in found:
        raise InputError(f"{exposure.rows.files[found.index(None)].path}: found no keyword {PREFIX}{axis} {end}")
    return min(found) if end == "LOW" else max(found)


def _pieces(rows: BlockedRows, part: int, band: WavelengthRange) -> Iterator[tuple[int, int]]:
    """Yield ranges of rows of a file in which there are the wavelengths."""
    blocks = rows.blocks
    own = np.flatnonzero((blocks.part == part) & rows.within(band.lambdamin, band.lambdamax))
    if not len(own):
        return
    breaks = np.flatnonzero(blocks.start[own[1:]] != blocks.stop[own[:-1]])
    firsts, lasts = own[np.r_[0, breaks + 1]], own[np.r_[breaks, len(own) - 1]]
    for a, b in zip(blocks.start[firsts], blocks.stop[lasts], strict=True):
        for start in range(int(a), int(b), _PIECE):
            yield start, min(start + _PIECE, int(b))


def _sky_level(image: np.ndarray) -> np.float32:
    bad = ~np.isfinite(image)
    mask, *_ = create_sky_mask(np.where(bad, 0, image).astype(np.float32), bad, _SKY, _IGNORED)
    found = image[(mask > 0) & ~bad]
    return np.float32(np.median(found if len(found) else image[~bad]))


def _read_around(files: session.Files, band: WavelengthRange, region: Region) -> PixelTable:
    from muse_core.api.partial import open_around

    return open_around(files, band, region)


def _sum(table: PixelTable, circle: Region, inner: Region | None, outer: Region) -> Spectrum:
    """Return the sum over the area of a circle, less the mean of a ring."""
    ra, dec = table.sky()
    good = (table.dq == 0) & np.isfinite(table.data)
    lbda, data, stat = table.lbda.astype(np.float64), table.data.astype(np.float64), table.stat.astype(np.float64)
    low, step = np.floor(lbda[good].min()), SPECTRAL_STEP
    plane = ((lbda - low) / step).astype(np.int64)
    area = np.pi * circle.size_arcsec[0] ** 2 / np.prod(spaxel_size_arcsec(table.header))  # in spaxels

    def mean(inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n = int(plane[good].max()) + 1
        number = np.bincount(plane[inside], minlength=n)
        with np.errstate(invalid="ignore", divide="ignore"):
            values = np.bincount(plane[inside], data[inside], n) / number
            return values, np.bincount(plane[inside], stat[inside], n) / number**2.0

    values, variances = mean(good & circle.contains(ra, dec))
    if inner is not None:
        ring = good & outer.contains(ra, dec) & ~inner.contains(ra, dec)
        if not ring.any():
            raise DataError("quick look: found no rows in the ring around the source, expected some for the sky")
        values = values - mean(ring)[0]
    if not np.isfinite(values).any():
        raise DataError("quick look: found no good rows in the circle, expected some")
    wave = low + (np.arange(len(values)) + 0.5) * step
    title = f"{circle.ra_deg:.5f} {circle.dec_deg:+.5f}, {circle.size_arcsec[0]:g} arcsec"
    return Spectrum(wave, values * area, variances * area**2, table.data_unit, title)

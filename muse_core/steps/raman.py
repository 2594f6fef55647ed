# SPDX-License-Identifier: GPL-2.0-or-later
"""Raman cleaning: lines that the lasers' light excites in the air, spread smoothly over the field.

A fit in two narrow bands finds the strength of the lines of O2 and N2, and one shape over the field for both; lines of
all rows are then subtracted from ``data``. It runs in pixel positions, before the autocalibration. ``stat`` and ``dq``
do not change, and no keyword tells that it was done.

Not in here: the white-light images of the bands and their sky masks (see the resampling and the sky), and the selection
of rows by them. The rows of either band are selected by the masks of both bands, and by the SKY_MASK, if any.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from muse_core.cython_ext import raman as raman_kernels
from muse_core.errors import DataError, ParameterError
from muse_core.model import units
from muse_core.model.compat import OURS, Compat
from muse_core.model.lsf import LsfCubes
from muse_core.model.origin import IFU_SHIFT, SLICE_KEY_MASK, SLICE_MASK
from muse_core.model.raman import BANDS, RamanBand, RamanLines
from muse_core.model.record import record
from muse_core.model.skymask import SkyMask
from muse_core.steps.leastsquares import minimise
from muse_core.steps.order import slice_order
from muse_core.steps.sky.lsf import line_spectrum
from muse_core.steps.sky.subtract import slice_ranges

_LOG = logging.getLogger(__name__)

MIN_WIDTH = 2.61  # Angstrom; the width of the slit
N_SHAPE = 5
_POSITION_UNIT = 100.0  # pix; makes the columns of the linear model comparable


def check_width(width: float) -> None:
    """Check the width of the windows in Angstrom.

    Raises
    ------
    ParameterError
        If it is narrower than a line.
    """
    if not width >= MIN_WIDTH:
        raise ParameterError(f"parameter raman_width: found {width:g} Angstrom, expected at least {MIN_WIDTH:g}")


def is_covered(lbda_low: float, lbda_high: float) -> bool:
    """Whether wavelengths between these limits (Angstrom) can hold Raman lines."""
    return lbda_low <= BANDS[1].centre and lbda_high >= BANDS[0].centre


def in_band(lbda: np.ndarray, band: RamanBand, width: float) -> np.ndarray:
    """Whether wavelengths (float32, Angstrom) lie in the window of a band; both ends included."""
    lbda = np.asarray(lbda, np.float64)
    return (lbda >= band.centre - width / 2) & (lbda <= band.centre + width / 2)


@record
class RamanFit:
    """Result of the fit: S(x, y) = p0 x^2 + p1 x y + p2 y^2 + p3 x + p4 y + 1 times flux times line spectrum.

    Attributes
    ----------
    shape : ndarray of float64, shape (5,)
        p0...p4, positions in pix.
    flux : ndarray of float64, shape (2,)
        Factor of the lines of O2 and N2; 0 for a band without rows.
    cost : float
        Sum of the squared residuals.
    rounded : bool
        Whether the terms of S are rounded to single precision, as in the reference.
    """

    shape: np.ndarray
    flux: np.ndarray
    cost: float
    rounded: bool = False

    def total_flux(self, lines: RamanLines) -> np.ndarray:
        """Flux of all lines of each band at the field's centre in erg/s/cm2/arcsec2; float64, shape (2,)."""
        return np.array([f * lines.unit * lines.band(band)[1].sum() for band, f in zip(BANDS, self.flux, strict=True)])

    def image(self, grid: SkyMask) -> np.ndarray:
        """S at the pixels of an image with the size and the coordinates of `grid`; float32, shape (ny, nx)."""
        j, i = np.indices(grid.data.shape)
        dx, dy = i + 1 - grid.crpix[0], j + 1 - grid.crpix[1]
        x = grid.cd[0] * dx + grid.cd[1] * dy + grid.crval[0]
        y = grid.cd[2] * dx + grid.cd[3] * dy + grid.crval[1]
        p = self.shape
        found: np.ndarray = p[0] * x * x + p[1] * x * y + p[2] * y * y + p[3] * x + p[4] * y + 1.0
        return found.astype(np.float32)

    def qc_cards(self, lines: RamanLines) -> list[tuple[str, float | np.float32]]:
        """QC keywords without their prefix and values: `double` and `float` (numpy.float32)."""
        names = ("XX", "XY", "YY", "X", "Y")
        cards: list[tuple[str, float | np.float32]] = [
            (f"RAMAN SPATIAL {name}", float(p)) for name, p in zip(names, self.shape, strict=True)
        ]
        fluxes = zip(BANDS, self.total_flux(lines), strict=True)
        return cards + [(f"RAMAN FLUX {band.name}", np.float32(flux)) for band, flux in fluxes]


def _line_spectra(
    rows: np.ndarray, weighted_bands: Any, lines: RamanLines, lsf: LsfCubes, compat: Compat
) -> np.ndarray:
    """Spectrum of the lines at each row, shape (n,): sum over `weighted_bands`, pairs of a band and its factor."""
    spectrum = np.zeros(len(rows))
    for key, first, end in slice_ranges(rows):
        ifu, slice_number = key >> IFU_SHIFT, key & SLICE_MASK
        cube = lsf.get(ifu)
        image = cube.image(slice_number) if cube is not None else None
        if image is None:
            message = f"IFU {ifu}, slice {slice_number}: no LSF_PROFILE, Raman lines cannot be subtracted"
            if not compat.slice_without_lsf_ignored:
                raise DataError(message)
            _LOG.warning("%s", message)
            continue
        lbda = rows["lbda"][first:end].astype(np.float64)
        for band, factor in weighted_bands:
            line_lbda, line_flux = lines.band(band)
            spectrum[first:end] += line_spectrum(lbda, line_lbda, line_flux * factor, image, lone=True)
    return spectrum


def sort_by_slice(rows: np.ndarray) -> np.ndarray:
    """Rows (ndarray of ROW) in the order IFU, slice, wavelength, input order; `rows` themselves if they are."""
    keys, lbda = rows["origin"] & SLICE_KEY_MASK, rows["lbda"]
    ascending = (keys[1:] > keys[:-1]) | ((keys[1:] == keys[:-1]) & (lbda[1:] >= lbda[:-1]))
    return rows if ascending.all() else rows[slice_order(rows)]


def fit_raman(tables: Sequence[np.ndarray], lines: RamanLines, lsf: LsfCubes, compat: Compat = OURS) -> RamanFit:
    """Fit the strength of the lines in both bands and their shape over the field, by unweighted least squares.

    Each band has a constant background. The shape is not constrained, and nothing is clipped.

    Parameters
    ----------
    tables : sequence of two ndarray of ROW, shape (n,)
        Rows on the sky, without flags, in the windows of O2 and N2; of any order and number. Without any row nothing is
        to be subtracted.
    lines : RamanLines
        The lines.
    lsf : LsfCubes
        Line spread functions.
    compat : Compat
        ``raman_float32_fit``: minimise as the reference does, with a Jacobian that is mostly rounding noise, so that it
        stops somewhere on the way to the minimum, and depends on the order of the rows; same bits as the reference.
        Needs 72 bytes for each row.

    Returns
    -------
    RamanFit
        The minimum.

    Raises
    ------
    DataError
        If a slice has no LSF.

    Notes
    -----
    For each band the residuals are linear in the six products of flux and shape, so that moments of the rows hold all
    about them, and an iteration does not depend on the number of rows.
    """
    tables = [sort_by_slice(rows) for rows in tables]
    spectra = [_line_spectra(rows, [(band, 1.0)], lines, lsf, compat) for rows, band in zip(tables, BANDS, strict=True)]
    if not sum(len(rows) for rows in tables):
        _LOG.warning("Raman: no rows on the sky, nothing is subtracted")
        return RamanFit(np.zeros(N_SHAPE), np.zeros(len(BANDS)), 0.0)
    fit = (_fit_as_reference if compat.raman_float32_fit else _fit_moments)(tables, spectra)
    _LOG.info(
        "Raman: flux %g (O2), %g (N2), shape %s from %d rows",
        *fit.flux,
        " ".join(f"{p:.3g}" for p in fit.shape),
        sum(len(rows) for rows in tables),
    )
    return fit


def _fit_as_reference(tables: Sequence[np.ndarray], spectra: Sequence[np.ndarray]) -> RamanFit:
    ends = np.cumsum([len(rows) for rows in tables])

    def residuals(parameters: np.ndarray) -> np.ndarray:
        out = np.empty(ends[-1])
        for rows, spectrum, flux, end in zip(tables, spectra, parameters[N_SHAPE:], ends, strict=True):
            raman_kernels.residuals(rows, spectrum, parameters[:N_SHAPE], flux, True, out[end - len(rows) : end])
        return out

    minimum = minimise(residuals, np.zeros(N_SHAPE + len(BANDS)), int(ends[-1]))
    if not minimum.success:
        _LOG.warning("Raman: %s", minimum.message)
    return RamanFit(minimum.x[:N_SHAPE], minimum.x[N_SHAPE:], minimum.norm**2, rounded=True)


def _root_of_moments(rows: np.ndarray, spectrum: np.ndarray) -> np.ndarray:
    """Matrix R, shape (7, 7), with |R (flux * (1, p in units of positions), -1)|^2 the sum of the squared residuals."""
    gram = np.zeros((8, 8))
    if len(rows):
        raman_kernels.add_moments(rows, spectrum, _POSITION_UNIT, float(rows["data"][0]), gram)
        means = gram[:, 7] / gram[7, 7]
        gram -= gram[7, 7] * np.outer(means, means)
    gram = np.triu(gram[:7, :7]) + np.triu(gram[:7, :7], 1).T
    size = np.sqrt(np.maximum(np.diag(gram), np.finfo(float).tiny))
    values, vectors = np.linalg.eigh(gram / np.outer(size, size))
    root: np.ndarray = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T * size
    return root


def _fit_moments(tables: Sequence[np.ndarray], spectra: Sequence[np.ndarray]) -> RamanFit:
    from scipy.optimize import least_squares  # here, because its import takes longer than the recipe's

    roots = [_root_of_moments(rows, spectrum) for rows, spectrum in zip(tables, spectra, strict=True)]

    def residuals(parameters: np.ndarray) -> np.ndarray:
        shape = np.concatenate([[1.0], parameters[:N_SHAPE]])
        return np.concatenate(
            [r[:, :6] @ (f * shape) - r[:, 6] for r, f in zip(roots, parameters[N_SHAPE:], strict=True)]
        )

    def jacobian(parameters: np.ndarray) -> np.ndarray:
        shape = np.concatenate([[1.0], parameters[:N_SHAPE]])
        out = np.zeros((7 * len(roots), len(parameters)))
        for k, (root, flux) in enumerate(zip(roots, parameters[N_SHAPE:], strict=True)):
            out[7 * k : 7 * k + 7, :N_SHAPE] = flux * root[:, 1:6]
            out[7 * k : 7 * k + 7, N_SHAPE + k] = root[:, :6] @ shape
        return out

    found = [
        least_squares(residuals, start, jacobian, method="lm", x_scale="jac", ftol=1e-15, xtol=1e-15, gtol=1e-15)
        for start in _starts(roots)
    ]
    best = min(found, key=lambda result: result.cost)
    unit = np.array([_POSITION_UNIT**2] * 3 + [_POSITION_UNIT] * 2)
    return RamanFit(best.x[:N_SHAPE] / unit, best.x[N_SHAPE:], 2 * best.cost)


def _starts(roots: Any) -> Iterator[Any]:
    """Start values: a flat shape, and the shape that each band alone would have."""
    shapes = [np.zeros(N_SHAPE)]
    for root in roots:
        alone = np.linalg.lstsq(root[:, :6], root[:, 6], rcond=None)[0]
        if alone[0] != 0:
            shapes.append(alone[1:] / alone[0])
    for shape in shapes:
        columns = [root[:, :6] @ np.concatenate([[1.0], shape]) for root in roots]
        squares = [column @ column for column in columns]
        fluxes = [c @ root[:, 6] / s if s > 0 else 0.0 for c, s, root in zip(columns, squares, roots, strict=True)]
        yield np.concatenate([shape, fluxes])


def subtract_raman(rows: np.ndarray, fit: RamanFit, lines: RamanLines, lsf: LsfCubes, compat: Compat = OURS) -> None:
    """Subtract the Raman lines of both bands from ``data``, in place, whatever the flags.

    Parameters
    ----------
    rows : ndarray of ROW, shape (n,)
        Rows of whole slices in the order IFU, slice, wavelength, with positions in pix.
    fit : RamanFit
        Result of the fit.
    lines : RamanLines
        The lines.
    lsf : LsfCubes
        Line spread functions.

    Raises
    ------
    DataError
        If a slice has no LSF.
    """
    spectrum = _line_spectra(rows, list(zip(BANDS, fit.flux, strict=True)), lines, lsf, compat)
    raman_kernels.subtract(rows, spectrum, fit.shape, fit.rounded)


@record
class BandImage:
    """White-light image of a band (float32), its flags (int32), both of shape (ny, nx), and the sky mask from it."""

    image: np.ndarray
    dq: np.ndarray
    mask: SkyMask


@record
class Extension:
    """One image of the product RAMAN_IMAGES: EXTNAME, pixels, BUNIT, and the band whose image has its WCS."""

    name: str
    data: np.ndarray
    unit: str
    band: RamanBand


def raman_images(fit: RamanFit, lines: RamanLines, images: Mapping[RamanBand, BandImage]) -> list[Extension]:
    """Make the images of the product RAMAN_IMAGES, in its order.

    Parameters
    ----------
    fit : RamanFit
        Result of the fit.
    lines : RamanLines
        The lines.
    images : mapping
        Images of those bands that could be used, at least one.
    """
    bands = [band for band in BANDS if band in images]
    extensions = [Extension("DATA", fit.image(images[bands[0]].mask)[None], "", bands[0])]
    for band in bands:
        found = images[band]
        image = np.where(found.dq == 0, found.image, np.float32(np.nan))
        extensions.append(Extension(f"RAMAN_IMAGE_{band.name}", image, "", band))
        extensions.append(Extension(f"SKY_MASK_{band.name}", found.mask.data.astype(np.int32), "", band))
    for band in bands:
        total = np.float32(fit.total_flux(lines)[BANDS.index(band)])
        image = fit.image(images[band].mask) * total
        extensions.append(Extension(f"RAMAN_FIT_{band.name}", image, units.FLUX, band))
    return extensions

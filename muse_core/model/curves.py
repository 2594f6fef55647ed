# SPDX-License-Identifier: GPL-2.0-or-later
"""Calibration curves of wavelength and the list of offsets: arrays and flags, no files.

Wavelengths are air wavelengths in Angstrom. All curves are interpolated linearly between their nodes; what happens
outside of a curve is up to the step that uses it (`muse_core.steps.flux`). Kernels see curves as tables of intervals.
"""

import dataclasses

import numpy as np

from muse_core.errors import InputError


def _as_curve(where: str, minimum: int, **columns: np.ndarray) -> list[np.ndarray]:
    """Check columns of equal length with ascending finite wavelengths; the first column is the wavelength."""
    arrays = {name: np.ascontiguousarray(column, np.float64) for name, column in columns.items()}
    (first, lbda), *rest = arrays.items()
    if lbda.ndim != 1 or len(lbda) < minimum:
        raise InputError(f"{where}: column {first}: found shape {lbda.shape}, expected at least {minimum} rows")
    for name, column in rest:
        if column.shape != lbda.shape:
            raise InputError(f"{where}: column {name}: found shape {column.shape}, expected {lbda.shape} as {first}")
    if not np.isfinite(lbda).all():
        raise InputError(f"{where}: column {first}: found {np.count_nonzero(~np.isfinite(lbda))} values not finite")
    if (np.diff(lbda) <= 0).any():
        row = int(np.argmax(np.diff(lbda) <= 0)) + 1
        raise InputError(
            f"{where}: column {first}: found {lbda[row]:g} after {lbda[row - 1]:g} in row {row + 1}, "
            "expected strictly ascending wavelengths"
        )
    return list(arrays.values())


@dataclasses.dataclass(frozen=True, eq=False)
class ResponseCurve:
    """Response of telescope and instrument (STD_RESPONSE).

    Attributes
    ----------
    lbda : ndarray of float64, shape (n,)
        Wavelength in Angstrom, strictly ascending.
    response, error : ndarray of float64, shape (n,)
        2.5 log10 of (count / s / Angstrom) / (erg / s / cm2 / Angstrom), and its standard deviation.
    flat_field_corrected : bool
        Was it derived from pixel tables that were corrected by their flat-field spectra (``ESO DRS MUSE FLUX FFCORR``
        in its header)?
    mode : str, optional
        Instrument mode of the standard-star exposure, as `muse_core.model.header.instrument_mode` gives it; None if
        its header does not tell.
    where : str
        Names the source in error messages.

    Raises
    ------
    InputError
        If the arrays make no curve.
    """

    lbda: np.ndarray
    response: np.ndarray
    error: np.ndarray
    flat_field_corrected: bool = False
    mode: str | None = None
    where: str = "STD_RESPONSE"

    def __post_init__(self) -> None:
        arrays = _as_curve(self.where, 1, **{"lambda": self.lbda, "response": self.response, "resperr": self.error})
        for name, array in zip(("lbda", "response", "error"), arrays, strict=True):
            object.__setattr__(self, name, array)


@dataclasses.dataclass(frozen=True, eq=False)
class ExtinctionCurve:
    """Atmospheric extinction (EXTINCT_TABLE).

    Attributes
    ----------
    lbda : ndarray of float64, shape (n,)
        Wavelength in Angstrom, strictly ascending.
    extinction : ndarray of float64, shape (n,)
        Extinction in magnitudes per airmass.
    where : str
        Names the source in error messages.

    Raises
    ------
    InputError
        If the arrays make no curve.
    """

    lbda: np.ndarray
    extinction: np.ndarray
    where: str = "EXTINCT_TABLE"

    def __post_init__(self) -> None:
        arrays = _as_curve(self.where, 1, **{"lambda": self.lbda, "extinction": self.extinction})
        for name, array in zip(("lbda", "extinction"), arrays, strict=True):
            object.__setattr__(self, name, array)


@dataclasses.dataclass(frozen=True, eq=False)
class TelluricCurve:
    """Telluric transmission at airmass 1 (STD_TELLURIC).

    Attributes
    ----------
    lbda : ndarray of float64, shape (n,)
        Wavelength in Angstrom, strictly ascending.
    transmission, error : ndarray of float64, shape (n,)
        Transmission (1: no absorption) and its standard deviation.
    flat_field_corrected : bool
        As for `ResponseCurve`.
    where : str
        Names the source in error messages.

    Raises
    ------
    InputError
        If the arrays make no curve.
    """

    lbda: np.ndarray
    transmission: np.ndarray
    error: np.ndarray
    flat_field_corrected: bool = False
    where: str = "STD_TELLURIC"

    def __post_init__(self) -> None:
        columns = {"lambda": self.lbda, "ftelluric": self.transmission, "ftellerr": self.error}
        for name, array in zip(("lbda", "transmission", "error"), _as_curve(self.where, 1, **columns), strict=True):
            object.__setattr__(self, name, array)


@dataclasses.dataclass(frozen=True, eq=False)
class OffsetList:
    """Offsets of pointing and flux of exposures (OFFSET_LIST).

    Attributes
    ----------
    date_obs : tuple of str
        DATE-OBS of each exposure.
    ra_offset, dec_offset : ndarray of float64, shape (n,)
        What to subtract from RA and DEC of the header, in degrees of coordinate; NaN: none.
    flux_scale : ndarray of float64, shape (n,), optional
        Factors on the data; NaN or 0: none.
    where : str
        Names the source in error messages.

    Raises
    ------
    InputError
        If the columns differ in length.
    """

    date_obs: tuple[str, ...]
    ra_offset: np.ndarray
    dec_offset: np.ndarray
    flux_scale: np.ndarray | None = None
    where: str = "OFFSET_LIST"

    def __post_init__(self) -> None:
        for name, column in (
            ("RA_OFFSET", "ra_offset"),
            ("DEC_OFFSET", "dec_offset"),
            ("FLUX_SCALE", "flux_scale"),
        ):
            value = getattr(self, column)
            if value is None and column == "flux_scale":
                continue
            value = np.ascontiguousarray(value, np.float64)
            if value.shape != (len(self.date_obs),):
                raise InputError(
                    f"{self.where}: column {name}: found shape {value.shape}, expected {len(self.date_obs)} rows as "
                    "DATE_OBS"
                )
            object.__setattr__(self, column, value)


def segments(nodes: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return, for each start of an interval, the segment of a curve that it is in, and whether it is inside.

    Parameters
    ----------
    nodes : ndarray of float64, shape (n_nodes,)
        Wavelengths of the curve, ascending.
    starts : ndarray of float64, shape (n,)
        Lower ends of intervals that no node cuts.

    Returns
    -------
    index : ndarray of int, shape (n,)
        First node of the segment.
    other : ndarray of int, shape (n,)
        Second node of the segment, the same at the end of the curve.
    inside : ndarray of bool, shape (n,)
        Is the interval in the range of the curve? Both ends belong to it.
    """
    index = np.searchsorted(nodes, starts, side="right") - 1
    inside = (index >= 0) & ((index < len(nodes) - 1) | (starts == nodes[-1]))
    index = np.clip(index, 0, len(nodes) - 1)
    return index, np.minimum(index + 1, len(nodes) - 1), inside


def interval_starts(*curves: np.ndarray) -> np.ndarray:
    """Return the ends of intervals that no node of the curves cuts, from -inf to inf.

    The last node of a curve gets an interval of its own, of no width in float32, because it belongs to the curve.
    """
    after = [np.nextafter(nodes[-1], np.inf) for nodes in curves]
    starts = np.sort(np.concatenate([*curves, after]))
    return np.concatenate([[-np.inf], starts[np.append(True, np.diff(starts) > 0)], [np.inf]])

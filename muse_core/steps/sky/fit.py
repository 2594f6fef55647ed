# SPDX-License-Identifier: GPL-2.0-or-later
"""Fit of a line list to the sky spectrum: one strength for each group of lines, and a linear wavelength correction.

The spectrum includes the continuum and the model does not; the fit compares the differences of neighbouring bins.
"""

import abc
import dataclasses
import logging

import numpy as np

from muse_core.errors import DataError
from muse_core.model.compat import OURS, Compat
from muse_core.model.facts import tell
from muse_core.model.lsf import HermiteProfile, LsfImage
from muse_core.model.record import record
from muse_core.model.skylines import SkyLines
from muse_core.model.spectrum import Spectrum
from muse_core.steps import leastsquares
from muse_core.steps.sky.lsf import hermite_spectrum, line_spectrum

_LOG = logging.getLogger(__name__)

MARGIN = 5.0  # Angstrom; lines this far outside the spectrum still reach into it
PIVOT = 7000.0  # Angstrom, where the slope of the wavelength correction has no effect
FAINTEST = 1e-4  # of the strongest line; fainter lines are left out of the fit
START_STRENGTH = 0.1
HALF_WINDOW = 3.0  # Angstrom; what a line is looked for in, to each side
NOTABLE_SHIFT = 0.5  # Angstrom; the instrument's wavelengths are better by far


@record
class LineFit:
    """Result of `fit_lines`.

    Attributes
    ----------
    lines : SkyLines
        Fitted lines, brightest first.
    minimum : leastsquares.Minimum
        How the fit ended.
    """

    lines: SkyLines
    minimum: leastsquares.Minimum

    @property
    def success(self) -> bool:
        """Did the fit converge? If not, wavelengths are those of the input."""
        return self.minimum.success


def difference_noise(stat: np.ndarray) -> np.ndarray:
    """Noise of the differences of neighbouring bins, and 1 where the variance is not positive."""
    variance = stat[:-1] + stat[1:]
    return np.sqrt(np.where(variance > 0, variance, 1.0))


class _LineModel(abc.ABC):
    """Lines with strengths of groups, and parameters of their positions or profile, compared with a spectrum.

    The first parameters are the square roots of the strengths of the groups.
    """

    def __init__(self, spectrum: Spectrum, lines: SkyLines):
        self.spectrum = spectrum
        self.lines = lines
        self.noise = difference_noise(spectrum.stat)

    @abc.abstractmethod
    def start(self) -> np.ndarray:
        """Start values."""

    @abc.abstractmethod
    def line_spectrum(self, kept: np.ndarray, flux: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Spectrum of the lines `kept`, of the fluxes `flux`."""

    def fluxes(self, parameters: np.ndarray) -> np.ndarray:
        strength = parameters[self.lines.group]
        fluxes: np.ndarray = self.lines.flux * (strength * strength)
        return fluxes

    def spectrum_of(self, parameters: np.ndarray) -> np.ndarray:
        flux = self.fluxes(parameters)
        kept = flux >= FAINTEST * flux.max()
        return self.line_spectrum(kept, flux[kept], parameters)

    def residuals(self, parameters: np.ndarray) -> np.ndarray:
        difference = self.spectrum_of(parameters) - self.spectrum.data
        return self.in_noise(difference[1:] - difference[:-1])

    def in_noise(self, difference: np.ndarray) -> np.ndarray:
        """Differences of neighbouring bins in units of their noise."""
        quotient: np.ndarray = difference / self.noise
        return quotient

    def window(self, row: int, half_width: float) -> slice:
        """Bins around line `row`."""
        lbda, centre = self.spectrum.lbda, self.lines.lbda[row]
        return slice(_last_at_or_below(lbda, centre - half_width), _last_at_or_below(lbda, centre + half_width) + 1)


class _ImageModel(_LineModel):
    """Lines through an LSF image; the last parameters are slope and offset of the wavelengths."""

    def __init__(self, spectrum: Spectrum, lines: SkyLines, image: LsfImage):
        super().__init__(spectrum, lines)
        self.image = image
        self.weight = 1 / self.noise

    def in_noise(self, difference: np.ndarray) -> np.ndarray:
        return difference * self.weight  # as the reference does here: a quotient has another last bit

    def wavelengths(self, parameters: np.ndarray) -> np.ndarray:
        slope, offset = parameters[-2:]
        moved: np.ndarray = self.lines.lbda * (1 + slope) + (offset - PIVOT * slope)
        return moved

    def line_spectrum(self, kept: np.ndarray, flux: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        return line_spectrum(self.spectrum.lbda, self.wavelengths(parameters)[kept], flux, self.image)

    def start(self) -> np.ndarray:
        """Strengths from the flux around the strongest line of each group."""
        n_groups = self.lines.n_groups
        parameters = np.zeros(n_groups + 2)
        parameters[:n_groups] = START_STRENGTH
        model = self.spectrum_of(parameters)
        for group, row in enumerate(self.lines.strongest_of_groups()):
            window = self.window(row, HALF_WINDOW)
            data = self.spectrum.data[window]
            background = (data[0] + data[-1]) / 2
            observed = _sum(np.maximum(data - background, 0))
            expected = _sum(model[window])
            if expected > 0:
                parameters[group] *= np.sqrt(observed / expected)
        return parameters


class _HermiteModel(_LineModel):
    """Lines through a parametrised LSF that is fitted as well.

    After the strengths come offset and refraction, which do nothing, three coefficients of the width, and four Hermite
    terms.
    """

    N_PROFILE = 9

    def profile(self, parameters: np.ndarray) -> HermiteProfile:
        *_, w0, w1, w2, h3, h4, h5, h6 = parameters
        terms = np.array([h3]), np.array([h4]), np.array([h5]), np.array([h6])
        return HermiteProfile(np.array([w0, w1, w2]), terms, slit_width=2.61, bin_width=1.25)

    def line_spectrum(self, kept: np.ndarray, flux: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        return hermite_spectrum(self.spectrum.lbda, self.lines.lbda[kept], flux, self.profile(parameters))

    def start(self) -> np.ndarray:
        """Strengths from the flux around the strongest line of each group, in three rounds."""
        n_groups = self.lines.n_groups
        parameters = np.zeros(n_groups + self.N_PROFILE)
        parameters[:n_groups] = START_STRENGTH
        parameters[n_groups + 2] = 1.0  # Angstrom
        strongest = self.lines.strongest_of_groups()
        for _ in range(3):
            model = self.spectrum_of(parameters)
            shifts = []
            for group, row in enumerate(strongest):
                window = self.window(row, 2.0)
                lbda, data, expected = self.spectrum.lbda[window], self.spectrum.data[window], model[window]
                total, total_expected = _sum(data), _sum(expected)
                if total_expected > 0 and total > 0:
                    parameters[group] *= np.sqrt(total / total_expected)
                    shifts.append(_sum(lbda * data) / total - _sum(lbda * expected) / total_expected)
            parameters[n_groups] += sum(shifts) / len(shifts) if shifts else 0.0
        return parameters


def _sum(values: np.ndarray) -> float:
    """Sum one by one, as the reference does and numpy's sum does not."""
    total: float = np.cumsum(values)[-1]
    return total


def _last_at_or_below(ascending: np.ndarray, value: float) -> int:
    return max(int(np.searchsorted(ascending, value, side="right")) - 1, 0)


def judge_shift(shift: np.ndarray, lines: SkyLines, compat: Compat) -> None:
    """Warn of a fit that has moved lines by `shift`, in Angstrom; refuse one that has moved them to where others are.

    Raises
    ------
    DataError
        See `fit_lines`.
    """
    worst = int(np.argmax(np.abs(shift)))
    size = abs(float(shift[worst]))
    if size <= NOTABLE_SHIFT:
        return
    message = f"sky line fit: the line at {lines.lbda[worst]:.2f} Angstrom was moved by {shift[worst]:+.2f} Angstrom"
    if size > HALF_WINDOW and not compat.shifted_lines_used:
        raise DataError(
            f"{message}, expected at most {HALF_WINDOW:g}: other lines were taken for it; are the wavelengths of the "
            "pixel tables and of SKY_LINES in air, LSF_PROFILE that of these data, and enough lines bright in their "
            "range? skymethod=simple needs none of them"
        )
    _LOG.warning("%s, expected less than %g; expect residuals of sky lines", message, NOTABLE_SHIFT)


def fit_lines(spectrum: Spectrum, lines: SkyLines, image: LsfImage | None = None, compat: Compat = OURS) -> LineFit:
    """Fit the strengths of groups of lines to the sky spectrum.

    Parameters
    ----------
    spectrum : Spectrum
        Sky spectrum.
    lines : SkyLines
        List of lines; those outside the range of the spectrum are left out, the groups renumbered.
    image : LsfImage, optional
        Average LSF, folded with the bin of the spectrum; a wavelength correction common to all lines is fitted too.
        None: the parameters of a profile are fitted, and wavelengths are not corrected.
    compat : Compat
        ``shifted_lines_used``: lines may move by any distance.

    Raises
    ------
    DataError
        The fit has moved lines by more than half of the window that they are looked for in.

    Returns
    -------
    LineFit
        Fluxes are those of the last parameters, whether the fit converged or not; wavelengths are corrected only if it
        did. A fit that fails is reported in one warning, and is no error.

    Notes
    -----
    It agrees with the ESO recipe 2.8.7 to the last bit of flux and wavelength for the same spectrum
    (tests/parity/test_sky.py).
    """
    lines = lines.restricted(spectrum.lbda[0] - MARGIN, spectrum.lbda[-1] + MARGIN)
    if not len(lines):
        _LOG.warning(
            "sky line fit: SKY_LINES has no line between %.1f and %.1f Angstrom; no line is subtracted",
            spectrum.lbda[0],
            spectrum.lbda[-1],
        )
        return LineFit(lines, leastsquares.Minimum(np.zeros(2), 0, 0, np.nan))
    model = _HermiteModel(spectrum, lines) if image is None else _ImageModel(spectrum, lines, image)
    minimum = leastsquares.minimise(model.residuals, model.start(), len(spectrum) - 1)
    lbda = lines.lbda
    if not minimum.success:
        _LOG.warning(
            "sky line fit failed (%s): lines are subtracted with the last fluxes and uncorrected wavelengths, expect "
            "residuals of sky lines",
            minimum.message,
        )
    elif isinstance(model, _ImageModel):
        lbda = model.wavelengths(minimum.x)
    shift = lbda - lines.lbda
    # those beyond, of which only the wings are seen, say nothing
    inside = np.flatnonzero((lines.lbda >= spectrum.lbda[0]) & (lines.lbda <= spectrum.lbda[-1]))
    if len(inside):
        judge_shift(shift[inside], lines.take(inside), compat)
    tell(
        _LOG,
        "sky line fit: %d lines in %d groups, shifted by %.4f to %.4f Angstrom",
        len(lines),
        lines.n_groups,
        shift.min(),
        shift.max(),
        line_shift_min=float(shift.min()),
        line_shift_max=float(shift.max()),
        line_fit_converged=bool(minimum.success),
    )
    _LOG.debug("sky line fit: %d evaluations (%s)", minimum.n_calls, minimum.message)
    fitted = dataclasses.replace(lines, lbda=lbda, flux=model.fluxes(minimum.x))
    return LineFit(fitted.take(np.argsort(-fitted.flux, kind="stable")), minimum)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Fit of a line list to the sky spectrum: one strength for each group of lines, and a linear wavelength correction.

The spectrum includes the continuum and the model does not; the fit compares the differences of neighbouring bins.
"""

import dataclasses
import logging

import numpy as np

from muse_core.model.lsf import LsfImage
from muse_core.model.skylines import SkyLines
from muse_core.model.spectrum import Spectrum
from muse_core.steps.sky import lmdif
from muse_core.steps.sky.lsf import line_spectrum

log = logging.getLogger(__name__)

MARGIN = 5.0  # Angstrom; lines this far outside the spectrum still reach into it
PIVOT = 7000.0  # Angstrom, where the slope of the wavelength correction has no effect
FAINTEST = 1e-4  # of the strongest line; fainter lines are left out of the fit
START_STRENGTH = 0.1
START_WINDOW = 3.0  # Angstrom


@dataclasses.dataclass(frozen=True, slots=True)
class LineFit:
    """Result of `fit_lines`.

    Attributes
    ----------
    lines : SkyLines
        Fitted lines, brightest first.
    minimum : lmdif.Minimum
        How the fit ended.
    """

    lines: SkyLines
    minimum: lmdif.Minimum

    @property
    def success(self) -> bool:
        """Did the fit converge? If not, wavelengths are those of the input."""
        return self.minimum.success


def difference_weights(stat: np.ndarray) -> np.ndarray:
    """Weights of the differences of neighbouring bins: 1 / sigma, and 1 where the variance is not positive."""
    variance = stat[:-1] + stat[1:]
    valid = variance > 0
    return np.where(valid, 1 / np.sqrt(np.where(valid, variance, 1.0)), 1.0)


class _LineModel:
    """Lines scaled and shifted by fit parameters: square roots of the strengths of the groups, slope, offset."""

    def __init__(self, spectrum: Spectrum, lines: SkyLines, image: LsfImage):
        self.spectrum = spectrum
        self.lines = lines
        self.image = image
        self.weight = difference_weights(spectrum.stat)

    def wavelengths(self, parameters: np.ndarray) -> np.ndarray:
        slope, offset = parameters[-2:]
        return self.lines.lbda * (1 + slope) + (offset - PIVOT * slope)

    def fluxes(self, parameters: np.ndarray) -> np.ndarray:
        strength = parameters[self.lines.group]
        return self.lines.flux * (strength * strength)

    def spectrum_of(self, parameters: np.ndarray) -> np.ndarray:
        flux = self.fluxes(parameters)
        kept = flux >= FAINTEST * flux.max()
        return line_spectrum(self.spectrum.lbda, self.wavelengths(parameters)[kept], flux[kept], self.image)

    def residuals(self, parameters: np.ndarray) -> np.ndarray:
        difference = self.spectrum_of(parameters) - self.spectrum.data
        return (difference[1:] - difference[:-1]) * self.weight

    def start(self) -> np.ndarray:
        """Strengths from the flux around the strongest line of each group."""
        n_groups = self.lines.n_groups
        parameters = np.zeros(n_groups + 2)
        parameters[:n_groups] = START_STRENGTH
        model = self.spectrum_of(parameters)
        lbda, data = self.spectrum.lbda, self.spectrum.data
        for group, row in enumerate(self.lines.strongest_of_groups()):
            centre = self.lines.lbda[row]
            first = _last_at_or_below(lbda, centre - START_WINDOW)
            last = _last_at_or_below(lbda, centre + START_WINDOW)
            background = (data[first] + data[last]) / 2
            window = slice(first, last + 1)
            # cumsum adds one by one, sum does not
            observed = np.cumsum(np.maximum(data[window] - background, 0))[-1]
            expected = np.cumsum(model[window])[-1]
            if expected > 0:
                parameters[group] *= np.sqrt(observed / expected)
        return parameters


def _last_at_or_below(ascending: np.ndarray, value: float) -> int:
    return max(int(np.searchsorted(ascending, value, side="right")) - 1, 0)


def fit_lines(spectrum: Spectrum, lines: SkyLines, image: LsfImage) -> LineFit:
    """Fit the strengths of groups of lines, and a wavelength correction common to all, to the sky spectrum.

    Parameters
    ----------
    spectrum : Spectrum
        Sky spectrum.
    lines : SkyLines
        List of lines; those outside the range of the spectrum are left out, the groups renumbered.
    image : LsfImage
        Average LSF, folded with the bin of the spectrum.

    Returns
    -------
    LineFit
        Fluxes are those of the last parameters, whether the fit converged or not; wavelengths are corrected only if it
        did. A fit that fails is reported in one warning, and is no error.

    Notes
    -----
    Agrees with the ESO recipe 2.8.7 to the last bit of flux and wavelength for the same spectrum
    (tests/parity/test_sky.py).
    """
    lines = lines.restricted(spectrum.lbda[0] - MARGIN, spectrum.lbda[-1] + MARGIN)
    if not len(lines):
        log.warning(
            "sky line fit: SKY_LINES has no line between %.1f and %.1f Angstrom; no line is subtracted",
            spectrum.lbda[0],
            spectrum.lbda[-1],
        )
        return LineFit(lines, lmdif.Minimum(np.zeros(2), 0, 0, np.nan))
    model = _LineModel(spectrum, lines, image)
    minimum = lmdif.minimise(model.residuals, model.start(), len(spectrum) - 1)
    slope, offset = minimum.x[-2:]
    if minimum.success:
        log.info(
            "sky line fit: %d lines in %d groups, shift %.4f Angstrom at %.0f Angstrom, slope %.3g, %d calls (%s)",
            len(lines),
            lines.n_groups,
            offset,
            PIVOT,
            slope,
            minimum.n_calls,
            minimum.message,
        )
    else:
        log.warning(
            "sky line fit failed (%s): lines are subtracted with the last fluxes and uncorrected wavelengths, expect "
            "residuals of sky lines",
            minimum.message,
        )
    lbda = model.wavelengths(minimum.x) if minimum.success else lines.lbda
    fitted = dataclasses.replace(lines, lbda=lbda, flux=model.fluxes(minimum.x))
    return LineFit(fitted.take(np.argsort(-fitted.flux, kind="stable")), minimum)

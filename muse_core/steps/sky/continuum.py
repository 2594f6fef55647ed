# SPDX-License-Identifier: GPL-2.0-or-later
"""The sky continuum: what is left of the sky spectrum without its lines."""

import numpy as np

from muse_core.cython_ext import sky_lines as sky_lines_kernels
from muse_core.errors import DataError
from muse_core.model.lsf import LsfImage
from muse_core.model.skylines import SkyLines
from muse_core.model.spectrum import Continuum, Spectrum
from muse_core.steps.sky.lsf import line_spectrum


def create_continuum(spectrum: Spectrum, lines: SkyLines, image: LsfImage, step: float) -> Continuum:
    """Subtract fitted lines from the sky spectrum and sample the rest in equal steps.

    Parameters
    ----------
    spectrum : Spectrum
        Sky spectrum.
    lines : SkyLines
        Fitted lines.
    image : LsfImage
        Average LSF, folded with the bin of the spectrum.
    step : float
        Step of the continuum in Angstrom (``skymodel_csampling``).

    Returns
    -------
    Continuum
        From the first wavelength of the spectrum. It ends one step before its last wavelength, as in the ESO pipeline;
        pixel tables are cut to this range when it is subtracted.

    Raises
    ------
    DataError
        If the spectrum is shorter than one step.
    """
    rest = -(line_spectrum(spectrum.lbda, lines.lbda, lines.flux, image) - spectrum.data)
    lo, hi = spectrum.lbda[0], spectrum.lbda[-1]
    n = int((hi - lo) / step)
    if n < 1:
        raise DataError(
            f"sky continuum: the sky spectrum covers {lo:.2f} to {hi:.2f} Angstrom, "
            f"less than skymodel_csampling = {step} Angstrom"
        )
    lbda = lo + np.arange(n) * step
    flux = np.empty(n)
    sky_lines_kernels.interpolate(lbda, spectrum.lbda, rest, flux)
    return Continuum(lbda, flux)


def continuum_of_spectrum(spectrum: Spectrum) -> Continuum:
    """Take the sky spectrum itself, lines included (method ``simple``)."""
    return Continuum(spectrum.lbda, spectrum.data)

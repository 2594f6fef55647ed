# SPDX-License-Identifier: GPL-2.0-or-later
"""What a perfect reduction of a simulated exposure would find: spectra and images without noise.

Fluxes are those that a flux-calibrated product should have, in 1e-20 erg/s/cm2/Angstrom (sources: sum over the source;
sky and images: per nominal spaxel), before the radial-velocity correction. Sources and sky come out `Truth.level` times
brighter: the flux scale of an exposure is that of its lowest IFU, times the transparency.
"""

import numpy as np

from muse_core.model.record import record
from muse_core.simulate import instrument
from muse_core.simulate.exposure import ExposureSpec
from muse_core.simulate.pointing import gnomonic
from muse_core.simulate.source import Seeing, Source

_STEP = 0.03125  # Angstrom


@record
class Truth:
    """The truth about an exposure.

    Attributes
    ----------
    spec : ExposureSpec
        The exposure.
    """

    spec: ExposureSpec

    @property
    def level(self) -> float:
        """Factor by which reduced fluxes are above the true ones."""
        return self.spec.transparency * instrument.ifu_level(min(self.spec.ifus))

    @property
    def sky_lines(self) -> np.ndarray:
        """Lines of the sky as an array of `muse_core.simulate.sky.LINE`, fluxes per spaxel."""
        made = self.spec.sky()
        lines = made.lines.copy()
        lines["flux"] *= made.scale
        return lines

    def sky_continuum(self, lbda) -> np.ndarray:
        """Continuum of the sky at wavelengths in Angstrom."""
        return self.spec.sky().continuum(lbda)

    def sky_spectrum(self, lbda, ifu: int, slice_number: int) -> np.ndarray:
        """Continuum and lines of the sky as a slice sees them, at ascending wavelengths in Angstrom."""
        lsf = instrument.slice_lsf(ifu, slice_number)
        made = self.spec.sky()
        return made.continuum(lbda) + self._resampled(lbda, lambda first, n: made.sampled_lines(first, _STEP, n, lsf))

    def source_spectrum(self, source: Source, lbda, ifu: int = 1, slice_number: int = 1) -> np.ndarray:
        """Spectrum of a whole source as a slice sees it, at ascending wavelengths in Angstrom."""
        lsf = instrument.slice_lsf(ifu, slice_number)
        return self._resampled(lbda, lambda first, n: source.sampled(first, _STEP, n, lsf))

    def source_position(self, source: Source) -> tuple[float, float]:
        """Right ascension and declination of a source in degrees."""
        return source.position(self.spec.ra_deg, self.spec.dec_deg)

    def image(self, ra_deg, dec_deg, lbda: float = 7000.0) -> np.ndarray:
        """Continuum of all sources per nominal spaxel at positions on the sky; no emission lines.

        Parameters
        ----------
        ra_deg, dec_deg : ndarray
            Positions in degrees.
        lbda : float
            Wavelength in Angstrom; without refraction, which a reduction takes out.
        """
        target = (self.spec.ra_deg, self.spec.dec_deg)
        return self._image(np.stack(gnomonic(ra_deg, dec_deg, *target)), target, lbda)

    def image_in_pixels(self, x, y, lbda: float = 7000.0) -> np.ndarray:
        """The same at positions in nominal spaxels of the refraction-corrected pixel table."""
        pointing = self.spec.pointing()
        x0, y0 = pointing.pixel(pointing.ra_deg, pointing.dec_deg, 7000.0)
        plane = np.einsum("ij,j...->i...", pointing.matrix(), np.stack([x - x0, y - y0]))
        return self._image(plane, (pointing.ra_deg, pointing.dec_deg), lbda)

    def _image(self, plane_deg, tangent_deg, lbda: float) -> np.ndarray:
        """Image at tangent plane coordinates; axes of the field of view are needed for ellipses."""
        pointing = self.spec.pointing()
        seeing = Seeing.of_mode(pointing.mode, self.spec.seeing)
        inverse = np.linalg.inv(pointing.matrix())
        sx, sy = pointing.mode.spaxel_arcsec
        image = np.zeros(plane_deg.shape[1:])
        for source in self.spec.all_sources:
            east, north = gnomonic(*self.source_position(source), *tangent_deg)
            dx, dy = np.einsum(
                "ij,j...->i...", inverse, plane_deg - np.reshape([east, north], (2,) + (1,) * image.ndim)
            )
            density = seeing.image(source, dx * sx, dy * sy, lbda)
            image += density * sx * sy * source.flux * (lbda / 7000.0) ** source.slope
        return image

    @staticmethod
    def _resampled(lbda, sampled) -> np.ndarray:
        lbda = np.asarray(lbda, float)
        first = float(lbda.min()) - 1.0
        n = int((float(lbda.max()) + 1.0 - first) / _STEP) + 2
        return np.interp(lbda, first + _STEP * np.arange(n), sampled(first, n))

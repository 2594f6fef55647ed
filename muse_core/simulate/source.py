# SPDX-License-Identifier: GPL-2.0-or-later
"""Sources of the synthetic sky: point sources and galaxies with a power-law continuum and emission lines.

A galaxy is an elliptical Moffat profile whose width is the quadratic sum of its own and of the seeing; a point source
in the narrow field has a core and a halo. Wavelengths are those seen at the telescope (no radial velocity of the
observer is put in). Fluxes are totals outside the atmosphere.

Not modelled: resolved kinematics or colour gradients, absorption lines, wings beyond ten times the width.
"""

import math

import numpy as np

from muse_core.model.record import record
from muse_core.simulate.instrument import Lsf, Mode
from muse_core.simulate.pointing import offset_position
from muse_core.simulate.sky import LINE, add_lines

REACH = 10.0  # in units of the full width at half maximum: beyond it a source has no light


@record(kw_only=True)
class Source:
    """One source.

    Attributes
    ----------
    name : str
        For messages and tables.
    east_arcsec, north_arcsec : float
        Offset on the tangent plane from the target position of the exposure.
    flux : float
        Continuum at 7000 Angstrom in 1e-20 erg/s/cm2/Angstrom, sum over the source.
    slope : float
        Exponent of the continuum as a power of the wavelength.
    fwhm_arcsec : float
        Full width at half maximum of the source itself; 0 is a point source.
    axis_ratio : float
        Minor over major axis.
    angle_deg : float
        Angle of the major axis from the x axis of the field of view towards y.
    lines : tuple of (wavelength, flux, sigma)
        Emission lines: Angstrom, 1e-20 erg/s/cm2, intrinsic standard deviation in Angstrom.
    """

    name: str
    east_arcsec: float
    north_arcsec: float
    flux: float
    slope: float = 0.0
    fwhm_arcsec: float = 0.0
    axis_ratio: float = 1.0
    angle_deg: float = 0.0
    lines: tuple[tuple[float, float, float], ...] = ()

    def position(self, ra_deg: float, dec_deg: float) -> tuple[float, float]:
        """Right ascension and declination in degrees, for a target at `ra_deg`, `dec_deg`."""
        return offset_position(ra_deg, dec_deg, self.east_arcsec, self.north_arcsec)

    def sampled(self, first: float, step: float, n: int, lsf: Lsf) -> np.ndarray:
        """Spectrum through a line spread function, at ``first + step * arange(n)``, as float64 of shape (n,)."""
        spectrum = self.flux * ((first + step * np.arange(n)) / 7000.0) ** self.slope
        for lbda, flux, sigma in self.lines:
            add_lines(spectrum, first, step, np.array([("", 0, lbda, flux)], LINE), lsf, sigma)
        return spectrum


@record
class Seeing:
    """Point spread function of an exposure: the sum of Moffat profiles.

    Attributes
    ----------
    components : tuple of (weight, fwhm_arcsec, beta)
        Weight of the flux, full width at half maximum at 7000 Angstrom, exponent.
    """

    components: tuple[tuple[float, float, float], ...]

    @classmethod
    def of_mode(cls, mode: Mode, fwhm_arcsec: float) -> "Seeing":
        """Seeing of `fwhm_arcsec`: one Moffat profile, or core and halo in the narrow field."""
        if mode.is_nfm:
            return cls(((0.6, 0.08, 2.2), (0.4, fwhm_arcsec, 2.8)))
        return cls(((1.0, fwhm_arcsec, 2.6),))

    def reach_arcsec(self, source: Source) -> float:
        """Distance beyond which a source has no light."""
        return REACH * math.hypot(max(c[1] for c in self.components), source.fwhm_arcsec)

    def image(self, source: Source, dx_arcsec, dy_arcsec, lbda):
        """Part of the flux of a source per square arcsec.

        Parameters
        ----------
        source : Source
            Gives the width and the ellipse.
        dx_arcsec, dy_arcsec : ndarray
            Distance from the source along the axes of the field of view.
        lbda : ndarray
            Wavelength in Angstrom, of a shape that broadcasts with them: the seeing goes as its power -0.2.

        Returns
        -------
        ndarray of float64
        """
        angle = math.radians(source.angle_deg)
        along = dx_arcsec * math.cos(angle) + dy_arcsec * math.sin(angle)
        across = (dy_arcsec * math.cos(angle) - dx_arcsec * math.sin(angle)) / source.axis_ratio
        radius2 = along**2 + across**2
        image = 0.0
        for weight, fwhm, beta in self.components:
            width2 = (fwhm * (lbda / 7000.0) ** -0.2) ** 2 + source.fwhm_arcsec**2
            alpha2 = width2 / (4 * (2 ** (1 / beta) - 1))
            peak = weight * (beta - 1) / (math.pi * alpha2 * source.axis_ratio)
            image = image + peak * (1 + radius2 / alpha2) ** -beta
        return np.where(radius2 < self.reach_arcsec(source) ** 2, image, 0.0)


def default_sources(mode: Mode, seed: int = 1) -> tuple[Source, ...]:
    """Return a field: a bright star near the centre, a second star, and galaxies with emission lines."""
    rng = np.random.default_rng([seed, 2])
    size = 4.0 if mode.is_nfm else 30.0
    stars = (
        Source(name="star", east_arcsec=0.05 * size, north_arcsec=-0.02 * size, flux=40000.0, slope=-1.0),
        Source(name="star B", east_arcsec=-0.4 * size, north_arcsec=0.03 * size, flux=9000.0, slope=1.5),
    )
    if mode.is_nfm:
        return stars
    galaxies = []
    for i in range(14):
        z = rng.uniform(0.02, 0.4)
        strength = rng.uniform(300, 2500)
        galaxies.append(
            Source(
                name=f"galaxy {i + 1}",
                east_arcsec=rng.uniform(-0.95, 0.95) * size,
                north_arcsec=rng.uniform(-0.95, 0.95) * size,
                flux=10 ** rng.uniform(2.3, 3.6),
                slope=rng.uniform(-1, 1),
                fwhm_arcsec=rng.uniform(0.3, 1.6),
                axis_ratio=rng.uniform(0.4, 1),
                angle_deg=rng.uniform(0, 180),
                lines=tuple(
                    (rest * (1 + z), strength * relative, 1.0 + z)
                    for rest, relative in ((4861.3, 0.35), (4958.9, 0.3), (5006.8, 0.9), (6562.8, 1.0), (6583.5, 0.3))
                ),
            )
        )
    return (*stars, *galaxies)

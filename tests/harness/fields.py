# SPDX-License-Identifier: GPL-2.0-or-later
"""Field-of-view images of a made-up sky, written directly: seconds instead of minutes of simulation and reduction."""

import dataclasses
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.time import Time

from muse_core.io.fitswriter import primary_header
from muse_core.model.cards import formatted, set_card
from muse_core.simulate.pointing import gnomonic, offset_position

TARGET = (53.1625, -27.79139)
STEP = 0.2  # arcsec
SHAPE = (300, 311)
START = 56982.27260559  # modified Julian date


@dataclasses.dataclass(frozen=True)
class View:
    """One exposure.

    Attributes
    ----------
    dither, error : tuple of float
        Offset of the pointing in the header from the target, and of the true pointing from that one, in arcsec (east,
        north).
    outline : float
        Angle of the field of view in degrees; pixels outside of it are NaN.
    orientation : float
        Angle of the pixels on the sky in degrees.
    exptime : float
        Seconds.
    """

    dither: tuple[float, float] = (0.0, 0.0)
    error: tuple[float, float] = (0.0, 0.0)
    outline: float = 0.0
    orientation: float = 0.0
    exptime: float = 900.0

    def pointing(self, target: tuple[float, float]) -> tuple[float, float]:
        """Right ascension and declination in the header, in degrees."""
        return offset_position(*target, *self.dither)

    def true_pointing(self, target: tuple[float, float]) -> tuple[float, float]:
        """Where it really points."""
        return offset_position(*self.pointing(target), *self.error)


DITHERED = (
    View(),
    View((1.03, 0.47), (0.7, -0.4), exptime=600.0),  # not half a pixel: which one is nearest hangs on the last bits
    View((-1.0, 1.0), (-0.3, 0.9)),
)


@dataclasses.dataclass(frozen=True)
class Field:
    """What several exposures see.

    Attributes
    ----------
    n_sources : int
        Stars, all within 27 arcsec of the target along each axis.
    views : tuple of View
        The exposures.
    bad_edge : bool
        Are there columns without data, and garbage beside them?
    brightest : float
        Height of the brightest star; the noise is 1.
    mode : str
        ESO INS MODE.
    target : tuple of float
        Right ascension and declination in degrees.
    """

    n_sources: int = 20
    views: tuple[View, ...] = DITHERED
    bad_edge: bool = False
    brightest: float = 2000.0
    mode: str = "WFM-NOAO-N"
    target: tuple[float, float] = TARGET

    def stars(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Right ascensions, declinations in degrees, heights."""
        rng = np.random.default_rng(self.n_sources)
        positions = [offset_position(*self.target, *xy) for xy in rng.uniform(-27, 27, (self.n_sources, 2))]
        height = self.brightest ** rng.uniform(0.45, 1, self.n_sources)
        return *np.transpose(positions), height

    def true_offsets(self) -> np.ndarray:
        """Offsets that take out the errors of the pointings, those of the first exposure 0: shape (n, 2), degrees."""
        pointings = [(view.pointing(self.target), view.true_pointing(self.target)) for view in self.views]
        offsets = np.array([np.subtract(*pair) for pair in pointings])
        offsets[:, 0] -= 360 * np.rint(offsets[:, 0] / 360)
        return offsets - offsets[0]

    def write(self, folder: Path) -> list[Path]:
        """Write an IMAGE_FOV of each exposure."""
        folder.mkdir(parents=True, exist_ok=True)
        return [self._write(view, number, folder / f"IMAGE_{number}.fits") for number, view in enumerate(self.views)]

    def _write(self, view: View, number: int, path: Path) -> Path:
        rng = np.random.default_rng([number, self.n_sources])
        ny, nx = SHAPE
        c, s = np.cos(np.radians(view.orientation)), np.sin(np.radians(view.orientation))
        cd = STEP / 3600 * np.array([[-c, s], [s, c]])
        crpix = ((nx + 1) / 2, (ny + 1) / 2)
        ra, dec, heights = self.stars()
        centres = (
            np.linalg.solve(cd, np.array(gnomonic(ra, dec, *view.true_pointing(self.target))))
            + np.array(crpix)[:, None]
        )
        y, x = np.mgrid[1 : ny + 1, 1 : nx + 1]
        image = 2 + rng.standard_normal(SHAPE)
        for (star_x, star_y), height in zip(centres.T, heights, strict=True):
            near = tuple(slice(max(int(c) - 41, 0), max(int(c) + 40, 0)) for c in (star_y, star_x))
            image[near] += height * (1 + ((x[near] - star_x) ** 2 + (y[near] - star_y) ** 2) / 2.7**2) ** -2.6
        if self.bad_edge:
            image[:, 270:] += 40 * rng.standard_normal((ny, nx - 270)) ** 2
            image[:, 270 + 5 * number :] = np.nan
            image[140:150, 120:131] = np.nan
        if view.outline:
            a = np.radians(view.outline)
            u, v = x - crpix[0], y - crpix[1]
            along, across = u * np.cos(a) + v * np.sin(a), v * np.cos(a) - u * np.sin(a)
            image[(np.abs(along) > 140) | (np.abs(across) > 135)] = np.nan
        pointing = view.pointing(self.target)
        primary = primary_header()
        mjd = START + 0.0113 * number
        for key, value in (
            ("INSTRUME", "MUSE"),
            ("OBJECT", "MADE UP"),
            ("RA", pointing[0]),
            ("DEC", pointing[1]),
            ("EQUINOX", 2000.0),
            ("EXPTIME", view.exptime),
            ("MJD-OBS", mjd),
            ("DATE-OBS", Time(mjd, format="mjd").isot),
            ("ESO INS MODE", self.mode),
            ("ESO PRO CATG", "IMAGE_FOV"),
            ("ESO PRO REC1 ID", "muse_scipost"),
            ("ESO PRO ANCESTOR", f"MUSE.{number}.fits"),
            ("ESO QC SCIPOST NDET", 3),
            ("ESO DRS MUSE FILTER NAME", "white"),
        ):
            set_card(primary, key, value)
        data = fits.ImageHDU(image.astype(np.float32), name="DATA")
        data.header["BUNIT"] = "10**(-20)*erg/s/cm**2/Angstrom"
        for axis, ctype in enumerate(("RA---TAN", "DEC--TAN"), 1):
            data.header[f"CTYPE{axis}"], data.header[f"CUNIT{axis}"] = ctype, "deg"
            data.header[f"CSYER{axis}"] = (8.2e-6 + axis * 1e-7, "[deg] Systematic error in coordinate")
            data.header[f"CRPIX{axis}"], data.header[f"CRVAL{axis}"] = crpix[axis - 1], pointing[axis - 1]
            for other in (1, 2):
                data.header[f"CD{axis}_{other}"] = cd[axis - 1, other - 1]
        header = fits.Header.fromstring(formatted(primary).tostring())
        fits.HDUList([fits.PrimaryHDU(header=header), data]).writeto(path)
        return path


def _circle(n: int) -> tuple[View, ...]:
    angles = 2 * np.pi * np.arange(n) / n
    return tuple(View((np.cos(a), np.sin(a)), (0.5 * np.sin(3 * a), 0.8 * np.cos(2 * a))) for a in angles)


#: Few and many sources, fields of view at several angles, five exposures, one exposure elsewhere, a bad edge.
FIELDS = {
    "few": Field(6, brightest=500.0),
    "many": Field(120, brightest=300.0),
    "rotated": Field(40, (View(), View((0.6, 0.3), (0.4, -0.7), outline=90.0), View(error=(-1.1, 0.2), outline=37.0))),
    "five": Field(30, _circle(5)),
    "elsewhere": Field(25, (*DITHERED, View((80.0, 0.0), (0.3, 0.3)))),
    "bad-edge": Field(35, bad_edge=True),
}

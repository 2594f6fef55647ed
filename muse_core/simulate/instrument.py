# SPDX-License-Identifier: GPL-2.0-or-later
"""The synthetic instrument: modes, geometry of the slices on sky and CCD, line spread function, throughput, detectors.

All numbers are fixed: they depend on the IFU and slice only, never on the seed of an exposure, as for a real instrument
between two interventions. They look like MUSE (24 IFUs x 48 slices, stacks of 12, about 76 columns of 0.2 arcsec a
slice, 1.25 Angstrom a row) without being a measurement of it.

Not modelled: the dependence of the geometry on temperature, scattered light, ghosts, non-linearity of the detectors,
charge transfer, partially illuminated edge columns.
"""

import functools

import numpy as np
from scipy.special import erf

from muse_core.errors import ParameterError
from muse_core.model.dq import DQ
from muse_core.model.header import spaxel_size_arcsec
from muse_core.model.record import record

CCD_ROWS = 4112
READ_NOISE = 2.8  # electrons
FULL_WELL = 65000.0  # electrons, above this a pixel is saturated
PIXEL_ANGSTROM = 1.25
TELESCOPE_AREA_CM2 = 4.87e5
HC_ERG_ANGSTROM = 1.98644586e-8

_SEED = 2014  # of everything that is fixed
_SLICES_PER_STACK = 12
_ROW_CENTRE = (CCD_ROWS + 1) / 2
_HALF_WIDTH = 38.0  # columns, scale of the polynomials across a slice
# row on the sky, within its stack, of the 12 slices of a stack in the order of the CCD
_SKY_ROW = (8, 4, 0, 9, 5, 1, 10, 6, 2, 11, 7, 3)
_STACK = (3, 1, 2, 0)  # stack on the sky, from the left, of the four blocks of 12 on the CCD


@record
class Mode:
    """An instrument mode.

    Attributes
    ----------
    name : str
        Value of ESO INS MODE.
    lbda_range : tuple of float
        Useful wavelength range in Angstrom.
    notch : tuple of float or None
        Range in Angstrom that the notch filter of the lasers blocks.
    """

    name: str
    lbda_range: tuple[float, float]
    notch: tuple[float, float] | None

    @property
    def spaxel_arcsec(self) -> tuple[float, float]:
        """Nominal size of a spaxel (x, y) in arcsec."""
        return spaxel_size_arcsec({"ESO INS MODE": self.name})

    @property
    def is_nfm(self) -> bool:
        """Narrow-field mode?"""
        return self.name.startswith("NFM")

    @property
    def is_ao(self) -> bool:
        """With the lasers on?"""
        return "-AO-" in self.name

    @property
    def area_ratio(self) -> float:
        """Area of a spaxel in units of the 0.2 x 0.2 square arcsec of the wide field."""
        sx, sy = self.spaxel_arcsec
        return sx * sy / 0.04


MODES = {
    m.name: m
    for m in (
        Mode("WFM-NOAO-N", (4750.0, 9350.0), None),
        Mode("WFM-NOAO-E", (4600.0, 9350.0), None),
        Mode("WFM-AO-N", (4700.0, 9350.0), (5805.0, 5966.0)),
        Mode("WFM-AO-E", (4600.0, 9350.0), (5755.0, 6008.0)),
        Mode("NFM-AO-N", (4750.0, 9350.0), (5780.0, 6050.0)),
    )
}


def mode_of(name: str) -> Mode:
    """Return a mode by its name.

    Raises
    ------
    ParameterError
        If there is no such mode.
    """
    if name not in MODES:
        raise ParameterError(f"instrument mode: found {name!r}, expected one of {', '.join(MODES)}")
    return MODES[name]


@record
class SliceGeometry:
    """Where a slice lies on the CCD and on the sky, and its wavelength calibration.

    Attributes
    ----------
    ifu, number : int
        IFU 1...24 and slice 1...48 (in the order of the CCD).
    trace : tuple of float
        Polynomial (ascending) in (y - 1) / (CCD_ROWS - 1) of the centre of the slice, in columns.
    half_width : float
        Half of the width in columns.
    xpos, ypos : float
        Centre on the sky in nominal spaxels from the centre of the field.
    scale, slope : float
        Nominal spaxels a column along the slice; rise of the slice (tangent of its tilt).
    dispersion : tuple of float
        Polynomial (ascending) in y - 2056.5 of the wavelength at the centre of the slice, in Angstrom.
    tilt, tilt_change, curvature : float
        Angstrom at the ends of the slice, relative to its centre: linear, its change over half of the CCD, quadratic.
    """

    ifu: int
    number: int
    trace: tuple[float, float, float]
    half_width: float
    xpos: float
    ypos: float
    scale: float
    slope: float
    dispersion: tuple[float, float, float]
    tilt: float
    tilt_change: float
    curvature: float

    def centre(self, y):
        """Column of the centre of the slice in CCD rows `y` (from 1)."""
        return np.polynomial.polynomial.polyval((np.asarray(y, float) - 1) / (CCD_ROWS - 1), self.trace)

    @property
    def offset(self) -> int:
        """Horizontal offset of the slice, as in the keyword XOFFSET."""
        return int(np.floor(self.trace[0] - self.half_width)) - 20

    def rows(self, lbda_min: float, lbda_max: float) -> np.ndarray:
        """CCD rows that may see the wavelengths `lbda_min` to `lbda_max`."""
        y = np.arange(1, CCD_ROWS + 1)
        centre = np.polynomial.polynomial.polyval(y - _ROW_CENTRE, self.dispersion)
        margin = 1.2 * (abs(self.tilt) + abs(self.tilt_change) + abs(self.curvature))
        return y[(centre >= lbda_min - margin) & (centre <= lbda_max + margin)]

    def columns(self, y: np.ndarray) -> np.ndarray:
        """CCD columns that the slice meets in rows `y`, as consecutive integers."""
        centre = self.centre(y)
        return np.arange(
            int(np.ceil(centre.min() - self.half_width)), int(np.floor(centre.max() + self.half_width)) + 1
        )

    def wavelength(self, along: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Wavelength in Angstrom.

        Parameters
        ----------
        along : ndarray of float64, shape (n_y, n_x)
            Distance from the centre of the slice in columns.
        y : ndarray, shape (n_y,)
            CCD rows.

        Returns
        -------
        ndarray of float64, shape (n_y, n_x)
        """
        t = y - _ROW_CENTRE
        u = along / _HALF_WIDTH
        centre = np.polynomial.polynomial.polyval(t, self.dispersion)
        tilt = self.tilt + self.tilt_change * t / _ROW_CENTRE
        return centre[:, None] + (tilt[:, None] + self.curvature * u) * u

    def position(self, along: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Position (x, y) on the sky, in nominal spaxels, of points `along` columns from the centre of the slice."""
        x = along * self.scale
        return self.xpos + x, self.ypos + self.slope * x


@functools.cache
def slice_geometry(ifu: int, number: int) -> SliceGeometry:
    """Return the geometry of slice `number` of `ifu`."""
    rng = np.random.default_rng([_SEED, 1, ifu, number])
    ifu_rng = np.random.default_rng([_SEED, 2, ifu])
    block, k = divmod(number - 1, _SLICES_PER_STACK)
    row, stack = _SKY_ROW[k], _STACK[block]
    half_width = rng.uniform(37.6, 38.8)
    ifu_x, ifu_y, ifu_column, ifu_lbda, ifu_tilt, ifu_trace = ifu_rng.uniform(-1, 1, 6)
    return SliceGeometry(
        ifu=ifu,
        number=number,
        trace=(
            46.0 + 84.4 * (number - 1) + 3 * ifu_column + rng.uniform(-1, 1),
            3 * ifu_trace + rng.uniform(-0.7, 0.7),
            rng.uniform(-0.7, 0.7),
        ),
        half_width=half_width,
        xpos=75.5 * (stack - 1.5) + 0.8 * ifu_x + rng.uniform(-0.3, 0.3),
        ypos=12.35 * (ifu - 12.5) + 1.025 * (row - 5.5) + 0.05 * ifu_y + rng.uniform(-0.03, 0.03),
        scale=(75.9 + rng.uniform(-0.2, 0.2)) / (2 * half_width),
        slope=1e-3 * (1.5 * ifu_tilt + rng.uniform(-1, 1)),
        dispersion=(7050.0 + 3 * ifu_lbda + 1.7 * (k - 5.5) + rng.uniform(-0.5, 0.5), 1.25, -3.5e-6),
        tilt=rng.uniform(-1.5, 1.5),
        tilt_change=rng.uniform(-0.3, 0.3),
        curvature=0.8 + rng.uniform(-0.2, 0.2),
    )


@record
class Lsf:
    """Line spread function of a slice: a Gauss-Hermite series, with the width of the CCD pixel in it.

    It has unit integral and zero centroid.

    Attributes
    ----------
    sigma : tuple of float
        Polynomial (ascending) of the standard deviation in Angstrom, in (wavelength - 7000) / 1000.
    h3, h4 : float
        Coefficients of the third and fourth (probabilists') Hermite polynomial.
    """

    sigma: tuple[float, float, float]
    h3: float
    h4: float

    #: half of the range in Angstrom in which the profile is not zero; that of LSF_PROFILE
    REACH = 7.5

    def width(self, lbda):
        """Standard deviation in Angstrom at wavelength `lbda`."""
        return np.polynomial.polynomial.polyval((np.asarray(lbda) - 7000.0) / 1000.0, self.sigma)

    def profile(self, distance, lbda, intrinsic=0.0):
        """Value in 1/Angstrom at `distance` Angstrom from a line at `lbda` of standard deviation `intrinsic`."""
        sigma = np.hypot(self.width(lbda), intrinsic)
        x = distance / sigma
        hermite = 1 + self.h3 / np.sqrt(6) * (x**2 - 3) * x + self.h4 / np.sqrt(24) * ((x**2 - 6) * x**2 + 3)
        return np.exp(-0.5 * x**2) * hermite / (np.sqrt(2 * np.pi) * sigma)


@functools.cache
def slice_lsf(ifu: int, number: int) -> Lsf:
    """Return the line spread function of slice `number` of `ifu`."""
    a, b = np.random.default_rng([_SEED, 3, ifu, number]).uniform(-1, 1, 2)
    c = np.random.default_rng([_SEED, 4, ifu]).uniform(-1, 1)
    width = 1.08 * (1 + 0.02 * c + 0.02 * a)
    return Lsf(sigma=(width, -0.035 * width, 0.022 * width), h3=0.02 * b, h4=0.01 * c)


def ifu_level(ifu: int) -> float:
    """Sensitivity of an IFU that the flat-field does not remove, relative to IFU 1 (keyword FLAT FLUX SKY)."""
    return 1.0 if ifu == 1 else 1 + 0.04 * float(np.random.default_rng([_SEED, 5, ifu]).uniform(-1, 1))


def ifu_colour(ifu: int, lbda):
    """Sensitivity of an IFU as a function of wavelength that its flat-field removes, about 1."""
    slope = 0.02 * float(np.random.default_rng([_SEED, 6, ifu]).uniform(-1, 1))
    return 1 + slope * (np.asarray(lbda) - 7000.0) / 2500.0


def lamp(lbda):
    """Spectrum of the flat-field lamp, 1 at 7000 Angstrom."""
    t = (np.asarray(lbda) - 7000.0) / 2500.0
    return 1 + 0.45 * t - 0.25 * t**2 + 0.03 * np.sin(6 * t)


def response_magnitude(lbda):
    """2.5 log10 of (count/s/Angstrom) per (erg/s/cm2/Angstrom): telescope, instrument, detector."""
    lbda = np.asarray(lbda, float)
    efficiency = 0.36 * np.exp(-0.5 * ((lbda - 7000.0) / 1550.0) ** 2) * (1 + 0.02 * np.sin(lbda / 180.0))
    return 2.5 * np.log10(efficiency * TELESCOPE_AREA_CM2 * lbda / HC_ERG_ANGSTROM)


def notch_transmission(mode: Mode, lbda):
    """Transmission of the notch filter, 1 for modes without it."""
    lbda = np.asarray(lbda, float)
    if mode.notch is None:
        return np.ones_like(lbda)
    low, high = mode.notch
    return 1 - 0.5 * (erf((lbda - low - 6) / 3) - erf((lbda - high + 6) / 3))


def bad_pixels(geometry: SliceGeometry, y: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Bad pixels of a part of a slice.

    Parameters
    ----------
    geometry : SliceGeometry
        The slice.
    y, columns : ndarray of int, shape (n_y,) and (n_x,)
        Consecutive CCD rows and columns.

    Returns
    -------
    ndarray of int32, shape (n_y, n_x)
        Flags of `muse_core.model.dq`: one column in some 25 slices is hot from some row on, and 1.5e-4 of the pixels
        are hot, dark, dead or of low efficiency.
    """
    rng = np.random.default_rng([_SEED, 7, geometry.ifu, geometry.number])
    width = int(2 * geometry.half_width)
    ccd = np.zeros((CCD_ROWS, width), np.int32)  # from row 1, from 20 columns right of the offset
    if rng.random() < 0.04:
        ccd[int(rng.integers(CCD_ROWS)) :, int(rng.integers(width))] = DQ.HOT
    n = rng.poisson(1.5e-4 * ccd.size)
    kinds = np.array([DQ.HOT, DQ.DARK, DQ.DEAD, DQ.LOW_QE], np.int32)
    ccd[rng.integers(CCD_ROWS, size=n), rng.integers(width, size=n)] = rng.choice(kinds, n)
    flags = np.zeros((len(y), len(columns)), np.int32)
    x = columns - geometry.offset - 20
    inside = (x >= 0) & (x < width)
    flags[:, inside] = ccd[y[0] - 1 : y[-1], x[inside]]
    return flags

# SPDX-License-Identifier: GPL-2.0-or-later
"""Line spread functions: an image (line wavelength, offset) per slice, or the older parametrised form."""

import numpy as np

from muse_core.model.record import record


@record
class LsfGrid:
    """Linear coordinates of an LSF image, as in its FITS header (reference pixels count from 1).

    Attributes
    ----------
    offset_pixel, offset_value, offset_step : float
        CRPIX1, CRVAL1 and CD1_1: offset from the line in Angstrom.
    line_pixel, line_value, line_step : float
        CRPIX2, CRVAL2 and CD2_2: wavelength of the line in Angstrom.
    """

    offset_pixel: float
    offset_value: float
    offset_step: float
    line_pixel: float
    line_value: float
    line_step: float


@record
class LsfImage:
    """LSF of one slice, or an average.

    Attributes
    ----------
    data : ndarray of float64, shape (n_line, n_offset)
        Profile for each line wavelength; any normalisation.
    grid : LsfGrid
        Its coordinates.
    """

    data: np.ndarray
    grid: LsfGrid


@record
class LsfCube:
    """The LSFs of one IFU.

    Attributes
    ----------
    data : ndarray of float64, shape (n_slice, n_line, n_offset)
        Plane k belongs to slice k + 1.
    grid : LsfGrid
        Coordinates of every plane.
    """

    data: np.ndarray
    grid: LsfGrid

    def image(self, slice_number: int) -> LsfImage | None:
        """LSF of a slice (from 1), or None if there is no such plane."""
        if not 1 <= slice_number <= len(self.data):
            return None
        return LsfImage(self.data[slice_number - 1], self.grid)


#: Cubes by IFU number.
LsfCubes = dict[int, LsfCube]


@record
class HermiteProfile:
    """Parametrised LSF of one slice: a damped Gauss-Hermite line, convolved with slit and pixel.

    Attributes
    ----------
    width : ndarray of float64, shape (n,)
        Coefficients, ascending, of the Gaussian sigma in Angstrom as polynomial of (wavelength - 7000 Angstrom).
    hermite : tuple of four ndarray of float64
        The same for the coefficients of the Hermite terms 3 to 6.
    slit_width, bin_width : float
        Full widths in Angstrom of slit and pixel.
    """

    width: np.ndarray
    hermite: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    slit_width: float
    bin_width: float


#: Parametrised profiles by (IFU, slice).
HermiteProfiles = dict[tuple[int, int], HermiteProfile]

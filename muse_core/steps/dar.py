# SPDX-License-Identifier: GPL-2.0-or-later
"""Correction of differential atmospheric refraction (DAR) of wide-field exposures.

The shift of each row follows from the refractive index alone; the empirical check of it on a cube is another step.
"""

import math

import numpy as np
import numpy.typing as npt

from muse_core.errors import DataError
from muse_core.model import units
from muse_core.model.arrays import Float64Array
from muse_core.model.cards import set_card
from muse_core.model.compat import OURS, Compat
from muse_core.model.fits import Header
from muse_core.model.header import PIXTABLE, get_float, is_nfm, require_float, spaxel_size_arcsec
from muse_core.model.record import record
from muse_core.steps.airmass import airmass, is_lab_data, parallactic_angle, position_angle
from muse_core.steps.refraction import Air, Method, RefractiveIndex

LAMBDA_LIMITS = (3500.0, 22000.0)  # Angstrom; a reference wavelength outside switches the correction off
CARD_CORRECT = PIXTABLE + "DAR CORRECT"
_ARCSEC_PER_RADIAN = 3600 * 57.29577951308232


def is_wanted(header: Header, compat: Compat = OURS) -> bool:
    """Is this a wide-field exposure of the sky that has not been corrected?"""
    if is_nfm(header) or get_float(header, CARD_CORRECT, 0.0) > 0:
        return False
    return not is_lab_data(header, compat)


def is_switched_off(lambda_ref: float) -> bool:
    """Does this reference wavelength (Angstrom) mean that no correction is wanted?"""
    return not LAMBDA_LIMITS[0] <= lambda_ref <= LAMBDA_LIMITS[1]


def write_switched_off(header: Header) -> None:
    """Note in the header of the pixel table that the correction was switched off."""
    set_card(header, CARD_CORRECT, -1.0, "skipped DAR correction!")


@record
class DarCorrection:
    """Constants of the correction: ``xpos += kx d``, ``ypos += ky d`` with ``d = scale (n(lambda_ref) - n(lambda))``.

    Attributes
    ----------
    lambda_ref : float
        Wavelength that stays where it is, in Angstrom.
    kx, ky : float
        Direction of the refraction, in nominal spaxels per arcsec.
    scale : float
        Tangent of the zenith distance, in arcsec.
    index : RefractiveIndex
        Refractive index of the air.
    """

    lambda_ref: float
    kx: float
    ky: float
    scale: float
    index: RefractiveIndex

    @classmethod
    def from_header(
        cls,
        header: Header,
        lambda_ref: float,
        method: Method = Method.FILIPPENKO,
        position_unit: str = units.PIX,
        compat: Compat = OURS,
    ) -> "DarCorrection":
        """Compute the constants of an exposure.

        Parameters
        ----------
        header : Header
            Header of the merged pixel table.
        lambda_ref : float
            Reference wavelength in Angstrom.
        method : Method
            Formula of the refractive index.
        position_unit : str
            Unit of the positions.

        Raises
        ------
        DataError
            If airmass or angles cannot be had, or the positions are not in pix.
        """
        mass = airmass(header, compat).value
        if mass < 1:
            raise DataError(f"DAR correction: found airmass {mass:g}, expected at least 1")
        parallactic, position = parallactic_angle(header, compat), position_angle(header, compat)
        if not parallactic.complete:
            raise DataError("DAR correction: keyword ESO TEL PARANG START or END is missing")
        if not position.complete:
            raise DataError("DAR correction: keyword ESO INS DROT POSANG or MODE is missing")
        if position_unit != units.PIX:
            raise DataError(f"DAR correction: found positions in {position_unit!r}, expected {units.PIX!r}")
        angle = math.radians(parallactic.value + position.value)
        size_x, size_y = spaxel_size_arcsec(header)
        return cls(
            lambda_ref=lambda_ref,
            kx=-math.sin(angle) / size_x,
            ky=math.cos(angle) / size_y,
            scale=math.tan(math.acos(1 / mass)) * _ARCSEC_PER_RADIAN,
            index=RefractiveIndex.of(Air.from_header(header, compat), method),
        )

    def shift_arcsec(self, lbda: npt.ArrayLike) -> Float64Array:
        """Shift along the parallactic angle at wavelengths in Angstrom (float64): negative bluewards."""
        return self.scale * (self.index(self.lambda_ref / 1e4) - self.index(np.asarray(lbda, np.float64) * 1e-4))

    def constants(self) -> np.ndarray:
        """Constants for the kernel: kx, ky, scale, n(lambda_ref), and those of the refractive index."""
        return np.concatenate(
            [[self.kx, self.ky, self.scale, self.index(self.lambda_ref / 1e4)], self.index.constants()]
        )

    def write_cards(self, header: Header) -> None:
        """Note the correction in the header of the pixel table, and keep the limits from before it."""
        set_card(header, CARD_CORRECT, self.lambda_ref, "[Angstrom] ref. lambda for DAR correction")
        for axis in "XY":
            for end, name in (("LO", "LOW"), ("HI", "HIGH")):
                old = f"{PIXTABLE}LIMITS {axis} {name}"
                limit = require_float(header, old, "DAR correction")
                set_card(header, f"{PIXTABLE}PREDAR LIMITS {axis}{end}", np.float32(limit))

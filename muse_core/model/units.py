# SPDX-License-Identifier: GPL-2.0-or-later
"""Unit strings of pixel tables and cubes, exactly as ESO's pipeline writes and tests them."""

PIX = "pix"
RAD = "rad"
DEG = "deg"
ANGSTROM = "Angstrom"
COUNT = "count"
COUNT_VARIANCE = "count**2"
FLUX = "10**(-20)*erg/s/cm**2/Angstrom"
FLUX_VARIANCE = "(10**(-20)*erg/s/cm**2/Angstrom)**2"
LINE_FLUX = "10**(-20)*erg/(s cm^2 arcsec^2)"
LINE_FLUX_PLAIN = "erg/(s cm^2 arcsec^2)"

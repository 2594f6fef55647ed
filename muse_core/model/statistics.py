# SPDX-License-Identifier: GPL-2.0-or-later
"""Constants of statistics."""

#: Standard deviation of a normal distribution over the median of the absolute deviations from its median.
SIGMA_PER_MAD = 1.482602218505602
#: Full width at half maximum of a normal distribution over its standard deviation: the root of 8 ln 2.
FWHM_PER_SIGMA = 2.3548200450309493
